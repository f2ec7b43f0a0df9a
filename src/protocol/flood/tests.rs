use std::{
    collections::{BTreeSet, VecDeque},
    num::NonZeroUsize,
    time::Duration,
};

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::protocol::{
    claim::Everyone,
    id::{PeerName, ZoneId},
    roster::{Member, Stamp},
};

pub(super) const REVISION: u64 = 3;
pub(super) const WAIT: Duration = Duration::from_secs(3);

pub(super) fn peer(number: usize) -> PeerId {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&u64::try_from(number).expect("fits").to_be_bytes());
    PeerId::from_bytes(bytes)
}

pub(super) fn query_id(number: u64) -> QueryId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    QueryId::from_bytes(bytes)
}

pub(super) fn roster(count: usize) -> Roster {
    let member = |number| Member {
        id: peer(number),
        name: PeerName::from_any("peer"),
        address: ([127, 0, 0, 1], 7001).into(),
        incarnation: 1,
        shared_files: 0,
        room_bytes: 0,
        summary: Stamp::default(),
    };
    Roster::new(ZoneId::new(1).expect("not 0"), REVISION, (0..count).map(member).collect())
}

pub(super) fn cache(capacity: usize) -> QueryCache {
    QueryCache::new(NonZeroUsize::new(capacity).expect("room"))
}

pub(super) fn classic(id: u64, ttl: u8, from: usize, now: Instant) -> Query {
    Query {
        id: query_id(id),
        ttl,
        hops: 1,
        deadline: now + WAIT,
        roster_revision: REVISION,
        claim: None,
        reach: Reach::Inside,
        is_widening: false,
        from: peer(from),
    }
}

fn claimed(id: u64, from: usize, now: Instant) -> Query {
    Query { claim: Some(Claim { before: peer(0) }), ..classic(id, 15, from, now) }
}

/// Whether it was searched, and to how many it goes; `None` for a duplicate.
pub(super) fn served(verdict: &Verdict) -> Option<(bool, usize)> {
    match verdict {
        Verdict::Serve { is_searched_here, plan } => {
            Some((*is_searched_here, plan.waves.iter().flatten().count()))
        }
        Verdict::Duplicate => None,
        Verdict::Refuse(refusal) => panic!("refused: {refusal}"),
    }
}

#[test]
fn a_classic_query_is_searched_once_and_forwarded_again_only_with_a_higher_ttl() {
    let (roster, now, mut cache) = (roster(5), Instant::now(), cache(10));
    let neighbors = [1, 2, 3].map(peer);
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &neighbors,
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let mut ask = |ttl, from| served(&on_query(&mut cache, &classic(1, ttl, from, now), &view, now));
    assert_eq!(ask(3, 1), Some((true, 2)));
    assert_eq!(ask(3, 2), None);
    assert_eq!(ask(2, 2), None);
    assert_eq!(ask(5, 2), Some((false, 2)));
    assert_eq!(ask(4, 3), None);
    assert_eq!(ask(0, 3), None);
}

#[test]
fn a_query_with_no_forwards_left_is_searched_and_goes_nowhere() {
    let (roster, now, mut cache) = (roster(5), Instant::now(), cache(10));
    let neighbors = [1, 2].map(peer);
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &neighbors,
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    assert_eq!(served(&on_query(&mut cache, &classic(1, 0, 1, now), &view, now)), Some((true, 0)));
    let leaf = Query { ttl: 0, ..claimed(2, 1, now) };
    assert_eq!(served(&on_query(&mut cache, &leaf, &view, now)), Some((true, 0)));
    // A copy that may go on does, though the first could not.
    assert_eq!(served(&on_query(&mut cache, &classic(1, 1, 1, now), &view, now)), Some((false, 1)));
}

#[test]
fn a_claim_is_served_again_because_its_first_answer_may_be_lost() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(10));
    let view = View {
        me: peer(4),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let first = served(&on_query(&mut cache, &claimed(1, 0, now), &view, now));
    assert_eq!(first, Some((true, 3)));
    assert_eq!(served(&on_query(&mut cache, &claimed(1, 2, now), &view, now)), first);
    assert_eq!(cache.len(), 1);
}

