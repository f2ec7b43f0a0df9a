//! Whole zones under dead, silent, slow and stale peers, cuts and full query caches: what the rules of search promise,
//! seen at the origin. Each failure names its seed.

#[path = "support/zone.rs"]
mod zone;

use std::{collections::BTreeSet, time::Duration};

use floodplain::protocol::flood::Mode;
use zone::{Outcome, Setup, Zone};

fn run(setup: &Setup) -> Zone {
    let zone = Zone::run(setup);
    for (query, outcome) in zone.outcomes.iter().enumerate() {
        let seed = format!("seed {}, query {query}: {setup:?}", setup.seed);
        let Some(report) = &outcome.report else {
            assert_eq!(outcome.messages, 0, "a refused query went out, {seed}");
            continue;
        };
        assert!(outcome.took <= Duration::from_millis(3001), "{:?} over its deadline, {seed}", outcome.took);
        let found: BTreeSet<u64> = outcome.hits.keys().map(|node| zone.short(*node)).collect();
        assert!(report.answered.is_subset(&found), "answered without its hits, {seed}");
        assert!(report.answered.is_disjoint(&report.unreachable), "{seed}");
        for (node, times) in &outcome.searches {
            let claimed = outcome.claimed_copies.get(node).copied().unwrap_or(0);
            // Once for each claim, since a part is given out again when its hits may be lost; once for all classic copies.
            let most = if setup.stale > 0.0 { claimed + 1 } else { claimed.max(1) };
            assert!(*times <= most, "peer {node} searched {times} times, {seed}");
        }
    }
    zone
}

/// Every live peer that was not cut off answered with its hits.
fn assert_whole(zone: &Zone, setup: &Setup) {
    for (query, outcome) in zone.outcomes.iter().enumerate() {
        let report = outcome.report.as_ref().expect("the origin has room");
        for node in zone.live.iter().filter(|node| !outcome.cut.contains(node)) {
            assert!(
                report.answered.contains(&zone.short(*node)),
                "peer {node} is missing from query {query}, seed {}: {setup:?}",
                setup.seed
            );
        }
    }
}

fn assert_each_searched_once(zone: &Zone, setup: &Setup) {
    for outcome in &zone.outcomes {
        assert!(outcome.searches.values().all(|times| *times == 1), "seed {}: {setup:?}", setup.seed);
    }
}

#[test]
fn a_claimed_flood_reaches_every_live_peer_once_for_one_message_each() {
    for (dead, most) in [(0.0, 1.02), (0.1, 1.15), (0.3, 1.5)] {
        for peers in [24, 100] {
            for seed in 0..3 {
                let setup = Setup { dead, ..Setup::new(seed, peers, Mode::Claimed) };
                let zone = run(&setup);
                assert_whole(&zone, &setup);
                assert_each_searched_once(&zone, &setup);
                for outcome in &zone.outcomes {
                    let cost = outcome.cost(&zone);
                    assert!(cost <= most, "{cost} messages a peer, seed {seed}: {setup:?}");
                    let hops = outcome.hits.values().max().copied();
                    assert!(hops <= Some(2), "{hops:?} hops, seed {seed}: {setup:?}");
                    let report = outcome.report.as_ref().expect("the origin has room");
                    assert_eq!(report.unreachable.len(), peers - zone.live.len(), "seed {seed}: {setup:?}");
                    assert_eq!(report.messages as usize, outcome.messages, "seed {seed}: {setup:?}");
                    assert!(!report.truncated, "seed {seed}: {setup:?}");
                }
            }
        }
    }
}

#[test]
fn small_zones_are_reached_whole() {
    for peers in 1..=9 {
        for seed in 0..4 {
            for mode in [Mode::Claimed, Mode::Classic] {
                let setup = Setup::new(seed, peers, mode);
                let zone = run(&setup);
                assert_whole(&zone, &setup);
                assert_each_searched_once(&zone, &setup);
            }
        }
    }
}

