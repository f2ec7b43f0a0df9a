//! Several holders at once, by real processes: what they cost in memory, and what a kill costs.

#![cfg(target_os = "linux")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use floodplain::{
    peer::{Handle, handle::Events, remote},
    protocol::{
        action::{ErrorKind, GetAsk, Target, Transfer, TransferState},
        id::ContentHash,
    },
};
use futures::{StreamExt, future::join_all};

const PIECE: usize = 1 << 20;
/// Of each process. A debug build has some 15 MiB more code in memory, and slower tasks hold more.
const MOST_MEMORY_KIB: u64 = if cfg!(debug_assertions) { 96 << 10 } else { 64 << 10 };

/// Bytes that differ from place to place and from file to file.
fn content(size: usize, seed: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn hash(bytes: &[u8]) -> ContentHash {
    ContentHash::from_bytes(*blake3::hash(bytes).as_bytes())
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// A daemon that has said where it listens; killed when it is dropped.
struct Daemon {
    child: Child,
    address: String,
    folder: PathBuf,
}

impl Daemon {
    fn start(folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
        command.env_clear().env("HOME", folder).current_dir(folder).stdin(Stdio::null());
        command.env("FLOODPLAIN_DATA", "data").env("FLOODPLAIN_LISTEN", "127.0.0.1:0");
        command.env("FLOODPLAIN_INSECURE_LOOPBACK", "true").envs(settings.iter().copied());
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("reads");
        let address = line.trim_end().strip_prefix("listening on ").expect("says where").to_owned();
        Self { child, address, folder: folder.into() }
    }

    fn registry(home: &Path) -> Self {
        fs::create_dir(home.join("hub")).expect("made");
        Self::start(&home.join("hub"), &["registry", "--listen", "127.0.0.1:0", "--data", "data"], &[])
    }

    /// With what lies in its share.
    fn peer(registry: &Self, home: &Path, name: &str, settings: &[(&str, &str)]) -> Self {
        let folder = home.join(name);
        fs::create_dir_all(folder.join("share")).expect("made");
        let settings: Vec<_> = [("FLOODPLAIN_REGISTRY", &*registry.address), ("FLOODPLAIN_SHARES", "share")]
            .into_iter()
            .chain(settings.iter().copied())
            .collect();
        Self::start(&folder, &["peer", "--name", name], &settings)
    }

    async fn handle(&self) -> Handle {
        remote::connect(&self.folder.join("data/control.sock")).await.expect("connects")
    }

    /// Until it has hashed so many files.
    async fn until_hashed(&self, files: u64) {
        let handle = self.handle().await;
        soon("hashes", async {
            while handle.status().await.expect("answers").index.hashed_files < files {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Until it knows so many others.
    async fn until_zone_has(&self, peers: u32) {
        let handle = self.handle().await;
        soon("the zone", async {
            while handle.status().await.expect("answers").zone_peers < peers {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// The most memory that it ever had.
    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("told");
        peak.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts the files into the share of each, which then share their blocks on the disk.
fn share(home: &Path, names: &[&str], files: &[Vec<u8>]) {
    for (number, bytes) in files.iter().enumerate() {
        let first = home.join(names[0]).join(format!("share/{number}"));
        for (at, name) in names.iter().enumerate() {
            let path = home.join(name).join(format!("share/{number}"));
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            if at == 0 { fs::write(&path, bytes) } else { fs::hard_link(&first, &path) }.expect("put");
        }
    }
}

/// Begins to get what somebody has: they may be silent at first, on a machine with other things to do.
async fn begun(handle: &Handle, ask: GetAsk) -> Events<Transfer> {
    soon("holders to be found", async {
        loop {
            match handle.get(ask.clone()).await {
                Ok(events) => return events,
                Err(error) => assert_eq!(error.kind, ErrorKind::NotFound, "{error}"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_two_downloads_at_once_from_four_holders_arrive_in_bounded_memory() {
    const DOWNLOADS: usize = 32;
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let names = ["ana", "kim", "zoe", "eve"];
    let files: Vec<Vec<u8>> = (0..DOWNLOADS).map(|number| content(2 * PIECE + PIECE / 2, number)).collect();
    share(home, &names, &files);
    let registry = Daemon::registry(home);
    // Slow enough that all of them run at a time.
    let slots = [("FLOODPLAIN_UPLOAD_SLOTS", "64"), ("FLOODPLAIN_UPLOAD_LIMIT", "8MiB")];
    let holders = names.map(|name| Daemon::peer(&registry, home, name, &slots));
    let fetcher = Daemon::peer(&registry, home, "ben", &[("FLOODPLAIN_DOWNLOAD_SLOTS", "32")]);
    for holder in &holders {
        holder.until_hashed(DOWNLOADS as u64).await;
    }
    fetcher.until_zone_has(5).await;

    let got = home.join("got");
    fs::create_dir(&got).expect("made");
    let handle = fetcher.handle().await;
    let getting = files.iter().enumerate().map(|(number, bytes)| {
        let ask = GetAsk::new(Target::Hash(hash(bytes)), Some(got.join(number.to_string())));
        let handle = handle.clone();
        async move {
            let mut events = begun(&handle, ask).await;
            let mut last = None;
            while let Some(event) = soon("an event", events.next()).await {
                last = Some(event.expect("no error"));
            }
            last.expect("an event")
        }
    });
    let most_at_once = async {
        let (mut most, is_open) =
            (0, |transfer: &Transfer| transfer.done_bytes > 0 && !transfer.state.is_final());
        loop {
            let transfers = handle.transfers().await.expect("lists");
            most = most.max(transfers.iter().filter(|transfer| is_open(transfer)).count());
            let ended = transfers.iter().filter(|transfer| transfer.state.is_final()).count();
            if ended == DOWNLOADS {
                return most;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (ended, most_at_once) = tokio::join!(join_all(getting), soon("the end of all", most_at_once));
    for (number, (transfer, bytes)) in ended.iter().zip(&files).enumerate() {
        assert_eq!(transfer.state, TransferState::Done, "{transfer:?}");
        assert!(fs::read(got.join(number.to_string())).expect("reads") == *bytes, "file {number}");
    }
    assert_eq!(fs::read_dir(&got).expect("reads").count(), DOWNLOADS, "no part is left");
    let peaks: Vec<u64> = holders.iter().chain([&fetcher]).map(Daemon::peak_kib).collect();
    println!("{most_at_once} at once; most memory of each holder and of the fetcher, in KiB: {peaks:?}");
    assert!(most_at_once > DOWNLOADS / 2, "only {most_at_once} ran at once");
    assert!(peaks.iter().all(|&peak| peak <= MOST_MEMORY_KIB), "{peaks:?} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_fetcher_goes_on_by_itself_and_fetches_a_piece_a_stream_again() {
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let bytes = content(24 * PIECE + 7, 99);
    share(home, &["ana", "kim"], std::slice::from_ref(&bytes));
    let registry = Daemon::registry(home);
    let holders = ["ana", "kim"].map(|name| Daemon::peer(&registry, home, name, &[]));
    let limit = [("FLOODPLAIN_DOWNLOAD_LIMIT", "16MiB")];
    let fetcher = Daemon::peer(&registry, home, "ben", &limit);
    for holder in &holders {
        holder.until_hashed(1).await;
    }
    fetcher.until_zone_has(3).await;
    let destination = home.join("got");
    let handle = fetcher.handle().await;
    let ask =
        GetAsk { is_detached: true, ..GetAsk::new(Target::Hash(hash(&bytes)), Some(destination.clone())) };
    let mut events = begun(&handle, ask).await;
    let before = soon("the middle", async {
        loop {
            let event = events.next().await.expect("goes on").expect("no error");
            if event.done_bytes > 8 * PIECE as u64 {
                return event;
            }
        }
    })
    .await;
    assert!(!destination.exists());
    drop((fetcher, handle, events)); // By SIGKILL.

    let fetcher = Daemon::peer(&registry, home, "ben", &limit);
    let handle = fetcher.handle().await;
    soon("the file", async {
        while !destination.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert!(fs::read(&destination).expect("reads") == bytes);
    let after = handle.status().await.expect("answers").counters.bytes_down;
    let twice = (before.done_bytes + after).saturating_sub(bytes.len() as u64);
    println!("{} bytes before, {after} after, so at most {twice} twice", before.done_bytes);
    assert!(twice <= 2 * PIECE as u64, "{twice} bytes came twice");
    assert!(holders.iter().all(|holder| holder.peak_kib() <= MOST_MEMORY_KIB));
}
