//! The distributions that the simulations draw from.

use rand::{RngExt, rngs::SmallRng};

/// Ranks from 0, rank r with a weight of (r + 1)^-exponent.
#[derive(Debug, Clone)]
pub struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    pub fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=ranks).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self { cumulated: weights.collect() }
    }

    pub fn draw(&self, rng: &mut SmallRng) -> usize {
        let at = rng.random::<f64>() * self.total();
        self.cumulated.partition_point(|sum| *sum <= at).min(self.cumulated.len() - 1)
    }

    /// Probability of one rank.
    pub fn share(&self, rank: usize) -> f64 {
        let below = if rank == 0 { 0.0 } else { self.cumulated[rank - 1] };
        (self.cumulated[rank] - below) / self.total()
    }

    fn total(&self) -> f64 {
        self.cumulated.last().copied().unwrap_or(0.0)
    }
}

/// With mean 0 and standard deviation 1 (Box and Muller, 1958).
pub fn normal(rng: &mut SmallRng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

/// True that often.
pub fn happens(probability: f64, rng: &mut SmallRng) -> bool {
    rng.random::<f64>() < probability
}

/// Mean, median and 99th percentile of figures.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Figures {
    pub mean: f64,
    pub median: f64,
    pub p99: f64,
}

impl Figures {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let Some(last) = values.len().checked_sub(1) else { return Self::default() };
        let at = |part: usize| values[(values.len() * part / 100).min(last)];
        Self { mean: values.iter().sum::<f64>() / values.len() as f64, median: at(50), p99: at(99) }
    }
}
