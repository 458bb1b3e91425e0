//! OFREP for the app's own servers: who has a token is believed.

use std::convert::Infallible;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;

use super::api::Admin;
use super::evaluation::service_of;
use crate::clock;
use crate::decide::flags::{Context, JsonAttributes};
use crate::ofrep::{self, Asked, Audience, Failure};
use crate::snapshot::Snapshot;
use crate::subject::Track;

pub(super) async fn evaluate(State(admin): State<Admin>, path: Uri, Body(asked): Body) -> Response {
    let key = ofrep::key(path.path()).unwrap_or_default();
    let asked = match asked {
        Ok(asked) => asked,
        Err(failure) => return failure.about(Some(&key)).into_response(),
    };
    let snapshot = admin.control.snapshot();
    with(&snapshot, &asked, |context| ofrep::evaluate(&snapshot, &key, context, Audience::Servers))
}

pub(super) async fn evaluate_all(State(admin): State<Admin>, headers: HeaderMap, Body(asked): Body) -> Response {
    let asked = match asked {
        Ok(asked) => asked,
        Err(failure) => return failure.into_response(),
    };
    let snapshot = admin.control.snapshot();
    with(&snapshot, &asked, |context| ofrep::evaluate_all(&snapshot, context, Audience::Servers, &headers, None))
}

/// A body as the protocol has it, or why it is none.
pub(super) struct Body(Result<Asked, Failure>);

impl FromRequest<Admin> for Body {
    type Rejection = Infallible;

    async fn from_request(request: Request, admin: &Admin) -> Result<Self, Infallible> {
        let bad = |status, details: String| Failure::new(status, "INVALID_CONTEXT", details);
        Ok(Self(match Bytes::from_request(request, admin).await {
            Ok(bytes) => Asked::read(&bytes).map_err(|error| bad(StatusCode::BAD_REQUEST, error.to_string())),
            Err(rejected) => Err(bad(rejected.status(), rejected.body_text())),
        }))
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
