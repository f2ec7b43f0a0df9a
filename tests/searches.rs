//! What a search is asked and what it shows, between real peers: times, the order of hits, suggestions, saved searches.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use floodplain::{
    peer::handle::Events,
    protocol::{
        action::{Activity, ActivityKind, ErrorKind, NewHit, SaveAsk, Scope, SearchAsk},
        hits::in_order,
        zone::Layout,
    },
};
use futures::StreamExt;
use support::{TestPeer, TestRegistry, network, put, soon};

/// Long enough for any run that is due.
const NEWS_WAIT: Duration = Duration::from_secs(25);

fn written_ago(path: &Path, days: u64) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 3600)).unwrap();
}

async fn names(peer: &TestPeer, query: &str) -> Vec<String> {
    let (hits, _) = peer.search(query).await;
    in_order(&hits).into_iter().map(|hit| hit.file.name().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_found_by_the_time_of_their_last_change() {
    let (_registry, peers) = network(1, 3).await;
    for (peer, days) in [(&peers[1], 3), (&peers[2], 30)] {
        written_ago(&peer.share().join(format!("{} report.txt", peer.name)), days);
        soon("a rescan", peer.handle.rescan()).await.unwrap();
    }
    assert_eq!(names(&peers[0], "report newer:7d older:1d").await, ["peer2 report.txt"]);
    assert_eq!(names(&peers[0], "report older:7d").await, ["peer3 report.txt"]);
    assert_eq!(names(&peers[0], "report -older:1d").await, ["peer1 report.txt"]);
    assert_eq!(names(&peers[0], "report older:2020-01-01").await, [""; 0]);
    let refused = peers[0].handle.search(floodplain::protocol::action::SearchAsk {
        text: "report newer:tomorrow".into(),
        ..Default::default()
    });
    assert_eq!(refused.await.map(drop).unwrap_err().kind, ErrorKind::Usage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_best_name_is_shown_first_wherever_it_is() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 3 }).await;
    let ana: [(&str, &[u8]); 2] = [("budget/notes.txt", b"1"), ("old budget.txt", b"2")];
    let ben: [(&str, &[u8]); 3] = [("budget 2024.txt", b"3"), ("Budget.txt", b"4"), ("backup.bin", b"5")];
    let eve: [(&str, &[u8]); 2] = [("budget.pdf", b"5"), ("the old budget.txt", b"2")];
    let mut peers = Vec::new();
    for (name, files) in [("ana", &ana[..]), ("ben", &ben[..]), ("eve", &eve[..])] {
        peers.push(TestPeer::start(registry.address, name, files).await);
    }
    for peer in &peers {
        peer.until_zone_has(3).await;
        soon("the hashes", peer.peer.until_hashed()).await;
    }
    let shown = names(&peers[0], "budget").await;
    // `backup.bin` is the same content as `budget.pdf`, but its name says nothing of a budget: it is no hit.
    assert_eq!(shown[2..], ["budget 2024.txt", "old budget.txt", "notes.txt"], "{shown:?}");
    assert!(
        shown[..2].contains(&"Budget.txt".into()) && shown[..2].contains(&"budget.pdf".into()),
        "{shown:?}"
    );
    let (hits, _) = peers[0].search("budget").await;
    let old = hits.iter().find(|hit| hit.file.size_bytes == 1 && hit.holders.len() == 2).unwrap();
    assert!(old.have, "one content is one row, and it is here already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miss_suggests_what_is_known_here() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let files: [(&str, &[u8]); 2] = [("Annual Budget.xlsx", b"1"), ("badges.txt", b"2")];
    let ana = TestPeer::start(registry.address, "ana", &files).await;
    let (hits, coverage) = ana.search("\"anual bugdet\" -draft newer:7d").await;
    assert!(hits.is_empty());
    assert_eq!(coverage.suggestions[0], "\"annual budget\" -draft newer:7d");
    assert_eq!(names(&ana, &coverage.suggestions[0]).await, ["Annual Budget.xlsx"]);
    assert_eq!(ana.search("budget").await.1.suggestions, [""; 0]);
    assert_eq!(ana.search("hovercraft").await.1.suggestions, [""; 0]);
}

async fn save(peer: &TestPeer, name: &str, text: &str) -> Result<u32, ErrorKind> {
    let ask = SaveAsk { name: name.into(), text: text.into(), scope: Scope::Mine };
    let saved = soon("the first run", peer.handle.save_search(ask)).await;
    saved.map(|saved| saved.known_hits).map_err(|error| error.kind)
}

async fn news(peer: &TestPeer, wait: Duration) -> Vec<NewHit> {
    soon("news", peer.handle.take_new_hits(wait)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_search_tells_each_new_hit_once_even_over_a_restart() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let every_second = |settings: &mut floodplain::config::PeerSettings| {
        settings.saved_search_every = Duration::from_secs(1);
    };
    let ana = TestPeer::start_changed(registry.address, "ana", &[], every_second).await;
    let ben = TestPeer::start(registry.address, "ben", &[("thesis one.pdf", b"1")]).await;
    ana.until_zone_has(2).await;
    soon("the hashes", ben.peer.until_hashed()).await;

    assert_eq!(save(&ana, "theses", "thesis newer:7d").await, Ok(1));
    assert_eq!(save(&ana, "theses", "thesis newer:7d").await, Ok(1), "it is saved already");
    assert_eq!(save(&ana, "theses", "other").await, Err(ErrorKind::Refused));
    assert_eq!(save(&ana, "../x", "other").await, Err(ErrorKind::Usage));
    assert_eq!(save(&ana, "x", "newer:soon").await, Err(ErrorKind::Usage));
    assert_eq!(news(&ana, Duration::ZERO).await, []);

    put(&ben.share().join("thesis two.pdf"), b"2");
    put(&ben.share().join("a copy of thesis one.pdf"), b"1");
    let told = news(&ana, NEWS_WAIT).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].search.as_str(), told[0].file.name()), ("theses", "thesis two.pdf"));
    assert_eq!(told[0].peers, ["ben"]);
    let file = ana.folder.path().join("data/searches/theses.json");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(!kept.contains("thesis two.pdf"), "what was told is on disk before it is told: {kept}");

    // Found before the restart and told after it; what was told before it is not told again.
    put(&ben.share().join("thesis three.pdf"), b"3");
    soon("the third", async {
        while ana.handle.saved_searches().await.unwrap()[0].new_hits == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (settings, folder) = ana.kill().await;
    let kept = std::fs::read_to_string(folder.path().join("data/searches/theses.json")).unwrap();
    assert!(kept.contains("thesis three.pdf") && !kept.contains("thesis two.pdf"), "{kept}");
    let ana = TestPeer::start_with(settings, folder).await;
    let told = news(&ana, NEWS_WAIT).await;
    assert_eq!(told.iter().map(|hit| hit.file.name()).collect::<Vec<_>>(), ["thesis three.pdf"]);
    soon("a run after the restart", async {
        while ana.handle.saved_searches().await.unwrap()[0].last_run.is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(news(&ana, Duration::ZERO).await, []);

    ana.handle.remove_saved_search("theses".into()).await.unwrap();
    assert!(ana.handle.saved_searches().await.unwrap().is_empty());
    assert!(!ana.folder.path().join("data/searches/theses.json").exists());
    let gone = ana.handle.remove_saved_search("theses".into()).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_saved_without_a_network_begins_when_there_is_one() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 2 }).await;
    let every_second = |settings: &mut floodplain::config::PeerSettings| {
        settings.saved_search_every = Duration::from_secs(1);
    };
    let ana = TestPeer::start_changed(registry.address, "ana", &[], every_second).await;
    let ben = TestPeer::start(registry.address, "ben", &[("thesis one.pdf", b"1")]).await;
    ana.until_zone_has(2).await;
    soon("the hashes", ben.peer.until_hashed()).await;
    ana.handle.set_connected(false).await.unwrap();
    assert_eq!(save(&ana, "theses", "thesis").await, Ok(0));
    let saved = ana.handle.saved_searches().await.unwrap().remove(0);
    assert!(saved.problem.unwrap().contains("zone"));
    ana.handle.set_connected(true).await.unwrap();
    soon("a run that finds something", async {
        while ana.handle.saved_searches().await.unwrap()[0].known_hits == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let saved = ana.handle.saved_searches().await.unwrap().remove(0);
    assert_eq!((saved.problem, saved.new_hits), (None, 0), "what was there is no news");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_saved_search_too_many_is_refused() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 1 }).await;
    let ana = TestPeer::start(registry.address, "ana", &[]).await;
    for number in 0..floodplain::protocol::saved::MAX_SAVED {
        assert_eq!(save(&ana, &format!("s{number}"), "x").await, Ok(0));
    }
    assert_eq!(save(&ana, "more", "x").await, Err(ErrorKind::Refused));
    ana.handle.remove_saved_search("s0".into()).await.unwrap();
    assert_eq!(save(&ana, "more", "x").await, Ok(0));
}

/// The beginning and the end of the next query that has this text.
async fn told(activity: &mut Events<Activity>, text: &str) -> (Activity, Activity) {
    let mut began = None;
    loop {
        let activity = soon("an activity", activity.next()).await.unwrap().unwrap();
        match (activity.kind, &began) {
            _ if activity.text != text => {}
            (ActivityKind::Began, None) => began = Some(activity),
            (ActivityKind::Answered, Some(began)) if began.query == activity.query => {
                return (began.clone(), activity);
            }
            _ => panic!("{activity:?} after {began:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_is_told_where_it_begins_and_where_it_passes() {
    let (_registry, peers) = network(1, 3).await;
    let ids: Vec<_> = peers.iter().map(|peer| peer.peer.view().now().me.id).collect();
    let mut at_origin = peers[0].handle.activity().await.unwrap();
    let mut at_other = peers[1].handle.activity().await.unwrap();
    assert_eq!(peers[0].search("report").await.0.len(), 3);

    let (began, answered) = told(&mut at_origin, "report").await;
    assert_eq!((began.from, began.hops, began.hits, began.missed), (None, 0, 0, 0));
    assert_eq!((answered.hits, answered.zone.is_some()), (3, true));
    assert!(answered.time >= began.time && answered.asked.contains(&ids[1]), "{answered:?}");
    let (began, answered) = told(&mut at_other, "report").await;
    assert_eq!((began.from.is_some(), began.hops > 0), (true, true));
    assert!(answered.hits >= 1, "its own: {answered:?}");

    // One that its person gives up ends too.
    let ask = SearchAsk { text: "report".into(), ..SearchAsk::default() };
    drop(peers[0].handle.search(ask).await.unwrap());
    let (began, answered) = told(&mut at_origin, "report").await;
    assert_eq!((began.query, began.asked.is_empty()), (answered.query, false));
}
