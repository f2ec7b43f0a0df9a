//! One peer of the zone lies, and one does not read: what the others show, count and hold is not theirs to choose.

#![allow(clippy::unwrap_used)]

#[path = "support/stand_in.rs"]
mod stand_in;
#[allow(dead_code)]
#[path = "support/network.rs"]
mod support;

use std::time::Duration;

use floodplain::{
    protocol::{
        action::SearchAsk,
        id::{Credential, PeerId, ZoneId},
        zone::Layout,
    },
    wire::pb::{self, peer_service_client::PeerServiceClient, search_response::Message},
};
use futures::{StreamExt, stream};
use stand_in::{Answer, Answers, Replies, StandIn};
use support::{TestPeer, TestRegistry, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request, Response, transport::Channel};

/// Answers a search as its text asks: `as <id>` tells of a file of that peer under another name and reports a crowd,
/// `endless` never ends, `messages <n>` sends so many.
#[derive(Debug)]
struct Liar;

fn files(number: u32, count: u32) -> Vec<pb::FileEntry> {
    let file = |at| pb::FileEntry {
        path: format!("docs/{number:06}-{at:03}-{}.txt", "x".repeat(150)),
        modify_time: Some(prost_types::Timestamp::default()),
        ..pb::FileEntry::default()
    };
    (0..count).map(file).collect()
}

fn hits(peer_id: &[u8], files: Vec<pb::FileEntry>) -> pb::SearchResponse {
    let hits = pb::Hits {
        peer_id: peer_id.to_vec().into(),
        peer_name: "mallory".into(),
        zone_id: 9,
        hops: 1,
        queue_place: u32::MAX,
        files,
    };
    pb::SearchResponse { message: Some(Message::Hits(hits)) }
}

fn done(answered: Vec<u64>) -> pb::SearchResponse {
    let done = pb::SearchDone { answered, ..pb::SearchDone::default() };
    pb::SearchResponse { message: Some(Message::Done(done)) }
}

#[tonic::async_trait]
impl Answers for Liar {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        let text = request.into_inner().text;
        let (what, rest) = text.split_once(' ').unwrap_or((&text, ""));
        Ok(Response::new(match what {
            "as" => {
                let id: Vec<u8> = rest.parse::<PeerId>().unwrap().as_bytes().to_vec();
                stream::iter([hits(&id, files(0, 1)), done((0..5000).collect())]).map(Ok).boxed()
            }
            "endless" => stream::iter(0..).map(|number| Ok(hits(&[7; 32], files(number, 256)))).boxed(),
            _ => {
                let count = rest.parse().unwrap();
                let all = (0..count).map(|number| hits(&[7; 32], files(number, 256)));
                stream::iter(all.chain([done(Vec::new())]).map(Ok).collect::<Vec<_>>()).boxed()
            }
        }))
    }
}

/// Serves the liar as a member of the zone for as long as the test runs.
async fn join_liar(registry: &TestRegistry) {
    let address = StandIn::serve(Liar).await;
    stand_in::register(registry.address, &Credential::random(&mut rand::rng()), "liar", address).await;
}

async fn network_with_a_liar() -> (TestRegistry, Vec<TestPeer>) {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 3 }).await;
    let ana = TestPeer::start(registry.address, "ana", &[]).await;
    let ben = TestPeer::start(registry.address, "ben", &[]).await;
    join_liar(&registry).await;
    ana.until_zone_has(3).await;
    ben.until_zone_has(3).await;
    (registry, vec![ana, ben])
}

/// A client of a peer that takes one KiB of each answer until it is read.
async fn slow_client(peer: &TestPeer) -> PeerServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", peer.peer.address())).unwrap();
    PeerServiceClient::new(endpoint.initial_stream_window_size(1024).connect().await.unwrap())
}

fn query(text: String, from: &[u8], number: u8) -> pb::SearchRequest {
    pb::SearchRequest {
        query_id: vec![number; 16].into(),
        text,
        ttl: 1,
        deadline: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        origin_id: from.to_vec().into(),
        from_id: from.to_vec().into(),
        ..pb::SearchRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roster_tells_who_has_a_file_and_who_counts_whatever_a_branch_says() {
    let (_registry, peers) = network_with_a_liar().await;
    let ben = peers[1].peer.view().now().me.id;
    let (hits, coverage) = peers[0].search(&format!("as {ben}")).await;
    let holder = &hits[0].holders[0];
    assert_eq!((holder.peer.as_str(), holder.zone.map(ZoneId::get)), ("ben", Some(1)));
    assert!(coverage.answered <= 3 && coverage.asked == 3, "{coverage:?}");
    // What this peer has nobody else has to tell it.
    let me = peers[0].peer.view().now().me.id;
    assert!(peers[0].search(&format!("as {me}")).await.0.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_without_end_are_cut_off_long_before_the_deadline() {
    let (_registry, peers) = network_with_a_liar().await;
    let wait = Some(Duration::from_secs(60));
    let ask = SearchAsk { text: "endless".into(), wait, ..SearchAsk::default() };
    let (hits, coverage) = peers[0].search_with(ask).await;
    assert!(coverage.truncated && hits.len() <= 10_000, "{coverage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_ends_soon_after_its_deadline_though_nobody_reads_its_report() {
    let (_registry, peers) = network_with_a_liar().await;
    let mut client = slow_client(&peers[0]).await;
    let mut unread = Vec::new();
    // One of these fills the queue to the last place, so that the report finds none.
    for count in 10..30u8 {
        let request = query(format!("messages {count}"), &[9; 32], count);
        unread.push(client.search(request).await.unwrap());
    }
    soon("every query to end", async {
        while peers[0].peer.running_queries() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    drop(unread);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_says_nothing_is_closed() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 3 }).await;
    for said in [&b""[..], b"PRI * HTTP/2.0"] {
        let mut mute = tokio::net::TcpStream::connect(registry.address).await.unwrap();
        mute.write_all(said).await.unwrap();
        let mut heard = Vec::new();
        let _ = soon("the connection to be closed", mute.read_to_end(&mut heard)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_takes_the_room_of_the_peers_own_searches_by_using_its_id() {
    let (_registry, peers) = network_with_a_liar().await;
    let me = peers[0].peer.view().now().me.id;
    let mut client = slow_client(&peers[0]).await;
    let refused = client.search(query("report".into(), me.as_bytes(), 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("from_id"), "{}", refused.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_killed_peer_are_gone_after_its_next_start() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: 3 }).await;
    let (settings, folder) = TestPeer::start(registry.address, "ana", &[]).await.kill().await;
    let downloads = folder.path().join("downloads");
    let dead = [&settings.inbox, &downloads].map(|folder| folder.join(".film.mkv.0123456789abcdef.fp-part"));
    let kept = downloads.join(".other");
    for path in dead.iter().chain([&kept]) {
        support::put(path, b"half of it");
    }
    let _ana = TestPeer::start_with(settings, folder).await;
    assert!(kept.exists() && !dead.iter().any(|path| path.exists()));
}
