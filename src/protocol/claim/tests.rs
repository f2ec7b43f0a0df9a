use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};

use super::*;
use crate::protocol::{
    id::PeerName,
    id::ZoneId,
    roster::{Member, Stamp},
};

fn id(first: u8) -> PeerId {
    let mut bytes = [0; 32];
    bytes[0] = first;
    PeerId::from_bytes(bytes)
}

fn roster(ids: impl IntoIterator<Item = PeerId>) -> Roster {
    let members = ids.into_iter().map(|id| Member {
        id,
        name: PeerName::from_any("peer"),
        address: ([127, 0, 0, 1], 7001).into(),
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    });
    Roster::new(ZoneId::new(1).expect("not 0"), 1, members.collect())
}

fn random_ids(seed: u64, count: usize) -> Vec<PeerId> {
    let mut rng = SmallRng::seed_from_u64(seed);
    (0..count).map(|_| PeerId::random(&mut rng)).collect()
}

#[test]
fn an_interval_goes_round_the_ring() {
    let roster = roster([1, 2, 3, 4].map(id));
    let of = |me: u8, before: u8| interval(&roster, id(me), Claim { before: id(before) });
    assert_eq!(of(1, 4), [id(2), id(3)]);
    assert_eq!(of(3, 2), [id(4), id(1)]);
    assert_eq!(of(2, 2), [id(3), id(4), id(1)]);
    assert_eq!(of(2, 3), []);
    assert_eq!(of(4, 1), []);
    // Neither the receiver nor the end need be in the roster.
    assert_eq!(of(9, 9), [id(1), id(2), id(3), id(4)]);
    assert_eq!(of(9, 3), [id(1), id(2)]);
    assert_eq!(of(0, 9), [id(1), id(2), id(3), id(4)]);
    assert_eq!(of(9, 0), []);
}

#[test]
fn a_zone_of_one_or_two_is_split_into_what_is_there() {
    let me = id(5);
    assert!(all_parts(&roster([me]), me, Claim { before: me }).is_empty());
    assert!(all_parts(&roster([]), me, Claim { before: me }).is_empty());
    let parts = all_parts(&roster([me, id(7)]), me, Claim { before: me });
    assert_eq!(
        parts,
        [Part { members: vec![id(7)], claim: Some(Claim { before: me }), reach: Reach::Inside }]
    );
}

/// Everyone at once.
fn all_parts(roster: &Roster, me: PeerId, claim: Claim) -> Vec<Part> {
    let mut split = split(roster, me, claim, &Everyone, false);
    assert!(split.waves.len() <= 1 && split.ruled_out.is_empty());
    split.waves.pop().unwrap_or_default()
}

/// Rules out these.
#[derive(Debug)]
struct These(BTreeSet<PeerId>);

impl RulesOut for These {
    fn rules_out(&self, member: &Member) -> bool {
        self.0.contains(&member.id)
    }
}

/// Rules out these, and knows it better than whoever is asked.
#[derive(Debug)]
struct KnowsBest(These);

impl RulesOut for KnowsBest {
    fn rules_out(&self, member: &Member) -> bool {
        self.0.rules_out(member)
    }

    fn knows_best(&self) -> bool {
        true
    }
}

/// Follows a claim down to its leaves with some peers dead, as the relays do: the first live member of a part answers
/// for the others. Gives who answered, in order, the messages and the hops.
fn follow(
    roster: &Roster,
    me: PeerId,
    claim: Claim,
    dead: &BTreeSet<PeerId>,
    answered: &mut Vec<PeerId>,
) -> (usize, usize) {
    answered.push(me);
    let (mut messages, mut hops) = (0, 0);
    for part in all_parts(roster, me, claim) {
        for member in part.members {
            messages += 1;
            if !dead.contains(&member) {
                let (below, depth) = follow(roster, member, part.claim.expect("claimed"), dead, answered);
                messages += below;
                hops = hops.max(depth + 1);
                break;
            }
        }
    }
    (messages, hops)
}

