use proptest::prelude::*;

use super::*;
use crate::protocol::claim::Part;

pub(super) const WAIT: Duration = Duration::from_secs(3);

pub(super) fn peer(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

pub(super) fn plan(parts: &[&[u8]], now: Instant) -> Plan {
    let part = |members: &&[u8]| Part {
        members: members.iter().map(|number| peer(*number)).collect(),
        claim: Some(Claim { before: peer(200) }),
        reach: Reach::Inside,
    };
    let wave: Vec<Part> = parts.iter().map(part).collect();
    let waves = if wave.is_empty() { Vec::new() } else { vec![wave] };
    Plan {
        waves,
        handed_over: Vec::new(),
        ruled_out: Vec::new(),
        zones: None,
        ttl: 15,
        hops: 1,
        deadline: now + WAIT,
    }
}

pub(super) fn asked(commands: &[Command]) -> Vec<(AskId, PeerId)> {
    let asks = commands.iter().filter_map(|command| match command {
        Command::Ask { ask, peer, .. } => Some((*ask, *peer)),
        Command::Cancel(_) => None,
    });
    asks.collect()
}

pub(super) fn answered(peers: &[u8]) -> Report {
    Report { answered: peers.iter().map(|number| peer(*number).short()).collect(), ..Report::default() }
}

#[test]
fn a_leaf_is_finished_when_it_has_searched() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), true, plan(&[], now), now);
    assert!(commands.is_empty() && !relay.is_finished());
    relay.on_searched(false);
    assert!(relay.is_finished());
    assert_eq!(relay.report(), answered(&[0]));
    assert_eq!(relay.next_wake(), None);
}

#[test]
fn a_broken_branch_is_given_to_the_next_of_its_part() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2, 3], &[4]], now), now);
    let asks = asked(&commands);
    assert_eq!(asks.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(1), peer(4)]);
    let again = asked(&relay.on_broken(asks[0].0, now));
    assert_eq!(again[0].1, peer(2));
    // A leaf that breaks has nobody behind it, and what comes late is not listened to.
    assert!(relay.on_broken(asks[1].0, now).is_empty());
    relay.on_done(asks[0].0, &answered(&[1]), now);
    assert!(!relay.is_finished());
    relay.on_done(again[0].0, &answered(&[2, 3]), now);
    assert!(relay.is_finished());
    let report = relay.report();
    assert_eq!(report.answered, answered(&[2, 3]).answered);
    assert_eq!(report.unreachable, answered(&[1, 4]).answered);
    assert_eq!(report.messages, 3);
    assert!(!report.truncated);
}

#[test]
fn whom_a_report_leaves_out_is_given_to_the_next_of_its_part() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2, 3, 4, 5]], now), now);
    let first = asked(&commands)[0].0;
    // It answers for itself alone, and has found out about one more on whatever way.
    let told = Report { ruled_out: [peer(2).short()].into(), ..answered(&[1]) };
    let second = asked(&relay.on_done(first, &told, now));
    assert_eq!(second.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(3)]);
    let told = Report { unreachable: [peer(4).short()].into(), ..answered(&[3]) };
    let third = asked(&relay.on_done(second[0].0, &told, now));
    assert_eq!(third[0].1, peer(5));
    assert!(relay.on_done(third[0].0, &answered(&[5]), now).is_empty() && relay.is_finished());
    let report = relay.report();
    assert_eq!(report.answered, answered(&[1, 3, 5]).answered);
    assert_eq!((report.messages, report.truncated), (3, false));
}

#[test]
fn whom_another_branch_may_have_reached_is_asked_at_the_end_unless_it_has() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2, 3], &[4, 5]], now), now);
    let asks = asked(&commands);
    let told = Report { duplicates: 1, ..answered(&[1]) };
    assert!(relay.on_done(asks[0].0, &told, now).is_empty());
    let last = asked(&relay.on_done(asks[1].0, &answered(&[2, 4, 5]), now));
    assert_eq!(last.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(3)]);
    assert!(!relay.is_finished());
    relay.on_done(last[0].0, &answered(&[3]), now);
    assert!(relay.is_finished());
    assert_eq!(relay.report().answered, answered(&[1, 2, 3, 4, 5]).answered);
}

