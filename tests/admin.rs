//! The admin API: who may do what, many changes at once, events, its description.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::app::{answering, echo};
use common::http::{connect, exchange, read_answer};
use common::{Serin, eventually, have};
use serde_json::{Value, json};

const TOKENS: &str = "admin: { address: '127.0.0.1:0', tokens: [ { name: ci, env: CI_TOKEN, role: write }, \
    { name: grafana, env: READ_TOKEN, role: read }, { name: app, env: APP_TOKEN, role: record } ] }\n\
    health: { address: '127.0.0.1:0' }\n";
const VARIABLES: [(&str, &str); 3] = [
    ("CI_TOKEN", "write-token-0123456789"),
    ("READ_TOKEN", "read-token-0123456789"),
    ("APP_TOKEN", "record-token-0123456789"),
];

fn services(stable: SocketAddr, canary: SocketAddr) -> String {
    format!(
        "services:\n  shop:\n    pools:\n      blue: {{ endpoints: 'http://{stable}', version: v1 }}\n      \
         green: {{ endpoints: 'http://{canary}' }}\n    stable: blue\n    canary: green\n"
    )
}

fn shop() -> Serin {
    Serin::start(&services(echo("stable"), echo("canary")))
}

/// A call with these fields: its status.
fn call(serin: &Serin, method: &str, path: &str, fields: &str, body: &str) -> u16 {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\n{fields}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        serin.admin,
        body.len()
    );
    exchange(serin.admin, request.as_bytes()).status
}

const JSON: &str = "content-type: application/json\r\n";

/// Every write that the description knows, as method and path.
fn writes(document: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{name}", "a").replace("{service}", "shop").replace("{verb}", "advance");
            // To evaluate is to read.
            if method != "get" && !path.contains("/evaluate") {
                found.push((method.to_uppercase(), path));
            }
        }
    }
    found
}

#[test]
fn where_there_are_tokens_nobody_writes_without_one() {
    let serin = Serin::start_bare(&format!("{TOKENS}{}", services(echo("stable"), echo("canary"))), &VARIABLES);
    let bearer = |token: &str| format!("{JSON}authorization: Bearer {token}\r\n");
    let (write, read, record) = (bearer(VARIABLES[0].1), bearer(VARIABLES[1].1), bearer(VARIABLES[2].1));
    let document = exchange(
        serin.admin,
        format!("GET /api/openapi.json HTTP/1.1\r\nhost: localhost\r\n{read}connection: close\r\n\r\n").as_bytes(),
    );
    let document: Value = serde_json::from_slice(&document.body).unwrap();
    let writes = writes(&document);
    assert!(writes.len() >= 12, "{writes:?}");
    for (method, path) in &writes {
        assert_eq!(call(&serin, method, path, JSON, "{}"), 401, "{method} {path} without a token");
        assert_eq!(call(&serin, method, path, &bearer("write-token-012345678"), "{}"), 401, "{method} {path}");
        assert_eq!(call(&serin, method, path, &read, "{}"), 403, "{method} {path} by who may only read");
        let recorded = call(&serin, method, path, &record, r#"{"track":"stable","error":false}"#);
        assert_eq!(recorded, if path.ends_with("/outcomes") { 202 } else { 403 }, "{method} {path} by the app");
    }
    // None of them did anything.
    let flags = |fields: &str| call(&serin, "GET", "/api/flags/a", fields, "");
    assert_eq!((flags(&write), flags(&read), flags(&record), flags("")), (404, 404, 403, 401));
    assert_eq!(call(&serin, "PUT", "/api/flags/a", &write, r#"{"enabled":true,"rolloutPercentage":5}"#), 200);
    assert_eq!(call(&serin, "GET", "/api/flags/a?token=write-token-0123456789", "", ""), 401, "never in a query");
    let by = eventually("the audit line", || {
        serin
            .log()
            .into_iter()
            .find(|line| line.contains("audit") && line.contains("/api/flags/a") && line.contains("=200"))
    });
    assert!(by.contains("by=ci") && by.contains("from=127.0.0.1"), "{by}");
    assert!(!serin.log().join("\n").contains("token-0123456789"), "no log shows a token");
    // The command line takes its token from the environment.
    let admin = format!("http://{}", serin.admin);
    let cli = |token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
        command.args(["--admin", &admin, "flags", "list"]).env("SERIN_ADMIN_TOKEN", token).output().unwrap()
    };
    assert!(cli(VARIABLES[1].1).status.success());
    let refused = String::from_utf8(cli("").stderr).unwrap();
    assert!(refused.contains("next: set SERIN_ADMIN_TOKEN"), "{refused}");
    // Probes and scrapes need none, on a listener that knows nothing else.
    let health = serin.health.expect("the health listener");
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/api/flags", 404)] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n");
        assert_eq!(exchange(health, request.as_bytes()).status, status, "{path}");
    }
}

