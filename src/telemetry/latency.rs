//! Latency histograms: recorded by one worker, merged four times a second.
//!
//! Units: microseconds, 1 µs to 60 s, two significant digits, saturating.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};

const LOWEST: u64 = 1;
const HIGHEST: u64 = 60_000_000;
const DIGITS: u8 = 2;

fn histogram<T: Counter>() -> Histogram<T> {
    // The bounds are constants that the crate allows: low is 1 or more, high twice that or more.
    #[allow(clippy::expect_used)]
    Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS).expect("the bounds are valid")
}

/// A worker's own histogram: 10 KiB, from its first record on.
#[derive(Debug, Default)]
pub struct LocalLatency {
    counts: Option<Histogram<u32>>,
    sum_micros: u64,
}

impl LocalLatency {
    /// Records a latency.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(HIGHEST).clamp(LOWEST, HIGHEST);
        self.counts.get_or_insert_with(histogram).saturating_record(micros);
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// Hands what was recorded to the merged histograms, and begins anew.
    pub fn flush<'a>(&mut self, into: impl IntoIterator<Item = &'a MergedLatency>) {
        let Some(counts) = self.counts.as_mut().filter(|counts| !counts.is_empty()) else { return };
        for merged in into {
            merged.add(counts, self.sum_micros);
        }
        counts.reset();
        self.sum_micros = 0;
    }
}

/// The histogram of all workers: 20 KiB, from its first record on.
#[derive(Debug, Default)]
pub struct MergedLatency(Mutex<Merged>);

#[derive(Debug, Default)]
struct Merged {
    counts: Option<Histogram<u64>>,
    sum_micros: u64,
}

impl Merged {
    fn quantiles<const N: usize>(&self, quantiles: [f64; N]) -> Option<[Duration; N]> {
        let counts = self.counts.as_ref().filter(|counts| !counts.is_empty())?;
        Some(quantiles.map(|quantile| Duration::from_micros(counts.value_at_quantile(quantile))))
    }
}

impl MergedLatency {
    fn add(&self, counts: &Histogram<u32>, sum_micros: u64) {
        let mut merged = self.lock();
        let own = merged.counts.get_or_insert_with(histogram);
        for value in counts.iter_recorded() {
            own.saturating_record_n(value.value_iterated_to(), u64::from(value.count_at_value()));
        }
        merged.sum_micros = merged.sum_micros.saturating_add(sum_micros);
    }

    /// A quantile (0 to 1); `None` before the first record.
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        self.quantiles([quantile]).map(|[found]| found)
    }

    /// Several quantiles at once; `None` before the first record.
    pub fn quantiles<const N: usize>(&self, quantiles: [f64; N]) -> Option<[Duration; N]> {
        self.lock().quantiles(quantiles)
    }

    /// The same, and begins anew: the next ones are of what comes from now on.
    pub fn take<const N: usize>(&self, quantiles: [f64; N]) -> Option<[Duration; N]> {
        let mut merged = self.lock();
        let taken = merged.quantiles(quantiles);
        match (&taken, merged.counts.as_mut()) {
            (Some(_), Some(counts)) => counts.reset(),
            // A service at rest holds no memory for it.
            _ => merged.counts = None,
        }
        taken
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.lock().counts.as_ref().map_or(0, Histogram::len)
    }

    /// Begins anew.
    pub fn clear(&self) {
        *self.lock() = Merged::default();
    }

    /// The sum in seconds, the count, and the counts in between these upper bounds (seconds).
    pub fn buckets(&self, bounds: &[f64]) -> (f64, u64, Vec<(f64, u64)>) {
        let merged = self.lock();
        let mut counts = vec![0_u64; bounds.len() + 1];
        for value in merged.counts.iter().flat_map(Histogram::iter_recorded) {
            let seconds = value.value_iterated_to() as f64 / 1e6;
            counts[bounds.partition_point(|bound| *bound < seconds)] += value.count_at_value();
        }
        let upper = bounds.iter().copied().chain([f64::MAX]);
        (merged.sum_micros as f64 / 1e6, merged.counts.as_ref().map_or(0, Histogram::len), upper.zip(counts).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Merged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_a_hundredth() {
        let merged = MergedLatency::default();
        assert_eq!(merged.quantile(0.95), None);
        let mut local = LocalLatency::default();
        (1..=1_000).for_each(|ms| local.record(Duration::from_millis(ms)));
        local.flush([&merged]);
        local.flush([&merged]);
        let p95 = merged.quantile(0.95).unwrap().as_secs_f64();
        assert!((0.94..0.96).contains(&p95), "{p95}");
        let (sum, count, buckets) = merged.buckets(&[0.1, 0.5]);
        assert_eq!(count, 1_000, "a second flush has nothing to add");
        assert!((sum - 500.5).abs() < 0.001, "{sum}");
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 1_000);
        assert!((98..=101).contains(&buckets[0].1), "{buckets:?}");
    }

    #[test]
    fn what_is_too_long_counts_as_the_longest() {
        let (merged, mut local) = (MergedLatency::default(), LocalLatency::default());
        local.record(Duration::from_secs(3_600));
        local.record(Duration::ZERO);
        local.flush([&merged]);
        assert!(merged.quantile(1.0).unwrap() >= Duration::from_secs(59));
    }
}
