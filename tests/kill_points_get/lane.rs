//! A peer that gets one file after the other while its disk and its life are in the hands of a test.
//!
//! Invariant: whatever is done to it, the file is absent or exact whenever it is looked at, and there once in the end.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use floodplain::protocol::id::ContentHash;
use nix::libc;
use rand::{SeedableRng, rngs::SmallRng};

use super::{
    kill::{self, Act, Call, Ended, KILLS, Traced},
    processes::{self, Daemon, ask, home, in_home, json, log, logged, run, status, until, wait_for},
};

const PIECE_BYTES: u64 = 1 << 20;
/// Five pieces, the last one short.
pub(super) const SIZE_BYTES: usize = (4 << 20) + 70_001;
const NAME: &str = "film.mkv";
/// Streams that may have a piece half way when the fetcher is killed: one from each holder.
const STREAMS: u64 = 2;
/// What each of them has sent and not been heard of, at the limit of its upload.
const CHUNK_BYTES: u64 = 256 << 10;
/// A kill costs so much as a rule.
pub(super) const USUAL_BYTES: u64 = STREAMS * (PIECE_BYTES + CHUNK_BYTES);

/// When the act is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum From {
    /// The call of `get`.
    Get,
    /// The start of a peer that has a download half way.
    Start,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub(super) from: From,
    pub(super) act: Act,
    pub(super) number: usize,
    pub(super) way: Way,
}

/// How the file is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// At one holder, by its path; else by its content, from both.
    pub(super) is_by_path: bool,
    /// The file to make is named; else the folder to put it in.
    pub(super) names_file: bool,
}

/// A fetcher, and two that have what it gets.
pub(super) struct Lane {
    home: PathBuf,
    name: String,
    holders: Vec<(PathBuf, Daemon)>,
    content: Vec<u8>,
    hash: String,
    /// As a path at the first holder.
    path: String,
    /// Gets so far, and how the last one asks.
    gets: usize,
    way: Way,
    peer: Option<Traced>,
}

fn content(seed: u64) -> Vec<u8> {
    let mut content = vec![0; SIZE_BYTES];
    rand::Rng::fill_bytes(&mut SmallRng::seed_from_u64(seed), &mut content);
    content
}

impl Lane {
    pub(super) fn new(folder: &Path, registry: &str, number: usize) -> Self {
        let content = content(number as u64);
        let hash = ContentHash::from_bytes(*blake3::hash(&content).as_bytes()).to_string();
        let holders = ["a", "b"].map(|letter| {
            let name = format!("holder-{number}{letter}");
            let home = home(&folder.join(&name), registry, "FLOODPLAIN_UPLOAD_LIMIT=4MiB\n");
            fs::write(home.join("share").join(NAME), &content).expect("writes");
            let daemon = Daemon::start(&home, &["peer", "--name", &name]);
            (home, daemon)
        });
        let name = format!("fetcher-{number}");
        let home = home(&folder.join(&name), registry, "");
        let path = format!("holder-{number}a:share/{NAME}");
        let way = Way { is_by_path: false, names_file: false };
        for folder in ["data", "out"] {
            fs::create_dir(home.join(folder)).expect("makes");
        }
        let mut lane =
            Self { home, name, holders: holders.into(), content, hash, path, gets: 0, way, peer: None };
        for (home, _) in &lane.holders {
            until(home, "--json status", "\"hashed_files\":1");
        }
        lane.start(None);
        for letter in ["a", "b"] {
            // By its own roster: the registry lists them a moment earlier.
            let search = format!("--json search hash:{}", lane.hash);
            until(&lane.home, &search, &format!("\"peer\":\"holder-{number}{letter}\""));
        }
        lane
    }

    /// Where this get is to put the file.
    fn out(&self) -> PathBuf {
        self.home.join("out").join(self.gets.to_string())
    }

