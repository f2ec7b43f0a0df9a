//! Whole zones under dead, silent, slow and stale peers, cuts and full query caches: what the rules of search promise,
//! seen at the origin; and what a search costs where peers know each other's words. Each failure names its seed.

#[path = "support/sim.rs"]
mod sim;
#[path = "support/zone.rs"]
mod zone;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use floodplain::protocol::{flood::Mode, gateway::GATEWAYS_PER_ZONE, query, summary::Density};
use sim::{
    filter::Shape,
    large::{Errors, Large, Scale},
    random::Figures,
    random_graph::{self, Workload},
    team::{self, Team},
    world::{Kind, Profile, TEAM, World},
    zones::{Cost, Network, Way},
};
use zone::{Outcome, Rule, Setup, Zone};

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
fn stale_rosters_lose_nobody_and_cost_little_unless_the_origin_has_one() {
    for (stale, most) in [(0.01, 1.2), (0.05, 1.6), (0.3, 4.5)] {
        let mut costs = Vec::new();
        for seed in 0..5 {
            let setup = Setup { stale, queries: 50, ..Setup::new(seed, 100, Mode::Claimed) };
            let zone = run(&setup);
            assert_whole(&zone, &setup);
            costs.push(mean(&zone, Outcome::cost));
        }
        let cost = costs.iter().sum::<f64>() / 5.0;
        assert!(cost <= most, "{cost} messages a peer with {stale} stale");
    }
}

