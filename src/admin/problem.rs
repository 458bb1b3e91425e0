//! Errors as problem+json (RFC 9457), status and code in one place.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::control::ControlError;

/// An error answer.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) detail: String,
    pub(super) field: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let detail = error.to_string();
        match error {
            ControlError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "notFound", detail),
            ControlError::Invalid { field, .. } => Self {
                field: Some(field).filter(|field| !field.is_empty()),
                ..Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
            },
            ControlError::Stale { .. } => Self::new(StatusCode::PRECONDITION_FAILED, "stale", detail),
            ControlError::Conflict { code, .. } => Self::new(StatusCode::CONFLICT, code, detail),
            ControlError::TooMuch { code, .. } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail),
            ControlError::NotDurable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "notDurable", detail),
            ControlError::HandedOver => Self::new(StatusCode::SERVICE_UNAVAILABLE, "handedOver", detail),
            ControlError::Ended => Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            body["field"] = field.into();
        }
        let mut response = (self.status, body.to_string()).into_response();
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        match self.status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
