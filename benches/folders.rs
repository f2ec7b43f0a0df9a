//! Many small files over loopback: a folder fetched by the library against the rsync daemon, `cp -r` and tar over TCP.
//!
//! `cargo bench --bench folders [-- --files 10000 --bytes 4096 --rounds 9 --folder /dev/shm]`. Rounds are interleaved; a row
//! is the median of the time that the whole fetching process takes. All write to the same file system; ours lists, checks
//! every BLAKE3, brings the folder to disk and renames it as well. The holder is a whole peer with its index.

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
        layout: Layout::Fixed { zones: 1, zone_size: 6 },
        lease: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
        data: data.join("registry"),
        insecure_loopback: true,
    };
    let registry = registry::start(settings, shutdown.clone()).await?;
    let settings = PeerSettings {
        registry: registry.address().to_string(),
        name: "bench".parse()?,
        is_name_default: false,
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
        http_listen: ([127, 0, 0, 1], 0).into(),
        shares: vec![share],
        inbox: data.join("inbox"),
        data: data.join("peer"),
        ttl: 16,
        search_timeout: Duration::from_secs(3),
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
    let (_rsync, rsync_port) = rsync_daemon(home.path(), &share)?;

    let names = ["floodplain", "rsync -rW", "cp -r", "tar over TCP"];
    let mut seconds: [Vec<f64>; 4] = Default::default();
    for round in 0..=args.rounds {
        for (kind, seconds) in seconds.iter_mut().enumerate() {
            let copies = tempfile::tempdir_in(home.path())?;
            let to = copies.path().join("copy");
            let took = match kind {
                0 => timed(Command::new(&me).arg("get").arg(address).arg(&to))?,
                1 => {
                    let url = format!("rsync://127.0.0.1:{rsync_port}/files/");
                    timed(Command::new("rsync").args(["-rW", &url]).arg(&to))?
                }
                2 => timed(Command::new("cp").arg("-r").arg(&share).arg(&to))?,
                _ => tar_over_tcp(&share, &to)?,
            };
            ensure!(count(&to)? == args.files, "{} brought another number of files", names[kind]);
            // The first round warms all up.
            if round > 0 {
                seconds.push(took);
            }
        }
    }
    let medians = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    });
    println!("{} files of {} bytes, {} rounds, medians", args.files, args.bytes, args.rounds);
    println!("{:<14} {:>8} {:>22}", "", "ms", "floodplain is faster by");
    for (name, median) in names.iter().zip(medians) {
        println!("{name:<14} {:>8.1} {:>22.2}", median * 1e3, median / medians[0]);
    }
    Ok(())
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
