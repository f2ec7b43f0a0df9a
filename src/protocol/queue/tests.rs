use proptest::prelude::*;

use super::*;

const BOUNDS: QueueBounds =
    QueueBounds { places: 4, places_per_caller: 2, keeps_room: false, waiting: 12, waiting_per_caller: 5 };

fn settled(queue: &mut FairQueue<u8>) -> Vec<Stay> {
    std::iter::from_fn(|| queue.give()).collect()
}

#[test]
fn who_has_fewest_places_is_next_and_then_who_waits_longest() {
    let mut queue = FairQueue::new(QueueBounds { places: 2, places_per_caller: 2, ..BOUNDS });
    let greedy: Vec<Stay> = (0..4).map(|_| queue.enter(1).expect("room")).collect();
    assert_eq!(settled(&mut queue), greedy[..2]);
    let other = queue.enter(2).expect("room");
    let third = queue.enter(3).expect("room");
    assert!(settled(&mut queue).is_empty());
    let positions: Vec<_> = [other, third, greedy[2], greedy[3]].map(|stay| queue.position(stay)).into();
    assert_eq!(positions, [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(queue.position(greedy[0]), None, "it has its place");
    queue.leave(greedy[0]);
    assert_eq!(settled(&mut queue), [other]);
    queue.leave(greedy[1]);
    assert_eq!(settled(&mut queue), [greedy[2]], "it has none now, as the third, and came before");
    queue.leave(other);
    assert_eq!(settled(&mut queue), [third]);
}

#[test]
fn a_waiter_that_goes_away_makes_room_and_moves_the_others_up() {
    let mut queue = FairQueue::new(QueueBounds { places: 1, waiting: 2, ..BOUNDS });
    let stays = [1, 2, 3].map(|caller| {
        let stay = queue.enter(caller).expect("room");
        settled(&mut queue);
        stay
    });
    assert_eq!(queue.enter(4), Err(QueueFull::Total));
    queue.leave(stays[1]);
    queue.leave(stays[1]);
    assert_eq!(queue.position(stays[2]), Some(1));
    assert!(queue.enter(4).is_ok());
}

#[test]
fn a_free_place_needs_no_room_to_wait() {
    let mut queue = FairQueue::new(QueueBounds { waiting: 0, waiting_per_caller: 0, ..BOUNDS });
    for caller in [1, 1, 2, 2] {
        queue.enter(caller).expect("a place is free");
        assert_eq!(settled(&mut queue).len(), 1);
    }
    assert!(queue.enter(3).is_err());
}

#[derive(Debug, Clone)]
enum Deed {
    Enter(u8),
    Leave(prop::sample::Index),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        3 => (0u8..5).prop_map(Deed::Enter),
        2 => any::<prop::sample::Index>().prop_map(Deed::Leave),
    ];
    prop::collection::vec(deed, 0..60)
}

proptest! {
    #[test]
    fn no_bound_is_ever_passed_and_no_place_stays_free_while_someone_may_have_it(deeds in deeds()) {
        let mut queue = FairQueue::new(BOUNDS);
        let mut stays: Vec<(Stay, u8)> = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Enter(caller) => {
                    let waits = stays.iter().filter(|(stay, of)| *of == caller && queue.position(*stay).is_some());
                    let waits = waits.count();
                    match queue.enter(caller) {
                        Ok(stay) => stays.push((stay, caller)),
                        Err(QueueFull::Caller) => prop_assert_eq!(waits, BOUNDS.waiting_per_caller),
                        Err(QueueFull::Total) => prop_assert_eq!(queue.waiting(), BOUNDS.waiting),
                    }
                }
                Deed::Leave(index) if !stays.is_empty() => {
                    queue.leave(stays.swap_remove(index.index(stays.len())).0);
                }
                Deed::Leave(_) => {}
            }
            settled(&mut queue);
            let holding = |caller: u8| {
                stays.iter().filter(|(stay, of)| *of == caller && queue.position(*stay).is_none()).count()
            };
            prop_assert!(queue.holding() <= BOUNDS.places && queue.waiting() <= BOUNDS.waiting);
            prop_assert_eq!(queue.holding() + queue.waiting(), stays.len());
            for (stay, caller) in &stays {
                prop_assert!(holding(*caller) <= BOUNDS.places_per_caller);
                if queue.position(*stay).is_some() {
                    prop_assert!(queue.holding() == BOUNDS.places || holding(*caller) == BOUNDS.places_per_caller);
                }
            }
            // Whoever is new is told where it would stand.
            let next = queue.next_place();
            if let Ok(new) = queue.enter(9) {
                settled(&mut queue);
                prop_assert_eq!(queue.position(new).unwrap_or(0) as usize, next);
                queue.leave(new);
                settled(&mut queue);
            }
            // Positions are the numbers from 1 on.
            let mut positions: Vec<u32> = stays.iter().filter_map(|(stay, _)| queue.position(*stay)).collect();
            positions.sort_unstable();
            prop_assert!(positions.into_iter().eq(1..=u32::try_from(queue.waiting()).expect("few")));
        }
        for (stay, _) in stays {
            queue.leave(stay);
        }
        prop_assert!(queue.counts.is_empty() && queue.holding.is_empty(), "nothing is left behind");
    }

    #[test]
    fn positions_are_the_order_in_which_places_are_given(callers in prop::collection::vec(0u8..4, 1..12)) {
        // Nobody gives a place back: there are always more.
        let bounds = QueueBounds { places: 0, places_per_caller: 99, keeps_room: false, waiting: 99, waiting_per_caller: 99 };
        let mut queue = FairQueue::new(bounds);
        let stays: Vec<Stay> = callers.iter().map(|&caller| queue.enter(caller).expect("room")).collect();
        let mut expected: Vec<(Option<u32>, Stay)> =
            stays.iter().map(|&stay| (queue.position(stay), stay)).collect();
        expected.sort_unstable();
        queue.bounds.places = 99;
        prop_assert!(settled(&mut queue).into_iter().eq(expected.into_iter().map(|(_, stay)| stay)));
    }
}

