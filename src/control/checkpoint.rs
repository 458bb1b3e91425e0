//! What running deployments have counted, for the process after this one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rollout::CheckpointRecord;

/// `checkpoint.json`: what running deployments have counted. Without it they go on
/// at their stage and count anew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// By deployment.
    pub deployments: BTreeMap<String, CheckpointRecord>,
    /// By flag and start.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ramps: BTreeMap<String, CheckpointRecord>,
}
