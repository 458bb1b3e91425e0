//! A verdict, explained for good: one sentence, the numbers, where it failed, and what to replay.

use std::time::Duration;

use crate::decide::guard::{Breach, Judge};
use crate::store::{Counts, DecisionRecord, RouteRecord, ShieldedRecord};
use crate::subject::{Subject, Track};

const ROUTES_MAX: usize = 50;
/// Below it milliseconds say more.
const TENTH: Duration = Duration::from_millis(100);

/// What is known of a verdict while its numbers are fresh.
pub(super) struct Verdict<'a> {
    pub(super) breach: &'a Breach,
    pub(super) subject: &'a Subject,
    /// The stage, from 0; the number of stages in the bake.
    pub(super) stage: usize,
    pub(super) stages: usize,
    /// How long the stage had lasted.
    pub(super) after: Duration,
    /// Whether users are sent back to stable.
    pub(super) rolled_back: bool,
}

impl Verdict<'_> {
    pub(super) fn record(&self) -> DecisionRecord {
        let judge = self.subject.judge();
        let (value, limit) = measured(self.breach);
        let (routes, request_ids) = self.subject.failures(ROUTES_MAX);
        let (tried, failed_too) = self.subject.shielded();
        let canary = self.canary(&judge);
        let stable = self.stable(&judge);
        let mut record = DecisionRecord {
            rule: self.breach.rule().to_owned(),
            text: String::new(),
            value,
            limit,
            stage: self.stage,
            after: self.after,
            window: judge.comparison().window(),
            canary,
            stable,
            shielded: ShieldedRecord { tried, failed_too },
            routes: routes
                .into_iter()
                .map(|route| RouteRecord { route: route.route, what: route.what, errors: route.errors })
                .collect(),
            request_ids,
            rule_of_stage: judge.rule(),
            replay: judge.record().clone(),
        };
        record.text = self.sentence(&record);
        record
    }

    fn canary(&self, judge: &Judge) -> Counts {
        let counts = self.subject.stage_counts(judge.epoch());
        let users = match self.breach {
            Breach::Latency { canary_users, .. } => *canary_users,
            Breach::Limit { .. } => judge.limit().counted(),
            _ => judge.comparison().counted_on_canary(),
        };
        Counts { requests: counts.requests, errors: counts.errors, users }
    }

    /// In the same stage.
    fn stable(&self, judge: &Judge) -> Counts {
        let tally = self.subject.tally(judge.epoch(), Track::Stable);
        let users = match self.breach {
            Breach::Latency { stable_users, .. } => *stable_users,
            _ => judge.comparison().counted() - judge.comparison().counted_on_canary(),
        };
        Counts { requests: tally.requests, errors: tally.errors, users }
    }

    fn sentence(&self, record: &DecisionRecord) -> String {
        let DecisionRecord { canary, stable, .. } = record;
        let done = if self.rolled_back { "rolled back" } else { "failed" };
        let mut text = format!("{done} {} after {} began: ", span(self.after), self.phase());
        let errors = format!(
            "canary {} errors in {} requests ({} users), stable {} in {}",
            number(canary.errors),
            number(canary.requests),
            canary.users,
            number(stable.errors),
            number(stable.requests)
        );
        text += &match self.breach {
            Breach::ErrorRate { limit, .. } => format!("{errors}; above the stage's {limit}"),
            Breach::Limit { evidence, bound, limit } => {
                format!("{errors}; limit {limit}, evidence {evidence:.0}, bound {bound:.0}")
            }
            Breach::Comparison { evidence, bound, .. } => format!("{errors}; evidence {evidence:.0}, bound {bound:.0}"),
            Breach::Latency { evidence, bound, canary_users, stable_users, slower_than } => format!(
                "answers slower than {slower_than:.0} ms for {canary_users} users of the canary ({} answers) and \
                 {stable_users} of stable ({}); evidence {evidence:.0}, bound {bound:.0}",
                number(canary.requests),
                number(stable.requests)
            ),
        };
        if let Some(route) = record.routes.first().filter(|_| !matches!(self.breach, Breach::Latency { .. })) {
            text += &format!("; most on {} ({})", route.route, route.what);
        }
        let ShieldedRecord { tried, failed_too } = record.shielded;
        if tried > 0 {
            text += &format!("; {} of {} shielded requests failed on stable too", number(failed_too), number(tried));
        }
        text
    }

    fn phase(&self) -> String {
        if self.stage < self.stages { format!("stage {}", self.stage + 1) } else { "the bake".to_owned() }
    }
}

fn measured(breach: &Breach) -> (f64, f64) {
    match breach {
        Breach::ErrorRate { errors, requests, limit } => (*errors as f64 / (*requests).max(1) as f64, limit.get()),
        Breach::Limit { evidence, bound, .. }
        | Breach::Comparison { evidence, bound, .. }
        | Breach::Latency { evidence, bound, .. } => (*evidence, *bound),
    }
}

/// `1,310`
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let first = (digits.len() - 1) % 3 + 1;
    let mut text = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        text.push(',');
        text.extend(group.iter().map(|digit| char::from(*digit)));
    }
    text
}

/// `38 ms`, `0.8 s`, `4 min 10 s`, `3 h 20 min`
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0 if span < TENTH => format!("{} ms", span.as_millis()),
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_written_for_people() {
        let numbers = [0, 999, 1_000, 1_310, 12_345_678].map(number);
        assert_eq!(numbers, ["0", "999", "1,000", "1,310", "12,345,678"]);
        let spans = [38, 800, 59_999, 250_000, 12_000_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans, ["38 ms", "0.8 s", "59 s", "4 min 10 s", "3 h 20 min"]);
    }
}
