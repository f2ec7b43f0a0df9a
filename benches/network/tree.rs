//! A busy search seven hops deep: how long its last hop works on when the reader drops it, and how much runs ahead of a
//! reader that stalls. Real peers in one process, real gRPC, a registry that makes a line of them with a leaf at each hop.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use floodplain::{
    peer::{self, Peer, handle::Events},
    protocol::action::{SearchAsk, SearchEvent},
    shutdown::Shutdown,
};
use futures::StreamExt;
use rand::RngExt;

use crate::{
    first_hit::peer_settings,
    heap,
    measure::{Times, micros, millis},
    tree_registry::{Tree, line_with_leaves},
};

const HOPS: usize = 7;
/// Of a leaf; those of the line have as many as is asked for.
const LEAF_FILES: u32 = 2_000;
/// A long path fills the queues on the way many times over.
const FOLDER_BYTES: usize = 200;
/// Between two looks at what runs.
const LOOK_EVERY: Duration = Duration::from_micros(20);
/// Nothing ran anywhere for so long: what was on its way has arrived too.
const STILL: Duration = Duration::from_millis(5);
/// Nothing came for so long: nothing will.
const QUIET: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(30);

/// When the reader drops the search.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// While the indexes are searched and the tree grows.
    Early,
    /// While hits of every hop come and are read as fast as they do.
    Flowing,
    /// When it has not read for long, and everything on the way is full.
    Stalled,
}

struct Grown {
    tree: Tree,
    /// The line first.
    peers: Vec<Peer>,
}

pub(crate) async fn run(files: u32, rounds: usize, folder: &Path) -> Result<()> {
    let folder = tempfile::tempdir_in(folder)?;
    let shutdown = Shutdown::new();
    let grown = Grown::new(folder.path(), files, &shutdown).await?;
    println!("{HOPS} hops, {files} files that answer at each, {LEAF_FILES} at a leaf beside each");
    let mut whole = Times::default();
    for _ in 0..10 {
        let begun = Instant::now();
        let hits = finish(grown.search().await?).await?;
        anyhow::ensure!(hits >= 1000 * (HOPS + 1), "{hits} hits");
        whole.push(begun.elapsed());
    }
    println!("read to the end: p50 {:.0} ms", millis(whole.quantile(0.5)));
    println!(
        "{:46} {:>7} {:>8} {:>8} {:>8}",
        "dropped, until the last hop ended", "rounds", "p50 us", "p99 us", "worst"
    );
    for (what, moment) in [
        ("at once, or up to 10 ms after it began", Moment::Early),
        ("while every hop sends and all is read", Moment::Flowing),
        ("after 100 ms in which nothing was read", Moment::Stalled),
    ] {
        let mut times = Times::default();
        let (mut round, begun) = (0, Instant::now());
        while times.count() < rounds {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the tree is never busy: {what}");
            let Some(time) = grown.cancelled(moment).await? else { continue };
            round += 1;
            if round > 3 {
                times.push(time);
            }
        }
        let [p50, p99, worst] = [0.5, 0.99, 1.0].map(|part| micros(times.quantile(part)));
        println!("{what:46} {:7} {p50:8.0} {p99:8.0} {worst:8.0}", times.count());
    }
    grown.run_ahead().await?;
    shutdown.drain(Duration::from_secs(5)).await;
    Ok(())
}

impl Grown {
    async fn new(folder: &Path, files: u32, shutdown: &Shutdown) -> Result<Self> {
        let edges = line_with_leaves(HOPS);
        let tree = Tree::serve(edges.clone()).await;
        let mut peers = Vec::new();
        for name in std::iter::once("peer0").chain(edges.iter().map(|(_, to)| to.as_str())) {
            let home = folder.join(name);
            let share = home.join("docs");
            let deep = share.join("x".repeat(FOLDER_BYTES)).join("y".repeat(FOLDER_BYTES));
            std::fs::create_dir_all(&deep)?;
            let count = if name.starts_with("peer") { files } else { LEAF_FILES };
            for file in 0..count {
                std::fs::write(deep.join(format!("lecture {file:05}.txt")), format!("{name} {file}"))?;
            }
            let settings = peer_settings(&home, name, tree.address(), share)?;
            peers.push(peer::start(settings, shutdown.clone()).await?);
        }
        for peer in &peers {
            peer.until_ready().await?;
            peer.until_hashed().await;
        }
        let grown = Self { tree, peers };
        grown.until_told(0).await;
        Ok(grown)
    }

