//! A hostile peer does at full rate all that it can while honest ones search: they find what they would find without it. How
//! long that takes is measured by `cargo bench --bench network -- hostile`.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[path = "support/attack.rs"]
mod attack;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/processes.rs"]
mod processes;
#[path = "support/raw.rs"]
mod raw;

use std::{
    fs,
    time::{Duration, Instant},
};

use attack::{Attack, Storm};
use floodplain::{
    peer::{Handle, control, remote},
    protocol::action::{SearchAsk, SearchEvent},
};
use futures::StreamExt;
use processes::{Daemon, PATIENCE, home, logged};

const PEERS: usize = 3;
/// Searches of each of two peers during each attack.
const SEARCHES: usize = 5;

/// Hits, and whether everyone was heard.
async fn search(handle: &Handle, text: &str) -> (usize, bool) {
    let ask = SearchAsk { text: text.into(), wait: Some(Duration::from_secs(30)), ..SearchAsk::default() };
    let mut events = handle.search(ask).await.unwrap();
    let mut hits = std::collections::BTreeSet::new();
    loop {
        match tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap() {
            SearchEvent::Hit(hit) => drop(hits.insert(hit.number)),
            SearchEvent::Done(coverage) => return (hits.len(), coverage.is_complete()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_searches_are_complete_whatever_a_hostile_peer_does() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Daemon::registry(&folder.path().join("hub"), "127.0.0.1:0");
    let (mut daemons, mut handles) = (Vec::new(), Vec::new());
    for number in 0..PEERS {
        let at = home(&folder.path().join(format!("peer{number}")), &registry.address, "");
        fs::write(at.join(format!("share/report {number}.txt")), format!("{number}")).unwrap();
        fs::write(at.join(format!("share/lecture {number}.mkv")), vec![7; 2 << 20]).unwrap();
        daemons.push(Daemon::start(&at, &["peer", "--name", &format!("peer{number}")]));
        handles.push(remote::connect(&control::socket_path(&at.join("data"))).await.unwrap());
    }
    let began = Instant::now();
    while search(&handles[0], "report").await != (PEERS, true)
        || search(&handles[1], "report").await != (PEERS, true)
    {
        assert!(began.elapsed() < PATIENCE, "the zone is not complete");
    }
    let target = daemons[0].address.parse().unwrap();
    for attack in Attack::ALL {
        let storm = Storm::begin(attack, target, "share/lecture 0.mkv");
        let mut sent = storm.sent.subscribe();
        // What it gives is let go of at once: held, the storm could not count on.
        let begins =
            tokio::time::timeout(PATIENCE, async { drop(sent.wait_for(|sent| *sent >= 10).await) }).await;
        assert!(begins.is_ok(), "{attack:?} does not begin");
        // Of the target itself, and of another that has to ask it.
        for handle in &handles[..2] {
            for _ in 0..SEARCHES {
                assert_eq!(search(handle, "report").await, (PEERS, true), "during {attack:?}");
            }
        }
        storm.end().await;
    }
    let log = logged(&folder.path().join("peer0"));
    assert!(!log.contains("panicked") && !log.contains("fault of this program"), "{log}");
}
