//! What a run cost: its time, the CPU seconds of both its ends, and the most memory that either had.

#![allow(clippy::cast_precision_loss)] // figures to read, not to reckon with

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};

/// One download, or several at once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) serving_kib: u64,
    /// Of the largest, when several processes fetch.
    pub(crate) getting_kib: u64,
}

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU seconds and peak memory in KiB of a live process, all its threads.
pub(crate) fn usage(pid: u32) -> Result<(f64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no peak")?;
    let hz = rustix::param::clock_ticks_per_second() as f64;
    Ok((ticks / hz, peak.trim().trim_end_matches(" kB").parse()?))
}

/// The process and its children.
pub(crate) fn family(pid: u32) -> Result<Vec<u32>> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let mut all = vec![pid];
    all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    Ok(all)
}

/// Runs the fetchers all at once, to the end of the last. `serving` is the process that serves them, whose children
/// count too; the memory in between is its own peak since its start.
pub(crate) fn timed(serving: u32, fetchers: &[Command]) -> Result<Run> {
    let reports = tempfile::tempdir()?;
    let all = || family(serving)?.into_iter().map(usage).collect::<Result<Vec<_>>>();
    let before: f64 = all()?.iter().map(|(cpu, _)| cpu).sum();
    let began = Instant::now();
    let mut running = Vec::new();
    for (number, fetcher) in fetchers.iter().enumerate() {
        let mut accounted = Command::new("/usr/bin/time");
        accounted.args(["-f", "%U %S %M", "-o"]).arg(reports.path().join(number.to_string()));
        accounted.arg(fetcher.get_program()).args(fetcher.get_args());
        if let Some(folder) = fetcher.get_current_dir() {
            accounted.current_dir(folder);
        }
        let errors = fs::File::create(reports.path().join(format!("{number}.err")))?;
        let started = accounted.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn();
        running.push(Killed(started.context("could not run /usr/bin/time")?));
    }
    for (number, (child, fetcher)) in running.iter_mut().zip(fetchers).enumerate() {
        if !child.0.wait()?.success() {
            let said = fs::read_to_string(reports.path().join(format!("{number}.err")))?;
            bail!("{fetcher:?} failed: {said}");
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let after = all()?;
    let mut run = Run { seconds, ..Run::default() };
    run.cpu_seconds = after.iter().map(|(cpu, _)| cpu).sum::<f64>() - before;
    run.serving_kib = after.iter().map(|(_, peak)| *peak).max().unwrap_or(0);
    for number in 0..fetchers.len() {
        let (cpu, peak) = told(&reports.path().join(number.to_string()))?;
        run.cpu_seconds += cpu;
        run.getting_kib = run.getting_kib.max(peak);
    }
    Ok(run)
}

fn told(report: &Path) -> Result<(f64, u64)> {
    let told = fs::read_to_string(report)?;
    let numbers: Vec<&str> = told.split_whitespace().collect();
    Ok((numbers[0].parse::<f64>()? + numbers[1].parse::<f64>()?, numbers[2].parse()?))
}

/// The runs of one way, each held against ours of the same round.
#[derive(Debug)]
pub(crate) struct Way {
    name: String,
    runs: Vec<Run>,
    ratios: Vec<f64>,
}

impl Way {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), runs: Vec::new(), ratios: Vec::new() }
    }

    pub(crate) fn add(&mut self, run: Run, ours: Run) {
        self.ratios.push(run.seconds / ours.seconds);
        self.runs.push(run);
    }

    fn median(&self, of: impl Fn(&Run) -> f64) -> f64 {
        median(self.runs.iter().map(of).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A row per way. A ratio is how many times faster ours was, of each round, then the median: what else the machine does
/// changes from round to round. `mib` are the bytes of one run.
pub(crate) fn print(mib: u64, ways: &[Way]) {
    let (megabytes, gib) = ((mib << 20) as f64 / 1e6, mib as f64 / 1024.0);
    println!(
        "| way | runs | MB/s | slowest | ours is faster by | CPU-s per GiB | serving MiB | getting MiB |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for way in ways {
        let slowest = way.runs.iter().map(|run| run.seconds).fold(0.0, f64::max);
        println!(
            "| {} | {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} |",
            way.name,
            way.runs.len(),
            megabytes / way.median(|run| run.seconds),
            megabytes / slowest,
            median(way.ratios.clone()),
            way.median(|run| run.cpu_seconds) / gib,
            way.median(|run| run.serving_kib as f64) / 1024.0,
            way.median(|run| run.getting_kib as f64) / 1024.0,
        );
    }
}