    async fn until_told(&self, revision: u64) {
        for peer in &self.peers {
            let is_told = |now: &peer::Knowledge| {
                now.roster.as_ref().is_some_and(|roster| {
                    roster.members().len() == self.peers.len() && roster.revision() > revision
                })
            };
            peer.view().until(is_told).await;
        }
    }

    async fn search(&self) -> Result<Events<SearchEvent>> {
        let wait = Some(Duration::from_secs(60));
        let ask = SearchAsk { text: "lecture".into(), ttl: Some(16), wait, ..SearchAsk::default() };
        Ok(self.peers[0].handle().search(ask).await?)
    }

    fn line(&self) -> &[Peer] {
        &self.peers[..=HOPS]
    }

    /// Begins a search and drops it: how long the last peer worked on. None when the tree was not busy at that moment.
    async fn cancelled(&self, moment: Moment) -> Result<Option<Duration>> {
        let mut events = self.search().await?;
        let is_busy = || self.line().iter().all(|peer| peer.running_queries() > 0);
        match moment {
            Moment::Early => {
                let wait = rand::rng().random_range(0..10_000);
                tokio::time::sleep(Duration::from_micros(wait)).await;
            }
            Moment::Flowing => {
                let least = rand::rng().random_range(1..2_000);
                let mut read = 0;
                while read < least || !is_busy() {
                    match events.next().await.context("an end")?? {
                        SearchEvent::Hit(_) => read += 1,
                        SearchEvent::Done(_) => return Ok(None),
                    }
                }
            }
            Moment::Stalled => {
                events.next().await.context("a hit")??;
                tokio::time::sleep(Duration::from_millis(100)).await;
                let begun = Instant::now();
                while !is_busy() {
                    anyhow::ensure!(begun.elapsed() < PATIENCE, "some hop had ended");
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        let dropped = Instant::now();
        drop(events);
        let ended = tokio::task::block_in_place(|| {
            // The first look that saw nobody run, of those after the last that saw somebody: late by a look at most.
            let mut ended = None;
            while dropped.elapsed() < PATIENCE {
                let is_running = self.peers.iter().any(|peer| peer.running_queries() > 0);
                let now = Instant::now();
                match ended {
                    _ if is_running => ended = None,
                    None => ended = Some(now),
                    Some(at) if now - at > STILL => break,
                    Some(_) => {}
                }
                std::thread::sleep(LOOK_EVERY);
            }
            ended.unwrap_or_else(Instant::now)
        });
        Ok(Some(ended - dropped))
    }

    async fn run_ahead(&self) -> Result<()> {
        let revision = self.peers[0].view().now().roster.as_ref().map_or(0, |roster| roster.revision());
        let counts = self.tree.count().await;
        self.until_told(revision).await;
        finish(self.search().await?).await?;
        // The origin keeps the hits of its last search: none, so that none are freed while bytes are counted.
        finish(
            self.peers[0]
                .handle()
                .search(SearchAsk { text: "nothing".into(), ..SearchAsk::default() })
                .await?,
        )
        .await?;
        let seen = |counts: &BTreeMap<String, Arc<AtomicU64>>| -> Vec<u64> {
            counts.values().map(|count| count.load(Relaxed)).collect()
        };
        let (before, begun) = (seen(&counts), Instant::now());
        heap::begin();
        let mut events = self.search().await?;
        events.next().await.context("a hit")??;
        let (mut last, mut since) = (before.clone(), Instant::now());
        while since.elapsed() < QUIET && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = seen(&counts);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        let growth = heap::growth_bytes();
        heap::end();
        let ahead: Vec<u64> = last.iter().zip(&before).map(|(now, before)| now - before).collect();
        let hits = finish(events).await?;
        let carried: u64 = seen(&counts).iter().zip(&before).map(|(now, before)| now - before).sum();
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        println!(
            "a reader that stalls: {:.0} KiB on the way of one hop at most, {:.0} KiB on all {}; all peers together hold {:.0} KiB; {hits} hits and {:.0} KiB came when it was read again",
            kib(ahead.iter().copied().max().unwrap_or_default()),
            kib(ahead.iter().sum()),
            2 * HOPS,
            growth as f64 / 1024.0,
            kib(carried),
        );
        Ok(())
    }
}

/// Reads to the end and counts hits.
async fn finish(mut events: Events<SearchEvent>) -> Result<usize> {
    let mut hits = 0;
    while let Some(event) = events.next().await {
        match event? {
            SearchEvent::Hit(_) => hits += 1,
            SearchEvent::Done(_) => return Ok(hits),
        }
    }
    anyhow::bail!("the search ended without an end")
}