#[test]
fn one_claim_sent_again_and_again_is_refused() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(10));
    let view = View {
        me: peer(4),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    for _ in 0..MAX_SERVES {
        assert!(served(&on_query(&mut cache, &claimed(1, 0, now), &view, now)).is_some());
    }
    assert_eq!(on_query(&mut cache, &claimed(1, 0, now), &view, now), Verdict::Refuse(Refusal::TooOften));
}

#[test]
fn a_fallback_flood_passes_peers_that_know_the_query_from_a_claim() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(10));
    let neighbors = [1, 2].map(peer);
    let view = View {
        me: peer(4),
        roster: &roster,
        neighbors: &neighbors,
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    on_query(&mut cache, &claimed(1, 0, now), &view, now);
    // Its hits went along the claim, so it is not reported here.
    assert_eq!(served(&on_query(&mut cache, &classic(1, 2, 1, now), &view, now)), Some((false, 1)));
    assert_eq!(served(&on_query(&mut cache, &classic(1, 2, 2, now), &view, now)), None);
}

#[test]
fn a_claim_over_an_older_revision_becomes_a_classic_flood() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(10));
    let neighbors = [1, 2, 3].map(peer);
    let view = View {
        me: peer(4),
        roster: &roster,
        neighbors: &neighbors,
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let stale = Query { roster_revision: REVISION - 1, ..claimed(1, 1, now) };
    let Verdict::Serve { is_searched_here: true, plan } = on_query(&mut cache, &stale, &view, now) else {
        panic!("it is new");
    };
    assert_eq!((plan.ttl, plan.hops), (14, 2));
    assert_eq!(
        plan.waves.concat(),
        [2, 3].map(|number| Part { members: vec![peer(number)], claim: None, reach: Reach::Inside })
    );
    // Given out again: searched again, but flooded once.
    assert_eq!(served(&on_query(&mut cache, &stale, &view, now)), Some((true, 0)));
}

#[test]
fn a_claim_over_a_newer_revision_is_answered_for_oneself_alone() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(10));
    let neighbors = [1, 2, 3].map(peer);
    let view = View {
        me: peer(4),
        roster: &roster,
        neighbors: &neighbors,
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let newer = Query { roster_revision: REVISION + 1, ..claimed(1, 1, now) };
    assert_eq!(served(&on_query(&mut cache, &newer, &view, now)), Some((true, 0)));
    assert_eq!(served(&on_query(&mut cache, &newer, &view, now)), Some((true, 0)), "given out again");
    // Nothing went to its neighbors yet.
    assert_eq!(served(&on_query(&mut cache, &classic(1, 2, 1, now), &view, now)), Some((false, 2)));
    // After a restart of the registry a newer roster need not be a better one.
    let after_restart = Query { roster_revision: REVISION + (1 << 32), ..claimed(2, 1, now) };
    assert_eq!(served(&on_query(&mut cache, &after_restart, &view, now)), Some((true, 2)));
}

#[test]
fn queries_out_of_bounds_are_refused_and_not_remembered() {
    let (roster, now, mut cache) = (roster(3), Instant::now(), cache(10));
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let far = Query { hops: 20, ..classic(1, 13, 1, now) };
    assert_eq!(on_query(&mut cache, &far, &view, now), Verdict::Refuse(Refusal::TooFar));
    let most = Query { hops: u8::MAX, ..classic(1, u8::MAX, 1, now) };
    assert_eq!(on_query(&mut cache, &most, &view, now), Verdict::Refuse(Refusal::TooFar));
    let late = Query { deadline: now, ..classic(1, 3, 1, now) };
    assert_eq!(on_query(&mut cache, &late, &view, now), Verdict::Refuse(Refusal::Expired));
    assert!(cache.is_empty());
}

#[test]
fn a_ttl_means_classic_flood_and_so_does_a_missing_roster() {
    let roster = roster(3);
    assert_eq!(choose_mode(None, Some(&roster)), Mode::Claimed);
    assert_eq!(choose_mode(Some(3), Some(&roster)), Mode::Classic);
    assert_eq!(choose_mode(None, None), Mode::Classic);
}

