use super::{tests::*, *};
use crate::protocol::{
    claim::Everyone,
    gateway::{GATEWAYS_PER_ZONE, Told, ZoneGateways},
    relay::{Command, Relay, Report},
    roster::Member,
};

fn zone(number: u32) -> ZoneId {
    ZoneId::new(number).expect("not 0")
}

/// Peers 0 and 1 are those of the own zone, 101 and 102 those of zone 2, 201 and 202 those of zone 3.
fn gateways(roster: &Roster) -> Gateways {
    let like = &roster.members()[0];
    let of = |number, ids: [usize; 2]| ZoneGateways {
        zone: zone(number),
        gateways: ids.map(|id| Member { id: peer(id), ..like.clone() }).into(),
    };
    let mut held = Gateways::default();
    let zones = vec![of(1, [0, 1]), of(2, [101, 102]), of(3, [201, 202])];
    held.take_in(Told { is_whole: true, zones });
    held
}

fn plan_of(verdict: Verdict) -> (bool, Plan) {
    match verdict {
        Verdict::Serve { is_searched_here, plan } => (is_searched_here, plan),
        other => panic!("{other:?}"),
    }
}

fn reaches(wave: &[Part]) -> Vec<Reach> {
    wave.iter().map(|part| part.reach).collect()
}

#[test]
fn a_query_for_everywhere_leaves_beside_the_home_flood_or_after_it_when_some_hits_are_enough() {
    let (roster, now, mut cache) = (roster(50), Instant::now(), cache(10));
    let gateways = gateways(&roster);
    let own = |me| Query {
        reach: Reach::Everywhere,
        ..Query::own(query_id(1), peer(me), Mode::Claimed, 16, now + WAIT, REVISION)
    };
    let view = |me| View {
        me: peer(me),
        roster: &roster,
        neighbors: &[],
        gateways: &gateways,
        rule: &Everyone,
        zones: &Everyone,
    };
    let (_, plan) = plan_of(on_query(&mut cache, &own(4), &view(4), now));
    let leaving: Vec<Reach> =
        reaches(&plan.waves[0]).into_iter().filter(|reach| *reach != Reach::Inside).collect();
    assert_eq!((leaving, plan.waves[0].len()), (vec![Reach::OtherZones], 9));
    assert_eq!((plan.waves.len(), &plan.zones), (1, &None));
    let some = Query { is_widening: true, id: query_id(2), ..own(4) };
    let (_, plan) = plan_of(on_query(&mut cache, &some, &view(4), now));
    assert_eq!(reaches(plan.waves.last().expect("waves")), [Reach::OtherZones]);
    assert!(plan.waves[0].iter().all(|part| !part.is_beyond()));
    // A gateway goes there itself.
    let (_, plan) = plan_of(on_query(&mut cache, &Query { id: query_id(3), ..own(0) }, &view(0), now));
    let beyond: Vec<Reach> =
        reaches(&plan.waves[0]).into_iter().filter(|reach| *reach != Reach::Inside).collect();
    assert_eq!(beyond.len(), 2);
    assert_eq!(plan.zones.expect("it knows the zones").len(), 2);
}

#[test]
fn a_gateway_asks_other_zones_without_searching_and_is_still_searched_as_a_member() {
    let (roster, now, mut cache) = (roster(5), Instant::now(), cache(10));
    let gateways = gateways(&roster);
    let neighbors = [1, 2].map(peer);
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &neighbors,
        gateways: &gateways,
        rule: &Everyone,
        zones: &Everyone,
    };
    let crossing = Query { reach: Reach::OtherZones, ..classic(1, 15, 3, now) };
    let (is_searched, plan) = plan_of(on_query(&mut cache, &crossing, &view, now));
    assert!(!is_searched);
    assert!(plan.waves.concat().iter().all(|part| matches!(part.reach, Reach::WholeZone(_))));
    // The same query by a classic copy of the home flood, at its end even.
    let copy = classic(1, 0, 2, now);
    assert_eq!(served(&on_query(&mut cache, &copy, &view, now)), Some((true, 0)));
    assert_eq!(served(&on_query(&mut cache, &copy, &view, now)), None);
    // At the end of its forwards it asks nobody, and tells so.
    let (_, plan) = plan_of(on_query(&mut cache, &Query { ttl: 0, ..crossing }, &view, now));
    assert!(plan.waves.is_empty() && plan.zones.expect("it knows the zones").len() == 2);
}