#[test]
fn a_classic_flood_reaches_every_peer_when_none_is_dead() {
    for peers in [24, 100] {
        for seed in 0..3 {
            let setup = Setup::new(seed, peers, Mode::Classic);
            let zone = run(&setup);
            assert_whole(&zone, &setup);
            assert_each_searched_once(&zone, &setup);
            let mean = mean(&zone, Outcome::cost);
            assert!(mean <= 4.5, "{mean} messages a peer, seed {seed}");
        }
    }
}

#[test]
fn silent_peers_cost_nobody_else_an_answer_and_end_long_before_the_deadline() {
    for seed in 0..3 {
        let setup = Setup { dead: 0.3, silent: 1.0, ..Setup::new(seed, 60, Mode::Claimed) };
        let zone = run(&setup);
        assert_whole(&zone, &setup);
        for outcome in &zone.outcomes {
            assert!(outcome.took < Duration::from_millis(2500), "{:?}, seed {seed}", outcome.took);
        }
    }
}

#[test]
fn slow_peers_are_waited_for_and_the_others_are_not_held_up() {
    for seed in 0..3 {
        let setup = Setup { slow: 0.1, ..Setup::new(seed, 60, Mode::Claimed) };
        let zone = run(&setup);
        assert_whole(&zone, &setup);
    }
}

#[test]
fn a_stream_that_breaks_loses_its_peer_alone() {
    for cuts in [0.02, 0.2] {
        for seed in 0..5 {
            let setup = Setup { cuts, dead: 0.1, ..Setup::new(seed, 60, Mode::Claimed) };
            let zone = run(&setup);
            assert!(zone.outcomes.iter().any(|outcome| !outcome.cut.is_empty()), "no stream was cut");
            assert_whole(&zone, &setup);
        }
    }
}

#[test]
fn peers_that_answer_for_themselves_alone_cost_nobody_else_an_answer() {
    for dead in [0.0, 0.1] {
        for seed in 0..3 {
            let setup = Setup { careless: 0.3, dead, ..Setup::new(seed, 60, Mode::Claimed) };
            let zone = run(&setup);
            assert_whole(&zone, &setup);
            assert_each_searched_once(&zone, &setup);
            let cost = mean(&zone, Outcome::cost);
            assert!(cost <= 1.15, "{cost} messages a peer, seed {seed}");
        }
    }
}

#[test]
fn stale_rosters_fall_back_to_classic_flood_without_losing_anyone() {
    for stale in [0.01, 0.05] {
        for seed in 0..5 {
            let setup = Setup { stale, ..Setup::new(seed, 100, Mode::Claimed) };
            let zone = run(&setup);
            assert_whole(&zone, &setup);
        }
    }
}

#[test]
fn a_full_query_cache_refuses_and_starts_no_storm() {
    for mode in [Mode::Claimed, Mode::Classic] {
        let setup =
            Setup { cache: 60, queries: 600, pause: Duration::from_micros(300), ..Setup::new(3, 60, mode) };
        let zone = run(&setup);
        let refused: usize = zone.outcomes.iter().map(|outcome| outcome.refused).sum();
        assert!(refused > 0, "the caches were never full");
        // Without a cache 600 queries make millions: each copy of a query would be forwarded 16 times over.
        let mut sent = 0;
        for outcome in &zone.outcomes {
            sent += outcome.messages;
            assert!(outcome.messages <= 8 * 60, "{} messages, {mode:?}", outcome.messages);
        }
        assert!(sent < 600 * 5 * 60, "{sent} messages, {mode:?}");
        let served = zone.outcomes.iter().filter(|outcome| outcome.report.is_some()).count();
        assert!(served >= 30, "only {served} queries were taken by their own peers, {mode:?}");
    }
}

#[test]
fn everything_at_once_still_ends_in_time_and_never_counts_a_lost_answer() {
    for seed in 0..4 {
        for mode in [Mode::Claimed, Mode::Classic] {
            let setup = Setup {
                dead: 0.2,
                silent: 0.3,
                stale: 0.05,
                cuts: 0.02,
                slow: 0.05,
                cache: 200,
                queries: 150,
                ..Setup::new(seed, 50, mode)
            };
            run(&setup);
        }
    }
}

