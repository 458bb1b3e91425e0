//! Calls about flags.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

use super::access::Caller;
use super::api::Admin;
use super::evaluation::{self, EvaluationContext};
use super::problem::Problem;
use super::request::{Body, Segments, if_match};
use crate::control::{Action, Controller, Done, FlagOrder, FlagPatch, ImportRequest, RampOverview, lint_flags};
use crate::decide::flags::Flag;

fn answered(flag: &Flag) -> Response {
    let tag = format!("\"{}\"", Controller::flag_tag(flag));
    ([(header::ETAG, tag)], Json(flag)).into_response()
}

fn order(name: String, caller: &Caller, headers: &HeaderMap) -> FlagOrder {
    FlagOrder { name, by: caller.name.to_string(), if_match: if_match(headers) }
}

pub(super) async fn list(State(admin): State<Admin>) -> Response {
    let snapshot = admin.control.snapshot();
    let flags: Vec<&Flag> = snapshot.all_flags.flags.values().map(|flag| &**flag).collect();
    Json(json!({ "flags": flags, "version": snapshot.all_flags.version })).into_response()
}

pub(super) async fn get(State(admin): State<Admin>, Segments(name): Segments<String>) -> Result<Response, Problem> {
    let flag = admin.control.ask(move |control| control.flag(&name)).await?;
    Ok(answered(&flag))
}

pub(super) async fn set(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    Body(fields): Body<FlagPatch>,
) -> Result<Response, Problem> {
    let order = order(name, &caller, &headers);
    Ok(answered(&admin.control.change_flags(move |control| control.set_flag(&order, fields)).await?))
}

pub(super) async fn patch(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
    Body(fields): Body<FlagPatch>,
) -> Result<Response, Problem> {
    let order = order(name, &caller, &headers);
    Ok(answered(&admin.control.change_flags(move |control| control.patch_flag(&order, fields)).await?))
}

pub(super) async fn delete(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Segments(name): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = order(name, &caller, &headers);
    Ok(answered(&admin.control.change_flags(move |control| control.delete_flag(&order)).await?))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Evaluate {
    context: EvaluationContext,
}

pub(super) async fn evaluate(
    State(admin): State<Admin>,
    Segments(name): Segments<String>,
    Body(Evaluate { context }): Body<Evaluate>,
) -> Result<Response, Problem> {
    Ok(Json(evaluation::evaluate(&admin.control.snapshot(), &name, &context)).into_response())
}

/// Brings in flags of another file.
pub(super) async fn import(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Body(request): Body<ImportRequest>,
) -> Result<Response, Problem> {
    let by = caller.name.to_string();
    let import = request.read()?;
    Ok(Json(admin.control.change_flags(move |control| control.import_flags(import, &by)).await?).into_response())
}

/// How far a flag's ramp is.
pub(super) async fn ramp(State(admin): State<Admin>, Segments(name): Segments<String>) -> Result<Response, Problem> {
    Ok(Json(admin.control.ask(move |control| control.ramp(&name)).await?).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct How {
    reason: Option<String>,
    force: bool,
}

/// Steers a flag's ramp.
pub(super) async fn act_on_ramp(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Segments((name, verb)): Segments<(String, String)>,
    Body(How { reason, force }): Body<How>,
) -> Result<Response, Problem> {
    let by = caller.name.to_string();
    let action = match verb.as_str() {
        "advance" => Action::Advance,
        "pause" => Action::Pause,
        "resume" => Action::Resume,
        "promote" => Action::Promote { force },
        "rollback" => {
            let reason = reason.unwrap_or_else(|| "set back by hand".to_owned());
            return Ok(ramped(&admin.control.set_back(name, by, reason).await?));
        }
        _ => {
            let verbs = "advance, pause, resume, promote, rollback";
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknownVerb", verbs));
        }
    };
    let done = admin.control.change_deployment(move |control| control.act_on_ramp(&name, action, &by)).await?;
    Ok(ramped(&done))
}

fn ramped(done: &Done<RampOverview>) -> Response {
    let mut body = json!(done.value);
    body["durable"] = json!(done.durable);
    Json(body).into_response()
}

/// Flags that hardly mean what they say.
pub(super) async fn lint(State(admin): State<Admin>) -> Response {
    let snapshot = admin.control.snapshot();
    let found = lint_flags(&snapshot.config, &snapshot.all_flags);
    let warnings = found.iter().map(|(flag, warning)| {
        json!({ "flag": flag, "code": warning.code(), "text": format!("the flag `{flag}` {warning}") })
    });
    Json(json!({ "warnings": warnings.collect::<Vec<_>>() })).into_response()
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Reload {
    discard: bool,
}

pub(super) async fn reload(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Body(Reload { discard }): Body<Reload>,
) -> Result<Response, Problem> {
    admin.control.reload_flags(discard, caller.name.to_string()).await?;
    Ok(list(State(admin)).await)
}
