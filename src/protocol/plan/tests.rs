use proptest::prelude::*;

use super::*;

fn passing() -> Failure {
    Failure::new(FailureKind::Passing, "cut off")
}

fn fetch(plan: &mut Plan) -> Assignment {
    match plan.step() {
        Step::Fetch(assignment) => assignment,
        other => panic!("{other:?} is not a fetch"),
    }
}

#[test]
fn the_next_holder_goes_on_where_the_last_one_broke() {
    let mut plan = Plan::new(3);
    assert_eq!(fetch(&mut plan), Assignment { holder: 0, offset: 0, after: Duration::ZERO });
    plan.received(700);
    plan.failed(passing());
    assert_eq!(fetch(&mut plan), Assignment { holder: 1, offset: 700, after: Duration::ZERO });
    plan.received(300);
    plan.completed();
    assert_eq!(plan.step(), Step::Verify);
    plan.verified(true);
    assert_eq!(plan.step(), Step::End(Outcome::Done(vec![0, 1])));
}

#[test]
fn a_failed_holder_is_asked_again_behind_the_others_and_only_so_often() {
    let mut plan = Plan::new(2);
    let mut asked = Vec::new();
    while let Step::Fetch(assignment) = plan.step() {
        asked.push(assignment.holder);
        plan.failed(passing());
    }
    assert_eq!(asked, [0, 1, 0, 1, 0, 1]);
    let Step::End(Outcome::AllFailed(failed)) = plan.step() else { panic!("not ended") };
    assert_eq!(failed, [(0, passing()), (1, passing())]);
}

#[test]
fn a_single_wrong_holder_is_named_and_the_next_one_begins_at_the_first_byte() {
    let mut plan = Plan::new(2);
    fetch(&mut plan);
    plan.received(10);
    plan.completed();
    plan.verified(false);
    assert_eq!(fetch(&mut plan).holder, 1);
    assert_eq!(fetch(&mut plan).offset, 0);
    plan.failed(Failure::new(FailureKind::Final, "gone"));
    let gone = Failure::new(FailureKind::Final, "gone");
    assert_eq!(plan.step(), Step::End(Outcome::Mismatch { wrong: vec![0], failed: vec![(1, gone)] }));
}

#[test]
fn mixed_bytes_that_do_not_match_are_fetched_again_from_single_holders() {
    let mut plan = Plan::new(2);
    fetch(&mut plan);
    plan.received(10);
    plan.failed(passing());
    assert_eq!(fetch(&mut plan).offset, 10);
    plan.received(10);
    plan.completed();
    plan.verified(false);
    // Nobody is blamed yet. Each is tried alone, and a break voids what came.
    assert_eq!((fetch(&mut plan).holder, fetch(&mut plan).offset), (1, 0));
    plan.received(15);
    plan.failed(passing());
    assert_eq!((fetch(&mut plan).holder, fetch(&mut plan).offset), (0, 0));
    plan.received(20);
    plan.completed();
    plan.verified(false);
    assert_eq!((fetch(&mut plan).holder, fetch(&mut plan).offset), (1, 0));
    plan.received(20);
    plan.completed();
    plan.verified(true);
    assert_eq!(plan.step(), Step::End(Outcome::Done(vec![1])));
}

#[test]
fn holders_that_tell_different_sizes_are_tried_alone() {
    let mut plan = Plan::new(2);
    fetch(&mut plan);
    plan.received(10);
    plan.failed(passing());
    fetch(&mut plan);
    plan.failed(Failure::new(FailureKind::Disagrees, "another size"));
    assert_eq!((fetch(&mut plan).holder, fetch(&mut plan).offset), (0, 0));
}

#[test]
fn a_busy_holder_is_waited_for_as_long_as_it_asks() {
    let mut plan = Plan::new(1);
    fetch(&mut plan);
    let wish = Some(Duration::from_secs(2));
    plan.failed(Failure { retry_after: wish, ..Failure::new(FailureKind::Busy, "full") });
    assert_eq!(fetch(&mut plan).after, Duration::from_secs(2));
}

#[test]
fn an_empty_file_that_should_not_be_empty_is_wrong() {
    let mut plan = Plan::new(1);
    fetch(&mut plan);
    plan.completed();
    plan.verified(false);
    assert_eq!(plan.step(), Step::End(Outcome::Mismatch { wrong: vec![0], failed: vec![] }));
}

#[test]
fn less_than_a_kibibyte_a_second_means_switch() {
    let second = Duration::from_secs(1);
    let mut slow = Pace::default();
    (0..10).for_each(|_| slow.waited(second, 1023));
    assert_eq!(slow.patience(), Duration::ZERO);
    let mut enough = Pace::default();
    (0..10).for_each(|_| enough.waited(second, 1025));
    assert_eq!(enough.patience(), Patience::default().stall);
}

proptest! {
    /// Whatever happens, it ends; and nobody is asked after it was put aside.
    #[test]
    fn every_sequence_of_failures_ends(
        holders in 0usize..6,
        events in prop::collection::vec((0u8..8, 0u64..(80 << 20)), 1..64),
    ) {
        let size = 1u64 << 30;
        let mut plan = Plan::new(holders);
        let (mut aside, mut steps) = (Vec::new(), 0);
        let mut events = events.iter().cycle();
        let ended = loop {
            steps += 1;
            prop_assert!(steps < 2000, "does not end");
            match plan.step() {
                Step::End(outcome) => break outcome,
                Step::Verify => {
                    let matches = events.next().is_some_and(|(event, _)| event % 4 == 0);
                    if !matches && plan.brought.len() <= 1 {
                        aside.extend(plan.brought.first().copied().or(plan.queue.front().copied()));
                    }
                    plan.verified(matches);
                }
                Step::Fetch(assignment) => {
                    prop_assert!(!aside.contains(&assignment.holder));
                    prop_assert!(assignment.offset <= size);
                    let &(event, bytes) = events.next().expect("a cycle");
                    plan.received(bytes.min(size - assignment.offset));
                    match event {
                        0 => plan.failed(Failure::new(FailureKind::Busy, "")),
                        1 | 2 => plan.failed(passing()),
                        3 => plan.failed(Failure::new(FailureKind::Disagrees, "")),
                        4 => {
                            aside.push(assignment.holder);
                            plan.failed(Failure::new(FailureKind::Final, ""));
                        }
                        _ => {
                            plan.received(size - plan.reached);
                            plan.completed();
                        }
                    }
                }
            }
        };
        if let Outcome::Mismatch { wrong, .. } = &ended {
            prop_assert!(!wrong.is_empty() && wrong.iter().all(|holder| aside.contains(holder)));
        }
        prop_assert_eq!(plan.step(), Step::End(ended), "an end is for good");
    }
}
