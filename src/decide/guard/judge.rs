//! The judge of one deployment: its rules, its evidence, its latched verdict.
//!
//! Owns: the comparison, the limit, the stage's rule, the verdict. A verdict
//! stays: later good numbers or a new stage never undo it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::comparison::{Comparison, ComparisonMemory};
use super::limit::{Limit, LimitMemory};
use super::plan::{Enforcement, GuardPlan, Rate, RateRule, SlowerThan};
use super::record::{Kind, StageRecord};
use super::window::BucketSet;
use crate::decide::bucket::{Bucket, Share};
use crate::decide::time::Moment;

/// What a stage asks of the canary.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageRule {
    /// Canary requests before the plain rule looks; 0: the limit with evidence judges.
    pub min_requests: u64,
    /// Errors per canary request above which the stage fails.
    pub max_error_rate: Rate,
}

/// The canary's counts in this stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCounts {
    /// Outcomes of either kind.
    pub requests: u64,
    /// Those that were errors.
    pub errors: u64,
    /// Successes of users that were watched by the limit at that time.
    pub watched: u64,
}

/// One event, an error or a slow answer, as the proxy saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// When.
    pub at: Moment,
    /// Whether the request was assigned to the canary.
    pub canary: bool,
    /// The user's drawn bucket; `None` for forced users and those without identity.
    pub bucket: Option<Bucket>,
    /// The share under which the request was assigned.
    pub share: Share,
    /// The dial's epoch under which the request was assigned.
    pub epoch: u32,
}

/// Why a deployment failed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Breach {
    /// The guide's rule: enough requests, too many errors among them.
    ErrorRate {
        /// Canary errors of the stage.
        errors: u64,
        /// Canary requests of the stage.
        requests: u64,
        /// The stage's limit.
        limit: Rate,
    },
    /// The canary's error rate is proven to be above the stage's limit.
    Limit {
        /// What a bet of 1 became.
        evidence: f64,
        /// Where it fires.
        bound: f64,
        /// The stage's limit.
        limit: Rate,
    },
    /// Errors fall on canary users more often than chance explains.
    #[serde(rename = "errors")]
    Comparison {
        /// What a bet of 1 became.
        evidence: f64,
        /// Where it fires.
        bound: f64,
        /// Canary users with an error in the window.
        canary_users: u32,
        /// Stable users with an error in the window.
        stable_users: u32,
    },
    /// Slow answers fall on canary users more often than chance explains.
    Latency {
        /// What a bet of 1 became.
        evidence: f64,
        /// Where it fires.
        bound: f64,
        /// Canary users with a slow answer in the window.
        canary_users: u32,
        /// Stable users with a slow answer in the window.
        stable_users: u32,
        /// What is slow, in milliseconds.
        slower_than: f64,
    },
}

impl Breach {
    /// The rule's name in records, logs and metrics.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::ErrorRate { .. } => "errorRate",
            Self::Limit { .. } => "limit",
            Self::Comparison { .. } => "errors",
            Self::Latency { .. } => "latency",
        }
    }
}

impl std::fmt::Display for Breach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ErrorRate { errors, requests, limit } => {
                write!(f, "{errors} errors in {requests} canary requests are above the stage's {limit}")
            }
            Self::Limit { evidence, bound, limit } => {
                write!(f, "the canary's error rate is above {limit}: evidence {evidence:.0}, bound {bound:.0}")
            }
            Self::Comparison { evidence, bound, canary_users, stable_users } => write!(
                f,
                "errors fall on canary users ({canary_users}, stable {stable_users}) more often than chance explains: \
                 evidence {evidence:.0}, bound {bound:.0}"
            ),
            Self::Latency { evidence, bound, canary_users, stable_users, slower_than } => write!(
                f,
                "answers slower than {slower_than:.0} ms fall on canary users ({canary_users}, stable {stable_users}) \
                 more often than chance explains: evidence {evidence:.0}, bound {bound:.0}"
            ),
        }
    }
}

/// What the evidence looks like to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Below 1.
    None,
    /// From 1 to a tenth of the bound.
    Watching,
    /// Above that.
    Suspicious,
    /// At the bound.
    Proven,
}

impl Sign {
    /// A word for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "no sign",
            Self::Watching => "watching",
            Self::Suspicious => "suspicious",
            Self::Proven => "proven",
        }
    }

    /// Of evidence against a bound.
    pub fn of(evidence: f64, bound: f64) -> Self {
        if evidence >= bound {
            Self::Proven
        } else if evidence > bound / 10.0 {
            Self::Suspicious
        } else if evidence >= 1.0 {
            Self::Watching
        } else {
            Self::None
        }
    }
}

