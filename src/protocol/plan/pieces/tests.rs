use std::collections::HashMap;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::protocol::plan::{FIRST_WAIT, FailureKind, LONGEST_WAIT};

const MIB: u64 = 1 << 20;

fn plan(pieces: u64, holders: usize) -> Pieces {
    let layout = Layout::of(pieces * MIB);
    Pieces::new(layout, PieceSet::new(layout.pieces()), Holders::new(holders))
}

fn fetch(plan: &mut Pieces, now: Instant) -> Errand {
    match plan.next(now) {
        Decision::Fetch(errand) => errand,
        other => panic!("{other:?} is not a fetch"),
    }
}

/// Brings the next pieces of a stream, all right.
fn bring(plan: &mut Pieces, errand: &Errand, pieces: u32) {
    for piece in errand.pieces.start..errand.pieces.start + pieces {
        assert_eq!(plan.admit(errand.task, MIB), MIB);
        plan.checked(errand.task, piece, true);
    }
}

#[test]
fn a_single_holder_gets_one_long_range() {
    let (mut plan, now) = (plan(100, 1), Instant::now());
    let errand = fetch(&mut plan, now);
    assert_eq!((errand.pieces.clone(), errand.is_spare), (0..100, false));
    assert_eq!(plan.next(now), Decision::Wait(None));
    bring(&mut plan, &errand, 100);
    assert!(plan.is_through(errand.task));
    plan.ended(errand.task, Ok(()), now);
    assert_eq!((plan.next(now), plan.brought()), (Decision::Done, &[0][..]));
}

#[test]
fn an_idle_holder_takes_the_rear_half_of_the_longest_range() {
    let (mut plan, now) = (plan(100, 1), Instant::now());
    let first = fetch(&mut plan, now);
    bring(&mut plan, &first, 20);
    plan.holders_mut().add().expect("room");
    let second = fetch(&mut plan, now);
    assert_eq!((second.holder, second.pieces), (1, 61..100));
    assert_eq!(plan.admit(first.task, 90 * MIB), 41 * MIB, "its end was lowered");
    assert!(plan.is_through(first.task));
}

#[test]
fn those_who_are_there_at_the_start_share_it_without_halving() {
    let (mut plan, now) = (plan(100, 4), Instant::now());
    let ranges: Vec<_> = (0..4).map(|_| fetch(&mut plan, now).pieces).collect();
    assert_eq!(ranges, [0..25, 25..50, 50..75, 75..100]);
}

#[test]
fn a_late_last_piece_gets_one_spare_copy_and_the_slower_one_is_left() {
    let (mut plan, now) = (plan(1, 3), Instant::now());
    let first = fetch(&mut plan, now);
    assert_eq!(plan.next(now), Decision::Wait(Some(now + LATE)), "not late yet");
    let later = now + LATE;
    let spare = fetch(&mut plan, later);
    assert!(spare.is_spare && spare.pieces == first.pieces && spare.holder != first.holder);
    assert_eq!(plan.next(later), Decision::Wait(Some(later + LATE)), "two ask for it at most");
    plan.admit(first.task, MIB);
    plan.checked(first.task, 0, true);
    plan.ended(first.task, Ok(()), later);
    assert_eq!(plan.next(later), Decision::Leave(spare.task));
    plan.ended(spare.task, Ok(()), later);
    assert_eq!(plan.next(later), Decision::Done);
}

#[test]
fn a_bad_piece_costs_one_piece_and_its_holder_is_out_for_ever() {
    let (mut plan, now) = (plan(10, 2), Instant::now());
    let (liar, honest) = (fetch(&mut plan, now), fetch(&mut plan, now));
    bring(&mut plan, &liar, 2);
    plan.admit(liar.task, MIB);
    plan.checked(liar.task, 2, false);
    plan.ended(liar.task, Ok(()), now);
    plan.holders_mut().renew(liar.holder);
    bring(&mut plan, &honest, 5);
    plan.ended(honest.task, Ok(()), now);
    let rest = fetch(&mut plan, now);
    assert_eq!((rest.holder, rest.pieces.clone()), (honest.holder, 2..5), "the right ones stay");
    bring(&mut plan, &rest, 3);
    plan.ended(rest.task, Ok(()), now);
    assert_eq!(plan.next(now), Decision::Done);
    assert_eq!(plan.given_up(), Outcome::Mismatch { wrong: vec![liar.holder], failed: vec![] });
}

