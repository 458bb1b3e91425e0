//! The judge of one deployment: its rules, its evidence, its latched verdict.
//!
//! Owns: the comparison, the limit, the stage's rule, the verdict. A verdict
//! stays: later good numbers or a new stage never undo it.

use serde::{Deserialize, Serialize};

use super::comparison::{Comparison, ComparisonMemory};
use super::limit::{Limit, LimitMemory};
use super::plan::{Enforcement, GuardPlan, Rate, RateRule};
use super::window::BucketSet;
use crate::decide::bucket::{Bucket, Share};

/// What a stage asks of the canary.
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// One error, as the proxy saw it.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReport {
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
}

impl Breach {
    /// The rule's name in records, logs and metrics.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::ErrorRate { .. } => "errorRate",
            Self::Limit { .. } => "limit",
            Self::Comparison { .. } => "errors",
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
    fn of(evidence: f64, bound: f64) -> Self {
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

/// The judge of one deployment.
#[derive(Clone, Debug)]
pub struct Judge {
    plan: GuardPlan,
    rule: StageRule,
    /// The dial's epoch with which the stage began: earlier ones are no evidence any more.
    epoch: u32,
    comparison: Comparison,
    limit: Limit,
    /// Watched successes of the stage that the limit has been told of.
    watched: u64,
    verdict: Option<Breach>,
}

impl Judge {
    /// The judge of a deployment whose first stage begins with this epoch of its dial.
    pub fn new(plan: GuardPlan, rule: StageRule, epoch: u32) -> Self {
        Self {
            plan,
            rule,
            epoch,
            comparison: Comparison::new(plan.comparison_alpha()),
            limit: Limit::new(rule.max_error_rate, plan.limit_alpha(), 1),
            watched: 0,
            verdict: None,
        }
    }

    /// A stage, or the bake, begins: new windows, the stage's own counts.
    pub fn begin_stage(&mut self, rule: StageRule, epoch: u32) {
        self.rule = rule;
        self.epoch = epoch;
        self.comparison.roll();
        self.limit = Limit::new(rule.max_error_rate, self.plan.limit_alpha(), self.limit.window() + 1);
        self.watched = 0;
    }

    /// An error, with the canary's counts of the stage, this error included.
    /// The first breach becomes the verdict.
    pub fn error(&mut self, report: ErrorReport, counts: StageCounts) -> Option<Breach> {
        if self.verdict.is_some() || report.epoch < self.epoch {
            return self.verdict;
        }
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

    /// The canary's counts after a success: the one that reaches `minRequests`
    /// can be the one that shows too many errors before it.
    pub fn success(&mut self, epoch: u32, counts: StageCounts) -> Option<Breach> {
        if self.verdict.is_none() && epoch >= self.epoch {
            self.verdict = self.rate_breach(counts);
        }
        self.verdict
    }

    fn comparison_breach(&self) -> Option<Breach> {
        (self.plan.errors == Enforcement::Enforce && self.comparison.fired()).then(|| Breach::Comparison {
            evidence: self.comparison.evidence(),
            bound: self.comparison.bound(),
            canary_users: self.comparison.counted_on_canary(),
            stable_users: self.comparison.counted() - self.comparison.counted_on_canary(),
        })
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

    /// The limit with evidence.
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// What the comparison's evidence looks like.
    pub fn sign(&self) -> Sign {
        Sign::of(self.comparison.evidence(), self.comparison.bound())
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
    limit: LimitMemory,
    watched: u64,
    verdict: Option<Breach>,
}

impl Judge {
    /// What it has to remember.
    pub fn memory(&self) -> JudgeMemory {
        JudgeMemory {
            epoch: self.epoch,
            comparison: self.comparison.memory(),
            limit: self.limit.memory(),
            watched: self.watched,
            verdict: self.verdict,
        }
    }

    /// A judge that remembers; `None` where that is no memory of such a judge.
    pub fn recall(plan: GuardPlan, rule: StageRule, memory: JudgeMemory) -> Option<Self> {
        Some(Self {
            comparison: Comparison::recall(plan.comparison_alpha(), memory.comparison)?,
            limit: Limit::recall(rule.max_error_rate, plan.limit_alpha(), memory.limit)?,
            epoch: memory.epoch,
            watched: memory.watched,
            verdict: memory.verdict,
            plan,
            rule,
        })
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

    fn canary_error(bucket: u16) -> ErrorReport {
        let share = Share::from_basis_points(1_000).unwrap();
        ErrorReport { canary: bucket < 1_000, bucket: Bucket::new(bucket), share, epoch: 1 }
    }

    #[test]
    fn a_canary_that_fails_everybody_is_proven_bad_by_its_fourth_user() {
        let mut judge = Judge::new(plan(), stage(), 1);
        let proven = (1..=10).find(|n| judge.error(canary_error(*n), counts(u64::from(*n), u64::from(*n))).is_some());
        assert_eq!(proven, Some(4));
        assert!(matches!(judge.verdict(), Some(Breach::Comparison { canary_users: 4, stable_users: 0, .. })));
        assert_eq!(judge.sign(), Sign::Proven);
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
        assert_eq!(judge.success(1, counts(99, 6)), None);
        assert!(matches!(judge.success(1, counts(100, 6)), Some(Breach::ErrorRate { errors: 6, .. })));
    }

    #[test]
    fn an_error_rate_at_the_limit_is_no_breach() {
        let mut judge = Judge::new(plan(), stage(), 1);
        assert_eq!(judge.success(1, counts(100, 5)), None);
    }

    #[test]
    fn a_verdict_is_latched() {
        let mut judge = Judge::new(plan(), stage(), 1);
        judge.success(1, counts(100, 50));
        judge.begin_stage(stage(), 2);
        assert!(judge.success(2, counts(10_000, 0)).is_some());
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
        let everybody = |bucket| ErrorReport { canary: true, share: Share::EVERYBODY, ..canary_error(bucket) };
        assert_eq!(judge.error(everybody(1), counts(1, 1)), None);
        let proven = (2..20).find(|n| judge.error(everybody(*n), counts(u64::from(*n), u64::from(*n))).is_some());
        assert_eq!(proven, Some(4), "limit of 5 %, all fail: after 4 users");
        assert!(matches!(judge.verdict(), Some(Breach::Limit { .. })));
    }

    #[test]
    fn a_limit_of_nothing_breaks_at_the_first_error() {
        let mut judge = Judge::new(plan(), StageRule { min_requests: 0, max_error_rate: Rate::new(0.0).unwrap() }, 1);
        let share = Share::EVERYBODY;
        assert!(judge.error(ErrorReport { canary: true, share, ..canary_error(1) }, counts(1_000, 1)).is_some());
    }

    #[test]
    fn a_guard_that_observes_never_rolls_back() {
        let mut judge = Judge::new(GuardPlan { errors: Enforcement::Observe, ..plan() }, stage(), 1);
        for bucket in 0..50 {
            assert_eq!(judge.error(canary_error(bucket), counts(50, 2)), None);
        }
        assert_eq!(judge.sign(), Sign::Proven);
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
