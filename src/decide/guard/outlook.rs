//! What a stage can see: before a rollout, from its traffic (guard/README.md section 6).
//!
//! Formulas, not simulations: most medians within a fifth, all within a third, where
//! more than a few events are needed. `serin simulate` is there for the rest.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::comparison::ODDS;
use super::judge::StageRule;
use super::plan::{Enforcement, GuardPlan, RateRule};
use crate::decide::bucket::Share;

/// Nine of ten runs need at most this many times the median (the 95th percentile is about twice).
const NINE_OF_TEN: f64 = 1.7;
/// Of a standard normal distribution: nine of ten lie above minus this.
const Z90: f64 = 1.2816;
/// Tried error rates grow by this factor.
const FINER: f64 = 1.05;
const RATE_MIN: f64 = 1e-5;

/// What comes to a service.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Requests a second, on all tracks.
    pub requests_per_second: f64,
    /// Stable's errors, a fraction of 1.
    pub error_rate: f64,
}

/// The smallest error rate that is found in nine of ten cases.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The canary's, a fraction of 1.
    pub error_rate: f64,
    /// Canary requests until then, in nine of ten cases.
    pub requests: u64,
    /// Errors among them: so many answers users would see without a shield.
    pub errors: u64,
    /// Which rule finds it.
    pub rule: &'static str,
}

/// What a stage can see.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outlook {
    /// Canary requests in its duration.
    pub canary_requests: u64,
    /// How long it lasts at least: its duration, or until `minRequests` have come.
    pub lasts_seconds: f64,
    /// What is found; absent where nothing is.
    pub found: Option<Found>,
    /// A canary that fails everything is found after so many of its requests.
    pub total_failure_after: Option<u64>,
    /// What should be thought about.
    pub warnings: Vec<String>,
}

/// What a stage can see.
pub fn outlook(guard: GuardPlan, share: Share, rule: StageRule, duration: Duration, traffic: Traffic) -> Outlook {
    let part = f64::from(share.basis_points()) / 10_000.0;
    let per_second = traffic.requests_per_second * part;
    let needed = if per_second > 0.0 { rule.min_requests as f64 / per_second } else { f64::INFINITY };
    let needed = if rule.min_requests == 0 { 0.0 } else { needed };
    let lasts = duration.as_secs_f64().max(needed);
    // A stage that time does not end goes on: what is found, is found in an hour.
    let watched = if lasts > 0.0 && lasts.is_finite() { lasts } else { 3_600.0 };
    let requests = per_second * watched;
    let rules = Rules { guard, part, rule, stable: traffic.error_rate };
    let mut warnings = Vec::new();
    if needed > duration.as_secs_f64() {
        warnings.push(if needed.is_finite() {
            format!("minRequests ({}) takes {needed:.0} s at this traffic, longer than the stage", rule.min_requests)
        } else {
            format!("minRequests ({}) is never reached: no request comes", rule.min_requests)
        });
    }
    if traffic.error_rate > rule.max_error_rate.get() {
        warnings.push(format!("stable's own error rate is above the stage's {}", rule.max_error_rate));
    }
    let found = rules.smallest(requests);
    if found.is_none() {
        warnings.push("nothing but chance would be seen in this stage: too few requests".to_owned());
    }
    Outlook {
        canary_requests: (per_second * duration.as_secs_f64()) as u64,
        lasts_seconds: lasts,
        total_failure_after: rules.needed(1.0).map(|(needed, _)| needed.ceil() as u64),
        found,
        warnings,
    }
}

struct Rules {
    guard: GuardPlan,
    part: f64,
    rule: StageRule,
    stable: f64,
}

impl Rules {
    fn smallest(&self, requests: f64) -> Option<Found> {
        let from = self.stable.max(RATE_MIN);
        let rates = (1..).map(|step| from * FINER.powi(step)).take_while(|rate| *rate < 1.0).chain([1.0]);
        let fits = |rate: f64| {
            let (needed, rule) = self.needed(rate)?;
            let needed = needed * if rate >= 1.0 { 1.0 } else { NINE_OF_TEN };
            let found =
                Found { error_rate: rate, requests: needed.ceil() as u64, errors: (needed * rate).ceil() as u64, rule };
            (needed <= requests).then_some(found)
        };
        rates.into_iter().find_map(fits)
    }

