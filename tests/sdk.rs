//! OFREP by the official clients of OpenFeature: two for Node's servers, one for Python's, and
//! the one for pages with what a browser has around it. What they get is held against `ofrep.md`
//! and against the headers that the app gets.
//!
//! The packages for Node are found in `target/sdk`, or in the folder `$SERIN_SDK_FOLDER`:
//! `npm ci` with what is in `tests/sdk`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::print_stderr)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use common::app::echo;
use common::http::{Answer, exchange, get};
use common::{PATIENCE, Process, Serin, eventually, have, python_has};
use serde_json::{Value, json};

const FLAGS: &str = "/ofrep/v1/evaluate/flags";
const ORIGIN: &str = "https://shop.test";
/// SPEC 4's vectors: of these two `new-feature` at 50 % reaches the first.
const REACHED: &str = "user-456";
const UNREACHED: &str = "user-123";

// ---------------------------------------------------------------- clients

/// A client that answers lines.
struct Sdk {
    name: &'static str,
    input: ChildStdin,
    answers: Receiver<String>,
    _process: Process,
}

impl Sdk {
    fn start(name: &'static str, command: &mut Command) -> Self {
        let command = command.env("SERIN_SDK_FOLDER", packages()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::from(command.spawn().unwrap());
        let (input, output) = (process.child.stdin.take().unwrap(), process.child.stdout.take().unwrap());
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Self { name, input, answers, _process: process }
    }

    fn node(name: &'static str, script: &str, args: &[&str]) -> Self {
        Self::start(name, Command::new("node").arg(beside(script)).args(args))
    }

    fn python(base: &str, headers: &str) -> Self {
        Self::start("python", Command::new("python3").arg(beside("client.py")).args([base, headers]))
    }

    /// A page's client.
    fn page(at: SocketAddr, origin: &str, headers: &Value) -> Self {
        Self::node("page", "web.mjs", &[&url(at), &headers.to_string(), origin])
    }

    fn ask(&mut self, asked: &Value) -> Value {
        writeln!(self.input, "{asked}").unwrap();
        let answer = self.answers.recv_timeout(PATIENCE);
        let answer = answer.unwrap_or_else(|_| panic!("{} says nothing to {asked}", self.name));
        serde_json::from_str(&answer).unwrap()
    }

    /// What a flag is for somebody.
    fn reads(&mut self, key: &str, kind: &str, context: &Value) -> Value {
        self.ask(&json!({ "key": key, "type": kind, "default": default_of(kind), "context": context }))
    }

    /// The value that a page has in hand.
    fn has(&mut self, key: &str) -> Value {
        self.reads(key, "boolean", &json!({}))["value"].clone()
    }
}

fn beside(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(script)
}

fn packages() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sdk");
    std::env::var_os("SERIN_SDK_FOLDER").map_or_else(usual, PathBuf::from)
}

/// Whether Node's packages are there. Where they have to be (in CI) their absence is a failure.
fn have_packages() -> bool {
    let folder = packages();
    let found = have("node") && folder.join("node_modules/@openfeature/server-sdk").is_dir();
    assert!(found || std::env::var_os("CI").is_none(), "{} has no packages, and this is CI", folder.display());
    if !found {
        eprintln!("SKIPPED: {} has no packages: npm ci with what is in tests/sdk", folder.display());
    }
    found
}

/// A client of each make that servers have.
fn servers(base: &str, headers: &Value) -> Vec<Sdk> {
    let headers = headers.to_string();
    let mut all = Vec::new();
    if have_packages() {
        all.push(Sdk::node("node", "server.mjs", &[base, &headers]));
        all.push(Sdk::node("node, newest", "server.mjs", &[base, &headers, "newest"]));
    }
    if python_has("openfeature.contrib.provider.ofrep") {
        all.push(Sdk::python(base, &headers));
    }
    all
}

fn url(at: SocketAddr) -> String {
    format!("http://{at}")
}

/// The app's own default, unlike every flag's value.
fn default_of(kind: &str) -> Value {
    match kind {
        "boolean" => json!(false),
        "string" => json!("code"),
        "integer" => json!(-1),
        "float" => json!(-1.5),
        "object" => json!({ "code": true }),
        _ => panic!("{kind} is no type"),
    }
}

