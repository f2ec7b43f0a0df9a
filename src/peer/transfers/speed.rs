//! How fast a transfer is: the one place where a speed is computed.
//!
//! Invariant: memory is bounded by [`MAX_SAMPLES`] whatever is counted, and a transfer that stands still has the speed 0
//! after [`WINDOW`].

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// A speed is the mean over so long.
pub const WINDOW: Duration = Duration::from_secs(5);
/// Bytes that come within this time are one sample.
const SAMPLE: Duration = Duration::from_millis(250);
/// Samples of one window, the one that is being filled included.
const MAX_SAMPLES: usize = 21;
/// Shorter spans tell more of buffers than of the network.
const MIN_SPAN: Duration = Duration::from_millis(500);

/// The bytes of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Since when bytes are counted without a break.
    began: Option<Instant>,
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    pub(super) fn count(&mut self, bytes: u64, now: Instant) {
        self.began.get_or_insert(now);
        if let Some((at, sum)) = self.samples.back_mut()
            && now.duration_since(*at) < SAMPLE
        {
            *sum += bytes;
            return;
        }
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, bytes));
    }

    /// The mean of the last [`WINDOW`]; 0 until there is something to tell.
    pub(super) fn bytes_per_second(&self, now: Instant) -> u64 {
        let Some(began) = self.began else { return 0 };
        let span = now.duration_since(began).min(WINDOW);
        if span < MIN_SPAN {
            return 0;
        }
        let recent = self.samples.iter().filter(|(at, _)| now.duration_since(*at) <= WINDOW);
        let bytes: u64 = recent.map(|(_, bytes)| bytes).sum();
        u64::try_from(u128::from(bytes) * 1000 / span.as_millis()).unwrap_or(u64::MAX)
    }

    /// It stands still from now on.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_has_its_speed_and_memory_is_bounded() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        for tick in 0..10_000_u64 {
            meter.count(1000, start + Duration::from_millis(10 * tick));
        }
        let speed = meter.bytes_per_second(start + Duration::from_secs(100));
        assert!((95_000..=105_000).contains(&speed), "{speed}");
        assert!(meter.samples.len() <= MAX_SAMPLES);
    }

    #[test]
    fn a_burst_is_smoothed_and_a_standstill_is_0() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        meter.count(5_000_000, start);
        assert_eq!(meter.bytes_per_second(start + MIN_SPAN / 2), 0, "too early to tell");
        assert_eq!(meter.bytes_per_second(start + WINDOW), 1_000_000);
        assert_eq!(meter.bytes_per_second(start + 2 * WINDOW), 0);
        meter.count(1, start + 2 * WINDOW);
        meter.stop();
        assert_eq!(meter.bytes_per_second(start + 3 * WINDOW), 0);
    }
}
