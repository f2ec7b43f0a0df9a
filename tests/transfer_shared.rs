//! Downloads of one content at once: it is fetched once, and every one of them gets its file.

#[path = "transfer/peer.rs"]
#[allow(dead_code, reason = "shared with the other tests of transfers")]
mod peer;
#[path = "support/stand_in.rs"]
mod stand_in;

use std::{
    fs,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::atomic::Ordering::SeqCst,
    time::{Duration, SystemTime},
};

use floodplain::{
    index::{Index, IndexSettings},
    peer::{download::DownloadAsk, handle::Events},
    protocol::{
        action::{Transfer, TransferControl, TransferState, Which},
        id::ContentHash,
        plan::FileName,
    },
};
use futures::{StreamExt, future::join_all};

use peer::{Answers, TestPeer, ended};

const MIB: usize = 1 << 20;
const SIZE: usize = 20 * MIB;
/// With what was on its way to streams that were ended; half of it was there by then, and fetching it again would cost more.
const MOST_SENT: usize = SIZE + SIZE / 4;
/// For each of the 80 chunks: time enough for what is done meanwhile, on a machine with other things to do.
const CHUNK_TAKES_MS: usize = 15;

/// Bytes that differ from place to place.
fn content() -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    blake3::Hasher::new().update(b"shared").finalize_xof().fill(&mut bytes);
    bytes
}

struct Scene {
    ana: TestPeer,
    ben: TestPeer,
    bytes: Vec<u8>,
    hash: ContentHash,
}

impl Scene {
    async fn new() -> Self {
        let (ana, ben) =
            (TestPeer::start("ana", Answers::Generated).await, TestPeer::start("ben", Answers::Fast).await);
        let bytes = content();
        let hash = ana.share("f", &bytes);
        ana.faults.chunk_takes_ms.store(CHUNK_TAKES_MS, SeqCst);
        Self { ana, ben, bytes, hash }
    }

    fn start(&self, folder: &str, from: &TestPeer) -> Events<Transfer> {
        let destination = self.ben.home.path().join(folder);
        fs::create_dir_all(&destination).expect("makes");
        let (what, name) = (FileName::Hash(self.hash), Some("f".into()));
        let ask = DownloadAsk { what, sources: vec![from.source()], destination, name, finder: None };
        self.ben.downloader.start(ask).expect("starts")
    }

    fn sent(&self) -> usize {
        usize::try_from(self.ana.transfers.bytes_up()).expect("few")
    }

    fn is_equal(&self, got: &Transfer) -> bool {
        got.state == TransferState::Done
            && got.done_bytes == SIZE as u64
            && fs::read(got.path.as_ref().expect("published")).expect("reads") == self.bytes
    }

    fn parts(&self, folder: &str) -> Vec<PathBuf> {
        let names = self.ben.names_in(folder).into_iter().filter(|name| name.ends_with(".fp-part"));
        names.map(|name| self.ben.home.path().join(folder).join(name)).collect()
    }

