//! The calls of the admin API.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::guard;
use super::problem::Problem;
use crate::control::{Action, Control, ControlError, EvaluationContext, FlagPatch, StartRequest};
use crate::store::Writer;
use crate::telemetry::{FlagGauge, Format, ProcessStats, Scrape};

const BODY_MAX: usize = 1 << 20;
/// Who asks, until there are tokens with names.
const OPERATOR: &str = "operator";

/// What the API speaks for.
#[derive(Clone)]
pub struct Admin {
    /// The control plane.
    pub control: Control,
    /// Counts of the process.
    pub process: Arc<ProcessStats>,
    /// Who writes state.
    pub writer: Writer,
}

type Answer<T> = Result<Json<T>, Problem>;

/// The admin API.
pub fn router(admin: Admin) -> Router {
    let deployments = Router::new()
        .route("/deployment", get(current))
        .route("/deployments", get(history).post(start))
        .route("/deployment/{verb}", post(act))
        .route("/assignment", get(assignment));
    Router::new()
        .route("/api/flags", get(flags))
        .route("/api/flags/{name}", get(flag).put(set_flag).patch(patch_flag).delete(delete_flag))
        .route("/api/flags/{name}/evaluate", post(evaluate))
        .route("/api/services", get(services))
        .route("/api/services/{service}", get(service))
        .nest("/api/services/{service}", deployments.clone())
        // With one service its name may be left out.
        .nest("/api", deployments)
        .route("/api/metrics", get(metrics))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "notFound", "there is no such path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not know this method")
        })
        .layer(middleware::from_fn(guard::check))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(admin)
}

/// A body as JSON; an empty one is `{}`.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        let field = text.split('`').nth(1).map(str::to_owned);
        Problem { field, ..Problem::new(StatusCode::BAD_REQUEST, "invalid", text) }
    })
}

/// The service that a path names, or the only one.
fn named(admin: &Admin, path: &Params) -> Result<String, Problem> {
    if let Some(name) = &path.service {
        return Ok(name.clone());
    }
    match admin.control.snapshot().services.as_slice() {
        [only] => Ok(only.config.name.clone()),
        several => {
            let names: Vec<&str> = several.iter().map(|service| service.config.name.as_str()).collect();
            let detail = format!("which service? /api/services/{{name}}/… with one of {}", names.join(", "));
            Err(Problem::new(StatusCode::NOT_FOUND, "whichService", detail))
        }
    }
}

#[derive(Deserialize)]
struct Params {
    service: Option<String>,
    verb: Option<String>,
}

async fn flags(State(admin): State<Admin>) -> Answer<serde_json::Value> {
    let flags = admin.control.ask(|control| Ok(control.all_flags())).await?;
    Ok(Json(serde_json::json!({ "flags": flags })))
}

