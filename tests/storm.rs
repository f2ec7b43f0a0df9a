//! Peers of the zone that are dead, silent, slow, careless or lie, wherever they are in the tree of a query, and one that
//! asks as much as it can: what the others find and are told is what it would be without them.

#![allow(clippy::unwrap_used)]

#[path = "support/stand_in.rs"]
mod stand_in;
#[allow(dead_code)]
#[path = "support/network.rs"]
mod support;

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use floodplain::{
    config::PeerSettings,
    protocol::{
        action::Coverage,
        claim::{Claim, interval},
        id::{Credential, PeerId, QueryId},
        roster::Roster,
        zone::Layout,
    },
    wire::pb::{self, peer_service_client::PeerServiceClient, search_response::Message},
};
use futures::{StreamExt, future::join_all, stream};
use stand_in::{Answer, Answers, Replies, StandIn};
use support::{TestPeer, TestRegistry, soon};
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

/// Peers that do as they should.
const HONEST: usize = 6;

/// What a stand-in answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// For itself, and for nobody else that it was asked for.
    Alone,
    /// That is all, at once.
    Empty,
    /// The same, after so many milliseconds.
    Late(u64),
    /// A hit of nobody.
    Malformed,
    /// A hit, and then an error.
    Breaking,
    /// Nothing, after the beginning.
    Stalling,
    /// Everyone there is has answered, and nobody has anything.
    Everyone,
}

struct Odd {
    me: PeerId,
    manner: Arc<Mutex<Manner>>,
    everyone: Arc<Mutex<Vec<u64>>>,
}

fn done(answered: Vec<u64>) -> pb::SearchResponse {
    let done = pb::SearchDone { answered, ..pb::SearchDone::default() };
    pb::SearchResponse { message: Some(Message::Done(done)) }
}

fn hit(peer_id: &[u8]) -> pb::SearchResponse {
    let file = pb::FileEntry {
        path: "docs/report of a stand-in.txt".into(),
        modify_time: Some(prost_types::Timestamp::default()),
        ..pb::FileEntry::default()
    };
    let hits = pb::Hits {
        peer_id: peer_id.to_vec().into(),
        peer_name: "odd".into(),
        zone_id: 1,
        hops: 1,
        files: vec![file],
        ..pb::Hits::default()
    };
    pb::SearchResponse { message: Some(Message::Hits(hits)) }
}

#[tonic::async_trait]
impl Answers for Odd {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        let is_storm = request.get_ref().text == STORM;
        let manner = if is_storm { Manner::Stalling } else { *self.manner.lock().unwrap() };
        if let Manner::Late(millis) = manner {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        Ok(Response::new(match manner {
            Manner::Alone => stream::iter([Ok(done(vec![self.me.short()]))]).boxed(),
            Manner::Empty | Manner::Late(_) => stream::iter([Ok(done(Vec::new()))]).boxed(),
            Manner::Malformed => stream::iter([hit(&[1; 7]), done(Vec::new())]).map(Ok).boxed(),
            Manner::Breaking => {
                stream::iter([Ok(hit(self.me.as_bytes())), Err(Status::internal("it broke"))]).boxed()
            }
            Manner::Stalling => stream::pending().boxed(),
            Manner::Everyone => stream::iter([Ok(done(self.everyone.lock().unwrap().clone()))]).boxed(),
        }))
    }
}

struct Zone {
    registry: TestRegistry,
    peers: Vec<TestPeer>,
    odd: PeerId,
    manner: Arc<Mutex<Manner>>,
    everyone: Arc<Mutex<Vec<u64>>>,
}

/// Members in the order in which a query of that peer is given on.
fn ring(origin: &TestPeer) -> (Arc<Roster>, Vec<PeerId>) {
    let now = origin.peer.view().now();
    let roster = now.roster.clone().unwrap();
    let ring = interval(&roster, now.me.id, Claim { before: now.me.id });
    (roster, ring)
}

