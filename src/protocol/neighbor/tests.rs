use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn members(count: usize, seed: u8) -> Vec<Member> {
    (0..count)
        .map(|number| Member {
            id: PeerId::from_bytes(*blake3::hash(format!("{seed} {number}").as_bytes()).as_bytes()),
            name: format!("p{number}").parse().unwrap(),
            address: ([127, 0, 0, 1], 7001).into(),
            incarnation: 1,
            shared_files: 0,
            room_bytes: 0,
            summary: crate::protocol::roster::Stamp::default(),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn links_are_symmetric_few_and_connect_everyone(count in 0..160usize, seed: u8) {
        let members = members(count, seed);
        let all: BTreeMap<PeerId, Vec<PeerId>> = all_neighbors(&members).into_iter().collect();
        prop_assert_eq!(all.len(), count);
        let degree = if count > 100 { 6 } else { 4 };
        for (id, found) in &all {
            prop_assert!(found.len() <= degree && !found.contains(id));
            prop_assert!(found.len() >= 2.min(count - 1));
            for other in found {
                prop_assert!(all[other].contains(id));
            }
        }
        let mut reached = BTreeSet::new();
        let mut next: Vec<PeerId> = members.first().map(|member| member.id).into_iter().collect();
        while let Some(id) = next.pop() {
            if reached.insert(id) {
                next.extend(&all[&id]);
            }
        }
        prop_assert_eq!(reached.len(), count);
    }

    #[test]
    fn everyone_computes_the_same_in_any_order(count in 1..40usize, seed: u8) {
        let mut members = members(count, seed);
        let all = all_neighbors(&members);
        members.reverse();
        for (id, found) in all {
            prop_assert_eq!(neighbors(&members, &id), found);
        }
    }
}

#[test]
fn a_stranger_and_a_lone_peer_have_no_neighbors() {
    let members = members(5, 0);
    assert!(neighbors(&members[..4], &members[4].id).is_empty());
    assert!(neighbors(&members[..1], &members[0].id).is_empty());
    assert!(neighbors(&[], &members[0].id).is_empty());
}
