//! A put through which the process of its owner, or of a keeper, is killed at any of the system calls that change its
//! folders, or its disk fails there: what the network serves is the whole file or nothing, and nobody is left with a rest.
//!
//! The peer under test is the real binary under ptrace; the others run in this process. By default some points of each kind
//! are tried, spread over the whole put; with `FLOODPLAIN_ALL_KILL_POINTS=1` each of them.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

#[path = "support/kill.rs"]
mod kill;
#[allow(dead_code, reason = "every test uses its part of it")]
#[path = "support/network.rs"]
mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use floodplain::protocol::{
    action::{PutAsk, PutContent, TransferState},
    id::{ContentHash, PeerId},
    placement,
    zone::Layout,
};
use futures::StreamExt;
use kill::{Act, FAILURES, KILLS, Traced};
use support::{PATIENCE, TestPeer, TestRegistry, soon};

/// Three pieces, of which the last is short.
const SIZE_BYTES: usize = (2 << 20) + 9;
/// Points of each act that are tried by default.
const SAMPLED: usize = 2;
/// Least points of one side, so that a put that hardly touches the disk is noticed.
const LEAST_POINTS: usize = 140;
const SPACE: u64 = 1 << 30;
const GRACE: Duration = Duration::from_millis(300);

fn hash(content: &[u8]) -> ContentHash {
    ContentHash::from_bytes(*blake3::hash(content).as_bytes())
}

/// A zone of three that keep: two in this process, and the traced one.
struct Zone {
    registry: TestRegistry,
    peers: Vec<TestPeer>,
    folder: tempfile::TempDir,
    traced: Option<Traced>,
}

