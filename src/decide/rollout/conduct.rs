//! What a deployment does where its stages alone do not say.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::time::seconds;

/// After a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// Everybody back to stable.
    #[default]
    Rollback,
    /// The share stays, a person decides.
    Pause,
}

/// A stage's duration is over, its `minRequests` are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnInsufficient {
    /// Wait for them.
    #[default]
    Extend,
    /// A person decides.
    Pause,
    /// Everybody back to stable.
    Rollback,
}

/// After the bake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnComplete {
    /// The pools swap roles.
    #[default]
    Promote,
    /// Traffic goes back once the old pool runs the new version.
    Return,
}

/// The conduct of a deployment, fixed when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conduct {
    /// After a verdict.
    pub on_fail: OnFail,
    /// Without enough requests.
    pub on_insufficient: OnInsufficient,
    /// Longest a stage lasts before somebody is asked; seconds in files.
    #[serde(with = "seconds")]
    pub max_duration: Duration,
    /// Whether a stage ends before its duration, once the canary is shown to be good.
    pub promote_early: bool,
    /// After the bake.
    pub on_complete: OnComplete,
    /// After the start and each stage slow answers do not count for so long, errors do.
    #[serde(with = "seconds")]
    pub warmup: Duration,
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            on_fail: OnFail::default(),
            on_insufficient: OnInsufficient::default(),
            max_duration: Duration::from_secs(24 * 3_600),
            promote_early: false,
            on_complete: OnComplete::default(),
            warmup: Duration::ZERO,
        }
    }
}