#[test]
fn whom_a_report_leaves_out_is_left_to_a_hedge_that_is_open() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2, 3]], now), now);
    let first = asked(&commands)[0].0;
    let hedge = asked(&relay.on_tick(now + HEDGE_AFTER))[0];
    assert_eq!(hedge.1, peer(2));
    assert!(relay.on_done(first, &answered(&[1]), now).is_empty());
    let third = asked(&relay.on_done(hedge.0, &answered(&[2]), now));
    assert_eq!(third[0].1, peer(3));
    assert!(relay.on_done(third[0].0, &answered(&[3]), now).is_empty() && relay.is_finished());
}

#[test]
fn a_silent_peer_is_hedged_and_the_hedge_is_cancelled_when_it_was_reached() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2]], now), now);
    let first = asked(&commands)[0].0;
    assert_eq!(relay.next_wake(), Some(now + HEDGE_AFTER));
    let hedge = asked(&relay.on_tick(now + HEDGE_AFTER));
    assert_eq!(hedge[0].1, peer(2));
    relay.on_heard(first);
    assert_eq!(relay.on_done(first, &answered(&[1, 2]), now), [Command::Cancel(hedge[0].0)]);
    assert!(relay.is_finished());
    assert_eq!(relay.report().answered, answered(&[1, 2]).answered);
}

#[test]
fn a_silent_peer_is_given_up_for_itself_when_its_hedge_has_reported() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2, 3]], now), now);
    let first = asked(&commands)[0].0;
    let hedge = asked(&relay.on_tick(now + HEDGE_AFTER));
    relay.on_heard(hedge[0].0);
    assert!(relay.on_done(hedge[0].0, &answered(&[2, 3]), now).is_empty());
    assert!(!relay.is_finished(), "the silent one may still answer for itself");
    assert_eq!(relay.on_tick(now + SILENCE_LIMIT), [Command::Cancel(first)]);
    assert!(relay.is_finished());
    assert_eq!(relay.report().unreachable, answered(&[1]).answered);
}

#[test]
fn a_peer_that_was_heard_is_not_hedged() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2]], now), now);
    relay.on_heard(asked(&commands)[0].0);
    assert!(relay.on_tick(now + SILENCE_LIMIT).is_empty());
}

#[test]
fn a_peer_that_stalls_leaves_time_to_ask_the_next() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2]], now), now);
    let first = asked(&commands)[0].0;
    relay.on_heard(first);
    let overdue = relay.next_wake().expect("it is open");
    assert!(overdue < now + WAIT);
    let commands = relay.on_tick(overdue);
    assert_eq!(commands[0], Command::Cancel(first));
    assert_eq!(asked(&commands)[0].1, peer(2));
}

#[test]
fn one_more_is_asked_than_are_silent_up_to_the_bound() {
    let now = Instant::now();
    let (mut relay, mut commands) = Relay::new(peer(0), false, plan(&[&[1, 2, 3, 4, 5, 6, 7, 8]], now), now);
    let mut at = now;
    for _ in 0..10 {
        at += HEDGE_AFTER;
        commands.extend(relay.on_tick(at));
    }
    assert_eq!(asked(&commands).len(), MAX_OPEN_PER_PART);
    // Silent ones are no hope: the first that is given up makes room for the next.
    assert_eq!(asked(&relay.on_tick(now + SILENCE_LIMIT)).len(), 1);
}

#[test]
fn enough_hits_cancel_everything_and_blame_nobody() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), true, plan(&[&[1, 2], &[3]], now), now);
    let cancelled = relay.on_enough();
    assert_eq!(cancelled.len(), asked(&commands).len());
    assert!(relay.is_finished() && relay.report().truncated);
    assert!(relay.report().unreachable.is_empty());
    assert!(relay.on_enough().is_empty());
}

#[test]
fn the_deadline_ends_everything() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), true, plan(&[&[1], &[2]], now), now);
    relay.on_heard(asked(&commands)[0].0);
    relay.on_tick(now + WAIT);
    assert!(relay.is_finished());
    assert!(relay.report().truncated && relay.report().answered.is_empty());
    assert_eq!(relay.report().unreachable, answered(&[1, 2]).answered);
}

#[test]
fn a_report_without_bound_is_cut() {
    let mut report = Report::default();
    let many = Report { answered: (0..100_000).collect(), ..Report::default() };
    report.merge(&many);
    assert_eq!(report.answered.len(), MAX_REPORTED);
    assert!(report.truncated);
}