#[test]
fn a_zone_is_entered_as_if_the_query_began_there_and_again_by_another_way() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(10));
    let gateways = gateways(&roster);
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &gateways,
        rule: &Everyone,
        zones: &Everyone,
    };
    // The revision of a roster of another zone says nothing here.
    let entering = |from| Query {
        reach: Reach::WholeZone(zone(1)),
        roster_revision: REVISION + 9,
        ..classic(1, 14, from, now)
    };
    for from in [101, 102] {
        let (is_searched, plan) = plan_of(on_query(&mut cache, &entering(from), &view, now));
        let asked: usize = plan.waves.concat().iter().map(|part| part.members.len()).sum();
        assert!(is_searched && asked == 8 && plan.waves.len() == 1);
        assert!(plan.waves.concat().iter().all(|part| part.claim.is_some()));
    }
    let some = Query { is_widening: true, id: query_id(2), ..entering(101) };
    assert!(plan_of(on_query(&mut cache, &some, &view, now)).1.waves.len() > 1);
}

#[test]
fn whoever_is_no_gateway_refuses_and_remembers_nothing() {
    let (roster, now, mut cache) = (roster(5), Instant::now(), cache(10));
    let gateways = gateways(&roster);
    let view = |me| View {
        me: peer(me),
        roster: &roster,
        neighbors: &[],
        gateways: &gateways,
        rule: &Everyone,
        zones: &Everyone,
    };
    for (me, reach) in [
        (4, Reach::OtherZones),
        (4, Reach::WholeZone(zone(1))),
        // It moved since.
        (0, Reach::WholeZone(zone(2))),
    ] {
        let query = Query { reach, ..classic(1, 15, 3, now) };
        assert_eq!(on_query(&mut cache, &query, &view(me), now), Verdict::Refuse(Refusal::NotGateway));
    }
    assert!(cache.is_empty());
}

#[test]
fn a_query_that_enters_again_and_again_is_refused() {
    let (roster, now, mut cache) = (roster(5), Instant::now(), cache(10));
    let gateways = gateways(&roster);
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &gateways,
        rule: &Everyone,
        zones: &Everyone,
    };
    let query = Query { reach: Reach::WholeZone(zone(1)), ..classic(1, 15, 101, now) };
    for _ in 0..MAX_SERVES {
        plan_of(on_query(&mut cache, &query, &view, now));
    }
    assert_eq!(on_query(&mut cache, &query, &view, now), Verdict::Refuse(Refusal::TooOften));
}

/// Rules out zone 2, which has four members.
#[derive(Debug)]
struct NotZone2;

impl RulesOutZones for NotZone2 {
    fn ruled_out(&self, other: ZoneId) -> Option<u32> {
        (other == zone(2)).then_some(4)
    }
}

#[test]
fn a_gateway_passes_zones_by_that_are_ruled_out_and_reports_them_as_heard() {
    let (roster, now, mut cache) = (roster(5), Instant::now(), cache(10));
    let gateways = gateways(&roster);
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &gateways,
        rule: &Everyone,
        zones: &NotZone2,
    };
    let crossing = Query { reach: Reach::OtherZones, ..classic(1, 15, 3, now) };
    let (_, plan) = plan_of(on_query(&mut cache, &crossing, &view, now));
    assert_eq!(reaches(&plan.waves.concat()), [Reach::WholeZone(zone(3))]);
    let (mut relay, asks) = Relay::new(peer(0), false, plan, now);
    assert_eq!(asks.len(), 1);
    let Command::Ask { ask, .. } = asks[0] else { panic!("{asks:?}") };
    let zones = BTreeMap::from([(zone(3), ZoneReport { listed: 2, answered: 2, ..ZoneReport::default() })]);
    relay.on_done(ask, &Report { zones, ..Report::default() }, now);
    let report = relay.report();
    assert!(relay.is_finished() && report.messages == 1 && !report.truncated);
    assert_eq!(report.zones[&zone(2)], ZoneReport { listed: 4, ruled_out: 4, ..ZoneReport::default() });
    // What enters a zone is not for other zones to rule on.
    let entering = Query { id: query_id(2), reach: Reach::WholeZone(zone(1)), ..classic(1, 14, 101, now) };
    let (is_searched, plan) = plan_of(on_query(&mut cache, &entering, &view, now));
    assert!(is_searched && plan.zones.is_none() && !plan.waves.is_empty());
}