#[test]
fn who_failed_is_asked_again_only_so_often_and_one_found_again_gets_its_tries_back() {
    let (mut plan, mut now) = (plan(2, 1), Instant::now());
    for _ in 0..3 {
        let errand = fetch(&mut plan, now);
        plan.ended(errand.task, Err(Failure::new(FailureKind::Passing, "cut")), now);
        if let Decision::Wait(Some(until)) = plan.next(now) {
            now = until;
        }
    }
    assert_eq!(plan.next(now), Decision::Stuck);
    plan.holders_mut().renew(0);
    let errand = fetch(&mut plan, now);
    plan.ended(errand.task, Err(Failure::new(FailureKind::Changed, "changed")), now);
    plan.holders_mut().renew(0);
    assert_eq!(plan.next(now), Decision::Stuck, "another file is another file");
}

#[test]
fn the_only_holder_is_asked_again_for_what_was_spoiled_when_it_is_pardoned_and_found() {
    let (mut plan, now) = (plan(2, 1), Instant::now());
    let errand = fetch(&mut plan, now);
    bring(&mut plan, &errand, 1);
    plan.admit(errand.task, MIB);
    plan.checked(errand.task, 1, false);
    plan.ended(errand.task, Ok(()), now);
    plan.holders_mut().renew(0);
    assert_eq!(plan.next(now), Decision::Stuck, "not pardoned");
    plan.holders_mut().pardon();
    assert_eq!(plan.next(now), Decision::Stuck, "not found again");
    assert!(matches!(plan.given_up(), Outcome::AllFailed(failed) if failed.len() == 1));
    plan.holders_mut().renew(0);
    let again = fetch(&mut plan, now);
    assert_eq!(again.pieces, 1..2);
    bring(&mut plan, &again, 1);
    plan.ended(again.task, Ok(()), now);
    assert_eq!(plan.next(now), Decision::Done);
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    bytes_per_second: u64,
    /// Of each stream, in a thousand.
    breaks: u32,
    /// The first piece that it spoils, if it does.
    lies_from: Option<u32>,
    joins_after: Duration,
}

impl Peer {
    fn steady(mib_per_second: u64) -> Self {
        Self {
            bytes_per_second: mib_per_second * MIB,
            breaks: 0,
            lies_from: None,
            joins_after: Duration::ZERO,
        }
    }
}

#[derive(Debug, Default)]
struct Ran {
    took: Duration,
    fetched: u64,
    is_done: bool,
    asked_after_lie: bool,
    streams: u64,
    breaks: u64,
    spares: u64,
    lies: u64,
}