/// How a guard stands: counts and evidence, never a probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// `errors`, `latency` or `limit`.
    pub guard: String,
    /// Whether proven bad means rolled back.
    pub enforces: bool,
    /// What a bet of 1 has become.
    pub evidence: f64,
    /// The highest that it has been in this deployment, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest: Option<f64>,
    /// Where it fires.
    pub bound: f64,
    /// The evidence in a word.
    pub sign: String,
    /// Canary users with an event that counted in this window.
    pub canary_users: u32,
    /// Stable users with one.
    pub stable_users: u32,
    /// What the canary is shown to stay below: so many times stable's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// What is slow, in milliseconds, once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slower_than: Option<f64>,
}

/// The judge of one deployment.
#[derive(Clone, Debug)]
pub struct Judge {
    plan: GuardPlan,
    rule: StageRule,
    /// The dial's epoch with which the stage began: earlier ones are no evidence any more.
    epoch: u32,
    comparison: Comparison,
    latency: Comparison,
    /// What is slow in the latency's window; before it is known nothing is.
    threshold: Option<Duration>,
    limit: Limit,
    /// Watched successes of the stage that the limit has been told of.
    watched: u64,
    verdict: Option<Breach>,
    record: StageRecord,
}

impl Judge {
    /// The judge of a deployment whose first stage begins with this epoch of its dial.
    pub fn new(plan: GuardPlan, rule: StageRule, epoch: u32) -> Self {
        Self::in_windows(plan, rule, epoch, [1; 3])
    }

    /// A stage that begins in these windows of errors, latency and limit.
    pub(super) fn in_windows(plan: GuardPlan, rule: StageRule, epoch: u32, windows: [u32; 3]) -> Self {
        let [errors, latency, limit] = windows;
        Self {
            plan,
            rule,
            epoch,
            comparison: Comparison::in_window(plan.comparison_alpha(), errors),
            latency: Comparison::in_window(plan.latency_alpha(), latency),
            threshold: fixed(plan),
            limit: Limit::new(rule.max_error_rate, plan.limit_alpha(), limit),
            watched: 0,
            verdict: None,
            record: StageRecord::begun(windows),
        }
    }

    /// A stage, or the bake, begins: new windows, the stage's own counts.
    pub fn begin_stage(&mut self, rule: StageRule, epoch: u32) {
        self.rule = rule;
        self.epoch = epoch;
        self.comparison.roll();
        self.latency.roll();
        self.threshold = fixed(self.plan);
        self.limit = Limit::new(rule.max_error_rate, self.plan.limit_alpha(), self.limit.window() + 1);
        self.watched = 0;
        self.record = StageRecord::begun([self.comparison.window(), self.latency.window(), self.limit.window()]);
    }

    /// An error, with the canary's counts of the stage, this error included.
    /// The first breach becomes the verdict.
    pub fn error(&mut self, report: Report, counts: StageCounts) -> Option<Breach> {
        if self.verdict.is_some() || report.epoch < self.epoch {
            return self.verdict;
        }
        self.record.note(Kind::Error, report, counts);
        if let (Some(bucket), true) = (report.bucket, self.plan.errors != Enforcement::Off) {
            self.comparison.event(bucket, report.share);
        }
        if report.canary && self.limit_rules() {
            self.limit.success(None, counts.watched.saturating_sub(self.watched));
            self.watched = counts.watched;
            self.limit.error(report.bucket);
        }
        self.verdict = self.comparison_breach().or_else(|| self.limit_breach()).or_else(|| self.rate_breach(counts));
        self.verdict
    }

    /// An answer that is slow: it has taken longer than the threshold. Once a request.
    pub fn slow(&mut self, report: Report) -> Option<Breach> {
        let Some(threshold) = self.threshold else { return self.verdict };
        if self.verdict.is_some() || report.epoch < self.epoch {
            return self.verdict;
        }
        if let (Some(bucket), true) = (report.bucket, self.plan.latency != Enforcement::Off) {
            self.record.note_threshold(threshold);
            self.record.note(Kind::Slow, report, StageCounts::default());
            let window = self.latency.window();
            self.latency.event(bucket, report.share);
            self.verdict = self.latency_breach();
            if self.latency.window() != window {
                self.threshold = fixed(self.plan);
            }
        }
        self.verdict
    }

    /// The latency's window that has no threshold yet, where one is needed.
    pub fn wants_threshold(&self) -> Option<u32> {
        let wants = self.plan.latency != Enforcement::Off && self.threshold.is_none() && self.verdict.is_none();
        wants.then(|| self.latency.window())
    }

