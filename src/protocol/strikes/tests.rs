use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn patience() -> Patience {
    Patience {
        per_second: NonZeroU32::new(100).expect("not zero"),
        burst: 16,
        strikes: NonZeroU32::new(4).expect("not zero"),
        first_mute: millis(100),
        longest_mute: millis(5000),
        forgiven_after: millis(2000),
        senders: NonZeroUsize::new(8).expect("not zero"),
    }
}

fn refused(hearing: Hearing) -> Option<Duration> {
    match hearing {
        Hearing::Pass => None,
        Hearing::Refuse { retry_after } => Some(retry_after),
    }
}

fn strike_times(strikes: &mut Strikes<u8>, times: u32, now: Instant) {
    for _ in 0..times {
        strikes.strike(1, now);
    }
}

/// Asks each millisecond: how many pass, and the longest that it was told to wait.
fn storm(strikes: &mut Strikes<u8>, sender: u8, from: Instant, lasts: Duration) -> (u32, Duration) {
    let (mut passed, mut longest) = (0, Duration::ZERO);
    let mut now = from;
    while now < from + lasts {
        match strikes.hear(sender, now) {
            Hearing::Pass => passed += 1,
            Hearing::Refuse { retry_after } => longest = longest.max(retry_after),
        }
        now += millis(1);
    }
    (passed, longest)
}

#[test]
fn a_burst_and_then_the_rate_pass() {
    let (mut strikes, now) = (Strikes::new(patience()), Instant::now());
    for _ in 0..16 {
        assert_eq!(strikes.hear(1, now), Hearing::Pass);
    }
    assert_eq!(strikes.hear(1, now), Hearing::Refuse { retry_after: millis(10) });
    assert_eq!(strikes.hear(2, now), Hearing::Pass, "another sender has its own");
    assert_eq!(strikes.hear(1, now + millis(10)), Hearing::Pass, "the refused one cost nothing");
    assert!(refused(strikes.hear(1, now + millis(10))).is_some());
}

#[test]
fn whoever_is_refused_again_and_again_is_muted_for_longer_and_longer() {
    let (mut strikes, mut now) = (Strikes::new(patience()), Instant::now());
    for mute in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
        for _ in 0..3 {
            assert_eq!(strikes.strike(1, now), Duration::ZERO, "it has strikes left");
        }
        assert_eq!(strikes.strike(1, now), millis(mute));
        assert_eq!(
            strikes.strike(1, now + millis(1)),
            millis(mute - 1),
            "what was let in before makes it no longer"
        );
        assert_eq!(refused(strikes.hear(1, now + millis(mute - 1))), Some(millis(1)));
        assert_eq!(strikes.hear(2, now), Hearing::Pass);
        now += millis(mute);
        assert_eq!(strikes.hear(1, now), Hearing::Pass, "the mute ends by itself");
        now += millis(1000);
    }
}

/// How many pass at once, and when the next one may come.
fn burst(strikes: &mut Strikes<u8>, now: Instant) -> (u32, Duration) {
    let mut passed = 0;
    loop {
        match strikes.hear(1, now) {
            Hearing::Pass => passed += 1,
            Hearing::Refuse { retry_after } => return (passed, retry_after),
        }
    }
}

#[test]
fn rate_and_burst_are_halved_with_each_mute_and_never_nothing() {
    let (mut strikes, mut now) = (Strikes::new(patience()), Instant::now());
    for (at_once, next) in
        [(16, 10), (8, 20), (4, 40), (2, 83), (1, 166), (1, 333), (1, 1000), (1, 1000), (1, 1000), (1, 1000)]
    {
        let (passed, retry_after) = burst(&mut strikes, now);
        assert_eq!((passed, retry_after.as_millis()), (at_once, next));
        // That was one of the four.
        strike_times(&mut strikes, 3, now);
        let muted = refused(strikes.hear(1, now)).expect("it is muted");
        assert!(muted >= millis(100));
        now += muted + millis(1500);
    }
}

#[test]
fn a_pause_earns_no_more_than_a_burst() {
    let (mut strikes, now) = (Strikes::new(patience()), Instant::now());
    assert_eq!(strikes.hear(1, now), Hearing::Pass);
    assert_eq!(burst(&mut strikes, now + millis(100_000)), (16, millis(10)));
}

#[test]
fn the_refusal_that_mutes_tells_of_the_mute() {
    let (mut strikes, now) = (Strikes::new(patience()), Instant::now());
    strike_times(&mut strikes, 3, now);
    assert_eq!(burst(&mut strikes, now), (16, millis(100)));
}

#[test]
fn strikes_count_together_when_none_of_the_pauses_between_them_is_long() {
    let (mut strikes, now) = (Strikes::new(patience()), Instant::now());
    let told = [0, 1500, 3000, 4500].map(|after| strikes.strike(1, now + millis(after)));
    assert_eq!(told, [0, 0, 0, 100].map(millis));
}

