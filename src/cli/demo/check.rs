//! `demo --check`: says what must hold of a network, tries each on the running one, and tells how long it took.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use futures::{TryStreamExt, future::try_join_all};

use super::{
    Network, Node,
    samples::{self, HANDBOOK},
};
use crate::{
    cli::{
        exit::{Ended, Exit, Failure},
        json,
        output::Output,
    },
    protocol::{
        action::{
            Coverage, ErrorKind, GetAsk, Hit, Scope, SearchAsk, SearchEvent, SendAsk, Target, Transfer,
            TransferState,
        },
        id::{ContentHash, ZoneId},
    },
};

/// Between two looks at something that has to become true.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// For every index to have hashed everything.
const INDEX_DEADLINE: Duration = Duration::from_secs(60);
/// For a killed peer to be gone from its zone, which takes about a second, on a machine with other things to do.
const GONE_DEADLINE: Duration = Duration::from_secs(30);
/// For every gateway to have heard of those of all zones.
const GATEWAYS_DEADLINE: Duration = Duration::from_secs(30);
/// For any search: its own deadline, and time for a busy machine to tell that it has ended.
const SEARCH_DEADLINE: Duration = Duration::from_secs(10);

/// What was seen, or what was wrong.
type Seen = anyhow::Result<String>;

/// Every check in order, on a network that took `start` to be ready. Ends with 0 when all hold, 1 when one does not.
pub(super) async fn run(network: Network, start: Duration, out: &mut Output) -> Ended {
    let mut table = Report { out, rows: Vec::new(), has_failed: false };
    let (count, zone_size) = (network.nodes.len(), network.zone_size);
    table.row("every peer has joined", start, Ok(format!("{count} peers")))?;
    let mut nodes = network.nodes;

    let (zones, elapsed) = timed(zones(&nodes, zone_size)).await;
    table.row("zones are of equal size", elapsed, zones)?;
    let (indexed, elapsed) = timed(indexed(&nodes)).await;
    table.row("every file is indexed and hashed", elapsed, indexed)?;
    let (found, elapsed) = timed(everyone_finds(&nodes, zone_size)).await;
    table.row("every peer finds what its zone has", elapsed, found)?;
    let (found, elapsed) = timed(everyone_finds_everything(&nodes)).await;
    table.row("every peer finds what all zones have", elapsed, found)?;
    let (missed, elapsed) = timed(everyone_misses(&nodes, zone_size)).await;
    table.row("a miss ends, and is known to be one", elapsed, missed)?;

    let mates = match mates(&nodes).await {
        Ok(mates) => mates,
        Err(error) => {
            table.row("zones can be told", Duration::ZERO, Err(error))?;
            return table.finish();
        }
    };
    let (got, elapsed) = timed(downloads(&nodes, &mates)).await;
    table.row("downloads are the bytes that were shared", elapsed, got)?;
    let (absent, elapsed) = timed(absent(&nodes[0])).await;
    table.row("an absent file is an error", elapsed, absent)?;
    let (sent, elapsed) = timed(sends(&nodes[0], &nodes[mates[0]])).await;
    table.row("a sent file arrives whole", elapsed, sent)?;

    // The last of the first peer's zone, so that a zone of two keeps the one that asks.
    let lost = nodes.remove(mates[mates.len() - 1]);
    let name = lost.name.clone();
    lost.kill();
    let first = &nodes[0];
    let (found, elapsed) = timed(finds_something(first)).await;
    table.row("a search with a dead peer ends with what the others have", elapsed, found)?;
    let (gone, elapsed) = timed(is_gone(first, name.as_str(), zone_size - 1)).await;
    table.row("a dead peer is gone from its zone", elapsed, gone)?;
    let (complete, elapsed) = timed(search(first, "notes", zone_size - 1)).await;
    let complete = complete.map(|(_, coverage)| coverage.to_string());
    table.row("the zone is whole again without it", elapsed, complete)?;
    table.finish()
}

/// Prints rows as they come where lines are for programs, else one table at the end.
struct Report<'a> {
    out: &'a mut Output,
    rows: Vec<[String; 4]>,
    has_failed: bool,
}

impl Report<'_> {
    fn row(&mut self, name: &str, elapsed: Duration, seen: Seen) -> Result<(), Failure> {
        let passed = seen.is_ok();
        self.has_failed |= !passed;
        let detail = seen.unwrap_or_else(|error| format!("{error:#}"));
        if self.out.style.json {
            let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            return self.out.json(&json::Check { name, passed, elapsed_ms, detail: &detail });
        }
        let result = if passed { "ok" } else { "FAILED" };
        let time = format!("{:.3} s", elapsed.as_secs_f64());
        self.rows.push([result.into(), time, name.into(), detail]);
        Ok(())
    }

    fn finish(self) -> Ended {
        if !self.out.style.json {
            self.out.table(["result", "time", "check", "seen"], self.rows)?;
        }
        Ok(if self.has_failed { Exit::Failed } else { Exit::Done })
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let done = work.await;
    (done, began.elapsed())
}