// ------------------------------------------------------------------ Serin

/// Every kind of flag: name, type in an SDK, definition.
fn flags() -> Vec<(&'static str, &'static str, Value)> {
    let one_of = |variants: Value, default: Option<&str>| json!({ "variants": variants, "defaultVariant": default, "rolloutPercentage": 100 });
    let rule = |rules: Value| json!({ "rules": rules, "rolloutPercentage": 0 });
    vec![
        ("plain", "boolean", json!({ "rolloutPercentage": 100 })),
        (
            "yes",
            "boolean",
            one_of(json!({ "yes": { "value": true }, "no": { "value": false, "weight": 0 } }), Some("no")),
        ),
        (
            "text",
            "string",
            one_of(json!({ "dark": { "value": "dark" }, "light": { "value": "light", "weight": 0 } }), Some("light")),
        ),
        ("whole", "integer", one_of(json!({ "five": { "value": 5 }, "six": { "value": 6, "weight": 0 } }), None)),
        ("decimal", "float", one_of(json!({ "five": { "value": 5.0 }, "half": { "value": 0.5, "weight": 0 } }), None)),
        (
            "thing",
            "object",
            one_of(json!({ "first": { "value": { "a": [1, "x"], "b": { "c": true, "d": "ü" } } } }), None),
        ),
        ("drawn", "string", one_of(json!({ "red": { "value": "red" }, "blue": { "value": "blue" } }), None)),
        ("new-feature", "boolean", json!({ "rolloutPercentage": 50 })),
        (
            "staff-only",
            "boolean",
            rule(json!([{ "type": "user", "value": "boss" }, { "type": "group", "value": "staff" }])),
        ),
        ("gold-only", "boolean", rule(json!([{ "type": "attribute", "value": { "plan": { "equals": "gold" } } }]))),
        ("off", "boolean", json!({ "enabled": false, "rolloutPercentage": 100 })),
        (
            "yes-off",
            "boolean",
            json!({ "enabled": false, "rolloutPercentage": 100, "variants": { "yes": { "value": true } } }),
        ),
        (
            "text-off",
            "string",
            json!({ "enabled": false, "rolloutPercentage": 100, "variants": { "dark": { "value": "dark" } }, "defaultVariant": "dark" }),
        ),
        ("text-of-code", "string", json!({ "rolloutPercentage": 0, "variants": { "dark": { "value": "dark" } } })),
    ]
}

const IDENTITY: &str = "identity: { attributes: { plan: { header: x-plan, trust: true } } }";

/// Serin with all of them, and what its configuration says beyond.
fn serin(ofrep: &str, more: &str) -> Serin {
    let config = format!("stable: 'http://{}'\nofrep: {{ address: '127.0.0.1:0'{ofrep} }}\n{more}\n", echo("app"));
    let serin =
        Serin::start_with(&config, ", trustedProxies: [127.0.0.0/8]", &[("SERIN_OFREP_TOKEN", "client-token-0001")]);
    for (name, _, flag) in flags() {
        put(&serin, name, &flag, true);
    }
    serin
}

fn put(serin: &Serin, name: &str, flag: &Value, client: bool) {
    let mut whole = json!({ "enabled": true, "rules": [], "client": client });
    whole.as_object_mut().unwrap().extend(flag.as_object().unwrap().clone());
    whole.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    let (status, answer) = serin.api("PUT", &format!("/api/flags/{name}"), &whole);
    assert_eq!(status, 200, "{name}: {answer}");
}

fn public(serin: &Serin) -> SocketAddr {
    serin.ofrep.expect("a public listener")
}

fn post(at: SocketAddr, path: &str, fields: &str, body: &str) -> Answer {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n");
    exchange(at, format!("{head}{fields}content-length: {length}\r\n\r\n{body}").as_bytes())
}

// ---------------------------------------------------------------- servers

