//! Flags beyond the guide's, through the real binary: what apps are told by headers, what
//! operators are told by API and command line.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use common::app::{answering, echo};
use common::http::get;
use common::{Serin, eventually};
use serde_json::{Value, json};

/// Serin before an app that answers with the fields it got.
fn serin(more: &str) -> Serin {
    let app = answering(|head| {
        let head = head.to_ascii_lowercase();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len())
    });
    Serin::start_with(&format!("stable: 'http://{app}'\n{more}"), ", trustedProxies: [127.0.0.0/8]", &[])
}

fn set(serin: &Serin, name: &str, fields: &Value) -> (u16, Value) {
    serin.api("PUT", &format!("/api/flags/{name}"), fields)
}

fn sets(serin: &Serin, name: &str, fields: &Value) {
    let (status, answer) = set(serin, name, fields);
    assert_eq!(status, 200, "{answer}");
}

/// What the app is told of a flag.
fn told(serin: &Serin, name: &str, fields: &str) -> Option<String> {
    let text = get(serin.proxy, "/", fields).text();
    let value = |line: &str| line.strip_prefix(&format!("x-feature-{name}: ")).map(str::to_owned);
    text.lines().find_map(value)
}

fn color(more: &Value) -> Value {
    let mut flag = json!({ "enabled": true, "rolloutPercentage": 0, "defaultVariant": "grey", "variants": {
        "red": { "value": "#f00" }, "grey": { "value": "#888" } } });
    flag.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    flag
}

