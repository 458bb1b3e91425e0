//! Questions to app servers that no client asked: versions, health, names.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HOST, HeaderValue, USER_AGENT};
use http::uri::Scheme;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, lookup_host};

use super::connect::{Need, Protocol, speak};
use super::http2::head_for_http2;
use super::state::ServerState;
use crate::clock;
use crate::config::{Endpoint, HealthCheck};

const ANSWER_MAX: usize = 64 << 10;
/// Names are asked for again this often.
const RESOLVE: Duration = Duration::from_secs(5);

/// The answer to `GET path`; `None` without one in time.
pub async fn get(endpoint: &Endpoint, path: &str, within: Duration) -> Option<(StatusCode, Bytes)> {
    tokio::time::timeout(within, fetch(endpoint, path)).await.ok()?
}

async fn fetch(endpoint: &Endpoint, path: &str) -> Option<(StatusCode, Bytes)> {
    let socket = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await.ok()?;
    let (stream, protocol) = speak(endpoint, socket, Need::Any).await.ok()?;
    let scheme = if stream.is_encrypted() { Scheme::HTTPS } else { Scheme::HTTP };
    let address = endpoint.to_string();
    let host = address.split_once("://").map_or(address.as_str(), |(_, host)| host);
    let agent = HeaderValue::from_static("serin-health");
    let request = http::Request::get(path).header(HOST, host).header(USER_AGENT, agent);
    let mut request = request.body(Empty::<Bytes>::new()).ok()?;
    let io = TokioIo::new(stream);
    let (response, connection) = match protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
            let connection = Running(tokio::spawn(connection));
            (sender.send_request(request).await.ok()?, connection)
        }
        Protocol::Http2 => {
            let executor = TokioExecutor::new();
            let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.ok()?;
            let connection = Running(tokio::spawn(connection));
            head_for_http2(&mut request, &scheme)?;
            (sender.send_request(request).await.ok()?, connection)
        }
    };
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.ok()?.to_bytes();
    drop(connection);
    Some((status, body))
}

/// A task that ends with whoever holds it.
struct Running<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks app servers whether they are well, and for what their names stand, for as long as
/// somebody uses them.
pub fn watch(servers: &[Arc<ServerState>], check: Option<&HealthCheck>) {
    for server in servers {
        if server.is_named() {
            tokio::spawn(resolve(Arc::downgrade(server)));
        }
        if let Some(check) = check {
            tokio::spawn(look(Arc::downgrade(server), check.clone()));
        }
    }
}

async fn look(server: Weak<ServerState>, check: HealthCheck) {
    let mut in_row = (true, 0_u32);
    let mut ticks = tokio::time::interval(check.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(server) = server.upgrade() else { return };
        let answer = get(server.address(), &check.path, check.timeout).await;
        let well = answer.is_some_and(|(status, _)| status.is_success() || status.is_redirection());
        in_row = if in_row.0 == well { (well, in_row.1.saturating_add(1)) } else { (well, 1) };
        let enough = if well { check.healthy_after } else { check.unhealthy_after };
        if in_row.1 >= enough && server.set_healthy(well, clock::now()) {
            let server = server.address();
            if well {
                tracing::info!(%server, "an app server is healthy again");
            } else {
                tracing::warn!(%server, path = check.path, "an app server is unhealthy");
            }
        }
    }
}

async fn resolve(server: Weak<ServerState>) {
    loop {
        let Some(strong) = server.upgrade() else { return };
        let address = strong.address();
        match lookup_host((address.host.as_str(), address.port)).await {
            Ok(found) => strong.set_resolved(found.collect()),
            // What it stood for before is still the best guess.
            Err(error) => tracing::warn!(server = %address, %error, "an app server's name has no address"),
        }
        drop(strong);
        tokio::time::sleep(RESOLVE).await;
    }
}