#[test]
fn an_id_is_forgotten_after_its_time_though_an_older_one_lives_longer() {
    let (roster, now, mut cache) = (roster(3), Instant::now(), cache(4));
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let long = Query { deadline: now + Duration::from_secs(60), ..classic(1, 1, 1, now) };
    assert!(served(&on_query(&mut cache, &long, &view, now)).is_some());
    assert!(served(&on_query(&mut cache, &classic(2, 1, 2, now), &view, now)).is_some());
    let later = now + WAIT + REMEMBERED_AFTER_END;
    assert!(served(&on_query(&mut cache, &classic(3, 1, 2, later), &view, later)).is_some());
    assert!(cache.contains(&query_id(1)) && cache.contains(&query_id(3)));
    assert!(!cache.contains(&query_id(2)));
}

#[test]
fn an_id_takes_no_room_for_long_after_its_query_has_ended_however_late_its_deadline() {
    let (roster, now, mut cache) = (roster(3), Instant::now(), cache(12));
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let long = |number, from, at| Query { deadline: at + 20 * WAIT, ..classic(number, 1, from, at) };
    // More of them than there is room for, one after another: of another peer, and own ones.
    for (number, from) in (0..400).map(|number| (number, usize::try_from(number % 2).expect("fits"))) {
        let at = now + WAIT * u32::try_from(number).expect("fits");
        assert!(served(&on_query(&mut cache, &long(number, from, at), &view, at)).is_some(), "{number}");
        cache.on_end(&query_id(number), at);
        let copy = on_query(&mut cache, &long(number, 2, at), &view, at + REMEMBERED_AFTER_END / 2);
        assert_eq!(copy, Verdict::Duplicate, "copies that are on their way are known");
    }
}

#[test]
fn an_id_stays_while_its_query_runs_and_while_copies_of_it_come() {
    let (roster, now, mut cache) = (roster(3), Instant::now(), cache(20));
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let long = Query { deadline: now + 20 * WAIT, ..claimed(1, 1, now) };
    let second = Duration::from_secs(1);
    // Whatever comes makes the cache forget what is over.
    let is_known = |cache: &mut QueryCache, number, at| {
        on_query(cache, &classic(number, 1, 2, at), &view, at);
        cache.contains(&long.id)
    };
    // Given out twice; one of the two has ended.
    assert!(served(&on_query(&mut cache, &long, &view, now)).is_some());
    assert!(served(&on_query(&mut cache, &long, &view, now)).is_some());
    cache.on_end(&long.id, now);
    let later = now + 2 * REMEMBERED_AFTER_END;
    assert!(is_known(&mut cache, 2, later), "it runs");
    cache.on_end(&long.id, later);
    assert!(is_known(&mut cache, 3, later + 4 * second));
    let copy = Query { claim: None, ttl: 0, ..long };
    assert_eq!(on_query(&mut cache, &copy, &view, later + 4 * second), Verdict::Duplicate);
    assert!(is_known(&mut cache, 4, later + 8 * second), "a copy came meanwhile");
    assert!(!is_known(&mut cache, 5, later + 10 * second));
}

#[test]
fn a_sender_that_fills_what_it_can_leaves_others_more_than_their_share() {
    let (roster, now, mut cache) = (roster(4), Instant::now(), cache(10_000));
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let mut numbers = 0..;
    let mut taken = |from, hops| {
        let mut is_taken = |number| {
            let query = Query { hops, ..classic(number, 1, from, now) };
            matches!(on_query(&mut cache, &query, &view, now), Verdict::Serve { .. })
        };
        numbers.by_ref().take_while(|number| is_taken(*number)).count()
    };
    // A storm that the first peer gives on, and then what it asks itself, and what the next one asks.
    assert_eq!((taken(1, 2), taken(1, 1), taken(2, 1)), (1667, 833, 417));
}

#[test]
fn a_cache_full_of_live_ids_refuses_and_forgets_none() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(6));
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    // More senders than room: each has a share of one, and there are not enough of them.
    for from in 1..=4 {
        let id = u64::try_from(from).expect("fits");
        assert!(served(&on_query(&mut cache, &classic(id, 1, from, now), &view, now)).is_some());
    }
    let fifth = on_query(&mut cache, &classic(5, 1, 5, now), &view, now);
    assert_eq!(fifth, Verdict::Refuse(Refusal::NoRoom));
    for id in 1..=4 {
        assert_eq!(on_query(&mut cache, &classic(id, 1, 6, now), &view, now), Verdict::Duplicate);
    }
}

