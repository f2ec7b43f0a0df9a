//! A zone whose peers know each other's words and pairs of words: a query goes to those who may have a hit, and nobody who has one is missed.

#[path = "support/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use floodplain::protocol::action::{Coverage, SearchAsk};
use support::{PATIENCE, TestPeer, network, put, soon};

/// Searches until everyone's words are known to this peer, which the number of messages tells.
async fn until_messages(peer: &TestPeer, query: &str, most: u32) -> Coverage {
    let begun = std::time::Instant::now();
    loop {
        let (_, coverage) = peer.search(query).await;
        assert!(coverage.is_complete(), "{query}: {coverage:?}");
        if coverage.messages <= most {
            return coverage;
        }
        assert!(begun.elapsed() < PATIENCE, "{query}: {coverage:?}");
    }
}

async fn rescan(peer: &TestPeer) {
    soon("a rescan", peer.handle.rescan()).await.expect("rescanned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_goes_to_those_who_may_have_a_hit() {
    let (_registry, peers) = network(1, 8).await;
    for seeker in [&peers[0], &peers[5]] {
        let coverage = until_messages(seeker, "peer3 report", 1).await;
        assert_eq!((coverage.answered, coverage.asked, coverage.ruled_out), (8, 8, 6));
        let (hits, _) = seeker.search("peer3 report").await;
        assert_eq!(hits.len(), 1);
        assert_eq!(hits[0].holders[0].peer.as_str(), "peer3");
        let coverage = until_messages(seeker, "nobody has this", 0).await;
        assert_eq!((coverage.answered, coverage.ruled_out), (8, 7));
        // What everybody has is asked of everybody, and what a summary cannot tell too.
        for query in ["shared", "re"] {
            let (_, coverage) = seeker.search(query).await;
            assert!(coverage.messages >= 7 && coverage.ruled_out == 0, "{query}: {coverage:?}");
        }
        let (hits, _) = seeker.search("size:<1k peer3").await;
        assert_eq!(hits.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_added_a_moment_ago_is_found() {
    let (_registry, peers) = network(1, 6).await;
    until_messages(&peers[0], "nobody has this", 0).await;
    for round in 0..20 {
        let holder = &peers[1 + round % 5];
        put(&holder.share().join(format!("{round}fresh.txt")), b"new");
        rescan(holder).await;
        let (hits, coverage) = peers[0].search(&format!("{round}fresh")).await;
        assert_eq!(hits.len(), 1, "round {round}: {coverage:?}");
    }
    // And when all has settled it costs one message.
    until_messages(&peers[0], "7fresh", 1).await;
    assert_eq!(peers[0].search("7fresh").await.0.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_different_files_are_asked_of_nobody_until_one_file_has_both() {
    let (_registry, peers) = network(1, 6).await;
    put(&peers[3].share().join("annual lecture.txt"), b"one");
    put(&peers[3].share().join("holiday budget.txt"), b"other");
    rescan(&peers[3]).await;
    until_messages(&peers[0], "annual lecture", 1).await;
    let coverage = until_messages(&peers[0], "annual budget", 0).await;
    assert_eq!((coverage.answered, coverage.ruled_out), (6, 5));
    // The words are known, and only the path is new.
    put(&peers[3].share().join("annual budget.txt"), b"new");
    rescan(&peers[3]).await;
    let (hits, coverage) = peers[0].search("annual budget").await;
    assert_eq!(hits.len(), 1, "{coverage:?}");
    until_messages(&peers[0], "annual budget", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_for_one_peer_is_asked_of_that_one_only() {
    let (_registry, peers) = network(1, 6).await;
    for query in ["shared peer:Peer2", "shared peer:nobody"] {
        let (hits, coverage) = peers[0].search(query).await;
        let expected = u32::from(query.ends_with('2'));
        assert_eq!((hits.len(), coverage.messages), (expected as usize, expected), "{query}: {coverage:?}");
        assert!(coverage.is_complete(), "{query}: {coverage:?}");
    }
    let id = peers[4].peer.view().now().me.id.to_string();
    let (hits, coverage) = peers[0].search(&format!("peer:{} shared", &id[..8])).await;
    assert_eq!((hits.len(), hits[0].holders.len(), coverage.messages), (1, 1, 1), "{coverage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_starts_again_or_joins_late_is_asked_until_its_words_are_known() {
    let (registry, mut peers) = network(1, 5).await;
    until_messages(&peers[0], "nobody has this", 0).await;
    let last = peers.pop().expect("five");
    let (settings, folder) = last.kill().await;
    put(&folder.path().join("docs/comeback.txt"), b"again");
    peers.push(TestPeer::start_with(settings, folder).await);
    let (hits, coverage) = peers[0].search("comeback").await;
    assert_eq!(hits.len(), 1, "{coverage:?}");
    drop(registry);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_registry_everyone_is_asked() {
    let (registry, peers) = network(1, 5).await;
    until_messages(&peers[0], "nobody has this", 0).await;
    let _kept = registry.stop().await;
    let lost = |now: &floodplain::peer::Knowledge| {
        now.connection != floodplain::protocol::action::Connection::Connected
    };
    soon("the loss of the registry", peers[0].peer.view().until(lost)).await;
    put(&peers[2].share().join("unannounced.txt"), b"new");
    rescan(&peers[2]).await;
    let (hits, coverage) = peers[0].search("unannounced").await;
    assert_eq!((hits.len(), coverage.ruled_out), (1, 0), "{coverage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_hits_of_a_common_word_cost_a_few_messages() {
    let (_registry, peers) = network(1, 16).await;
    let ask = |want| SearchAsk { text: "report".into(), want: Some(want), ..SearchAsk::default() };
    let (hits, coverage) = peers[0].search_with(ask(2)).await;
    assert_eq!(hits.len(), 2);
    assert!(coverage.messages < 15 && coverage.truncated, "{coverage:?}");
    let (hits, coverage) = peers[0].search_with(ask(100)).await;
    assert_eq!((hits.len(), coverage.is_complete()), (16, true), "{coverage:?}");
}