#[test]
fn without_tokens_a_web_page_writes_nothing() {
    let serin = shop();
    let form = "content-type: application/x-www-form-urlencoded\r\norigin: http://evil.example\r\n";
    let document = serin.get("/api/openapi.json");
    for (method, path) in writes(&document) {
        assert_eq!(call(&serin, &method, &path, form, "a=b"), 403, "{method} {path}");
        let plain = "content-type: text/plain\r\n";
        assert_eq!(call(&serin, &method, &path, plain, "{}"), 415, "{method} {path}");
        let rebound = format!(
            "{method} {path} HTTP/1.1\r\nhost: evil.example\r\n{JSON}connection: close\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        assert_eq!(exchange(serin.admin, rebound.as_bytes()).status, 421, "{method} {path}");
    }
    let read = "GET /api/flags HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    assert_eq!(exchange(serin.admin, read.as_bytes()).status, 421, "a rebound name reads nothing either");
    assert_eq!(serin.get("/api/flags")["flags"], json!([]));
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let serin = shop();
    let body = format!("{{\"description\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(call(&serin, "PUT", "/api/flags/a", JSON, &body), 413);
}

#[test]
fn a_change_of_a_flag_may_rest_on_what_was_read() {
    let serin = shop();
    let set = |fields: &str, rollout: u32| {
        let body = format!("{{\"enabled\":true,\"rolloutPercentage\":{rollout}}}");
        let request = format!(
            "PUT /api/flags/a HTTP/1.1\r\nhost: {}\r\n{JSON}{fields}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            serin.admin,
            body.len()
        );
        let answer = exchange(serin.admin, request.as_bytes());
        (answer.status, answer.header("etag").map(str::to_owned))
    };
    let (status, first) = set("", 1);
    let first = first.unwrap();
    assert_eq!(status, 200);
    let (status, second) = set(&format!("if-match: {first}\r\n"), 2);
    assert_eq!(status, 200);
    assert_eq!(set(&format!("if-match: {first}\r\n"), 3).0, 412);
    assert_eq!(set(&format!("if-match: {}\r\n", second.unwrap()), 3).0, 200);
    assert_eq!(serin.get("/api/flags/a")["rolloutPercentage"], 3);
}

/// Asks until told to stop; counts what went wrong.
fn load(proxy: SocketAddr, done: &AtomicBool, failed: &AtomicU64) {
    let mut stream = connect(proxy);
    let mut user = 0;
    while !done.load(Ordering::Relaxed) {
        user += 1;
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u{user}\r\n\r\n").as_bytes()).unwrap();
        if read_answer(&mut stream, false).status != 200 {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_thousand_flag_changes_a_second_are_each_durable_when_answered() {
    const THREADS: u32 = 25;
    /// Each thread changes its flag this often: a thousand a second over all, for ten seconds.
    const EVERY: Duration = Duration::from_millis(25);
    const CHANGES: u32 = 400;
    let small = || answering(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    let serin = Serin::start(&services(small(), small()));
    let (done, failed) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let loads = [0, 1].map(|_| scope.spawn(|| load(serin.proxy, &done, &failed)));
        let change = |thread: u32| {
            let serin = &serin;
            scope.spawn(move || {
                let mut stream = connect(serin.admin);
                for n in 0..CHANGES {
                    let body = json!({ "enabled": true, "rolloutPercentage": 0, "description": n.to_string() }).to_string();
                    let request = format!(
                        "PUT /api/flags/f{thread} HTTP/1.1\r\nhost: localhost\r\n{JSON}content-length: {}\r\n\r\n{body}",
                        body.len()
                    );
                    stream.write_all(request.as_bytes()).unwrap();
                    assert_eq!(read_answer(&mut stream, false).status, 200);
                    if n % THREADS == thread {
                        let file = serin.state_file("feature-flags.json");
                        assert_eq!(file["flags"][format!("f{thread}")]["description"], n.to_string(), "on disk");
                    }
                    // The pace, not a wait for anything: who is late goes on at once.
                    std::thread::sleep((EVERY * (n + 1)).saturating_sub(began.elapsed()));
                }
            })
        };
        let changes: Vec<_> = (0..THREADS).map(change).collect();
        for change in changes {
            change.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for load in loads {
            load.join().unwrap();
        }
    });
    let took = began.elapsed();
    assert_eq!(failed.load(Ordering::Relaxed), 0, "no request failed");
    let file = serin.state_file("feature-flags.json");
    for thread in 0..THREADS {
        assert_eq!(file["flags"][format!("f{thread}")]["description"], (CHANGES - 1).to_string());
    }
    assert_eq!(file["version"].as_u64(), Some(u64::from(CHANGES * THREADS)), "one version a change");
    assert!(took < Duration::from_secs(20), "ten seconds of changes took {took:?}");
}

#[test]
fn a_change_is_in_the_very_next_request_on_every_worker() {
    let serin = Serin::start(&format!("workers: 4\n{}", services(echo("stable"), echo("canary"))));
    // Enough connections that each of the workers has some.
    let mut streams: Vec<TcpStream> = (0..32).map(|_| connect(serin.proxy)).collect();
    let mut ask = || -> Vec<String> {
        let ask = |stream: &mut TcpStream| {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n\r\n").unwrap();
            read_answer(stream, false).text()
        };
        streams.iter_mut().map(ask).collect()
    };
    for round in 0..20 {
        let on = round % 2 == 0;
        serin.api("PUT", "/api/flags/a", &json!({ "enabled": on, "rolloutPercentage": 100 }));
        assert!(ask().iter().all(|text| text.contains(&format!("x-feature-a: {on}\r\n"))), "round {round}");
    }
    serin.does(&["deploy", "start", "v2", "--strategy", "blue-green"]);
    assert!(ask().iter().all(|text| text.starts_with("stable\n")));
    serin.does(&["deploy", "advance"]);
    assert!(ask().iter().all(|text| text.starts_with("canary\n")));
    serin.does(&["deploy", "rollback"]);
    assert!(ask().iter().all(|text| text.starts_with("stable\n")));
}

/// A stream of events: each change with its id.
struct Listener(BufReader<TcpStream>);

impl Listener {
    fn start(admin: SocketAddr, after: Option<&str>) -> Self {
        let mut stream = connect(admin);
        let after = after.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        stream.write_all(format!("GET /api/events HTTP/1.1\r\nhost: localhost\r\n{after}\r\n").as_bytes()).unwrap();
        let mut listener = Self(BufReader::new(stream));
        listener.until(|line| line.starts_with(": changes follow"));
        listener
    }

    fn until(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            if wanted(line.trim_end()) {
                return line.trim_end().to_owned();
            }
        }
    }

    fn next(&mut self) -> (String, Value) {
        let mut id = String::new();
        loop {
            let line = self
                .until(|line| line.starts_with("id:") || line.starts_with("data:") || line.starts_with("event: reset"));
            if let Some(found) = line.strip_prefix("id:") {
                found.trim().clone_into(&mut id);
            } else if let Some(data) = line.strip_prefix("data:") {
                return (id, serde_json::from_str(data.trim()).unwrap());
            }
        }
    }
}

#[test]
fn listeners_know_at_once_and_go_on_where_they_were() {
    let serin = shop();
    let mut listener = Listener::start(serin.admin, None);
    let mut slowest = Duration::ZERO;
    let mut last = String::new();
    for n in 0..20 {
        serin.api("PUT", "/api/flags/a", &json!({ "enabled": true, "rolloutPercentage": n }));
        // From the moment at which it is durable and in force: how long a disk takes is not the question.
        let answered = Instant::now();
        let (id, change) = listener.next();
        slowest = slowest.max(answered.elapsed());
        assert_eq!(
            (&change["kind"], &change["flag"], &change["by"]),
            (&json!("flag"), &json!("a"), &json!("operator"))
        );
        last = id;
    }
    assert!(slowest < Duration::from_millis(100), "the slowest came after {slowest:?}");
    drop(listener);
    serin.does(&["deploy", "start", "v2"]);
    serin.does(&["deploy", "rollback", "--reason", "a test"]);
    let mut again = Listener::start(serin.admin, Some(&last));
    let kinds: Vec<Value> = (0..2).map(|_| again.next().1["kind"].clone()).collect();
    assert_eq!(kinds, [json!("started"), json!("rolledBack")], "nothing is missed");
    let mut stranger = Listener::start(serin.admin, Some("17-3"));
    stranger.until(|line| line == "event: reset");
}

#[test]
fn the_command_line_follows_events() {
    let serin = shop();
    let mut process = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["--admin", &format!("http://{}", serin.admin), "events"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(process.stdout.take().unwrap());
    let mut line = String::new();
    // It has to be listening first: changes until one is seen.
    let seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            out.read_line(&mut line).unwrap();
            seen.store(true, Ordering::Relaxed);
        });
        eventually("an event", || {
            serin.does(&["flags", "set", "a"]);
            seen.load(Ordering::Relaxed).then_some(())
        });
    });
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(line.contains("flag a is on, 0 % of users"), "{line}");
}

#[test]
fn the_description_holds_against_a_walk_with_random_calls() {
    if !have("schemathesis") {
        return;
    }
    let serin = shop();
    let output = Command::new("schemathesis")
        .current_dir(serin.folder.path())
        .args(["run", &format!("http://{}/api/openapi.json", serin.admin)])
        .args(["--max-examples", "25", "--seed", "7", "--phases", "examples,coverage,fuzzing"])
        .args(["--request-timeout", "5", "--workers", "1", "--no-color"])
        .args(["--exclude-path", "/api/events"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    // It still works, and did not panic.
    assert_eq!(common::http::get(serin.proxy, "/", "").status, 200);
    assert_eq!(call(&serin, "GET", "/api/services", "", ""), 200);
    assert!(!serin.log().iter().any(|line| line.contains("panicked")), "{:?}", serin.log());
}
