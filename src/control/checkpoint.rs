//! What running deployments have counted, for the process after this one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::time::seconds;
use crate::subject::Memory;

/// `checkpoint.json`: what running deployments have counted. Without it they go on
/// at their stage and count anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// By deployment.
    pub deployments: BTreeMap<String, CheckpointRecord>,
}

/// What one deployment has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointRecord {
    /// The stage that it is about.
    pub stage: usize,
    /// How long that has lasted, in seconds.
    #[serde(with = "seconds")]
    pub elapsed: Duration,
    /// Counts and evidence.
    pub memory: Memory,
}
