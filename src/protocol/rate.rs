//! How often each of many may do something: a burst, and from then on once in a while.
//!
//! Invariant: within any time T nobody is let through more often than the burst and once more for each interval in T;
//! memory is that of those who came within the last moments, and bounded.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// Those who are forgotten when so many are counted, and whenever they are twice those that were left then.
const SWEEP_AT: usize = 64;
/// Counted at once; with more, everyone new is refused until some of them are forgotten. About 6 MiB.
const MAX_KEYS: usize = 65_536;

/// A burst, and how long one of it takes to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So often at once.
    pub burst: u32,
    /// One more after each of these.
    pub interval: Duration,
}

/// Too often; once more after so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too often; try again in {} s", .after.as_secs() + 1)]
pub struct TooOften {
    /// Time until the next one is let through.
    pub after: Duration,
}

/// Counts per key by the generic cell rate algorithm (ITU-T I.371): one time per key.
#[derive(Debug)]
pub struct Rates<K> {
    rate: Rate,
    /// When each would have come if it came evenly.
    even_at: HashMap<K, Instant>,
    sweep_at: usize,
}

impl<K: Eq + Hash> Rates<K> {
    /// Nobody came yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, even_at: HashMap::new(), sweep_at: SWEEP_AT }
    }

    /// One comes.
    ///
    /// # Errors
    /// [`TooOften`]; it is not counted then.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), TooOften> {
        self.sweep(now);
        let Rate { burst, interval } = self.rate;
        let even_at = self.even_at.get(&key).copied().unwrap_or(now).max(now);
        let ahead = even_at.saturating_duration_since(now);
        let most = interval.saturating_mul(burst.saturating_sub(1));
        if ahead > most {
            return Err(TooOften { after: ahead.saturating_sub(most) });
        }
        if self.even_at.len() >= MAX_KEYS && !self.even_at.contains_key(&key) {
            return Err(TooOften { after: interval });
        }
        self.even_at.insert(key, even_at.checked_add(interval).unwrap_or(even_at));
        Ok(())
    }

    fn sweep(&mut self, now: Instant) {
        if self.even_at.len() >= self.sweep_at {
            self.even_at.retain(|_, even_at| *even_at > now);
            self.sweep_at = (2 * self.even_at.len()).clamp(SWEEP_AT, MAX_KEYS);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_the_burst_one_comes_through_in_each_interval() {
        let mut rates = Rates::new(Rate { burst: 3, interval: SECOND });
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(rates.take('a', now), Ok(()));
        }
        assert_eq!(rates.take('a', now), Err(TooOften { after: SECOND }));
        assert_eq!(rates.take('b', now), Ok(()), "others are counted apart");
        assert_eq!(rates.take('a', now + SECOND), Ok(()), "a refusal costs nothing");
        assert!(rates.take('a', now + SECOND).is_err());
    }

    #[test]
    fn those_of_the_past_are_forgotten_and_their_number_is_bounded() {
        let mut rates = Rates::new(Rate { burst: 1, interval: SECOND });
        let now = Instant::now();
        for key in 0..MAX_KEYS {
            rates.take(key, now).expect("room");
        }
        assert!(rates.take(MAX_KEYS, now).is_err());
        rates.take(MAX_KEYS, now + SECOND).expect("room again");
        assert_eq!(rates.even_at.len(), 1);
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_intervals(
            pauses in prop::collection::vec(0u64..3000, 1..200),
            burst in 1u32..8,
        ) {
            let mut rates = Rates::new(Rate { burst, interval: SECOND });
            let (start, mut let_through) = (Instant::now(), Vec::new());
            let mut now = start;
            for pause in pauses {
                now += Duration::from_millis(pause);
                if rates.take((), now).is_ok() {
                    let_through.push(now);
                }
            }
            for (first, from) in let_through.iter().enumerate() {
                for (count, until) in let_through[first..].iter().enumerate() {
                    let allowed = u64::from(burst) + (*until - *from).as_secs();
                    prop_assert!(u64::try_from(count).unwrap() < allowed, "{count} within {:?}", *until - *from);
                }
            }
        }
    }
}