/// What happens to one of the asks that were made so far, or to all.
#[derive(Debug, Clone)]
enum Input {
    Heard(usize),
    Done(usize, Vec<u8>),
    Broken(usize),
    Tick(u64),
    Searched,
    Enough,
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => any::<usize>().prop_map(Input::Heard),
        4 => (any::<usize>(), proptest::collection::vec(1u8..60, 0..6)).prop_map(|(at, peers)| Input::Done(at, peers)),
        6 => any::<usize>().prop_map(Input::Broken),
        6 => (0u64..200).prop_map(Input::Tick),
        1 => Just(Input::Searched),
        1 => Just(Input::Enough),
    ]
}

proptest! {
    #[test]
    fn deadlines_shrink_and_stay_positive(millis in 0u64..60_000) {
        let mut left = Duration::from_millis(millis);
        while let Some(time) = child_time(left) {
            prop_assert!(time > Duration::ZERO);
            prop_assert!(time <= left.mul_f64(0.951) && time + HOP_RESERVE <= left);
            left = time;
        }
        prop_assert!(left <= HOP_RESERVE);
    }

    #[test]
    fn a_relay_ends_and_asks_nobody_twice_whatever_happens(
        sizes in proptest::collection::vec(1u8..8, 0..6),
        is_searched_here: bool,
        inputs in proptest::collection::vec(input(), 0..120),
    ) {
        let now = Instant::now();
        let mut numbers = 1u8..;
        let parts: Vec<Vec<u8>> =
            sizes.iter().map(|size| numbers.by_ref().take(usize::from(*size)).collect()).collect();
        let members: usize = parts.iter().map(Vec::len).sum();
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        let (mut relay, mut all) = Relay::new(peer(0), is_searched_here, plan(&parts, now), now);
        let mut at = now;
        for input in inputs {
            let asks = asked(&all);
            let pick = |chosen: usize| asks.get(chosen % asks.len().max(1)).map(|(ask, _)| *ask);
            let was_finished = relay.is_finished();
            let commands = match input {
                Input::Heard(chosen) => {
                    if let Some(ask) = pick(chosen) { relay.on_heard(ask); }
                    Vec::new()
                }
                Input::Done(chosen, peers) =>
                    pick(chosen).map_or_else(Vec::new, |ask| relay.on_done(ask, &answered(&peers), now)),
                Input::Broken(chosen) => pick(chosen).map_or_else(Vec::new, |ask| relay.on_broken(ask, at)),
                Input::Tick(millis) => { at += Duration::from_millis(millis); relay.on_tick(at) }
                Input::Searched => { relay.on_searched(false); Vec::new() }
                Input::Enough => relay.on_enough(),
            };
            prop_assert!(!was_finished || commands.is_empty(), "a finished relay wants {:?}", commands);
            all.extend(commands);
        }
        let mut ticks = 0;
        while let Some(wake) = relay.next_wake() {
            at = at.max(wake);
            all.extend(relay.on_tick(at));
            ticks += 1;
            prop_assert!(ticks < 4 * members + 8, "it spins");
        }
        prop_assert!(relay.is_finished() && at <= now + WAIT + Duration::from_secs(24));
        let mut peers: Vec<PeerId> = asked(&all).into_iter().map(|(_, peer)| peer).collect();
        prop_assert!(peers.len() <= members);
        peers.sort_unstable();
        peers.dedup();
        prop_assert_eq!(peers.len(), asked(&all).len());
        let report = relay.report();
        prop_assert!(report.answered.is_disjoint(&report.unreachable));
        prop_assert_eq!(usize::try_from(report.messages).expect("few"), peers.len());
        for command in &all {
            if let Command::Ask { deadline, .. } = command {
                prop_assert!(*deadline < now + WAIT);
            }
        }
    }
}

fn in_waves(waves: &[&[&[u8]]], now: Instant) -> Plan {
    let waves = waves.iter().flat_map(|parts| plan(parts, now).waves).collect();
    Plan { waves, ruled_out: vec![peer(90).short(), peer(1).short()], ..plan(&[], now) }
}

#[test]
fn the_next_wave_begins_when_the_one_before_has_ended() {
    let now = Instant::now();
    let waves = in_waves(&[&[&[1], &[2]], &[&[3, 4]]], now);
    let (mut relay, commands) = Relay::new(peer(0), false, waves, now);
    let asks = asked(&commands);
    assert_eq!(asks.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(1), peer(2)]);
    assert!(relay.on_done(asks[0].0, &answered(&[1]), now).is_empty());
    let second = asked(&relay.on_broken(asks[1].0, now));
    assert_eq!(second[0].1, peer(3));
    assert!(!relay.is_finished());
    assert!(relay.on_done(second[0].0, &answered(&[3, 4]), now).is_empty());
    assert!(relay.is_finished());
    let report = relay.report();
    assert_eq!(report.ruled_out, answered(&[90]).answered, "one of another branch answered");
    assert_eq!((report.messages, report.truncated), (3, false));
}

