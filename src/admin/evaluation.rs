//! Flags and tracks for whoever asks without sending a request through the proxy.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock;
use crate::decide::flags::{CompiledFlag, Context, Evaluation, JsonAttributes, Reason, RuleKind};
use crate::snapshot::{ServiceState, Snapshot};
use crate::subject::Track;

/// Who a flag is evaluated for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct EvaluationContext {
    /// The user's id.
    pub(crate) user_id: Option<String>,
    /// The session's id, where there is no user.
    pub(crate) session_id: Option<String>,
    /// Groups, comma separated.
    pub(crate) group_id: Option<String>,
    /// Another environment than the configured one.
    pub(crate) environment: Option<String>,
    /// The service whose track is meant; not needed where there is one.
    pub(crate) service: Option<String>,
    /// What rules about attributes look at.
    pub(crate) attributes: Map<String, Value>,
}

/// The guide's result; of a flag with variants also which one it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlagEvaluation {
    flag_name: String,
    enabled: bool,
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_matched: Option<RuleKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

impl EvaluationContext {
    /// The id that is drawn for.
    pub(crate) fn id(&self) -> Option<&str> {
        self.user_id.as_deref().or(self.session_id.as_deref()).filter(|id| !id.is_empty())
    }

    /// Evaluates flags for it.
    pub(crate) fn with<T>(&self, snapshot: &Snapshot, evaluate: impl FnOnce(&Context<'_>) -> T) -> T {
        let attributes = JsonAttributes(&self.attributes);
        let (user, groups) = (self.user_id.as_deref(), self.group_id.as_deref());
        let service = service_of(snapshot, self.service.as_deref());
        evaluate(&Context {
            id: self.id(),
            user,
            groups,
            environment: self.environment.as_deref(),
            canary: service.map(|service| service.place(self.id(), user, groups).track == Track::Canary),
            attributes: Some(&attributes),
            unix_millis: clock::unix_millis(),
            ramps: &snapshot.flags.shares(),
        })
    }
}

/// The service with this name, or the only one.
pub(super) fn service_of<'s>(snapshot: &'s Snapshot, name: Option<&str>) -> Option<&'s ServiceState> {
    match (name, snapshot.services.as_slice()) {
        (Some(name), services) => services.iter().find(|service| service.config.name == name).map(|service| &**service),
        (None, [only]) => Some(only),
        (None, _) => None,
    }
}

/// Evaluates one flag.
pub(super) fn evaluate(snapshot: &Snapshot, name: &str, context: &EvaluationContext) -> FlagEvaluation {
    context.with(snapshot, |context| of(snapshot.flags.all.get(name).map(|flag| &**flag), name, context))
}

/// Evaluates all flags, in the order of their names.
pub(super) fn evaluate_all(snapshot: &Snapshot, context: &EvaluationContext) -> Vec<FlagEvaluation> {
    context.with(snapshot, |context| {
        snapshot.flags.all.iter().map(|(name, flag)| of(Some(flag), name.as_str(), context)).collect()
    })
}

fn of(flag: Option<&CompiledFlag>, name: &str, context: &Context<'_>) -> FlagEvaluation {
    let result = flag.map_or(Evaluation::UNKNOWN, |flag| flag.evaluate(context));
    let variant = flag.and_then(|flag| flag.variant(&result));
    FlagEvaluation {
        flag_name: name.to_owned(),
        enabled: result.enabled,
        reason: result.reason,
        rule_matched: result.rule_matched,
        variant: variant.map(|(name, _)| name.to_owned()),
        value: variant.map(|(_, value)| value.clone()),
    }
}
