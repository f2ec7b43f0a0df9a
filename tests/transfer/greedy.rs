//! Others that take more than their share, or say that they are somebody else.

use std::{net::SocketAddr, time::Duration};

use floodplain::{
    net::Caller,
    peer::receive::Responses,
    protocol::{
        action::{Direction, TransferControl, TransferState, Which},
        id::{ContentHash, PeerId},
    },
    wire::pb::{self, send_request::Message},
};
use futures::{FutureExt, StreamExt};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    content, generated_client,
    peer::{Answers, TestPeer},
};

type Requests = mpsc::Sender<Result<pb::SendRequest, Status>>;

fn caller(address: &str) -> Caller {
    Caller::at(Some(address.parse::<SocketAddr>().expect("an address")))
}

/// A push of a MiB by `ana`, as if it came from that address.
fn offered(ben: &TestPeer, from: &str) -> Result<(Requests, Responses), Status> {
    let (requests, stream) = mpsc::channel(8);
    let responses = ben.receiver.serve(ReceiverStream::new(stream), caller(from))?;
    say(
        &requests,
        Message::Offer(pb::SendOffer {
            sender_id: vec![5; 32].into(),
            sender_name: "ana".into(),
            name: "f".into(),
            size_bytes: 1 << 20,
            content_hash: vec![6; 32].into(),
            files: None,
        }),
    );
    Ok((requests, responses))
}

fn say(requests: &Requests, message: Message) {
    // Nobody takes it any more once the push has ended, which is what the tests look at.
    let _ = requests.try_send(Ok(pb::SendRequest { message: Some(message) }));
}

async fn ben_who_trusts_ana() -> TestPeer {
    let ben = TestPeer::start("ben", Answers::Fast).await;
    let ana = PeerId::from_bytes([5; 32]);
    ben.known.add(ana, "ana", "10.0.0.1:7000".parse().expect("an address"));
    ben.inbox.trust(ana).expect("keeps");
    ben
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fetcher_leaves_upload_slots_to_others() {
    let ana = TestPeer::start_with("ana", Answers::Fast, 4).await;
    let hash = ana.share("f", &content(4 << 20));
    let ask = || pb::DownloadRequest {
        file: Some(pb::download_request::File::ContentHash(hash.as_bytes().to_vec().into())),
        ..Default::default()
    };
    let (mut greedy, mut other) = (generated_client(&ana).await, generated_client(&ana).await);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(greedy.download(ask()).await.expect("has a slot"));
    }
    let mut waits = greedy.download(ask()).await.expect("may wait").into_inner();
    let told = waits.message().await.expect("no error").expect("a message");
    assert_eq!((told.queue_position, told.file), (1, None), "has its share");
    let mut served = other.download(ask()).await.expect("answers").into_inner();
    let told = served.message().await.expect("no error").expect("a message");
    assert!(told.file.is_some(), "room is left for others");
}

/// On one thread: offers beyond those of one sender are refused, which frees their places, but only once their tasks run.
#[tokio::test]
async fn one_sender_leaves_places_of_the_inbox_to_others() {
    let ben = ben_who_trusts_ana().await;
    let mut held: Vec<_> =
        (1..=16).map(|port| offered(&ben, &format!("10.0.0.9:{port}")).expect("room")).collect();
    let refused = offered(&ben, "10.0.0.9:99").expect_err("has its share");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    held.push(offered(&ben, "10.0.0.8:1").expect("room is left for others"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_id_from_another_address_is_asked_about() {
    let ben = ben_who_trusts_ana().await;
    let _held = offered(&ben, "10.0.0.9:1").expect("room");
    let asked = tokio::time::timeout(Duration::from_secs(20), ben.first_offer()).await.expect("asked about");
    let offer = &ben.inbox.info().offers[0];
    assert_eq!((offer.id, offer.is_confirmed), (asked, false));
    assert_eq!(offer.shown_sender(), "ana (not confirmed)");
    let (_held, mut answers) = offered(&ben, "10.0.0.1:1").expect("room");
    answers.next().await.expect("an answer").expect("ana herself is taken from without asking");
}

/// The clock is turned by hand: it would not run by itself while the part file has a thread.
async fn turn(clock: Duration) {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(clock).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_byte_every_29_seconds_does_not_hold_a_place() {
    let ben = ben_who_trusts_ana().await;
    let (requests, mut answers) = offered(&ben, "10.0.0.1:1").expect("room");
    answers.next().await.expect("an answer").expect("accepted");
    let began = Instant::now();
    let refused = loop {
        assert!(began.elapsed() < Duration::from_secs(300), "the place is held");
        turn(Duration::from_secs(29)).await;
        if let Some(answer) = answers.next().now_or_never() {
            break answer.expect("an answer").expect_err("too slow");
        }
        say(&requests, Message::Data(vec![1].into()));
    };
    assert_eq!(refused.code(), Code::DeadlineExceeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receive_that_its_user_cancels_is_listed_as_cancelled() {
    let ben = ben_who_trusts_ana().await;
    let (_requests, mut answers) = offered(&ben, "10.0.0.1:1").expect("room");
    answers.next().await.expect("an answer").expect("accepted");
    let one = (Which::One(1), TransferControl::Cancel);
    ben.transfers.control(one.0, one.1).await.expect("runs");
    let told = answers.next().await.expect("an answer").expect_err("cancelled");
    assert_eq!(told.code(), Code::PermissionDenied);
    let listed = ben.transfers.list();
    assert_eq!((listed[0].direction, &listed[0].state), (Direction::Receive, &TransferState::Cancelled));
    assert_eq!(listed[0].hash, Some(ContentHash::from_bytes([6; 32])));
}