    /// Starts the peer; false when it has ended already.
    fn start(&mut self, at: Option<(usize, Act)>) -> bool {
        let mut command = in_home(kill::program(Path::new(env!("CARGO_BIN_EXE_floodplain"))), &self.home);
        command.args(["peer", "--name", &self.name]).stderr(log(&self.home));
        let mut peer = Traced::start(command, &[&self.home.join("data"), &self.home.join("out")], at);
        let stdout = peer.stdout();
        let is_up = processes::address(stdout).is_some();
        self.peer = Some(peer);
        is_up
    }

    fn peer(&self) -> &Traced {
        self.peer.as_ref().expect("was started")
    }

    /// Whether the file is there. A wrong one is a failure at any moment.
    fn is_there(&self) -> bool {
        match fs::read(self.out().join(NAME)) {
            Ok(found) => {
                assert!(found == self.content, "a wrong file of {} bytes under its name", found.len());
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                false
            }
        }
    }

    /// Files of unended jobs.
    fn jobs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.home.join("data/transfers")).expect("lists");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
    }

    fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.out()).expect("lists");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    }

    fn sent_bytes(&self) -> u64 {
        self.holders.iter().map(|(home, _)| status(home, "bytes_up")).sum()
    }

    fn get(&self) -> Result<(), String> {
        let name = if self.way.names_file { NAME } else { "" };
        let out = format!("out/{}/{name}", self.gets);
        let target = if self.way.is_by_path { &self.path } else { &self.hash };
        let got = ask(&self.home, &["get", "--detach", target, "-o", &out]);
        if got.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&got.stderr).into_owned();
        assert!(said.len() > 10 && !said.contains("panicked"), "does not say what is wrong: {said:?}");
        Err(said)
    }

    /// What is wrong with the job, if it has failed.
    fn failure(&self) -> Option<String> {
        let transfers = json(&self.home, "transfers");
        let failed = transfers.iter().find(|transfer| transfer["state"] == "failed")?;
        Some(failed["error"].as_str().expect("says why").to_owned())
    }

    fn describe(&self) -> String {
        format!(
            "{:?}, jobs {:?}, transfers {:?}\n{}",
            self.names(),
            self.jobs(),
            run(&self.home, "--json transfers"),
            logged(&self.home)
        )
    }

    fn is_done(&self) -> bool {
        let transfers = json(&self.home, "transfers");
        transfers.last().is_some_and(|transfer| transfer["state"] == "done")
    }

    /// Until nothing is on its way any more.
    fn until_ended(&self) {
        wait_for(
            "the job has ended",
            || {
                let is_there = self.is_there();
                self.jobs().is_empty() && is_there
            },
            || self.describe(),
        );
    }

    /// Starts the peer again if it is not up, and has it end what is on its way; asks again when nothing is.
    fn finish(&mut self, tally: &mut Tally) {
        if self.peer().has_ended() {
            assert!(self.start(None), "does not start again: {}", logged(&self.home));
        }
        if self.jobs().is_empty() && !self.is_there() {
            tally.note("was not accepted yet");
            wait_for("the peer is ready", || run(&self.home, "health --ready").0 == 0, || self.describe());
            let mut said = String::new();
            wait_for("asked again", || self.get().map_err(|error| said = error).is_ok(), || self.describe());
        }
        self.until_ended();
    }

    /// The file is there once, and nothing else.
    fn check_end(&self, point: Point, hit: Option<&Call>) {
        assert!(self.is_there());
        wait_for(
            "no job is left",
            || json(&self.home, "transfers").iter().all(|transfer| transfer["state"] == "done"),
            || self.describe(),
        );
        assert_eq!(self.names(), [NAME], "{point:?} at {hit:?}");
    }

    pub(super) fn take(&mut self, point: Point, tally: &mut Tally) -> bool {
        self.gets += 1;
        self.way = point.way;
        fs::create_dir_all(self.out()).expect("makes");
        let sent_before = self.sent_bytes();
        let is_hit = match (point.from, point.act) {
            (From::Get, Act::KillBefore | Act::KillAfter | Act::KillTorn) => self.kill_get(point, tally),
            (From::Start, _) => self.act_at_start(point, tally),
            (From::Get, _) => self.fail_get(point, tally),
        };
        let sent = self.sent_bytes() - sent_before;
        let over = sent.saturating_sub(SIZE_BYTES as u64);
        tally.most_over = tally.most_over.max(over);
        tally.points += usize::from(is_hit);
        // What is under way to a peer that is killed, or slow, is as much as its windows hold.
        let kills = if point.from == From::Start { 2 } else { 1 };
        let is_kill = KILLS.contains(&point.act);
        assert!(
            !is_kill || over <= kills * SIZE_BYTES as u64,
            "{over} bytes too many were sent for {point:?}"
        );
        if is_kill && point.from == From::Get {
            tally.over.push(over);
        }
        fs::remove_dir_all(self.out()).expect("removes");
        is_hit
    }

    fn kill_get(&mut self, point: Point, tally: &mut Tally) -> bool {
        self.peer().arm(point.number, point.act);
        let accepted = self.get();
        if accepted.is_ok() {
            wait_for(
                "it was killed or has ended",
                || {
                    let is_there = self.is_there();
                    self.peer().has_ended() || (is_there && self.jobs().is_empty() && !self.peer().is_hit())
                },
                || self.describe(),
            );
        } else {
            wait_for("it was killed", || self.peer().has_ended(), || self.describe());
        }
        let hit = self.hit(point);
        let is_there = self.is_there();
        tally.note(match (accepted.is_ok(), is_there, self.jobs().is_empty(), hit.is_some()) {
            (.., false) => "beyond the end",
            (_, true, true, _) => "was done",
            (_, true, false, _) => "was published, and the job not done",
            (false, ..) => "had not told its number",
            (true, false, false, _) => "was on its way",
            (true, false, true, _) => panic!("an accepted get is lost at {hit:?}"),
        });
        let before = written(&self.peer().so_far());
        let is_killed = self.peer().has_ended();
        self.finish(tally);
        if is_killed && !is_there {
            let after = written(&self.peer().so_far());
            for (piece, bytes) in &after {
                let size = (SIZE_BYTES as u64 - piece * PIECE_BYTES).min(PIECE_BYTES);
                let is_again = *bytes > 0 && before.get(piece) == Some(&size);
                assert!(!is_again, "piece {piece} was whole at {hit:?} and is written again");
            }
            let bytes: u64 = before.values().chain(after.values()).sum();
            let most = SIZE_BYTES as u64 + STREAMS * PIECE_BYTES;
            assert!(bytes <= most, "{bytes} bytes were written around {hit:?}");
        }
        self.check_end(point, hit.as_ref());
        hit.is_some()
    }

    /// A get is killed half way, then the start that is to go on with it is disturbed.
    fn act_at_start(&mut self, point: Point, tally: &mut Tally) -> bool {
        self.peer().arm(tally.middle, Act::KillAfter);
        let _ = self.get();
        wait_for("it was killed", || self.peer().has_ended(), || self.describe());
        self.is_there();
        let at = Some((point.number, point.act));
        let is_up = self.start(at);
        let ended_or_killed = || {
            let is_there = self.is_there();
            self.peer().has_ended() || (is_up && is_there && self.is_done()) || self.failed(is_up)
        };
        wait_for("the start was disturbed or has ended it", ended_or_killed, || self.describe());
        let hit = self.hit(point);
        self.is_there();
        self.settle(hit.as_ref(), tally);
        self.check_end(point, hit.as_ref());
        hit.is_some()
    }

    /// The call that was acted on; from now on none is.
    fn hit(&self, point: Point) -> Option<Call> {
        self.peer().disarm();
        let hit = self.peer().so_far().hit;
        if hit.is_some() && KILLS.contains(&point.act) {
            wait_for("it was killed", || self.peer().has_ended(), || self.describe());
        }
        hit
    }

    fn failed(&self, is_up: bool) -> bool {
        is_up && self.peer().is_hit() && self.failure().is_some()
    }

    fn fail_get(&mut self, point: Point, tally: &mut Tally) -> bool {
        self.peer().arm(point.number, point.act);
        let accepted = self.get();
        if accepted.is_ok() {
            let has_ended = || {
                let is_there = self.is_there();
                self.peer().has_ended() || (is_there && self.is_done()) || self.failed(true)
            };
            wait_for("it has ended or failed", has_ended, || self.describe());
        }
        let hit = self.hit(point);
        if let Err(said) = &accepted {
            tally.note(&format!("get said: {}", said.lines().next().unwrap_or_default()));
        }
        self.settle(hit.as_ref(), tally);
        self.check_end(point, hit.as_ref());
        hit.is_some()
    }

    fn shorten(&self, message: &str) -> String {
        message.replace(&*self.home.to_string_lossy(), "~").replace(&format!("/out/{}/", self.gets), "/out/")
    }

    /// After a failing disk that is well again: what failed is tried again.
    fn settle(&mut self, hit: Option<&Call>, tally: &mut Tally) {
        let is_unforgotten =
            |call: &Call| call.number == libc::SYS_unlink && self.jobs().contains(&call.file);
        if !self.peer().has_ended() && self.is_there() && hit.is_some_and(is_unforgotten) {
            tally.note("done, and the job could not be forgotten");
            self.peer().kill();
            wait_for("it was killed", || self.peer().has_ended(), || self.describe());
        }
        if !self.peer().has_ended()
            && let Some(why) = self.failure()
        {
            assert!(!self.is_there(), "a file in spite of the failure: {why}");
            tally.note(&format!("failed: {}", self.shorten(&why)));
            assert_eq!(run(&self.home, "transfers retry all").0, 0, "{}", self.describe());
        } else if self.peer().has_ended() {
            let status = self.peer.take().expect("was started").wait().status;
            match status {
                None => tally.note("killed"),
                Some(status) => {
                    let log = logged(&self.home);
                    let last = log.lines().rfind(|line| !line.starts_with("hint")).unwrap_or_default();
                    assert!(status != 101 && last.contains("rror"), "ends without a clear error: {log}");
                    tally.note(&format!("ended by itself: {}", self.shorten(last)));
                }
            }
            assert!(self.start(None), "does not start again: {}", logged(&self.home));
        }
        self.finish(tally);
    }
}

