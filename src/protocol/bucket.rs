//! A rate in bytes per second, kept by telling everyone who moves bytes how long to wait first.
//!
//! Invariant: until any time T after the first bytes, no more than the rate allows for T and [`AHEAD`] has moved, but for
//! the one run of bytes that went over it. Whoever asks first moves first, so that equal runs share the rate equally.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

/// How far bytes may be ahead of their rate: hides that a timer is late by a millisecond, and is no burst that anyone
/// notices.
pub const AHEAD: Duration = Duration::from_millis(100);

/// Rates in bytes per second; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Of everything together.
    pub whole: u64,
    /// Of each other peer.
    pub per_peer: u64,
}

/// Counts bytes against a rate.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    bytes_per_second: NonZeroU64,
    /// When all bytes so far would have moved at exactly the rate.
    even_at: Option<Instant>,
}

impl Bucket {
    /// Nothing has moved yet.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, even_at: None }
    }

    /// How long to wait before so many bytes move. They are counted now, also when they do not move after all.
    pub fn take(&mut self, now: Instant, bytes: u64) -> Duration {
        let from = self.even_at.map_or(now, |even_at| even_at.max(now));
        let takes = self.time_of(bytes);
        // A time that the clock cannot hold is never waited for either.
        self.even_at = Some(from.checked_add(takes).unwrap_or(from));
        from.saturating_duration_since(now).saturating_sub(AHEAD)
    }

    /// So many of the bytes that were taken do not move.
    pub fn give_back(&mut self, bytes: u64) {
        self.even_at = self.even_at.and_then(|even_at| even_at.checked_sub(self.time_of(bytes)));
    }

    fn time_of(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// It is as new: forgetting it changes nothing.
    pub fn is_even(&self, now: Instant) -> bool {
        self.even_at.is_none_or(|even_at| even_at <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u128 = 1_000_000_000;

    #[test]
    fn a_pause_earns_no_more_than_the_time_ahead() {
        let start = Instant::now();
        let mut bucket = Bucket::new(NonZeroU64::new(1000).expect("not zero"));
        assert_eq!(bucket.take(start, 500), Duration::ZERO);
        assert_eq!(bucket.take(start, 500), Duration::from_millis(400));
        let later = start + Duration::from_secs(60);
        assert!(bucket.is_even(later));
        assert_eq!(bucket.take(later, 1000), Duration::ZERO);
        assert_eq!(bucket.take(later, 1), Duration::from_millis(900));
        assert!(!bucket.is_even(later));
    }

    #[test]
    fn what_does_not_move_is_as_if_it_had_not_been_taken() {
        let start = Instant::now();
        let mut bucket = Bucket::new(NonZeroU64::new(1000).expect("not zero"));
        bucket.take(start, 5000);
        bucket.give_back(4500);
        assert_eq!(bucket.take(start, 0), Duration::from_millis(400));
        bucket.give_back(500);
        assert!(bucket.is_even(start));
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_moves(
            rate in 1_000u64..1_000_000_000,
            runs in prop::collection::vec((0u64..200, 1u64..600_000), 1..200),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(NonZeroU64::new(rate).expect("not zero"));
            let (mut now, mut moved) = (start, 0);
            for (pause_ms, bytes) in runs {
                now += Duration::from_millis(pause_ms);
                now += bucket.take(now, bytes);
                // Each run is rounded to a nanosecond.
                let allowed = ((now - start + AHEAD).as_nanos() + 200) * u128::from(rate);
                prop_assert!(moved * SECOND <= allowed, "{moved} bytes after {:?}", now - start);
                moved += u128::from(bytes);
            }
        }

        #[test]
        fn who_asks_all_the_time_gets_the_whole_rate(
            rate in 1_000u64..1_000_000_000,
            runs in prop::collection::vec(1u64..600_000, 2..100),
        ) {
            let start = Instant::now();
            let mut bucket = Bucket::new(NonZeroU64::new(rate).expect("not zero"));
            let (mut now, mut moved) = (start, 0);
            for bytes in runs {
                now += bucket.take(now, bytes);
                prop_assert!((now - start).as_nanos() * u128::from(rate) <= moved * SECOND);
                moved += u128::from(bytes);
            }
        }
    }
}
