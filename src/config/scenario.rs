//! What a scenario says, checked.

use std::time::Duration;

use super::checked::DeployDefaults;

/// What happens to a made-up service while a version is deployed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Everything that is drawn depends on it.
    pub seed: u64,
    /// No longer than that.
    pub duration: Duration,
    /// Who asks.
    pub users: Crowd,
    /// Requests a second.
    pub rate: Series<f64>,
    /// How stable answers.
    pub stable: Series<Answers>,
    /// How the canary answers.
    pub canary: Series<Answers>,
    /// How the version is deployed.
    pub deploy: DeployDefaults,
}

/// Users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crowd {
    /// How many.
    pub count: usize,
    /// Whether few of them make most of the requests (Pareto 1.2).
    pub heavy_tailed: bool,
    /// This part of them has half of all errors.
    pub culprits: f64,
}

/// How a track answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answers {
    /// A fraction of 1.
    pub error_rate: f64,
    /// The median; latencies are distributed log-normally.
    pub latency: Duration,
    /// The 95th percentile.
    pub p95: Duration,
}

/// A value that changes with time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<T>(Vec<(Duration, T)>);

impl<T> Series<T> {
    /// Always the same.
    pub fn constant(value: T) -> Self {
        Self(vec![(Duration::ZERO, value)])
    }

    /// Parts in the order of their beginnings, the first at 0; else `None`.
    pub fn new(parts: Vec<(Duration, T)>) -> Option<Self> {
        let ordered = parts.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let begins = parts.first().is_some_and(|(at, _)| at.is_zero());
        (ordered && begins).then_some(Self(parts))
    }

    /// Its value at that time.
    pub fn at(&self, time: Duration) -> &T {
        let later = self.0.partition_point(|(at, _)| *at <= time);
        // There is a first part, and it begins at 0.
        &self.0[later.saturating_sub(1)].1
    }
}