#[test]
fn own_queries_keep_a_third_of_the_room_and_take_no_more() {
    let (roster, now, mut cache) = (roster(9), Instant::now(), cache(90));
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        zones: &Everyone,
        rule: &Everyone,
    };
    let mut numbers = 0..;
    let mut taken = |from| {
        let mut is_taken = |number| {
            matches!(on_query(&mut cache, &classic(number, 1, from, now), &view, now), Verdict::Serve { .. })
        };
        numbers.by_ref().take_while(|number| is_taken(*number)).count()
    };
    let others: usize = (1..100).map(&mut taken).sum();
    assert!(others >= 30, "{others}");
    assert_eq!((taken(0), taken(0)), (30, 0));
}

#[test]
fn strangers_share_one_place_whatever_they_call_themselves() {
    let (roster, now, mut cache) = (roster(4), Instant::now(), cache(120));
    let view = View {
        me: peer(0),
        roster: &roster,
        neighbors: &[],
        gateways: &Gateways::default(),
        rule: &Everyone,
        zones: &Everyone,
    };
    let refused = (0..200).find(|number| {
        let stranger = classic(*number, 1, 1000 + usize::try_from(*number).expect("fits"), now);
        on_query(&mut cache, &stranger, &view, now) == Verdict::Refuse(Refusal::NoShare)
    });
    assert_eq!(refused, Some(20));
    assert!(served(&on_query(&mut cache, &classic(1000, 1, 1, now), &view, now)).is_some());
}

/// A flood over any graph, the copies delivered in any order. Gives who searched, and the messages.
fn flood(graph: &[Vec<usize>], ttl: u8, mut pick: impl FnMut(usize) -> usize) -> (BTreeSet<usize>, usize) {
    let now = Instant::now();
    let roster = roster(graph.len());
    let mut caches: Vec<QueryCache> = graph.iter().map(|_| cache(4)).collect();
    let neighbors: Vec<Vec<PeerId>> =
        graph.iter().map(|others| others.iter().map(|other| peer(*other)).collect()).collect();
    let (mut searched, mut messages) = (BTreeSet::new(), 0);
    let mut copies = VecDeque::from([(0, Query { hops: 0, ..classic(1, ttl, 0, now) })]);
    while !copies.is_empty() {
        let (at, query) = copies.remove(pick(copies.len())).expect("one of those there are");
        let view = View {
            me: peer(at),
            roster: &roster,
            neighbors: &neighbors[at],
            gateways: &Gateways::default(),
            rule: &Everyone,
            zones: &Everyone,
        };
        if let Verdict::Serve { is_searched_here, plan } = on_query(&mut caches[at], &query, &view, now) {
            assert!(!is_searched_here || searched.insert(at), "peer {at} searched twice");
            for part in plan.waves.concat() {
                messages += 1;
                let to = roster.position(&part.members[0]).expect("a member");
                copies.push_back((to, Query { ttl: plan.ttl, hops: plan.hops, from: peer(at), ..query }));
            }
        }
    }
    (searched, messages)
}

fn within(graph: &[Vec<usize>], ttl: u8) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([0]);
    for _ in 0..ttl {
        let next: Vec<usize> = reached.iter().flat_map(|at| graph[*at].iter().copied()).collect();
        reached.extend(next);
    }
    reached
}

prop_compose! {
    fn graph()(count in 1usize..24)(
        edges in proptest::collection::vec((0..count, 0..count), 0..48), count in Just(count),
    ) -> Vec<Vec<usize>> {
        let mut sets = vec![BTreeSet::new(); count];
        for (a, b) in edges.into_iter().filter(|(a, b)| a != b) {
            sets[a].insert(b);
            sets[b].insert(a);
        }
        sets.into_iter().map(|set| set.into_iter().collect()).collect()
    }
}

