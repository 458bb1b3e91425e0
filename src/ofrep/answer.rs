//! What evaluations look like in the protocol.
//!
//! The official clients differ in what they take. This form pleases all: `key`, `reason`,
//! `variant` and `metadata` always; no `value` where the app's own default holds, never null.

use axum::response::Response;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::decide::flags::{CompiledFlag, Context, Evaluation, Flag, Reason, RuleKind};
use crate::snapshot::Snapshot;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The app's own servers: all flags.
    Servers,
    /// Apps on their users' devices: flags with `client: true`; of others they learn nothing.
    Clients,
}

/// Why there is no evaluation.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) key: Option<String>,
    /// One of OpenFeature's codes.
    pub(crate) code: &'static str,
    pub(crate) details: String,
    /// In how many seconds it is worth trying again.
    pub(crate) retry_after: Option<u64>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, details: impl Into<String>) -> Self {
        Self { status, key: None, code, details: details.into(), retry_after: None }
    }

    /// The same about the flag that was asked for.
    pub(crate) fn about(self, key: Option<&str>) -> Self {
        Self { key: self.key.or_else(|| key.map(str::to_owned)), ..self }
    }

    fn of_flag(key: &str, status: StatusCode, code: &'static str, details: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), ..Self::new(status, code, details) }
    }

    fn item(&self) -> Value {
        let mut item = json!({ "errorCode": self.code, "errorDetails": self.details, "metadata": {} });
        if let Some(key) = &self.key {
            item["key"] = Value::from(key.as_str());
        }
        item
    }

    pub(crate) fn into_response(self) -> Response {
        let mut response = super::json(self.status, &self.item());
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// One flag.
///
/// # Errors
/// No such flag for this audience, or no id to draw for.
pub(super) fn one(snapshot: &Snapshot, key: &str, context: &Context<'_>, audience: Audience) -> Result<Value, Failure> {
    let flag = snapshot.flags.all.get(key).filter(|flag| audience.may_see(flag));
    let Some(flag) = flag else {
        let details = format!("there is no flag `{}`", key.chars().take(128).collect::<String>());
        return Err(Failure::of_flag(key, StatusCode::NOT_FOUND, "FLAG_NOT_FOUND", details));
    };
    let evaluation = flag.evaluate(context);
    if evaluation.key_missing {
        let details = format!("`{key}` is drawn by the targeting key, and there is none");
        return Err(Failure::of_flag(key, StatusCode::BAD_REQUEST, "TARGETING_KEY_MISSING", details));
    }
    Ok(item(flag, snapshot.all_flags.flags.get(key).map(|flag| &**flag), &evaluation))
}

/// All flags, in the order of their names.
pub(super) fn all(snapshot: &Snapshot, context: &Context<'_>, audience: Audience, stream: Option<&str>) -> Value {
    let seen = snapshot.flags.all.iter().filter(|(_, flag)| audience.may_see(flag));
    let items =
        seen.map(|(key, _)| one(snapshot, key.as_str(), context, audience).unwrap_or_else(|failure| failure.item()));
    let mut body = json!({ "flags": items.collect::<Vec<_>>() });
    if let Some(path) = stream {
        body["eventStreams"] = json!([{ "type": "sse", "endpoint": { "requestUri": path } }]);
    }
    body
}

impl Audience {
    fn may_see(self, flag: &CompiledFlag) -> bool {
        self == Self::Servers || flag.is_for_clients()
    }
}

fn item(flag: &CompiledFlag, stored: Option<&Flag>, evaluation: &Evaluation) -> Value {
    let typed = flag.variants().next().is_some();
    let variant = match flag.variant(evaluation) {
        Some((name, _)) => name,
        None if typed => "",
        None if evaluation.enabled => "on",
        None => "off",
    };
    let mut item = json!({
        "key": flag.name().as_str(),
        "reason": reason(flag, evaluation),
        "variant": variant,
        "metadata": metadata(stored, evaluation),
    });
    // Numbers keep the form that they were written in: to some clients 5 is no 5.0.
    match flag.variant(evaluation) {
        Some((_, value)) => item["value"] = value.clone(),
        None if typed => {}
        None => item["value"] = Value::from(evaluation.enabled),
    }
    item
}

/// One of OpenFeature's reasons: some clients take no others.
fn reason(flag: &CompiledFlag, evaluation: &Evaluation) -> &'static str {
    // Without a variant the app's own default holds: no value of the flag's that one could keep.
    let of_code = flag.variants().next().is_some() && evaluation.variant.is_none();
    let plain = if of_code || flag.has_rules() { "DEFAULT" } else { "STATIC" };
    match evaluation.reason {
        Reason::Disabled => "DISABLED",
        _ if evaluation.drawn => "SPLIT",
        Reason::Override if of_code => "DEFAULT",
        Reason::Override => "STATIC",
        // Off as the environment is another one: no rule has given it.
        Reason::Rule if evaluation.rule_matched == Some(RuleKind::Environment) && !evaluation.enabled => "DEFAULT",
        Reason::Rule => "TARGETING_MATCH",
        Reason::Schedule | Reason::Prerequisite => "DEFAULT",
        Reason::Percentage | Reason::Default => plain,
    }
}

/// What a flag's file says of it, and which rule decided: flat, of texts, booleans and integers.
fn metadata(stored: Option<&Flag>, evaluation: &Evaluation) -> Map<String, Value> {
    let own = stored.and_then(|flag| flag.extra.get("metadata")?.as_object());
    let flat = own.into_iter().flatten().filter_map(|(name, value)| {
        let value = match value {
            Value::String(_) | Value::Bool(_) => value.clone(),
            // To one client a decimal in metadata is an error.
            Value::Number(number) if number.is_f64() => Value::from(number.to_string()),
            Value::Number(_) => value.clone(),
            _ => return None,
        };
        Some((name.clone(), value))
    });
    let mut metadata: Map<String, Value> = flat.collect();
    if let Some(rule) = evaluation.rule_matched {
        metadata.insert("rule".to_owned(), Value::from(rule.name()));
    }
    metadata
}
