//! Networks of several zones with dead, silent and dying gateways: what the rules promise of a query that leaves its zone,
//! seen at the origin. Each failure names its seed.

#[path = "support/zone.rs"]
mod zone;

use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use floodplain::protocol::{
    claim::{Everyone, Reach, RulesOut},
    crossing::RulesOutZones,
    flood::{Mode, Query, QueryCache, Verdict, View, on_query},
    gateway::{Gateways, Told, ZoneGateways},
    id::{PeerId, PeerName, QueryId, ZoneId},
    relay::{Command, Relay, Report},
    report::ZoneReport,
    roster::{Member, Roster, Stamp},
};
use rand::{SeedableRng, rngs::SmallRng};
use zone::{Outcome, Setup, Zone};

const NOBODY: [usize; 0] = [];

/// Ten zones of eight, and every live peer asks once.
fn ten_zones(seed: u64) -> Setup {
    Setup { zones: 10, queries: 60, pause: Duration::from_millis(5), ..Setup::new(seed, 8, Mode::Claimed) }
}

/// Runs it; nothing is ever told that did not happen.
fn run(setup: &Setup) -> Zone {
    let zone = Zone::run(setup);
    for (query, outcome) in zone.outcomes.iter().enumerate() {
        let seed = format!("seed {}, query {query}: {setup:?}", setup.seed);
        let report = report(outcome);
        assert!(outcome.took <= Duration::from_millis(3001), "{:?} over its deadline, {seed}", outcome.took);
        let found: BTreeSet<u64> = outcome.hits.keys().map(|node| zone.short(*node)).collect();
        assert!(report.answered.is_subset(&found), "answered without its hits, {seed}");
        let home = zone.zone_of(outcome.origin);
        for (other, told) in &report.zones {
            assert_ne!(*other, home, "the own zone is told by a gateway, {seed}");
            assert!(told.is_sound(), "{told:?}, {seed}");
            let found = outcome.hits.keys().filter(|node| zone.zone_of(**node) == *other).count();
            assert!(told.answered as usize <= found, "zone {other}: {told:?} with {found} found, {seed}");
        }
    }
    zone
}

fn report(outcome: &Outcome) -> &Report {
    outcome.report.as_ref().expect("the origin has room")
}

/// Live peers, without those that die, that the query did not find in zones that it could reach.
fn missing(zone: &Zone, outcome: &Outcome, is_reachable: impl Fn(ZoneId) -> bool) -> Vec<usize> {
    let live = zone.live.iter().filter(|node| !zone.dying.contains(node));
    let reachable = live.filter(|node| is_reachable(zone.zone_of(**node)));
    reachable.filter(|node| !outcome.hits.contains_key(node)).copied().collect()
}

#[test]
fn every_peer_of_ten_small_zones_is_found_for_one_message_each() {
    for seed in 0..3 {
        let setup = ten_zones(seed);
        let zone = run(&setup);
        for outcome in &zone.outcomes {
            assert_eq!(missing(&zone, outcome, |_| true), NOBODY, "seed {seed}");
            // The gateway that a query leaves by is asked in place of its zone, so few are its members.
            assert_eq!(outcome.messages, 79, "seed {seed}");
            assert!(outcome.hits.values().max() <= Some(&4), "seed {seed}");
            let report = report(outcome);
            assert!(report.is_crossed && !report.truncated && report.zones.len() == 9, "seed {seed}");
            let whole = ZoneReport { listed: 8, answered: 8, ..ZoneReport::default() };
            assert!(report.zones.values().all(|told| *told == whole), "seed {seed}: {report:?}");
            assert_eq!(report.messages as usize, outcome.messages, "seed {seed}");
            assert!(outcome.searches.values().all(|times| *times == 1), "seed {seed}");
        }
    }
}

#[test]
fn every_live_peer_of_ten_zones_is_found_with_one_gateway_of_each_dead() {
    for (silent, slow) in [(0.0, 0.0), (1.0, 0.0), (0.5, 0.05)] {
        for seed in 0..4 {
            let setup = Setup { dead_gateways: 1, dead: 0.1, silent, slow, ..ten_zones(seed) };
            let zone = run(&setup);
            for outcome in &zone.outcomes {
                assert_eq!(
                    missing(&zone, outcome, |_| true),
                    NOBODY,
                    "seed {seed}, silent {silent}, slow {slow}"
                );
                let report = report(outcome);
                assert!(report.is_crossed && report.zones.len() == 9);
                assert!(report.zones.values().all(|told| told.answered + told.unreachable == told.listed));
            }
        }
    }
}