#[test]
fn servers_read_every_type_with_variant_and_reason() {
    let serin = serin("", "");
    let (nobody, user) = (json!({}), |id: &str| json!({ "targetingKey": id }));
    let thing = json!({ "a": [1, "x"], "b": { "c": true, "d": "ü" } });
    let rows = [
        ("plain", "boolean", nobody.clone(), json!(true), "on", "STATIC"),
        ("yes", "boolean", nobody.clone(), json!(true), "yes", "STATIC"),
        ("text", "string", nobody.clone(), json!("dark"), "dark", "STATIC"),
        ("whole", "integer", nobody.clone(), json!(5), "five", "STATIC"),
        ("decimal", "float", nobody.clone(), json!(5.0), "five", "STATIC"),
        ("thing", "object", nobody.clone(), thing, "first", "STATIC"),
        ("new-feature", "boolean", user(REACHED), json!(true), "on", "SPLIT"),
        ("new-feature", "boolean", user(UNREACHED), json!(false), "off", "SPLIT"),
        ("staff-only", "boolean", user("boss"), json!(true), "on", "TARGETING_MATCH"),
        ("staff-only", "boolean", json!({ "groupId": "staff" }), json!(true), "on", "TARGETING_MATCH"),
        ("staff-only", "boolean", user("nobody"), json!(false), "off", "DEFAULT"),
        ("gold-only", "boolean", json!({ "plan": "gold" }), json!(true), "on", "TARGETING_MATCH"),
        ("gold-only", "boolean", json!({ "plan": "silver" }), json!(false), "off", "DEFAULT"),
        ("off", "boolean", nobody.clone(), json!(false), "off", "DISABLED"),
    ];
    for mut sdk in servers(&url(serin.admin), &json!({})) {
        for (key, kind, context, value, variant, reason) in &rows {
            let found = sdk.reads(key, kind, context);
            assert!(alike(&found["value"], value), "{}: {key} {context}: {found}", sdk.name);
            let told = (&found["variant"], &found["reason"], &found["error"]);
            assert_eq!(told, (&json!(variant), &json!(reason), &Value::Null), "{}: {key} {context}", sdk.name);
        }
        let drawn = sdk.reads("drawn", "string", &user("u"));
        assert!(drawn["reason"] == "SPLIT" && drawn["value"] == drawn["variant"], "{}: {drawn}", sdk.name);
        let rule = sdk.reads("staff-only", "boolean", &user("boss"))["metadata"]["rule"].clone();
        assert_eq!(rule, "user", "{}", sdk.name);
    }
}

