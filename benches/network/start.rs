//! From exec to having joined, and what a daemon costs that has nothing to do.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    daemon::Daemon,
    measure::{Cpu, Times, memory_kib, millis},
};

/// How long rest is watched.
const REST: Duration = Duration::from_secs(20);
/// For what a start leaves behind to be over.
const SETTLE: Duration = Duration::from_secs(3);

/// Blocks: there is nothing else to do meanwhile.
pub(crate) fn run(rounds: usize) -> Result<()> {
    starts(rounds)?;
    rest()
}

fn starts(rounds: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let registry = Daemon::registry(&folder.path().join("registry"), &[])?;
    let (mut bare, mut first, mut again, mut of_registry) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    for round in 0..rounds {
        bare.push(version(folder.path())?);
        let (home, name) = (folder.path().join(format!("peer{round}")), format!("peer{round}"));
        std::fs::create_dir_all(home.join("share"))?;
        for times in [&mut first, &mut again] {
            let peer = Daemon::peer(&home, registry.address, &name, true)?;
            times.push(peer.joined.unwrap_or_default());
        }
        let other = Daemon::registry(&folder.path().join(format!("registry{round}")), &[])?;
        of_registry.push(other.listened);
    }
    println!("start to ready, {rounds} of each      p50 ms   p90 ms   max ms");
    for (what, times) in [
        ("exec of `floodplain --version`", &mut bare),
        ("peer joined, new data folder", &mut first),
        ("peer joined, kept data folder", &mut again),
        ("registry listens, new data folder", &mut of_registry),
    ] {
        let [p50, p90, max] = [0.5, 0.9, 1.0].map(|part| millis(times.quantile(part)));
        println!("{what:34} {p50:8.1} {p90:8.1} {max:8.1}");
    }
    Ok(())
}

fn version(folder: &Path) -> Result<Duration> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_floodplain"));
    let begun = Instant::now();
    command.arg("--version").env_clear().current_dir(folder).stdout(Stdio::null()).status()?;
    Ok(begun.elapsed())
}

fn rest() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let registry = Daemon::registry(&folder.path().join("registry"), &[])?;
    let home = folder.path().join("peer");
    std::fs::create_dir_all(home.join("share"))?;
    let peer = Daemon::peer(&home, registry.address, "peer", true)?;
    std::thread::sleep(SETTLE);
    let before = [&peer, &registry].map(|daemon| Cpu::of(daemon.pid()));
    std::thread::sleep(REST);
    println!("at rest, {} s           RSS MiB  anonymous MiB  CPU % of a core", REST.as_secs());
    for ((what, daemon), before) in
        [("peer, empty share", &peer), ("registry, one peer", &registry)].into_iter().zip(before)
    {
        let spent = Cpu::of(daemon.pid()).since(&before);
        let (all, anonymous) = memory_kib(daemon.pid());
        let part = 100.0 * spent.as_secs_f64() / REST.as_secs_f64();
        println!("{what:24} {:8.1} {:14.1} {part:16.3}", all as f64 / 1024.0, anonymous as f64 / 1024.0);
    }
    Ok(())
}
