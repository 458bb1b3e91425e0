//! What an operator asks of the guard, and how its budget is split.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// A deployment's guard, fixed when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuardPlan {
    /// The probability of rolling back a version that changes nothing.
    pub false_rollback: Alpha,
    /// The comparison of errors with stable.
    pub errors: Enforcement,
    /// How `maxErrorRate` is judged.
    pub rate: RateRule,
}

impl Default for GuardPlan {
    fn default() -> Self {
        Self { false_rollback: Alpha::DEFAULT, errors: Enforcement::Enforce, rate: RateRule::Plain }
    }
}

impl GuardPlan {
    /// Guards that enforce share the budget by weight; one alone has all of it,
    /// and so has one that only reports.
    pub fn comparison_alpha(&self) -> Alpha {
        match (self.errors, self.rate) {
            (Enforcement::Enforce, RateRule::Evidence) => self.false_rollback.part(2, 3),
            _ => self.false_rollback,
        }
    }

    /// The limit's part of the budget.
    pub fn limit_alpha(&self) -> Alpha {
        match (self.errors, self.rate) {
            (Enforcement::Enforce, RateRule::Evidence) => self.false_rollback.part(1, 3),
            _ => self.false_rollback,
        }
    }
}
