use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::protocol::{
    gateway::{Told, ZoneGateways},
    id::PeerName,
    roster::Stamp,
};

fn zone(number: u32) -> ZoneId {
    ZoneId::new(number).expect("not 0")
}

fn peer(zone: u32, number: u8) -> PeerId {
    let mut bytes = [number; 32];
    bytes[..4].copy_from_slice(&zone.to_be_bytes());
    PeerId::from_bytes(bytes)
}

fn query(first: u8, last: u8) -> QueryId {
    let mut bytes = [0; 16];
    (bytes[0], bytes[15]) = (first, last);
    QueryId::from_bytes(bytes)
}

/// Rules out the zones whose number divided by this leaves no rest; each has three members.
#[derive(Debug)]
struct EveryNth(u32);

impl RulesOutZones for EveryNth {
    fn ruled_out(&self, zone: ZoneId) -> Option<u32> {
        zone.get().is_multiple_of(self.0).then_some(3)
    }
}

/// That many zones with two gateways each.
fn gateways(zones: impl IntoIterator<Item = u32>) -> Gateways {
    let member = |zone, number| Member {
        id: peer(zone, number),
        name: PeerName::from_any("peer"),
        address: ([127, 0, 0, 1], 7001).into(),
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    };
    let of = |number| ZoneGateways {
        zone: zone(number),
        gateways: [1, 2].map(|gateway| member(number, gateway)).into(),
    };
    let mut held = Gateways::default();
    held.take_in(Told { is_whole: true, zones: zones.into_iter().map(of).collect() });
    held
}

#[test]
fn a_member_asks_a_gateway_of_its_own_zone() {
    let crossing = cross(peer(1, 9), zone(1), &gateways([1]), &Everyone, query(0, 0), false);
    let part = Part { members: vec![peer(1, 1), peer(1, 2)], claim: None, reach: Reach::OtherZones };
    assert_eq!(crossing, Crossing { waves: vec![vec![part]], zones: None });
    let turned = cross(peer(1, 9), zone(1), &gateways([1]), &Everyone, query(1, 0), false);
    assert_eq!(turned.waves[0][0].members, [peer(1, 2), peer(1, 1)], "another query, another gateway");
}

#[test]
fn without_a_gateway_there_is_nobody_to_ask_and_nothing_to_tell() {
    assert_eq!(
        cross(peer(1, 9), zone(1), &Gateways::default(), &Everyone, query(0, 0), false),
        Crossing::default()
    );
}

#[test]
fn the_gateway_of_a_network_of_one_zone_knows_that_there_is_no_other() {
    let crossing = cross(peer(1, 1), zone(1), &gateways([1]), &Everyone, query(0, 0), false);
    assert_eq!(crossing, Crossing { waves: Vec::new(), zones: Some(BTreeMap::new()) });
}

#[test]
fn some_hits_are_asked_of_a_few_zones_first() {
    let crossing = cross(peer(1, 2), zone(1), &gateways(1..=40), &Everyone, query(0, 5), true);
    let sizes: Vec<usize> = crossing.waves.iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, 8, 16, 11]);
    assert_eq!(crossing.waves[0][0].reach, Reach::WholeZone(zone(7)), "begun elsewhere by each query");
}

#[test]
fn a_zone_that_is_ruled_out_is_told_and_not_asked() {
    let held = gateways(1..=40);
    let rule = EveryNth(1);
    let crossing = cross(peer(1, 1), zone(1), &held, &rule, query(0, 5), false);
    assert!(crossing.waves.is_empty(), "a miss costs nothing but the way to the gateway");
    let told = crossing.zones.expect("it is a gateway");
    let ruled_out = ZoneReport { listed: 3, ruled_out: 3, ..ZoneReport::default() };
    assert!(told.len() == 39 && told.values().all(|told| *told == ruled_out && told.is_heard()));
    let member = cross(peer(1, 9), zone(1), &held, &rule, query(0, 5), false);
    assert_eq!(member.waves.len(), 1, "what a member knows of other zones is nothing");
    // Some hits are looked for in zones that may have them, from the first wave on.
    let some = cross(peer(1, 1), zone(1), &held, &EveryNth(2), query(0, 5), true);
    assert_eq!(some.waves.iter().map(Vec::len).collect::<Vec<_>>(), [4, 8, 7]);
}

proptest! {
    #[test]
    fn a_gateway_asks_every_other_zone_once_and_tells_of_each(
        zones in 1u32..400,
        own in 1u32..400,
        bytes: [u8; 2],
        is_widening: bool,
        nth in 2u32..9,
    ) {
        let own = 1 + own % zones;
        let held = gateways(1..=zones);
        let crossing = cross(peer(own, 1), zone(own), &held, &EveryNth(nth), query(bytes[0], bytes[1]), is_widening);
        let others: BTreeSet<ZoneId> = (1..=zones).filter(|other| *other != own).map(zone).collect();
        let told = crossing.zones.expect("it is a gateway");
        prop_assert_eq!(told.keys().copied().collect::<BTreeSet<_>>(), others);
        let unheard = told.iter().filter(|(_, told)| !told.is_heard()).map(|(zone, _)| *zone).collect();
        let mut asked = BTreeSet::new();
        for part in crossing.waves.iter().flatten() {
            let Reach::WholeZone(zone) = part.reach else { return Err(TestCaseError::fail("not a zone")) };
            prop_assert!(asked.insert(zone), "{} is asked twice", zone);
            prop_assert!(part.is_beyond() && part.claim.is_none());
            let members: BTreeSet<PeerId> = part.members.iter().copied().collect();
            prop_assert_eq!(members, [1, 2].map(|number| peer(zone.get(), number)).into());
        }
        prop_assert_eq!(&asked, &unheard);
        prop_assert!(asked.iter().all(|zone| !zone.get().is_multiple_of(nth)));
        prop_assert!(crossing.waves.iter().all(|wave| (1..=MAX_ZONES_AT_ONCE).contains(&wave.len())));
    }
}
