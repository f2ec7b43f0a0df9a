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
    let crossing = cross(peer(1, 9), zone(1), &gateways([1]), query(0, 0), false);
    let part = Part { members: vec![peer(1, 1), peer(1, 2)], claim: None, reach: Reach::OtherZones };
    assert_eq!(crossing, Crossing { waves: vec![vec![part]], zones: None });
    let turned = cross(peer(1, 9), zone(1), &gateways([1]), query(1, 0), false);
    assert_eq!(turned.waves[0][0].members, [peer(1, 2), peer(1, 1)], "another query, another gateway");
}

#[test]
fn without_a_gateway_there_is_nobody_to_ask_and_nothing_to_tell() {
    assert_eq!(cross(peer(1, 9), zone(1), &Gateways::default(), query(0, 0), false), Crossing::default());
}

#[test]
fn the_gateway_of_a_network_of_one_zone_knows_that_there_is_no_other() {
    let crossing = cross(peer(1, 1), zone(1), &gateways([1]), query(0, 0), false);
    assert_eq!(crossing, Crossing { waves: Vec::new(), zones: Some(BTreeMap::new()) });
}

#[test]
fn some_hits_are_asked_of_a_few_zones_first() {
    let crossing = cross(peer(1, 2), zone(1), &gateways(1..=40), query(0, 5), true);
    let sizes: Vec<usize> = crossing.waves.iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, 8, 16, 11]);
    assert_eq!(crossing.waves[0][0].reach, Reach::WholeZone(zone(7)), "begun elsewhere by each query");
}

proptest! {
    #[test]
    fn a_gateway_asks_every_other_zone_once_and_tells_of_each(
        zones in 1u32..400,
        own in 1u32..400,
        bytes: [u8; 2],
        is_widening: bool,
    ) {
        let own = 1 + own % zones;
        let held = gateways(1..=zones);
        let crossing = cross(peer(own, 1), zone(own), &held, query(bytes[0], bytes[1]), is_widening);
        let others: BTreeSet<ZoneId> = (1..=zones).filter(|other| *other != own).map(zone).collect();
        let told: BTreeSet<ZoneId> = crossing.zones.expect("it is a gateway").into_keys().collect();
        prop_assert_eq!(&told, &others);
        let mut asked = BTreeSet::new();
        for part in crossing.waves.iter().flatten() {
            let Reach::WholeZone(zone) = part.reach else { return Err(TestCaseError::fail("not a zone")) };
            prop_assert!(asked.insert(zone), "{} is asked twice", zone);
            prop_assert!(part.is_beyond() && part.claim.is_none());
            let members: BTreeSet<PeerId> = part.members.iter().copied().collect();
            prop_assert_eq!(members, [1, 2].map(|number| peer(zone.get(), number)).into());
        }
        prop_assert_eq!(&asked, &others);
        prop_assert!(crossing.waves.iter().all(|wave| (1..=MAX_ZONES_AT_ONCE).contains(&wave.len())));
    }
}