/// Whether two values are the same to a client that has one type of numbers.
fn alike(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[test]
fn servers_fall_back_on_their_default_and_know_why() {
    let serin = serin("", "");
    let (nobody, wrong_key) = (json!({}), json!({ "targetingKey": 7 }));
    let rows = [
        ("unknown", "string", &nobody, "FLAG_NOT_FOUND"),
        ("a/b", "integer", &nobody, "FLAG_NOT_FOUND"),
        ("no such flag", "object", &nobody, "FLAG_NOT_FOUND"),
        ("größer", "float", &nobody, "FLAG_NOT_FOUND"),
        ("text", "boolean", &nobody, "TYPE_MISMATCH"),
        ("plain", "string", &nobody, "TYPE_MISMATCH"),
        ("thing", "float", &nobody, "TYPE_MISMATCH"),
        ("new-feature", "boolean", &nobody, "TARGETING_KEY_MISSING"),
        ("drawn", "string", &nobody, "TARGETING_KEY_MISSING"),
        ("plain", "boolean", &wrong_key, "INVALID_CONTEXT"),
    ];
    for mut sdk in servers(&url(serin.admin), &json!({})) {
        for (key, kind, context, error) in rows {
            let found = sdk.reads(key, kind, context);
            let told = (&found["value"], &found["error"], &found["reason"]);
            assert_eq!(told, (&default_of(kind), &json!(error), &json!("ERROR")), "{}: {key}: {found}", sdk.name);
        }
    }
}

#[test]
fn numbers_keep_the_form_that_python_tells_apart() {
    let serin = serin("", "");
    if !python_has("openfeature.contrib.provider.ofrep") {
        return;
    }
    let mut sdk = Sdk::python(&url(serin.admin), "{}");
    for (key, other) in [("whole", "float"), ("decimal", "integer")] {
        let found = sdk.reads(key, other, &json!({}));
        assert_eq!((&found["value"], &found["error"]), (&default_of(other), &json!("TYPE_MISMATCH")), "{key}");
    }
}

#[test]
fn a_flag_without_a_value_is_the_apps_own_default() {
    let serin = serin("", "");
    let rows =
        [("text-off", "string", "DISABLED"), ("yes-off", "boolean", "DISABLED"), ("text-of-code", "string", "DEFAULT")];
    for mut sdk in servers(&url(serin.admin), &json!({})) {
        for (key, kind, reason) in rows {
            let otherwise = if kind == "boolean" { json!(true) } else { json!("of the code") };
            let found = sdk.ask(&json!({ "key": key, "type": kind, "default": otherwise }));
            assert_eq!(found["value"], otherwise, "{}: {key}: {found}", sdk.name);
            // The provider of 2024 takes no answer without a value; its default holds all the same.
            if sdk.name != "node" {
                assert_eq!((&found["reason"], &found["error"]), (&json!(reason), &Value::Null), "{}: {key}", sdk.name);
            }
        }
    }
}

#[test]
fn an_sdk_and_the_apps_headers_agree() {
    let serin = serin("", IDENTITY);
    let visitors = [REACHED, UNREACHED, "boss"].map(|id| (id, "", "")).into_iter();
    let visitors: Vec<_> =
        visitors.chain([("u-1", "staff", ""), ("u-2", "guests, staff", "gold"), ("u-3", "", "silver")]).collect();
    for mut sdk in servers(&url(serin.admin), &json!({})) {
        for (id, groups, plan) in &visitors {
            let fields = format!("x-user-id: {id}\r\nx-user-group: {groups}\r\nx-plan: {plan}\r\n");
            let app = get(serin.proxy, "/", &fields).text();
            for (key, kind, _) in flags() {
                let context = json!({ "targetingKey": id, "groupId": groups, "plan": plan });
                let value = sdk.reads(key, kind, &context)["value"].clone();
                let header = field(&app, &format!("x-feature-{key}"));
                let of_header = header.map_or_else(|| default_of(kind), |text| value_of(kind, text));
                assert!(alike(&value, &of_header), "{}: {key} of {id}: {value}, and the app gets {header:?}", sdk.name);
            }
        }
    }
}

/// A field of the request that the app has sent back.
fn field<'a>(echoed: &'a str, name: &str) -> Option<&'a str> {
    echoed.lines().find_map(|line| line.split_once(": ").filter(|(own, _)| *own == name)).map(|(_, value)| value)
}

fn value_of(kind: &str, text: &str) -> Value {
    if kind == "string" { Value::from(text) } else { serde_json::from_str(text).unwrap() }
}

#[test]
fn without_the_right_token_there_is_the_default() {
    let tokens = "[ { name: app, env: APP_TOKEN, role: read }, { name: ci, env: CI_TOKEN, role: write }, \
                  { name: jobs, env: JOBS_TOKEN, role: record } ]";
    let config = format!("stable: 'http://{}'\nadmin: {{ address: '127.0.0.1:0', tokens: {tokens} }}", echo("app"));
    let variables =
        [("APP_TOKEN", "app-token-000001"), ("CI_TOKEN", "ci-token-0000001"), ("JOBS_TOKEN", "jobs-token-00001")];
    let serin = Serin::start_bare(&config, &variables);
    let flag = json!({ "enabled": true, "rolloutPercentage": 100, "variants": { "v": { "value": "on" } } }).to_string();
    let made = format!(
        "PUT /api/flags/text HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nconnection: close\r\n\
         authorization: Bearer ci-token-0000001\r\ncontent-length: {}\r\n\r\n{flag}",
        flag.len()
    );
    assert_eq!(exchange(serin.admin, made.as_bytes()).status, 200);
    let with = |name: &str, value: &str| json!({ name: value });
    for headers in [with("Authorization", "Bearer app-token-000001"), with("X-API-Key", "app-token-000001")] {
        for mut sdk in servers(&url(serin.admin), &headers) {
            assert_eq!(sdk.reads("text", "string", &json!({}))["value"], "on", "{} with {headers}", sdk.name);
        }
    }
    let wrong = with("Authorization", "Bearer app-token-000002");
    for (headers, status) in [(json!({}), 401), (wrong, 401), (with("Authorization", "Bearer jobs-token-00001"), 403)] {
        for mut sdk in servers(&url(serin.admin), &headers) {
            let found = sdk.reads("text", "string", &json!({}));
            let told = (&found["value"], &found["error"]);
            assert_eq!(told, (&json!("code"), &json!("GENERAL")), "{}: {status}: {found}", sdk.name);
        }
    }
}

