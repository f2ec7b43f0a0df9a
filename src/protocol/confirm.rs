//! How often a peer asks the registry, at the end of searches, whether it has been told everything.
//!
//! Invariant: however soon the answers come, the heartbeats that ask are far fewer than a connection may bring idle frames
//! ([`super::idle`]); whoever asks in between shares the next.

use std::time::{Duration, Instant};

/// From one to the next: half as many as idle frames are earned back meanwhile.
const GAP: Duration = Duration::from_millis(10);

/// When such a heartbeat was sent the last time.
#[derive(Debug, Default)]
pub struct Confirms {
    last: Option<Instant>,
}

impl Confirms {
    /// The next one is not sent earlier; `None`: at any time.
    pub fn not_before(&self) -> Option<Instant> {
        self.last.map(|last| last + GAP)
    }

    /// One was sent.
    pub fn on_sent(&mut self, now: Instant) {
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::idle::{Budget, Reading, Seen};

    /// What a peer does whose searches end faster than any of them is confirmed.
    #[test]
    fn a_minute_of_searches_that_end_all_the_time_is_never_too_much_for_the_registry() {
        const ANSWERED_WITHIN: Duration = Duration::from_micros(100);
        const ACK_BYTES: usize = 75;
        let begun = Instant::now();
        let (mut budget, mut confirms, mut now) = (Budget::new(begun), Confirms::default(), begun);
        while now < begun + Duration::from_secs(60) {
            now = confirms.not_before().map_or(now, |not_before| now.max(not_before));
            confirms.on_sent(now);
            assert_eq!(budget.on_read(Seen { calls: 0, idle: 1 }, now), Reading::On, "{:?}", now - begun);
            budget.on_answered(ACK_BYTES);
            now += ANSWERED_WITHIN;
        }
    }

    #[test]
    fn one_after_a_pause_is_sent_at_once() {
        let (mut confirms, now) = (Confirms::default(), Instant::now());
        assert_eq!(confirms.not_before(), None);
        confirms.on_sent(now);
        assert_eq!(confirms.not_before(), Some(now + GAP));
    }
}
