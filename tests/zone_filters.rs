//! Zones that are ruled out by their filters, over real gRPC: a query enters those that may have a hit, a zone of which not
//! everything is known is asked, and what a hostile gateway tells rules nothing out.

#![allow(clippy::unwrap_used)]

#[path = "support/stand_in.rs"]
mod stand_in;
#[path = "support/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use floodplain::{
    protocol::{
        action::{Coverage, Hit, Scope, SearchAsk, ZoneCoverage},
        id::{Credential, ZoneId},
        summary::{GATEWAY_SHAPE, KeysOf},
        zone::Layout,
    },
    wire::{
        pb::{self, registry_service_client::RegistryServiceClient, watch_zone_response::News},
        zone_filter::to_keys,
    },
};
use futures::{StreamExt, stream};
use stand_in::{Answer, Answers, Replies, StandIn};
use support::{PATIENCE, TestPeer, TestRegistry, network, put, soon};
use tonic::{Request, Response, Status};

const MISS: &str = "nosuchword anywhere";

async fn search(peer: &TestPeer, text: &str) -> (Vec<Hit>, Coverage) {
    peer.search_with(SearchAsk { text: text.into(), scope: Scope::All, ..SearchAsk::default() }).await
}

/// Searches all zones until the coverage is so.
async fn until(peer: &TestPeer, text: &str, is_so: impl Fn(&Coverage) -> bool) -> Coverage {
    let begun = Instant::now();
    loop {
        let (_, coverage) = search(peer, text).await;
        if is_so(&coverage) {
            return coverage;
        }
        assert!(begun.elapsed() < PATIENCE, "{text}: {coverage:?}");
    }
}

