//! h2load: many streams on few connections, none of them lost.

use std::process::Command;

use super::programs::{Daemon, Edge, authority, succeeds};
use crate::common::have;

const REQUESTS: u32 = 20_000;
/// At once on each of ten connections.
const STREAMS: &str = "20";
const MANY_STREAMS: &str = "100";

/// nginx by HTTP/1.1 and by HTTP/2. It closes a connection after 1,000 requests, as it does by
/// default: over HTTP/2 it says so with GOAWAY while others are on their way.
fn nginx() -> (Daemon, [String; 2]) {
    let app = Daemon::nginx(|[http1, http2]| {
        let ok = "location / { return 200 ok; }";
        format!(
            "server {{ listen 127.0.0.1:{http1} reuseport; {ok} }}\n\
             server {{ listen 127.0.0.1:{http2} http2 reuseport; {ok} }}"
        )
    });
    let endpoints = [format!("http://127.0.0.1:{}", app.ports[0]), format!("h2c://127.0.0.1:{}", app.ports[1])];
    (app, endpoints)
}

/// Every request is answered by the app, and counted once.
fn serves(edge: &Edge, service: &str, scheme: &str, requests: u32, options: &[&str]) {
    let port = if scheme == "https" { edge.encrypted } else { edge.plain };
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", &requests.to_string(), "-c", "10"]).args(options);
    h2load.arg(format!("--connect-to=127.0.0.1:{port}")).arg(format!("{scheme}://{service}.test:{port}/"));
    let said = succeeds(&mut h2load);
    let all = format!(
        "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, \
         0 failed, 0 errored, 0 timeout"
    );
    assert!(said.contains(&all) && said.contains(&format!("status codes: {requests} 2xx,")), "{service}: {said}");
    edge.has_answered(service, 200, requests);
    edge.has_counted(service, "success", requests);
}

#[test]
fn every_one_of_many_requests_is_answered_and_counted() {
    if !have("h2load") || !have("nginx") {
        return;
    }
    let (_folder, authority) = authority();
    let (_app, [http1, http2]) = nginx();
    let edge = Edge::start(&authority, &[("one", http1.clone(), ""), ("two", http2, ""), ("old", http1, "")]);
    serves(&edge, "one", "https", REQUESTS, &["-m", STREAMS]);
    serves(&edge, "two", "http", REQUESTS, &["-m", STREAMS]);
    serves(&edge, "old", "http", REQUESTS / 4, &["--h1"]);
}

/// What GOAWAY passes over the app has not looked at: it goes out again, more than once where
/// the next connection ends as well, and is no error of anybody's (RFC 9113 section 6.8).
#[test]
fn many_streams_outlive_the_connections_that_an_app_ends() {
    if !have("h2load") || !have("nginx") {
        return;
    }
    let (_folder, authority) = authority();
    let (_app, [_, http2]) = nginx();
    let edge = Edge::start(&authority, &[("two", http2, "")]);
    serves(&edge, "two", "https", REQUESTS, &["-m", MANY_STREAMS]);
}