#[test]
fn a_wave_is_not_held_up_for_long_by_a_slow_peer() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, in_waves(&[&[&[1]], &[&[2]], &[&[3]]], now), now);
    relay.on_heard(asked(&commands)[0].0);
    assert_eq!(relay.next_wake(), Some(now + WAVE_PATIENCE));
    let second = asked(&relay.on_tick(now + WAVE_PATIENCE));
    assert_eq!(second[0].1, peer(2));
    let third = asked(&relay.on_tick(now + WAVE_PATIENCE * 2));
    assert_eq!(third[0].1, peer(3));
}

#[test]
fn what_is_found_early_spares_the_later_waves() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, in_waves(&[&[&[1]], &[&[2, 3, 4]]], now), now);
    let first = asked(&commands)[0].0;
    assert_eq!(relay.on_enough(), [Command::Cancel(first)]);
    assert!(relay.is_finished() && relay.next_wake().is_none());
    let report = relay.report();
    assert!(report.truncated, "others were not asked");
    assert_eq!(report.messages, 1);
}

#[test]
fn whom_a_report_leaves_out_is_asked_at_the_end_in_parts_that_lie_between_those_it_told() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2, 3, 4, 5, 6], &[8]], now), now);
    let asks = asked(&commands);
    let early = relay.on_done(asks[0].0, &answered(&[1, 4]), now);
    assert!(early.is_empty(), "a branch that is open may tell of them yet");
    let commands = relay.on_done(asks[1].0, &answered(&[8]), now);
    let parts: Vec<(PeerId, Option<Claim>)> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Ask { peer, claim, .. } => Some((*peer, *claim)),
            Command::Cancel(_) => None,
        })
        .collect();
    let before = |number| Some(Claim { before: peer(number) });
    assert_eq!(parts, [(peer(5), before(200)), (peer(2), before(4))]);
    let asks = asked(&commands);
    relay.on_done(asks[0].0, &answered(&[5, 6]), now);
    // The next of such a part is asked in place of one that breaks.
    let third = asked(&relay.on_broken(asks[1].0, now));
    assert_eq!(third[0].1, peer(3));
    assert!(relay.on_done(third[0].0, &answered(&[]), now).is_empty());
    assert!(relay.is_finished());
    let report = relay.report();
    assert_eq!(
        report.answered,
        answered(&[1, 4, 5, 6, 8]).answered,
        "one that names not even itself does not count"
    );
    assert_eq!(report.unreachable, answered(&[2]).answered);
}

#[test]
fn nobody_is_reported_as_answered_by_another_part_against_the_word_of_its_own() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), true, plan(&[&[1, 2], &[3, 4], &[5]], now), now);
    let asks = asked(&commands);
    let everyone: Vec<u8> = (0..100).collect();
    relay.on_done(asks[0].0, &Report { ruled_out: answered(&[5]).answered, ..answered(&everyone) }, now);
    let next = asked(&relay.on_broken(asks[1].0, now));
    relay.on_done(next[0].0, &answered(&[4]), now);
    relay.on_broken(asks[2].0, now);
    let report = relay.report();
    assert_eq!(report.unreachable, answered(&[3, 5]).answered);
    assert!([1, 2, 4].iter().all(|number| report.answered.contains(&peer(*number).short())));
    assert!(!report.answered.contains(&peer(0).short()), "its own search is not over");
}

#[test]
fn a_peer_is_hedged_after_the_time_that_its_delays_say_and_after_no_other_when_it_was_heard() {
    let now = Instant::now();
    let (mut relay, commands) = Relay::new(peer(0), false, plan(&[&[1, 2], &[3, 4], &[5]], now), now);
    let asks = asked(&commands);
    let wait = Duration::from_millis(20);
    relay.on_asked(asks[0].0, wait);
    relay.on_asked(asks[1].0, wait);
    relay.on_heard(asks[1].0);
    relay.on_asked(asks[1].0, wait);
    relay.on_asked(asks[2].0, wait);
    assert_eq!(relay.next_wake(), Some(now + wait));
    let hedges = asked(&relay.on_tick(now + wait));
    assert_eq!(hedges.iter().map(|(_, peer)| *peer).collect::<Vec<_>>(), [peer(2)]);
}
