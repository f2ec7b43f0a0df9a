//! Files that come in pieces, from several holders and over several tries.

#[path = "transfer_swarm/coming_and_going.rs"]
mod coming_and_going;
#[path = "transfer_swarm/edges.rs"]
mod edges;
#[path = "transfer_swarm/fetcher.rs"]
mod fetcher;
#[path = "support/holder.rs"]
mod holder;
#[path = "transfer_swarm/misbehaving.rs"]
mod misbehaving;
#[path = "transfer/peer.rs"]
#[allow(dead_code, reason = "shared with the other tests of transfers")]
mod peer;
#[path = "transfer_swarm/slow.rs"]
mod slow;
#[path = "support/stand_in.rs"]
mod stand_in;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use floodplain::{
    peer::{
        download::{DownloadAsk, Downloader, Finder, Source},
        handle::Events,
    },
    protocol::{
        action::{ErrorKind, Transfer, TransferState},
        id::ContentHash,
        plan::FileName,
    },
};
use futures::{FutureExt, StreamExt};

use peer::{Answers, TestPeer, ended};

const MIB: usize = 1 << 20;
/// Four chunks are a piece: time enough for what is done meanwhile, on a machine with other things to do.
const CHUNK_TAKES_MS: usize = 25;

/// Bytes that differ from place to place.
fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&size.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

async fn holder(name: &'static str) -> TestPeer {
    TestPeer::start(name, Answers::Generated).await
}

async fn ben() -> TestPeer {
    let ben = TestPeer::start("ben", Answers::Fast).await;
    fs::create_dir(ben.home.path().join("got")).expect("makes");
    ben
}

fn ask(ben: &TestPeer, hash: ContentHash, sources: Vec<Source>, finder: Option<Finder>) -> DownloadAsk {
    let destination = ben.home.path().join("got");
    DownloadAsk { what: FileName::Hash(hash), sources, destination, name: Some("f".into()), finder }
}

fn parts(ben: &TestPeer) -> Vec<PathBuf> {
    let names = ben.names_in("got").into_iter().filter(|name| name.ends_with(".fp-part"));
    names.map(|name| ben.home.path().join("got").join(name)).collect()
}