proptest! {
    #[test]
    fn nobody_is_asked_who_is_ruled_out_and_everyone_else_is_in_one_wave(
        seed: u64, count in 1usize..300, out_percent in 0usize..=100, is_widening: bool,
    ) {
        let mut ids = random_ids(seed, count);
        let roster = roster(ids.clone());
        let me = ids.remove(0);
        ids.shuffle(&mut SmallRng::seed_from_u64(seed));
        let out: BTreeSet<PeerId> = ids[..ids.len() * out_percent / 100].iter().copied().collect();
        let claim = Claim { before: me };
        let split = split(&roster, me, claim, &These(out.clone()), is_widening);
        prop_assert_eq!(split.ruled_out.iter().copied().collect::<BTreeSet<_>>(), out.clone());
        let mut size = FIRST_WAVE;
        let mut asked = Vec::new();
        for (at, wave) in split.waves.iter().enumerate() {
            let members: Vec<PeerId> = wave.iter().flat_map(|part| part.members.clone()).collect();
            prop_assert!(!members.is_empty() && wave.len() <= part_count(count));
            if is_widening && at + 1 < split.waves.len() {
                prop_assert_eq!(members.len(), size);
            }
            size *= 2;
            asked.extend(members);
        }
        prop_assert!(is_widening || split.waves.len() <= 1);
        let expected: Vec<PeerId> =
            interval(&roster, me, claim).into_iter().filter(|id| !out.contains(id)).collect();
        prop_assert_eq!(&asked, &expected);
        // Each claim holds the others of its part, those that are ruled out in between, and nobody of another part.
        for part in split.waves.iter().flatten() {
            for (at, member) in part.members.iter().enumerate() {
                let mut rest = interval(&roster, *member, part.claim.expect("claimed"));
                rest.retain(|id| !out.contains(id));
                prop_assert_eq!(&rest[..], &part.members[at + 1..]);
            }
        }
    }

    #[test]
    fn nobody_is_given_those_whom_a_better_rule_rules_out(
        seed: u64, count in 1usize..200, out_percent in 0usize..=100, is_widening: bool,
    ) {
        let mut ids = random_ids(seed, count);
        let roster = roster(ids.clone());
        let me = ids.remove(0);
        ids.shuffle(&mut SmallRng::seed_from_u64(seed));
        let out: BTreeSet<PeerId> = ids[..ids.len() * out_percent / 100].iter().copied().collect();
        let rule = These(out.clone());
        let usual = split(&roster, me, Claim { before: me }, &rule, is_widening);
        let better = split(&roster, me, Claim { before: me }, &KnowsBest(rule), is_widening);
        prop_assert_eq!(&better.ruled_out, &usual.ruled_out);
        let asked = |wave: &Vec<Part>| wave.iter().flat_map(|part| part.members.clone()).collect();
        let waves = |split: &Split| split.waves.iter().map(asked).collect::<Vec<Vec<PeerId>>>();
        prop_assert_eq!(waves(&better), waves(&usual));
        if ids.len() - out.len() > MAX_PARTS {
            return Ok(());
        }
        for part in better.waves.iter().flatten() {
            prop_assert_eq!(part.members.len(), 1);
            prop_assert_eq!(interval(&roster, part.members[0], part.claim.expect("claimed")), []);
        }
    }

    #[test]
    fn the_parts_are_the_interval_and_the_first_of_each_claims_the_others(
        seed: u64, count in 1usize..300, me in 0usize..300, before in 0usize..300,
    ) {
        let ids = random_ids(seed, count);
        let roster = roster(ids.clone());
        let (me, claim) = (ids[me % count], Claim { before: ids[before % count] });
        let whole = interval(&roster, me, claim);
        let parts = all_parts(&roster, me, claim);
        prop_assert!(parts.len() <= part_count(count));
        prop_assert!(parts.iter().all(|part| !part.members.is_empty()));
        let joined: Vec<PeerId> = parts.iter().flat_map(|part| part.members.clone()).collect();
        prop_assert_eq!(&joined, &whole);
        for part in &parts {
            for (at, member) in part.members.iter().enumerate() {
                let rest = interval(&roster, *member, part.claim.expect("claimed"));
                prop_assert_eq!(&rest[..], &part.members[at + 1..]);
            }
        }
    }

    #[test]
    fn every_live_member_is_reached_exactly_once_and_every_dead_one_is_tried_once(
        seed: u64, count in 1usize..400, dead_percent in 0usize..=30,
    ) {
        let mut ids = random_ids(seed, count);
        let roster = roster(ids.clone());
        let me = ids.remove(0);
        ids.shuffle(&mut SmallRng::seed_from_u64(seed));
        let (dead, live) = ids.split_at(ids.len() * dead_percent / 100);
        let mut answered = Vec::new();
        let (messages, hops) =
            follow(&roster, me, Claim { before: me }, &dead.iter().copied().collect(), &mut answered);
        prop_assert_eq!(messages, count - 1);
        prop_assert!(hops <= 2, "{} hops", hops);
        let reached: BTreeSet<PeerId> = answered.iter().copied().collect();
        prop_assert_eq!(reached.len(), answered.len());
        prop_assert_eq!(reached, live.iter().copied().chain([me]).collect::<BTreeSet<_>>());
    }
}
