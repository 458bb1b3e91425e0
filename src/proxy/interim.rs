//! Interim answers on their way to the client (RFC 9110 section 15.2).
//!
//! hyper has no way to write them: they wait with the connection's progress until its own
//! bytes have left. HTTP/1.0 has none, and of HTTP/2 hyper takes none.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, StatusCode, Version};

use super::body::RequestBody;
use super::connection::Client;
use super::headers::clean_answer;
use super::upload::Gate;

/// Passes on what comes before the answer; 100 opens the body's gate, and hyper says it
/// itself once the body is wanted.
pub(super) fn pass(request: &mut Request<RequestBody>, client: &Client, version: Version, gate: Option<&Gate>) {
    let gate = gate.cloned();
    if version != Version::HTTP_11 && gate.is_none() {
        return;
    }
    let progress = Arc::clone(&client.progress);
    hyper::ext::on_informational(request, move |interim| match interim.status() {
        StatusCode::CONTINUE => gate.iter().for_each(Gate::open),
        _ if version == Version::HTTP_11 => progress.tell(&head(interim.status(), interim.headers())),
        _ => {}
    });
}

fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut headers = headers.clone();
    clean_answer(&mut headers);
    // It has no body (RFC 9110 section 8.6).
    headers.remove(CONTENT_LENGTH);
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}
