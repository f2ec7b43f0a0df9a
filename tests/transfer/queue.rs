//! Waiting for an upload slot, the values told beside the file, and limits of the rate.

use std::time::{Duration, Instant};

use floodplain::{
    protocol::{
        bucket::RateLimits,
        id::ContentHash,
        piece::{Layout, Tree},
        plan::FileName,
    },
    wire::pb,
};
use tonic::{Code, Streaming};
use tonic_types::StatusExt;

use super::{
    content, generated_client,
    peer::{Answers, TestPeer},
};

type Answer = Streaming<pb::DownloadResponse>;

fn ask(hash: ContentHash) -> pb::DownloadRequest {
    let file = Some(pb::download_request::File::ContentHash(hash.as_bytes().to_vec().into()));
    pb::DownloadRequest { file, ..Default::default() }
}

/// From a connection of its own: on this machine that is another fetcher.
async fn fetch(from: &TestPeer, hash: ContentHash) -> Answer {
    generated_client(from).await.download(ask(hash)).await.expect("answers").into_inner()
}

async fn next(answer: &mut Answer) -> pb::DownloadResponse {
    let message = tokio::time::timeout(Duration::from_secs(60), answer.message());
    message.await.expect("in time").expect("no error").expect("goes on")
}

/// The next position that is not `but`, which may be told again and again.
async fn position(answer: &mut Answer, but: u32) -> u32 {
    loop {
        let message = next(answer).await;
        assert!(message.file.is_none() && message.data.is_empty(), "{message:?}");
        if message.queue_position != but {
            return message.queue_position;
        }
    }
}

async fn file_after_positions(answer: &mut Answer) -> pb::FileEntry {
    loop {
        if let Some(file) = next(answer).await.file {
            return file;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetchers_wait_in_turn_are_told_their_place_and_leave_by_going_away() {
    for answers in [Answers::Fast, Answers::Generated] {
        let ana = TestPeer::start_with("ana", answers, 1).await;
        let bytes = content(4 << 20);
        let hash = ana.share("f", &bytes);
        let mut first = fetch(&ana, hash).await;
        assert!(next(&mut first).await.file.is_some(), "has the slot at once");
        let mut second = fetch(&ana, hash).await;
        assert_eq!(position(&mut second, 0).await, 1);
        let mut third = fetch(&ana, hash).await;
        assert_eq!(position(&mut third, 0).await, 2);
        let mut fourth = fetch(&ana, hash).await;
        assert_eq!(position(&mut fourth, 0).await, 3);
        drop(third);
        assert_eq!(position(&mut fourth, 3).await, 2, "who goes away leaves the queue");
        drop(first);
        assert_eq!(file_after_positions(&mut second).await.size_bytes, 4 << 20);
        assert_eq!(position(&mut fourth, 2).await, 1);
        drop(second);
        assert_eq!(file_after_positions(&mut fourth).await.size_bytes, 4 << 20);
        let mut read = Vec::new();
        while let Some(message) = fourth.message().await.expect("no error") {
            assert_eq!((message.offset, message.queue_position), (read.len() as u64, 0));
            read.extend_from_slice(&message.data);
        }
        assert!(read == bytes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_says_when_to_come_again() {
    let ana = TestPeer::start_with("ana", Answers::Fast, 1).await;
    let hash = ana.share("f", &content(4 << 20));
    let mut client = generated_client(&ana).await;
    let mut held = vec![client.download(ask(hash)).await.expect("has the slot")];
    for _ in 0..64 {
        held.push(client.download(ask(hash)).await.expect("may wait"));
    }
    let refused = client.download(ask(hash)).await.expect_err("has too many waiting");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_error_details().retry_info().is_some());
    assert_eq!(position(&mut fetch(&ana, hash).await, 0).await, 1, "another may wait, and comes first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_fetch_that_waited_is_told_at_its_turn() {
    let ana = TestPeer::start_with("ana", Answers::Fast, 1).await;
    let first = fetch(&ana, ana.share("f", &content(4 << 20))).await;
    let mut second = fetch(&ana, ContentHash::from_bytes([8; 32])).await;
    assert_eq!(position(&mut second, 0).await, 1);
    drop(first);
    let ended = loop {
        match second.message().await {
            Ok(message) => assert_eq!(message.expect("an end by a status").queue_position, 1),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_beside_the_file_when_they_are_asked_for() {
    for answers in [Answers::Fast, Answers::Generated] {
        let ana = TestPeer::start("ana", answers).await;
        let mut client = generated_client(&ana).await;
        for size in [5, 3 << 20] {
            let hash = ana.share("f", &content(size));
            let with_tree = pb::DownloadRequest { with_tree: true, ..ask(hash) };
            let mut answer = client.download(with_tree).await.expect("answers").into_inner();
            let first = next(&mut answer).await;
            let file = first.file.expect("the file");
            assert_eq!(first.tree.len(), Layout::of(file.size_bytes).values_bytes());
            Tree::from_values(hash, file.size_bytes, &first.tree).expect("the values of its pieces");
            let mut answer = client.download(ask(hash)).await.expect("answers").into_inner();
            assert!(next(&mut answer).await.tree.is_empty(), "not asked for");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_rate_is_kept_by_whichever_side_has_the_limit() {
    const RATE: u64 = 2_000_000;
    let none = RateLimits::default();
    let whole = RateLimits { whole: RATE, per_peer: 0 };
    let per_peer = RateLimits { whole: 0, per_peer: RATE };
    for (up, down) in [(whole, none), (per_peer, none), (none, whole), (none, per_peer)] {
        let ana = TestPeer::start_limited("ana", Answers::Fast, 8, up).await;
        let ben = TestPeer::start_limited("ben", Answers::Fast, 8, down).await;
        let hash = ana.share("f", &content(4_000_000));
        let began = Instant::now();
        ben.get(FileName::Hash(hash), &[&ana]).await.expect("arrives");
        // Two seconds at that rate, a tenth of one ahead, and the last run of bytes.
        let took = began.elapsed();
        assert!((Duration::from_millis(1500)..Duration::from_secs(60)).contains(&took), "{took:?}");
    }
}
