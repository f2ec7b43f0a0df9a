//! A download from several holders whose lines are limited, and one whose fetcher is killed half way: what of the sum of
//! the lines is reached, and what is fetched twice.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::daemon::Daemon;

const MB: u64 = 1_000_000;
/// Between two looks at a daemon's state.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For everything that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What each holder may bring a second, in MB; 0 is no limit.
const LINES: [(&str, &[u64]); 5] = [
    ("1 at 50", &[50]),
    ("2 at 50", &[50, 50]),
    ("4 at 50", &[50, 50, 50, 50]),
    ("3 at 50, 1 at 5", &[50, 50, 50, 5]),
    ("1 without a limit", &[0]),
];

/// Blocks: there is nothing else to do meanwhile.
pub(crate) fn run(size_mib: u64, rounds: usize, folder: &Path) -> Result<()> {
    println!(
        "{size_mib} MiB, {rounds} rounds, medians; MB/s from the command to its end, verified and on disk"
    );
    println!(
        "holders (MB/s)            MB/s   of the sum   fetched twice, KiB   RSS getting / busiest holder, MiB"
    );
    for (name, lines) in LINES {
        let mut network = Network::start(folder, size_mib, lines)?;
        let mut rates = Vec::new();
        for round in 0..rounds {
            rates.push(network.rate(&format!("copy{round}"))?);
        }
        rates.sort_by(f64::total_cmp);
        let rate = rates[rates.len() / 2];
        let sum: u64 = lines.iter().sum();
        let part = if sum == 0 { String::new() } else { format!("{:.3}", rate / sum as f64) };
        let twice = network.sent()?.saturating_sub(rounds as u64 * network.size_bytes) / rounds as u64;
        let holders = network.holders.iter().map(|holder| peak_mib(holder.pid())).fold(0.0, f64::max);
        let getting = peak_mib(network.getter.pid());
        println!("{name:22} {rate:7.1} {part:>12} {:>20} {getting:>20.1} / {holders:.1}", twice >> 10);
    }
    for lines in [&[100][..], &[50, 50, 50, 50]] {
        let mut network = Network::start(folder, size_mib, lines)?;
        let twice = network.resume()?;
        println!("killed at half, {} holder(s): {} KiB fetched twice", lines.len(), twice >> 10);
    }
    Ok(())
}

struct Network {
    home: tempfile::TempDir,
    registry: Daemon,
    holders: Vec<Daemon>,
    getter: Daemon,
    hash: String,
    size_bytes: u64,
}

impl Network {
    fn start(folder: &Path, size_mib: u64, lines: &[u64]) -> Result<Self> {
        let home = tempfile::tempdir_in(folder)?;
        let registry = Daemon::registry(&home.path().join("registry"), &[])?;
        let (file, hash) = content(home.path(), size_mib)?;
        let mut holders = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            let name = format!("holder{number}");
            let folder = home.path().join(&name);
            fs::create_dir_all(folder.join("share"))?;
            // One content on disk for all: what is measured is the way.
            fs::hard_link(&file, folder.join("share/file"))?;
            let limit = (line * MB).to_string();
            let holder =
                Daemon::peer_with(&folder, registry.address, &name, &[("FLOODPLAIN_UPLOAD_LIMIT", &limit)])?;
            until(|| Ok(number_at(&ask(&holder, &["status"])?, "hashed_files") >= 1))?;
            holders.push(holder);
        }
        let getter = Self::getter(home.path(), registry.address)?;
        let size_bytes = size_mib << 20;
        Ok(Self { home, registry, holders, getter, hash, size_bytes })
    }

    fn getter(home: &Path, registry: SocketAddr) -> Result<Daemon> {
        let folder = home.join("getter");
        fs::create_dir_all(folder.join("share"))?;
        Daemon::peer(&folder, registry, "getter", true)
    }

    /// MB a second of one download; the copy is removed.
    fn rate(&mut self, name: &str) -> Result<f64> {
        let copy = self.home.path().join(name);
        let begun = Instant::now();
        let output = floodplain(&self.getter.data, &["get", &self.hash, "-o"]).arg(&copy).output()?;
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ensure!(fs::metadata(&copy)?.len() == self.size_bytes, "the copy is not whole");
        fs::remove_file(copy)?;
        Ok(self.size_bytes as f64 / MB as f64 / seconds)
    }

    /// Kills the getter at half of a download, starts it again, and tells what the holders sent beyond the file.
    fn resume(&mut self) -> Result<u64> {
        let copy = self.home.path().join("resumed");
        let status =
            floodplain(&self.getter.data, &["get", &self.hash, "--detach", "-o"]).arg(&copy).status()?;
        ensure!(status.success(), "the download was not taken");
        let half = self.size_bytes / 2;
        until(|| Ok(number_at(&ask(&self.getter, &["transfers"])?, "done_bytes") >= half))?;
        self.getter.kill()?;
        self.getter = Self::getter(self.home.path(), self.registry.address)?;
        until(|| Ok(copy.exists()))?;
        Ok(self.sent()?.saturating_sub(self.size_bytes))
    }

    /// File bytes that the holders have sent since their start.
    fn sent(&self) -> Result<u64> {
        self.holders.iter().map(|holder| Ok(number_at(&ask(holder, &["status"])?, "bytes_up"))).sum()
    }
}

fn content(home: &Path, size_mib: u64) -> Result<(PathBuf, String)> {
    let path = home.join("content");
    let mut random = blake3::Hasher::new().finalize_xof();
    let (mut hasher, mut chunk) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    let mut file = fs::File::create(&path)?;
    for _ in 0..size_mib {
        random.fill(&mut chunk);
        hasher.update(&chunk);
        std::io::Write::write_all(&mut file, &chunk)?;
    }
    Ok((path, hasher.finalize().to_hex().to_string()))
}

pub(crate) fn floodplain(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
    command.arg("--data").arg(data).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// What a daemon answers, line by line.
pub(crate) fn ask(daemon: &Daemon, arguments: &[&str]) -> Result<Vec<Value>> {
    let output = floodplain(&daemon.data, arguments).arg("--json").stdout(Stdio::piped()).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

/// The number of that name in the last line that has one, however deep; 0 without it.
pub(crate) fn number_at(lines: &[Value], name: &str) -> u64 {
    fn find(value: &Value, name: &str) -> Option<u64> {
        let fields = value.as_object()?;
        fields
            .get(name)
            .and_then(Value::as_u64)
            .or_else(|| fields.values().find_map(|value| find(value, name)))
    }
    lines.iter().rev().find_map(|line| find(line, name)).unwrap_or(0)
}

pub(crate) fn until(mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so()? {
        ensure!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The most memory that a process ever had.
pub(crate) fn peak_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("ended").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}