#[test]
fn servers_that_ask_too_often_wait_as_long_as_they_are_told() {
    let serin = serin(", requestsPerSecond: 1, burst: 1", "");
    for mut sdk in servers(&url(public(&serin)), &json!({})) {
        let mut reads = || sdk.reads("plain", "boolean", &json!({}));
        eventually("a value", || (reads()["value"] == true).then_some(()));
        let refused = eventually("a refusal", || Some(reads()).filter(|found| found["error"] == "GENERAL"));
        assert_eq!(refused["value"], false, "{refused}");
        // The newest core leaves the waiting to its provider.
        if sdk.name != "node, newest" {
            let waits = |found: Value| found["message"].as_str().unwrap_or_default().contains("paused").then_some(());
            eventually("waiting without a call", || waits(sdk.reads("plain", "boolean", &json!({}))));
        }
        eventually("a value again", || (sdk.reads("plain", "boolean", &json!({}))["value"] == true).then_some(()));
    }
}

// ------------------------------------------------------------------ pages

const PAGE: &str = ", origins: ['https://shop.test'], requestsPerSecond: 1000, burst: 1000";

fn page(serin: &Serin, user: &Value) -> Sdk {
    let mut page = Sdk::page(public(serin), ORIGIN, &json!({}));
    let started = page.ask(&json!({ "start": user }));
    assert_eq!(started["status"], "READY", "{started}");
    page
}

