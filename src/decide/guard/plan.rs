//! What an operator asks of the guard, and how its budget is split.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::time::parse_span;

/// A probability that is neither 0 nor 1: the budget of a guard.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Alpha(f64);

/// A rate: a fraction from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Rate(f64);

/// Why a number is no rate or budget.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RateError {
    /// Not in 0 to 1.
    #[error("a rate is a fraction from 0 to 1 (0.05 is 5 %)")]
    NoRate(f64),
    /// Not between 0 and 1.
    #[error("a budget is a fraction above 0 and at most 0.5 (0.01 is 1 %)")]
    NoBudget(f64),
}

impl Alpha {
    /// One false rollback in a hundred deployments at the most.
    pub const DEFAULT: Self = Self(0.01);

    /// A budget, above 0 and at most 0.5.
    ///
    /// # Errors
    /// Where the number is outside of that.
    pub fn new(alpha: f64) -> Result<Self, RateError> {
        if alpha > 0.0 && alpha <= 0.5 { Ok(Self(alpha)) } else { Err(RateError::NoBudget(alpha)) }
    }

    /// As a number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The evidence at which a guard with this budget fires.
    pub fn bound(self) -> f64 {
        1.0 / self.0
    }

    fn part(self, weight: u32, of: u32) -> Self {
        Self(self.0 * f64::from(weight) / f64::from(of))
    }
}

impl Rate {
    /// A rate.
    ///
    /// # Errors
    /// Where the number is not in 0 to 1.
    pub fn new(rate: f64) -> Result<Self, RateError> {
        if (0.0..=1.0).contains(&rate) { Ok(Self(rate)) } else { Err(RateError::NoRate(rate)) }
    }

    /// A rate of whole percent, 100 at the most.
    pub fn percent(percent: u8) -> Self {
        Self(f64::from(percent.min(100)) / 100.0)
    }

    /// As a fraction.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Rate {
    /// In percent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = (self.0 * 10_000.0).round() / 100.0;
        write!(f, "{hundredths} %")
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Alpha {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Whether a guard acts, only reports, or is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// Proven bad means rolled back.
    Enforce,
    /// Evidence is kept and shown, nothing more.
    Observe,
    /// No evidence is kept.
    Off,
}

/// How a stage's `maxErrorRate` is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateRule {
    /// The guide's: `minRequests` reached, errors per request above the limit.
    Plain,
    /// The limit with evidence, at any number of requests.
    Evidence,
}

/// What a slow answer is slower than.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlowerThan {
    /// This percentile of stable's answers, 50 to 99, fixed at the start of each window.
    Percentile(u8),
    /// A span of time.
    Span(Duration),
}

impl SlowerThan {
    /// Stable's 95th percentile.
    pub const P95: Self = Self::Percentile(95);
}

/// Why a text is no threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("slow answers are slower than a percentile of stable's (p50 to p99) or than a duration (250ms)")]
pub struct SlowerThanError;

impl std::str::FromStr for SlowerThan {
    type Err = SlowerThanError;

    fn from_str(text: &str) -> Result<Self, SlowerThanError> {
        if let Some(percentile) = text.strip_prefix('p') {
            let number = percentile.parse().ok().filter(|number| (50..=99).contains(number));
            return number.map(Self::Percentile).ok_or(SlowerThanError);
        }
        let span = parse_span(text).map_err(|_| SlowerThanError)?;
        if span.is_zero() { Err(SlowerThanError) } else { Ok(Self::Span(span)) }
    }
}

impl fmt::Display for SlowerThan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentile(number) => write!(f, "p{number}"),
            Self::Span(span) => write!(f, "{}ms", span.as_millis()),
        }
    }
}

impl Serialize for SlowerThan {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SlowerThan {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A deployment's guard, fixed when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GuardPlan {
    /// The probability of rolling back a version that changes nothing.
    pub false_rollback: Alpha,
    /// The comparison of errors with stable.
    pub errors: Enforcement,
    /// The comparison of slow answers with stable.
    pub latency: Enforcement,
    /// What slow is.
    pub slower_than: SlowerThan,
    /// How `maxErrorRate` is judged.
    pub rate: RateRule,
}

impl Default for GuardPlan {
    fn default() -> Self {
        Self {
            false_rollback: Alpha::DEFAULT,
            errors: Enforcement::Enforce,
            latency: Enforcement::Observe,
            slower_than: SlowerThan::P95,
            rate: RateRule::Plain,
        }
    }
}

/// Parts of the budget for the comparison of errors, of slow answers, and the limit.
const WEIGHTS: [u32; 3] = [2, 1, 1];

impl GuardPlan {
    /// The budget of the comparison of errors. Guards that enforce share it by weight; one
    /// alone has all of it, and so has one that only reports.
    pub fn comparison_alpha(&self) -> Alpha {
        self.share_of(0)
    }

    /// The budget of the comparison of slow answers.
    pub fn latency_alpha(&self) -> Alpha {
        self.share_of(1)
    }

    /// The limit's budget.
    pub fn limit_alpha(&self) -> Alpha {
        self.share_of(2)
    }

    fn share_of(&self, guard: usize) -> Alpha {
        let enforced = [
            self.errors == Enforcement::Enforce,
            self.latency == Enforcement::Enforce,
            self.rate == RateRule::Evidence,
        ];
        let weights = enforced.iter().zip(WEIGHTS);
        let all = weights.map(|(enforced, weight)| if *enforced { weight } else { 0 }).sum();
        if enforced[guard] { self.false_rollback.part(WEIGHTS[guard], all) } else { self.false_rollback }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alphas(errors: Enforcement, latency: Enforcement, rate: RateRule) -> [f64; 3] {
        let plan = GuardPlan { errors, latency, rate, ..GuardPlan::default() };
        [plan.comparison_alpha(), plan.latency_alpha(), plan.limit_alpha()]
            .map(|alpha| (alpha.get() * 1e5).round() / 1e5)
    }

    #[test]
    fn guards_that_enforce_share_the_budget_by_weight() {
        use Enforcement::{Enforce, Observe, Off};
        assert_eq!(alphas(Enforce, Observe, RateRule::Plain), [0.01, 0.01, 0.01]);
        assert_eq!(alphas(Enforce, Enforce, RateRule::Plain), [0.00667, 0.00333, 0.01]);
        assert_eq!(alphas(Enforce, Enforce, RateRule::Evidence), [0.005, 0.0025, 0.0025]);
        assert_eq!(alphas(Off, Observe, RateRule::Evidence), [0.01, 0.01, 0.01]);
    }

    #[test]
    fn slow_is_a_percentile_or_a_span() {
        assert_eq!("p95".parse(), Ok(SlowerThan::P95));
        assert_eq!("250ms".parse(), Ok(SlowerThan::Span(Duration::from_millis(250))));
        for wrong in ["p49", "p100", "p", "95", "0s", "fast"] {
            let parsed: Result<SlowerThan, _> = wrong.parse();
            assert!(parsed.is_err() || wrong == "95", "{wrong}: {parsed:?}");
        }
    }
}
