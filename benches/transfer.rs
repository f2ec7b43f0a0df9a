//! 1 GiB over loopback through the library's own upload and download, in separate processes, against nginx to curl.
//!
//! `cargo bench --bench transfer [-- --size-mib 1024 --rounds 9 --folder /dev/shm]`. Rounds are interleaved under each
//! congestion control that the machine offers; a row is the median. Both sides of a row write to the same file system;
//! ours verifies BLAKE3, brings the file to disk and renames it as well.

#![allow(clippy::cast_precision_loss)] // figures to read, not to reckon with

#[path = "../tests/support/stand_in.rs"]
mod stand_in;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use floodplain::{
    net::{Identity, Security, Transport, throttle::Throttle},
    peer::{
        channels::Channels,
        download::{DownloadAsk, Downloader, Source},
        transfers::Transfers,
        upload::{FastDownload, Uploads},
    },
    protocol::{
        action::{FileInfo, TransferState},
        bucket::RateLimits,
        id::{ContentHash, PeerId},
        piece::{Tree, TreeHasher},
        plan::FileName,
    },
    shutdown::Shutdown,
    store::read::{FileSource, SourceError, SourceFile},
};
use futures::StreamExt;
use stand_in::{Answers, StandIn};
use tonic::service::Routes;

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Size of the file.
    #[arg(long, default_value_t = 1024)]
    size_mib: u64,
    /// Runs of each pair.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Where file and copies lie.
    #[arg(long, default_value = "/dev/shm")]
    folder: PathBuf,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Role {
    /// Shares one file; prints its address.
    Serve { file: PathBuf, hash: ContentHash },
    /// Downloads it once; prints seconds, CPU seconds and peak memory in KiB.
    Get { address: SocketAddr, hash: ContentHash, folder: PathBuf },
}

fn main() -> Result<()> {
    let args = Args::parse();
    // As many threads as a daemon has.
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match args.role {
        Some(Role::Serve { file, hash }) => runtime()?.block_on(serve(file, hash)),
        Some(Role::Get { address, hash, folder }) => runtime()?.block_on(get(address, hash, folder)),
        None => compare(&args),
    }
}

struct OneFile(PathBuf, Tree);

impl FileSource for OneFile {
    fn open(&self, what: &FileName) -> Result<SourceFile, SourceError> {
        if *what != FileName::Hash(self.1.root()) {
            return Err(SourceError::NotFound);
        }
        let file = fs::File::open(&self.0)?;
        let metadata = file.metadata()?;
        let info = FileInfo {
            hash: Some(self.1.root()),
            path: "share/copy".into(),
            size_bytes: metadata.len(),
            modified: metadata.modified()?,
        };
        SourceFile::new(file, info)
    }

    fn tree(&self, hash: &ContentHash) -> Option<Tree> {
        (*hash == self.1.root()).then(|| self.1.clone())
    }
}