    /// Says what is slow in a window of the latency; a window that has ended, or knows, stays as it is.
    pub fn set_threshold(&mut self, window: u32, threshold: Duration) {
        if self.wants_threshold() == Some(window) {
            self.threshold = Some(threshold);
        }
    }

    /// What is slow in this window.
    pub fn threshold(&self) -> Option<Duration> {
        self.threshold
    }

    /// The canary's counts after a success: the one that reaches `minRequests`
    /// can be the one that shows too many errors before it.
    pub fn success(&mut self, report: Report, counts: StageCounts) -> Option<Breach> {
        if self.verdict.is_none() && report.epoch >= self.epoch {
            self.record.note(Kind::Success, report, counts);
            self.verdict = self.rate_breach(counts);
        }
        self.verdict
    }

    fn comparison_breach(&self) -> Option<Breach> {
        (self.plan.errors == Enforcement::Enforce && self.comparison.fired()).then(|| self.comparison_in_words())
    }

    fn comparison_in_words(&self) -> Breach {
        Breach::Comparison {
            evidence: self.comparison.evidence(),
            bound: self.comparison.bound(),
            canary_users: self.comparison.counted_on_canary(),
            stable_users: self.comparison.counted() - self.comparison.counted_on_canary(),
        }
    }

    /// How the guards stand that are kept.
    pub fn standings(&self) -> Vec<Standing> {
        let comparison = |name: &str, mode: Enforcement, guard: &Comparison| {
            (mode != Enforcement::Off).then(|| Standing {
                guard: name.to_owned(),
                enforces: mode == Enforcement::Enforce,
                evidence: guard.evidence(),
                highest: Some(guard.highest()),
                bound: guard.bound(),
                sign: Sign::of(guard.evidence(), guard.bound()).name().to_owned(),
                canary_users: guard.counted_on_canary(),
                stable_users: guard.counted() - guard.counted_on_canary(),
                at_most: guard.at_most(),
                slower_than: None,
            })
        };
        let errors = comparison("errors", self.plan.errors, &self.comparison);
        let slower_than = self.threshold.map(|threshold| threshold.as_secs_f64() * 1e3);
        let latency = comparison("latency", self.plan.latency, &self.latency)
            .map(|standing| Standing { slower_than, ..standing });
        let limit = self.limit_rules().then(|| Standing {
            guard: "limit".to_owned(),
            enforces: true,
            evidence: self.limit.evidence(),
            highest: None,
            bound: self.limit.bound(),
            sign: Sign::of(self.limit.evidence(), self.limit.bound()).name().to_owned(),
            canary_users: self.limit.counted(),
            stable_users: 0,
            at_most: None,
            slower_than: None,
        });
        [errors, latency, limit].into_iter().flatten().collect()
    }

    /// What guards that only observe have found: nobody was hurt.
    pub fn observed(&self) -> [Option<Breach>; 2] {
        let found = |mode, guard: &Comparison| mode == Enforcement::Observe && guard.fired();
        [
            found(self.plan.errors, &self.comparison).then(|| self.comparison_in_words()),
            found(self.plan.latency, &self.latency).then(|| self.latency_in_words()),
        ]
    }

    fn latency_breach(&self) -> Option<Breach> {
        (self.plan.latency == Enforcement::Enforce && self.latency.fired()).then(|| self.latency_in_words())
    }

    fn latency_in_words(&self) -> Breach {
        Breach::Latency {
            evidence: self.latency.evidence(),
            bound: self.latency.bound(),
            canary_users: self.latency.counted_on_canary(),
            stable_users: self.latency.counted() - self.latency.counted_on_canary(),
            slower_than: self.threshold.map_or(0.0, |threshold| threshold.as_secs_f64() * 1e3),
        }
    }

    fn limit_breach(&self) -> Option<Breach> {
        self.limit.fired().then(|| Breach::Limit {
            evidence: self.limit.evidence(),
            bound: self.limit.bound(),
            limit: self.limit.limit(),
        })
    }

    /// The guide's rule.
    fn rate_breach(&self, counts: StageCounts) -> Option<Breach> {
        let limit = self.rule.max_error_rate;
        let enough = !self.limit_rules() && counts.requests >= self.rule.min_requests;
        let above = counts.errors as f64 > limit.get() * counts.requests as f64;
        (enough && above).then_some(Breach::ErrorRate { errors: counts.errors, requests: counts.requests, limit })
    }

    /// Whether the stage's error rate is judged with evidence: where asked for, and
    /// where a single early error would otherwise be a verdict.
    pub fn limit_rules(&self) -> bool {
        self.plan.rate == RateRule::Evidence || self.rule.min_requests == 0
    }