impl Zone {
    /// Six peers with a report each, one that answers as it is told to, and some that only have these addresses.
    async fn start(addresses: &[SocketAddr]) -> Self {
        Self::start_with_cache(addresses, 10_000).await
    }

    /// The same, each of which remembers so many queries.
    async fn start_with_cache(addresses: &[SocketAddr], query_cache: usize) -> Self {
        let size = u32::try_from(HONEST + 1 + addresses.len()).unwrap();
        let registry = TestRegistry::start(Layout::Fixed { zones: 1, zone_size: size }).await;
        let mut peers = Vec::new();
        for number in 0..HONEST {
            let name = format!("peer{number}");
            let file = format!("{name} report.txt");
            let text = format!("of {name}");
            let files = [(file.as_str(), text.as_bytes())];
            let change = |settings: &mut PeerSettings| settings.query_cache = query_cache;
            peers.push(TestPeer::start_changed(registry.address, &name, &files, change).await);
        }
        let credential = Credential::random(&mut rand::rng());
        let (manner, everyone) = (Arc::new(Mutex::new(Manner::Alone)), Arc::<Mutex<Vec<u64>>>::default());
        let me = credential.peer_id();
        let odd = Odd { me, manner: manner.clone(), everyone: everyone.clone() };
        let address = StandIn::serve(odd).await;
        stand_in::register(registry.address, &credential, "odd", address).await;
        for (number, address) in addresses.iter().enumerate() {
            let credential = Credential::random(&mut rand::rng());
            stand_in::register(registry.address, &credential, &format!("bad{number}"), *address).await;
        }
        for peer in &peers {
            peer.until_zone_has(size).await;
            soon("hashes", peer.peer.until_hashed()).await;
        }
        Self { registry, peers, odd: me, manner, everyone }
    }

    /// Whose reports a search finds, and what it says of itself.
    async fn search(&self, origin: &TestPeer) -> (BTreeSet<String>, Coverage) {
        let (hits, coverage) = origin.search("report").await;
        let names = hits.iter().map(|hit| hit.file.name().to_owned());
        (names.filter(|name| name.starts_with("peer")).collect(), coverage)
    }
}

