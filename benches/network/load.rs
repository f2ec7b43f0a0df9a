//! A zone of real processes on one machine: what a query costs its origin and the peers that answer, and what the zone bears.
//!
//! Queries are let in at a fixed rate whatever becomes of the ones before, and each is timed from when it was due: a zone
//! that falls behind cannot hide it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use floodplain::{
    peer::{Handle, control, remote},
    protocol::action::{SearchAsk, SearchEvent},
};
use futures::StreamExt;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::{
    daemon::Daemon,
    first_hit::report_bytes,
    measure::{Cpu, Times, memory_kib, micros, millis},
};

/// Queries a second, step by step, until one is too many.
const RATES: [u32; 14] = [10, 25, 50, 100, 150, 200, 250, 300, 350, 400, 500, 600, 800, 1200];
/// A zone whose slowest hundredth takes longer bears no more.
const P99_LIMIT: Duration = Duration::from_millis(100);
/// A machine this busy with it bears no more.
const CPU_FULL: f64 = 0.97;
/// Searches one after the other, for the cost of one.
const ALONE: u32 = 600;
/// Files of each peer.
const FILES: u32 = 100;
const REST: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Zone {
    registry: Daemon,
    pub(crate) peers: Vec<Daemon>,
    pub(crate) handles: Vec<Handle>,
    _folder: TempDir,
}

/// How one query went.
pub(crate) struct Outcome {
    pub(crate) first: Option<Duration>,
    pub(crate) end: Duration,
    pub(crate) is_complete: bool,
    pub(crate) messages: u32,
}

pub(crate) async fn run(peers: usize, seconds: u64) -> Result<()> {
    let zone = Arc::new(Zone::start(peers, FILES, &[]).await?);
    zone.rest().await;
    zone.alone("one holder", |number| one_holder(1 + number % (peers - 1))).await?;
    zone.alone("a hit at every peer", |_| "lecture 007".into()).await?;
    let cores = std::thread::available_parallelism()?.get() as f64;
    println!(
        "{peers} processes, everyone asks, one holder a query, {seconds} s a rate\n{:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>8} {:>9} {:>8}",
        "queries/s",
        "done/s",
        "p50 ms",
        "p99 ms",
        "complete",
        "messages",
        "CPU us/q",
        "peers %",
        "asking %",
        "load"
    );
    for rate in RATES {
        let (p99, busy) = zone.at_rate(rate, Duration::from_secs(seconds), cores).await;
        if p99 > P99_LIMIT || busy > CPU_FULL {
            break;
        }
    }
    Ok(())
}

