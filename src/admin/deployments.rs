//! Calls about services and their deployments.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::Caller;
use super::api::Admin;
use super::evaluation::{EvaluationContext, evaluate_all};
use super::problem::Problem;
use super::request::{Asked, Body, Segments, if_match};
use crate::clock;
use crate::control::{Action, ControlError, Done, Order, OutcomeReport, RehearsalRequest, StartRequest, Started};
use crate::decide::bucket::{Bucket, Share};
use crate::decide::time::seconds;
use crate::overrides;
use crate::snapshot::Snapshot;
use crate::store::DeploymentRecord;
use crate::subject::Track;

/// A signed override that leaks is good for no longer.
const OVERRIDE_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The variable parts of a deployment's path.
#[derive(Deserialize)]
pub(super) struct Place {
    service: Option<String>,
    verb: Option<String>,
}

/// The service that a path names, or the only one.
fn named(admin: &Admin, place: &Place) -> Result<String, Problem> {
    if let Some(name) = &place.service {
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

/// A deployment with the version that a write may rest on.
fn answered(status: StatusCode, record: &DeploymentRecord, durable: Option<bool>) -> Response {
    let tag = format!("\"{}.{}\"", record.id, record.revision);
    let mut body = serde_json::to_value(record).unwrap_or(Value::Null);
    if let Some(durable) = durable {
        body["durable"] = durable.into();
    }
    (status, [(header::ETAG, tag)], Json(body)).into_response()
}

pub(super) async fn services(State(admin): State<Admin>) -> Result<Response, Problem> {
    let services = admin.control.ask(|control| Ok(control.overviews())).await?;
    Ok(Json(json!({ "services": services })).into_response())
}

pub(super) async fn service(State(admin): State<Admin>, Segments(place): Segments<Place>) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    let found = admin
        .control
        .ask(move |control| {
            let overview = control.overviews().into_iter().find(|service| service.name == name);
            overview.ok_or(ControlError::NotFound { what: "service", name })
        })
        .await?;
    Ok(Json(found).into_response())
}

pub(super) async fn current(State(admin): State<Admin>, Segments(place): Segments<Place>) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    match admin.control.ask(move |control| control.current_deployment(&name)).await? {
        Some(deployment) => Ok(answered(StatusCode::OK, &deployment, None)),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "noDeployment", "no deployment is running")),
    }
}

pub(super) async fn history(State(admin): State<Admin>, Segments(place): Segments<Place>) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    let deployments = admin.control.ask(move |control| control.deployment_history(&name)).await?;
    Ok(Json(json!({ "deployments": deployments })).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    deployment: Option<String>,
    after: Option<f64>,
}

/// How a service goes over time.
pub(super) async fn samples(
    State(admin): State<Admin>,
    Segments(place): Segments<Place>,
    Asked(Part { deployment, after }): Asked<Part>,
) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    let found = admin.control.ask(move |control| control.samples(&name, deployment.as_deref(), after)).await?;
    Ok(Json(found).into_response())
}

fn order(admin: &Admin, place: &Place, caller: &Caller, headers: &HeaderMap) -> Result<Order, Problem> {
    Ok(Order { service: named(admin, place)?, by: caller.name.to_string(), if_match: if_match(headers) })
}

fn started(done: &Done<Started>) -> Response {
    let status = if done.value.created { StatusCode::CREATED } else { StatusCode::OK };
    answered(status, &done.value.deployment, Some(done.durable))
}