    async fn control(&self, id: u64, control: TransferControl) {
        assert_eq!(self.ben.transfers.control(Which::One(id), control).await, Ok(1));
    }
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

fn is_half(event: &Transfer) -> bool {
    event.done_bytes > SIZE as u64 / 2
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_of_one_content_at_once_fetch_it_once() {
    for folders in [vec!["one", "two"], vec!["one", "one"], vec!["one", "two", "one", "two", "three"]] {
        let scene = Scene::new().await;
        let running: Vec<_> = folders.iter().map(|folder| scene.start(folder, &scene.ana)).collect();
        for got in join_all(running.into_iter().map(ended)).await {
            let got = got.expect("arrives");
            assert!(scene.is_equal(&got), "{got:?}");
            assert_eq!(got.sources, ["ana"]);
        }
        assert!(scene.sent() <= MOST_SENT, "{} bytes were sent to {folders:?}", scene.sent());
        assert_eq!(scene.ben.transfers.bytes_down(), scene.sent() as u64, "what came is counted once");
        let mut names: Vec<String> =
            ["one", "two", "three"].iter().flat_map(|at| scene.ben.names_in(at)).collect();
        names.sort();
        let again = folders.len() - names.iter().filter(|name| *name == "f").count();
        assert_eq!(
            (names.len(), names.iter().filter(|name| *name == "f (1)").count()),
            (folders.len(), again)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_follows_shows_what_has_come() {
    let scene = Scene::new().await;
    // Its speed is known after half a second; told twice, each time 50 ms later.
    scene.ana.faults.chunk_takes_ms.store(2 * CHUNK_TAKES_MS, SeqCst);
    let mut first = scene.start("one", &scene.ana);
    until(&mut first, |event| event.state == TransferState::Running).await;
    let mut second = scene.start("two", &scene.ana);
    let seen = until(&mut second, |event| {
        is_half(event) && event.state == TransferState::Running && event.bytes_per_second > 0
    });
    let seen = seen.await;
    assert_eq!((seen.size_bytes, &seen.sources[..]), (SIZE as u64, &["ana".to_owned()][..]));
    assert!(seen.note.contains("fetches it"), "{}", seen.note);
    let (first, second) = tokio::join!(ended(first), ended(second));
    assert!(scene.is_equal(&first.expect("arrives")) && scene.is_equal(&second.expect("arrives")));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_follows_goes_on_when_the_first_is_cancelled() {
    for folder in ["one", "two"] {
        let scene = Scene::new().await;
        let mut first = scene.start("one", &scene.ana);
        until(&mut first, |event| event.state == TransferState::Running).await;
        let mut second = scene.start(folder, &scene.ana);
        until(&mut second, is_half).await;
        drop(first);
        let second = ended(second).await.expect("arrives");
        assert!(scene.is_equal(&second));
        assert!(scene.sent() <= MOST_SENT, "{} bytes were sent", scene.sent());
        assert_eq!(scene.ben.names_in(folder), ["f"]);
        let nothing_left = async {
            while !scene.parts("one").is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), nothing_left).await.expect("no part is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_that_is_cancelled_takes_the_part_away() {
    let scene = Scene::new().await;
    let mut first = scene.start("one", &scene.ana);
    until(&mut first, |event| event.state == TransferState::Running).await;
    let mut second = scene.start("two", &scene.ana);
    until(&mut second, is_half).await;
    drop((first, second));
    let nothing_left = async {
        while !(scene.parts("one").is_empty() && scene.parts("two").is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), nothing_left).await.expect("no part is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_one_copies_what_was_fetched_meanwhile_and_fetches_what_was_edited_since() {
    for is_edited in [false, true] {
        let scene = Scene::new().await;
        let mut first = scene.start("one", &scene.ana);
        let id = until(&mut first, |event| event.state == TransferState::Running).await.id;
        let mut second = scene.start("two", &scene.ana);
        until(&mut second, is_half).await;
        scene.control(id, TransferControl::Pause).await;
        let second = ended(second).await.expect("arrives");
        assert!(scene.is_equal(&second));
        if is_edited {
            let file = fs::File::options().write(true).open(second.path.as_ref().expect("published"));
            file.expect("opens").write_all_at(b"edited", 3 * MIB as u64).expect("writes");
        }
        let sent = scene.sent();
        assert!(sent <= MOST_SENT, "{sent} bytes were sent");
        scene.control(id, TransferControl::Resume).await;
        let first = ended(first).await.expect("arrives");
        assert!(scene.is_equal(&first));
        let more = scene.sent() - sent;
        assert_eq!(more, if is_edited { MIB } else { 0 });
        assert_eq!(
            (scene.ben.names_in("one"), scene.ben.names_in("two")),
            (vec!["f".into()], vec!["f".into()])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_follows_tries_itself_when_the_first_fails() {
    let scene = Scene::new().await;
    let eve = TestPeer::start("eve", Answers::Generated).await;
    eve.share("f", &scene.bytes);
    eve.faults.chunk_takes_ms.store(CHUNK_TAKES_MS, SeqCst);
    // Its file changes half way: it is out for this hash.
    eve.faults.changes_after_chunks.store(40, SeqCst);
    let mut first = scene.start("one", &eve);
    until(&mut first, |event| event.state == TransferState::Running).await;
    let second = scene.start("two", &scene.ana);
    let (first, second) = tokio::join!(ended(first), ended(second));
    assert!(first.expect_err("nobody is left").message.contains("eve"));
    assert!(scene.is_equal(&second.expect("arrives")));
    assert!(scene.sent() < SIZE, "what eve brought was kept: {} bytes were sent", scene.sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_edited_while_it_is_filled_is_never_published_as_it_is() {
    let scene = Scene::new().await;
    let mut events = scene.start("one", &scene.ana);
    until(&mut events, is_half).await;
    let part = fs::File::options().write(true).open(&scene.parts("one")[0]).expect("opens");
    part.write_all_at(b"edited", 17).expect("writes");
    let got = ended(events).await.expect("arrives");
    assert!(scene.is_equal(&got));
    assert!(scene.sent() <= MOST_SENT, "{} bytes were sent", scene.sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_is_not_read_again_to_be_shared() {
    let mut scene = Scene::new().await;
    let folder = scene.ben.home.path().join("one");
    fs::create_dir(&folder).expect("makes");
    // Both readers of the index have hours to do, so that none reads the file before it is noted, however late that is.
    let holes = ["hole", "other hole"];
    for name in holes {
        let hole = fs::File::create(folder.join(name)).expect("makes");
        hole.set_len(256 << 30).expect("grows");
        hole.set_modified(SystemTime::UNIX_EPOCH).expect("sets");
    }
    let settings = IndexSettings { shares: vec![folder], data: scene.ben.home.path().join("data") };
    let index = Index::open(settings, &scene.ben.shutdown).expect("opens");
    let are_busy = async {
        while index.files_read() < holes.len() as u64 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), are_busy).await.expect("reads");
    scene.ben.downloader = scene.ben.downloader.clone().with_index(index.clone());
    let got = ended(scene.start("one", &scene.ana)).await.expect("arrives");
    index.note_file(got.path.as_ref().expect("published"), scene.hash);
    let tree = index.tree(&scene.hash).expect("is at hand");
    assert_eq!((tree.root(), tree.layout().pieces()), (scene.hash, 20));
    assert_eq!((index.rescan().await.hashed_files, index.files_read()), (1, holes.len() as u64));
}
