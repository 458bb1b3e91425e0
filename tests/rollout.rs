//! Rollouts end to end: the real binary, real sockets.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use common::app::{answering, echo};
use common::http::{connect, read_answer};
use common::{Serin, eventually};
use serde_json::json;

const FAILS: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 6\r\n\r\ncanary";

/// Without a shield: clients see what the canary does.
fn with_stages(stable: SocketAddr, canary: SocketAddr, stages: &str) -> Serin {
    Serin::start(&format!(
        "services:\n  shop:\n    pools:\n      blue: {{ endpoints: 'http://{stable}', version: v1 }}\n      \
         green: {{ endpoints: 'http://{canary}' }}\n    stable: blue\n    canary: green\n    shield: {{ methods: off }}\n    deploy: {{ {stages} }}\n"
    ))
}

/// One user's request on a connection that is kept: which app answered, and the status.
fn ask(stream: &mut TcpStream, user: &str) -> (String, u16) {
    stream.write_all(format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: {user}\r\n\r\n").as_bytes()).unwrap();
    let answer = read_answer(stream, false);
    (answer.text().lines().next().unwrap_or_default().to_owned(), answer.status)
}

fn on_canary(serin: &Serin, users: std::ops::Range<u32>) -> BTreeMap<u32, bool> {
    const THREADS: u32 = 8;
    std::thread::scope(|scope| {
        let part = |first: u32| {
            let users = users.clone();
            scope.spawn(move || {
                let mut stream = connect(serin.proxy);
                let own = users.skip(first as usize).step_by(THREADS as usize);
                own.map(|user| (user, ask(&mut stream, &format!("user-{user}")).0 == "canary")).collect::<Vec<_>>()
            })
        };
        let parts: Vec<_> = (0..THREADS).map(part).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

fn apps() -> (SocketAddr, SocketAddr) {
    let small = |name: &'static str| {
        answering(move |_| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
    };
    (small("stable"), small("canary"))
}

#[test]
fn a_hundred_thousand_users_split_as_the_dial_says_and_keep_their_track() {
    let (stable, canary) = apps();
    let stages = "stages: [ { percentage: 10, duration: 1h, maxErrorRate: 0.05 }, \
        { percentage: 50, duration: 1h, maxErrorRate: 0.05 }, { percentage: 100, duration: 0, maxErrorRate: 0.05 } ]";
    let serin = with_stages(stable, canary, stages);
    serin.does(&["deploy", "start", "v2"]);
    let tenth = on_canary(&serin, 0..100_000);
    let share = tenth.values().filter(|on| **on).count() as f64 / 1_000.0;
    assert!((9.6..=10.4).contains(&share), "{share} % of 100,000 users");
    let again = on_canary(&serin, 0..5_000);
    assert!(again.iter().all(|(user, on)| tenth[user] == *on), "the same id is always on the same track");
    serin.does(&["deploy", "advance"]);
    let half = on_canary(&serin, 0..20_000);
    let moved_off = half.iter().filter(|(user, on)| tenth[*user] && !**on).count();
    assert_eq!(moved_off, 0, "10 % to 50 % takes nobody off the canary");
    let share = half.values().filter(|on| **on).count() as f64 / 200.0;
    assert!((48.5..=51.5).contains(&share), "{share} % of 20,000 users");
    // What the API says of a user is what happens to that user.
    for user in 0..20 {
        let said = serin.get(&format!("/api/assignment?userId=user-{user}"));
        assert_eq!(said["track"] == "canary", half[&user], "{said}");
    }
}

#[test]
fn a_canary_that_fails_everything_is_rolled_back_within_twenty_requests() {
    let serin = with_stages(echo("stable"), answering(|_| FAILS.to_owned()), "");
    serin.does(&["deploy", "start", "v2"]);
    let mut stream = connect(serin.proxy);
    let mut failed = 0;
    for user in 0.. {
        let user = format!("user-{user}");
        if ask(&mut stream, &user).1 == 500 {
            failed += 1;
            // The user tries again: on stable by then, or still on the canary.
            if ask(&mut stream, &user).1 == 200 {
                break;
            }
            failed += 1;
        }
        assert!(failed <= 20, "{failed} canary requests");
    }
    let record = eventually("the record", || Some(serin.deployment()).filter(|d| d["status"] == "rolled_back"));
    assert_eq!(record["metrics"]["canaryRequests"], failed, "users saw all of them");
    assert_eq!(record["decision"]["rule"], "errors");
    assert_eq!(record["decision"]["canary"]["users"], 4, "four users prove it");
    assert_eq!(record["currentPercentage"], 0);
    for user in 0..300 {
        assert_eq!(ask(&mut stream, &format!("user-{user}")).1, 200, "everybody is on stable");
    }
    assert_eq!(serin.metrics().sum("serin_rollbacks_total", &["rule=\"errors\""]), 1.0);
}

#[test]
fn the_next_request_of_the_same_user_is_on_stable() {
    let serin = with_stages(echo("stable"), answering(|_| FAILS.to_owned()), "");
    serin.does(&["deploy", "start", "v2"]);
    // Other connections, so most likely other workers too.
    let mut user = 0;
    // Two users of one bucket are one to the judge.
    let mut buckets = std::collections::BTreeSet::new();
    let proven_by = loop {
        let name = format!("user-{user}");
        user += 1;
        let bucket = serin.get(&format!("/api/assignment?userId={name}"))["bucket"].as_u64();
        if ask(&mut connect(serin.proxy), &name).1 == 500 {
            buckets.insert(bucket);
            if buckets.len() == 4 {
                break name;
            }
        }
    };
    for _ in 0..50 {
        assert_eq!(ask(&mut connect(serin.proxy), &proven_by).1, 200);
    }
}

#[test]
fn a_healthy_canary_completes_and_the_pools_swap_roles() {
    let (stable, canary) = apps();
    let stages = "stages: [ { percentage: 10, duration: 200ms, minRequests: 20, maxErrorRate: 0.05 }, \
        { percentage: 100, duration: 100ms, maxErrorRate: 0.02 } ], bake: 100ms";
    let serin = with_stages(stable, canary, stages);
    serin.does(&["deploy", "start", "v2"]);
    let mut stream = connect(serin.proxy);
    let mut user = 0;
    let record = eventually("the end", || {
        for _ in 0..20 {
            user += 1;
            assert_eq!(ask(&mut stream, &format!("user-{user}")).1, 200);
        }
        Some(serin.deployment()).filter(|d| d["status"] == "completed")
    });
    assert_eq!((record["version"].as_str(), record["previousVersion"].as_str()), (Some("v2"), Some("v1")));
    assert_eq!(ask(&mut stream, "anybody").0, "canary", "the new pool serves everybody");
    let service = serin.get("/api/services/shop");
    assert_eq!(
        (service["stable"]["pool"].as_str(), service["stable"]["version"].as_str()),
        (Some("green"), Some("v2"))
    );
    // The way on: the next version goes to the pool that has become free.
    serin.does(&["deploy", "start", "v3"]);
    assert_eq!(serin.deployment()["pool"], "blue");
}

#[test]
fn an_operator_steers() {
    let (stable, canary) = apps();
    let serin = with_stages(stable, canary, "bake: 1h");
    let answer = serin.cli(&["deploy", "advance"]);
    assert!(!answer.status.success() && String::from_utf8_lossy(&answer.stderr).contains("no deployment"));
    serin.does(&["deploy", "start", "v2"]);
    assert_eq!(serin.api("POST", "/api/deployments", &json!({ "version": "v2" })).0, 200, "running already");
    serin.does(&["deploy", "pause"]);
    assert_eq!(serin.deployment()["status"], "paused");
    assert_eq!(serin.api("POST", "/api/deployment/pause", &json!({})).0, 409);
    serin.does(&["deploy", "resume"]);
    serin.does(&["deploy", "advance"]);
    assert_eq!(serin.deployment()["currentPercentage"], 50);
    let mut stream = connect(serin.proxy);
    let user = (0..).map(|n| format!("user-{n}")).find(|user| ask(&mut stream, user).0 == "canary").unwrap();
    serin.does(&["deploy", "rollback", "--reason", "Performance degradation detected"]);
    assert_eq!(ask(&mut stream, &user).0, "stable");
    let record = serin.deployment();
    assert_eq!(record["rollbackReason"], "Performance degradation detected");
    assert_eq!(serin.api("POST", "/api/deployment/rollback", &json!({})).0, 200, "repeated: it is done");
    serin.does(&["deploy", "start", "v3"]);
    serin.does(&["deploy", "start", "v4"]);
    let history = serin.get("/api/deployments");
    assert_eq!(history["deployments"][0]["rollbackReason"], "Superseded by new deployment");
    serin.does(&["deploy", "promote"]);
    assert_eq!(ask(&mut stream, "anybody").0, "canary");
    serin.does(&["deploy", "instant", "v5"]);
    assert_eq!(serin.deployment()["currentPercentage"], 100);
    assert_eq!(ask(&mut stream, "anybody").0, "stable", "blue brings v5 to everybody");
}

#[test]
fn a_restart_goes_on_where_it_was() {
    let (stable, canary) = apps();
    let mut serin = with_stages(stable, canary, "bake: 1h");
    serin.does(&["flags", "set", "kept", "--rollout", "25", "--description", "still here"]);
    serin.does(&["deploy", "start", "v2"]);
    serin.does(&["deploy", "advance"]);
    let before = on_canary(&serin, 0..500);
    serin.restart();
    assert_eq!(serin.deployment()["currentPercentage"], 50);
    assert_eq!(on_canary(&serin, 0..500), before, "users keep their track");
    assert_eq!(serin.get("/api/flags/kept")["description"], "still here");
    serin.does(&["deploy", "rollback"]);
    serin.restart();
    assert_eq!(serin.deployment()["status"], "rolled_back", "a rollback that was told never comes back");
    assert!(on_canary(&serin, 0..200).values().all(|on| !on));
}

#[test]
fn the_state_files_have_the_guides_shapes() {
    let serin = Serin::start(&format!("stable: 'http://{}'\ncanary: 'http://{}'\n", echo("a"), echo("b")));
    serin.does(&["flags", "set", "new-feature", "--rollout", "50", "--description", "New feature description"]);
    serin.does(&["deploy", "start", "v2.1.0"]);
    let flags = serin.state_file("feature-flags.json");
    let flag = &flags["flags"]["new-feature"];
    assert_eq!(
        (&flag["rolloutPercentage"], &flag["enabled"], &flags["version"]),
        (&json!(50), &json!(true), &json!(1))
    );
    assert!(flag["createdAt"].as_str().unwrap().ends_with('Z') && flags["lastUpdated"].is_string());
    let state = serin.state_file("deploy-state.json");
    assert_eq!(state["current"]["version"], "v2.1.0");
    assert_eq!(
        state["current"]["stages"][0],
        json!({ "percentage": 10, "duration": 300, "minRequests": 100, "maxErrorRate": 0.05 })
    );
    assert!(state["history"].as_array().unwrap().is_empty() && state["stable"]["pool"] == "a");
}
