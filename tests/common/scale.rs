//! A large configuration, measured: how long a start and a reload take, what it holds.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::app::echo;
use super::http::exchange;
use super::{Serin, eventually};

pub const SERVICES: usize = 1_000;
pub const FLAGS: usize = 10_000;

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub start: Duration,
    pub reload: Duration,
    /// A flag written and answered.
    pub flag_write: Duration,
    /// Resident memory in MiB: at the start, and once each service has answered.
    pub resident: [u64; 2],
}

/// Starts the real binary with 1,000 services and 10,000 flags, reloads it, asks every service.
pub fn measure() -> Measured {
    let app = echo("app").to_string();
    let begun = Instant::now();
    let serin = Serin::start_on(&config(&app, "v1"), &[("feature-flags.json", &flags(FLAGS))]);
    let start = begun.elapsed();
    let ask = |service: usize| {
        let request = format!("GET / HTTP/1.1\r\nhost: s{service}.test\r\nx-user-id: u\r\nconnection: close\r\n\r\n");
        exchange(serin.proxy, request.as_bytes()).text()
    };
    assert!(ask(SERVICES - 1).contains("x-serin-version: v1"));
    let fresh = resident(serin.pid());
    serin.write_config(&config(&app, "v2"));
    let begun = Instant::now();
    serin.signal(Signal::HUP);
    eventually("the other version", || ask(SERVICES / 2).contains("x-serin-version: v2").then_some(()));
    let reload = begun.elapsed();
    (0..SERVICES).for_each(|service| assert!(ask(service).starts_with("app")));
    let begun = Instant::now();
    let (status, _) = serin.api("PATCH", "/api/flags/flag-1", &json!({ "rolloutPercentage": 7 }));
    let flag_write = begun.elapsed();
    assert_eq!(status, 200);
    Measured { start, reload, flag_write, resident: [fresh, resident(serin.pid())] }
}

/// What a request costs in wall time while the app is told of twenty flags and so many are
/// stored: the median of batches, one request after another on one connection.
pub fn request_with_flags(stored: usize) -> Duration {
    const BATCH: u32 = 500;
    let exposed: Vec<String> = (0..20).map(|number| format!("flag-{number}")).collect();
    let config = format!(
        "workers: 1\nstable: 'http://{}'\nflags: {{ headers: {{ expose: [{}] }} }}\n",
        echo("app"),
        exposed.join(", ")
    );
    let serin = Serin::start_on(&config, &[("feature-flags.json", &flags(stored))]);
    let mut stream = super::http::connect(serin.proxy);
    let mut batch = || {
        let begun = Instant::now();
        for _ in 0..BATCH {
            std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u\r\n\r\n").unwrap();
            assert_eq!(super::http::read_answer(&mut stream, false).status, 200);
        }
        begun.elapsed() / BATCH
    };
    batch();
    let mut batches: Vec<Duration> = (0..9).map(|_| batch()).collect();
    batches.sort();
    batches[4]
}

fn config(app: &str, version: &str) -> String {
    let mut text = String::from("flags: { headers: { expose: [flag-1, flag-2] } }\nservices:\n");
    for service in 0..SERVICES {
        let _ = writeln!(
            text,
            "  s{service}:\n    match: {{ hosts: s{service}.test }}\n    pools:\n      \
             a: {{ endpoints: ['http://{app}'], version: {version} }}\n      b: {{ endpoints: ['http://{app}'] }}\n    \
             stable: a\n    canary: b"
        );
    }
    text
}

fn flags(count: usize) -> String {
    let flag = |number: usize| {
        let name = format!("flag-{number}");
        let flag = json!({
            "name": name, "enabled": true, "rolloutPercentage": number % 100,
            "rules": [{ "type": "user", "value": ["u-1", "u-2"] }, { "type": "group", "value": "beta" }],
            "createdAt": "2025-01-01T00:00:00.000Z", "updatedAt": "2025-01-01T00:00:00.000Z"
        });
        (name, flag)
    };
    let flags: serde_json::Map<_, _> = (0..count).map(flag).collect();
    json!({ "flags": flags, "lastUpdated": "2025-01-01T00:00:00.000Z", "version": 1 }).to_string()
}

fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
