//! What a get leaves when its whole peer is killed, or its disk fails, at any of its system calls: the file is whole under
//! its name or not there, once, and the next start ends it without a word of anybody.
//!
//! The peer is the program itself under ptrace, with a registry and two holders that live through all points. By default
//! some points are taken, spread by a seed that is printed; `FLOODPLAIN_EVERY_KILL_POINT=1` takes all,
//! `FLOODPLAIN_KILL_SEED=N` the same ones again.

#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

#[path = "support/kill.rs"]
mod kill;
#[path = "kill_points_get/lane.rs"]
mod lane;
#[path = "support/processes.rs"]
mod processes;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use nix::libc;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use self::{
    kill::{Act, KILLS},
    lane::{From, Lane, Point, SIZE_BYTES, Tally, USUAL_BYTES, Way, is_part},
    processes::Daemon,
};

/// Fetchers at once, each with holders of its own.
const LANES: usize = 4;
/// Points of each set that are taken by default.
const SOME: usize = 4;

/// The registry, and lanes that take points side by side until there are none left.
fn take_points(sets: &[(From, Act)]) -> Tally {
    let began = Instant::now();
    let takes_all = std::env::var_os("FLOODPLAIN_EVERY_KILL_POINT").is_some_and(|value| value == "1");
    let seed = std::env::var("FLOODPLAIN_KILL_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("FLOODPLAIN_KILL_SEED={seed}");
    let folder = tempfile::tempdir().expect("a folder");
    let registry = Daemon::registry(&folder.path().join("registry"), "127.0.0.1:0");
    let mut first = Lane::new(folder.path(), &registry.address, 0);
    let mut tally = Tally::default();
    let calls = first.count(From::Get, &mut tally);
    tally.middle = calls.iter().position(|call| call.offset >= SIZE_BYTES as u64 / 2).expect("writes") + 1;
    let at_start = first.count(From::Start, &mut tally);
    let synced = calls.iter().rposition(|call| call.number == libc::SYS_fsync && is_part(&call.file));
    let tail = synced.expect("is brought to disk") + 1..=calls.len();
    println!("{} calls of a get, {} of a start that goes on", calls.len(), at_start.len());
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut points = Vec::new();
    for &(from, act) in sets {
        let number = if from == From::Get { calls.len() } else { at_start.len() };
        let mut numbers: Vec<usize> = if takes_all {
            (1..=number).collect()
        } else {
            (0..SOME).map(|at| rng.random_range(number * at / SOME..number * (at + 1) / SOME) + 1).collect()
        };
        if (from, act) == (From::Get, Act::KillAfter) && !takes_all {
            numbers.extend(tail.clone());
        }
        for number in numbers {
            let is_by_path = points.len() % 2 == 1;
            let names_file = points.len() / 2 % 2 == 1;
            points.push(Point { from, act, number, way: Way { is_by_path, names_file } });
        }
    }
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        let mut first = Some(first);
        for number in 0..LANES {
            let lane = first.take();
            let (next, total, points, registry, middle) = (&next, &total, &points, &registry, tally.middle);
            let folder = folder.path();
            scope.spawn(move || {
                let mut lane = lane.unwrap_or_else(|| Lane::new(folder, &registry.address, number));
                let mut tally = Tally { middle, ..Tally::default() };
                while let Some(&point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let taking = std::panic::AssertUnwindSafe(|| lane.take(point, &mut tally));
                    if let Err(panic) = std::panic::catch_unwind(taking) {
                        println!("failed at {point:?} of seed {seed}");
                        next.store(usize::MAX / 2, Ordering::Relaxed);
                        std::panic::resume_unwind(panic);
                    }
                }
                total.lock().expect("no panic while held").add(tally);
            });
        }
    });
    let total = total.into_inner().expect("no panic while held");
    println!(
        "{} points in {:?}, at most {} bytes sent again",
        total.points,
        began.elapsed(),
        total.most_over
    );
    for (outcome, count) in &total.outcomes {
        println!("{count:5} {outcome}");
    }
    total
}

#[test]
fn a_get_that_is_killed_at_any_call_is_ended_once_by_the_next_start() {
    let sets = [From::Get, From::Start].map(|from| KILLS.map(|act| (from, act)));
    let mut over = take_points(sets.as_flattened()).over;
    over.sort_unstable();
    let usual = over[over.len() / 2];
    assert!(usual <= USUAL_BYTES, "{usual} bytes are sent again, as a rule");
}

#[test]
fn a_get_on_a_failing_disk_is_told_and_ended_by_a_retry() {
    let sets = [From::Get, From::Start].map(|from| kill::FAILURES.map(|act| (from, act)));
    take_points(sets.as_flattened());
}