#[test]
fn one_seed_gives_one_run() {
    let setup = Setup {
        dead: 0.2,
        silent: 0.5,
        stale: 0.05,
        cuts: 0.05,
        slow: 0.1,
        ..Setup::new(11, 40, Mode::Claimed)
    };
    let (first, second) = (Zone::run(&setup).outcomes, Zone::run(&setup).outcomes);
    assert_eq!(first, second);
    let other = Zone::run(&Setup { seed: 12, ..setup }).outcomes;
    assert_ne!(first, other, "the seed has no effect");
}

#[test]
fn queries_of_everyone_at_the_same_moment_cost_each_what_it_costs_alone() {
    for seed in 0..2 {
        let setup = Setup { queries: 200, pause: Duration::ZERO, ..Setup::new(seed, 100, Mode::Claimed) };
        let zone = run(&setup);
        assert_whole(&zone, &setup);
        assert_each_searched_once(&zone, &setup);
        assert!(zone.outcomes.iter().all(|outcome| outcome.messages == 99), "seed {seed}");
    }
}

/// Round trips with this median, each peer asking three times; the cost of the later half.
fn cost_at(round_trip: u64, spread: f64, is_measured: bool, seed: u64) -> f64 {
    let (queries, pause) = (3 * 60, Duration::from_millis(3));
    let delay = Duration::from_micros(round_trip * 500);
    let setup = Setup { delay, spread, is_measured, queries, pause, ..Setup::new(seed, 60, Mode::Claimed) };
    let zone = run(&setup);
    mean_of(&zone.outcomes[queries / 2..], |outcome| outcome.cost(&zone))
}

#[test]
fn a_slow_network_is_not_hedged_for_being_slow() {
    for (seed, (round_trip, spread)) in (0..).zip([(1, 0.5), (80, 0.2), (80, 0.5), (160, 0.2)]) {
        let cost = cost_at(round_trip, spread, true, seed);
        assert!(cost <= 1.02, "{cost} messages a peer at {round_trip} ms, spread {spread}, seed {seed}");
    }
    let fixed = cost_at(80, 0.2, false, 0);
    assert!(fixed > 2.0, "{fixed}: the rule has no effect");
}

#[test]
fn peers_of_a_fast_network_that_fall_silent_are_passed_by_sooner_for_no_message_more() {
    let (queries, pause) = (240, Duration::from_millis(3));
    let run = |is_measured| {
        let setup = Setup {
            delay: Duration::from_micros(500),
            dead: 0.1,
            silence_after: Some(pause * 120),
            is_measured,
            queries,
            pause,
            ..Setup::new(5, 60, Mode::Claimed)
        };
        let zone = run(&setup);
        assert_whole(&zone, &setup);
        let after = &zone.outcomes[130..];
        let sum: Duration = after.iter().map(|outcome| outcome.last_hit).sum();
        (sum / 110, after.iter().map(|outcome| outcome.messages).sum::<usize>())
    };
    let ((measured, messages), (fixed, fixed_messages)) = (run(true), run(false));
    assert!(measured < fixed.mul_f64(0.6), "{measured:?} against {fixed:?}");
    assert!(messages <= fixed_messages + fixed_messages / 50, "{messages} against {fixed_messages}");
    println!("{measured:?} against {fixed:?}, {messages} against {fixed_messages} messages");
}

fn mean(zone: &Zone, of: impl Fn(&Outcome, &Zone) -> f64) -> f64 {
    mean_of(&zone.outcomes, |outcome| of(outcome, zone))
}

fn mean_of(outcomes: &[Outcome], of: impl Fn(&Outcome) -> f64) -> f64 {
    let sum: f64 = outcomes.iter().map(of).sum();
    sum / outcomes.iter().fold(0.0, |count, _| count + 1.0)
}
