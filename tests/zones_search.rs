//! A search that leaves its zone, over real gRPC: what is found in other zones, what is told of those that cannot be
//! reached, and who is left in peace.

#[path = "support/network.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use floodplain::{
    protocol::{
        action::{Connection, Coverage, Hit, Scope, SearchAsk, Target, TransferState, ZoneCoverage},
        id::{PeerId, ZoneId},
    },
    wire::pb::{self, peer_service_client::PeerServiceClient},
};
use support::{TestPeer, TestRegistry, network, soon};
use tonic::transport::Channel;

const ZONES: u32 = 3;
const ZONE_SIZE: u32 = 4;

/// Three zones of four, every gateway known.
async fn three_zones() -> (TestRegistry, Vec<TestPeer>) {
    let (registry, peers) = network(ZONES, ZONE_SIZE).await;
    for peer in &peers {
        peer.until_gateways_of(3).await;
    }
    (registry, peers)
}

fn all(text: &str) -> SearchAsk {
    SearchAsk { text: text.into(), scope: Scope::All, ..SearchAsk::default() }
}

fn zone(peer: &TestPeer) -> ZoneId {
    peer.peer.view().now().zone().expect("it is in a zone")
}

fn is_gateway(peer: &TestPeer) -> bool {
    peer.peer.view().now().is_gateway()
}

fn id(peer: &TestPeer) -> PeerId {
    peer.peer.view().now().me.id
}

/// The last registry is gone, and every peer knows it: nobody is replaced any more.
async fn without_registry(registry: TestRegistry, peers: &[TestPeer]) {
    drop(registry.stop().await);
    for peer in peers {
        let is_lost = |now: &floodplain::peer::Knowledge| now.connection != Connection::Connected;
        soon("the loss of the registry", peer.peer.view().until(is_lost)).await;
    }
}

/// Takes the first peer for which it is so out.
fn take(peers: &mut Vec<TestPeer>, is_so: impl Fn(&TestPeer) -> bool) -> TestPeer {
    let at = peers.iter().position(is_so).expect("there is one");
    peers.remove(at)
}

fn holders(hits: &[Hit]) -> BTreeSet<PeerId> {
    hits.iter().flat_map(|hit| &hit.holders).map(|holder| holder.peer_id).collect()
}