#[test]
fn whoever_is_in_the_roster_of_the_origin_is_found_whatever_the_others_know() {
    for (seed, number) in (0..200).zip(0_usize..) {
        let stale = [0.05, 0.3, 0.7][number % 3];
        let setup = Setup { stale, queries: 8, ..Setup::new(seed, 10 + number % 30, Mode::Claimed) };
        let zone = run(&setup);
        for outcome in &zone.outcomes {
            for node in zone.known_to(outcome.origin, &zone.live) {
                assert!(outcome.hits.contains_key(&node), "peer {node} is missing, seed {seed}: {setup:?}");
            }
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

#[test]
fn lost_packets_cost_time_and_repeats_and_hide_nobody() {
    for loss in [0.01, 0.05] {
        for seed in 0..3 {
            let setup = Setup { loss, queries: 20, ..Setup::new(seed, 60, Mode::Claimed) };
            let zone = run(&setup);
            for outcome in &zone.outcomes {
                let report = outcome.report.as_ref().expect("the origin has room");
                // Whoever lost three packets in a row was silent for longer than anyone waits.
                let heard = report.answered.len() + report.unreachable.len();
                assert_eq!(heard, 60, "someone is neither heard nor told of, seed {seed}, loss {loss}");
            }
            let recall = mean(&zone, Outcome::recall);
            assert!(recall >= 1.0 - loss / 20.0, "{recall} of the live peers, seed {seed}, loss {loss}");
            let mean = mean(&zone, Outcome::cost);
            assert!(mean > 1.0 && mean < 2.0, "{mean} messages a peer, seed {seed}");
        }
    }
}

/// A team whose peers have a tenth of the documents, for what would take long otherwise.
const SMALL: Profile = Profile { files_median: 50.0, words: 5_000, ..TEAM };

#[test]
fn the_answers_of_a_made_up_world_are_those_of_the_query_language() {
    let world = World::new(SMALL, 10, 1);
    for kind in Kind::ALL {
        for search in team::draw(&world, kind, 10, 2) {
            let words: Vec<&str> =
                search.asked.words.iter().map(|rank| world.vocabulary.word(*rank)).collect();
            let query = query::Query::parse(&words.join(" ")).expect("words are a query");
            for peer in 0..world.peers() {
                let hits = world.names(peer).filter(|name| {
                    let name: Vec<&str> = name.iter().map(|rank| world.vocabulary.word(*rank)).collect();
                    query::matches(&query, &name.join("-"), 1, SystemTime::UNIX_EPOCH, None)
                });
                let found = search.asked.files.get(&peer).map_or(0, Vec::len);
                assert_eq!(found, hits.count(), "{words:?} at peer {peer}");
            }
        }
    }
}

#[test]
fn the_simulated_filters_are_those_of_the_protocol() {
    let world = World::new(SMALL, 10, 1);
    let words = Shape::PROTOCOL.vocabulary(&world);
    let searches = team::draw(&world, Kind::Words(2), 50, 2);
    for peer in 0..world.peers() {
        let summary = world.summary(peer).expect("few words");
        let filter = Shape::PROTOCOL.filter(&words, world.names(peer));
        assert_eq!(filter.to_bytes(), summary.to_bytes());
        for search in &searches {
            let may_answer = filter.may_answer(&Shape::PROTOCOL.probe(&words, &search.asked.words));
            assert_eq!(may_answer, summary.may_answer(&search.asked.probe), "{:?}", search.asked.words);
        }
    }
}

#[test]
fn a_hundred_peers_who_know_each_others_words_are_asked_by_the_handful() {
    let world = World::new(TEAM, 100, 1);
    let team = Team::new(&world, 0..100);
    for (kind, most) in [(Kind::Words(2), 10.0), (Kind::Words(3), 5.0), (Kind::Miss, 6.0)] {
        // That nobody who has a hit is missed is asserted in there.
        let mean = Figures::of(team.messages(&team::draw(&world, kind, 150, 2), 3)).mean;
        assert!(mean <= most, "{mean} messages, {kind:?}");
    }
}

#[test]
fn a_search_that_wants_little_of_much_costs_little() {
    let world = World::new(TEAM, 50, 1);
    let team = Team::new(&world, 0..50);
    let searches = team::draw(&world, Kind::Words(1), 60, 2);
    let cost = |want| {
        let asks = searches.iter().map(|search| {
            team.ask(search.origin, &search.asked, Rule::Summary(search.asked.probe.clone()), want)
        });
        let outcomes = team.run(asks.collect(), 3);
        for (search, outcome) in searches.iter().zip(&outcomes) {
            let there: BTreeSet<u64> = search.asked.files.values().flatten().copied().collect();
            let least = there.len().min(want.unwrap_or(usize::MAX));
            assert_eq!(outcome.contents.len(), least, "of {} with want {want:?}", there.len());
            assert!(outcome.contents.is_subset(&there));
        }
        Figures::of(outcomes.iter().map(|outcome| f64::from(u32::try_from(outcome.messages).expect("few"))))
            .mean
    };
    let (one, ten, all) = (cost(Some(1)), cost(Some(10)), cost(None));
    assert!(one < 6.0 && one * 1.5 < ten && ten * 1.5 < all, "{one} for one, {ten} for ten, {all} for all");
}

#[test]
fn zones_without_such_a_pair_of_words_are_not_entered() {
    let world = World::new(SMALL, 300, 1);
    let network = Network::new(&world, 50);
    let messages = |kind, way| {
        // That everything anywhere is found is asserted in there.
        let costs = network.run(&team::draw(&world, kind, 40, 2), way, None, 3);
        Figures::of(costs.iter().map(Cost::messages)).mean
    };
    let blind = messages(Kind::Words(2), Way::Blind);
    assert!((299.0..=300.0).contains(&blind), "{blind} messages when everyone is asked");
    let (every, filters) = (messages(Kind::Words(2), Way::Summaries), messages(Kind::Words(2), Way::Filters));
    assert!(filters < every && filters < blind / 20.0, "{filters} with filters of zones, {every} without");
    let miss = messages(Kind::Miss, Way::Filters);
    assert!(miss <= 5.0, "{miss} messages for a miss");
}

#[test]
fn a_zone_that_is_entered_asks_by_keys_whom_summaries_cannot_tell_apart() {
    let world = World::new(TEAM, 200, 1);
    let network = Network::new(&world, 50);
    let other = network.without_keys();
    for kind in [Kind::Words(2), Kind::Miss] {
        let searches = team::draw(&world, kind, 60, 2);
        let beyond = |network: &Network| {
            let costs = network.run(&searches, Way::Filters, None, 3);
            Figures::of(costs.iter().map(|cost| cost.beyond)).mean
        };
        let (by_keys, by_summaries) = (beyond(&network), beyond(&other));
        println!("{by_keys} by keys, {by_summaries} by summaries, {kind:?}");
        assert!(by_keys * 1.5 < by_summaries, "{by_keys} by keys, {by_summaries} by summaries, {kind:?}");
    }
}

#[test]
fn few_members_are_left_to_the_gateway_that_the_query_goes_to_anyway() {
    let world = World::new(TEAM, 200, 1);
    let network = Network::new(&world, 50);
    let searches = team::draw(&world, Kind::Miss, 100, 2);
    let home = |network: &Network| {
        let costs = network.run(&searches, Way::Filters, None, 3);
        Figures::of(costs.iter().map(|cost| cost.home)).mean
    };
    let (by_keys, by_summaries) = (home(&network), home(&network.without_keys()));
    println!("{by_keys} messages in the own zone by keys, {by_summaries} by summaries");
    assert!(by_keys * 2.0 < by_summaries, "{by_keys} by keys, {by_summaries} by summaries");
}

#[test]
fn what_the_own_zone_has_is_found_whatever_becomes_of_its_gateways() {
    let world = World::new(TEAM, 100, 1);
    let (size, network) = (50, Network::new(&world, 50));
    let of_members = |peer: usize| peer % size >= GATEWAYS_PER_ZONE;
    let searches = team::draw(&world, Kind::Words(3), 150, 2).into_iter();
    let searches: Vec<_> =
        searches.filter(|search| search.origin < size && of_members(search.origin)).collect();
    let all = network.setup(3);
    let dead = Setup { lost_zone: Some(0), ..all.clone() };
    let cut = Setup { gateway_cuts: 0.5, ..all.clone() };
    for setup in [all, dead, cut] {
        let outcomes = network.outcomes(&searches, Way::Filters, None, &setup);
        for (search, outcome) in searches.iter().zip(&outcomes) {
            let here = search.asked.files.range(..size).filter(|(peer, _)| of_members(**peer));
            let there: BTreeSet<u64> = here.flat_map(|(_, files)| files).copied().collect();
            assert!(there.is_subset(&outcome.contents), "a hit was missed: {setup:?}");
        }
    }
}

#[test]
fn one_copy_among_many_is_found_for_less_than_any_blind_search_needs() {
    let workload =
        Workload { replication: 0.001_25, trials: 12, zone_size: 100, peer_errors: 0.002, zone_errors: 0.04 };
    let result = random_graph::run(&workload, 2);
    let cost = |way| result.ways[&way].messages.mean;
    for way in [random_graph::Way::Zones, random_graph::Way::ZonesInWaves] {
        assert!((result.ways[&way].found - 1.0).abs() < 1e-9, "{way:?}");
        assert!(cost(way) < 40.0, "{} messages, {way:?}", cost(way));
    }
    assert!(
        (300.0..1_500.0).contains(&cost(random_graph::Way::BlindBound)),
        "{}",
        cost(random_graph::Way::BlindBound)
    );
    assert!(cost(random_graph::Way::Walks(1)) > cost(random_graph::Way::ZonesInWaves) * 10.0);
    assert!(cost(random_graph::Way::Flood(7)) > 10_000.0);
}

#[test]
fn the_model_of_large_networks_agrees_with_the_event_simulation() {
    let world = World::new(SMALL, 300, 1);
    let network = Network::new(&world, 50);
    let large = Large::new(SMALL, 300, 1);
    let scale = Scale {
        peers: 300,
        zone_size: 50,
        searches: 400,
        peer_errors: Errors::of(network.summaries(), Density::PEER),
        zone_errors: Errors::of(network.filters(), Density::ZONE),
        filters: 5,
        want: None,
    };
    for kind in [Kind::Words(2), Kind::Miss] {
        let costs = network.run(&team::draw(&world, kind, 200, 2), Way::Filters, None, 3);
        let events = Figures::of(costs.iter().map(Cost::messages)).mean;
        let model = Figures::of(large.run(&scale, kind, 3).iter().map(|reach| reach.messages)).mean;
        assert!((0.6..1.8).contains(&(model / events)), "{model} by the model, {events} by events, {kind:?}");
    }
}
