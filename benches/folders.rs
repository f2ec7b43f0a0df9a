//! Many small files over loopback: a folder fetched by the library against the rsync daemon, `cp -r` and tar over TCP.
//!
//! `cargo bench --bench folders [-- --files 10000 --bytes 4096 --rounds 9 --folder /dev/shm]`. Rounds are interleaved, each
//! into a fresh folder of the same file system; a time is that of the whole fetching process, a ratio the median of the
//! ratios within a round, CPU that of both ends. Ours lists, checks every BLAKE3, brings the folder to disk and renames it;
//! the others leave their files in the cache, so that their rows stand twice: as they are, and with a `syncfs` behind them.
//! The holder is a whole peer with its index.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use floodplain::{
    config::{PeerSettings, RegistrySettings},
    net::{Identity, Security, Transport, throttle::Throttle},
    peer::{
        self,
        channels::Channels,
        download::Source,
        folder::{FolderAsk, FolderGetter},
        transfers::Transfers,
    },
    protocol::{
        action::{AcceptPolicy, TransferState},
        bucket::RateLimits,
        id::PeerId,
        zone::Layout,
    },
    registry,
    shutdown::Shutdown,
};
use futures::StreamExt;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Files, in folders of 100.
    #[arg(long, default_value_t = 10_000)]
    files: usize,
    /// Bytes of each.
    #[arg(long, default_value_t = 4096)]
    bytes: usize,
    /// Runs of each kind.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Where files and copies lie.
    #[arg(long, default_value = "/dev/shm")]
    folder: PathBuf,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Role {
    /// A peer that shares a folder; prints its address when everything is hashed.
    Serve { share: PathBuf, data: PathBuf },
    /// Fetches the share once.
    Get { address: SocketAddr, folder: PathBuf },
}

fn main() -> Result<()> {
    let args = Args::parse();
    // As many threads as a daemon has.
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match args.role {
        Some(Role::Serve { share, data }) => runtime()?.block_on(serve(share, data)),
        Some(Role::Get { address, folder }) => runtime()?.block_on(get(address, folder)),
        None => compare(&args),
    }
}

async fn serve(share: PathBuf, data: PathBuf) -> Result<()> {
    let shutdown = Shutdown::new();
    let settings = RegistrySettings {
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        invite_file: None,
        layout: Layout::Fixed { zones: 1, zone_size: 6 },
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
        data: data.join("registry"),
        http: floodplain::config::HttpSettings::default(),
        insecure_loopback: true,
    };
    let registry = registry::start(settings, shutdown.clone()).await?;
    let settings = PeerSettings {
        registry: registry.address().to_string(),
        is_registry_default: false,
        invite: None,
        invite_file: None,
        name: "bench".parse()?,
        is_name_default: false,
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        http: floodplain::config::HttpSettings::default(),
        shares: vec![share],
        inbox: data.join("inbox"),
        data: data.join("peer"),
        ttl: 16,
        search_timeout: Duration::from_secs(3),
        saved_search_every: Duration::from_secs(300),
        query_cache: 1000,
        upload_slots: 8,
        download_slots: 4,
        replica_grace: Duration::from_secs(300),
        upload_limits: RateLimits::default(),
        download_limits: RateLimits::default(),
        accept: AcceptPolicy::None,
        replica_space: 0,
        insecure_loopback: true,
    };
    let peer = peer::start(settings, shutdown.clone()).await?;
    peer.until_hashed().await;
    println!("{}", peer.address());
    shutdown.stopping().await;
    Ok(())
}

async fn get(address: SocketAddr, destination: PathBuf) -> Result<()> {
    let shutdown = Shutdown::new();
    let transport = Transport::new(Identity::ephemeral(), Security::PlaintextLoopback);
    let folders =
        FolderGetter::new(Channels::new(transport), Transfers::new(1), Throttle::default(), shutdown);
    let source = Source { peer_id: PeerId::from_bytes([1; 32]), name: "bench".into(), address };
    let first = folders.look(&source, "files").await?.context("the peer has no such folder")?;
    let ask = FolderAsk { source, path: "files".into(), destination };
    let mut events = folders.start(ask, first)?;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event?);
    }
    let transfer = last.context("no event")?;
    ensure!(transfer.state == TransferState::Done, "{:?}", transfer.state);
    Ok(())
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What fetches.
const NAMES: [&str; 4] = ["floodplain", "rsync -rW", "cp -r", "tar over TCP"];

/// What one kind took in each round.
#[derive(Default)]
struct Row {
    /// Until the process ended.
    seconds: Vec<f64>,
    /// And until everything was on disk.
    durable_seconds: Vec<f64>,
    /// Of the processes that ended.
    cpu_seconds: f64,
}

