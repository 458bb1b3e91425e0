//! A percentage that grows by itself, stage by stage, and is set back where those who have
//! the flag see more errors than those who do not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::bucket::Share;
use crate::decide::guard::{Alpha, Enforcement, RateRule};
use crate::decide::rollout::{OnFail, OnInsufficient, Pause, Stages};
use crate::decide::time::seconds;

const DAY: Duration = Duration::from_secs(86_400);

/// How a flag's percentage grows; the stages and words are a deployment's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ramp {
    /// Its stages; the last one is everybody. The guide's where none are given.
    #[serde(default = "Stages::of_the_guide")]
    pub stages: Stages,
    /// What sets it back.
    #[serde(default)]
    pub guard: RampGuard,
    /// After a verdict.
    #[serde(default)]
    pub on_fail: OnFail,
    /// Without enough requests.
    #[serde(default)]
    pub on_insufficient: OnInsufficient,
    /// Longest a stage lasts before somebody is asked; seconds in files.
    #[serde(default = "one_day", with = "seconds")]
    pub max_duration: Duration,
    /// The service whose requests count; without one all of them do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How far it is; Serin writes it. Without it the ramp begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RampProgress>,
}

const fn one_day() -> Duration {
    DAY
}

/// The guard of a ramp: a deployment's, without slow answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RampGuard {
    /// How likely a good flag may be set back.
    pub false_rollback: Alpha,
    /// The comparison of errors.
    pub errors: Enforcement,
    /// How `maxErrorRate` is judged.
    pub rate: RateRule,
}

impl Default for RampGuard {
    fn default() -> Self {
        Self { false_rollback: Alpha::DEFAULT, errors: Enforcement::Enforce, rate: RateRule::Plain }
    }
}

/// How far a ramp is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RampProgress {
    /// `in_progress`, `paused`, `completed` or `rolled_back`, as of deployments.
    pub status: RampStatus,
    /// The percentage before it: what it is set back to.
    pub from: Share,
    /// The stage, from 0; the number of stages once it is complete.
    pub stage: usize,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Why it stands still, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// It was resumed after it had paused by itself in this stage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waived: bool,
    /// What happened last, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Where a ramp stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RampStatus {
    /// Its stages go on.
    InProgress,
    /// It stands still; guards stay alive.
    Paused,
    /// Everybody has the flag.
    Completed,
    /// It was set back.
    RolledBack,
}

impl RampStatus {
    /// Whether nothing will happen any more.
    pub const fn ended(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }
}
