//! A search seven hops deep, with more hits at each hop than fit on the way: it ends everywhere when its reader goes, and
//! runs ahead of a reader that stalls by no more than a bound.

#[path = "support/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;
#[path = "support/tree.rs"]
mod tree;

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use floodplain::{
    peer::handle::Events,
    protocol::{
        action::{SearchAsk, SearchEvent},
        relay::SILENCE_LIMIT,
    },
};
use futures::{StreamExt, future::join_all};
use support::{PATIENCE, TestPeer, soon};
use tree::{Tree, line_with_leaves};

const HOPS: usize = 7;
/// Hits of each peer of the line, as many as one gives at most.
const FILES: usize = 1000;
/// Long enough that those of one peer fill every queue on the way many times over.
const FOLDER_BYTES: usize = 200;
/// What may be on one way while nobody reads: a window, and a few messages that wait at both ends.
const MOST_AHEAD_OF_A_HOP: u64 = 128 << 10;
/// And on all of them together.
const MOST_AHEAD: u64 = 1 << 20;
/// Nothing came for so long: nothing will. Longer than a peer may be silent before it is given up, which nobody is here.
const QUIET: Duration = Duration::from_millis(100).saturating_add(SILENCE_LIMIT);

/// The tree, its line first.
async fn grown() -> (Tree, Vec<TestPeer>) {
    let edges = line_with_leaves(HOPS);
    let tree = Tree::serve(edges.clone()).await;
    let mut peers = Vec::new();
    for name in std::iter::once("peer0").chain(edges.iter().map(|(_, to)| to.as_str())) {
        let folder = format!("{name}/{}/{}", "x".repeat(FOLDER_BYTES), "y".repeat(FOLDER_BYTES));
        let count = if name.starts_with("peer") { FILES } else { 10 };
        let files: Vec<String> =
            (0..count).map(|number| format!("{folder}/lecture {number:05}.txt")).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|path| (path.as_str(), &b""[..])).collect();
        peers.push(TestPeer::start(tree.address(), name, &files).await);
    }
    until_told(&peers, 0).await;
    (tree, peers)
}

/// Everyone knows everyone, and the others' addresses as they are after that revision.
async fn until_told(peers: &[TestPeer], revision: u64) {
    for peer in peers {
        let is_told = |now: &floodplain::peer::Knowledge| {
            now.roster
                .as_ref()
                .is_some_and(|roster| roster.members().len() == peers.len() && roster.revision() > revision)
        };
        soon("the tree", peer.peer.view().until(is_told)).await;
    }
}

/// A search of the whole tree by its root; a TTL makes it a classic flood.
async fn begin(root: &TestPeer) -> Events<SearchEvent> {
    let wait = Some(Duration::from_secs(60));
    let ask = SearchAsk { text: "lecture".into(), ttl: Some(16), wait, ..SearchAsk::default() };
    root.handle.search(ask).await.expect("a search")
}

/// Reads to the end: the hits and the peers that answered.
async fn finish(mut events: Events<SearchEvent>) -> (usize, u32) {
    let mut hits = 0;
    loop {
        match soon("an event", events.next()).await.expect("an end").expect("no error") {
            SearchEvent::Hit(hit) => hits = hits.max(hit.number as usize),
            SearchEvent::Done(coverage) => return (hits, coverage.answered),
        }
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_search_ends_it_at_all_seven_hops() {
    let (_tree, peers) = grown().await;
    let line: Vec<&TestPeer> = peers.iter().filter(|peer| peer.name.starts_with("peer")).collect();
    for round in 0..5 {
        let mut events = begin(line[0]).await;
        soon("a hit", events.next()).await.expect("an event").expect("no error");
        // Nobody reads on, so that every hop has more to say and waits.
        until("all hops to run", || line.iter().all(|peer| peer.peer.running_queries() == 1)).await;
        drop(events);
        let begun = Instant::now();
        until("all hops to end", || peers.iter().all(|peer| peer.peer.running_queries() == 0)).await;
        assert!(begun.elapsed() < PATIENCE / 4, "round {round}: by itself, not by its deadline");
    }
    // And nothing of it is in the way of the next one.
    assert_eq!(finish(begin(line[0]).await).await.1, 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_holds_the_hits_back_at_those_who_have_them() {
    let (tree, peers) = grown().await;
    let revision = peers[0].peer.view().now().roster.as_ref().map_or(0, |roster| roster.revision());
    let counts = tree.count().await;
    until_told(&peers, revision).await;
    let on_the_way = || counts.values().map(|count| count.load(Relaxed)).collect::<Vec<_>>();
    let mut events = begin(&peers[0]).await;
    soon("a hit", events.next()).await.expect("an event").expect("no error");
    let (mut before, mut since) = (on_the_way(), Instant::now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = on_the_way();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    for (name, count) in &counts {
        let bytes = count.load(Relaxed);
        assert!(bytes <= MOST_AHEAD_OF_A_HOP, "{bytes} bytes ran ahead of the reader from {name}");
    }
    let all: u64 = counts.values().map(|count| count.load(Relaxed)).sum();
    assert!(all <= MOST_AHEAD, "{all} bytes ran ahead of the reader: {counts:?}");
    // What was held back comes when it is read again.
    let ((hits, answered), root) = (finish(events).await, &peers[0].name);
    assert_eq!((hits, answered), (1, 15), "the content of all is the same");
    let carried: Vec<u64> =
        counts.iter().filter(|(name, _)| *name != root).map(|(_, c)| c.load(Relaxed)).collect();
    assert!(carried.iter().max() > Some(&(4 * MOST_AHEAD_OF_A_HOP)), "{carried:?}");
    join_all(peers.into_iter().map(TestPeer::kill)).await;
}