    /// The latched verdict.
    pub fn verdict(&self) -> Option<Breach> {
        self.verdict
    }

    /// What the operator asked of the guard.
    pub fn plan(&self) -> GuardPlan {
        self.plan
    }

    /// The stage's rule.
    pub fn rule(&self) -> StageRule {
        self.rule
    }

    /// The epoch with which the stage began.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The comparison with stable.
    pub fn comparison(&self) -> &Comparison {
        &self.comparison
    }

    /// The comparison of slow answers with stable.
    pub fn latency(&self) -> &Comparison {
        &self.latency
    }

    /// What this stage's verdict can be replayed from.
    pub fn record(&self) -> &StageRecord {
        &self.record
    }

    /// The limit with evidence.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// The buckets whose further slow answers change nothing.
    pub fn exhausted_slow(&self) -> &BucketSet {
        self.latency.exhausted()
    }

    /// The buckets of which a further error on stable changes nothing.
    pub fn exhausted(&self) -> &BucketSet {
        self.comparison.exhausted()
    }

    /// The buckets whose successes the limit does not watch any more.
    pub fn unwatched(&self) -> &BucketSet {
        self.limit.unwatched()
    }
}

/// What a judge has to remember over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JudgeMemory {
    epoch: u32,
    comparison: ComparisonMemory,
    latency: ComparisonMemory,
    threshold_micros: Option<u64>,
    limit: LimitMemory,
    watched: u64,
    verdict: Option<Breach>,
    record: StageRecord,
}

impl Judge {
    /// What it has to remember.
    pub fn memory(&self) -> JudgeMemory {
        JudgeMemory {
            epoch: self.epoch,
            comparison: self.comparison.memory(),
            latency: self.latency.memory(),
            threshold_micros: self.threshold.map(|threshold| threshold.as_micros() as u64),
            limit: self.limit.memory(),
            watched: self.watched,
            verdict: self.verdict,
            record: self.record.clone(),
        }
    }

    /// A judge that remembers; `None` where that is no memory of such a judge.
    pub fn recall(plan: GuardPlan, rule: StageRule, memory: JudgeMemory) -> Option<Self> {
        Some(Self {
            comparison: Comparison::recall(plan.comparison_alpha(), memory.comparison)?,
            latency: Comparison::recall(plan.latency_alpha(), memory.latency)?,
            threshold: memory.threshold_micros.map(Duration::from_micros),
            limit: Limit::recall(rule.max_error_rate, plan.limit_alpha(), memory.limit)?,
            epoch: memory.epoch,
            watched: memory.watched,
            verdict: memory.verdict,
            record: memory.record,
            plan,
            rule,
        })
    }
}