const SHARED: QueueBounds =
    QueueBounds { places: 90, places_per_caller: 90, keeps_room: true, waiting: 0, waiting_per_caller: 0 };

/// Takes all that this caller gets.
fn storm(queue: &mut FairQueue<u8>, caller: u8) -> Vec<Stay> {
    let mut stays = Vec::new();
    while let Ok(stay) = queue.enter(caller) {
        assert_eq!(queue.give(), Some(stay));
        stays.push(stay);
    }
    stays
}

#[test]
fn one_that_takes_all_it_gets_has_a_third_and_leaves_room_for_the_next() {
    let mut queue = FairQueue::new(SHARED);
    let first = storm(&mut queue, 0);
    let taken: Vec<usize> = (1..6).map(|caller| storm(&mut queue, caller).len()).collect();
    assert_eq!((first.len(), &taken[..]), (30, &[20, 14, 9, 6, 4][..]));
    assert!(queue.enter(9).is_ok());
}

proptest! {
    #[test]
    fn among_callers_that_all_want_more_the_one_with_most_is_refused_until_they_are_even(
        callers in 1u8..6, indexes in prop::collection::vec(any::<prop::sample::Index>(), 800),
    ) {
        let mut queue = FairQueue::new(SHARED);
        let mut held: Vec<(Stay, u8)> = Vec::new();
        for (turn, index) in indexes.into_iter().enumerate() {
            // The first has stormed alone before the others came.
            let caller = if turn < 40 { 0 } else { u8::try_from(turn % usize::from(callers)).expect("few") };
            let count = |of: u8| held.iter().filter(|(_, holder)| *holder == of).count();
            let free = SHARED.places - held.len();
            match queue.enter(caller) {
                Ok(stay) => { settled(&mut queue); held.push((stay, caller)) }
                Err(_) => prop_assert!(2 * count(caller) >= free, "{} of {} free", count(caller), free),
            }
            if turn >= 40 && turn % 3 == 0 {
                queue.leave(held.swap_remove(index.index(held.len())).0);
            }
        }
        let even = SHARED.places / (usize::from(callers) + 2);
        for caller in 0..callers {
            let holding = held.iter().filter(|(_, holder)| *holder == caller).count();
            prop_assert!(holding.abs_diff(even) <= 4, "{} holds {}, not about {}", caller, holding, even);
        }
    }

    #[test]
    fn with_room_kept_nobody_waits_for_a_place_that_it_may_have(deeds in deeds()) {
        let mut queue = FairQueue::new(QueueBounds { places: 9, waiting: 40, waiting_per_caller: 40, ..SHARED });
        let mut stays: Vec<(Stay, u8)> = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Enter(caller) => stays.extend(queue.enter(caller).ok().map(|stay| (stay, caller))),
                Deed::Leave(index) if !stays.is_empty() => {
                    queue.leave(stays.swap_remove(index.index(stays.len())).0);
                }
                Deed::Leave(_) => {}
            }
            settled(&mut queue);
            let free = 9 - queue.holding();
            for (_, caller) in stays.iter().filter(|(stay, _)| queue.position(*stay).is_some()) {
                let holds = |(stay, of): &&(Stay, u8)| of == caller && queue.position(*stay).is_none();
                prop_assert!(2 * stays.iter().filter(holds).count() >= free);
            }
        }
    }
}