proptest! {
    #[test]
    fn a_classic_flood_reaches_exactly_what_lies_within_its_ttl(graph in graph(), ttl in 0u8..=16, seed: u64) {
        let degrees: usize = graph.iter().map(Vec::len).sum();
        // Links of one delay: the first copy is the nearest, and nothing is forwarded twice.
        let (searched, messages) = flood(&graph, ttl, |_| 0);
        prop_assert_eq!(&searched, &within(&graph, ttl));
        prop_assert!(messages <= degrees, "{} messages over {} ends of links", messages, degrees);
        // Any delays: a nearer copy that comes later goes on as far as it may.
        let mut rng = SmallRng::seed_from_u64(seed);
        let (searched, messages) = flood(&graph, ttl, |copies| rng.random_range(0..copies));
        prop_assert_eq!(&searched, &within(&graph, ttl));
        prop_assert!(messages <= degrees * usize::from(ttl));
    }

    #[test]
    fn the_cache_forgets_no_live_id_and_keeps_its_bound_and_each_senders_share(
        capacity in 40usize..120,
        sends in proptest::collection::vec((0usize..6, 0u64..3000, 1u64..20), 0..400),
    ) {
        let roster = roster(5);
        let view = View { me: peer(0), roster: &roster, neighbors: &[], gateways: &Gateways::default(), rule: &Everyone, zones: &Everyone };
        let mut cache = cache(capacity);
        let share = cache.share(13);
        let mut now = Instant::now();
        let mut live: Vec<(u64, usize, Instant)> = Vec::new();
        for (number, (from, pause, seconds)) in sends.into_iter().enumerate() {
            now += Duration::from_millis(pause / 20);
            live.retain(|(_, _, expires)| *expires > now);
            let number = u64::try_from(number).expect("fits");
            let deadline = now + Duration::from_secs(seconds);
            let verdict =
                on_query(&mut cache, &Query { deadline, ..classic(number, 1, from, now) }, &view, now);
            let held = live.iter().filter(|(_, sender, _)| *sender == from).count();
            match verdict {
                Verdict::Serve { .. } => live.push((number, from, deadline + REMEMBERED_AFTER_END)),
                // Expired ids may fill a share until the next sweep.
                Verdict::Refuse(_) => prop_assert!(held + cache.len() - live.len() >= share),
                Verdict::Duplicate => prop_assert!(false, "a new id was known"),
            }
            prop_assert!(cache.len() <= capacity);
            for (id, _, _) in &live {
                prop_assert!(cache.contains(&query_id(*id)));
            }
        }
    }

    #[test]
    fn what_a_sender_gives_on_leaves_its_own_queries_their_share(given_on in 100u64..300, capacity in 40usize..120) {
        let (roster, now) = (roster(5), Instant::now());
        let view = View { me: peer(0), roster: &roster, neighbors: &[], gateways: &Gateways::default(), rule: &Everyone, zones: &Everyone };
        let mut cache = cache(capacity);
        let mut is_served = |number, hops| {
            let query = Query { hops, ..classic(number, 1, 1, now) };
            matches!(on_query(&mut cache, &query, &view, now), Verdict::Serve { .. })
        };
        let given_on = (0..given_on).filter(|number| is_served(*number, 2)).count();
        prop_assert!(given_on < 100, "it was refused some");
        let share = QueryCache::new(NonZeroUsize::new(capacity).expect("not zero")).share(13);
        for number in 0..u64::try_from(share).expect("fits") {
            prop_assert!(is_served(1000 + number, 1));
        }
    }

    #[test]
    fn a_sender_within_its_share_is_never_refused(greedy in 100u64..300, capacity in 40usize..120) {
        let (roster, now) = (roster(5), Instant::now());
        let view = View { me: peer(0), roster: &roster, neighbors: &[], gateways: &Gateways::default(), rule: &Everyone, zones: &Everyone };
        let mut cache = cache(capacity);
        for number in 0..greedy {
            on_query(&mut cache, &classic(number, 1, 1, now), &view, now);
        }
        for from in [0, 2, 3, 4, 900] {
            for number in 0..cache.share(13) {
                let id = 1000 * u64::try_from(from + 1).expect("fits") + u64::try_from(number).expect("fits");
                let verdict = on_query(&mut cache, &classic(id, 1, from, now), &view, now);
                prop_assert!(served(&verdict).is_some());
            }
        }
    }
}