/// A network where every stream runs at its holder's rate, in steps of 5 ms.
fn simulate(pieces: u64, peers: &[Peer], seed: u64) -> Ran {
    const STEP: Duration = Duration::from_millis(5);
    let mut rng = SmallRng::seed_from_u64(seed);
    let layout = Layout::of(pieces * MIB - 5);
    let mut plan = Pieces::new(layout, PieceSet::new(layout.pieces()), Holders::default());
    let began = Instant::now();
    let (mut now, mut joined): (_, Vec<Peer>) = (began, Vec::new());
    let mut waiting: Vec<Peer> = peers.to_vec();
    let mut streams: HashMap<u64, (Errand, u64)> = HashMap::new();
    let mut times_verified: HashMap<u32, u32> = HashMap::new();
    let mut liars: Vec<usize> = Vec::new();
    let mut ran = Ran::default();
    loop {
        waiting.retain(|peer| {
            let joins = peer.joins_after <= now - began;
            if joins {
                plan.holders_mut().add().expect("room");
                joined.push(*peer);
            }
            !joins
        });
        ran.took = now - began;
        assert!(ran.took < Duration::from_secs(3600), "does not end");
        loop {
            match plan.next(now) {
                Decision::Fetch(errand) => {
                    ran.asked_after_lie |= liars.contains(&errand.holder);
                    ran.streams += 1;
                    ran.spares += u64::from(errand.is_spare);
                    assert!(streams.len() < MAX_IN_FLIGHT);
                    assert!(streams.values().all(|(other, _)| other.holder != errand.holder));
                    let reached = errand.start;
                    streams.insert(errand.task, (errand, reached));
                }
                Decision::Leave(task) => {
                    streams.remove(&task).expect("runs");
                    plan.ended(task, Ok(()), now);
                }
                Decision::Done => {
                    assert!(plan.verified().is_full() && times_verified.len() == layout.pieces() as usize);
                    ran.is_done = true;
                    return ran;
                }
                Decision::Stuck if waiting.is_empty() => return ran,
                Decision::Wait(_) | Decision::Stuck => break,
            }
        }
        now += STEP;
        let mut tasks: Vec<u64> = streams.keys().copied().collect();
        tasks.sort_unstable();
        for task in tasks {
            let Some((errand, reached)) = streams.get_mut(&task) else { continue };
            let peer = joined[errand.holder];
            let kept = plan.admit(task, peer.bytes_per_second / 200);
            ran.fetched += kept;
            let errand = errand.clone();
            let (from, to) = (*reached, *reached + kept);
            *reached = to;
            let mut end = plan.is_through(task).then_some(Ok(()));
            for piece in layout.piece_at(from)..=layout.piece_at(to.saturating_sub(1)) {
                let range = layout.range(piece);
                if !(range.end > from && range.end <= to) {
                    continue;
                }
                let is_right = peer.lies_from.is_none_or(|first| piece < first);
                if is_right {
                    if errand.is_spare
                        && let Some(writer) = plan.writer_of(piece)
                    {
                        streams.remove(&writer);
                        plan.ended(writer, Ok(()), now);
                    }
                    let was_there = plan.verified().contains(piece);
                    plan.checked(task, piece, true);
                    assert!(!was_there || errand.is_spare, "a piece is verified once");
                    *times_verified.entry(piece).or_default() += u32::from(!was_there);
                } else {
                    plan.checked(task, piece, false);
                    liars.push(errand.holder);
                    ran.lies += 1;
                    end = Some(Ok(()));
                    break;
                }
            }
            if end.is_none() && rng.random_range(0..1000) < peer.breaks {
                ran.breaks += 1;
                end = Some(Err(Failure::new(FailureKind::Passing, "cut")));
            }
            if let Some(how) = end {
                streams.remove(&task);
                plan.ended(task, how, now);
            }
        }
        assert!(times_verified.values().all(|&times| times == 1));
    }
}

#[test]
fn three_fast_holders_and_a_slow_one_end_within_a_tenth_of_the_ideal() {
    let peers = [50, 50, 50, 5].map(Peer::steady);
    let ran = simulate(620, &peers, 1);
    let ideal = Duration::from_secs(4);
    assert!(ran.is_done && ran.took < ideal.mul_f64(1.1), "took {:?}", ran.took);
    assert!(ran.fetched <= (620 + ran.spares) * MIB && ran.streams < 60, "{ran:?}");
    // Where the slow one sits makes no difference.
    let peers = [5, 50, 50, 50].map(Peer::steady);
    let ran = simulate(620, &peers, 1);
    assert!(ran.is_done && ran.took < ideal.mul_f64(1.1), "took {:?}", ran.took);
}

#[test]
fn one_that_joins_later_takes_its_part() {
    let late = Peer { joins_after: Duration::from_secs(1), ..Peer::steady(50) };
    let ran = simulate(200, &[Peer::steady(50), late], 1);
    assert!(ran.is_done && ran.took < Duration::from_millis(2800), "took {:?}", ran.took);
}