async fn flag(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Response, Problem> {
    Ok(Json(admin.control.ask(move |control| control.flag(&name)).await?).into_response())
}

async fn set_flag(State(admin): State<Admin>, Path(name): Path<String>, bytes: Bytes) -> Result<Response, Problem> {
    let fields: FlagPatch = body(&bytes)?;
    Ok(Json(admin.control.change(move |control| control.set_flag(&name, fields)).await?).into_response())
}

async fn patch_flag(State(admin): State<Admin>, Path(name): Path<String>, bytes: Bytes) -> Result<Response, Problem> {
    let patch: FlagPatch = body(&bytes)?;
    Ok(Json(admin.control.change(move |control| control.patch_flag(&name, patch)).await?).into_response())
}

async fn delete_flag(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Response, Problem> {
    Ok(Json(admin.control.change(move |control| control.delete_flag(&name)).await?).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Evaluate {
    context: EvaluationContext,
}

async fn evaluate(State(admin): State<Admin>, Path(name): Path<String>, bytes: Bytes) -> Result<Response, Problem> {
    let Evaluate { context } = body(&bytes)?;
    let result = admin.control.ask(move |control| Ok(control.evaluate_flag(&name, &context))).await?;
    Ok(Json(result).into_response())
}

async fn services(State(admin): State<Admin>) -> Answer<serde_json::Value> {
    let services = admin.control.ask(|control| Ok(control.overviews())).await?;
    Ok(Json(serde_json::json!({ "services": services })))
}

async fn service(State(admin): State<Admin>, Path(path): Path<Params>) -> Result<Response, Problem> {
    let name = named(&admin, &path)?;
    let found = admin
        .control
        .ask(move |control| {
            let overview = control.overviews().into_iter().find(|service| service.name == name);
            overview.ok_or(ControlError::NotFound { what: "service", name })
        })
        .await?;
    Ok(Json(found).into_response())
}

async fn current(State(admin): State<Admin>, Path(path): Path<Params>) -> Result<Response, Problem> {
    let name = named(&admin, &path)?;
    match admin.control.ask(move |control| control.current_deployment(&name)).await? {
        Some(deployment) => Ok(Json(deployment).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "noDeployment", "no deployment is running")),
    }
}

async fn history(State(admin): State<Admin>, Path(path): Path<Params>) -> Answer<serde_json::Value> {
    let name = named(&admin, &path)?;
    let deployments = admin.control.ask(move |control| control.deployment_history(&name)).await?;
    Ok(Json(serde_json::json!({ "deployments": deployments })))
}

async fn start(State(admin): State<Admin>, Path(path): Path<Params>, bytes: Bytes) -> Result<Response, Problem> {
    let name = named(&admin, &path)?;
    let request: StartRequest = body(&bytes)?;
    let started = admin.control.change(move |control| control.start_deployment(&name, request)).await?;
    let status = if started.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(started.deployment)).into_response())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reason {
    reason: Option<String>,
}

async fn act(State(admin): State<Admin>, Path(path): Path<Params>, bytes: Bytes) -> Result<Response, Problem> {
    let name = named(&admin, &path)?;
    let Reason { reason } = body(&bytes)?;
    let action = match path.verb.as_deref() {
        Some("advance") => Action::Advance,
        Some("pause") => Action::Pause,
        Some("resume") => Action::Resume,
        Some("promote") => Action::Promote,
        Some("rollback") => {
            // Before anything waits in a queue: the next request is on stable.
            admin.control.close_dial(&name);
            Action::Rollback(reason.unwrap_or_else(|| "rolled back by hand".to_owned()))
        }
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "unknownVerb",
                "advance, pause, resume, promote, rollback",
            ));
        }
    };
    let deployment = admin.control.change(move |control| control.act(&name, action, OPERATOR)).await?;
    Ok(Json(deployment).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Who {
    user_id: Option<String>,
    session_id: Option<String>,
}

async fn assignment(
    State(admin): State<Admin>,
    Path(path): Path<Params>,
    Query(who): Query<Who>,
) -> Result<Response, Problem> {
    let name = named(&admin, &path)?;
    let Some(id) = who.user_id.or(who.session_id).filter(|id| !id.is_empty()) else {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid", "userId or sessionId is needed");
        return Err(Problem { field: Some("userId".to_owned()), ..problem });
    };
    Ok(Json(admin.control.ask(move |control| control.assignment(&name, &id)).await?).into_response())
}

async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let flags = admin.control.ask(|control| Ok(control.all_flags())).await?;
    let gauge = |flag: crate::decide::flags::Flag| FlagGauge {
        name: flag.name.to_string(),
        enabled: flag.enabled,
        rollout: flag.rollout_percentage.percentage(),
    };
    let scrape = Scrape {
        snapshot: admin.control.snapshot(),
        process: Arc::clone(&admin.process),
        flags: flags.into_iter().map(gauge).collect(),
        state_write_errors: admin.writer.errors(),
    };
    let failed = |error: std::fmt::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", error.to_string());
    let text = scrape.render(format).map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

/// Listening and loaded: it is not reached before. State that cannot be written does
/// not take a proxy out of service, and is told.
async fn ready(State(admin): State<Admin>) -> String {
    match admin.writer.failing() {
        None => "ready\n".to_owned(),
        Some(error) => format!("ready, but state cannot be written: {error}\n"),
    }
}
