//! The OpenFeature Remote Evaluation Protocol (OFREP 0.3): flags for apps with an SDK.
//!
//! Owns: what its calls bring and answer, the public listener with its tokens, origins and
//! rate. Touches: snapshots, events; never the way of a request. Servers ask by the admin
//! API and are believed; apps on their users' devices ask by the public listener and are not.

mod answer;
mod asked;
mod public;
mod rate;
mod revalidation;
mod signal;
mod tokens;

use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::Value;

pub use answer::Audience;
pub(crate) use answer::Failure;
pub(crate) use asked::Asked;
pub use public::{PublicState, public_router};

use crate::decide::flags::Context;
use crate::snapshot::Snapshot;

/// Where all flags are evaluated, and one behind a slash.
const BASE: &str = "/ofrep/v1/evaluate/flags";

/// The flag that a path names, encoded or not, slashes and all.
pub(crate) fn key(path: &str) -> Option<String> {
    let key = path.strip_prefix(BASE)?.strip_prefix('/').filter(|key| !key.is_empty())?;
    Some(percent_decode_str(key).decode_utf8_lossy().into_owned())
}

/// Answers a single evaluation.
pub(crate) fn evaluate(snapshot: &Snapshot, key: &str, context: &Context<'_>, audience: Audience) -> Response {
    match answer::one(snapshot, key, context, audience) {
        Ok(item) => json(StatusCode::OK, &item),
        Err(failure) => failure.into_response(),
    }
}

/// Answers for all flags; 304 where the client has this answer already.
pub(crate) fn evaluate_all(
    snapshot: &Snapshot,
    context: &Context<'_>,
    audience: Audience,
    asked: &HeaderMap,
    stream: Option<&str>,
) -> Response {
    let body = answer::all(snapshot, context, audience, stream);
    // The tag is of the body: it depends on the context, on the flags and on the time.
    let bytes = body.to_string().into_bytes();
    let tag = revalidation::tag(&bytes);
    let mut response = if revalidation::has_it(asked, &tag) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        json(StatusCode::OK, &body)
    };
    if let Ok(tag) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// An answer as every client of the protocol wants it: JSON with a body, whatever its status.
fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}
