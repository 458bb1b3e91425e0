//! The command line and the admin API, with the real binary.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::app::echo;
use common::{Serin, cli, have, http};
use serde_json::json;

fn serin() -> Serin {
    Serin::start(&format!("stable: 'http://{}'\ncanary: 'http://{}'\n", echo("stable"), echo("canary")))
}

fn stderr(args: &[&str]) -> (Option<i32>, String) {
    let output = cli(args);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_example_configuration_is_fine() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let examples: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let examples: Vec<_> = examples.iter().filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    assert!(examples.len() >= 3, "{examples:?}");
    let secrets =
        ["SERIN_ADMIN_TOKEN", "SERIN_READ_TOKEN", "SERIN_RECORD_TOKEN", "SERIN_FORCE_SECRET", "SERIN_UID_SECRET"];
    for example in examples {
        let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_serin"));
        check.args(["check", "--config", example.to_str().unwrap()]);
        let output = check.envs(secrets.map(|name| (name, format!("{name}-for-a-test")))).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_wrong_configuration_names_its_place_and_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serin.yaml");
    std::fs::write(&file, "listen: 127.0.0.1:0\nstabel: http://127.0.0.1:1\n").unwrap();
    let (code, text) = stderr(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(text.contains("serin.yaml:2:1: unknown key `stabel`\n  hint: did you mean `stable`?"), "{text}");
    let (code, text) = stderr(&["run", "--config", "/nowhere/serin.yaml"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("/nowhere/serin.yaml: cannot be read"), "{text}");
    assert_eq!(stderr(&["fly"]).0, Some(2));
}

#[test]
fn without_a_running_serin_the_error_says_what_to_do() {
    let (code, text) = stderr(&["--admin", &format!("http://{}", common::app::nobody()), "status"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("is it running? (serin run, or --admin"), "{text}");
    assert_eq!(stderr(&["--admin", "nonsense", "status"]).0, Some(2));
}

#[test]
fn wrong_commands_are_refused_with_the_field_and_change_nothing() {
    let serin = serin();
    let before = serin.get("/api/flags");
    let cases = [
        ("PUT", "/api/flags/f", json!({ "enabled": true, "rolloutPercentage": 130 }), 400, "rolloutPercentage"),
        ("PUT", "/api/flags/f", json!({ "enabled": true }), 400, "rolloutPercentage"),
        (
            "PUT",
            "/api/flags/f",
            json!({ "enabled": true, "rolloutPercentage": 1, "rules": [{ "type": "moon", "value": 1 }] }),
            400,
            "rules[0]",
        ),
        ("PUT", "/api/flags/a%20b", json!({ "enabled": true, "rolloutPercentage": 1 }), 400, "name"),
        ("POST", "/api/deployments", json!({ "version": "" }), 400, "version"),
        ("POST", "/api/deployments", json!({ "version": "v2", "colour": "red" }), 400, "colour"),
        ("POST", "/api/deployments", json!({ "version": "v2", "pool": "a" }), 409, ""),
        ("POST", "/api/deployments", json!({ "version": "v2", "pool": "zzz" }), 409, ""),
        ("POST", "/api/deployments", json!({ "version": "v2", "stages": [] }), 400, ""),
        ("POST", "/api/deployment/fly", json!({}), 404, ""),
        ("GET", "/api/services/none/deployment", json!(null), 404, ""),
        ("GET", "/nowhere", json!(null), 404, ""),
        ("POST", "/api/flags", json!({}), 405, ""),
    ];
    for (method, path, body, status, field) in cases {
        let (found, answer) = serin.api(method, path, &body);
        assert_eq!(found, status, "{method} {path} {body}: {answer}");
        assert!(answer["code"].is_string() && answer["detail"].is_string(), "{answer}");
        assert_eq!(answer["field"].as_str().unwrap_or_default(), field, "{method} {path} {body}: {answer}");
    }
    assert_eq!(serin.get("/api/flags"), before);
    assert_eq!(serin.api("GET", "/api/deployment", &json!(null)).0, 404);
}

#[test]
fn a_flag_past_the_headers_limits_is_refused_when_it_is_written() {
    let config =
        format!("stable: 'http://{}'\nflags: {{ headers: {{ maxCount: 2, maxBytes: 60 }} }}\n", echo("stable"));
    let serin = Serin::start(&config);
    let set = |name: &str| {
        serin.api("PUT", &format!("/api/flags/{name}"), &json!({ "enabled": true, "rolloutPercentage": 1 }))
    };
    assert_eq!(set(&"long".repeat(20)).1["code"], "headersTooLarge");
    assert_eq!(set("a_b").0, 200);
    assert_eq!(set("a-b").1["code"], "sameHeader");
    assert_eq!(set("c").0, 200);
    assert_eq!(set("d").1["code"], "tooManyHeaders");
    assert_eq!(serin.get("/api/flags")["flags"].as_array().unwrap().len(), 2);
}

#[test]
fn the_admin_api_is_not_for_web_pages() {
    let serin = serin();
    let ask = |host: &str, fields: &str| {
        let body = r#"{"enabled":true,"rolloutPercentage":1}"#;
        let request = format!(
            "PUT /api/flags/f HTTP/1.1\r\nhost: {host}\r\n{fields}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        http::exchange(serin.admin, request.as_bytes()).status
    };
    let own = serin.admin.to_string();
    assert_eq!(ask("evil.test", "content-type: application/json\r\n"), 421);
    assert_eq!(ask(&own, "content-type: application/x-www-form-urlencoded\r\n"), 415);
    assert_eq!(ask(&own, "content-type: application/json\r\norigin: http://evil.test\r\n"), 403);
    assert_eq!(serin.get("/api/flags")["flags"], json!([]));
    assert_eq!(ask(&own, "content-type: application/json\r\n"), 200);
}

#[test]
fn the_metrics_have_the_guides_names_and_promtool_finds_no_fault() {
    let serin = serin();
    serin.does(&["flags", "set", "new-feature", "--rollout", "50"]);
    serin.does(&["deploy", "start", "v2"]);
    for user in 0..50 {
        http::get(serin.proxy, "/", &format!("x-user-id: {user}\r\n"));
    }
    let metrics = serin.metrics();
    let value = |name: &str| metrics.0.get(name).copied();
    assert_eq!(value("togetheros_feature_flag_enabled{name=\"new-feature\"}"), Some(1.0));
    assert_eq!(value("togetheros_feature_flag_rollout{name=\"new-feature\"}"), Some(50.0));
    assert_eq!(value("togetheros_canary_active"), Some(1.0));
    assert_eq!(value("togetheros_canary_percentage"), Some(10.0));
    let canary =
        metrics.sum("serin_requests_total", &["track=\"canary\"", "pool=\"b\"", "version=\"v2\"", "code=\"200\""]);
    assert_eq!(value("togetheros_canary_requests"), Some(canary));
    for name in ["errors", "error_rate", "latency_p95"] {
        assert!(value(&format!("togetheros_canary_{name}")).is_some(), "{name}");
    }
    assert_eq!(metrics.sum("serin_outcomes_total", &["outcome=\"success\""]), 50.0);
    assert_eq!(metrics.sum("serin_flag_evaluations_total", &["flag=\"new-feature\""]), 50.0);
    let scrape = |accept: &str| {
        let request = format!(
            "GET /api/metrics HTTP/1.1\r\nhost: {}\r\naccept: {accept}\r\nconnection: close\r\n\r\n",
            serin.admin
        );
        http::exchange(serin.admin, request.as_bytes())
    };
    let open = scrape("application/openmetrics-text; version=1.0.0");
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(open.text().ends_with("# EOF\n") && open.text().contains("# TYPE serin_requests counter"));
    let text = scrape("text/plain").text();
    assert!(text.contains("# TYPE serin_requests_total counter") && !text.contains("# EOF"));
    if have("promtool") {
        let mut lint = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        lint.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = lint.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.trim().is_empty(), "{said}");
    }
}

#[test]
fn the_demo_shows_both_rollouts_and_ends() {
    let output = cli(&["demo", "--once"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "v2 is stable now",
        "after stage 1 began: canary ",
        "most on GET / (500)",
        "The bad version took",
        "admin API  http://127.0.0.1:",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn a_port_of_another_serin_is_refused() {
    let first = Serin::start(&format!("stable: http://{}", common::app::nobody()));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("serin.yaml");
    let text = format!(
        "listen: {}\nadmin: {{ address: '127.0.0.1:0' }}\nstate: {{ directory: '{}' }}\nstable: http://{}\n",
        first.proxy,
        folder.path().join("state").display(),
        common::app::nobody()
    );
    std::fs::write(&config, text).unwrap();
    let second = common::cli(&["run", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success() && said.contains(&format!("cannot listen on {}", first.proxy)), "{said}");
}

#[test]
fn another_server_is_not_taken_for_the_admin_api() {
    let serin = Serin::start(&format!("stable: http://{}", common::app::echo("app")));
    for command in ["status", "ready"] {
        let answer = common::cli(&["--admin", &format!("http://{}", serin.proxy), command]);
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert!(!answer.status.success() && said.contains("not Serin's admin API"), "{command}: {said}");
    }
}