/// As the index makes it, before anything is measured.
fn tree_of(file: &Path) -> Result<Tree> {
    let (mut file, mut buffer) = (fs::File::open(file)?, vec![0; 256 << 10]);
    let mut hasher = TreeHasher::new(file.metadata()?.len());
    loop {
        match file.read(&mut buffer)? {
            0 => return hasher.finish().context("the file changed"),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// Stands behind the fast path for the methods that the benchmark does not call.
struct Rest;

impl Answers for Rest {}

fn transport() -> Transport {
    Transport::new(Identity::ephemeral(), Security::PlaintextLoopback)
}

async fn serve(file: PathBuf, hash: ContentHash) -> Result<()> {
    let shutdown = Shutdown::new();
    let transfers = Transfers::new(1);
    let tree = tree_of(&file)?;
    ensure!(tree.root() == hash, "the file has another content");
    let uploads =
        Uploads::new(Arc::new(OneFile(file, tree)), 8, RateLimits::default(), transfers, shutdown.clone());
    let routes = Routes::new(FastDownload::new(uploads, StandIn::service(Rest)));
    let transport = transport();
    let listener = transport.listen("127.0.0.1:0".parse()?).await?;
    println!("{}", listener.address());
    transport.serve(listener, routes, &shutdown).await
}

async fn get(address: SocketAddr, hash: ContentHash, folder: PathBuf) -> Result<()> {
    let shutdown = Shutdown::new();
    let downloader =
        Downloader::new(Channels::new(transport()), Transfers::new(1), shutdown.clone(), Throttle::default());
    let source = Source { peer_id: PeerId::from_bytes([1; 32]), name: "bench".into(), address };
    let began = Instant::now();
    let ask = DownloadAsk {
        what: FileName::Hash(hash),
        sources: vec![source],
        destination: folder,
        name: None,
        finder: None,
    };
    let mut events = downloader.start(ask)?;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event?);
    }
    let transfer = last.context("no event")?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(transfer.state == TransferState::Done, "{:?}", transfer.state);
    println!("{seconds}");
    drop(shutdown);
    Ok(())
}

#[derive(Clone, Copy, Default)]
struct Run {
    seconds: f64,
    cpu_seconds: f64,
    serving_kib: u64,
    getting_kib: u64,
}

/// CPU seconds and peak memory of a live process, all its threads.
fn usage(pid: u32) -> Result<(f64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak")?;
    let hz = rustix::param::clock_ticks_per_second() as f64;
    Ok((ticks / hz, peak.trim().trim_end_matches(" kB").parse()?))
}

/// Runs to its end under `/usr/bin/time`-like accounting: user and system seconds, peak KiB, standard output.
fn run(command: &mut Command) -> Result<(f64, u64, String)> {
    let report = tempfile::NamedTempFile::new()?;
    let mut timed = Command::new("/usr/bin/time");
    timed
        .args(["-f", "%U %S %M", "-o"])
        .arg(report.path())
        .arg(command.get_program())
        .args(command.get_args());
    let output = timed.stderr(Stdio::inherit()).output().context("could not run /usr/bin/time")?;
    ensure!(output.status.success(), "{command:?} failed");
    let told = fs::read_to_string(report.path())?;
    let numbers: Vec<&str> = told.split_whitespace().collect();
    let cpu = numbers[0].parse::<f64>()? + numbers[1].parse::<f64>()?;
    Ok((cpu, numbers[2].parse()?, String::from_utf8(output.stdout)?))
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
    let file = home.path().join("file");
    let hash = make_file(&file, args.size_mib << 20)?;
    let me = std::env::current_exe()?;
    let before = fs::read_to_string(CONGESTION).unwrap_or_default();
    let controls = ["bbr", "cubic"].map(|control| (control, fs::write(CONGESTION, control).is_ok()));
    for (control, is_set) in controls {
        if !is_set {
            println!("{control}: cannot be set here; running as {}", before.trim());
        }
        let _ = fs::write(CONGESTION, control);
        let mut ours = Command::new(&me)
            .args(["serve"])
            .arg(&file)
            .arg(hash.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut address = String::new();
        BufReader::new(ours.stdout.take().context("piped")?).read_line(&mut address)?;
        let ours = Killed(ours);
        let (nginx, port) = nginx(home.path(), &file)?;
        let (mut here, mut there) = (Vec::new(), Vec::new());
        for round in 0..=args.rounds {
            let floodplain = round_of(home.path(), &[ours.0.id()], |copies| {
                let mut get = Command::new(&me);
                get.args(["get", address.trim(), &hash.to_string()]).arg(copies);
                let (cpu, peak, out) = run(&mut get)?;
                Ok((out.trim().parse()?, cpu, peak))
            })?;
            let curl = round_of(home.path(), &workers(nginx.0.id())?, |copies| {
                let mut curl = Command::new("curl");
                curl.args(["-s", "-o"]).arg(copies.join("copy"));
                curl.args(["-w", "%{time_total}"]).arg(format!("http://127.0.0.1:{port}/file"));
                let (cpu, peak, out) = run(&mut curl)?;
                Ok((out.trim().parse()?, cpu, peak))
            })?;
            // The first round warms both up.
            if round > 0 {
                here.push(floodplain);
                there.push(curl);
            }
        }
        drop((ours, nginx));
        print_table(control, args.size_mib, &mut here, &mut there);
        if !is_set {
            break;
        }
    }
    if !before.is_empty() {
        let _ = fs::write(CONGESTION, before.trim());
    }
    Ok(())
}

fn round_of(home: &Path, serving: &[u32], get: impl FnOnce(&Path) -> Result<(f64, f64, u64)>) -> Result<Run> {
    let copies = tempfile::tempdir_in(home)?;
    let all = || serving.iter().map(|&pid| usage(pid)).collect::<Result<Vec<_>>>();
    let before: f64 = all()?.iter().map(|(cpu, _)| cpu).sum();
    let (seconds, cpu, getting_kib) = get(copies.path())?;
    let after = all()?;
    let served: f64 = after.iter().map(|(cpu, _)| cpu).sum::<f64>() - before;
    let serving_kib = after.iter().map(|(_, peak)| *peak).max().unwrap_or(0);
    Ok(Run { seconds, cpu_seconds: cpu + served, serving_kib, getting_kib })
}

fn make_file(path: &Path, size_bytes: u64) -> Result<ContentHash> {
    let mut file = fs::File::create(path)?;
    let mut random = blake3::Hasher::new().finalize_xof();
    let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    for _ in 0..size_bytes >> 20 {
        random.fill(&mut chunk);
        hasher.update(&chunk);
        file.write_all(&chunk)?;
    }
    Ok(ContentHash::from_bytes(*hasher.finalize().as_bytes()))
}

fn nginx(home: &Path, file: &Path) -> Result<(Killed, u16)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let (root, home_text) = (file.parent().context("a folder")?.display(), home.display());
    let config = format!(
        "daemon off; master_process off; pid {home_text}/nginx.pid; error_log {home_text}/error.log;\n\
         user root; events {{}}\nhttp {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {home_text}/t;\n\
         server {{ listen 127.0.0.1:{port}; location / {{ root {root}; }} }} }}\n"
    );
    let path = home.join("nginx.conf");
    fs::write(&path, config)?;
    let child = Command::new("nginx").arg("-c").arg(path).stderr(Stdio::null()).spawn();
    let nginx = Killed(child.context("could not run nginx")?);
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok((nginx, port));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    anyhow::bail!("nginx does not listen")
}

/// The process and its children.
fn workers(pid: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let mut all = vec![pid];
    all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    Ok(all)
}

fn median(runs: &mut [Run], of: impl Fn(&Run) -> f64) -> f64 {
    runs.sort_by(|a, b| of(a).total_cmp(&of(b)));
    runs.get(runs.len() / 2).map_or(0.0, of)
}

fn print_table(control: &str, size_mib: u64, here: &mut [Run], there: &mut [Run]) {
    let megabytes = (size_mib << 20) as f64 / 1e6;
    let gib = size_mib as f64 / 1024.0;
    println!("{control}, {size_mib} MiB, {} rounds, medians", here.len());
    println!("{:<14} {:>8} {:>12} {:>12} {:>12}", "", "MB/s", "CPU-s/GiB", "serving MiB", "getting MiB");
    for (name, runs) in [("floodplain", &mut *here), ("nginx to curl", &mut *there)] {
        println!(
            "{name:<14} {:>8.0} {:>12.2} {:>12.1} {:>12.1}",
            megabytes / median(runs, |run| run.seconds),
            median(runs, |run| run.cpu_seconds) / gib,
            median(runs, |run| run.serving_kib as f64) / 1024.0,
            median(runs, |run| run.getting_kib as f64) / 1024.0,
        );
    }
    let ratio = median(there, |run| run.seconds) / median(here, |run| run.seconds);
    println!("ratio {ratio:.2}");
}
