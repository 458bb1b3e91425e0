//! The shapes of the state files (SPEC 5). They are their own types, so that old
//! files stay readable whatever the program's types become.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::decide::bucket::Share;
use crate::decide::flags::{Flag, FlagName, Rule};
use crate::decide::guard::{GuardPlan, StageRecord, StageRule, Standing};
use crate::decide::rollout::{Conduct, Pause, Stages, Strategy};
use crate::decide::time::seconds;

/// `feature-flags.json`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlagFile {
    /// By name. A file without them is none of ours: reading it as empty would lose them.
    #[serde(deserialize_with = "checked")]
    pub flags: BTreeMap<FlagName, Arc<Flag>>,
    /// RFC 3339.
    #[serde(default)]
    pub last_updated: String,
    /// Grows by one with each change.
    #[serde(default)]
    pub version: u64,
    /// What Serin does not know: kept as it came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Flags that can be evaluated: a file with one that cannot be is a broken one.
fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<FlagName, Arc<Flag>>, D::Error> {
    let flags: BTreeMap<FlagName, Arc<Flag>> = BTreeMap::deserialize(deserializer)?;
    for (name, flag) in &flags {
        flag.check().map_err(|flaw| serde::de::Error::custom(format!("the flag `{name}`: {flaw}")))?;
    }
    Ok(flags)
}

/// `deploy-state.json`: the guide's own shape with the three-line form, else one entry a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum DeployState {
    /// With `services`.
    Services(ServicesState),
    /// The guide's.
    Single(Box<SingleState>),
}

impl<'de> Deserialize<'de> for DeployState {
    /// Strict: a key that is not known is another version's file, or a broken one, and
    /// reading on would lose what it says.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        let known = ["services", "stable", "current", "history", "lastUpdated", "version"];
        if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(serde::de::Error::custom(format!("unknown key `{key}`")));
        }
        let services = fields.contains_key("services");
        if !services && !fields.contains_key("current") {
            return Err(serde::de::Error::missing_field("current"));
        }
        let whole = Value::Object(fields);
        let state = if services {
            serde_json::from_value(whole).map(Self::Services)
        } else {
            serde_json::from_value(whole).map(|state| Self::Single(Box::new(state)))
        };
        state.map_err(serde::de::Error::custom)
    }
}

/// One entry a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicesState {
    /// By name.
    pub services: BTreeMap<String, ServiceRecord>,
    /// RFC 3339.
    #[serde(default)]
    pub last_updated: String,
    /// Grows by one with each change.
    #[serde(default)]
    pub version: u64,
}

/// The guide's shape.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SingleState {
    /// The only service.
    #[serde(flatten)]
    pub service: ServiceRecord,
    /// RFC 3339.
    #[serde(default)]
    pub last_updated: String,
    /// Grows by one with each change.
    #[serde(default)]
    pub version: u64,
}

impl DeployState {
    /// The state of these services, in the shape that fits.
    pub fn new(
        three_lines: bool,
        services: BTreeMap<String, ServiceRecord>,
        last_updated: String,
        version: u64,
    ) -> Self {
        match services.values().next() {
            Some(only) if three_lines => {
                Self::Single(Box::new(SingleState { service: only.clone(), last_updated, version }))
            }
            _ => Self::Services(ServicesState { services, last_updated, version }),
        }
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        match self {
            Self::Services(state) => state.version,
            Self::Single(state) => state.version,
        }
    }

    /// What it says of a service; the guide's shape speaks of the only one.
    pub fn service(&self, name: &str) -> Option<&ServiceRecord> {
        match self {
            Self::Services(state) => state.services.get(name),
            Self::Single(state) => Some(&state.service),
        }
    }
}

/// A service's deployments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRecord {
    /// The pool that is stable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<StableRecord>,
    /// The deployment that runs.
    #[serde(default)]
    pub current: Option<DeploymentRecord>,
    /// The last ten that ended, the newest first.
    #[serde(default)]
    pub history: Vec<DeploymentRecord>,
}

/// Which pool is stable, and what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StableRecord {
    /// Its name.
    pub pool: String,
    /// What it runs, where anybody said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentRecord {
    /// Its id; buckets are drawn for it.
    pub id: String,
    /// Its service.
    pub service: String,
    /// What it brings.
    pub version: String,
    /// What was there before.
    #[serde(default)]
    pub previous_version: Option<String>,
    /// `in_progress`, `paused`, `completed`, `rolled_back`; `pending` and `failed` are read.
    pub status: String,
    /// How it moves.
    pub strategy: Strategy,
    /// The pool it goes to.
    pub pool: String,
    /// The pool that was stable when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_pool: Option<String>,
    /// Grows with each change of its course; what `If-Match` compares.
    #[serde(default)]
    pub revision: u64,
    /// The stage, from 0; the number of stages in the bake.
    pub current_stage_index: usize,
    /// The share now, in percent.
    pub current_percentage: Share,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// Its stages.
    pub stages: Stages,
    /// The watch after 100 %, in seconds.
    #[serde(with = "seconds")]
    pub bake: Duration,
    /// Its guard.
    pub guard: GuardPlan,
    /// What it does where its stages do not say.
    #[serde(flatten)]
    pub conduct: Conduct,
    /// Who is always on the canary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Rule>,
    /// Who is never.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Rule>,
    /// Whose buckets it draws: `deployment` or `service`.
    pub salt: String,
    /// Why it stands still, while it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// It was resumed after it had paused by itself in this stage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waived: bool,
    /// An A/A test: the version that is stable already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aa: bool,
    /// It waits for its old pool to run the new version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returning: bool,
    /// What was counted.
    pub metrics: MetricsRecord,
    /// How its guards stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Standing>,
    /// Why it was rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_reason: Option<String>,
    /// The verdict, explained for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRecord>,
    /// What happened.
    #[serde(default)]
    pub events: Vec<EventRecord>,
}

