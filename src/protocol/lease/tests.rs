use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(30);

fn peer(number: u8) -> PeerId {
    PeerId::from_bytes([number; 32])
}

fn lease(number: u16) -> LeaseId {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    LeaseId::from_bytes(bytes)
}

/// Grants `count` peers lease n to peer n at `now`.
fn granted(count: u8, now: Instant) -> Leases {
    let mut leases = Leases::new(TTL);
    leases.sweep(now);
    for number in 0..count {
        leases.grant(peer(number), 1, lease(number.into()), now).unwrap();
    }
    leases
}

/// Sweeps each second up to and at `until`; returns who expired and how many seconds after `start`.
fn sweep_until(leases: &mut Leases, start: Instant, from: u64, until: u64) -> HashMap<PeerId, u64> {
    let mut expired = HashMap::new();
    for second in from..=until {
        for (peer, _) in leases.sweep(start + Duration::from_secs(second)) {
            expired.insert(peer, second);
        }
    }
    expired
}

#[test]
fn a_silent_peer_is_gone_a_lease_later_and_a_renewed_one_is_not() {
    let start = Instant::now();
    let mut leases = granted(2, start);
    leases.renew(&lease(1), start + Duration::from_secs(20)).unwrap();
    let expired = sweep_until(&mut leases, start, 1, 40);
    assert_eq!(expired, HashMap::from([(peer(0), 30)]));
}

#[test]
fn an_old_incarnation_is_refused_and_its_lease_does_nothing() {
    let start = Instant::now();
    let mut leases = granted(1, start);
    let granted = leases.grant(peer(0), 2, lease(100), start).unwrap();
    assert_eq!(granted, Granted::Replaced { lease: lease(100), before: lease(0) });
    assert_eq!(leases.grant(peer(0), 1, lease(101), start), Err(Superseded { asked: 1, registered: 2 }));
    assert_eq!(leases.renew(&lease(0), start), None);
    assert_eq!(leases.stream_lost(&lease(0), start), None);
    assert_eq!(leases.release(&lease(0)), None);
    assert_eq!(leases.owner(&lease(100)), Some(peer(0)));
}

#[test]
fn the_same_incarnation_keeps_its_lease() {
    let start = Instant::now();
    let mut leases = granted(1, start);
    assert_eq!(leases.grant(peer(0), 1, lease(9), start), Ok(Granted::Same(lease(0))));
    assert_eq!(leases.owner(&lease(9)), None);
}

#[test]
fn a_lost_stream_ends_within_a_second_unless_the_peer_comes_back() {
    let start = Instant::now();
    let mut leases = granted(2, start);
    leases.stream_lost(&lease(0), start);
    leases.stream_lost(&lease(1), start);
    leases.grant(peer(1), 1, lease(50), start).unwrap();
    assert!(leases.sweep(start + STREAM_LOST_GRACE.saturating_sub(Duration::from_millis(1))).is_empty());
    assert_eq!(leases.sweep(start + STREAM_LOST_GRACE), [(peer(0), lease(0))]);
    assert!(STREAM_LOST_GRACE + SWEEP_INTERVAL <= Duration::from_secs(1));
}

#[test]
fn a_registry_that_slept_expires_nobody_until_a_lease_has_passed() {
    let start = Instant::now();
    let mut leases = granted(1, start);
    assert!(leases.sweep(start + Duration::from_secs(100)).is_empty());
    let expired = sweep_until(&mut leases, start, 101, 200);
    assert_eq!(expired, HashMap::from([(peer(0), 130)]));
}

#[test]
fn a_cut_off_crowd_is_held_two_leases_and_no_longer() {
    let start = Instant::now();
    let mut leases = granted(100, start);
    // Heartbeats are spread over 10 s; from second 10 on, 40 of 100 are cut off.
    for second in 1..10u64 {
        for number in (0..100u8).filter(|number| u64::from(number % 10) == second) {
            leases.renew(&lease(number.into()), start + Duration::from_secs(second));
        }
    }
    let mut expired = HashMap::new();
    for second in 10..130u64 {
        for number in (40..100u8).filter(|number| u64::from(number % 10) == second % 10) {
            leases.renew(&lease(number.into()), start + Duration::from_secs(second));
        }
        expired.extend(sweep_until(&mut leases, start, second, second));
    }
    assert_eq!(expired.len(), 40);
    for (peer, second) in expired {
        let last_renewal = u64::from(peer.as_bytes()[0] % 10);
        // The last few are no crowd any more and go with the others.
        assert!(
            second >= 3 * TTL.as_secs() && second <= last_renewal + 3 * TTL.as_secs(),
            "{peer}: {second}"
        );
    }
}

