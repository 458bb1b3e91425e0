//! Every function and example of the guide, each by API and by command line, with the
//! real binary: what one of them does the other one sees.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::app::echo;
use common::http::get;
use common::{Serin, eventually};
use serde_json::{Value, json};

/// The three-line form, as who comes from the guide begins.
fn serin() -> Serin {
    let (stable, canary) = (echo("stable"), echo("canary"));
    Serin::start(&format!("stable: http://{stable}\ncanary: http://{canary}"))
}

fn evaluate(serin: &Serin, name: &str, context: &Value) -> Value {
    let (status, answer) = serin.api("POST", &format!("/api/flags/{name}/evaluate"), &json!({ "context": context }));
    assert_eq!(status, 200, "{answer}");
    answer
}

/// "Creating Feature Flags": `setFlag`, three examples.
fn create_by_api(serin: &Serin) {
    let flags = [
        (
            "new-onboarding-flow",
            json!({ "description": "Redesigned onboarding experience", "enabled": true,
            "rolloutPercentage": 10, "rules": [] }),
        ),
        (
            "beta-testing",
            json!({ "description": "Beta features for selected users", "enabled": true,
            "rolloutPercentage": 0, "rules": [
                { "type": "user", "value": ["user-123", "user-456"] }, { "type": "group", "value": "beta-testers" }] }),
        ),
        (
            "debug-mode",
            json!({ "description": "Enable debug features", "enabled": true, "rolloutPercentage": 100,
            "rules": [{ "type": "environment", "value": "development" }] }),
        ),
    ];
    for (name, fields) in flags {
        let (status, flag) = serin.api("PUT", &format!("/api/flags/{name}"), &fields);
        assert_eq!(status, 200, "{flag}");
        for (key, value) in fields.as_object().unwrap() {
            assert_eq!(&flag[key], value, "{name} {key}");
        }
        assert!(flag["createdAt"].is_string() && flag["updatedAt"].is_string());
    }
}

fn create_by_cli(serin: &Serin) {
    let set = |args: &[&str]| serin.does(&[&["flags", "set"], args].concat());
    set(&["new-onboarding-flow", "--description", "Redesigned onboarding experience", "--rollout", "10"]);
    let rules = r#"[{"type":"user","value":["user-123","user-456"]},{"type":"group","value":"beta-testers"}]"#;
    set(&["beta-testing", "--description", "Beta features for selected users", "--rules", rules]);
    let rules = r#"[{"type":"environment","value":"development"}]"#;
    set(&["debug-mode", "--description", "Enable debug features", "--rollout", "100", "--rules", rules]);
}

#[test]
fn flags_are_created_the_same_way_by_both() {
    let (by_api, by_cli) = (serin(), serin());
    create_by_api(&by_api);
    create_by_cli(&by_cli);
    let plain = |serin: &Serin| {
        let mut flags = serin.get("/api/flags")["flags"].clone();
        for flag in flags.as_array_mut().unwrap() {
            flag.as_object_mut().unwrap().retain(|key, _| key != "createdAt" && key != "updatedAt");
        }
        flags
    };
    assert_eq!(plain(&by_api), plain(&by_cli));
    // Both files are created on first use, in the guide's shapes.
    let file = by_api.state_file("feature-flags.json");
    assert_eq!(file["flags"]["debug-mode"]["rules"], json!([{ "type": "environment", "value": "development" }]));
    assert!(file["lastUpdated"].is_string() && file["version"] == 3);
    let deployments = by_api.state_file("deploy-state.json");
    assert_eq!((&deployments["current"], &deployments["history"]), (&Value::Null, &json!([])));
}