#[test]
fn a_zone_whose_gateways_are_all_dead_is_told_and_costs_the_others_nothing() {
    for silent in [0.0, 1.0] {
        for seed in 0..3 {
            let setup = Setup { lost_zone: Some(3), silent, ..ten_zones(seed) };
            let zone = run(&setup);
            let lost = ZoneId::new(4).expect("not 0");
            let mut inside = 0;
            for outcome in &zone.outcomes {
                let (home, report) = (zone.zone_of(outcome.origin), report(outcome));
                if home == lost {
                    inside += 1;
                    assert_eq!(missing(&zone, outcome, |zone| zone == lost), NOBODY, "seed {seed}");
                    assert!(!report.is_crossed && report.zones.is_empty(), "seed {seed}: {report:?}");
                } else {
                    assert_eq!(missing(&zone, outcome, |zone| zone != lost), NOBODY, "seed {seed}");
                    assert_eq!(report.zones[&lost], ZoneReport::default(), "seed {seed}");
                    assert!(report.zones.iter().all(|(zone, told)| *zone == lost || told.is_heard()));
                }
            }
            assert!(inside > 0, "nobody of the lost zone asked");
        }
    }
}

#[test]
fn a_gateway_of_each_zone_dies_while_the_query_runs_and_no_live_peer_is_missed() {
    let mut was_asked_again = false;
    for millis in 0..24 {
        for seed in 0..4 {
            let gateways_die_after = Some(Duration::from_millis(millis));
            // From a gateway, or from a member whose gateway may die as well.
            let first_origin = if seed % 2 == 0 { 0 } else { 5 };
            let setup = Setup { gateways_die_after, first_origin, queries: 1, ..ten_zones(seed) };
            let zone = run(&setup);
            assert!(zone.dying.len() >= 9);
            for outcome in &zone.outcomes {
                assert_eq!(missing(&zone, outcome, |_| true), NOBODY, "seed {seed}, after {millis} ms");
                assert!(report(outcome).zones.values().all(ZoneReport::is_heard), "seed {seed}, {millis} ms");
                was_asked_again |= outcome.searches.values().any(|times| *times > 1);
            }
        }
    }
    assert!(was_asked_again, "no gateway died in the middle");
}

#[test]
fn streams_to_gateways_that_break_lose_no_more_than_they_say() {
    let (mut broken, mut heard) = (0, 0);
    for seed in 0..6 {
        let zone = run(&Setup { gateway_cuts: 0.2, dead: 0.1, ..ten_zones(seed) });
        for outcome in &zone.outcomes {
            let (home, report) = (zone.zone_of(outcome.origin), report(outcome));
            let is_told = |other| other == home || report.zones.get(&other).is_some_and(ZoneReport::is_heard);
            assert_eq!(missing(&zone, outcome, is_told), NOBODY, "seed {seed}");
            broken += usize::from(!outcome.cut.is_empty());
            heard += report.zones.values().filter(|told| told.is_heard()).count();
        }
    }
    assert!(broken > 100, "no stream was cut");
    // A zone is lost when both of its streams break, or both to the own gateways.
    assert!(heard * 100 > 6 * 60 * 9 * 85, "only {heard} zones were heard");
}

#[test]
fn everything_at_once_still_ends_in_time_and_tells_nothing_that_is_not_so() {
    for seed in 0..3 {
        run(&Setup {
            dead_gateways: 1,
            dead: 0.2,
            silent: 0.4,
            slow: 0.05,
            cuts: 0.02,
            gateway_cuts: 0.1,
            stale: 0.05,
            ..ten_zones(seed)
        });
    }
}

#[test]
fn a_classic_flood_at_home_leaves_its_zone_as_a_claimed_one_does() {
    let zone = run(&Setup { mode: Mode::Classic, ..ten_zones(1) });
    for outcome in &zone.outcomes {
        assert_eq!(missing(&zone, outcome, |_| true), NOBODY);
    }
}

/// All zones but the first two rule the query out, with a hundred members each.
#[derive(Debug)]
struct OnlyTwo;

