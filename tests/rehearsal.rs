//! Rehearsals and A/A tests end to end: what the guard would do, with nobody hurt.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use common::Serin;
use common::app::answering;
use common::http::{connect, read_answer};
use serde_json::json;

/// An app that says which tracks it was told.
fn app(tracks: &'static Mutex<Vec<String>>) -> SocketAddr {
    answering(|head| {
        let track = head.lines().find_map(|line| line.strip_prefix("x-serin-track: ")).unwrap_or("none").to_owned();
        let mut tracks = tracks.lock().unwrap();
        if !tracks.contains(&track) {
            tracks.push(track);
        }
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()
    })
}

/// Users ask until something is done; the value is what it says, and every answer was a 200.
fn under_traffic<T>(serin: &Serin, act: impl FnOnce() -> T) -> T {
    let (done, next) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stream = connect(serin.proxy);
                while !done.load(Ordering::Relaxed) {
                    let user = next.fetch_add(1, Ordering::Relaxed) % 20_000;
                    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: user-{user}\r\n\r\n");
                    stream.write_all(request.as_bytes()).unwrap();
                    assert_eq!(read_answer(&mut stream, false).status, 200, "nobody is hurt");
                }
            });
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn config(stable: SocketAddr, stages: &str) -> String {
    format!(
        "services: {{ shop: {{ pools: {{ a: {{ endpoints: 'http://{stable}', version: v1 }}, \
         b: {{ endpoints: 'http://{stable}' }} }}, stable: a, canary: b, deploy: {{ {stages} }} }} }}\n"
    )
}

#[test]
fn invented_errors_are_found_and_nobody_is_hurt() {
    static TRACKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let serin = Serin::start(&config(app(&TRACKS), ""));
    let said = under_traffic(&serin, || serin.does(&["deploy", "rehearse", "--error-rate", "50%", "--times", "10"]));
    assert!(said.contains("10 of 10 would have been rolled back, after "), "{said}");
    let report = serin.get("/api/rehearsal");
    assert_eq!((&report["running"], &report["errors"], &report["lost"]), (&json!(false), &json!(0), &json!(0)));
    assert!(report["canaryRequestsP95"].as_u64().unwrap() < 60, "{report}");
    assert_eq!(*TRACKS.lock().unwrap(), ["stable"], "apps were told of no canary");
    assert_eq!(serin.metrics().sum("serin_outcomes_total", &["track=\"canary\""]), 0.0);
    assert_eq!(serin.get("/api/deployments"), json!({ "deployments": [] }), "no deployment was made");
}

#[test]
fn without_invented_errors_nothing_is_found_and_a_rehearsal_can_be_stopped() {
    static TRACKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let serin = Serin::start(&config(app(&TRACKS), ""));
    let (status, begun) = serin.api("POST", "/api/rehearsal", &json!({ "errorRate": 0, "times": 50 }));
    assert_eq!((status, &begun["running"]), (201, &json!(true)));
    let (status, refused) = serin.api("POST", "/api/rehearsal", &json!({ "errorRate": 0.5 }));
    assert_eq!((status, &refused["code"]), (409, &json!("rehearsing")));
    let report = under_traffic(&serin, || {
        common::eventually("enough outcomes", || {
            Some(serin.get("/api/rehearsal")).filter(|report| report["requests"].as_u64() >= Some(2_000))
        })
    });
    assert_eq!((&report["rolledBack"], &report["times"]), (&json!(0), &json!(50)));
    serin.does(&["deploy", "rehearse", "--stop"]);
    common::eventually("its end", || Some(()).filter(|()| serin.get("/api/rehearsal")["running"] == false));
    let said = serin.does(&["deploy", "rehearse", "--last"]);
    assert!(said.contains("0 of 50 would have been rolled back") && said.contains("at most 1 % may"), "{said}");
    for (body, field) in [
        (json!({ "errorRate": 2 }), "a rate is a fraction from 0 to 1"),
        (json!({ "errorRate": 0.1, "times": 101 }), "times"),
        (json!({ "errorRate": 0.1, "for": "2d" }), "for"),
    ] {
        let (status, problem) = serin.api("POST", "/api/rehearsal", &body);
        assert_eq!(status, 400, "{problem}");
        assert!(problem["field"] == field || problem["detail"].as_str().unwrap().contains(field), "{problem}");
    }
}

#[test]
fn an_aa_test_completes_changes_nothing_and_reports() {
    static TRACKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let stages = "stages: [ { percentage: 50, duration: 1s, minRequests: 100, maxErrorRate: 0.05 }, \
                  { percentage: 100, duration: 0, maxErrorRate: 0.05 } ], bake: 0";
    let serin = Serin::start(&config(app(&TRACKS), stages));
    let said = under_traffic(&serin, || serin.does(&["deploy", "start", "--aa", "--wait"]));
    assert!(said.contains("no false rollback: errors came to an evidence of 0.0, bound 100"), "{said}");
    let ended = &serin.get("/api/deployments")["deployments"][0];
    assert_eq!((&ended["status"], &ended["version"], &ended["aa"]), (&json!("completed"), &json!("v1"), &json!(true)));
    assert!(ended["metrics"]["canaryRequests"].as_u64().unwrap() >= 100, "{ended}");
    let mut tracks = TRACKS.lock().unwrap().clone();
    tracks.sort();
    assert_eq!(tracks, ["canary", "stable"], "it is a deployment like any other");
    assert_eq!(serin.get("/api/services/shop")["stable"], json!({ "pool": "a", "version": "v1" }));
    assert!(!serin.cli(&["deploy", "undo"]).status.success(), "there is nothing to undo");
    let (status, problem) = serin.api("POST", "/api/deployments", &json!({ "version": "v2", "aa": true }));
    assert_eq!((status, &problem["field"]), (400, &json!("version")));
}