/// Looks until it is so.
async fn until(
    deadline: Duration,
    what: impl Display,
    mut is_so: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_so().await? {
        ensure!(began.elapsed() < deadline, "{what} after {} s", deadline.as_secs());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn zones(nodes: &[Node], zone_size: u32) -> Seen {
    let listing = nodes[0].handle().zones().await?;
    let sizes: Vec<_> = listing.rows.iter().map(|zone| zone.peers).collect();
    ensure!(
        sizes.iter().sum::<u32>() as usize == nodes.len(),
        "zones of {sizes:?} do not hold {}",
        nodes.len()
    );
    ensure!(sizes.iter().all(|size| *size == zone_size), "zones of {sizes:?}, not of {zone_size} each");
    // Everyone has to have heard of everyone before searches are counted.
    for node in nodes {
        let what = format!("{} does not know its whole zone", node.name);
        until(GONE_DEADLINE, what, async || Ok(node.handle().status().await?.zone_peers == zone_size))
            .await?;
    }
    Ok(format!("{} of {zone_size}", sizes.len()))
}

async fn indexed(nodes: &[Node]) -> Seen {
    let (mut files, mut bytes) = (0, 0);
    for node in nodes {
        until(INDEX_DEADLINE, format!("{} has not indexed its files", node.name), async || {
            let index = node.handle().status().await?.index;
            Ok(index.files == node.files && index.hashed_files == index.files)
        })
        .await?;
        let index = node.handle().status().await?.index;
        (files, bytes) = (files + index.files, bytes + index.bytes);
    }
    Ok(format!("{files} files, {}", crate::cli::output::size(bytes)))
}

/// One search to its end, with all of its hits. Fails unless exactly `answering` peers answered, or when it is late.
async fn search(node: &Node, text: &str, answering: u32) -> anyhow::Result<(Vec<Hit>, Coverage)> {
    let (hits, coverage) = search_any(node, text).await?;
    ensure!(
        coverage.is_complete() && coverage.answered == answering,
        "{} searched {text:?}: {coverage}, not {answering}",
        node.name
    );
    Ok((hits, coverage))
}

async fn search_any(node: &Node, text: &str) -> anyhow::Result<(Vec<Hit>, Coverage)> {
    search_in(node, text, Scope::Mine).await
}

async fn search_in(node: &Node, text: &str, scope: Scope) -> anyhow::Result<(Vec<Hit>, Coverage)> {
    let searching = async {
        let ask = SearchAsk { text: text.to_owned(), scope, ..SearchAsk::default() };
        let mut events = node.handle().search(ask).await?;
        let mut hits: Vec<Hit> = Vec::new();
        while let Some(event) = events.try_next().await? {
            match event {
                SearchEvent::Hit(hit) => {
                    hits.retain(|known| known.number != hit.number);
                    hits.push(hit);
                }
                SearchEvent::Done(coverage) => return Ok((hits, coverage)),
            }
        }
        bail!("{} searched {text:?} and got no end", node.name)
    };
    tokio::time::timeout(SEARCH_DEADLINE, searching)
        .await
        .with_context(|| format!("{} searched {text:?} for {} s", node.name, SEARCH_DEADLINE.as_secs()))?
}

/// Everyone finds the notes of everyone in its zone, all at once.
async fn everyone_finds(nodes: &[Node], zone_size: u32) -> Seen {
    let searches = nodes.iter().map(|node| async move {
        let (hits, _) = search(node, "notes", zone_size).await?;
        ensure!(hits.len() == zone_size as usize, "{} found {} of {zone_size} notes", node.name, hits.len());
        let (hits, _) = search(node, "handbook", zone_size).await?;
        let holders: usize = hits.iter().map(|hit| hit.holders.len()).sum();
        ensure!(hits.len() <= 1, "{} took one content for {}", node.name, hits.len());
        anyhow::Ok(holders)
    });
    let holders: usize = try_join_all(searches).await?.into_iter().sum();
    ensure!(holders > 0, "nobody found the handbook");
    Ok(format!("{} searches at once, {zone_size} of {zone_size} answered", 2 * nodes.len()))
}

/// Everyone finds the notes of everyone, once the gateways have heard of each other.
async fn everyone_finds_everything(nodes: &[Node]) -> Seen {
    let searches = nodes.iter().map(|node| async move {
        let what = format!("{} does not find what all zones have", node.name);
        until(GATEWAYS_DEADLINE, what, async || {
            let (hits, coverage) = search_in(node, "notes", Scope::All).await?;
            Ok(coverage.is_complete() && hits.len() == nodes.len())
        })
        .await
    });
    try_join_all(searches).await?;
    Ok(format!("{0} searches at once, {0} of {0} answered", nodes.len()))
}

async fn everyone_misses(nodes: &[Node], zone_size: u32) -> Seen {
    let searches = nodes.iter().map(|node| async move {
        let (hits, _) = search(node, "nosuchfileanywhere", zone_size).await?;
        ensure!(hits.is_empty(), "{} found what is not there", node.name);
        anyhow::Ok(())
    });
    try_join_all(searches).await?;
    Ok(format!("{} searches at once, {zone_size} of {zone_size} answered", nodes.len()))
}

/// Where the others of the first peer's zone are among the nodes.
async fn mates(nodes: &[Node]) -> anyhow::Result<Vec<usize>> {
    let mut zones: Vec<Option<ZoneId>> = Vec::new();
    for node in nodes {
        zones.push(node.handle().status().await?.me.zone);
    }
    let mates: Vec<_> = (1..nodes.len()).filter(|at| zones[*at] == zones[0]).collect();
    ensure!(!mates.is_empty(), "{} is alone in its zone", nodes[0].name);
    Ok(mates)
}

/// The first peer downloads the notes of each of its zone, and the handbook from everyone who has it.
async fn downloads(nodes: &[Node], mates: &[usize]) -> Seen {
    let first = &nodes[0];
    let (mut files, mut bytes) = (0, 0);
    for mate in mates {
        let wanted = samples::notes_of(nodes[*mate].name.as_str());
        let content = fs::read(nodes[*mate].share.join(&wanted))?;
        let hash = ContentHash::from_bytes(*blake3::hash(&content).as_bytes());
        let path = get(first, Target::Hash(hash)).await.with_context(|| format!("could not get {wanted}"))?;
        same(&path, &content)?;
        (files, bytes) = (files + 1, bytes + content.len());
    }
    // By the number of a hit, as a person would; a peer that has none of its own asks, so that bytes do travel.
    let asker = mates.iter().map(|at| &nodes[*at]).find(|node| !node.share.join(HANDBOOK).exists());
    if let Some(asker) = asker {
        let (hits, _) = search_any(asker, "handbook").await?;
        if let Some(hit) = hits.first() {
            let path = get(asker, Target::Hit(hit.number)).await.context("could not get the handbook")?;
            same(&path, &samples::handbook())?;
            (files, bytes) = (files + 1, bytes + samples::handbook().len());
        }
    }
    Ok(format!("{files} files, {}, equal", crate::cli::output::size(bytes as u64)))
}

fn same(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let read = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    ensure!(read == content, "{} is not what was shared", path.display());
    Ok(())
}

async fn get(node: &Node, target: Target) -> anyhow::Result<PathBuf> {
    let events = node.handle().get(GetAsk::new(target, None)).await?;
    let done = last(events).await?;
    done.path.context("the download does not say where it is")
}

async fn last(mut events: crate::peer::handle::Events<Transfer>) -> anyhow::Result<Transfer> {
    while let Some(transfer) = events.try_next().await? {
        match transfer.state {
            TransferState::Done => return Ok(transfer),
            TransferState::Failed(error) => return Err(error.into()),
            TransferState::Cancelled => bail!("the transfer was cancelled"),
            TransferState::Waiting
            | TransferState::Paused
            | TransferState::Running
            | TransferState::Verifying => {}
        }
    }
    bail!("the transfer did not end")
}

async fn absent(node: &Node) -> Seen {
    let target = Target::Hash(ContentHash::from_bytes([0x5a; 32]));
    let ended = match node.handle().get(GetAsk::new(target, None)).await {
        Ok(events) => last(events).await.map(drop).map_err(|error| match error.downcast() {
            Ok(error) => error,
            Err(other) => crate::protocol::action::ActionError::new(ErrorKind::Failed, other.to_string()),
        }),
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => bail!("a file that nobody has was downloaded"),
        Err(error) => {
            ensure!(error.kind == ErrorKind::NotFound, "the error is {} ({error})", error.kind.name());
            Ok(error.message)
        }
    }
}

async fn sends(from: &Node, to: &Node) -> Seen {
    let path = from.share.join(samples::notes_of(from.name.as_str()));
    let content = fs::read(&path)?;
    let events = from.handle().send(SendAsk { path, peer: to.name.to_string() }).await?;
    last(events).await?;
    same(&to.inbox.join(samples::notes_of(from.name.as_str())), &content)?;
    Ok(format!("{} to {}, equal", from.name, to.name))
}

async fn finds_something(node: &Node) -> Seen {
    let (hits, coverage) = search_any(node, "notes").await?;
    ensure!(!hits.is_empty(), "nothing was found: {coverage}");
    Ok(format!("{} hits; {coverage}", hits.len()))
}

async fn is_gone(node: &Node, name: &str, left: u32) -> Seen {
    let what = format!("{name} is still in the zone");
    until(GONE_DEADLINE, what, async || Ok(node.handle().status().await?.zone_peers == left)).await?;
    let listing = node.handle().peers(None).await?;
    ensure!(listing.rows.iter().all(|row| row.name.as_str() != name), "{name} is still listed");
    Ok(format!("{name}; {left} left"))
}