pub(super) async fn start(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Segments(place): Segments<Place>,
    headers: HeaderMap,
    Body(request): Body<StartRequest>,
) -> Result<Response, Problem> {
    let order = order(&admin, &place, &caller, &headers)?;
    let (service, pool, aa) = (order.service.clone(), request.pool.clone(), request.aa);
    let find = move |control: &mut crate::control::Controller| control.pool_of_start(&service, pool.as_deref(), aa);
    let answers = admin.control.ask_pool(find, &order.service).await?;
    let done =
        admin.control.change_deployment(move |control| control.start_deployment(&order, request, &answers)).await?;
    Ok(started(&done))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct How {
    reason: Option<String>,
    force: bool,
}

pub(super) async fn act(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Segments(place): Segments<Place>,
    headers: HeaderMap,
    Body(How { reason, force }): Body<How>,
) -> Result<Response, Problem> {
    let order = order(&admin, &place, &caller, &headers)?;
    let action = match place.verb.as_deref().unwrap_or_default() {
        "advance" => Action::Advance,
        "pause" => Action::Pause,
        "resume" => Action::Resume,
        "promote" => Action::Promote { force },
        "return" => Action::Return,
        "rollback" => {
            let reason = reason.unwrap_or_else(|| "rolled back by hand".to_owned());
            let done = admin.control.roll_back(order, reason).await?;
            return Ok(answered(StatusCode::OK, &done.value, Some(done.durable)));
        }
        "undo" => {
            let service = order.service.clone();
            let find = move |control: &mut crate::control::Controller| control.pool_of_undo(&service);
            let answers = admin.control.ask_pool(find, &order.service).await?;
            let done = admin.control.change_deployment(move |control| control.undo(&order, force, &answers)).await?;
            return Ok(started(&done));
        }
        "retry" => {
            return Ok(started(&admin.control.change_deployment(move |control| control.retry(&order)).await?));
        }
        _ => {
            let verbs = "advance, pause, resume, promote, rollback, undo, retry, return";
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknownVerb", verbs));
        }
    };
    let done = admin.control.change_deployment(move |control| control.act(&order, action)).await?;
    Ok(answered(StatusCode::OK, &done.value, Some(done.durable)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Who {
    user_id: Option<String>,
    session_id: Option<String>,
    group_id: Option<String>,
}

impl Who {
    fn id(&self) -> Result<String, Problem> {
        let id = self.user_id.as_deref().or(self.session_id.as_deref()).filter(|id| !id.is_empty());
        id.map(str::to_owned).ok_or_else(|| {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid", "userId or sessionId is needed");
            Problem { field: Some("userId".to_owned()), ..problem }
        })
    }
}

pub(super) async fn assignment(
    State(admin): State<Admin>,
    Segments(place): Segments<Place>,
    Asked(who): Asked<Who>,
) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    Ok(Json(assigned(&admin.control.snapshot(), &name, &who)?).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Expected {
    requests_per_second: Option<f64>,
    error_rate: Option<f64>,
}

pub(super) async fn plan(
    State(admin): State<Admin>,
    Segments(place): Segments<Place>,
    Asked(expected): Asked<Expected>,
) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    let Expected { requests_per_second, error_rate } = expected;
    let seen = admin.control.ask(move |control| control.outlook(&name, requests_per_second, error_rate)).await?;
    Ok(Json(seen).into_response())
}

pub(super) async fn rehearse(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Segments(place): Segments<Place>,
    Body(request): Body<RehearsalRequest>,
) -> Result<Response, Problem> {
    let (name, by) = (named(&admin, &place)?, caller.name.to_string());
    let begun = admin.control.ask(move |control| control.rehearse(&name, request, &by)).await?;
    Ok((StatusCode::CREATED, Json(begun)).into_response())
}

pub(super) async fn rehearsal(
    State(admin): State<Admin>,
    Segments(place): Segments<Place>,
) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    match admin.control.ask(move |control| control.rehearsal(&name)).await? {
        Some(rehearsal) => Ok(Json(rehearsal).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "noRehearsal", "nothing was rehearsed since the start")),
    }
}

pub(super) async fn stop_rehearsal(
    State(admin): State<Admin>,
    Segments(place): Segments<Place>,
) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    let stopped = admin.control.ask(move |control| control.stop_rehearsal(&name)).await?;
    Ok(Json(stopped).into_response())
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an outcome, or a list of outcomes: {track, latencyMs, error, userId?}")]
pub(super) enum Outcomes {
    One(OutcomeReport),
    Many(Vec<OutcomeReport>),
}

pub(super) async fn outcomes(
    State(admin): State<Admin>,
    Segments(place): Segments<Place>,
    Body(outcomes): Body<Outcomes>,
) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    let reports = match outcomes {
        Outcomes::One(report) => vec![report],
        Outcomes::Many(reports) => reports,
    };
    let recorded = admin.control.ask(move |control| control.record_outcomes(&name, &reports)).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "recorded": recorded }))).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Force {
    track: Track,
    #[serde(default = "one_hour", rename = "for", with = "seconds")]
    span: Duration,
}