    /// Canary requests until the first rule finds this rate, as a median.
    fn needed(&self, rate: f64) -> Option<(f64, &'static str)> {
        let comparison = self.comparison(rate).map(|needed| (needed, "errors"));
        let evidence = self.guard.rate == RateRule::Evidence || self.rule.min_requests == 0;
        let limit = if evidence { self.limit(rate).map(|needed| (needed, "limit")) } else { self.plain(rate) };
        [comparison, limit].into_iter().flatten().min_by(|(a, _), (b, _)| a.total_cmp(b))
    }

    fn comparison(&self, rate: f64) -> Option<f64> {
        if self.guard.errors != Enforcement::Enforce || self.part <= 0.0 || self.part >= 1.0 {
            return None;
        }
        let stable = self.stable.clamp(RATE_MIN, 0.999);
        let odds =
            (rate.min(0.999_9) / (1.0 - rate.min(0.999_9)) / (stable / (1.0 - stable))).min(ODDS[ODDS.len() - 1]);
        if odds <= ODDS[0] {
            return None;
        }
        let canary = self.part * odds / (1.0 - self.part + self.part * odds);
        let events = (self.bound(self.guard.comparison_alpha().get()) + 16_f64.ln()) / divergence(canary, self.part);
        // A few at least: one event never fires.
        Some((events * canary).max(2.0) / rate)
    }

    fn limit(&self, rate: f64) -> Option<f64> {
        let limit = self.rule.max_error_rate.get();
        if limit <= 0.0 {
            return Some(1.0 / rate);
        }
        if rate <= limit * 1.25 || limit >= 1.0 {
            return None;
        }
        let bound = self.bound(self.guard.limit_alpha().get()) + 12_f64.ln();
        Some((bound / divergence(rate.min(0.95), limit)).max(2.0 / rate))
    }

    /// The guide's rule: errors above the limit, once enough have come.
    fn plain(&self, rate: f64) -> Option<(f64, &'static str)> {
        let limit = self.rule.max_error_rate.get();
        if rate <= limit {
            return None;
        }
        let spread = Z90 * (rate * (1.0 - rate)).sqrt() / (rate - limit);
        Some(((spread * spread / NINE_OF_TEN).max(self.rule.min_requests as f64 / NINE_OF_TEN), "errorRate"))
    }

    fn bound(&self, alpha: f64) -> f64 {
        // The first window may spend half.
        (2.0 / alpha).ln()
    }
}

fn divergence(p: f64, q: f64) -> f64 {
    let part = |p: f64, q: f64| if p > 0.0 { p * (p / q).ln() } else { 0.0 };
    part(p, q) + part(1.0 - p, 1.0 - q)
}

#[cfg(test)]
mod tests {
    use super::super::plan::Rate;
    use super::*;

    fn rules(share: f64, stable: f64) -> Rules {
        let rule = StageRule { min_requests: 100, max_error_rate: Rate::percent(5) };
        Rules { guard: GuardPlan::default(), part: share, rule, stable }
    }

    #[test]
    fn the_formula_is_near_the_definitions_medians() {
        // guard/README.md section 7: share, stable's rate, odds, median of canary requests.
        for (share, stable, times, median) in
            [(0.1, 0.001, 10.0, 629.0), (0.1, 0.01, 5.0, 208.0), (0.1, 0.01, 2.0, 2_070.0), (0.5, 0.01, 2.0, 3_650.0)]
        {
            let needed = rules(share, stable).comparison(stable * times).unwrap();
            assert!((needed / median - 1.0).abs() < 0.3, "{share} {stable} x{times}: {needed:.0}, not {median}");
        }
    }

    #[test]
    fn more_traffic_sees_smaller_faults_and_too_little_sees_nothing() {
        let rule = StageRule { min_requests: 100, max_error_rate: Rate::percent(5) };
        let at = |requests_per_second| {
            let traffic = Traffic { requests_per_second, error_rate: 0.001 };
            outlook(GuardPlan::default(), Share::clamped(10.0), rule, Duration::from_secs(300), traffic)
        };
        let (busy, quiet) = (at(1_000.0), at(10.0));
        assert!(busy.found.unwrap().error_rate < quiet.found.unwrap().error_rate);
        assert_eq!((busy.canary_requests, busy.warnings.len()), (30_000, 0));
        assert!(busy.total_failure_after.unwrap() <= 5);
        let silent = at(0.0);
        assert!(silent.found.is_none() || silent.lasts_seconds.is_infinite());
        assert!(!silent.warnings.is_empty());
        assert!(at(0.1).warnings[0].contains("minRequests"), "{:?}", at(0.1).warnings);
    }
}
