//! A get whose holders or whose registry are killed while it runs goes on by itself, with whoever is left or comes back.
//!
//! All are real processes. The moments are spread by a seed that is printed; `FLOODPLAIN_KILL_SEED=N` takes them again.

#[path = "support/processes.rs"]
mod processes;

use std::{
    fs,
    path::{Path, PathBuf},
};

use floodplain::protocol::id::ContentHash;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use self::processes::{Daemon, home, json, logged, run, status, until, wait_for};

const PIECE_BYTES: u64 = 1 << 20;
/// Nine pieces, the last one short.
const SIZE_BYTES: usize = (8 << 20) + 70_001;
const NAME: &str = "film.mkv";
/// Of each holder: slow enough to be killed half way, seconds before the end.
const LIMIT: &str = "FLOODPLAIN_UPLOAD_LIMIT=1MiB\n";

struct Net {
    folder: tempfile::TempDir,
    content: Vec<u8>,
    hash: String,
    fetcher: PathBuf,
    address: String,
    registry: Option<Daemon>,
    holders: [Option<Daemon>; 2],
    _fetcher: Daemon,
    rng: SmallRng,
    gets: usize,
}

impl Net {
    fn new() -> Self {
        let seed = std::env::var("FLOODPLAIN_KILL_SEED").ok().map(|seed| seed.parse().expect("a number"));
        let seed: u64 = seed.unwrap_or_else(rand::random);
        println!("FLOODPLAIN_KILL_SEED={seed}");
        let folder = tempfile::tempdir().expect("a folder");
        let registry = Daemon::registry(&folder.path().join("hub"), "127.0.0.1:0");
        let mut content = vec![0; SIZE_BYTES];
        blake3::Hasher::new().update(b"film").finalize_xof().fill(&mut content);
        for name in ["ana", "ben"] {
            let home = home(&folder.path().join(name), &registry.address, LIMIT);
            fs::write(home.join("share").join(NAME), &content).expect("writes");
        }
        let fetcher = home(&folder.path().join("eva"), &registry.address, "");
        fs::create_dir(fetcher.join("out")).expect("makes");
        let eva = Daemon::start(&fetcher, &["peer", "--name", "eva"]);
        let hash = ContentHash::from_bytes(*blake3::hash(&content).as_bytes()).to_string();
        let mut net = Self {
            folder,
            content,
            hash,
            fetcher,
            address: registry.address.clone(),
            registry: Some(registry),
            holders: [None, None],
            _fetcher: eva,
            rng: SmallRng::seed_from_u64(seed),
            gets: 0,
        };
        for holder in 0..2 {
            net.start_holder(holder);
        }
        net.until_known();
        net
    }

    fn holder(&self, holder: usize) -> PathBuf {
        self.folder.path().join(["ana", "ben"][holder])
    }

    fn start_holder(&mut self, holder: usize) {
        let name = ["ana", "ben"][holder];
        let home = self.holder(holder);
        self.holders[holder] = Some(Daemon::start(&home, &["peer", "--name", name]));
        until(&home, "--json status", "\"hashed_files\":1");
    }

    /// At the address that it had.
    fn start_registry(&mut self) {
        let home = self.folder.path().join("hub");
        self.registry = Some(Daemon::registry(&home, &self.address));
    }

    /// Until the fetcher finds both holders where they are now.
    fn until_known(&self) {
        for (name, daemon) in ["ana", "ben"].iter().zip(&self.holders) {
            let address = &daemon.as_ref().expect("runs").address;
            let is_known = || {
                let peers = json(&self.fetcher, "peers");
                peers.iter().any(|peer| peer["name"] == *name && peer["address"] == **address)
            };
            wait_for(&format!("{name} is known"), is_known, || logged(&self.fetcher));
        }
        // The registry lists them a moment before the fetcher's own zone does.
        until(&self.fetcher, "--json status", "\"zone_peers\":3");
    }

    fn out(&self) -> PathBuf {
        self.fetcher.join("out").join(self.gets.to_string())
    }

    /// Begins a get and waits for a moment at which it is half way.
    fn begin(&mut self) {
        self.gets += 1;
        fs::create_dir(self.out()).expect("makes");
        let line = format!("get --detach {} -o {}", self.hash, self.out().display());
        assert_eq!(run(&self.fetcher, &line).0, 0, "{}", logged(&self.fetcher));
        let moment = self.rng.random_range(1..=4 * PIECE_BYTES);
        let has_come = || self.transfer("done_bytes").as_u64().is_some_and(|bytes| bytes >= moment);
        wait_for(&format!("{moment} bytes have come"), has_come, || logged(&self.fetcher));
        assert!(!is_exact(&self.out(), &self.content), "it ended too early");
    }

    fn transfer(&self, field: &str) -> serde_json::Value {
        json(&self.fetcher, "transfers").pop().map(|transfer| transfer[field].clone()).unwrap_or_default()
    }

    /// Nobody does anything any more, and it ends.
    fn ends(&self, down_before: u64, lost_streams: u64) {
        let ended = || is_exact(&self.out(), &self.content) && self.transfer("state") == "done";
        wait_for("it has ended", ended, || {
            format!("{:?}\n{}", run(&self.fetcher, "--json transfers"), logged(&self.fetcher))
        });
        assert_eq!(fs::read_dir(self.out()).expect("lists").count(), 1, "something is left");
        let down = status(&self.fetcher, "bytes_down") - down_before;
        let most = SIZE_BYTES as u64 + lost_streams * PIECE_BYTES;
        assert!(down <= most, "{down} bytes came for {SIZE_BYTES}");
    }

    fn down(&self) -> u64 {
        status(&self.fetcher, "bytes_down")
    }
}

/// Whether the file is there; a wrong one is a failure at any moment.
fn is_exact(out: &Path, content: &[u8]) -> bool {
    match fs::read(out.join(NAME)) {
        Ok(found) => {
            assert!(found == content, "a wrong file of {} bytes under its name", found.len());
            true
        }
        Err(_) => false,
    }
}

#[test]
fn a_get_goes_on_with_the_other_holder_when_one_is_killed() {
    let mut net = Net::new();
    for killed in [0, 1] {
        let before = net.down();
        net.begin();
        net.holders[killed] = None;
        net.ends(before, 1);
        net.start_holder(killed);
        net.until_known();
    }
}

#[test]
fn a_get_goes_on_when_its_registry_is_killed() {
    let mut net = Net::new();
    let before = net.down();
    net.begin();
    net.registry = None;
    net.ends(before, 0);
    let before = net.down();
    net.start_registry();
    // Its peers come back one after the other.
    net.until_known();
    net.begin();
    net.ends(before, 0);
}

#[test]
fn a_get_waits_when_all_its_holders_are_killed_and_goes_on_with_the_first_that_comes_back() {
    let mut net = Net::new();
    let before = net.down();
    net.begin();
    net.holders = [None, None];
    wait_for("it waits", || net.transfer("state") == "waiting", || logged(&net.fetcher));
    net.start_holder(1);
    net.ends(before, 2);
}

#[test]
fn a_get_goes_on_after_everything_but_its_own_peer_was_killed_and_came_back() {
    let mut net = Net::new();
    let before = net.down();
    net.begin();
    net.holders = [None, None];
    net.registry = None;
    wait_for("it waits", || net.transfer("state") == "waiting", || logged(&net.fetcher));
    net.start_registry();
    net.start_holder(0);
    net.ends(before, 2);
}