/// A threshold that needs no histogram.
fn fixed(plan: GuardPlan) -> Option<Duration> {
    match plan.slower_than {
        SlowerThan::Span(span) => Some(span),
        SlowerThan::Percentile(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Alpha;
    use super::*;

    fn stage() -> StageRule {
        StageRule { min_requests: 100, max_error_rate: Rate::new(0.05).unwrap() }
    }

    fn plan() -> GuardPlan {
        GuardPlan::default()
    }

    fn counts(requests: u64, errors: u64) -> StageCounts {
        StageCounts { requests, errors, watched: requests - errors }
    }

    fn canary_error(bucket: u16) -> Report {
        let share = Share::from_basis_points(1_000).unwrap();
        Report { at: Moment::ORIGIN, canary: bucket < 1_000, bucket: Bucket::new(bucket), share, epoch: 1 }
    }

    #[test]
    fn a_canary_that_fails_everybody_is_proven_bad_by_its_fourth_user() {
        let mut judge = Judge::new(plan(), stage(), 1);
        let proven = (1..=10).find(|n| judge.error(canary_error(*n), counts(u64::from(*n), u64::from(*n))).is_some());
        assert_eq!(proven, Some(4));
        assert!(matches!(judge.verdict(), Some(Breach::Comparison { canary_users: 4, stable_users: 0, .. })));
        assert_eq!(Sign::of(judge.comparison().evidence(), judge.comparison().bound()), Sign::Proven);
    }

    #[test]
    fn one_failing_user_is_one_piece_of_evidence_but_breaks_the_rate_rule() {
        let mut judge = Judge::new(plan(), stage(), 1);
        for n in 1..100 {
            assert_eq!(judge.error(canary_error(7), counts(n, n)), None, "request {n}");
        }
        let breach = judge.error(canary_error(7), counts(100, 100));
        assert!(matches!(breach, Some(Breach::ErrorRate { errors: 100, requests: 100, .. })));
    }

    #[test]
    fn the_success_that_reaches_min_requests_can_show_the_breach() {
        let mut judge = Judge::new(plan(), stage(), 1);
        assert_eq!(judge.success(Report { epoch: 1, ..canary_error(0) }, counts(99, 6)), None);
        assert!(matches!(
            judge.success(Report { epoch: 1, ..canary_error(0) }, counts(100, 6)),
            Some(Breach::ErrorRate { errors: 6, .. })
        ));
    }

    #[test]
    fn an_error_rate_at_the_limit_is_no_breach() {
        let mut judge = Judge::new(plan(), stage(), 1);
        assert_eq!(judge.success(Report { epoch: 1, ..canary_error(0) }, counts(100, 5)), None);
    }

    #[test]
    fn a_verdict_is_latched() {
        let mut judge = Judge::new(plan(), stage(), 1);
        judge.success(Report { epoch: 1, ..canary_error(0) }, counts(100, 50));
        judge.begin_stage(stage(), 2);
        assert!(judge.success(Report { epoch: 2, ..canary_error(0) }, counts(10_000, 0)).is_some());
        assert!(judge.error(canary_error(1), counts(1, 0)).is_some());
    }

    #[test]
    fn answers_of_an_earlier_stage_are_no_evidence() {
        let mut judge = Judge::new(plan(), stage(), 1);
        judge.begin_stage(stage(), 2);
        for bucket in 0..50 {
            assert_eq!(judge.error(canary_error(bucket), counts(200, 200)), None);
        }
        assert_eq!(judge.comparison().counted(), 0);
    }

    #[test]
    fn without_min_requests_one_early_error_is_no_verdict() {
        let mut judge = Judge::new(plan(), StageRule { min_requests: 0, ..stage() }, 1);
        let everybody = |bucket| Report { canary: true, share: Share::EVERYBODY, ..canary_error(bucket) };
        assert_eq!(judge.error(everybody(1), counts(1, 1)), None);
        let proven = (2..20).find(|n| judge.error(everybody(*n), counts(u64::from(*n), u64::from(*n))).is_some());
        assert_eq!(proven, Some(4), "limit of 5 %, all fail: after 4 users");
        assert!(matches!(judge.verdict(), Some(Breach::Limit { .. })));
    }

    #[test]
    fn a_limit_of_nothing_breaks_at_the_first_error() {
        let mut judge = Judge::new(plan(), StageRule { min_requests: 0, max_error_rate: Rate::new(0.0).unwrap() }, 1);
        let share = Share::EVERYBODY;
        assert!(judge.error(Report { canary: true, share, ..canary_error(1) }, counts(1_000, 1)).is_some());
    }

    #[test]
    fn a_guard_that_observes_never_rolls_back() {
        let mut judge = Judge::new(GuardPlan { errors: Enforcement::Observe, ..plan() }, stage(), 1);
        for bucket in 0..50 {
            assert_eq!(judge.error(canary_error(bucket), counts(50, 2)), None);
        }
        assert_eq!(Sign::of(judge.comparison().evidence(), judge.comparison().bound()), Sign::Proven);
    }

    #[test]
    fn a_judge_that_remembers_decides_like_one_that_never_slept() {
        let memory = |judge: &Judge| {
            let text = serde_json::to_string(&judge.memory()).unwrap();
            let memory = serde_json::from_str(&text).unwrap();
            Judge::recall(judge.plan(), judge.rule(), memory).unwrap()
        };
        for rule in [stage(), StageRule { min_requests: 0, ..stage() }] {
            let mut awake = Judge::new(plan(), rule, 1);
            let mut slept = Judge::new(plan(), rule, 1);
            for n in 1..60_u16 {
                // Some on stable, some users twice.
                let report = canary_error((n / 2) * 700 % 9_000);
                let counts = counts(u64::from(n) * 9, u64::from(n) / 4);
                assert_eq!(awake.error(report, counts), slept.error(report, counts), "event {n}");
                slept = memory(&slept);
                assert_eq!(awake.comparison().evidence().to_bits(), slept.comparison().evidence().to_bits());
                assert_eq!(awake.limit().evidence().to_bits(), slept.limit().evidence().to_bits());
            }
        }
    }

    #[test]
    fn guards_that_enforce_share_the_budget() {
        let both = GuardPlan { rate: RateRule::Evidence, ..plan() };
        assert!((both.comparison_alpha().get() + both.limit_alpha().get() - 0.01).abs() < 1e-12);
        assert_eq!(plan().comparison_alpha(), Alpha::DEFAULT);
    }
}