/// What was counted, in the guide's words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricsRecord {
    /// On both tracks.
    pub total_requests: u64,
    /// On the canary.
    pub canary_requests: u64,
    /// Errors on the canary.
    pub canary_errors: u64,
    /// A fraction of 1; absent before the first request.
    pub canary_error_rate: Option<f64>,
    /// Milliseconds; absent before the first answer.
    #[serde(rename = "canaryLatencyP95")]
    pub canary_latency_p95: Option<f64>,
    /// On stable.
    pub baseline_requests: u64,
    /// Errors on stable.
    pub baseline_errors: u64,
    /// A fraction of 1; absent before the first request.
    pub baseline_error_rate: Option<f64>,
    /// Milliseconds; absent before the first answer.
    #[serde(rename = "baselineLatencyP95")]
    pub baseline_latency_p95: Option<f64>,
    /// RFC 3339.
    pub last_updated: String,
}

/// A verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    /// `errors`, `latency`, `limit` or `errorRate`.
    pub rule: String,
    /// One sentence.
    pub text: String,
    /// The measured value: evidence, or an error rate.
    pub value: f64,
    /// What it was held against: a bound, or a limit.
    pub limit: f64,
    /// The stage, from 0; the number of stages in the bake.
    pub stage: usize,
    /// How long that had lasted, in seconds.
    #[serde(with = "seconds")]
    pub after: Duration,
    /// The window of the comparison, from 1.
    pub window: u32,
    /// The canary in the stage.
    pub canary: Counts,
    /// Stable in the stage.
    pub stable: Counts,
    /// Canary errors that stable answered.
    pub shielded: ShieldedRecord,
    /// Where the canary failed most.
    pub routes: Vec<RouteRecord>,
    /// Some requests that failed.
    pub request_ids: Vec<String>,
    /// What the stage asked of the canary.
    pub rule_of_stage: StageRule,
    /// What the judge was told in the stage, to come to the verdict once more.
    pub replay: StageRecord,
}

/// Canary errors that were tried on stable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShieldedRecord {
    /// How many.
    pub tried: u64,
    /// Those of them that failed there too.
    pub failed_too: u64,
}

/// Errors on a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRecord {
    /// `POST /cart/:n`
    pub route: String,
    /// The status, or the kind of the error.
    pub what: String,
    /// How many.
    pub errors: u64,
}

/// Counts of a track.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests.
    pub requests: u64,
    /// Errors among them.
    pub errors: u64,
    /// Users (buckets) with an error that counted.
    pub users: u32,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// RFC 3339.
    pub at: String,
    /// What kind.
    pub kind: String,
    /// `serin`, or who asked.
    pub by: String,
    /// For a person.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_guides_flag_file_is_written_as_it_was_read() {
        let text = json!({
            "flags": { "new-feature": {
                "name": "new-feature", "description": "New feature description", "enabled": true,
                "rolloutPercentage": 50,
                "rules": [{ "type": "user", "value": ["admin-user"] }, { "type": "environment", "value": ["production"] }],
                "createdAt": "2025-01-01T00:00:00.000Z", "updatedAt": "2025-01-15T12:00:00.000Z"
            } },
            "lastUpdated": "2025-01-15T12:00:00.000Z", "version": 42
        });
        let file: FlagFile = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(file).unwrap(), text);
    }

    #[test]
    fn a_key_that_nobody_knows_is_no_deploy_state() {
        for wrong in [json!({}), json!({ "currunt": null, "history": [] }), json!({ "current": null, "format": 9 })] {
            assert!(serde_json::from_value::<DeployState>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn both_shapes_of_the_deploy_state_are_read() {
        let guide: DeployState =
            serde_json::from_value(json!({ "current": null, "history": [], "version": 3 })).unwrap();
        assert!(guide.service("default").is_some() && guide.version() == 3);
        let many = json!({ "services": { "shop": { "stable": { "pool": "blue" }, "current": null, "history": [] } } });
        let many: DeployState = serde_json::from_value(many).unwrap();
        assert_eq!(many.service("shop").unwrap().stable.as_ref().unwrap().pool, "blue");
        assert!(many.service("other").is_none());
    }
}
