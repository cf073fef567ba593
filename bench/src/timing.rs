//! Measuring: rates that other load disturbs little, and latencies by rank.

use std::time::{Duration, Instant};

/// How long one slice of a measurement is. Short enough that some slices of a busy machine are undisturbed.
const SLICE: Duration = Duration::from_millis(10);

/// How often `work` happens in a second, over one slice. `work` returns how much it did.
pub fn rate(mut work: impl FnMut() -> u64) -> f64 {
    let start = Instant::now();
    let mut done = 0;
    loop {
        done += work();
        let elapsed = start.elapsed();
        if elapsed >= SLICE {
            return done as f64 / elapsed.as_secs_f64();
        }
    }
}

/// The best of `rounds` rates of each of `works`, slices of them taken by turns: whatever disturbs one of them for a
/// while disturbs all, and the best slice is the one that was disturbed least.
pub fn best_rates<const N: usize>(rounds: u32, works: &mut [&mut dyn FnMut() -> u64; N]) -> [f64; N] {
    let mut best = [0.0_f64; N];
    for _ in 0..rounds {
        for (best, work) in best.iter_mut().zip(works.iter_mut()) {
            *best = best.max(rate(work));
        }
    }
    best
}

/// Latencies in milliseconds, by rank.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<f64>);

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, latency: Duration) {
        self.0.push(latency.as_secs_f64() * 1_000.0);
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The latency, in milliseconds, that this share of them does not exceed; 0 where there is none.
    pub fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_the_smallest_latency_that_covers_the_share() {
        let mut latencies = Latencies::default();
        for millis in (1..=100).rev() {
            latencies.push(Duration::from_millis(millis));
        }
        assert_eq!([0.5, 0.99, 1.0].map(|share| latencies.at(share)), [50.0, 99.0, 100.0]);
        assert_eq!(Latencies::default().at(0.5), 0.0);
    }
}