fn compare(args: &Args) -> Result<()> {
    let home = tempfile::tempdir_in(&args.folder)?;
    let share = home.path().join("files");
    make_files(&share, args)?;
    let me = std::env::current_exe()?;
    let mut ours = Command::new(&me);
    ours.arg("serve").arg(&share).arg(home.path().join("data")).stdout(Stdio::piped());
    let mut ours = Killed(ours.spawn()?);
    let mut address = String::new();
    BufReader::new(ours.0.stdout.take().context("piped")?).read_line(&mut address)?;
    let address = address.trim();
    ensure!(!address.is_empty(), "the peer did not start");
    let (rsync, rsync_port) = rsync_daemon(home.path(), &share)?;
    let servers = [Some(ours.0.id()), Some(rsync.0.id()), None, None];

    let mut rows: [Row; 4] = Default::default();
    let mut served = [0.0; 4];
    for round in 0..=args.rounds {
        if round == 1 {
            // The first round warms all up.
            served = servers.map(|server| server.map_or(0.0, |pid| cpu_seconds(pid, true)));
        }
        for (kind, row) in rows.iter_mut().enumerate() {
            let copies = tempfile::tempdir_in(home.path())?;
            let to = copies.path().join("copy");
            let cpu = cpu_seconds(std::process::id(), false);
            let took = match kind {
                0 => timed(Command::new(&me).arg("get").arg(address).arg(&to))?,
                1 => {
                    let url = format!("rsync://127.0.0.1:{rsync_port}/files/");
                    timed(Command::new("rsync").args(["-rW", &url]).arg(&to))?
                }
                2 => timed(Command::new("cp").arg("-r").arg(&share).arg(&to))?,
                _ => tar_over_tcp(&share, &to)?,
            };
            let cpu = cpu_seconds(std::process::id(), false) - cpu;
            let began = Instant::now();
            rustix::fs::syncfs(fs::File::open(&to)?)?;
            let synced = began.elapsed().as_secs_f64();
            ensure!(count(&to)? == args.files, "{} brought another number of files", NAMES[kind]);
            if round > 0 {
                row.seconds.push(took);
                row.durable_seconds.push(if kind == 0 { took } else { took + synced });
                row.cpu_seconds += cpu;
            }
        }
    }
    for ((row, server), before) in rows.iter_mut().zip(servers).zip(served) {
        row.cpu_seconds += server.map_or(0.0, |pid| cpu_seconds(pid, true) - before);
    }
    print(args, &rows);
    Ok(())
}

#[allow(clippy::cast_precision_loss)] // a few rounds
fn print(args: &Args, rows: &[Row; 4]) {
    println!(
        "{} files of {} bytes in {}, {} rounds, medians",
        args.files,
        args.bytes,
        args.folder.display(),
        args.rounds
    );
    println!(
        "{:<14} {:>8} {:>12} {:>15} {:>12} {:>14}",
        "", "ms", "floodplain x", "ms with syncfs", "floodplain x", "CPU ms, both"
    );
    let ours = &rows[0].seconds;
    let faster =
        |theirs: &[f64]| median(theirs.iter().zip(ours).map(|(theirs, ours)| theirs / ours).collect());
    for (name, row) in NAMES.iter().zip(rows) {
        println!(
            "{name:<14} {:>8.1} {:>12.2} {:>15.1} {:>12.2} {:>14.0}",
            median(row.seconds.clone()) * 1e3,
            faster(&row.seconds),
            median(row.durable_seconds.clone()) * 1e3,
            faster(&row.durable_seconds),
            row.cpu_seconds * 1e3 / args.rounds as f64
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU time of the children of a process that have ended, and of itself as well `with_itself`; in ticks of 10 ms. Zero
/// where the system does not tell it so.
#[allow(clippy::cast_precision_loss)] // far below 2^53
fn cpu_seconds(pid: u32, with_itself: bool) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let skipped = if with_itself { 11 } else { 13 };
    let ticks = fields.skip(skipped).take(15 - skipped).filter_map(|ticks| ticks.parse::<u64>().ok());
    ticks.sum::<u64>() as f64 / 100.0
}

fn make_files(share: &Path, args: &Args) -> Result<()> {
    let mut random = blake3::Hasher::new().finalize_xof();
    let mut content = vec![0; args.bytes];
    for number in 0..args.files {
        let folder = share.join(format!("{:03}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&folder)?;
        }
        random.fill(&mut content);
        fs::File::create(folder.join(format!("{number:05}.bin")))?.write_all(&content)?;
    }
    Ok(())
}

fn count(folder: &Path) -> Result<usize> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Ok(files)
}

fn timed(command: &mut Command) -> Result<f64> {
    let began = Instant::now();
    let status = command.status().with_context(|| format!("could not run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(began.elapsed().as_secs_f64())
}

fn tar_over_tcp(share: &Path, to: &Path) -> Result<f64> {
    fs::create_dir(to)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let began = Instant::now();
    let fetching = TcpStream::connect(listener.local_addr()?)?;
    let serving = listener.accept()?.0;
    let mut pack = Command::new("tar");
    pack.args(["cf", "-", "-C"]).arg(share).arg(".").stdout(Stdio::from(OwnedFd::from(serving)));
    let mut packing = Killed(pack.spawn()?);
    // The command holds the socket too: the other end would wait for it.
    drop(pack);
    let mut unpack = Command::new("tar");
    unpack.args(["xf", "-", "-C"]).arg(to).stdin(Stdio::from(OwnedFd::from(fetching)));
    let unpacked = unpack.status()?;
    ensure!(unpacked.success() && packing.0.wait()?.success(), "tar failed");
    Ok(began.elapsed().as_secs_f64())
}

fn rsync_daemon(home: &Path, share: &Path) -> Result<(Killed, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = home.join("rsyncd.conf");
    let share = share.display();
    fs::write(&config, format!("use chroot = no\n[files]\npath = {share}\nread only = yes\n"))?;
    let mut daemon = Command::new("rsync");
    daemon.args(["--daemon", "--no-detach", "--address=127.0.0.1"]).arg(format!("--port={port}"));
    let daemon = daemon.arg(format!("--config={}", config.display())).stdin(Stdio::null()).spawn();
    let daemon = Killed(daemon.context("could not run rsync")?);
    for _ in 0..200 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok((daemon, port));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("rsync does not listen")
}