/// The status of each evaluation among a page's calls.
fn evaluations(answer: &Value) -> Vec<u64> {
    let calls = answer["calls"].as_array().unwrap().iter();
    calls
        .filter(|call| call["path"].as_str().unwrap().starts_with(FLAGS))
        .map(|call| call["status"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_page_reads_every_type_from_one_answer() {
    if !have_packages() {
        return;
    }
    let serin = serin(PAGE, "");
    put(&serin, "secret", &json!({ "rolloutPercentage": 100 }), false);
    let mut page = page(&serin, &json!({ "targetingKey": REACHED }));
    let thing = json!({ "a": [1, "x"], "b": { "c": true, "d": "ü" } });
    let rows = [
        ("plain", "boolean", json!(true), json!("on"), "STATIC", Value::Null),
        ("yes", "boolean", json!(true), json!("yes"), "STATIC", Value::Null),
        ("text", "string", json!("dark"), json!("dark"), "STATIC", Value::Null),
        ("whole", "integer", json!(5), json!("five"), "STATIC", Value::Null),
        ("decimal", "float", json!(5), json!("five"), "STATIC", Value::Null),
        ("thing", "object", thing, json!("first"), "STATIC", Value::Null),
        ("new-feature", "boolean", json!(true), json!("on"), "SPLIT", Value::Null),
        ("off", "boolean", json!(false), json!("off"), "DISABLED", Value::Null),
        ("text-off", "string", json!("code"), json!(""), "DISABLED", Value::Null),
        ("text-of-code", "string", json!("code"), json!(""), "DEFAULT", Value::Null),
        ("secret", "boolean", json!(false), Value::Null, "ERROR", json!("FLAG_NOT_FOUND")),
        ("text", "boolean", json!(false), Value::Null, "ERROR", json!("TYPE_MISMATCH")),
    ];
    for (key, kind, value, variant, reason, error) in rows {
        let found = page.reads(key, kind, &json!({}));
        let told = (&found["value"], &found["variant"], &found["reason"], &found["error"]);
        assert_eq!(told, (&value, &variant, &json!(reason), &error), "{key}: {found}");
    }
    assert_eq!(page.ask(&json!({}))["calls"], json!([]), "everything was there already");
}

#[test]
fn a_page_without_a_user_has_all_flags_that_need_none() {
    if !have_packages() {
        return;
    }
    let serin = serin(PAGE, "");
    let mut page = page(&serin, &json!({ "plan": "gold" }));
    assert_eq!((page.has("plain"), page.has("gold-only")), (json!(true), json!(true)));
    for (key, kind) in [("new-feature", "boolean"), ("drawn", "string")] {
        let found = page.reads(key, kind, &json!({}));
        assert_eq!((&found["value"], &found["error"]), (&default_of(kind), &json!("TARGETING_KEY_MISSING")), "{key}");
    }
}

#[test]
fn a_new_user_of_a_page_has_his_own_flags() {
    if !have_packages() {
        return;
    }
    let serin = serin(PAGE, "");
    let mut page = page(&serin, &json!({ "targetingKey": REACHED }));
    page.ask(&json!({}));
    for (user, value) in [(UNREACHED, false), (REACHED, true)] {
        let changed = page.ask(&json!({ "context": { "targetingKey": user } }));
        assert_eq!(evaluations(&changed), [200], "{user}");
        assert_eq!(page.has("new-feature"), value, "{user}");
    }
}

#[test]
fn what_a_page_knows_already_is_not_sent_again() {
    if !have_packages() {
        return;
    }
    let serin = serin(PAGE, "");
    let who = |plan: &str| json!({ "targetingKey": REACHED, "plan": plan, "calls": 1 });
    let mut page = page(&serin, &who("silver"));
    page.ask(&json!({}));
    let again = page.ask(&json!({ "context": who("silver"), "calls": 1 }));
    assert_eq!(evaluations(&again), [304]);
    assert!(again["calls"][0]["tag"].is_string(), "the page was shown the tag: {again}");
    assert_eq!(page.has("new-feature"), true);
    // The provider keeps the tag for all of a user's contexts: it must not stand for them.
    let other = page.ask(&json!({ "context": who("gold"), "calls": 1, "changed": true }));
    assert_eq!((evaluations(&other), &other["flags"]), (vec![200], &json!(["gold-only"])));
    assert_eq!(page.has("gold-only"), true);
}

#[test]
fn a_change_reaches_a_page_by_itself() {
    if !have_packages() {
        return;
    }
    let serin = serin(&format!("{PAGE}, events: true"), "");
    let mut page = page(&serin, &json!({ "targetingKey": REACHED }));
    // At once, and again while the stream is open: nothing is lost in between.
    for (command, value) in [("disable", false), ("enable", true)] {
        serin.does(&["flags", command, "plain"]);
        let told = page.ask(&json!({ "changed": true }));
        assert_eq!((&told["flags"], page.has("plain")), (&json!(["plain"]), json!(value)), "{told}");
    }
    serin.does(&["flags", "rollout", "new-feature", "0"]);
    assert_eq!(page.ask(&json!({ "changed": true }))["flags"], json!(["new-feature"]));
    let found = page.reads("new-feature", "boolean", &json!({}));
    assert_eq!((&found["value"], &found["reason"]), (&json!(false), &json!("STATIC")));
}

#[test]
fn a_page_with_a_token_gets_flags_and_signals() {
    if !have_packages() {
        return;
    }
    let serin = serin(&format!("{PAGE}, events: true, tokens: [ {{ env: SERIN_OFREP_TOKEN }} ]"), "");
    for headers in [json!({}), json!({ "Authorization": "Bearer client-token-0002" })] {
        let mut page = Sdk::page(public(&serin), ORIGIN, &headers);
        let started = page.ask(&json!({ "start": { "targetingKey": "u" } }));
        assert_eq!((&started["status"], evaluations(&started)), (&json!("FATAL"), vec![401]));
        let found = page.reads("plain", "boolean", &json!({}));
        assert_eq!((&found["value"], &found["error"]), (&json!(false), &json!("PROVIDER_FATAL")));
    }
    let mut page = Sdk::page(public(&serin), ORIGIN, &json!({ "Authorization": "Bearer client-token-0001" }));
    assert_eq!(page.ask(&json!({ "start": { "targetingKey": "u" } }))["status"], "READY");
    assert_eq!(page.has("plain"), true);
    // A browser's streams carry no token.
    serin.does(&["flags", "disable", "plain"]);
    assert_eq!(page.ask(&json!({ "changed": true }))["flags"], json!(["plain"]));
}

#[test]
fn a_page_that_asks_too_often_keeps_what_it_has() {
    if !have_packages() {
        return;
    }
    let serin = serin(", origins: ['https://shop.test'], requestsPerSecond: 1, burst: 1", "");
    let mut page = page(&serin, &json!({ "targetingKey": REACHED }));
    page.ask(&json!({}));
    let mut number = 0;
    let refused = eventually("a refusal", || {
        number += 1;
        let answer = page.ask(&json!({ "context": { "targetingKey": format!("u-{number}") } }));
        evaluations(&answer).contains(&429).then_some(answer)
    });
    assert_eq!(refused["calls"].as_array().map(Vec::len), Some(1), "{refused}");
    assert_eq!(page.has("plain"), true);
    eventually("waiting without a call", || {
        let answer = page.ask(&json!({ "context": { "targetingKey": REACHED } }));
        evaluations(&answer).is_empty().then_some(())
    });
}

#[test]
fn pages_of_other_origins_get_nothing() {
    if !have_packages() {
        return;
    }
    let serin = serin(PAGE, "");
    let mut page = Sdk::page(public(&serin), "https://evil.test", &json!({}));
    let started = page.ask(&json!({ "start": { "targetingKey": REACHED } }));
    assert_eq!((&started["status"], &started["calls"]), (&json!("ERROR"), &json!([])), "the preflight says no");
    assert_eq!(page.has("plain"), false);
}

#[test]
fn a_page_is_not_believed_who_its_user_is() {
    if !have_packages() {
        return;
    }
    let serin = serin(PAGE, "");
    let mut page = page(&serin, &json!({ "targetingKey": "boss", "userId": "boss", "groupId": "staff" }));
    assert_eq!(page.has("staff-only"), false);
    assert_eq!(page.has("plain"), true);
}

#[test]
fn a_trusted_proxy_says_who_the_user_is_and_what_he_has() {
    if !have_packages() {
        return;
    }
    let serin = serin(&format!("{PAGE}, trustedProxies: [127.0.0.0/8]"), IDENTITY);
    // The fields of a proxy in front, which a page cannot send by itself.
    let answer = |fields: &str, context: &Value| {
        let body = json!({ "context": context }).to_string();
        serde_json::from_slice::<Value>(&post(public(&serin), FLAGS, fields, &body).body).unwrap()
    };
    let value = |answer: &Value, key: &str| {
        let flags = answer["flags"].as_array().unwrap();
        flags.iter().find(|flag| flag["key"] == key).unwrap()["value"].clone()
    };
    let of_proxy = answer("x-user-id: boss\r\nx-plan: gold\r\n", &json!({ "targetingKey": REACHED, "plan": "silver" }));
    assert_eq!((value(&of_proxy, "staff-only"), value(&of_proxy, "gold-only")), (json!(true), json!(true)));
    let claimed = answer("", &json!({ "targetingKey": "boss", "plan": "gold" }));
    assert_eq!((value(&claimed, "staff-only"), value(&claimed, "gold-only")), (json!(false), json!(false)));
    let group = answer("x-user-group: staff\r\n", &json!({ "targetingKey": UNREACHED }));
    assert_eq!((value(&group, "staff-only"), value(&group, "new-feature")), (json!(true), json!(false)));
    let drawn = answer(&format!("x-user-id: {REACHED}\r\n"), &json!({ "targetingKey": UNREACHED }));
    assert_eq!(value(&drawn, "new-feature"), true, "the proxy's user has the bucket");
}
