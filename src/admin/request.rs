//! What a call brings: path, query and body, each with an error that says what is wrong.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::api::Admin;
use super::problem::Problem;

/// A body as JSON; an empty one is `{}`.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Admin> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Admin) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, admin).await.map_err(|rejected| match rejected.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "bodyTooLarge", "the body is larger than this call takes")
            }
            _ => Problem::new(StatusCode::BAD_REQUEST, "body", "the body could not be read"),
        })?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        match serde_json::from_slice(bytes) {
            Ok(value) => Ok(Self(value)),
            Err(error) => {
                let text = error.to_string();
                // serde names a missing or unknown field in backticks.
                let field = text.split('`').nth(1).map(str::to_owned);
                Err(Problem { field, ..Problem::new(StatusCode::BAD_REQUEST, "invalid", text) })
            }
        }
    }
}

/// The variable parts of a path.
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Admin> for Segments<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let Path(value) = Path::from_request_parts(parts, admin)
            .await
            .map_err(|rejected| Problem::new(StatusCode::BAD_REQUEST, "path", rejected.body_text()))?;
        Ok(Self(value))
    }
}

/// The query.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Admin> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Admin) -> Result<Self, Problem> {
        let Query(value) = Query::from_request_parts(parts, admin)
            .await
            .map_err(|rejected| Problem::new(StatusCode::BAD_REQUEST, "query", rejected.body_text()))?;
        Ok(Self(value))
    }
}

/// The version that a write rests on: `If-Match`, with or without quotes (RFC 9110 section 13.1.1).
pub(super) fn if_match(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::IF_MATCH)?.to_str().ok()?;
    Some(text.trim().trim_start_matches("W/").trim_matches('"').to_owned())
}
