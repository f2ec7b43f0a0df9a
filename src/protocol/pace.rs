//! The least pace of a transfer that holds a place here: who is slower for long gives the place up to others.

use std::time::Duration;

/// Half of what a line of 128 kbit/s brings; whoever is slower has no use of a place that others wait for. A guess.
pub const LEAST_BYTES_PER_SECOND: u64 = 8 << 10;

/// How long the other side may still be waited for: waiting spends it, bytes earn it back, and it is never more than at
/// the beginning, so that a fast start buys no long silence.
#[derive(Debug, Clone, Copy)]
pub struct LeastPace {
    left: Duration,
    most: Duration,
}

impl LeastPace {
    /// With this much patience at the beginning, and at most.
    pub fn new(most: Duration) -> Self {
        Self { left: most, most }
    }

    /// How much longer the next bytes may take; zero when the other side is to be given up.
    pub fn patience(&self) -> Duration {
        self.left
    }

    /// So many bytes moved after this wait.
    pub fn waited(&mut self, wait: Duration, bytes: u64) {
        let earned = Duration::from_millis(bytes.saturating_mul(1000) / LEAST_BYTES_PER_SECOND);
        self.left = self.left.saturating_sub(wait).saturating_add(earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(60);

    #[test]
    fn a_chunk_a_minute_is_not_enough_and_a_slow_line_is() {
        let rounds = |wait: u64, bytes| {
            let mut pace = LeastPace::new(MOST);
            let wait = Duration::from_secs(wait);
            let is_kept = |_: &i32| {
                let is_kept = pace.patience() >= wait;
                pace.waited(wait, bytes);
                is_kept
            };
            (0..1000).take_while(is_kept).count()
        };
        assert!(rounds(59, 256 << 10) < 5);
        assert!(rounds(59, 0) < 3);
        assert_eq!(rounds(30, 256 << 10), 1000);
        assert_eq!(rounds(1, LEAST_BYTES_PER_SECOND), 1000);
    }

    #[test]
    fn a_fast_start_buys_no_long_silence() {
        let mut pace = LeastPace::new(MOST);
        pace.waited(Duration::ZERO, u64::MAX);
        assert_eq!(pace.patience(), MOST);
    }
}
