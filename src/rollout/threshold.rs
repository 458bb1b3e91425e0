//! What is slow: a percentile of stable's answers, fixed at the start of each window.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::guard::{Judge, SlowerThan};
use crate::decide::time::Moment;
use crate::subject::Subject;
use crate::telemetry::MergedLatency;

/// Below this many answers a percentile says little.
const ENOUGH: u64 = 200;
/// A service at rest remembers between one and two of these.
const RECENT: Duration = Duration::from_secs(300);

/// Stable's latencies in the last five to ten minutes, for the first window of a deployment.
#[derive(Debug, Default)]
pub(crate) struct RecentLatency {
    current: Arc<MergedLatency>,
    before: Arc<MergedLatency>,
    since: Moment,
}

impl RecentLatency {
    /// Where workers record now.
    pub(crate) fn current(&self) -> Arc<MergedLatency> {
        Arc::clone(&self.current)
    }

    /// Begins a new part where the current one is old enough; whether it did.
    pub(crate) fn turn(&mut self, now: Moment) -> bool {
        if now.since(self.since) < RECENT {
            return false;
        }
        self.since = now;
        self.before = std::mem::take(&mut self.current);
        true
    }

    fn percentile(&self, quantile: f64) -> Option<Duration> {
        // The newest part that has enough: what was longer ago says less.
        let enough = |part: &&Arc<MergedLatency>| part.count() >= ENOUGH;
        [&self.current, &self.before].into_iter().find(enough).and_then(|part| part.quantile(quantile))
    }
}

/// The threshold of a deployment's latency guard, window by window.
#[derive(Clone, Debug)]
pub(crate) struct Threshold {
    /// Stable's answers in this window.
    pub(super) window: Arc<MergedLatency>,
    quantile: Option<f64>,
    number: u32,
    /// Of the last window with enough answers.
    last: Option<Duration>,
}

impl Threshold {
    pub(crate) fn new(slower_than: SlowerThan, recent: &RecentLatency) -> Self {
        let quantile = match slower_than {
            SlowerThan::Percentile(percentile) => Some(f64::from(percentile) / 100.0),
            SlowerThan::Span(_) => None,
        };
        let last = quantile.and_then(|quantile| recent.percentile(quantile));
        Self { window: Arc::default(), quantile, number: 1, last }
    }

    /// Goes on where another process left it.
    pub(crate) fn recalled(mut self, judge: &Judge) -> Self {
        self.number = judge.latency().window();
        self.last = judge.threshold().or(self.last);
        self
    }

    /// Says what is slow where the judge does not know it yet, once there are enough answers.
    pub(crate) fn look(&mut self, subject: &Subject) {
        let Some(quantile) = self.quantile else { return };
        let Some(number) = subject.judge().wants_threshold() else { return };
        let ended = number != self.number;
        if (ended || self.last.is_none()) && self.window.count() >= ENOUGH {
            self.last = self.window.quantile(quantile);
        }
        if ended {
            self.window.clear();
            self.number = number;
        }
        if let Some(threshold) = self.last {
            subject.set_threshold(number, threshold);
        }
    }
}
