//! h2load: many streams on few connections, none of them lost.

use std::process::Command;

use super::programs::{Daemon, Edge, authority, succeeds};
use crate::common::have;

const REQUESTS: u32 = 20_000;

/// nginx closes a connection after 1,000 requests, as it does by default: over HTTP/2 it says so
/// with GOAWAY while others are on their way.
#[test]
fn every_one_of_many_requests_is_answered_and_counted() {
    if !have("h2load") || !have("nginx") {
        return;
    }
    let (_folder, authority) = authority();
    let app = Daemon::nginx(|[http1, http2]| {
        let ok = "location / { return 200 ok; }";
        format!(
            "server {{ listen 127.0.0.1:{http1} reuseport; {ok} }}\n\
             server {{ listen 127.0.0.1:{http2} http2 reuseport; {ok} }}"
        )
    });
    let endpoints = [format!("http://127.0.0.1:{}", app.ports[0]), format!("h2c://127.0.0.1:{}", app.ports[1])];
    let [http1, http2] = endpoints;
    let edge = Edge::start(
        &authority,
        &[("one", http1.clone(), ""), ("two", http2.clone(), ""), ("three", http2, ""), ("old", http1, "")],
    );
    let (plain, encrypted) = (format!("http://localhost:{}/", edge.plain), format!("https://localhost:{}/", edge.encrypted));
    let ways: [(&str, &str, u32, &[&str]); 4] = [
        ("one", &encrypted, REQUESTS, &["-m", "20"]),
        ("two", &plain, REQUESTS, &["-m", "20"]),
        ("three", &encrypted, REQUESTS / 4, &["-m", "100"]),
        ("old", &plain, REQUESTS / 4, &["--h1"]),
    ];
    for (service, url, requests, more) in ways {
        let host = format!("{}: {service}.test", if more == ["--h1"] { "host" } else { ":authority" });
        let mut h2load = Command::new("h2load");
        h2load.args(["-n", &requests.to_string(), "-c", "10", "-H", &host]).args(more).arg(url);
        let said = succeeds(&mut h2load);
        let all = format!(
            "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, \
             0 failed, 0 errored, 0 timeout"
        );
        assert!(said.contains(&all) && said.contains(&format!("status codes: {requests} 2xx,")), "{service}: {said}");
        edge.has_answered(service, 200, requests);
        edge.has_counted(service, "success", requests);
    }
}