async fn until(events: &mut Events<Transfer>, is_so: impl Fn(&Transfer) -> bool) -> Transfer {
    let found = async {
        loop {
            let event = events.next().await.expect("goes on").expect("no error");
            if is_so(&event) {
                return event;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found).await.expect("comes to it in time")
}

fn is_equal(got: &Transfer, bytes: &[u8]) -> bool {
    got.state == TransferState::Done
        && fs::read(got.path.as_ref().expect("published")).expect("reads") == bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_edge_of_a_piece_arrive_equal() {
    let (ana, ben) = (holder("ana").await, ben().await);
    for size in [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 7] {
        let bytes = content(size);
        let hash = ana.share(&format!("{size}"), &bytes);
        let got =
            ended(ben.downloader.start(ask(&ben, hash, vec![ana.source()], None)).expect("starts")).await;
        let got = got.expect("arrives");
        assert!(is_equal(&got, &bytes), "{size} bytes");
        assert_eq!(
            (got.done_bytes, got.size_bytes, &got.sources[..]),
            (size as u64, size as u64, &["ana".to_owned()][..])
        );
    }
    assert!(parts(&ben).is_empty());
    let sum = (4 * MIB + 1 + MIB - 1 + MIB + 1 + 7 + 1) as u64;
    assert!(ana.transfers.bytes_up() <= sum + 4 * MIB as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn four_holders_all_bring_something() {
    let ben = ben().await;
    let bytes = content(24 * MIB);
    let mut holders = Vec::new();
    for name in ["ana", "eve", "kim", "zoe"] {
        let peer = holder(name).await;
        peer.share("f", &bytes);
        peer.faults.chunk_takes_ms.store(CHUNK_TAKES_MS, SeqCst);
        holders.push(peer);
    }
    let hash = ContentHash::from_bytes(*blake3::hash(&bytes).as_bytes());
    let sources = holders.iter().map(TestPeer::source).collect();
    let got =
        ended(ben.downloader.start(ask(&ben, hash, sources, None)).expect("starts")).await.expect("arrives");
    assert!(is_equal(&got, &bytes));
    let mut names = got.sources.clone();
    names.sort();
    assert_eq!(names, ["ana", "eve", "kim", "zoe"]);
    assert!(holders.iter().all(|peer| peer.transfers.bytes_up() > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_liar_costs_one_piece_and_a_dead_holder_what_it_did_not_bring() {
    let (ana, eve, ben) = (holder("ana").await, holder("eve").await, ben().await);
    let bytes = content(16 * MIB);
    let hash = ana.share("f", &bytes);
    eve.share("f", &bytes);
    // Right in the first piece, so that it is believed at first.
    eve.faults.spoils_from.store(MIB, SeqCst);
    ana.faults.chunk_takes_ms.store(2, SeqCst);
    let both = vec![ana.source(), eve.source()];
    let got =
        ended(ben.downloader.start(ask(&ben, hash, both, None)).expect("starts")).await.expect("arrives");
    assert!(is_equal(&got, &bytes));
    assert_eq!(got.sources, ["ana"]);
    assert!(ben.transfers.bytes_down() <= 18 * MIB as u64, "{}", ben.transfers.bytes_down());

    let alone = ended(ben.downloader.start(ask(&ben, hash, vec![eve.source()], None)).expect("starts")).await;
    let error = alone.expect_err("a lie");
    assert_eq!(error.kind, ErrorKind::Mismatch);
    assert!(error.message.contains("eve"), "{error}");
    assert!(parts(&ben).is_empty(), "nothing was right");

    eve.faults.spoils_from.store(0, SeqCst);
    eve.faults.dies_after_chunks.store(6, SeqCst);
    let both = vec![eve.source(), ana.source()];
    let got =
        ended(ben.downloader.start(ask(&ben, hash, both, None)).expect("starts")).await.expect("arrives");
    assert!(is_equal(&got, &bytes));
}

/// Starts a download, and ends the peer that does it after some bytes have come.
async fn broken_off(ana: &TestPeer, ben: &TestPeer, hash: ContentHash) {
    ana.faults.chunk_takes_ms.store(CHUNK_TAKES_MS, SeqCst);
    let mut events = ben.downloader.start(ask(ben, hash, vec![ana.source()], None)).expect("starts");
    until(&mut events, |event| event.done_bytes > 5 * MIB as u64).await;
    ben.shutdown.drain(Duration::from_secs(60)).await;
    ana.faults.chunk_takes_ms.store(0, SeqCst);
}

/// The same peer after a restart.
async fn restarted(ben: &TestPeer) -> TestPeer {
    let again = TestPeer::start("ben", Answers::Fast).await;
    fs::rename(ben.home.path().join("got"), again.home.path().join("got")).expect("moves");
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_its_peer_was_ended() {
    let (ana, ben) = (holder("ana").await, ben().await);
    let bytes = content(16 * MIB);
    let hash = ana.share("f", &bytes);
    broken_off(&ana, &ben, hash).await;
    assert_eq!(parts(&ben).len(), 1, "its part is left");
    let before = ben.transfers.bytes_down();
    let ben = restarted(&ben).await;
    let got = ended(ben.downloader.start(ask(&ben, hash, vec![ana.source()], None)).expect("starts")).await;
    assert!(is_equal(&got.expect("arrives"), &bytes));
    let twice = before + ben.transfers.bytes_down() - 16 * MIB as u64;
    assert!(twice <= MIB as u64 + (256 << 10), "{twice} bytes came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_was_edited_or_is_foreign_is_noticed() {
    use std::os::unix::fs::FileExt;
    let (ana, ben) = (holder("ana").await, ben().await);
    let bytes = content(16 * MIB);
    let hash = ana.share("f", &bytes);
    broken_off(&ana, &ben, hash).await;
    let part = fs::File::options().write(true).open(&parts(&ben)[0]).expect("opens");
    part.write_all_at(b"edited", 2 * MIB as u64 + 17).expect("writes");
    let ben = restarted(&ben).await;
    let got = ended(ben.downloader.start(ask(&ben, hash, vec![ana.source()], None)).expect("starts")).await;
    assert!(is_equal(&got.expect("arrives"), &bytes), "edited");

    broken_off(&ana, &ben, hash).await;
    fs::write(&parts(&ben)[0], content(16 * MIB - 3)).expect("writes");
    let ben = restarted(&ben).await;
    let got = ended(ben.downloader.start(ask(&ben, hash, vec![ana.source()], None)).expect("starts")).await;
    assert!(is_equal(&got.expect("arrives"), &bytes), "foreign");
    assert!(parts(&ben).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_downloads_of_one_file_both_arrive() {
    let (ana, ben) = (holder("ana").await, ben().await);
    let bytes = content(6 * MIB);
    let hash = ana.share("f", &bytes);
    let start = || ended(ben.downloader.start(ask(&ben, hash, vec![ana.source()], None)).expect("starts"));
    let (one, other) = tokio::join!(start(), start());
    assert!(is_equal(&one.expect("arrives"), &bytes) && is_equal(&other.expect("arrives"), &bytes));
    assert_eq!(ben.names_in("got"), ["f", "f (1)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begun_download_waits_for_a_holder_that_comes_later() {
    let (ana, eve, ben) = (holder("ana").await, holder("eve").await, ben().await);
    let bytes = content(16 * MIB);
    let hash = ana.share("f", &bytes);
    eve.share("f", &bytes);
    // Its file changes after some pieces: it is out for this hash.
    ana.faults.changes_after_chunks.store(20, SeqCst);
    let found: Arc<Mutex<Vec<Source>>> = Arc::default();
    let finder = Finder::new({
        let found = found.clone();
        move || {
            let found = found.lock().expect("not poisoned").clone();
            async move { found }.boxed()
        }
    });
    let downloader: &Downloader = &ben.downloader;
    let mut events = downloader.start(ask(&ben, hash, vec![ana.source()], Some(finder))).expect("starts");
    until(&mut events, |event| event.state == TransferState::Waiting && event.done_bytes > 0).await;
    found.lock().expect("not poisoned").extend([ana.source(), eve.source()]);
    let got = ended(events).await.expect("arrives");
    assert!(is_equal(&got, &bytes));
    assert!(eve.transfers.bytes_up() < 16 * MIB as u64, "what came before was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_download_takes_its_part_away() {
    let (ana, ben) = (holder("ana").await, ben().await);
    let hash = ana.share("f", &content(16 * MIB));
    ana.faults.chunk_takes_ms.store(CHUNK_TAKES_MS, SeqCst);
    let mut events = ben.downloader.start(ask(&ben, hash, vec![ana.source()], None)).expect("starts");
    until(&mut events, |event| event.done_bytes > 4 * MIB as u64).await;
    assert_eq!(parts(&ben).len(), 1);
    drop(events);
    let gone = async {
        while !parts(&ben).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("is removed");
}