fn of(coverage: &Coverage, zone: ZoneId) -> ZoneCoverage {
    *coverage.zones.iter().find(|told| told.zone == Some(zone)).expect("the zone is told")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_of_all_zones_finds_what_everyone_has_and_one_of_mine_its_own_only() {
    let (_registry, peers) = three_zones().await;
    for seeker in [&peers[0], &peers[6], &peers[11]] {
        let (hits, coverage) = seeker.search_with(all("report")).await;
        assert_eq!(hits.len(), 12, "{coverage}");
        assert!(hits.iter().all(|hit| hit.holders[0].zone.is_some()));
        assert_eq!((coverage.answered, coverage.asked, coverage.zones.len()), (12, 12, 3), "{coverage}");
        assert!(coverage.is_complete() && coverage.zones.iter().all(ZoneCoverage::is_complete), "{coverage}");
        let (hits, coverage) = seeker.search("report").await;
        assert_eq!((hits.len(), coverage.asked, coverage.zones.len()), (4, 4, 1), "{coverage}");
        assert!(hits.iter().all(|hit| hit.holders[0].zone == Some(zone(seeker))));
    }
    // One content of everybody is one hit with a holder in every zone.
    let (hits, _) = peers[5].search_with(all("shared")).await;
    assert_eq!((hits.len(), hits[0].holders.len()), (1, 12));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_of_another_zone_can_be_downloaded() {
    let (_registry, peers) = three_zones().await;
    let there = peers.iter().find(|peer| zone(peer) != zone(&peers[0])).expect("another zone");
    let (hits, _) = peers[0].search_with(all(&format!("{} report", there.name))).await;
    let hit = hits.iter().find(|hit| hit.holders[0].peer.as_str() == there.name).expect("it is found");
    let to = tempfile::tempdir().expect("a folder");
    let ended = peers[0].get(Target::Hit(hit.number), to.path()).await;
    assert_eq!(ended.state, TransferState::Done, "{ended:?}");
    let hash = hit.file.hash.expect("it is hashed");
    let ended = peers[0].get(Target::Hash(hash), to.path()).await;
    assert_eq!(ended.state, TransferState::Done, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_found_anywhere_is_complete_and_long_before_the_deadline() {
    let (_registry, peers) = three_zones().await;
    for seeker in &peers[..6] {
        let begun = Instant::now();
        let ask = SearchAsk { wait: Some(Duration::from_secs(60)), ..all("nosuchword anywhere") };
        let (hits, coverage) = seeker.search_with(ask).await;
        assert!(hits.is_empty() && coverage.is_complete(), "{coverage}");
        assert_eq!((coverage.answered, coverage.asked), (12, 12));
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    }
    // With the words of everyone known it is one message to leave, and none to the other zones.
    for seeker in &peers {
        let messages = u32::from(!is_gateway(seeker));
        let coverage = until_messages(seeker, "nosuchword anywhere", messages).await;
        assert_eq!((coverage.answered, coverage.ruled_out), (12, 11), "{coverage:?}");
    }
}

/// Searches all zones until the members of each know each other's words, which the number of messages tells.
async fn until_messages(peer: &TestPeer, query: &str, most: u32) -> Coverage {
    let begun = Instant::now();
    loop {
        let (_, coverage) = peer.search_with(all(query)).await;
        assert!(coverage.is_complete(), "{query}: {coverage:?}");
        if coverage.messages <= most {
            return coverage;
        }
        assert!(begun.elapsed() < support::PATIENCE, "{query}: {coverage:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_added_in_another_zone_a_moment_ago_is_found() {
    let (_registry, peers) = three_zones().await;
    until_messages(&peers[0], "nosuchword anywhere", 1).await;
    let others: Vec<&TestPeer> = peers.iter().filter(|peer| zone(peer) != zone(&peers[0])).collect();
    let mut late = Vec::new();
    for round in 0..12 {
        let holder = others[round % others.len()];
        support::put(&holder.share().join(format!("{round}fresh.txt")), b"new");
        soon("a rescan", holder.handle.rescan()).await.expect("rescanned");
        // Its gateway tells the other zones as soon as it hears of it, and not with the next filter half a second later.
        let (mut misses, begun) = (0, Instant::now());
        let hits = loop {
            let (hits, coverage) = peers[0].search_with(all(&format!("{round}fresh"))).await;
            if !hits.is_empty() {
                break hits;
            }
            misses += 1;
            assert!(begun.elapsed() < support::PATIENCE, "round {round}: {coverage:?}");
        };
        assert_eq!(holders(&hits), [id(holder)].into());
        late.extend((misses >= 10).then_some((round, misses)));
    }
    // Some may be, on a machine with other things to do.
    assert!(late.len() < 6, "it waited for the next filter in {late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_home_zone_has_enough_of_is_asked_of_nobody_else() {
    let (_registry, peers) = three_zones().await;
    let ask = SearchAsk { want: Some(4), ..all("report") };
    let (hits, coverage) = peers[0].search_with(ask).await;
    assert_eq!(hits.len(), 4);
    assert!(hits.iter().all(|hit| hit.holders[0].zone == Some(zone(&peers[0]))), "{hits:?}");
    assert!(coverage.truncated && !coverage.is_complete(), "{coverage}");
    for other in peers.iter().filter(|peer| zone(peer) != zone(&peers[0])) {
        let counters = other.handle.status().await.expect("its state").counters;
        assert_eq!(counters.queries_answered, 0, "{} was asked", other.name);
        assert_eq!(of(&coverage, zone(other)).answered, 0);
    }
    // What the home zone has not enough of is.
    let (hits, _) = peers[0].search_with(SearchAsk { want: Some(9), ..all("report") }).await;
    assert_eq!(hits.len(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_killed_while_searches_run_costs_nobody_elses_hits() {
    let (registry, mut peers) = three_zones().await;
    without_registry(registry, &peers).await;
    let home = zone(&peers[0]);
    let seeker = take(&mut peers, |peer| !is_gateway(peer));
    // One gateway of the seeker's zone, one of another.
    let near = take(&mut peers, |peer| is_gateway(peer) && zone(peer) == home);
    let far = take(&mut peers, |peer| is_gateway(peer) && zone(peer) != home);
    let living: BTreeSet<PeerId> = peers.iter().chain([&seeker]).map(id).collect();
    let searching = async {
        for round in 0..30 {
            let (hits, coverage) = seeker.search_with(all("report")).await;
            let found = holders(&hits);
            let missing: Vec<_> = living.difference(&found).collect();
            assert!(missing.is_empty(), "round {round}: {missing:?} are missing, {coverage}");
            assert_eq!((coverage.zones.len(), coverage.asked), (3, 12), "round {round}: {coverage}");
        }
        seeker.search_with(all("report")).await.1
    };
    let killing = async {
        let _near = near.kill().await;
        let _far = far.kill().await;
    };
    let (coverage, ()) = tokio::join!(searching, killing);
    assert_eq!((coverage.answered, coverage.unreachable), (10, 2), "{coverage}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_whose_gateways_are_gone_is_told_as_not_heard() {
    let (registry, mut peers) = three_zones().await;
    without_registry(registry, &peers).await;
    let home = zone(&peers[0]);
    let lost = zone(peers.iter().find(|peer| zone(peer) != home).expect("another zone"));
    for _ in 0..2 {
        let gateway = take(&mut peers, |peer| is_gateway(peer) && zone(peer) == lost);
        let _folder = gateway.kill().await;
    }
    for seeker in peers.iter().filter(|peer| zone(peer) != lost) {
        let (hits, coverage) = seeker.search_with(all("report")).await;
        assert_eq!(hits.len(), 8, "{coverage}");
        assert_eq!(coverage.zones.len(), 3, "{coverage}");
        assert_eq!(of(&coverage, lost), ZoneCoverage { zone: Some(lost), ..ZoneCoverage::default() });
        assert!(!coverage.is_complete() && !coverage.are_zones_unknown, "{coverage}");
        assert!(coverage.to_string().contains(&format!("zone {lost}: not heard")), "{coverage}");
    }
    // Those who are left there know neither the way out nor what there is outside.
    let inside = peers.iter().find(|peer| zone(peer) == lost).expect("two are left");
    let (hits, coverage) = inside.search_with(all("report")).await;
    assert_eq!(hits.len(), 2, "{coverage}");
    assert!(coverage.are_zones_unknown && !coverage.is_complete(), "{coverage}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_are_gone_are_replaced_and_the_zone_is_heard_again() {
    let (_registry, mut peers) = three_zones().await;
    let home = zone(&peers[0]);
    let lost = zone(peers.iter().find(|peer| zone(peer) != home).expect("another zone"));
    for _ in 0..2 {
        let gateway = take(&mut peers, |peer| is_gateway(peer) && zone(peer) == lost);
        let _folder = gateway.kill().await;
    }
    let begun = Instant::now();
    loop {
        let (hits, coverage) = peers[0].search_with(all("report")).await;
        if coverage.is_complete() && hits.len() == 10 {
            assert_eq!(of(&coverage, lost).answered, 2, "{coverage}");
            return;
        }
        // Until then nothing is passed off as whole: the list of zones has those who are not off yet.
        assert!(!coverage.is_complete(), "{} hits, {coverage}", hits.len());
        assert!(begun.elapsed() < support::PATIENCE, "{coverage}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_of_one_zone_is_complete_with_all_zones_in_scope() {
    let (_registry, peers) = network(1, 3).await;
    for peer in &peers {
        peer.until_gateways_of(1).await;
        let (hits, coverage) = peer.search_with(all("report")).await;
        assert_eq!((hits.len(), coverage.zones.len()), (3, 1), "{coverage}");
        assert!(coverage.is_complete(), "{coverage}");
    }
}

fn entering(reach: pb::Reach, zone: Option<ZoneId>, number: u8) -> pb::SearchRequest {
    pb::SearchRequest {
        query_id: vec![number; 16].into(),
        text: "report".into(),
        ttl: 4,
        hops: 1,
        deadline: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        origin_id: vec![9; 32].into(),
        from_id: vec![9; 32].into(),
        reach: reach.into(),
        zone_id: zone.map_or(0, ZoneId::get),
        ..pb::SearchRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_gateway_of_the_zone_that_is_meant_lets_a_query_in_or_out() {
    let (_registry, peers) = three_zones().await;
    let gateway = peers.iter().find(|peer| is_gateway(peer)).expect("a gateway");
    let member = peers.iter().find(|peer| !is_gateway(peer)).expect("a member");
    let other = peers.iter().map(zone).find(|other| *other != zone(gateway));
    for (number, (peer, reach, zone)) in [
        (member, pb::Reach::OtherZones, None),
        (member, pb::Reach::WholeZone, Some(zone(member))),
        (gateway, pb::Reach::WholeZone, other),
    ]
    .into_iter()
    .enumerate()
    {
        let query = entering(reach, zone, u8::try_from(number).expect("few"));
        let refused = client(peer).await.search(query).await.expect_err("refused");
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    }
    let own = zone(gateway);
    let whole = entering(pb::Reach::WholeZone, Some(own), 8);
    let (holders, done) = answer(client(gateway).await, whole).await;
    assert_eq!(holders, 4);
    assert!(done.answered.is_empty(), "peers of this zone are nothing to others");
    let told: Vec<_> = done.zones.iter().map(|told| (told.zone_id, told.listed, told.answered)).collect();
    assert_eq!(told, [(own.get(), 4, 4)]);
    let (holders, done) = answer(client(gateway).await, entering(pb::Reach::OtherZones, None, 9)).await;
    assert_eq!((holders, done.zones.len()), (8, 2));
    assert!(done.zones.iter().all(|told| told.zone_id != own.get() && told.answered == 4), "{done:?}");
}

async fn client(peer: &TestPeer) -> PeerServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{}", peer.peer.address())).expect("an address");
    PeerServiceClient::new(soon("a connection", endpoint.connect()).await.expect("connected"))
}

/// How many peers had hits, and the report.
async fn answer(mut client: PeerServiceClient<Channel>, query: pb::SearchRequest) -> (usize, pb::SearchDone) {
    use pb::search_response::Message;
    let mut answers = client.search(query).await.expect("it is let in").into_inner();
    let mut holders = BTreeSet::new();
    loop {
        let answer = soon("an answer", answers.message()).await.expect("no error").expect("a report");
        match answer.message.expect("a message") {
            Message::Hits(hits) => drop(holders.insert(hits.peer_id)),
            Message::Done(done) => return (holders.len(), done),
        }
    }
}