impl RulesOutZones for OnlyTwo {
    fn ruled_out(&self, zone: ZoneId) -> Option<u32> {
        (zone.get() > 2).then_some(100)
    }
}

#[derive(Debug)]
struct Nobody;

impl RulesOut for Nobody {
    fn rules_out(&self, _: &Member) -> bool {
        true
    }
}

impl RulesOutZones for Nobody {
    fn ruled_out(&self, _: ZoneId) -> Option<u32> {
        Some(100)
    }
}

/// What a member of zone 1 in a network of ten hears and sends when nobody there has it, by the rule of its gateway.
fn misses(rule: &dyn RulesOutZones) -> (Report, usize) {
    let zone = |number| ZoneId::new(number).expect("not 0");
    let mut rng = SmallRng::seed_from_u64(1);
    let mut member = |_: u32| Member {
        id: PeerId::random(&mut rng),
        name: PeerName::from_any("peer"),
        address: ([127, 0, 0, 1], 7001).into(),
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    };
    let roster = Roster::new(zone(1), 1, (0..100).map(&mut member).collect());
    let own = [roster.members()[0].clone(), roster.members()[1].clone()];
    let of = |number| ZoneGateways {
        zone: zone(number),
        gateways: if number == 1 { own.to_vec() } else { vec![member(0), member(1)] },
    };
    let mut gateways = Gateways::default();
    gateways.take_in(Told { is_whole: true, zones: (1..=10).map(of).collect() });
    let own_gateways = Gateways::new(zone(1), own.to_vec());
    let now = Instant::now();
    let plan = |me: PeerId, gateways: &Gateways, query: &Query, zones: &dyn RulesOutZones| {
        let view = View { me, roster: &roster, neighbors: &[], gateways, rule: &Nobody, zones };
        let mut cache = QueryCache::new(NonZeroUsize::new(10).expect("room"));
        match on_query(&mut cache, query, &view, now) {
            Verdict::Serve { is_searched_here, plan } => Relay::new(me, is_searched_here, plan, now),
            other => panic!("{other:?}"),
        }
    };
    let me = roster.members()[9].id;
    let deadline = now + Duration::from_secs(3);
    let mut query = Query::own(QueryId::from_bytes([1; 16]), me, Mode::Claimed, 16, deadline, 1);
    query.reach = Reach::Everywhere;
    // A member holds no filters, and none are asked of it.
    let (mut relay, asks) = plan(me, &own_gateways, &query, &Everyone);
    assert!(asks.is_empty(), "its own index first, when nobody else is asked at home");
    relay.on_searched(false);
    let asks = relay.on_tick(now);
    let [Command::Ask { ask, peer, reach: Reach::OtherZones, ttl, hops, deadline, .. }] = asks[..] else {
        panic!("{asks:?}")
    };
    let copy = Query { reach: Reach::OtherZones, claim: None, ttl, hops, deadline, ..query };
    let (mut gateway, asks) = plan(peer, &gateways, &copy, rule);
    let sent = 1 + asks.len();
    for command in asks {
        let Command::Ask { ask, reach: Reach::WholeZone(entered), .. } = command else {
            panic!("{command:?}")
        };
        let told = ZoneReport { listed: 100, answered: 1, ruled_out: 99, unreachable: 0 };
        let report = Report { zones: [(entered, told)].into(), ..Report::default() };
        gateway.on_done(ask, &report, now);
    }
    assert!(gateway.is_finished());
    relay.on_done(ask, &gateway.report(), now);
    assert!(relay.is_finished());
    (relay.report(), sent)
}

#[test]
fn a_miss_in_other_zones_costs_one_message_in_all() {
    for (rule, messages, searched) in
        [(&Nobody as &dyn RulesOutZones, 1, 0), (&OnlyTwo, 2, 1), (&Everyone, 10, 9)]
    {
        let (report, sent) = misses(rule);
        assert_eq!((sent, report.messages as usize), (messages, messages), "{rule:?}");
        assert!(report.is_crossed && !report.truncated && report.zones.len() == 9);
        assert!(report.zones.values().all(|told| told.is_heard() && told.heard() == told.listed), "{rule:?}");
        assert_eq!(report.zones.values().filter(|told| told.answered > 0).count(), searched, "{rule:?}");
    }
}
