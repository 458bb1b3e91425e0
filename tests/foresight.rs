//! `plan` and `simulate` as a user runs them: the real binary, files, exit codes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use common::app::answering;
use common::http::{connect, read_answer};
use common::{Serin, cli, eventually};
use serde_json::{Value, json};
use serin::simulate::Random;

fn does(args: &[&str]) -> String {
    let output = cli(args);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{args:?}: {out}{err}");
    out
}

fn json_of(args: &[&str]) -> Value {
    serde_json::from_str(&does(&[args, &["--output", "json"]].concat())).unwrap()
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name).display().to_string()
}

fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_plan_says_what_each_stage_sees_and_what_cannot_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let config = file(&folder, "serin.yaml", "listen: 127.0.0.1:0\nstable: http://a\ncanary: http://b\n");
    let plan = |rate: &str| {
        json_of(&["plan", "--config", &config, "--requests-per-second", rate, "--error-rate", "0.1%"])["stages"].clone()
    };
    let busy = plan("1000");
    let names: Vec<&str> = busy.as_array().unwrap().iter().map(|stage| stage["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["stage 1", "stage 2", "bake"]);
    assert_eq!(busy[0]["canaryRequests"], 30_000);
    assert!(busy[0]["found"]["errorRate"].as_f64().unwrap() < 0.003, "{busy}");
    assert!(busy[0]["totalFailureAfter"].as_u64().unwrap() <= 5, "{busy}");
    let quiet = plan("0.1");
    assert!(quiet[0]["warnings"][0].as_str().unwrap().contains("minRequests (100) takes 10000 s"), "{quiet}");
    let table = does(&["plan", "--config", &config, "--requests-per-second", "1000"]);
    assert!(table.contains("STAGE") && table.contains("1000.0 requests a second") && table.contains("ALL FAIL"));
}

#[test]
fn a_plan_of_a_running_service_asks_for_what_was_not_measured() {
    let serin = Serin::start("stable: http://127.0.0.1:9\ncanary: http://127.0.0.1:9\n");
    let refused = serin.cli(&["plan"]);
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("no traffic was measured yet"), "{said}");
    let told = serin.does(&["plan", "--requests-per-second", "50"]);
    assert!(told.contains("50.0 requests a second") && told.contains("as given"), "{told}");
}

#[test]
fn the_example_scenarios_end_as_they_say() {
    let play = |name: &str, more: &[&str]| json_of(&[&["simulate", &example(name)], more].concat());
    let failing = play("scenarios/failing-canary.yaml", &[]);
    assert_eq!((&failing["ended"], &failing["decision"]["rule"]), (&json!("rolledBack"), &json!("errors")));
    let after = failing["afterSeconds"].as_f64().unwrap();
    assert!((120.0..130.0).contains(&after), "the fault begins after two minutes: {after}");
    assert!(failing["canaryErrors"].as_u64().unwrap() < 60, "{failing}");
    assert_eq!(failing["canaryErrors"], play("scenarios/failing-canary.yaml", &[])["canaryErrors"], "the same again");
    let other = play("scenarios/failing-canary.yaml", &["--seed", "2"]);
    assert_ne!((&other["requests"], &other["canaryErrors"]), (&failing["requests"], &failing["canaryErrors"]));
    let slow = play("scenarios/slow-canary.yaml", &[]);
    assert_eq!((&slow["ended"], &slow["decision"]["rule"]), (&json!("rolledBack"), &json!("latency")));
    let text = does(&["simulate", &example("scenarios/slow-canary.yaml")]);
    assert!(text.contains("stage 1 began: 10 % of users") && text.contains("rolled back after"), "{text}");
}

