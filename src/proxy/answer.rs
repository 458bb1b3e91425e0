//! Answers that Serin makes itself: status, code and text in one place.
//!
//! Short text, or problem+json where `Accept` asks, with `serin-error: <code>`,
//! so that nobody takes them for the app's (RFC 9110 section 15, RFC 9457).

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::body::ResponseBody;
use super::headers::{GRPC_MESSAGE, GRPC_STATUS, is_grpc};
use crate::telemetry::{ErrorKind, Refusal};

pub(super) static SERIN_ERROR: HeaderName = HeaderName::from_static("serin-error");

/// Why Serin answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Refused before any attempt.
    Refused(Refusal, &'static str),
    /// The app failed.
    Failed(ErrorKind),
    /// The client's own body failed.
    ClientBody,
}

impl Answer {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Refused(Refusal::NoService, _) => StatusCode::NOT_FOUND,
            Self::Refused(Refusal::BodyTooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Refused(Refusal::UriTooLong, _) => StatusCode::URI_TOO_LONG,
            Self::Refused(Refusal::HeaderTimeout | Refusal::BodyIdle, _) => StatusCode::REQUEST_TIMEOUT,
            Self::Refused(Refusal::Descriptors, _) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused(Refusal::HeadersTooMany, _) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Refused(_, _) | Self::ClientBody => StatusCode::BAD_REQUEST,
            Self::Failed(ErrorKind::Timeout) => StatusCode::GATEWAY_TIMEOUT,
            Self::Failed(ErrorKind::NoEndpoint | ErrorKind::Overflow) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::BAD_GATEWAY,
        }
    }

    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Refused(refusal, _) => refusal.name(),
            Self::Failed(ErrorKind::Connect) => "upstreamConnect",
            Self::Failed(ErrorKind::Reset) => "upstreamReset",
            Self::Failed(ErrorKind::Timeout) => "upstreamTimeout",
            Self::Failed(ErrorKind::NoEndpoint) => "noEndpoint",
            Self::Failed(ErrorKind::Overflow) => "overflow",
            Self::Failed(_) => "upstreamProtocol",
            Self::ClientBody => "clientBody",
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::Refused(_, detail) => detail,
            Self::Failed(ErrorKind::Connect) => "the app server cannot be reached",
            Self::Failed(ErrorKind::Reset) => "the app server closed the connection before it answered",
            Self::Failed(ErrorKind::Timeout) => "the app server did not answer in time",
            Self::Failed(ErrorKind::NoEndpoint) => "no app server is healthy",
            Self::Failed(ErrorKind::Overflow) => "all app servers are busy",
            Self::Failed(_) => "the app server's answer is not understood",
            Self::ClientBody => "the request's body is broken",
        }
    }

    /// What gRPC calls it (its own mapping of HTTP statuses would say less).
    const fn grpc_status(self) -> &'static str {
        match self {
            // UNIMPLEMENTED, RESOURCE_EXHAUSTED, INVALID_ARGUMENT, DEADLINE_EXCEEDED, UNAVAILABLE.
            Self::Refused(Refusal::NoService, _) => "12",
            Self::Refused(Refusal::BodyTooLarge, _) => "8",
            Self::Refused(Refusal::Descriptors, _) => "14",
            Self::Refused(_, _) | Self::ClientBody => "3",
            Self::Failed(ErrorKind::Timeout) => "4",
            Self::Failed(_) => "14",
        }
    }

    /// An answer without a message: its status stands in the head.
    fn respond_grpc(self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::of(Bytes::new()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS.clone(), HeaderValue::from_static(self.grpc_status()));
        headers.insert(GRPC_MESSAGE.clone(), HeaderValue::from_static(self.detail()));
        headers.insert(SERIN_ERROR.clone(), HeaderValue::from_static(self.code()));
        response
    }

    /// The answer, in the form that the client accepts.
    pub(super) fn respond(self, request: &HeaderMap) -> Response<ResponseBody> {
        if is_grpc(request) {
            return self.respond_grpc();
        }
        let accept = request.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let json = accept.contains("application/problem+json") || accept.contains("application/json");
        let (status, code, detail) = (self.status(), self.code(), self.detail());
        let title = status.canonical_reason().unwrap_or_default();
        let (kind, text) = if json {
            let problem = serde_json::json!({
                "title": title, "status": status.as_u16(), "code": code, "detail": detail
            });
            ("application/problem+json", problem.to_string())
        } else {
            ("text/plain; charset=utf-8", format!("{} {title}: {detail}\n", status.as_u16()))
        };
        let mut response = Response::new(ResponseBody::of(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(SERIN_ERROR.clone(), HeaderValue::from_static(code));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