impl Zone {
    async fn start() -> Self {
        let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 4 }).await;
        let mut peers = Vec::new();
        for name in ["ana", "ben"] {
            let change = |settings: &mut floodplain::config::PeerSettings| {
                settings.replica_space = SPACE;
                settings.replica_grace = GRACE;
            };
            peers.push(TestPeer::start_changed(registry.address, name, &[], change).await);
        }
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("share")).expect("makes");
        let mut zone = Self { registry, peers, folder, traced: None };
        zone.restart().await;
        zone
    }

    fn program(&self) -> Command {
        let mut command = kill::program(Path::new(env!("CARGO_BIN_EXE_floodplain")));
        self.place(&mut command);
        command
    }

    fn place(&self, command: &mut Command) {
        command.env_clear().env("HOME", self.folder.path()).current_dir(self.folder.path());
        command.env("FLOODPLAIN_DATA", "data").env("TMPDIR", self.folder.path());
        command.stderr(Stdio::null());
    }

    /// A new process of the traced peer, joined.
    async fn restart(&mut self) {
        let mut command = self.program();
        command
            .args(["peer", "--headless", "--name", "traced"])
            .env("FLOODPLAIN_REGISTRY", self.registry.address.to_string())
            .env("FLOODPLAIN_LISTEN", "127.0.0.1:0")
            .env("FLOODPLAIN_INSECURE_LOOPBACK", "true")
            .env("FLOODPLAIN_SHARES", "share")
            .env("FLOODPLAIN_INBOX", "inbox")
            .env("FLOODPLAIN_REPLICA_SPACE", "1GiB")
            .env("FLOODPLAIN_REPLICA_GRACE", "1s");
        let mut traced = Traced::start(command, &[self.folder.path()], None);
        let mut line = String::new();
        BufReader::new(traced.stdout()).read_line(&mut line).expect("reads");
        let address =
            line.trim_end().strip_prefix("listening on ").expect("says where").parse().expect("one");
        for peer in &self.peers {
            let is_there = |now: &floodplain::peer::Knowledge| {
                let mut members = now.roster.iter().flat_map(|roster| roster.members());
                members.any(|member| member.address == address)
            };
            soon("the traced peer to join", peer.peer.view().until(is_there)).await;
        }
        self.traced = Some(traced);
    }

    fn traced(&self) -> &Traced {
        self.traced.as_ref().expect("runs")
    }

    fn traced_id(&self) -> PeerId {
        let now = self.peers[0].peer.view().now();
        let roster = now.roster.as_ref().expect("in a zone");
        roster.members().iter().find(|member| &*member.name.to_string() == "traced").expect("there").id
    }

    /// A content of which the traced peer is the best keeper.
    fn content(&self, number: usize) -> Vec<u8> {
        let ids: Vec<PeerId> = self.peers.iter().map(|peer| peer.peer.view().now().me.id).collect();
        let traced = self.traced_id();
        let of = |seed: usize| -> Vec<u8> {
            let key = *blake3::hash(&seed.to_le_bytes()).as_bytes();
            let mut bytes = vec![0; SIZE_BYTES];
            blake3::Hasher::new_keyed(&key).finalize_xof().fill(&mut bytes);
            bytes
        };
        let is_best = |content: &Vec<u8>| {
            let score = |id: &PeerId| placement::score(&hash(content), id);
            ids.iter().all(|id| score(id) < score(&traced))
        };
        (number * 1000..(number + 1) * 1000).map(of).find(is_best).expect("one of three is, of a thousand")
    }

    /// A command of the traced peer's person, to its end.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
        self.place(&mut command);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let running = tokio::task::spawn_blocking(move || command.output());
        soon("the command", running).await.expect("no panic").expect("runs")
    }

    fn folders(&self) -> [(&'static str, PathBuf); 3] {
        let of = |peer: &TestPeer| peer.folder.path().join("replicas");
        [
            ("ana", of(&self.peers[0])),
            ("ben", of(&self.peers[1])),
            ("traced", self.folder.path().join("replicas")),
        ]
    }

    /// Who has the content; what else is under a name that is served fails the test.
    fn holders(&self, content: &[u8]) -> Vec<&'static str> {
        let has_it = |(name, folder): (&'static str, PathBuf)| {
            let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            let files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
            assert!(files.len() <= 1, "{name} has {files:?}");
            let read = files.first().map(|path| fs::read(path).unwrap_or_default());
            // Removed between the two looks.
            let read = read.filter(|read| !read.is_empty());
            assert!(read.as_ref().is_none_or(|read| read == content), "{name} serves a wrong file");
            read.map(|_| name)
        };
        self.folders().into_iter().filter_map(has_it).collect()
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        soon(what, async {
            while !is_so(self) {
                look.tick().await;
            }
        })
        .await;
    }

    /// What is left that should not be, in the folders of the traced peer and of the others.
    fn rests(&self) -> Vec<PathBuf> {
        let mut rests = Vec::new();
        let data = self.peers.iter().map(|peer| peer.settings.data.clone());
        for data in data.chain([self.folder.path().join("data")]) {
            rests.extend(files(&data.join("puts")));
            let is_rest = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.ends_with(".json") || name.starts_with('.')
            };
            rests.extend(files(&data.join("replicas")).into_iter().filter(is_rest));
        }
        for (_, folder) in self.folders() {
            rests.extend(files(&folder.join(".incoming")));
            rests.extend(files(&folder.join(".damaged")));
            rests.extend(files(&folder));
        }
        let home = files(self.folder.path()).into_iter();
        rests.extend(home.filter(|path| !path.ends_with("content.bin")));
        rests
    }

    /// A second put and its end, with nothing in the way, leave as little as none at all.
    async fn put_again_and_take_back(&self, content: &[u8]) {
        let put = self.run(&["put", "content.bin", "--replicas", "2"]).await;
        assert!(put.status.success(), "a second put: {put:?}");
        self.until("two holders", |zone| zone.holders(content).len() == 2).await;
        let unput = self.run(&["unput", &hash(content).to_string()]).await;
        assert!(unput.status.success(), "{unput:?}");
        assert_eq!(self.holders(content), Vec::<&str>::new());
        self.until_nothing_is_left().await;
    }

    async fn until_nothing_is_left(&self) {
        let began = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while !self.rests().is_empty() {
            assert!(began.elapsed() < PATIENCE, "left: {:?}", self.rests());
            look.tick().await;
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect()
}

fn kills(act: Act) -> bool {
    KILLS.contains(&act)
}

/// Which points of a put with so many calls are tried.
fn points(calls: usize, acts: &[Act]) -> Vec<(usize, Act)> {
    let is_all = std::env::var_os("FLOODPLAIN_ALL_KILL_POINTS").is_some();
    let mut points = Vec::new();
    for (at, act) in acts.iter().enumerate() {
        let tried = if is_all { calls } else { SAMPLED.min(calls) };
        // Each act begins elsewhere, so that together they tell more.
        let from = (calls * at).div_ceil(acts.len() * tried.max(1));
        points.extend((0..tried).map(|number| (1 + (from + number * calls / tried) % calls, *act)));
    }
    points
}

/// The owner's side of one point.
async fn owner_at(zone: &mut Zone, content: &[u8], number: usize, act: Act) -> (bool, usize) {
    zone.traced().arm(number, act);
    let put = zone.run(&["put", "content.bin", "--replicas", "2"]).await;
    let (was_hit, calls) = (zone.traced().is_hit(), zone.traced().so_far().done.len());
    if was_hit && kills(act) {
        let ended = zone.traced.take().expect("runs").wait();
        assert_eq!(ended.status, None, "{number} {act:?}: {ended:?}");
        if put.status.success() {
            assert_eq!(zone.holders(content).len(), 2, "{number} {act:?}: {put:?}");
        }
        zone.restart().await;
        // Either nobody keeps it, or the holders make up what is missing.
        zone.until("none or two holders", |zone| matches!(zone.holders(content).len(), 0 | 2)).await;
    } else {
        zone.traced().disarm();
        let there = zone.holders(content).len();
        match put.status.code() {
            Some(0) => assert_eq!(there, 2, "{number} {act:?}"),
            // Kept by one for now, and told so.
            Some(code) => assert!(there < 2, "{number} {act:?}: told {code} and kept by {there}"),
            None => panic!("{number} {act:?}: the command was killed"),
        }
    }
    zone.put_again_and_take_back(content).await;
    (was_hit, calls)
}

/// A keeper's side of one point.
async fn keeper_at(zone: &mut Zone, content: &[u8], number: usize, act: Act) -> (bool, usize) {
    zone.traced().arm(number, act);
    let path = zone.folder.path().join("content.bin");
    let ask = PutAsk { content: PutContent::Path(path), name: None, replicas: 2 };
    let mut events = zone.peers[0].handle.put(ask).await.expect("begins");
    let mut last = None;
    while let Some(event) = soon("a put's event", events.next()).await {
        last = Some(event.expect("no error"));
    }
    let last = last.expect("an event");
    assert_eq!((&last.state, last.sources.len()), (&TransferState::Done, 2), "{number} {act:?}: {last:?}");
    let (was_hit, calls) = (zone.traced().is_hit(), zone.traced().so_far().done.len());
    if was_hit && kills(act) {
        let ended = zone.traced.take().expect("runs").wait();
        assert_eq!(ended.status, None, "{number} {act:?}: {ended:?}");
        zone.restart().await;
    } else {
        zone.traced().disarm();
    }
    zone.until("two holders", |zone| zone.holders(content).len() == 2).await;
    let took_back = soon("the release", zone.peers[0].handle.unput(hash(content).to_string())).await;
    assert_eq!(took_back.expect("its own").unreachable, Vec::<String>::new());
    assert_eq!(zone.holders(content), Vec::<&str>::new(), "{number} {act:?}");
    zone.until_nothing_is_left().await;
    (was_hit, calls)
}

/// Of an undisturbed put, and then of each point that is tried.
macro_rules! at_all_points {
    ($at:ident) => {{
        let began = Instant::now();
        let mut zone = Zone::start().await;
        let mut content = zone.content(0);
        fs::write(zone.folder.path().join("content.bin"), &content).expect("writes");
        let (_, calls) = $at(&mut zone, &content, usize::MAX, Act::KillBefore).await;
        let acts: Vec<Act> = KILLS.into_iter().chain(FAILURES).collect();
        let points = points(calls, &acts);
        let (mut hits, tried) = (0, points.len());
        for (at, (number, act)) in points.into_iter().enumerate() {
            content = zone.content(at + 1);
            fs::write(zone.folder.path().join("content.bin"), &content).expect("writes");
            hits += usize::from($at(&mut zone, &content, number, act).await.0);
        }
        println!("{hits} of {tried} points were reached, {calls} calls, in {:?}", began.elapsed());
        assert!(calls * acts.len() >= LEAST_POINTS, "only {calls} calls");
        assert!(hits * 2 >= tried, "only {hits} of {tried} points were reached");
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_killed_or_whose_disk_fails_leaves_a_put_whole_or_undone() {
    at_all_points!(owner_at);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_is_killed_or_whose_disk_fails_is_passed_over_and_serves_nothing_torn() {
    at_all_points!(keeper_at);
}
