//! What honest searches cost while a hostile peer does at full rate all that it can, against the same moments without it, and what
//! memory each attack adds.
//!
//! The peers are processes. The attack comes from this one, and takes CPU as well: on a machine of few cores a part of what it
//! costs is that. So there are three batches that take turns, and whatever else the machine does is in all of them: a quiet one,
//! an attacked one, and one beside threads that do nothing but burn as much CPU as the attacker took in the one before.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use floodplain::{
    peer::{Handle, control, remote},
    protocol::action::{SearchAsk, SearchEvent},
};
use futures::StreamExt;

use crate::{
    attack::{Attack, Storm},
    daemon::Daemon,
    measure::{Cpu, Times, memory_kib, millis},
};

/// The target and those that search beside it.
const PEERS: usize = 4;
/// Files of each.
const FILES: u32 = 500;
/// Turns of quiet and attack.
const ROUNDS: u32 = 5;
/// For an attack to be at its height.
const RAMP: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);
/// Threads that burn CPU beside a batch, as many as attack; and how long each works and rests.
const BURNERS: u32 = 2;
const BURN: Duration = Duration::from_millis(2);

/// `only` names the attacks, or all when it is empty; `pause` lies between two searches, as of people, or a batch would be over
/// before the attack is dealt with.
pub(crate) async fn run(samples: u32, pause: Duration, only: &[String]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let size = PEERS.to_string();
    let layout = ["--network-size", &size, "--number-of-zones", "1"];
    let registry = Daemon::registry(&folder.path().join("registry"), &layout)?;
    let (mut daemons, mut handles) = (Vec::new(), Vec::new());
    for number in 0..PEERS {
        let name = format!("peer{number:02}");
        let share = folder.path().join(&name).join("share");
        fs::create_dir_all(&share)?;
        fs::write(share.join(format!("report of {name}.txt")), &name)?;
        fs::write(share.join("large.mkv"), vec![7; 8 << 20])?;
        for file in 2..FILES {
            fs::write(share.join(format!("lecture {file:04}.txt")), format!("{name} {file}"))?;
        }
        let daemon = Daemon::peer(&folder.path().join(&name), registry.address, &name, true)?;
        handles.push(remote::connect(&control::socket_path(&daemon.data)).await?);
        daemons.push(daemon);
    }
    let begun = Instant::now();
    for handle in &handles {
        loop {
            let status = handle.status().await?;
            if status.zone_peers as usize == PEERS && status.index.hashed_files == u64::from(FILES) {
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "the zone is not complete: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let (target, batch) = (&daemons[0], (samples / ROUNDS).max(1));
    // What a first search makes is not to be counted.
    searches(&handles[..2], batch, pause).await?;
    println!(
        "{:20} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>7} {:>7} {:>9} {:>9} {:>8} {:>8} {:>9}",
        format!("{PEERS} peers"),
        "p50 quiet",
        "burned",
        "p50 ms",
        "p99 quiet",
        "burned",
        "p99 ms",
        "x quiet",
        "x burned",
        "complete",
        "sent/s",
        "attack %",
        "target %",
        "+MiB"
    );
    for attack in Attack::ALL {
        if only.is_empty() || only.iter().any(|name| attack.name().starts_with(name.as_str())) {
            row(attack, target, &handles[..2], batch, pause).await?;
        }
    }
    Ok(())
}

async fn row(attack: Attack, target: &Daemon, handles: &[Handle], batch: u32, pause: Duration) -> Result<()> {
    let [mut quiet, mut attacked, mut burned] = [(); 3].map(|()| Batch::default());
    let (mut sent, mut took, mut cpu, mut added_kib) = (0, Duration::ZERO, Duration::ZERO, 0);
    let (mut own_cpu, me) = (Duration::ZERO, std::process::id());
    for _ in 0..ROUNDS {
        let (begun, before) = (Instant::now(), Cpu::of(me));
        quiet.add(searches(handles, batch, pause).await?);
        let asking = Cpu::of(me).since(&before).as_secs_f64() / begun.elapsed().as_secs_f64();
        let (rest, _) = memory_kib(target.pid());
        // From here on the system counts the most anew.
        fs::write(format!("/proc/{}/clear_refs", target.pid()), "5")?;
        let storm = Storm::begin(attack, target.address, "share/large.mkv");
        tokio::time::sleep(RAMP).await;
        let (begun, before, sent_before) = (Instant::now(), Cpu::of(target.pid()), *storm.sent.borrow());
        let own_before = Cpu::of(me);
        attacked.add(searches(handles, batch, pause).await?);
        took += begun.elapsed();
        cpu += Cpu::of(target.pid()).since(&before);
        let own = Cpu::of(me).since(&own_before);
        own_cpu += own.saturating_sub(begun.elapsed().mul_f64(asking));
        let cores = own.as_secs_f64() / begun.elapsed().as_secs_f64() - asking;
        sent += *storm.sent.borrow() - sent_before;
        added_kib = added_kib.max(most_kib(target.pid())?.saturating_sub(rest));
        storm.end().await;
        // What the attack left behind ends before the next batch.
        tokio::time::sleep(RAMP).await;
        let burners = Burners::begin(cores.max(0.0));
        burned.add(searches(handles, batch, pause).await?);
        drop(burners);
    }
    let mut batches = [quiet, burned, attacked];
    let [p50, p99] = [0.5, 0.99].map(|part| batches.each_mut().map(|batch| batch.quantile(part)));
    let [_, _, attacked] = batches;
    let part = |cpu: Duration| 100.0 * cpu.as_secs_f64() / took.as_secs_f64();
    println!(
        "{:20} {:9.2} {:9.2} {:9.2} {:9.2} {:9.2} {:9.2} {:7.2} {:7.2} {:8.1}% {:9.0} {:7.0}% {:7.0}% {:9.1}",
        attack.name(),
        p50[0],
        p50[1],
        p50[2],
        p99[0],
        p99[1],
        p99[2],
        p99[2] / p99[0],
        p99[2] / p99[1],
        100.0 * f64::from(attacked.complete) / attacked.times.count() as f64,
        sent as f64 / took.as_secs_f64(),
        part(own_cpu),
        part(cpu),
        added_kib as f64 / 1024.0,
    );
    Ok(())
}

/// Threads that together take so much of the machine until they are dropped.
struct Burners(Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Burners {
    fn begin(cores: f64) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let work = BURN.mul_f64((cores / f64::from(BURNERS)).min(1.0));
        let burn = |is_over: Arc<AtomicBool>| {
            move || {
                while !is_over.load(Relaxed) {
                    let begun = Instant::now();
                    while begun.elapsed() < work {
                        std::hint::spin_loop();
                    }
                    thread::sleep(BURN.saturating_sub(work));
                }
            }
        };
        let threads = (0..BURNERS).map(|_| thread::spawn(burn(is_over.clone()))).collect();
        Self(is_over, threads)
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
        for thread in self.1.drain(..) {
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Batch {
    times: Times,
    complete: u32,
}

impl Batch {
    fn add(&mut self, (times, complete): (Vec<Duration>, u32)) {
        for time in times {
            self.times.push(time);
        }
        self.complete += complete;
    }

    fn quantile(&mut self, part: f64) -> f64 {
        millis(self.times.quantile(part))
    }
}

/// One after the other, of the target itself and of its neighbor in turn: how long each took, and how many heard everyone.
async fn searches(handles: &[Handle], count: u32, pause: Duration) -> Result<(Vec<Duration>, u32)> {
    let (mut times, mut complete) = (Vec::new(), 0);
    for (_, handle) in (0..count).zip(handles.iter().cycle()) {
        tokio::time::sleep(pause).await;
        let ask = SearchAsk { text: "report".into(), wait: Some(PATIENCE), ..SearchAsk::default() };
        let (begun, mut coverage) = (Instant::now(), None);
        let mut events = handle.search(ask).await?;
        while let Some(event) = events.next().await {
            if let SearchEvent::Done(done) = event? {
                coverage = Some(done);
            }
        }
        times.push(begun.elapsed());
        complete += u32::from(coverage.context("the search ended without an end")?.is_complete());
    }
    Ok((times, complete))
}

/// The most that the process had since this was last cleared.
fn most_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak is told")?;
    Ok(line.split_whitespace().next().context("no number")?.parse()?)
}