prop_compose! {
    fn any_peer()(
        kib in 64u64..100_000,
        breaks in prop_oneof![3 => Just(0u32), 1 => 0u32..30],
        lies_from in prop_oneof![3 => Just(None), 1 => (0u32..40).prop_map(Some)],
        joins in prop_oneof![2 => Just(0u64), 1 => 0u64..4000],
    ) -> Peer {
        Peer { bytes_per_second: kib << 10, breaks, lies_from, joins_after: Duration::from_millis(joins) }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    /// With anybody honest and unbroken it ends whole, else with a reason; and little is fetched twice.
    #[test]
    fn it_always_ends_and_what_is_fetched_twice_is_bounded(
        pieces in 1u64..40,
        peers in prop::collection::vec(any_peer(), 1..20),
        seed in any::<u64>(),
    ) {
        let ran = simulate(pieces, &peers, seed);
        let is_good = |peer: &Peer| peer.breaks == 0 && peer.lies_from.is_none_or(|first| u64::from(first) >= pieces);
        prop_assert!(ran.is_done || !peers.iter().any(is_good));
        prop_assert!(!ran.asked_after_lie);
        prop_assert!(ran.lies <= peers.len() as u64);
        // A liar is noticed after the step that brought the end of its piece: less than another piece.
        let extra = 2 * ran.lies + ran.breaks + 2 * ran.spares;
        prop_assert!(ran.fetched <= (pieces + extra) * MIB, "{:?}", ran);
    }
}

fn cut() -> Failure {
    Failure::new(FailureKind::Passing, "cut off")
}

#[test]
fn a_cut_after_progress_starts_the_back_off_anew_and_the_piece_goes_on_where_it_was() {
    let (mut plan, mut now) = (plan(4, 1), Instant::now());
    let mut reached = 0;
    // A third of a piece each time: far more cuts than tries.
    for cut_off in 0..12 {
        let errand = fetch(&mut plan, now);
        assert_eq!(errand.start, reached, "cut {cut_off}");
        let mut left = MIB / 3;
        while left > 0 {
            let piece = plan.layout.piece_at(reached);
            let step = left.min(plan.layout.range(piece).end - reached);
            assert_eq!(plan.admit(errand.task, step), step);
            (left, reached) = (left - step, reached + step);
            if reached == plan.layout.range(piece).end {
                plan.checked(errand.task, piece, true);
            }
        }
        plan.ended(errand.task, Err(cut()), now);
        assert_eq!(plan.next(now), Decision::Wait(Some(now + FIRST_WAIT)), "cut {cut_off}");
        now += FIRST_WAIT;
    }
    let errand = fetch(&mut plan, now);
    assert_eq!((errand.pieces, errand.start), (3..4, 4 * (MIB / 3) * 3));
}

#[test]
fn the_same_bytes_again_are_no_progress() {
    let (mut plan, mut now) = (plan(1, 2), Instant::now());
    let mut tries = 0;
    // Each writes over what the other brought, and neither gets further.
    while let Decision::Fetch(errand) = plan.next(now) {
        assert_eq!(errand.start, 0);
        plan.admit(errand.task, MIB / 2);
        plan.ended(errand.task, Err(cut()), now);
        tries += 1;
        now += LONGEST_WAIT;
        assert!(tries < 20, "does not end");
    }
    assert_eq!(plan.next(now), Decision::Stuck);
}

#[test]
fn a_piece_that_another_holder_began_is_begun_anew() {
    let (mut plan, now) = (plan(1, 2), Instant::now());
    let first = fetch(&mut plan, now);
    plan.admit(first.task, MIB / 2);
    plan.ended(first.task, Err(cut()), now);
    let second = fetch(&mut plan, now);
    assert_eq!((second.holder, second.start), (1, 0));
    plan.admit(second.task, 1000);
    plan.ended(second.task, Err(Failure::new(FailureKind::Final, "gone")), now);
    let again = fetch(&mut plan, now + FIRST_WAIT);
    assert_eq!((again.holder, again.start), (first.holder, 0), "others have written there since");
}