/// Where a member stands that is this far behind the origin on the ring of seven: parts of two, of which the first asks
/// the second.
fn is_head(position: usize) -> bool {
    position.is_multiple_of(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_answers_badly_costs_nobody_elses_hits_wherever_it_stands() {
    let zone = Zone::start(&[]).await;
    let manners = [Manner::Alone, Manner::Empty, Manner::Late(150), Manner::Malformed, Manner::Breaking];
    for manner in manners {
        *zone.manner.lock().unwrap() = manner;
        let mut stood = BTreeSet::new();
        for origin in &zone.peers {
            let at = ring(origin).1.iter().position(|id| *id == zone.odd).unwrap();
            stood.insert(is_head(at));
            let (found, coverage) = zone.search(origin).await;
            assert_eq!(found.len(), HONEST, "{manner:?} at {at}: {coverage:?}");
            assert!(
                coverage.answered as usize >= HONEST && coverage.asked == 7,
                "{manner:?} at {at}: {coverage:?}"
            );
            assert_eq!(coverage.is_complete(), manner == Manner::Alone, "{manner:?} at {at}: {coverage:?}");
        }
        assert_eq!(stood.len(), 2, "it stood in the middle and at the end of a branch");
    }
    // One that begins and does not go on is waited for until there is just time to ask the next.
    *zone.manner.lock().unwrap() = Manner::Stalling;
    let searches = zone.peers.iter().map(|origin| zone.search(origin));
    for (found, coverage) in join_all(searches).await {
        assert_eq!((found.len(), coverage.answered), (HONEST, 6), "{coverage:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_says_that_everyone_answered_is_believed_in_its_own_part_alone() {
    let zone = Zone::start(&[]).await;
    *zone.manner.lock().unwrap() = Manner::Everyone;
    let roster = ring(&zone.peers[0]).0;
    let members = roster.members().iter().map(|member| member.id.short());
    *zone.everyone.lock().unwrap() = members.chain(0..5000).collect();
    for origin in &zone.peers {
        let (roster, ring) = ring(origin);
        let at = ring.iter().position(|id| *id == zone.odd).unwrap();
        let behind =
            ring.get(at + 1).filter(|_| is_head(at)).map(|id| roster.get(id).unwrap().name.to_string());
        let (found, coverage) = zone.search(origin).await;
        for peer in &zone.peers {
            let is_found = found.contains(&format!("{} report.txt", peer.name));
            assert!(is_found || behind.as_ref() == Some(&peer.name), "{} at {at}: {coverage:?}", peer.name);
        }
        assert_eq!((coverage.answered, coverage.asked), (7, 7), "{coverage:?}");
    }
    // One that is dead, and not in the part of the one that lies, is not told as answered on its word. Without a registry,
    // so that nobody's list loses it meanwhile: who does not list it says nothing against the liar.
    let Zone { registry, mut peers, odd, .. } = zone;
    drop(registry.stop().await);
    let dead = peers.pop().unwrap();
    let dead_id = dead.peer.view().now().me.id;
    drop(dead.kill().await);
    let mut told = 0;
    for origin in &peers {
        let now = origin.peer.view().now();
        let ring = interval(now.roster.as_ref().unwrap(), now.me.id, Claim { before: now.me.id });
        let at = |id| ring.iter().position(|other| *other == id).unwrap();
        if at(dead_id) / 2 != at(odd) / 2 {
            let (_, coverage) = origin.search("report").await;
            let told_of = (coverage.answered, coverage.unreachable, coverage.asked);
            assert_eq!(told_of, (6, 1, 7), "{coverage:?}");
            told += 1;
        }
    }
    assert!(told > 0, "the dead one is in the part of the one that lies, whoever asks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_silent_and_babbling_members_are_told_as_such_and_cost_nobody_elses_hits() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let babbling = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = [dead, silent.local_addr().unwrap(), babbling.local_addr().unwrap()];
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = babbling.accept().await {
            let _ = stream.write_all(&[0x5a; 4096]).await;
        }
    });
    let zone = Zone::start(&addresses).await;
    for origin in &zone.peers {
        let begun = Instant::now();
        let (found, coverage) = zone.search(origin).await;
        assert_eq!((found.len(), coverage.answered, coverage.unreachable), (HONEST, 7, 3), "{coverage:?}");
        assert!(
            begun.elapsed() < Duration::from_secs(15),
            "it waited to its deadline: {:?}",
            begun.elapsed()
        );
    }
    drop(silent);
}

/// What the storm asks; its sender never ends its own answer to it, so that each keeps its place until the deadline.
const STORM: &str = "report storm";

fn storm_query(from: PeerId, to: PeerId, revision: u64) -> pb::SearchRequest {
    pb::SearchRequest {
        query_id: QueryId::random(&mut rand::rng()).as_bytes().to_vec().into(),
        text: STORM.into(),
        ttl: 16,
        deadline: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        roster_revision: revision,
        claim: Some(pb::Claim { before_id: to.as_bytes().to_vec().into() }),
        origin_id: from.as_bytes().to_vec().into(),
        from_id: from.as_bytes().to_vec().into(),
        ..pb::SearchRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_one_neighbor_is_refused_to_it_alone_and_every_other_search_is_complete() {
    let zone = Zone::start(&[]).await;
    let target = &zone.peers[0];
    let (to, revision) = (target.peer.view().now().me.id, ring(target).0.revision());
    let (refused, is_over) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
    let mut storms = Vec::new();
    for _ in 0..4 {
        let (refused, is_over, from) = (refused.clone(), is_over.clone(), zone.odd);
        let mut client =
            PeerServiceClient::connect(format!("http://{}", target.peer.address())).await.unwrap();
        storms.push(tokio::spawn(async move {
            let mut unread = VecDeque::new();
            while !is_over.load(Relaxed) {
                match client.search(storm_query(from, to, revision)).await {
                    Ok(answer) => {
                        unread.push_back(answer);
                        // What is never read fills the window of its own connection, and ends its own storm.
                        unread.drain(..unread.len().saturating_sub(32));
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                        refused.fetch_add(1, Relaxed);
                    }
                }
            }
            drop(unread);
        }));
    }
    soon("the storm to fill its share", async {
        while refused.load(Relaxed) < 100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let before = refused.load(Relaxed);
    for _ in 0..5 {
        // Everyone asks at once, the target among them, and all go through it.
        for (found, coverage) in join_all(zone.peers.iter().map(|origin| zone.search(origin))).await {
            assert_eq!((found.len(), coverage.asked), (HONEST, 7), "{coverage:?}");
            // The one that storms may be too busy itself to begin an answer within a second.
            assert!(coverage.answered as usize >= HONEST && !coverage.truncated, "{coverage:?}");
        }
        // A third of the room for others is 64; those of the others are through but for a few.
        let running = target.peer.running_queries();
        assert!(running < 96, "{running} queries run");
    }
    assert!(refused.load(Relaxed) > before, "the storm went on");
    is_over.store(true, Relaxed);
    for storm in storms {
        soon("the storm to end", storm).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_asks_on_when_it_is_refused_is_not_heard_for_longer_and_longer_and_everyone_else_is() {
    let zone = Zone::start(&[]).await;
    let target = &zone.peers[0];
    let (to, revision) = (target.peer.view().now().me.id, ring(target).0.revision());
    let (longest, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let client = PeerServiceClient::connect(format!("http://{}", target.peer.address())).await.unwrap();
    // More than a link ever has open, by far.
    let storms = (0..256).map(|_| {
        let (longest, is_over, from, mut client) =
            (longest.clone(), is_over.clone(), zone.odd, client.clone());
        tokio::spawn(async move {
            let mut unread = Vec::new();
            while !is_over.load(Relaxed) {
                match client.search(storm_query(from, to, revision)).await {
                    Ok(answer) => unread.push(answer),
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                        let details = status.get_error_details();
                        let retry = details.retry_info().and_then(|retry| retry.retry_delay).unwrap();
                        longest.fetch_max(u64::try_from(retry.as_millis()).unwrap(), Relaxed);
                    }
                }
            }
        })
    });
    let storms: Vec<_> = storms.collect();
    // What is only without room is told to come again after a second.
    soon("a long mute", async {
        while longest.load(Relaxed) <= 2000 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (found, coverage) in join_all(zone.peers.iter().map(|origin| zone.search(origin))).await {
        assert_eq!((found.len(), coverage.asked), (HONEST, 7), "{coverage:?}");
        assert!(coverage.answered as usize >= HONEST && !coverage.truncated, "{coverage:?}");
    }
    is_over.store(true, Relaxed);
    join_all(storms).await.into_iter().for_each(|storm| storm.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_that_a_peer_gives_on_takes_no_room_of_its_own_searches_at_the_others() {
    // So few that the storm fills more than its share of everyone's.
    let zone = Zone::start_with_cache(&[], 1000).await;
    let target = &zone.peers[0];
    let (to, revision) = (target.peer.view().now().me.id, ring(target).0.revision());
    let mut client = PeerServiceClient::connect(format!("http://{}", target.peer.address())).await.unwrap();
    let mut refused = 0;
    let storm = async {
        while refused < 3 {
            // To its neighbors, and no further.
            let query = pb::SearchRequest {
                text: "nothing".into(),
                ttl: 1,
                claim: None,
                ..storm_query(zone.odd, to, revision)
            };
            match client.search(query).await {
                Ok(mut answer) => while answer.get_mut().message().await.unwrap().is_some() {},
                Err(status) => {
                    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                    refused += 1;
                }
            }
        }
    };
    soon("its share to be full", storm).await;
    for _ in 0..3 {
        let (found, coverage) = zone.search(target).await;
        assert_eq!((found.len(), coverage.answered, coverage.asked), (HONEST, 7, 7), "{coverage:?}");
    }
}