impl Zone {
    /// One zone of real processes with so many files each, all of them hashed.
    pub(crate) async fn start(peers: usize, files: u32, settings: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let size = peers.to_string();
        let layout = ["--network-size", &size, "--number-of-zones", "1"];
        let registry = Daemon::registry(&folder.path().join("registry"), &layout)?;
        let (mut daemons, mut handles): (Vec<Daemon>, Vec<Handle>) = (Vec::new(), Vec::new());
        for number in 0..peers {
            let name = format!("peer{number:02}");
            let home = folder.path().join(&name);
            std::fs::create_dir_all(home.join("share"))?;
            let report = home
                .join("share")
                .join(format!("report of {name} by author{number:02} at desk{number:02}.txt"));
            std::fs::write(report, vec![b'.'; report_bytes(u32::try_from(number)?)])?;
            for file in 1..files {
                let path = home.join("share").join(format!("lecture {file:03}.txt"));
                std::fs::write(path, format!("{name} {file}"))?;
            }
            let daemon = Daemon::peer_with(&home, registry.address, &name, settings)?;
            handles.push(remote::connect(&control::socket_path(&daemon.data)).await?);
            daemons.push(daemon);
        }
        let begun = Instant::now();
        for handle in &handles {
            loop {
                let status = handle.status().await?;
                if status.zone_peers as usize == peers && status.index.hashed_files == u64::from(files) {
                    break;
                }
                anyhow::ensure!(begun.elapsed() < PATIENCE, "the zone is not complete: {status:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(Self { registry, peers: daemons, handles, _folder: folder })
    }

    pub(crate) fn cpu(&self) -> Vec<Cpu> {
        self.peers.iter().map(|peer| Cpu::of(peer.pid())).collect()
    }

    pub(crate) fn spent(&self, before: &[Cpu]) -> Vec<Duration> {
        self.cpu().iter().zip(before).map(|(now, before)| now.since(before)).collect()
    }

    async fn rest(&self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (before, registry) = (self.cpu(), Cpu::of(self.registry.pid()));
        tokio::time::sleep(REST).await;
        let part = |time: Duration| 100.0 * time.as_secs_f64() / REST.as_secs_f64();
        let spent = self.spent(&before);
        let memory = |daemon: &Daemon| memory_kib(daemon.pid()).0 as f64 / 1024.0;
        println!(
            "at rest for {} s, {} peers with {FILES} files: CPU mean {:.3} %, most {:.3} % of a core; RSS mean {:.1} MiB",
            REST.as_secs(),
            self.peers.len(),
            part(spent.iter().sum()) / self.peers.len() as f64,
            part(spent.iter().max().copied().unwrap_or_default()),
            self.peers.iter().map(memory).sum::<f64>() / self.peers.len() as f64,
        );
        println!(
            "their registry: CPU {:.3} % of a core, RSS {:.1} MiB",
            part(Cpu::of(self.registry.pid()).since(&registry)),
            memory(&self.registry)
        );
    }

    /// One after the other, all from the first peer.
    async fn alone(&self, what: &str, text: impl Fn(usize) -> String) -> Result<()> {
        for number in 0..50 {
            search(&self.handles[0], text(number), Instant::now()).await?;
        }
        let before = self.cpu();
        let (mut first, mut end, mut missing) = (Times::default(), Times::default(), 0);
        for number in 0..ALONE as usize {
            let outcome = search(&self.handles[0], text(number), Instant::now()).await?;
            first.push(outcome.first.context("no hit")?);
            end.push(outcome.end);
            missing += u32::from(!outcome.is_complete);
        }
        let spent = self.spent(&before);
        let others: Duration = spent[1..].iter().sum();
        println!(
            "one query at a time, {what}: first hit p50 {:.2} p99 {:.2} ms, end p50 {:.2} p99 {:.2} ms, {missing} of {ALONE} incomplete",
            millis(first.quantile(0.5)),
            millis(first.quantile(0.99)),
            millis(end.quantile(0.5)),
            millis(end.quantile(0.99)),
        );
        println!(
            "  CPU a query: {:.0} us at the origin, {:.0} us at each other peer (mean), {:.0} us in all",
            micros(spent[0] / ALONE),
            micros(others / ALONE) / (spent.len() - 1) as f64,
            micros((spent[0] + others) / ALONE),
        );
        Ok(())
    }

    /// From everyone in turn at this rate; the p99 and the part of the machine's CPU that it took.
    async fn at_rate(self: &Arc<Self>, rate: u32, span: Duration, cores: f64) -> (Duration, f64) {
        let (before, own) = (self.cpu(), Cpu::of(std::process::id()));
        let begun = tokio::time::Instant::now();
        let mut asked = JoinSet::new();
        let count = u32::try_from(span.as_secs()).unwrap_or(u32::MAX).saturating_mul(rate);
        for number in 0..count {
            let due = begun + Duration::from_secs(number.into()) / rate;
            tokio::time::sleep_until(due).await;
            let (zone, peers) = (self.clone(), self.peers.len());
            asked.spawn(async move {
                let (origin, holder) = (number as usize % peers, (number as usize / peers + 1) % peers);
                search(&zone.handles[origin], one_holder(holder), due.into()).await
            });
        }
        let (mut end, mut complete, mut messages) = (Times::default(), 0_u32, 0_u32);
        while let Some(outcome) = asked.join_next().await {
            if let Ok(Ok(outcome)) = outcome {
                end.push(outcome.end);
                complete += u32::from(outcome.is_complete);
                messages += outcome.messages;
            }
        }
        let took = begun.elapsed().as_secs_f64();
        let spent: Duration = self.spent(&before).iter().sum();
        let own = Cpu::of(std::process::id()).since(&own).as_secs_f64();
        let busy = (spent.as_secs_f64() + own) / took / cores;
        let (p50, p99) = (end.quantile(0.5), end.quantile(0.99));
        println!(
            "{rate:9} {:9.0} {:8.1} {:8.1} {:7.1}% {:9.1} {:9.0} {:7.0}% {:8.0}% {:>8}",
            end.count() as f64 / took,
            millis(p50),
            millis(p99),
            100.0 * f64::from(complete) / f64::from(count),
            f64::from(messages) / end.count().max(1) as f64,
            micros(spent / count),
            100.0 * spent.as_secs_f64() / took / cores,
            100.0 * own / took / cores,
            crate::measure::load_average().split(' ').next().unwrap_or_default(),
        );
        // One that failed is as late as can be.
        let p99 = if end.count() < count as usize { Duration::MAX } else { p99 };
        (p99, busy)
    }
}

/// A query that no summary rules anybody out of, and that one peer answers.
pub(crate) fn one_holder(number: usize) -> String {
    format!("report size:{}", report_bytes(u32::try_from(number).unwrap_or(0)))
}

pub(crate) async fn search(origin: &Handle, text: String, due: Instant) -> Result<Outcome> {
    let mut events = origin.search(SearchAsk { text, ..SearchAsk::default() }).await?;
    let mut first = None;
    while let Some(event) = events.next().await {
        match event? {
            SearchEvent::Hit(_) => {
                first.get_or_insert(due.elapsed());
            }
            SearchEvent::Done(coverage) => {
                let is_complete = coverage.answered == coverage.asked && first.is_some();
                return Ok(Outcome { first, end: due.elapsed(), is_complete, messages: coverage.messages });
            }
        }
    }
    anyhow::bail!("the search ended without an end")
}
