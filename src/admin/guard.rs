//! Who may speak to the admin API: this machine, and no web page in its browsers.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;

/// Lets a request pass, or answers why not.
pub(super) async fn check(request: Request, next: Next) -> Response {
    match admit(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn admit(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // A name that rebinds to loopback is still that name in the Host field.
    if !text(header::HOST).is_some_and(is_this_machine) {
        let detail = "the Host must be localhost or a literal address";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "foreignHost", detail));
    }
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    if let Some(origin) = text(header::ORIGIN) {
        let own = origin.split_once("://").is_some_and(|(_, host)| text(header::HOST) == Some(host));
        if !own {
            return Err(Problem::new(StatusCode::FORBIDDEN, "foreignOrigin", "writes from other origins are refused"));
        }
    }
    let json = text(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"));
    if json {
        return Ok(());
    }
    let detail = "writes need `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "contentType", detail))
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: &Method, fields: &[(&'static str, &'static str)]) -> Option<u16> {
        let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        admit(method, &headers).err().map(|problem| problem.status.as_u16())
    }

    #[test]
    fn a_rebound_name_is_refused() {
        assert_eq!(status(&Method::GET, &[("host", "127.0.0.1:9900")]), None);
        assert_eq!(status(&Method::GET, &[("host", "localhost")]), None);
        assert_eq!(status(&Method::GET, &[("host", "[::1]:9900")]), None);
        assert_eq!(status(&Method::GET, &[("host", "evil.example:9900")]), Some(421));
        assert_eq!(status(&Method::GET, &[]), Some(421));
    }

    #[test]
    fn a_form_of_another_page_writes_nothing() {
        let json = ("content-type", "application/json");
        assert_eq!(status(&Method::POST, &[("host", "localhost:1"), json]), None);
        assert_eq!(status(&Method::POST, &[("host", "localhost:1"), json, ("origin", "http://localhost:1")]), None);
        assert_eq!(status(&Method::POST, &[("host", "localhost:1"), json, ("origin", "http://evil")]), Some(403));
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(status(&Method::DELETE, &[("host", "localhost:1"), form]), Some(415));
        assert_eq!(status(&Method::POST, &[("host", "localhost:1")]), Some(415));
    }
}