#[test]
fn the_app_is_told_values_of_every_type() {
    let serin = serin("");
    let values = [
        ("a-text", json!("two words"), "two words"),
        ("an-integer", json!(5), "5"),
        ("a-decimal", json!(5.0), "5.0"),
        ("a-boolean", json!(false), "false"),
        ("an-object", json!({ "size": [1, 2], "name": "ü" }), r#"{"name":"\u00fc","size":[1,2]}"#),
    ];
    for (name, value, text) in values {
        sets(
            &serin,
            name,
            &json!({ "enabled": true, "rolloutPercentage": 100, "variants": { "only": { "value": value } } }),
        );
        assert_eq!(told(&serin, name, "").as_deref(), Some(text), "{name}");
        let evaluated = serin.api("POST", &format!("/api/flags/{name}/evaluate"), &json!({})).1;
        assert_eq!((&evaluated["variant"], &evaluated["value"]), (&json!("only"), &value), "{name}");
    }
    let metrics = serin.metrics();
    assert_eq!(metrics.sum("serin_flag_evaluations_total", &["flag=\"a-text\"", "value=\"only\""]), 5.0);
}

#[test]
fn who_has_a_flag_off_gets_its_default_or_no_header_at_all() {
    let serin = serin("");
    let rules = json!([{ "type": "user", "value": "u", "variant": "red" }]);
    sets(&serin, "color", &color(&json!({ "rules": rules })));
    assert_eq!(told(&serin, "color", "x-user-id: u\r\n").as_deref(), Some("#f00"));
    assert_eq!(told(&serin, "color", "x-user-id: v\r\n").as_deref(), Some("#888"));
    sets(&serin, "color", &color(&json!({ "rules": rules, "enabled": false })));
    assert_eq!(told(&serin, "color", "x-user-id: u\r\n"), None, "the app's own default holds");
}

#[test]
fn attributes_come_from_where_configuration_says() {
    let rules = json!([{ "type": "attribute", "value": { "plan": { "equals": "gold" } } }]);
    let flag = json!({ "enabled": true, "rolloutPercentage": 0, "rules": rules });
    let on = |serin: &Serin, fields: &str| told(serin, "gold", fields).as_deref() == Some("true");
    let trusting = serin("identity: { attributes: { plan: { header: x-plan } } }");
    sets(&trusting, "gold", &flag);
    assert!(on(&trusting, "x-plan: gold\r\n") && !on(&trusting, "x-plan: silver\r\n") && !on(&trusting, ""));
    let cookie = serin("identity: { attributes: { plan: { cookie: plan, trust: true }, other: { header: x-plan } } }");
    sets(&cookie, "gold", &flag);
    assert!(on(&cookie, "cookie: plan=gold\r\n") && !on(&cookie, "x-plan: gold\r\n"));
    let app = echo("app");
    // A stranger's field is not believed, as with users and groups.
    let strange =
        Serin::start(&format!("stable: 'http://{app}'\nidentity: {{ attributes: {{ plan: {{ header: x-plan }} }} }}"));
    sets(&strange, "gold", &flag);
    assert!(get(strange.proxy, "/", "x-plan: gold\r\n").text().contains("x-feature-gold: false"));
    let evaluated = strange.does(&["flags", "eval", "gold", "--attribute", "plan=gold"]);
    assert!(evaluated.contains("gold is on: rule attribute"), "{evaluated}");
}

#[test]
fn a_flag_tied_to_a_track_goes_with_the_deployment() {
    let serin = Serin::start(&format!("stable: 'http://{}'\ncanary: 'http://{}'\n", echo("stable"), echo("canary")));
    sets(
        &serin,
        "new",
        &json!({ "enabled": true, "rolloutPercentage": 0, "rules": [{ "type": "track", "value": "canary" }] }),
    );
    serin.does(&["deploy", "start", "v2"]);
    let mut seen = [0; 2];
    for user in 0..200 {
        let text = get(serin.proxy, "/", &format!("x-user-id: u-{user}\r\n")).text();
        let canary = text.starts_with("canary");
        assert!(text.contains(&format!("x-feature-new: {canary}")), "{text}");
        let evaluated =
            serin.api("POST", "/api/flags/new/evaluate", &json!({ "context": { "userId": format!("u-{user}") } })).1;
        assert_eq!(evaluated["enabled"], canary, "the API knows it as well");
        seen[usize::from(canary)] += 1;
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    serin.does(&["deploy", "rollback", "--reason", "test"]);
    (0..200).for_each(|user| {
        assert!(get(serin.proxy, "/", &format!("x-user-id: u-{user}\r\n")).text().contains("x-feature-new: false"));
    });
}

#[test]
fn a_flag_rests_on_flags_that_are_there_and_they_stay() {
    let serin = serin("");
    let on = json!({ "enabled": true, "rolloutPercentage": 100 });
    let needs = |names: &[&str]| {
        let needs: Vec<Value> = names.iter().map(|name| json!({ "flag": name })).collect();
        json!({ "enabled": true, "rolloutPercentage": 100, "prerequisites": needs })
    };
    let (status, answer) = set(&serin, "a", &needs(&["b"]));
    assert_eq!((status, &answer["field"]), (400, &json!("prerequisites[0]")), "{answer}");
    sets(&serin, "b", &on);
    sets(&serin, "a", &needs(&["b"]));
    assert_eq!(told(&serin, "a", "").as_deref(), Some("true"));
    sets(&serin, "b", &json!({ "enabled": false, "rolloutPercentage": 100 }));
    assert_eq!(told(&serin, "a", "").as_deref(), Some("false"));
    let reason = serin.api("POST", "/api/flags/a/evaluate", &json!({})).1["reason"].clone();
    assert_eq!(reason, "prerequisite");
    let (status, answer) = set(&serin, "b", &needs(&["a"]));
    assert_eq!(status, 400, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("b rests on a rests on b"), "{answer}");
    let (status, answer) = serin.api("DELETE", "/api/flags/b", &json!({}));
    assert_eq!((status, &answer["code"]), (409, &json!("neededBy")), "{answer}");
    sets(&serin, "color", &color(&json!({})));
    sets(
        &serin,
        "c",
        &json!({ "enabled": true, "rolloutPercentage": 100, "prerequisites": [{ "flag": "color", "variant": "red" }] }),
    );
    let (status, answer) = set(&serin, "color", &on);
    assert_eq!((status, &answer["code"]), (409, &json!("neededBy")), "its variant is needed: {answer}");
}

#[test]
fn a_schedule_begins_and_ends_by_itself() {
    let serin = serin("");
    // Schedules know milliseconds and nothing finer.
    let soon = jiff::Timestamp::from_millisecond(jiff::Timestamp::now().as_millisecond() + 1_200).unwrap();
    let fields = json!({ "enabled": true, "rolloutPercentage": 100, "schedule": { "from": soon.to_string() } });
    sets(&serin, "launch", &fields);
    assert_eq!(told(&serin, "launch", "").as_deref(), Some("false"));
    eventually("the launch", || (told(&serin, "launch", "").as_deref() == Some("true")).then_some(()));
    assert!(jiff::Timestamp::now() >= soon, "not before its time");
    sets(
        &serin,
        "over",
        &json!({ "enabled": true, "rolloutPercentage": 100, "schedule": { "until": "2020-01-01T00:00:00Z" } }),
    );
    assert_eq!(told(&serin, "over", "").as_deref(), Some("false"));
}

#[test]
fn what_is_wrong_with_a_flag_is_said_and_nothing_is_written() {
    let serin = serin("");
    let rows = [
        (json!({ "variants": { "a": { "value": "ü" } } }), "variants.a"),
        (json!({ "variants": { "a": { "value": 1 } }, "defaultVariant": "b" }), "defaultVariant"),
        (json!({ "rules": [{ "type": "attribute", "value": { "v": { "semver": "latest" } } }] }), "rules[0]"),
        (json!({ "schedule": { "from": "soon" } }), "RFC 3339"),
    ];
    for (more, part) in rows {
        let mut fields = json!({ "enabled": true, "rolloutPercentage": 0 });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = set(&serin, "f", &fields);
        assert_eq!(status, 400, "{answer}");
        assert!(answer.to_string().contains(part), "{more}: {answer}");
    }
    assert_eq!(serin.api("GET", "/api/flags/f", &Value::Null).0, 404);
}

#[test]
fn lint_finds_what_hardly_means_what_it_says() {
    let serin = serin("");
    assert!(serin.does(&["flags", "lint"]).contains("nothing strange"));
    sets(&serin, "never", &json!({ "enabled": true, "rolloutPercentage": 0 }));
    sets(&serin, "mixed", &color(&json!({ "variants": { "grey": { "value": 1 }, "b": { "value": 1.0 } } })));
    let text = serin.does(&["flags", "lint"]);
    assert!(
        text.contains("`never` is switched on, but nobody has it") && text.contains("`mixed` has numbers"),
        "{text}"
    );
    let warnings = serin.get("/api/lint/flags")["warnings"].clone();
    assert_eq!(warnings[1]["code"], "neverOn", "{warnings}");
}

#[test]
fn a_variable_gives_everybody_a_variant() {
    let app = echo("app");
    let config = format!("stable: 'http://{app}'\n");
    let serin = Serin::start_with(&config, "", &[("FEATURE_FLAG_COLOR", "red")]);
    sets(&serin, "color", &color(&json!({})));
    assert!(get(serin.proxy, "/", "").text().contains("x-feature-color: #f00"));
}
