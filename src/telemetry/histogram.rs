//! How long things took, counted where they happen and read elsewhere: no lock, so that whoever counts never waits.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Times by the bucket that they fall into.
#[derive(Debug)]
pub struct Histogram {
    bounds_seconds: &'static [f64],
    /// One more than there are bounds, for what is above them all.
    counts: Box<[AtomicU64]>,
    sum_micros: AtomicU64,
}

/// A [`Histogram`] at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distribution {
    /// Upper bound of each bucket in seconds, in order, and what fell into it alone; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// All times together, in seconds.
    pub sum_seconds: f64,
}

impl Histogram {
    /// With these upper bounds, in order.
    pub fn new(bounds_seconds: &'static [f64]) -> Self {
        let counts = (0..=bounds_seconds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds_seconds, counts, sum_micros: AtomicU64::new(0) }
    }

    /// Something took this long.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds_seconds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Relaxed);
        // Overflows after half a million years of searching.
        self.sum_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// As it is now. What is counted meanwhile may be in the buckets and not yet in the sum.
    pub fn now(&self) -> Distribution {
        let bounds = self.bounds_seconds.iter().copied().chain([f64::INFINITY]);
        Distribution {
            buckets: bounds.zip(self.counts.iter().map(|count| count.load(Relaxed))).collect(),
            sum_seconds: Duration::from_micros(self.sum_micros.load(Relaxed)).as_secs_f64(),
        }
    }
}

impl Distribution {
    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[0.001, 0.01]);
        for micros in [1, 1000, 1001, 10_000, 10_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let now = histogram.now();
        assert_eq!(now.buckets, [(0.001, 2), (0.01, 2), (f64::INFINITY, 1)]);
        assert_eq!(now.count(), 5);
        assert!((now.sum_seconds - 0.022_003).abs() < 1e-9, "{now:?}");
    }
}