/// What became of the points.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// The call at which a get is half way.
    pub(super) middle: usize,
    pub(super) points: usize,
    pub(super) most_over: u64,
    /// What holders sent above the file at each single kill.
    pub(super) over: Vec<u64>,
    pub(super) outcomes: BTreeMap<String, usize>,
}

impl Tally {
    fn note(&mut self, outcome: &str) {
        *self.outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
}

/// How much of each piece the program has written.
fn written(ended: &Ended) -> BTreeMap<u64, u64> {
    let mut written: BTreeMap<u64, u64> = BTreeMap::new();
    for (call, bytes) in &ended.done {
        if call.number == libc::SYS_pwrite64 && is_part(&call.file) {
            *written.entry(call.offset / PIECE_BYTES).or_default() += u64::try_from(*bytes).unwrap_or(0);
        }
    }
    written
}

pub(super) fn is_part(file: &Path) -> bool {
    file.to_string_lossy().ends_with(".fp-part")
}

impl Lane {
    /// The calls of a run that nothing disturbs.
    pub(super) fn count(&mut self, from: From, tally: &mut Tally) -> Vec<Call> {
        let point = Point { from, act: Act::KillBefore, number: usize::MAX, way: self.way };
        assert!(!self.take(point, tally));
        self.peer().so_far().done.into_iter().map(|(call, _)| call).collect()
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.points += other.points;
        self.most_over = self.most_over.max(other.most_over);
        self.over.extend(other.over);
        for (outcome, count) in other.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
    }
}