/// Asks these alone, as far as it knows.
#[derive(Debug)]
struct These(std::ops::Range<usize>);

impl RulesOut for These {
    fn rules_out(&self, member: &Member) -> bool {
        !self.0.clone().any(|number| peer(number) == member.id)
    }
}

#[test]
fn few_members_are_left_to_the_gateway_that_the_query_goes_to_anyway() {
    let (roster, now, mut cache) = (roster(60), Instant::now(), cache(100));
    let gateways = gateways(&roster);
    let mut number = 0;
    let mut plan = |me, asked: usize, reach, is_widening| {
        number += 1;
        let own = Query::own(query_id(number), peer(me), Mode::Claimed, 16, now + WAIT, REVISION);
        let rule = These(10..10 + asked);
        let view = View {
            me: peer(me),
            roster: &roster,
            neighbors: &[],
            gateways: &gateways,
            rule: &rule,
            zones: &Everyone,
        };
        plan_of(on_query(&mut cache, &Query { reach, is_widening, ..own }, &view, now)).1
    };
    let everywhere = Reach::Everywhere;
    for few in [1, crossing::MAX_HANDED_OVER] {
        let plan = plan(4, few, everywhere, false);
        assert_eq!(reaches(&plan.waves.concat()), [Reach::AllZones]);
        assert_eq!(plan.waves[0][0].members.len(), GATEWAYS_PER_ZONE);
        assert_eq!(plan.handed_over.iter().map(|part| part.members.len()).sum::<usize>(), few);
        assert_eq!(plan.ruled_out.len(), 59 - few);
    }
    // Many are asked, and with nobody to ask the gateway is asked for the other zones alone.
    for (asked, reach, is_widening, me) in [
        (crossing::MAX_HANDED_OVER + 1, everywhere, false, 4),
        (0, everywhere, false, 4),
        (3, everywhere, true, 4),
        (3, Reach::Inside, false, 4),
        // A gateway has the keys itself.
        (3, everywhere, false, 0),
    ] {
        let plan = plan(me, asked, reach, is_widening);
        let is_left = reaches(&plan.waves.concat()).contains(&Reach::AllZones);
        assert!(!is_left && plan.handed_over.is_empty(), "{asked} {reach:?} {is_widening} {me}");
    }
}

#[test]
fn a_gateway_answers_for_its_zone_except_for_whoever_asks() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(10));
    let gateways = gateways(&roster);
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &gateways,
        rule: &These(2..6),
        zones: &NotZone2,
    };
    let query = |id, reach| Query { reach, ..classic(id, 15, 4, now) };
    let (is_searched, plan) = plan_of(on_query(&mut cache, &query(1, Reach::AllZones), &view, now));
    let of = |reach: fn(Reach) -> bool| -> Vec<PeerId> {
        plan.waves
            .concat()
            .into_iter()
            .filter(|part| reach(part.reach))
            .flat_map(|part| part.members)
            .collect()
    };
    assert!(is_searched);
    assert_eq!(of(|reach| reach == Reach::Inside), [2, 3, 5].map(peer));
    assert_eq!(of(|reach| reach == Reach::WholeZone(zone(3))).len(), 2);
    assert_eq!(
        plan.ruled_out.len(),
        4,
        "neither this peer nor whoever asks is told of: {:?}",
        plan.ruled_out
    );
    assert_eq!(plan.zones.expect("it knows the zones").len(), 2);
    let stranger = View { me: peer(4), ..view };
    let refused = on_query(&mut cache, &query(2, Reach::AllZones), &stranger, now);
    assert_eq!(refused, Verdict::Refuse(Refusal::NotGateway));
}