#[test]
fn a_held_crowd_that_comes_back_lost_nothing() {
    let start = Instant::now();
    let mut leases = granted(20, start);
    assert!(sweep_until(&mut leases, start, 1, 60).is_empty());
    for number in 0..20 {
        assert!(leases.renew(&lease(number), start + Duration::from_secs(60)).is_some());
    }
    assert_eq!(leases.len(), 20);
}

#[derive(Debug, Clone)]
enum Step {
    Grant { peer: u8, incarnation: u64 },
    Renew { lease: u16 },
    StreamLost { lease: u16 },
    Release { lease: u16 },
    Wait { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..12u8, 1..4u64).prop_map(|(peer, incarnation)| Step::Grant { peer, incarnation }),
        3 => (0..60u16).prop_map(|lease| Step::Renew { lease }),
        1 => (0..60u16).prop_map(|lease| Step::StreamLost { lease }),
        1 => (0..60u16).prop_map(|lease| Step::Release { lease }),
        3 => (0..12u64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Against the plainest possible model: who holds which lease, and when it was last renewed.
    #[test]
    fn only_the_newest_lease_counts_and_liveness_is_bounded(steps in steps()) {
        let start = Instant::now();
        let mut now = start;
        let mut leases = Leases::new(TTL);
        // peer -> (lease, incarnation, last sign of life, stream is there)
        let mut model: HashMap<PeerId, (LeaseId, u64, Instant, bool)> = HashMap::new();
        let mut next_lease = 0;
        for step in steps {
            match step {
                Step::Grant { peer: number, incarnation } => {
                    let id = peer(number);
                    let granted = leases.grant(id, incarnation, lease(next_lease), now);
                    next_lease += 1;
                    match model.get(&id).copied() {
                        Some((_, registered, ..)) if registered > incarnation => {
                            prop_assert_eq!(granted, Err(Superseded { asked: incarnation, registered }));
                        }
                        held => {
                            let granted = granted.unwrap();
                            if let Some((before, registered, ..)) = held {
                                prop_assert_eq!(registered == incarnation, granted.lease() == before);
                            }
                            model.insert(id, (granted.lease(), incarnation, now, true));
                        }
                    }
                }
                Step::Renew { lease: number } => {
                    let owner = model.iter_mut().find(|(_, held)| held.0 == lease(number));
                    prop_assert_eq!(leases.renew(&lease(number), now), owner.as_ref().map(|(id, _)| **id));
                    if let Some((_, held)) = owner {
                        (held.2, held.3) = (now, true);
                    }
                }
                Step::StreamLost { lease: number } => {
                    let owner = model.iter_mut().find(|(_, held)| held.0 == lease(number));
                    prop_assert_eq!(leases.stream_lost(&lease(number), now), owner.as_ref().map(|(id, _)| **id));
                    if let Some((_, held)) = owner {
                        held.3 = false;
                    }
                }
                Step::Release { lease: number } => {
                    let owner = model.iter().find(|(_, held)| held.0 == lease(number)).map(|(id, _)| *id);
                    prop_assert_eq!(leases.release(&lease(number)), owner);
                    owner.map(|id| model.remove(&id));
                }
                Step::Wait { seconds } => {
                    for _ in 0..seconds {
                        now += Duration::from_secs(1);
                        for (id, _) in leases.sweep(now) {
                            let (.., seen, has_stream) = model.remove(&id).expect("expired once");
                            prop_assert!(!has_stream || now - seen >= TTL);
                        }
                        for (_, _, seen, _) in model.values() {
                            prop_assert!(now - *seen < TTL * 3, "held longer than two leases");
                        }
                    }
                }
            }
            prop_assert_eq!(leases.len(), model.len());
            prop_assert_eq!(leases.owners.len(), model.len());
            prop_assert_eq!(leases.queue.len(), model.len());
        }
    }
}