#[test]
fn flags_are_evaluated_with_every_reason_by_both() {
    let serin = serin();
    create_by_api(&serin);
    serin.does(&["flags", "set", "off", "--disabled", "--rollout", "100"]);
    serin.does(&["flags", "set", "beta-feature", "--rules", r#"[{"type":"group","value":"beta"}]"#]);
    let cases = [
        ("beta-testing", json!({ "userId": "user-456" }), vec!["--user", "user-456"], "beta-testing is on: rule user"),
        (
            "beta-testing",
            json!({ "groupId": "beta-testers" }),
            vec!["--group", "beta-testers"],
            "beta-testing is on: rule group",
        ),
        ("beta-testing", json!({ "userId": "somebody" }), vec!["--user", "somebody"], "beta-testing is off: default"),
        ("debug-mode", json!({}), vec![], "debug-mode is off: rule environment"),
        (
            "debug-mode",
            json!({ "environment": "development" }),
            vec!["--environment", "development"],
            "debug-mode is on: percentage",
        ),
        (
            "beta-feature",
            json!({ "userId": "user-1", "groupId": "beta", "environment": "production" }),
            vec!["--user", "user-1", "--group", "beta", "--environment", "production"],
            "beta-feature is on: rule group",
        ),
        ("off", json!({ "userId": "u" }), vec!["--user", "u"], "off is off: disabled"),
        ("premium-feature", json!({ "userId": "u" }), vec!["--user", "u"], "premium-feature is off: default"),
    ];
    for (name, context, args, words) in cases {
        let answer = evaluate(&serin, name, &context);
        let said = serin.does(&[&["flags", "eval", name], &args[..]].concat());
        assert_eq!(said.trim(), words);
        let reason = answer["reason"].as_str().unwrap();
        assert!(words.contains(reason), "{words}: {answer}");
        assert_eq!(answer["enabled"] == true, words.contains(" is on"), "{answer}");
        assert_eq!(answer["ruleMatched"].as_str().unwrap_or_default(), words.split("rule ").nth(1).unwrap_or_default());
    }
    // The vectors of the buckets: user-456 is in the first ten percent of new-feature, user-123 is not.
    serin.does(&["flags", "set", "new-feature", "--rollout", "10"]);
    assert_eq!(evaluate(&serin, "new-feature", &json!({ "userId": "user-456" }))["enabled"], true);
    assert_eq!(evaluate(&serin, "new-feature", &json!({ "userId": "user-123" }))["enabled"], false);
}

#[test]
fn a_variable_of_the_process_overrides() {
    let (stable, variables) = (echo("stable"), [("FEATURE_FLAG_NEW_DASHBOARD", "true")]);
    let serin = Serin::start_with(
        &format!("services: {{ s: {{ pools: {{ a: {{ endpoints: 'http://{stable}' }} }}, stable: a }} }}"),
        "",
        &variables,
    );
    serin.does(&["flags", "set", "new-dashboard", "--disabled"]);
    let answer = evaluate(&serin, "new-dashboard", &json!({}));
    assert_eq!((&answer["enabled"], &answer["reason"]), (&json!(true), &json!("override")));
    assert!(serin.does(&["flags", "eval", "new-dashboard"]).contains("is on: override"));
    // isFeatureEnabled for an app without an SDK: its request says it.
    assert!(get(serin.proxy, "/", "").text().contains("x-feature-new-dashboard: true"));
}

#[test]
fn flags_are_managed_by_both() {
    let serin = serin();
    for name in ["new-feature", "deprecated-feature"] {
        serin.does(&["flags", "set", name, "--rollout", "10"]);
    }
    // getAllFlags
    assert_eq!(serin.get("/api/flags")["flags"].as_array().unwrap().len(), 2);
    let listed = serin.does(&["flags", "list"]);
    assert!(listed.contains("new-feature") && listed.contains("deprecated-feature"), "{listed}");
    // getFlag
    assert_eq!(serin.get("/api/flags/new-feature")["rolloutPercentage"], 10);
    let got: Value = serde_json::from_str(&serin.does(&["--output", "json", "flags", "get", "new-feature"])).unwrap();
    assert_eq!(got, serin.get("/api/flags/new-feature"));
    // updateRolloutPercentage: 10 % → 25 % → 50 % → 100 %, and clamped; a hand's typing error
    // would be everybody: the command line refuses it.
    for (given, stored) in [(25.0, 25), (50.0, 50), (100.0, 100), (250.0, 100), (-3.0, 0)] {
        let (status, flag) = serin.api("PATCH", "/api/flags/new-feature", &json!({ "rolloutPercentage": given }));
        assert_eq!((status, &flag["rolloutPercentage"]), (200, &json!(stored)));
        serin.does(&["flags", "rollout", "new-feature", "7"]);
        let by_hand = serin.cli(&["flags", "rollout", "new-feature", "--", &given.to_string()]);
        let fits = (0.0..=100.0).contains(&given);
        assert_eq!(by_hand.status.success(), fits, "{by_hand:?}");
        assert_eq!(serin.get("/api/flags/new-feature")["rolloutPercentage"], if fits { stored } else { 7 });
    }
    serin.does(&["flags", "disable", "new-feature"]);
    assert_eq!(serin.get("/api/flags/new-feature")["enabled"], false);
    serin.does(&["flags", "enable", "new-feature"]);
    assert_eq!(serin.get("/api/flags/new-feature")["enabled"], true);
    // deleteFlag
    assert_eq!(serin.api("DELETE", "/api/flags/deprecated-feature", &json!({})).0, 200);
    assert_eq!(serin.api("GET", "/api/flags/deprecated-feature", &Value::Null).0, 404);
    serin.does(&["flags", "delete", "new-feature"]);
    assert_eq!(serin.get("/api/flags")["flags"], json!([]));
    assert_eq!(serin.cli(&["flags", "delete", "new-feature"]).status.code(), Some(1));
}

#[test]
fn the_guides_own_flag_file_is_taken_over() {
    let mut serin = serin();
    let file = json!({
        "flags": { "new-feature": {
            "name": "new-feature", "description": "New feature description", "enabled": true, "rolloutPercentage": 50,
            "rules": [{ "type": "user", "value": ["admin-user"] }, { "type": "environment", "value": ["production"] }],
            "createdAt": "2025-01-01T00:00:00.000Z", "updatedAt": "2025-01-15T12:00:00.000Z",
        } },
        "lastUpdated": "2025-01-15T12:00:00.000Z", "version": 42,
    });
    serin.kill();
    std::fs::write(serin.folder.path().join("state/feature-flags.json"), file.to_string()).unwrap();
    serin.start_again();
    assert_eq!(serin.get("/api/flags/new-feature"), file["flags"]["new-feature"]);
    assert_eq!(evaluate(&serin, "new-feature", &json!({ "userId": "admin-user" }))["ruleMatched"], "user");
    serin.does(&["flags", "rollout", "new-feature", "60"]);
    assert_eq!(serin.state_file("feature-flags.json")["version"], 43);
    let metrics = serin.metrics();
    assert_eq!(metrics.sum("togetheros_feature_flag_enabled", &["name=\"new-feature\""]), 1.0);
    assert_eq!(metrics.sum("togetheros_feature_flag_rollout", &["name=\"new-feature\""]), 60.0);
}

fn custom_stages() -> Value {
    json!([
        { "percentage": 5, "duration": 600, "minRequests": 50, "maxErrorRate": 0.05 },
        { "percentage": 25, "duration": 900, "minRequests": 200, "maxErrorRate": 0.03 },
        { "percentage": 50, "duration": 1200, "minRequests": 500, "maxErrorRate": 0.02 },
        { "percentage": 100, "duration": 0, "minRequests": 0, "maxErrorRate": 0.01 },
    ])
}

#[test]
fn deployments_are_started_by_both() {
    // startCanaryDeployment('v2.1.0'): DEFAULT_CANARY_STAGES
    let defaults = json!([
        { "percentage": 10, "duration": 300, "minRequests": 100, "maxErrorRate": 0.05 },
        { "percentage": 50, "duration": 600, "minRequests": 500, "maxErrorRate": 0.03 },
        { "percentage": 100, "duration": 0, "minRequests": 0, "maxErrorRate": 0.02 },
    ]);
    let custom = custom_stages();
    for (stages, share, by_cli) in
        [(None, 10, false), (None, 10, true), (Some(&custom), 5, false), (Some(&custom), 5, true)]
    {
        let serin = serin();
        if by_cli {
            let text = stages.map(Value::to_string);
            let more = text.iter().flat_map(|text| ["--stages", text.as_str()]);
            serin.does(&["deploy", "start", "v2.1.0"].into_iter().chain(more).collect::<Vec<_>>());
        } else {
            let mut body = json!({ "version": "v2.1.0", "strategy": "canary" });
            if let Some(stages) = stages {
                body["stages"] = stages.clone();
            }
            assert_eq!(serin.api("POST", "/api/deployments", &body).0, 201);
        }
        // getCurrentDeployment
        let current = serin.get("/api/deployment");
        assert_eq!(&current["stages"], stages.unwrap_or(&defaults));
        assert_eq!((&current["currentPercentage"], &current["status"]), (&json!(share), &json!("in_progress")));
        assert!(serin.does(&["status"]).contains(&format!("v2.1.0 in_progress at {share} %")));
        let metrics = serin.metrics();
        assert_eq!(metrics.sum("togetheros_canary_active", &[]), 1.0);
        assert_eq!(metrics.sum("togetheros_canary_percentage", &[]), f64::from(share));
    }
}

#[test]
fn users_are_routed_and_their_outcomes_recorded_by_both() {
    let serin = serin();
    serin.does(&["deploy", "start", "v2"]);
    // shouldRouteToCanary: what both say is where the request goes.
    let mut canaries = 0;
    for user in 0..60 {
        let id = format!("user-{user}");
        let assigned = serin.get(&format!("/api/assignment?userId={id}"));
        let track = assigned["track"].as_str().unwrap().to_owned();
        let explained = serin.does(&["explain", "--user", &id]);
        assert!(
            explained.contains(&format!("{id} is on {track} of default: bucket {}", assigned["bucket"])),
            "{explained}"
        );
        assert!(get(serin.proxy, "/", &format!("x-user-id: {id}\r\n")).text().starts_with(&track));
        canaries += u32::from(track == "canary");
    }
    assert!((1..20).contains(&canaries), "{canaries} of 60 at 10 %");
    // recordCanaryRequest(isCanary, latency, error)
    let before = serin.deployment()["metrics"].clone();
    let (status, answer) =
        serin.api("POST", "/api/outcomes", &json!({ "track": "canary", "latencyMs": 145.5, "error": false }));
    assert_eq!((status, &answer["recorded"]), (202, &json!(1)));
    serin.does(&["deploy", "record", "--track", "stable", "--latency", "3", "--error"]);
    let after = serin.deployment()["metrics"].clone();
    let grown = |key: &str| after[key].as_u64().unwrap() - before[key].as_u64().unwrap();
    assert_eq!((grown("canaryRequests"), grown("baselineRequests"), grown("baselineErrors")), (1, 1, 1));
}

#[test]
fn deployments_are_controlled_by_both() {
    let serin = serin();
    let by_api = |verb: &str, body: Value| {
        let (status, answer) = serin.api("POST", &format!("/api/deployment/{verb}"), &body);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    serin.does(&["deploy", "start", "v2"]);
    // advanceCanaryStage: 10 % → 50 % → 100 %
    assert_eq!(by_api("advance", json!({}))["currentPercentage"], 50);
    assert!(serin.does(&["deploy", "advance"]).contains("at 100 %"));
    // pauseDeployment, resumeDeployment
    assert_eq!(by_api("pause", json!({}))["status"], "paused");
    assert!(serin.does(&["deploy", "resume"]).contains("in_progress"));
    assert!(serin.does(&["deploy", "pause"]).contains("paused"));
    assert_eq!(by_api("resume", json!({}))["status"], "in_progress");
    // rollbackDeployment
    let reason = "Performance degradation detected";
    assert_eq!(by_api("rollback", json!({ "reason": reason }))["rollbackReason"], reason);
    serin.does(&["deploy", "start", "v3"]);
    assert!(serin.does(&["deploy", "rollback", "--reason", reason]).contains(reason));
    // getDeploymentHistory: the last ten, with metrics
    for version in 0..11 {
        serin.does(&["deploy", "start", &format!("v4.{version}")]);
        serin.does(&["deploy", "rollback"]);
    }
    let history = serin.get("/api/deployments")["deployments"].clone();
    let history = history.as_array().unwrap();
    assert_eq!((history.len(), &history[0]["version"]), (10, &json!("v4.10")));
    assert!(history.iter().all(|deployment| deployment["metrics"]["totalRequests"].is_number()));
    assert_eq!(serin.does(&["deploy", "history"]).lines().count(), 11);
}

#[test]
fn an_urgent_fix_skips_the_stages_by_both() {
    for by_cli in [false, true] {
        let serin = serin();
        if by_cli {
            serin.does(&["deploy", "instant", "v2.1.1-hotfix"]);
        } else {
            let body = json!({ "version": "v2.1.1-hotfix", "strategy": "instant" });
            assert_eq!(serin.api("POST", "/api/deployments", &body).0, 201);
        }
        assert!(get(serin.proxy, "/", "x-user-id: anybody\r\n").text().starts_with("canary\n"));
        eventually("its bake", || (serin.deployment()["currentStageIndex"] == 1).then_some(()));
        assert_eq!(serin.deployment()["currentPercentage"], 100);
    }
}
