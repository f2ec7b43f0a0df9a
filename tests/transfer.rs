//! Moving files between peers, with real gRPC and real files.

#[path = "transfer/broken_disk.rs"]
mod broken_disk;
#[path = "transfer/cuts.rs"]
mod cuts;
#[path = "transfer/greedy.rs"]
mod greedy;
#[path = "transfer/peer.rs"]
mod peer;
#[path = "transfer/queue.rs"]
mod queue;
#[path = "support/stand_in.rs"]
mod stand_in;

use std::{
    fs,
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant},
};

use floodplain::{
    protocol::{
        action::{Answer, ErrorKind, TransferControl, TransferState, Which},
        id::ContentHash,
        plan::FileName,
    },
    wire::pb::{self, peer_service_client::PeerServiceClient},
};
use futures::StreamExt;
use peer::{Answers, TestPeer, ended};
use tonic::Code;

/// Bytes that differ from place to place.
fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&size.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// With how long it took.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    (work.await, began.elapsed())
}

async fn pair(answers: Answers) -> (TestPeer, TestPeer) {
    (TestPeer::start("ana", answers).await, TestPeer::start("ben", Answers::Fast).await)
}

async fn generated_client(peer: &TestPeer) -> PeerServiceClient<tonic::transport::Channel> {
    PeerServiceClient::connect(format!("http://{}", peer.address)).await.expect("connects")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_arrive_equal_from_both_kinds_of_server() {
    for answers in [Answers::Fast, Answers::Generated] {
        let (ana, ben) = pair(answers).await;
        for size in [0, 1, (1 << 20) + 1] {
            let bytes = content(size);
            let hash = ana.share(&format!("{size}.bin"), &bytes);
            let got = ben.get(FileName::Hash(hash), &[&ana]).await.expect("arrives");
            assert_eq!(got.state, TransferState::Done);
            assert_eq!((got.done_bytes, got.size_bytes, got.hash), (size as u64, size as u64, Some(hash)));
            let path = got.path.expect("published");
            assert_eq!(path.file_name().expect("named").to_str(), Some(format!("{size}.bin").as_str()));
            assert!(fs::read(path).expect("reads") == bytes);
        }
        assert_eq!(ben.names_in("got").len(), 3, "no part is left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_downloads_and_every_other_method_passes_through() {
    let ana = TestPeer::start("ana", Answers::Fast).await;
    let bytes = content(700_000);
    let hash = ana.share("f", &bytes);
    let mut client = generated_client(&ana).await;
    for chunk_bytes in [0, 16 << 10, 512 << 10] {
        let file = pb::download_request::File::ContentHash(hash.as_bytes().to_vec().into());
        let request = pb::DownloadRequest {
            file: Some(file),
            offset: 100,
            length: 600_000,
            chunk_bytes,
            with_tree: false,
        };
        let mut stream = client.download(request).await.expect("answers").into_inner();
        let first = stream.message().await.expect("ok").expect("first");
        assert_eq!(first.file.expect("told").size_bytes, 700_000);
        let mut read = Vec::new();
        while let Some(message) = stream.message().await.expect("ok") {
            assert_eq!(message.offset, 100 + read.len() as u64);
            read.extend_from_slice(&message.data);
        }
        assert!(read == bytes[100..600_100]);
    }
    let browsed = client.browse(pb::BrowseRequest::default()).await.expect("answers").into_inner();
    assert_eq!(browsed.folders, ["passed through"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_get_the_codes_that_are_promised() {
    use pb::download_request::File;
    let ana = TestPeer::start("ana", Answers::Fast).await;
    ana.share("f", b"abc");
    let mut client = generated_client(&ana).await;
    for (file, offset, code) in [
        (None, 0, Code::InvalidArgument),
        (Some(File::Path("share/../../../etc/passwd".into())), 0, Code::InvalidArgument),
        (Some(File::Path("share/none".into())), 0, Code::NotFound),
        (Some(File::ContentHash(vec![0; 32].into())), 0, Code::NotFound),
        (Some(File::Path("share/f".into())), 4, Code::OutOfRange),
    ] {
        let request = pb::DownloadRequest { file, offset, ..Default::default() };
        assert_eq!(client.download(request).await.expect_err("refused").code(), code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_file_is_an_error_and_leaves_nothing() {
    let (ana, ben) = pair(Answers::Fast).await;
    for what in [FileName::Hash(ContentHash::from_bytes([1; 32])), FileName::Path("share/none".into())] {
        let error = ben.get(what, &[&ana]).await.expect_err("absent");
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    }
    let hash = ana.share("f", b"abc");
    fs::remove_file(ana.share_path("f")).expect("removes");
    assert_eq!(ben.get(FileName::Hash(hash), &[&ana]).await.expect_err("gone").kind, ErrorKind::NotFound);
    assert!(ben.names_in("got").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_address_is_unreachable() {
    let (ana, ben) = pair(Answers::Fast).await;
    let hash = ana.share("f", b"abc");
    ana.shutdown.drain(Duration::from_secs(60)).await;
    let error = ben.get(FileName::Hash(hash), &[&ana]).await.expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.message.contains("ana"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_holder_goes_on_where_one_died() {
    let (ana, ben) = pair(Answers::Generated).await;
    let eve = TestPeer::start("eve", Answers::Fast).await;
    let bytes = content(5 << 20);
    let hash = ana.share("f", &bytes);
    eve.share("f", &bytes);
    ana.faults.dies_after_chunks.store(3, SeqCst);
    let got = ben.get(FileName::Hash(hash), &[&ana, &eve]).await.expect("arrives");
    assert!(fs::read(got.path.expect("published")).expect("reads") == bytes);
    // On a slow machine ana is asked again, and goes on in the piece that she was cut off in.
    assert_eq!(got.sources[0], "eve", "ana brought no whole piece before");
    // Besides, whoever is asked for the tree sends a piece, and a range that is halved for ana costs what was on its way.
    let sent = eve.transfers.bytes_up();
    assert!(sent <= 8 << 20, "little was fetched twice: {sent} bytes were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_sent_is_fetched_from_another_holder_or_fails() {
    let (ana, ben) = pair(Answers::Generated).await;
    let eve = TestPeer::start("eve", Answers::Fast).await;
    let bytes = content(8 << 20);
    let hash = ana.share("f", &bytes);
    ana.faults.changes_after_chunks.store(3, SeqCst);
    let error = ben.get(FileName::Hash(hash), &[&ana]).await.expect_err("changed");
    assert!(error.message.contains("the file changed"), "{error}");
    assert!(ben.names_in("got").is_empty());

    fs::write(ana.share_path("f"), &bytes).expect("writes");
    eve.share("f", &bytes);
    let got = ben.get(FileName::Hash(hash), &[&ana, &eve]).await.expect("arrives");
    assert!(fs::read(got.path.expect("published")).expect("reads") == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_holder_is_named_and_nothing_is_kept() {
    let (ana, ben) = pair(Answers::Fast).await;
    let eve = TestPeer::start("eve", Answers::Fast).await;
    let bytes = content(1 << 20);
    let hash = ana.share("f", &bytes);
    eve.share("damaged", &content((1 << 20) - 1));
    eve.faults.lies.store(true, SeqCst);
    let error = ben.get(FileName::Hash(hash), &[&eve]).await.expect_err("a lie");
    assert_eq!(error.kind, ErrorKind::Mismatch);
    assert!(error.message.contains("eve"), "{error}");
    assert!(ben.names_in("got").is_empty());

    let got = ben.get(FileName::Hash(hash), &[&eve, &ana]).await.expect("the honest one is asked");
    assert!(fs::read(got.path.expect("published")).expect("reads") == bytes);
    assert_eq!(got.sources, ["ana"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_bytes_that_do_not_match_are_fetched_again_from_single_holders() {
    let (ana, ben) = pair(Answers::Fast).await;
    let eve = TestPeer::start("eve", Answers::Generated).await;
    let bytes = content(2 << 20);
    let hash = ana.share("f", &bytes);
    eve.share("damaged", &content(2 << 20).iter().map(|byte| byte ^ 1).collect::<Vec<u8>>());
    eve.faults.lies.store(true, SeqCst);
    eve.faults.dies_after_chunks.store(2, SeqCst);
    let got = ben.get(FileName::Hash(hash), &[&eve, &ana]).await.expect("arrives");
    assert!(fs::read(got.path.expect("published")).expect("reads") == bytes);
    assert_eq!(got.sources, ["ana"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_slot_is_waited_for() {
    let ana = TestPeer::start_with("ana", Answers::Fast, 1).await;
    let ben = TestPeer::start("ben", Answers::Fast).await;
    let bytes = content(16 << 20);
    let hash = ana.share("f", &bytes);
    let mut client = generated_client(&ana).await;
    let file = || Some(pb::download_request::File::ContentHash(hash.as_bytes().to_vec().into()));
    let ask = || pb::DownloadRequest { file: file(), ..Default::default() };
    let held = client.download(ask()).await.expect("has the slot").into_inner();
    let from = [&ana];
    let getting = ben.get(FileName::Hash(hash), &from);
    let (got, ()) = tokio::join!(getting, async {
        while ben.transfers.list().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(held);
    });
    assert!(fs::read(got.expect("arrives").path.expect("published")).expect("reads") == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_download_leaves_nothing() {
    let (ana, ben) = pair(Answers::Generated).await;
    let hash = ana.share("f", &content(4 << 20));
    ana.faults.is_silent.store(true, SeqCst);
    let from = [&ana];
    let getting = ben.get(FileName::Hash(hash), &from);
    let (ended, ()) = tokio::join!(getting, async {
        while ben.transfers.list().is_empty() {
            tokio::task::yield_now().await;
        }
        let one = (Which::One(1), TransferControl::Cancel);
        ben.transfers.control(one.0, one.1).await.expect("runs");
    });
    assert_eq!(ended.expect("an end").state, TransferState::Cancelled);
    assert!(ben.names_in("got").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_holder_freezes_nobody_else() {
    let (ana, ben) = pair(Answers::Generated).await;
    let eve = TestPeer::start("eve", Answers::Fast).await;
    let bytes = content(1 << 20);
    let hash = ana.share("f", &bytes);
    eve.share("f", &bytes);
    ana.faults.is_silent.store(true, SeqCst);
    let from = [&ana, &eve];
    let silent = ben.get(FileName::Hash(hash), &from);
    let others = async {
        for _ in 0..5 {
            ben.get(FileName::Hash(hash), &[&eve]).await.expect("arrives");
        }
    };
    let ((first, patience), ((), took)) = tokio::join!(timed(silent), timed(others));
    assert!(took < patience, "{took:?} beside one that lost its patience after {patience:?}");
    assert_eq!(first.expect("falls over to the next holder").sources, ["eve"]);
    assert_eq!(ben.names_in("got").len(), 6, "equal names got numbers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sent_file_arrives_under_a_free_name() {
    let (ana, ben) = pair(Answers::Fast).await;
    ben.trusts(&ana);
    let bytes = content(3 << 20);
    fs::write(ana.home.path().join("report.pdf"), &bytes).expect("writes");
    for _ in 0..2 {
        let sent = ended(ana.push(&ana.home.path().join("report.pdf"), &ben)).await.expect("arrives");
        assert_eq!((sent.state, sent.done_bytes), (TransferState::Done, 3 << 20));
    }
    assert_eq!(ben.names_in("inbox"), ["report (1).pdf", "report.pdf"]);
    for name in ben.names_in("inbox") {
        assert!(fs::read(ben.inbox.folder().join(name)).expect("reads") == bytes);
    }
    fs::write(ana.home.path().join("empty"), b"").expect("writes");
    ended(ana.push(&ana.home.path().join("empty"), &ben)).await.expect("arrives");
    assert!(ben.names_in("inbox").contains(&"empty".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_decides_before_a_byte_flows() {
    let (ana, ben) = pair(Answers::Fast).await;
    let path = ana.home.path().join("f");
    fs::write(&path, content(1 << 20)).expect("writes");
    let pushing = tokio::spawn(ended(ana.push(&path, &ben)));
    let offer = ben.first_offer().await;
    assert_eq!((ana.transfers.bytes_up(), ben.names_in("inbox").len()), (0, 0));
    ben.inbox.answer(offer, Answer::Decline("not\u{1b}[2J now".into())).expect("waits");
    let error = pushing.await.expect("ends").expect_err("declined");
    assert_eq!(error.kind, ErrorKind::Refused);
    assert!(error.message.contains("ben") && error.message.contains("not\\u{1b}[2J now"), "{error}");
    assert!(ben.names_in("inbox").is_empty());

    let pushing = tokio::spawn(ended(ana.push(&path, &ben)));
    let offer = ben.first_offer().await;
    ben.inbox.answer(offer, Answer::Accept).expect("waits");
    pushing.await.expect("ends").expect("arrives");
    assert_eq!(ben.names_in("inbox"), ["f"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_racing_sends_of_one_name_both_land() {
    let (ana, ben) = pair(Answers::Fast).await;
    let eve = TestPeer::start("eve", Answers::Fast).await;
    let mut pushes = Vec::new();
    for (peer, byte) in [(&ana, 1), (&eve, 2)] {
        ben.trusts(peer);
        fs::write(peer.home.path().join("f"), vec![byte; 2 << 20]).expect("writes");
        pushes.push(ended(peer.push(&peer.home.path().join("f"), &ben)));
    }
    for pushed in futures::future::join_all(pushes).await {
        assert_eq!(pushed.expect("arrives").state, TransferState::Done);
    }
    assert_eq!(ben.names_in("inbox"), ["f", "f (1)"]);
    let mut first: Vec<u8> = ben
        .names_in("inbox")
        .iter()
        .map(|name| fs::read(ben.inbox.folder().join(name)).expect("reads")[0])
        .collect();
    first.sort_unstable();
    assert_eq!(first, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_lie_or_escape_leave_nothing() {
    use pb::send_request::Message;
    let ben = TestPeer::start("ben", Answers::Fast).await;
    let ana = ContentHash::from_bytes([5; 32]);
    let id = floodplain::protocol::id::PeerId::from_bytes([5; 32]);
    ben.known.add(id, "ana", ben.address);
    ben.inbox.trust(id).expect("keeps");
    let mut client = generated_client(&ben).await;
    let good = pb::SendOffer {
        sender_id: ana.as_bytes().to_vec().into(),
        sender_name: "ana".into(),
        name: "f".into(),
        size_bytes: 3,
        content_hash: blake3::hash(b"abc").as_bytes().to_vec().into(),
        files: None,
    };
    let data = |bytes: &'static [u8]| Message::Data(bytes.into());
    let escape = pb::SendOffer { name: "../pwned".into(), ..good.clone() };
    let huge = pb::SendOffer { size_bytes: u64::MAX, ..good.clone() };
    for (messages, code) in [
        (vec![Message::Offer(escape)], Code::InvalidArgument),
        (vec![data(b"abc")], Code::InvalidArgument),
        (vec![Message::Offer(huge)], Code::ResourceExhausted),
        (vec![Message::Offer(good.clone()), data(b"abd")], Code::DataLoss),
        (vec![Message::Offer(good.clone()), data(b"ab"), data(b"")], Code::InvalidArgument),
        (vec![Message::Offer(good.clone()), data(b"ab")], Code::DataLoss),
        (vec![Message::Offer(good.clone()), data(b"abc"), data(b"d")], Code::DataLoss),
        (vec![Message::Offer(good.clone()), Message::Offer(good.clone())], Code::InvalidArgument),
    ] {
        let requests = messages.into_iter().map(|message| pb::SendRequest { message: Some(message) });
        let answers = client.send(futures::stream::iter(requests)).await.expect("answers").into_inner();
        let last = answers.collect::<Vec<_>>().await.pop().expect("an answer");
        assert_eq!(last.expect_err("refused").code(), code);
    }
    ben.shutdown.drain(Duration::from_secs(60)).await;
    assert!(ben.names_in("inbox").is_empty());
    assert!(!ben.names_in("").contains(&"pwned".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_receiver_freezes_nobody_else() {
    let (ana, ben) = pair(Answers::Fast).await;
    let eve = TestPeer::start("eve", Answers::Fast).await;
    ben.faults.is_silent.store(true, SeqCst);
    eve.trusts(&ana);
    let path = ana.home.path().join("f");
    fs::write(&path, content(1 << 20)).expect("writes");
    let silent = ended(ana.push(&path, &ben));
    let other = async { ended(ana.push(&path, &eve)).await.expect("arrives") };
    let ((silent, patience), (_, took)) = tokio::join!(timed(silent), timed(other));
    assert!(took < patience, "{took:?} beside one that lost its patience after {patience:?}");
    assert_eq!(silent.expect_err("gives up").kind, ErrorKind::TimedOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_clear_error_and_leaves_nothing() {
    let (ana, ben) = pair(Answers::Fast).await;
    let small = ben.home.path().join("small");
    fs::create_dir(&small).expect("makes");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=80m", "floodplain-test"])
        .arg(&small)
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        assert!(
            !rustix::process::geteuid().is_root() || std::env::var_os("CI").is_some(),
            "root cannot mount"
        );
        eprintln!("SKIPPED: a full disk was NOT tested, because this user cannot mount a tmpfs");
        return;
    }
    let outcome = async {
        let hash = ana.share("f", &content(20 << 20));
        let ask = |name: Option<String>| floodplain::peer::download::DownloadAsk {
            finder: None,
            what: FileName::Hash(hash),
            sources: vec![ana.source()],
            destination: small.clone(),
            name,
        };
        // It cannot fit beside what is kept free: refused before the first byte.
        let refused = ended(ben.downloader.start(ask(None))?).await.expect_err("refused");
        let left_by_refused = fs::read_dir(&small).expect("reads").count();
        // It fills up on the way: the check is passed, then a neighbor takes the room.
        fs::write(small.join("ballast"), vec![1; 79 << 20]).expect("fills");
        let mut part = floodplain::store::part::PartFile::create(small.join("g"), 0, &ben.shutdown)
            .await
            .expect("nothing is asked for");
        let chunk = bytes::Bytes::from(vec![2; 1 << 20]);
        let full = loop {
            if let Err(error) = part.write(chunk.clone()).await {
                break error;
            }
        };
        let left = fs::read_dir(&small).expect("reads").count();
        Ok::<_, floodplain::protocol::action::ActionError>((refused, left_by_refused, full, left))
    }
    .await;
    let unmounted = std::process::Command::new("umount").arg(&small).status();
    let (refused, left_by_refused, full, left) = outcome.expect("starts");
    assert!(unmounted.is_ok_and(|status| status.success()));
    assert!(refused.message.contains("not enough space"), "{refused}");
    assert!(full.to_string().contains("not enough space"), "{full}");
    assert_eq!((left_by_refused, left), (0, 1), "only the ballast is left");
}