fn one_hour() -> Duration {
    Duration::from_secs(3_600)
}

/// Signs an override: the secret itself never leaves the process.
pub(super) async fn force(
    State(admin): State<Admin>,
    Segments(place): Segments<Place>,
    Body(Force { track, span }): Body<Force>,
) -> Result<Response, Problem> {
    let name = named(&admin, &place)?;
    let snapshot = admin.control.snapshot();
    let service = snapshot.services.iter().find(|service| service.config.name == name);
    let service = service.ok_or(ControlError::NotFound { what: "service", name: name.clone() })?;
    let Some(secret) = &service.config.override_secret else {
        let detail = format!("services.{name}.overrides.secret is not configured: there are no overrides");
        return Err(Problem::new(StatusCode::CONFLICT, "noOverrides", detail));
    };
    if span.is_zero() || span > OVERRIDE_MAX {
        let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid", "an override lasts 1 second to 30 days");
        return Err(Problem { field: Some("for".to_owned()), ..problem });
    }
    let expiry = clock::unix_seconds() + span.as_secs().max(1);
    let value = overrides::seal(secret, &name, track, expiry);
    let body = json!({
        "header": format!("{}: {value}", overrides::HEADER),
        "cookie": format!("{}={value}", overrides::COOKIE),
        "value": value,
        "track": track.name(),
        "expiresAt": expiry,
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Explain {
    url: Option<String>,
    service: Option<String>,
    user_id: Option<String>,
    session_id: Option<String>,
    group_id: Option<String>,
}

/// Where a user is and why: service, bucket, share, track, flags.
pub(super) async fn explain(State(admin): State<Admin>, Asked(question): Asked<Explain>) -> Result<Response, Problem> {
    let Explain { url, service, user_id, session_id, group_id } = question;
    let who = Who { user_id, session_id, group_id };
    let name = match url {
        None => named(&admin, &Place { service, verb: None })?,
        Some(url) => routed(&admin, &url)?,
    };
    let snapshot = admin.control.snapshot();
    let assigned = assigned(&snapshot, &name, &who)?;
    let context = EvaluationContext {
        user_id: who.user_id,
        session_id: who.session_id,
        group_id: who.group_id,
        service: Some(name.clone()),
        ..EvaluationContext::default()
    };
    let flags = evaluate_all(&snapshot, &context);
    Ok(Json(json!({ "service": name, "assignment": assigned, "flags": flags })).into_response())
}

/// Where a user is.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Assigned {
    track: &'static str,
    /// 0 to 9,999; absent without a deployment or without a drawn bucket.
    bucket: Option<u16>,
    /// In percent.
    share: Share,
    /// Why: share, include, exclude or none.
    reason: &'static str,
    /// The id that the bucket was drawn for.
    identity: String,
}

fn assigned(snapshot: &Snapshot, name: &str, who: &Who) -> Result<Assigned, Problem> {
    let identity = who.id()?;
    let service = snapshot.services.iter().find(|service| service.config.name == name);
    let service = service.ok_or(ControlError::NotFound { what: "service", name: name.to_owned() })?;
    let place = service.place(Some(&identity), who.user_id.as_deref(), who.group_id.as_deref());
    let share = service.canary.as_ref().map_or(Share::NOBODY, |canary| canary.subject.word().share());
    let bucket = place.bucket.map(Bucket::number);
    Ok(Assigned { track: place.track.name(), bucket, share, reason: place.reason, identity })
}

fn routed(admin: &Admin, url: &str) -> Result<String, Problem> {
    let wrong =
        |detail| Problem { field: Some("url".to_owned()), ..Problem::new(StatusCode::BAD_REQUEST, "invalid", detail) };
    let uri: axum::http::Uri = url.parse().map_err(|_| wrong("an address like http://shop.example.com/cart"))?;
    let snapshot = admin.control.snapshot();
    let host = uri.host().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let found = snapshot.routes.only().or_else(|| snapshot.routes.find(&host, uri.path()));
    let index = found.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "noService", "no service has this host and path: they get a 404")
    })?;
    Ok(snapshot.services[index].config.name.clone())
}
