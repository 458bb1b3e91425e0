//! OFREP for the app's own servers: who has a token is believed.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::api::Admin;
use super::evaluation::service_of;
use super::request::Segments;
use crate::clock;
use crate::decide::flags::{Context, JsonAttributes};
use crate::ofrep::{self, Asked, Audience, Failure};
use crate::snapshot::Snapshot;
use crate::subject::Track;

pub(super) async fn evaluate(
    State(admin): State<Admin>,
    Segments(key): Segments<String>,
    Body(asked): Body,
) -> Response {
    let snapshot = admin.control.snapshot();
    with(&snapshot, &asked, |context| ofrep::evaluate(&snapshot, &key, context, Audience::Servers))
}

pub(super) async fn evaluate_all(State(admin): State<Admin>, headers: HeaderMap, Body(asked): Body) -> Response {
    let snapshot = admin.control.snapshot();
    with(&snapshot, &asked, |context| ofrep::evaluate_all(&snapshot, context, Audience::Servers, &headers, None))
}

/// A body as the protocol has it, with the protocol's errors.
pub(super) struct Body(Asked);

impl FromRequest<Admin> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, admin: &Admin) -> Result<Self, Response> {
        let bad = |status, details: String| Failure::new(status, "INVALID_CONTEXT", details).into_response();
        let bytes = Bytes::from_request(request, admin)
            .await
            .map_err(|rejected| bad(rejected.status(), rejected.body_text()).into_response())?;
        Asked::read(&bytes).map(Self).map_err(|error| bad(StatusCode::BAD_REQUEST, error.to_string()))
    }
}

fn with<T>(snapshot: &Snapshot, asked: &Asked, evaluate: impl FnOnce(&Context<'_>) -> T) -> T {
    let attributes = JsonAttributes(&asked.0);
    let (id, user, groups) = (asked.id(), asked.user(), asked.text("groupId"));
    let service = service_of(snapshot, asked.text("service"));
    evaluate(&Context {
        id,
        user,
        groups,
        environment: asked.text("environment"),
        canary: service.map(|service| service.place(id, user, groups).track == Track::Canary),
        attributes: Some(&attributes),
        unix_millis: clock::unix_millis(),
        ramps: &snapshot.flags.shares(),
    })
}
