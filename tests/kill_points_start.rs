//! A peer that is killed, or whose disk fails, at any system call of its first start can be started again: it has an
//! identity, its name, and what was kept.
//!
//! By default some points are taken, spread by a seed that is printed; `FLOODPLAIN_EVERY_KILL_POINT=1` takes all,
//! `FLOODPLAIN_KILL_SEED=N` the same ones again.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

#[path = "support/kill.rs"]
mod kill;
#[path = "support/processes.rs"]
mod processes;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use nix::errno::Errno;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use self::{
    kill::{Act, KILLS, Traced},
    processes::{Daemon, home, in_home, log, logged, run, wait_for},
};

/// Starts at once.
const LANES: usize = 4;
/// Points of each act that are taken by default.
const SOME: usize = 6;

fn start(home: &Path, name: &str, at: Option<(usize, Act)>) -> (Traced, bool) {
    let mut command = in_home(kill::program(Path::new(env!("CARGO_BIN_EXE_floodplain"))), home);
    command.args(["peer", "--name", name]).stderr(log(home));
    let mut peer = Traced::start(command, &[&home.join("data")], at);
    let is_up = processes::address(peer.stdout()).is_some();
    (peer, is_up)
}

/// Starts a peer that never ran before, disturbed there, then again. Gives how many calls the first start made.
fn take(folder: &Path, registry: &str, act: Act, number: usize) -> usize {
    let name = format!("peer-{}", folder.file_name().expect("has one").to_string_lossy());
    let home = home(folder, registry, "");
    fs::create_dir(home.join("data")).expect("makes");
    let (peer, is_up) = start(&home, &name, Some((number, act)));
    if is_up {
        let is_ready = || peer.has_ended() || run(&home, "health --ready").0 == 0;
        wait_for("it is ready or was killed", is_ready, || logged(&home));
    }
    peer.kill();
    let ended = peer.wait();
    if let Some(status) = ended.status {
        let log = logged(&home);
        let last = log.lines().rfind(|line| !line.starts_with("hint")).unwrap_or_default();
        assert!(status != 101 && last.contains("rror"), "ends without a clear error: {log}");
    }
    let (peer, is_up) = start(&home, &name, None);
    assert!(is_up, "{act:?} {number} {:?}: does not start again: {}", ended.hit, logged(&home));
    let is_ready = || run(&home, "health --ready").0 == 0;
    wait_for("it joins under its name", is_ready, || format!("{:?} {}", ended.hit, logged(&home)));
    let aside = fs::read_dir(home.join("data/transfers")).expect("is there").count();
    assert!(aside <= 1, "something is set aside after {:?}", ended.hit);
    drop(peer);
    ended.done.len()
}

#[test]
fn a_peer_that_is_killed_at_any_call_of_its_first_start_starts_again() {
    let takes_all = std::env::var_os("FLOODPLAIN_EVERY_KILL_POINT").is_some_and(|value| value == "1");
    let seed = std::env::var("FLOODPLAIN_KILL_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("FLOODPLAIN_KILL_SEED={seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Daemon::registry(&folder.path().join("hub"), "127.0.0.1:0");
    let calls = take(&folder.path().join("whole"), &registry.address, Act::KillBefore, usize::MAX);
    let mut rng = SmallRng::seed_from_u64(seed);
    let acts = KILLS.into_iter().chain([Act::Fail(Errno::ENOSPC), Act::Fail(Errno::EIO)]);
    let points: Vec<(Act, usize)> = acts
        .flat_map(|act| {
            let numbers: Vec<usize> = if takes_all {
                (1..=calls).collect()
            } else {
                (0..SOME).map(|at| rng.random_range(calls * at / SOME..calls * (at + 1) / SOME) + 1).collect()
            };
            numbers.into_iter().map(move |number| (act, number))
        })
        .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&(act, number)) = points.get(at) else { return };
                    take(&folder.path().join(at.to_string()), &registry.address, act, number);
                }
            });
        }
    });
    println!("{} points, {calls} calls of a first start", points.len());
}