#[test]
fn a_wrong_scenario_names_each_place() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = file(
        &folder,
        "wrong.yaml",
        "requestsPerSecond: -1\nstable: { errorRate: 2 }\ncanary:\n  - { at: 5s }\nusers: { count: 0 }\nwhat: 1\n",
    );
    let output = cli(&["simulate", &wrong]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    for place in [":1:1", ":2:11", ":3:1", ":5:10", ":6:1"] {
        assert!(said.contains(&format!("wrong.yaml{place}")), "{place} is missing:\n{said}");
    }
}

/// The combined log format with the time it took: two requests a second of each of 500
/// users' crowd, one in a hundred an error.
fn log(lines: usize) -> String {
    let (mut text, mut random) = (String::with_capacity(lines * 110), Random::new(1));
    for line in 0..lines {
        let (user, seconds) = (random.below(20_000), line / 1_000);
        let status = if random.chance(0.01) { 500 } else { 200 };
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        writeln!(
            text,
            "10.0.{}.{} - user-{user} [24/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \"GET /cart/{line} HTTP/1.1\" \
             {status} 512 \"-\" \"browser/1.0\" 0.0{}",
            user / 256,
            user % 256,
            10 + random.below(80)
        )
        .unwrap();
    }
    text
}

#[test]
fn an_access_log_of_a_million_lines_is_played_in_less_than_ten_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "access.log", &log(1_000_000));
    let began = Instant::now();
    let unchanged = json_of(&["simulate", "--log", &path]);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!((&unchanged["requests"], &unchanged["ended"]), (&json!(1_000_000), &json!("running")));
    assert!(unchanged["canaryRequests"].as_u64().unwrap() > 300_000, "{unchanged}");
    let bad = json_of(&["simulate", "--log", &path, "--canary-errors", "3%"]);
    assert_eq!((&bad["ended"], &bad["decision"]["rule"]), (&json!("rolledBack"), &json!("errors")));
    assert!(bad["canaryRequests"].as_u64().unwrap() < 1_500, "{bad}");
}

#[test]
fn lines_that_are_no_requests_are_counted_and_a_file_without_any_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mixed = file(&folder, "mixed.log", &format!("{}what is this\n", log(1_000)));
    assert!(does(&["simulate", "--log", &mixed]).contains("1 lines of the log were left out"));
    let none = file(&folder, "none.log", "hello\nworld\n");
    let output = cli(&["simulate", "--log", &none]);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("combined log format") && said.contains("hello"), "{said}");
}

#[test]
fn a_decision_is_replayed_to_the_same_verdict_and_with_other_settings_to_another() {
    let stable = answering(|_| "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned());
    let canary = answering(|_| "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".to_owned());
    let serin = Serin::start(&format!("stable: http://{stable}\ncanary: http://{canary}\n"));
    serin.does(&["deploy", "start", "v2"]);
    let mut stream = connect(serin.proxy);
    let history = eventually("the rollback", || {
        for user in 0..500 {
            let head = format!("GET /cart/{user} HTTP/1.1\r\nhost: a\r\nx-user-id: user-{user}\r\n\r\n");
            std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
            read_answer(&mut stream, false);
        }
        let history = serin.does(&["deploy", "history", "--output", "json"]);
        history.contains("rolled_back").then_some(history)
    });
    let folder = tempfile::tempdir().unwrap();
    let record = file(&folder, "history.json", &history);
    let again = json_of(&["simulate", "--replay", &record]);
    assert_eq!(again["verdict"]["rule"], "errors", "{again}");
    assert_eq!(again["heard"], again["events"], "the last event is the one that proves it");
    assert!(again["recorded"]["text"].as_str().unwrap().contains("most on GET /cart/:n (503)"), "{again}");
    let strict = json_of(&["simulate", "--replay", &record, "--false-rollback", "0.0001%"]);
    assert_eq!(strict["verdict"], Value::Null, "four users do not prove it to everybody");
    let none = file(&folder, "none.json", "{}");
    let said = String::from_utf8(cli(&["simulate", "--replay", &none]).stderr).unwrap();
    assert!(said.contains("no decision in it"), "{said}");
}
