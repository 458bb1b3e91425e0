//! Calls about flags.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

use super::access::Caller;
use super::api::Admin;
use super::evaluation::{self, EvaluationContext};
use super::problem::Problem;
use super::request::{Body, Segments, if_match};
use crate::control::{Controller, FlagOrder, FlagPatch, lint_flags};
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