/// Searches all zones until so many hits are found.
async fn until_found(peer: &TestPeer, text: &str, hits: usize) {
    let begun = Instant::now();
    loop {
        let (found, coverage) = search(peer, text).await;
        if found.len() == hits {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{text}: {} found, {coverage:?}", found.len());
    }
}

async fn until_messages(peer: &TestPeer, text: &str, most: u32) -> Coverage {
    until(peer, text, |coverage| coverage.messages <= most).await
}

fn zone(peer: &TestPeer) -> ZoneId {
    peer.peer.view().now().zone().unwrap()
}

fn is_gateway(peer: &TestPeer) -> bool {
    peer.peer.view().now().is_gateway()
}

fn of(coverage: &Coverage, zone: ZoneId) -> ZoneCoverage {
    *coverage.zones.iter().find(|told| told.zone == Some(zone)).unwrap()
}

/// Somebody of the zone was asked, and is not only ruled out.
fn is_asked(coverage: &Coverage, zone: ZoneId) -> bool {
    let told = of(coverage, zone);
    told.answered == 0 || told.answered > told.ruled_out
}

async fn rescan(peer: &TestPeer) {
    soon("a rescan", peer.handle.rescan()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_words_enter_only_the_zones_that_have_both_in_one_name() {
    let (_registry, peers) = network(3, 4).await;
    for peer in &peers {
        peer.until_gateways_of(3).await;
    }
    let home = zone(&peers[0]);
    let has_both = peers.iter().find(|peer| zone(peer) != home).unwrap();
    let apart: Vec<&TestPeer> =
        peers.iter().filter(|peer| ![home, zone(has_both)].contains(&zone(peer))).collect();
    put(&has_both.share().join("alpha/omega.txt"), b"both");
    put(&apart[0].share().join("alpha.txt"), b"one");
    put(&apart[1].share().join("omega.txt"), b"the other");
    put(&apart[0].share().join("omega.md"), b"of one peer, in another name");
    for peer in &peers {
        rescan(peer).await;
    }
    let seeker = peers.iter().find(|peer| zone(peer) == home && !is_gateway(peer)).unwrap();
    // Words alone are in both zones, and an extension in one. What is new is on its way for a moment.
    until_found(seeker, "alpha", 2).await;
    until_found(seeker, "ext:md", 1).await;
    // Out of the zone, to a gateway of the one zone, and to the peer when it is not the gateway.
    let most = if is_gateway(has_both) { 2 } else { 3 };
    for query in ["alpha omega", "omega alpha", "alpha omega ext:txt"] {
        let is_so = |coverage: &Coverage| {
            coverage.messages <= most
                && is_asked(coverage, zone(has_both))
                && !is_asked(coverage, zone(apart[0]))
        };
        let coverage = until(seeker, query, is_so).await;
        assert!(coverage.is_complete(), "{coverage:?}");
        let not_there = of(&coverage, zone(apart[0]));
        assert_eq!((not_there.answered, not_there.ruled_out), (4, 4), "{query}: {coverage:?}");
        let (hits, _) = search(seeker, query).await;
        assert_eq!(hits.len(), 1, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_passes_by_those_whose_summary_cannot_tell() {
    let (_registry, peers) = network(2, 4).await;
    for peer in &peers {
        peer.until_gateways_of(2).await;
    }
    let home = zone(&peers[0]);
    let away = || peers.iter().filter(|peer| zone(peer) != home);
    let has_none = away().find(|peer| !is_gateway(peer)).unwrap();
    let has_it = away().find(|peer| !std::ptr::eq(*peer, has_none) && !is_gateway(peer)).unwrap();
    put(&has_it.share().join("repose gamma.txt"), b"a hit");
    // Alike in four characters, so that a summary has each word and the pair.
    put(&has_none.share().join("report gamma.txt"), b"one");
    put(&has_none.share().join("repose delta.txt"), b"the other");
    for peer in &peers {
        rescan(peer).await;
    }
    until_found(&peers[0], "gamma", 2).await;
    until_found(&peers[0], "repose", 2).await;
    for seeker in peers.iter().filter(|peer| zone(peer) == home) {
        // Out of the zone unless this is a gateway, into the other, and to the one that has it.
        let most = if is_gateway(seeker) { 2 } else { 3 };
        let coverage = until_messages(seeker, "repose gamma", most).await;
        assert!(coverage.is_complete(), "{coverage:?}");
        let (hits, _) = search(seeker, "repose gamma").await;
        assert_eq!(hits.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_gateway_dies_its_zone_is_asked_until_the_other_one_has_told() {
    let (_registry, mut peers) = network(2, 4).await;
    for peer in &peers {
        peer.until_gateways_of(2).await;
        until_messages(peer, MISS, 1).await;
    }
    let home = zone(&peers[0]);
    for _ in 0..2 {
        let at = peers.iter().position(|peer| zone(peer) != home && is_gateway(peer)).unwrap();
        let _folder = peers.remove(at).kill().await;
        let holder = peers.iter().find(|peer| zone(peer) != home).unwrap();
        let name = format!("{}heir.txt", peers.len());
        put(&holder.share().join(&name), b"new");
        rescan(holder).await;
        // As soon as one of the two is heard again, whatever was told of the zone before.
        for seeker in peers.iter().filter(|peer| zone(peer) == home) {
            until(seeker, name.trim_end_matches(".txt"), |found| {
                found.messages > 1 && is_asked(found, zone(holder))
            })
            .await;
        }
        until_found(&peers[0], name.trim_end_matches(".txt"), 1).await;
    }
    for seeker in peers.iter().filter(|peer| zone(peer) == home) {
        let coverage = until_messages(seeker, MISS, 1).await;
        assert_eq!(coverage.zones.len(), 2, "{coverage:?}");
    }
}

/// A peer by hand.
#[derive(Debug, Clone, Default)]
struct Mallory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    zone: Mutex<u32>,
    tells: Mutex<Tells>,
    gives: Mutex<Gives>,
    stamp: Mutex<(u64, bool)>,
    searched: AtomicUsize,
    watched: AtomicUsize,
    /// Ends its streams.
    ends: tokio::sync::watch::Sender<()>,
}

/// What it tells as a gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Tells {
    #[default]
    Honest,
    TooLarge,
    OtherShape,
    WithoutBegin,
    Older,
    Outside,
    NobodyListed,
    EndlessBlocks,
    EndlessChanges,
    HugeMessage,
    Nothing,
    NeverSettled,
}

/// What keys it gives as a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Gives {
    #[default]
    None,
    TooMany,
    NotRising,
    OfOtherShape,
    Older,
    Honest,
}

fn begin(blocks: u32) -> News {
    News::Begin(pb::ZoneFilterBegin { shape: GATEWAY_SHAPE, has_pairs: true, blocks })
}

/// Eight blocks that rule nothing out, or everything.
fn run(first: u32, byte: u8) -> News {
    News::Run(pb::ZoneFilterRun { first, blocks: vec![byte; 64].into() })
}

fn settled(version: u64, listed: u32) -> News {
    News::Settled(pb::ZoneSettled { version, listed })
}

#[tonic::async_trait]
impl Answers for Mallory {
    async fn search(&self, request: Request<pb::SearchRequest>) -> Answer<Replies<pb::SearchResponse>> {
        self.0.searched.fetch_add(1, SeqCst);
        let zone_id = *self.0.zone.lock().unwrap();
        let mut done = pb::SearchDone::default();
        if request.into_inner().reach() == pb::Reach::WholeZone {
            done.zones = vec![pb::ZoneReport { zone_id, listed: 1, answered: 1, ..Default::default() }];
        }
        let message = Some(pb::search_response::Message::Done(done));
        Ok(Response::new(stream::iter([Ok(pb::SearchResponse { message })]).boxed()))
    }

    async fn get_keys(&self, _: Request<pb::GetKeysRequest>) -> Answer<pb::GetKeysResponse> {
        let mut keys = KeysOf::default();
        keys.add(["mallorys", "words"]);
        let honest = to_keys(self.0.stamp.lock().unwrap().0, Some(&keys.finish().unwrap().gateway));
        let with = |change: &dyn Fn(&mut pb::WordKeys)| {
            let mut answer = honest.clone();
            change(answer.keys.as_mut().unwrap());
            answer
        };
        Ok(Response::new(match *self.0.gives.lock().unwrap() {
            Gives::None => return Err(Status::failed_precondition("none")),
            Gives::TooMany => with(&|told| told.keys = vec![0; (4 << 20) + 4].into()),
            Gives::NotRising => with(&|told| told.keys = vec![0; 8].into()),
            Gives::OfOtherShape => with(&|told| told.shape = GATEWAY_SHAPE + 1),
            Gives::Older => pb::GetKeysResponse { version: 0, ..honest },
            Gives::Honest => honest,
        }))
    }

    async fn watch_zone(&self, _: Request<pb::WatchZoneRequest>) -> Answer<Replies<pb::WatchZoneResponse>> {
        self.0.watched.fetch_add(1, SeqCst);
        let lie = || vec![begin(8), settled(1, 1)];
        let (news, again) = match *self.0.tells.lock().unwrap() {
            Tells::Honest => (lie(), None),
            Tells::TooLarge => (vec![begin((4 << 20) / 8 + 1), settled(1, 1)], None),
            Tells::OtherShape => {
                let other = pb::ZoneFilterBegin { shape: GATEWAY_SHAPE + 1, has_pairs: true, blocks: 8 };
                (vec![News::Begin(other), settled(1, 1)], None)
            }
            Tells::WithoutBegin => (vec![run(0, 0), settled(1, 1)], None),
            Tells::Older => (vec![begin(8), run(0, u8::MAX), settled(5, 1), begin(8), settled(4, 1)], None),
            Tells::Outside => (vec![begin(8), run(1, 0), settled(1, 1)], None),
            Tells::NobodyListed => (vec![begin(8), settled(1, 0)], None),
            Tells::EndlessBlocks => (vec![begin(8)], Some(run(0, 0))),
            Tells::EndlessChanges => (vec![begin(8)], Some(News::Unsettled(pb::ZoneUnsettled {}))),
            Tells::HugeMessage => {
                let run = pb::ZoneFilterRun { first: 0, blocks: vec![0; 1 << 20].into() };
                (vec![begin(8), News::Run(run), settled(1, 1)], None)
            }
            Tells::Nothing => (Vec::new(), None),
            Tells::NeverSettled => (vec![begin(8), run(0, 0)], None),
        };
        let told = |news| Ok(pb::WatchZoneResponse { news: Some(news) });
        let endless = again.is_some();
        let told = stream::iter(news).map(told).chain(stream::iter(again).cycle().map(told));
        let mut ends = self.0.ends.subscribe();
        let ended = Box::pin(async move { ends.changed().await });
        Ok(Response::new(if endless {
            told.boxed()
        } else {
            told.chain(stream::pending()).take_until(ended).boxed()
        }))
    }
}

impl Mallory {
    /// Serves it and keeps it in the registry's lists for as long as the test runs.
    async fn join(&self, registry: &TestRegistry) {
        let address = StandIn::serve(self.clone()).await;
        let credential = Credential::random(&mut rand::rng());
        let peer = pb::Peer {
            peer_id: credential.peer_id().as_bytes().to_vec().into(),
            name: "mallory".into(),
            address: address.to_string(),
            incarnation: 1,
            ..pb::Peer::default()
        };
        let credential = credential.as_bytes().to_vec().into();
        let request = pb::RegisterRequest { peer: Some(peer), credential, host_id: String::new() };
        let mut client =
            RegistryServiceClient::connect(format!("http://{}", registry.address)).await.unwrap();
        let welcome = client.register(request).await.unwrap().into_inner();
        *self.0.zone.lock().unwrap() = welcome.roster.unwrap().zone_id;
        let inner = self.0.clone();
        tokio::spawn(async move {
            loop {
                let (summary_version, is_summary_settled) = *inner.stamp.lock().unwrap();
                let lease_id = welcome.lease_id.clone();
                let _ = client
                    .heartbeat(pb::HeartbeatRequest {
                        lease_id,
                        summary_version,
                        is_summary_settled,
                        ..Default::default()
                    })
                    .await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
    }

    fn zone(&self) -> ZoneId {
        ZoneId::new(*self.0.zone.lock().unwrap()).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_with_a_member_whose_keys_are_not_known_is_asked() {
    let registry = TestRegistry::start(Layout::Fixed { zones: 2, zone_size: 3 }).await;
    let mut peers = Vec::new();
    for name in ["ana", "ben", "cleo", "dan"] {
        peers.push(TestPeer::start(registry.address, name, &[("some report.txt", b"text")]).await);
    }
    for peer in &peers {
        peer.until_gateways_of(2).await;
        until(peer, MISS, |coverage| coverage.zones.iter().all(|told| told.ruled_out + 1 >= told.asked))
            .await;
    }
    let mallory = Mallory::default();
    mallory.join(&registry).await;
    let there = mallory.zone();
    let (with_it, seekers): (Vec<&TestPeer>, Vec<&TestPeer>) =
        peers.iter().partition(|peer| zone(peer) == there);
    assert!(!with_it.is_empty() && !seekers.is_empty());
    let asked = |what: String| {
        let seekers = &seekers;
        async move {
            for seeker in seekers {
                until(seeker, MISS, |coverage| is_asked(coverage, there)).await;
                for _ in 0..5 {
                    let (_, coverage) = search(seeker, MISS).await;
                    assert!(is_asked(&coverage, there), "{what}: {coverage:?}");
                }
            }
        }
    };
    asked("unsettled".into()).await;
    *mallory.0.stamp.lock().unwrap() = (1, true);
    let announced = |now: &floodplain::peer::Knowledge| {
        now.roster.as_ref().unwrap().named("mallory").is_some_and(|mallory| mallory.summary.is_settled)
    };
    for peer in &with_it {
        soon("the announcement", peer.peer.view().until(announced)).await;
    }
    for gives in [Gives::None, Gives::TooMany, Gives::NotRising, Gives::Older, Gives::OfOtherShape] {
        *mallory.0.gives.lock().unwrap() = gives;
        asked(format!("{gives:?}")).await;
    }
    *mallory.0.gives.lock().unwrap() = Gives::Honest;
    *mallory.0.stamp.lock().unwrap() = (2, true);
    for seeker in &seekers {
        let coverage = until(seeker, MISS, |coverage| !is_asked(coverage, there)).await;
        assert_eq!(of(&coverage, there).ruled_out as usize, with_it.len() + 1, "{coverage:?}");
        until(seeker, "mallorys words", |coverage| is_asked(coverage, there)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hostile_gateway_tells_rules_nothing_out() {
    for tells in [
        Tells::TooLarge,
        Tells::OtherShape,
        Tells::WithoutBegin,
        Tells::Older,
        Tells::Outside,
        Tells::NobodyListed,
        Tells::EndlessBlocks,
        Tells::EndlessChanges,
        Tells::HugeMessage,
        Tells::Nothing,
        Tells::NeverSettled,
    ] {
        let registry = TestRegistry::start(Layout::Fixed { zones: 2, zone_size: 1 }).await;
        let mallory = Mallory::default();
        *mallory.0.tells.lock().unwrap() = tells;
        mallory.join(&registry).await;
        let ana = TestPeer::start(registry.address, "ana", &[]).await;
        ana.until_gateways_of(2).await;
        // Whoever tells what is not so is left and asked again; whoever tells nothing is listened to.
        let least = if matches!(tells, Tells::Nothing | Tells::NeverSettled) { 1 } else { 3 };
        let mut searches = 0;
        let begun = Instant::now();
        while mallory.0.watched.load(SeqCst) < least {
            assert!(begun.elapsed() < PATIENCE, "{tells:?} is not watched");
            let (_, coverage) = search(&ana, MISS).await;
            searches += 1;
            assert_eq!(mallory.0.searched.load(SeqCst), searches, "{tells:?}: {coverage:?}");
        }
        for _ in 0..20 {
            search(&ana, MISS).await;
            searches += 1;
        }
        assert_eq!(mallory.0.searched.load(SeqCst), searches, "{tells:?}");
        assert!(mallory.0.watched.load(SeqCst) < 12, "{tells:?} is asked without a pause");
    }
    // The same gateway, honest, is believed, for as long as its stream lasts.
    let registry = TestRegistry::start(Layout::Fixed { zones: 2, zone_size: 1 }).await;
    let mallory = Mallory::default();
    mallory.join(&registry).await;
    let ana = TestPeer::start(registry.address, "ana", &[]).await;
    ana.until_gateways_of(2).await;
    let coverage = until_messages(&ana, MISS, 0).await;
    assert_eq!(of(&coverage, mallory.zone()).ruled_out, 1, "{coverage:?}");
    *mallory.0.tells.lock().unwrap() = Tells::Nothing;
    mallory.0.ends.send_replace(());
    until(&ana, MISS, |coverage| is_asked(coverage, mallory.zone())).await;
}