/// Strikes until it is muted, which is over then; how long that was.
fn mute(strikes: &mut Strikes<u8>, now: &mut Instant) -> Duration {
    strike_times(strikes, 3, *now);
    let mute = strikes.strike(1, *now);
    *now += mute;
    mute
}

#[test]
fn mutes_are_forgiven_one_by_one_and_after_the_strikes() {
    let (mut strikes, mut now) = (Strikes::new(patience()), Instant::now());
    for expected in [100, 200, 400] {
        assert_eq!(mute(&mut strikes, &mut now), millis(expected));
    }
    now += millis(2000);
    assert_eq!(mute(&mut strikes, &mut now), millis(400), "one of three is");
    strike_times(&mut strikes, 3, now);
    now += millis(2000);
    assert_eq!(mute(&mut strikes, &mut now), millis(800), "the strikes are, and no mute");
}

#[test]
fn however_many_mutes_there_were_as_many_as_count_are_to_be_forgiven() {
    let (mut strikes, mut now) = (Strikes::new(patience()), Instant::now());
    for _ in 0..100 {
        mute(&mut strikes, &mut now);
    }
    now += millis(2000) * MAX_LEVEL;
    assert_eq!(mute(&mut strikes, &mut now), millis(100));
}

#[test]
fn asking_while_muted_makes_it_no_longer() {
    let (mut strikes, now) = (Strikes::new(patience()), Instant::now());
    strike_times(&mut strikes, 4, now);
    for after in 0..100 {
        assert_eq!(refused(strikes.hear(1, now + millis(after))), Some(millis(100 - after)));
    }
    assert_eq!(strikes.hear(1, now + millis(100)), Hearing::Pass);
}

#[test]
fn a_storm_that_goes_on_is_let_through_less_and_less() {
    let (mut strikes, now) = (Strikes::new(patience()), Instant::now());
    let (first, _) = storm(&mut strikes, 1, now, millis(1000));
    storm(&mut strikes, 1, now + millis(1000), millis(19_000));
    let (later, longest) = storm(&mut strikes, 1, now + millis(20_000), millis(10_000));
    assert!(first > 16, "{first}");
    assert!(later <= 10, "{later} in ten seconds");
    assert!(longest > millis(4900), "{longest:?}");
    let (calm, _) = storm(&mut strikes, 2, now + millis(29_000), millis(10));
    assert_eq!(calm, 10, "who does not storm is heard");
}

#[test]
fn what_is_long_ago_is_forgiven_step_by_step() {
    let (mut strikes, mut now) = (Strikes::new(patience()), Instant::now());
    strike_times(&mut strikes, 3, now);
    now += millis(2000);
    for _ in 0..3 {
        assert_eq!(strikes.strike(1, now), Duration::ZERO, "the three before are forgotten");
    }
    assert_eq!(strikes.strike(1, now), millis(100));
    now += millis(100);
    strike_times(&mut strikes, 4, now);
    now += millis(200 + 1999);
    strike_times(&mut strikes, 3, now);
    assert_eq!(strikes.strike(1, now), millis(400), "not yet");
    now += millis(400 + 3 * 2000);
    strike_times(&mut strikes, 3, now);
    assert_eq!(strikes.strike(1, now), millis(100), "three mutes are forgiven in three times the time");
}

proptest! {
    #[test]
    fn no_more_senders_are_remembered_than_there_is_room_for(senders in prop::collection::vec(any::<u8>(), 1..300)) {
        let (mut strikes, now) = (Strikes::new(patience()), Instant::now());
        for sender in senders {
            strikes.hear(sender, now);
            strikes.strike(sender, now);
        }
        prop_assert!(strikes.len() <= 8 && !strikes.is_empty());
    }

    /// Of several senders, each keeps to the rate or does not.
    #[test]
    fn who_keeps_to_the_rate_always_passes_and_nobody_passes_more_than_it(
        steps in prop::collection::vec((0u8..4, 0u64..30), 1..400),
    ) {
        let (mut strikes, start) = (Strikes::new(patience()), Instant::now());
        let mut now = start;
        let (mut passed, mut last) = (HashMap::<u8, u32>::new(), HashMap::<u8, Instant>::new());
        for (sender, pause) in steps {
            now += millis(pause);
            // Sender 0 asks no oftener than every 10 ms.
            if sender == 0 && last.get(&0).is_some_and(|last| now < *last + millis(10)) {
                continue;
            }
            last.insert(sender, now);
            let hearing = strikes.hear(sender, now);
            prop_assert!(sender != 0 || hearing == Hearing::Pass);
            if let Hearing::Refuse { retry_after } = hearing {
                prop_assert!(!retry_after.is_zero() && retry_after <= millis(5000));
            } else {
                *passed.entry(sender).or_default() += 1;
            }
            let most = 16 + (now - start).as_millis() / 10;
            prop_assert!(passed.get(&sender).is_none_or(|passed| u128::from(*passed) <= most));
        }
    }
}
