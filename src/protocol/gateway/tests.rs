use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use rand::{SeedableRng, rngs::SmallRng};

use super::*;
use crate::protocol::{
    roster::Stamp,
    zone::{Layout, Zones},
};

fn id(number: u16) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    PeerId::from_bytes(bytes)
}

fn on_host(host: u16) -> Locality {
    Locality::new(&format!("host-{host}"), [10, 0, 0, 1].into())
}

/// Members in order of age, each with its machine.
fn zone(members: &[(u16, u16)]) -> impl Iterator<Item = (PeerId, Locality)> {
    members.iter().map(|(number, host)| (id(*number), on_host(*host)))
}

fn member(number: u16) -> Member {
    Member {
        id: id(number),
        name: format!("peer-{number}").parse().unwrap(),
        address: ([10, 0, 0, 1], number).into(),
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    }
}

#[test]
fn the_two_that_are_there_longest_are_gateways() {
    assert_eq!(choose(zone(&[(7, 1), (3, 2), (9, 3)]), &[]), [id(7), id(3)]);
    assert_eq!(choose(zone(&[(7, 1)]), &[]), [id(7)], "one in a zone of one");
    assert_eq!(choose(zone(&[]), &[id(7)]), [], "none in an empty zone");
}

#[test]
fn a_gateway_stays_when_an_older_member_moves_in() {
    assert_eq!(choose(zone(&[(1, 1), (7, 2), (3, 3)]), &[id(7), id(3)]), [id(7), id(3)]);
}

#[test]
fn only_the_place_of_the_one_that_is_gone_is_filled() {
    assert_eq!(choose(zone(&[(1, 1), (7, 2), (3, 3)]), &[id(8), id(3)]), [id(1), id(3)]);
}

#[test]
fn the_second_gateway_is_on_another_machine_where_there_is_one() {
    assert_eq!(choose(zone(&[(7, 1), (3, 1), (9, 2), (4, 3)]), &[]), [id(7), id(9)]);
    assert_eq!(
        choose(zone(&[(7, 1), (3, 1)]), &[]),
        [id(7), id(3)],
        "one machine is better than one gateway"
    );
    let both_here = [id(7), id(3)];
    assert_eq!(choose(zone(&[(7, 1), (3, 1), (9, 2)]), &both_here), both_here, "and is kept");
}

#[test]
fn what_is_told_replaces_what_was_held_zone_by_zone() {
    let at = |number| ZoneId::new(number).unwrap();
    let of = |zone, gateways: &[u16]| ZoneGateways {
        zone: at(zone),
        gateways: gateways.iter().map(|number| member(*number)).collect(),
    };
    let mut held = Gateways::new(at(1), vec![member(1), member(2)]);
    held.take_in(Told { is_whole: false, zones: vec![of(1, &[3]), of(2, &[4, 5])] });
    assert_eq!((held.of(at(1)), held.of(at(2))), (&[member(3)][..], &[member(4), member(5)][..]));
    assert_eq!(held.get(&id(5)), Some((at(2), &member(5))));
    held.take_in(Told { is_whole: false, zones: vec![of(2, &[])] });
    assert_eq!(held, Gateways::new(at(1), vec![member(3)]), "a zone that is gone is not known");
    held.take_in(Told { is_whole: true, zones: vec![of(9, &[6])] });
    assert_eq!(held.zones().collect::<Vec<_>>(), [at(9)]);
    assert_eq!(held.get(&id(3)), None);
}

#[test]
fn no_more_zones_are_held_than_the_bound() {
    let mut held = Gateways::default();
    let of = |zone, number| ZoneGateways { zone: ZoneId::new(zone).unwrap(), gateways: vec![member(number)] };
    let zones = u32::try_from(MAX_ZONES).unwrap();
    held.take_in(Told { is_whole: true, zones: (1..=zones + 5).map(|zone| of(zone, 1)).collect() });
    assert_eq!(held.zones().count(), MAX_ZONES);
    held.take_in(Told { is_whole: false, zones: vec![of(7, 2)] });
    assert_eq!(held.of(ZoneId::new(7).unwrap()), [member(2)], "one that is held still follows");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn under_churn_gateways_live_in_their_zone_and_change_one_for_one(
        seed: u64,
        steps in proptest::collection::vec((0..6u8, 0..90u16), 1..250),
    ) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut zones = Zones::new(Layout::Elastic { min: 3, target: 8, max: 12 });
        let mut held = BTreeMap::<ZoneId, Vec<PeerId>>::new();
        let mut now = Instant::now();
        for (what, number) in steps {
            match what {
                // Three peers a machine.
                0..3 => {
                    zones.join(id(number), on_host(number / 3), now, &mut rng).unwrap();
                }
                3..5 => {
                    zones.leave(&id(number), now);
                }
                _ => {
                    now += Duration::from_secs(u64::from(number));
                    while !zones.rebalance(now).is_empty() {}
                }
            }
            let before = std::mem::take(&mut held);
            for zone in zones.sizes().map(|(zone, _)| zone).collect::<Vec<_>>() {
                let members: Vec<_> = zones.oldest_first(zone).collect();
                let old = before.get(&zone).map_or(&[][..], Vec::as_slice);
                let chosen = choose(members.iter().copied(), old);
                let is_member = |peer: &PeerId| members.iter().any(|(id, _)| id == peer);

                prop_assert!(chosen.iter().all(is_member), "a gateway that is not there");
                prop_assert_eq!(chosen.len(), members.len().min(GATEWAYS_PER_ZONE));
                prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
                for peer in old {
                    prop_assert!(chosen.contains(peer) || !is_member(peer), "one that lives was replaced");
                }
                let new: Vec<_> = chosen.iter().filter(|peer| !old.contains(peer)).collect();
                let lost = old.iter().filter(|peer| !chosen.contains(peer)).count();
                prop_assert!(new.len() <= lost + (GATEWAYS_PER_ZONE - old.len()), "more changed than were lost");

                // Whoever is new is older than everyone it was preferred to, or away from the machine of the other one.
                let host_of = |peer: &PeerId| members.iter().find(|(id, _)| id == peer).unwrap().1;
                if let ([first, second], false) = (&chosen[..], new.is_empty())
                    && host_of(first).is_same_host(host_of(second))
                {
                    let is_elsewhere = |(_, host): &(PeerId, Locality)| !host.is_same_host(host_of(first));
                    prop_assert!(!members.iter().any(is_elsewhere), "both on one machine without need");
                }
                if old.is_empty() && !chosen.is_empty() {
                    prop_assert_eq!(chosen[0], members[0].0, "the longest-lived is one of them");
                }
                held.insert(zone, chosen);
            }
        }
    }
}
