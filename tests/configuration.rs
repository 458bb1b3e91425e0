//! Wrong configurations say where, what was found and what to do; right ones are what the schema allows.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Serin, cli, eventually, python_has};
use serde_json::json;
use serin::config;

/// A service around these lines.
fn shop(lines: &str) -> String {
    let pools = "pools: { a: { endpoints: 'http://127.0.0.1:1' }, b: { endpoints: 'http://127.0.0.1:2' } }";
    format!("listen: 127.0.0.1:8080\nservices:\n  shop:\n    {pools}\n    stable: a\n{lines}\n")
}

/// The three-line form with these lines behind it.
fn three(lines: &str) -> String {
    format!("listen: 127.0.0.1:8080\nstable: http://127.0.0.1:1\n{lines}\n")
}

/// What is wrong: the text, then place, finding and what is allowed or how to mend it.
fn broken() -> Vec<(String, [&'static str; 3])> {
    let stage = "{ percentage: 100, duration: 0, maxErrorRate: 0.02 }";
    vec![
        (String::new(), ["1:1", "the document is empty", "a mapping is expected"]),
        ("- listen".into(), ["1:1", "the document is a list", "a mapping is expected"]),
        ("listen: [1, 2\nstable: x".into(), ["2:", "this is no YAML", "hint: "]),
        ("listen: a\nlisten: b".into(), ["2:1", "the key `listen` stands here twice", "line 1 has it"]),
        ("stable: http://a".into(), ["1:1", "no `listen`", "for example `listen: 0.0.0.0:8080`"]),
        ("listen: 127.0.0.1:1".into(), ["1:1", "neither `stable` nor `services`", "for example `stable: http://"]),
        (three("listeners: []"), ["1:1", "both `listen` and `listeners`", "one of them is enough"]),
        (three("services: {}"), ["2:1", "both `stable` and `services`", "stands inside of each service"]),
        ("listen: 8080\nstable: http://a".into(), ["1:1", "listen is 8080", "for example 0.0.0.0:8080"]),
        ("listen: 127.0.0.1:1\nstable: 127.0.0.1:3000".into(), ["2:1", "\"127.0.0.1:3000\"", "http://127.0.0.1:3000"]),
        (
            "listen: 127.0.0.1:1\nstable: [http://a, 'ftp://b']".into(),
            ["2:20", "stable[1] is \"ftp://b\"", "for example http://"],
        ),
        ("listen: 127.0.0.1:1\nstable: http://a:99999".into(), ["2:1", "http://a:99999", "from 1 to 65535"]),
        ("listeners: []\nstable: http://a".into(), ["1:1", "listeners is a list", "one listener at least"]),
        (
            "listeners: [ { address: '127.0.0.1:1' }, { address: '127.0.0.1:1' } ]\nstable: http://a".into(),
            ["1:42", "127.0.0.1:1", "listened on already"],
        ),
        (
            "listeners: [ { address: '127.0.0.1:1', trustedProxies: [10.0.0.0/33] } ]\nstable: http://a".into(),
            ["1:57", "10.0.0.0/33", "for example 10.0.0.0/8"],
        ),
        (three("limts: {}"), ["3:1", "unknown key `limts`", "did you mean `limits`? keys here: listen"]),
        (three("tls: {}"), ["3:1", "unknown key `tls`", "keys here:"]),
        (three("limits: { headerBytes: 12KB }"), ["3:11", "limits.headerBytes is \"12KB\"", "like 64KiB"]),
        (three("limits: { headers: 0 }"), ["3:11", "limits.headers is 0", "a whole number from 1 to 10000"]),
        (three("limits: { keepAlive: 1w }"), ["3:11", "limits.keepAlive is \"1w\"", "10m, 1h30m"]),
        (three("workers: many"), ["3:1", "workers is \"many\"", "a whole number from 1 to 1024"]),
        (three("metrics: { namespace: my-app }"), ["3:12", "my-app", "letters, digits, `_`"]),
        (
            three("admin: { address: '0.0.0.0:9900', plaintext: true }"),
            ["3:10", "beyond loopback the admin API needs `tokens`", "admin.tokens:"],
        ),
        (
            three("admin: { tokens: [ { name: ci, env: SERIN_UNSET_TOKEN, role: write } ] }"),
            ["3:32", "SERIN_UNSET_TOKEN", "the variable is not set"],
        ),
        (
            three("admin: { tokens: [ { name: ci, env: CARGO_PKG_VERSION, role: write } ] }"),
            ["3:32", "CARGO_PKG_VERSION", "at least 16 visible ASCII characters"],
        ),
        (
            three("identity: { user: [ { header: x-id, cookie: id } ] }"),
            ["3:21", "identity.user[0] is a mapping", "one of `header: name` and `cookie: name`"],
        ),
        (
            three("identity: { user: [ { header: x-id, trust: true, verify: { env: PATH } } ] }"),
            ["3:21", "identity.user[0] is a mapping", "one of `trust: true`, `verify` and `jwt`"],
        ),
        (
            three("identity: { user: [ { header: x-id, jwt: { jwks: Cargo.toml } } ] }"),
            ["3:37", "Cargo.toml has no key set", "a JSON Web Key Set"],
        ),
        (
            three("identity: { user: [ { header: x-id, jwt: { key: Cargo.toml } } ] }"),
            ["3:37", "Cargo.toml has no public key", "`BEGIN PUBLIC KEY`"],
        ),
        (
            "listeners: [ { address: '127.0.0.1:1', tls: { certificates: [ { cert: none.pem, key: none.key } ] } } ]\nstable: http://a".into(),
            ["1:40", "none.pem cannot be read", "the folder that Serin is started in"],
        ),
        (
            "listeners: [ { address: '127.0.0.1:1', tls: { certificates: [ { cert: Cargo.toml, key: Cargo.toml } ] } } ]\nstable: http://a".into(),
            ["1:40", "Cargo.toml has no certificate", "in PEM form"],
        ),
        (
            "listeners: [ { address: '127.0.0.1:1', tls: { certificates: [ { cert: config/certs/ca.pem, key: config/certs/shop.key } ] } } ]\nstable: http://a".into(),
            ["1:40", "config/certs/shop.key is not the key of config/certs/ca.pem", "is not the key"],
        ),
        (
            "listeners: [ { address: '127.0.0.1:1', tls: { certificates: [] } } ]\nstable: http://a".into(),
            ["1:47", "certificates is a list", "one certificate at least"],
        ),
        (shop("    errors: { grpcStatus: [17] }"), ["6:28", "grpcStatus[0] is 17", "from 0 to 16"]),
        (
            "listen: 127.0.0.1:0\nservices: { shop: { pools: { a: { endpoints: 'http://a', tls: { ca: /dev/null } } }, stable: a } }".into(),
            ["2:58", "tls does nothing", "no endpoint is https://"],
        ),
        (
            "listen: 127.0.0.1:0\nservices: { shop: { pools: { a: { endpoints: 'https://a', tls: { ca: /dev/null } } }, stable: a } }".into(),
            ["2:35", "/dev/null has no certificate", "in PEM form"],
        ),
        (three("identity: { user: [ { header: 'x id' } ] }"), ["3:23", "\"x id\"", "a header name is expected"]),
        (three("identity: { anonymous: cookies }"), ["3:13", "\"cookies\"", "did you mean `cookie`?"]),
        (three("flags: { headers: { prefix: x } }"), ["3:21", "flags.headers.prefix is \"x\"", "ends with `-`"]),
        (three("flags: { headers: { expose: [ 'a b' ] } }"), ["3:31", "\"a b\"", "a flag's name is"]),
        (
            three("accessLog: { format: clf }"),
            ["3:14", "accessLog.format is \"clf\"", "allowed: json, common, combined"],
        ),
        (three("accessLog: { to: access.log }"), ["3:14", "\"access.log\"", "a file has a `/`"]),
        (three("accessLog: { sample: 101 }"), ["3:14", "accessLog.sample is 101", "from 0 to 100"]),
        (three("log: { level: verbose }"), ["3:8", "\"verbose\"", "allowed: error, warn, info, debug, trace"]),
        (
            three("environment: ${SERIN_UNSET_VARIABLE}"),
            ["3:1", "${SERIN_UNSET_VARIABLE}", "SERIN_UNSET_VARIABLE is not set"],
        ),
        (three("environment: ${a-b}"), ["3:1", "${a-b}", "letters, digits and `_`"]),
        (three("drain: { delay: -1 }"), ["3:10", "drain.delay is -1", "a duration is seconds"]),
        (three("canary: {}"), ["3:1", "canary is a mapping", "a text is expected"]),
        (
            three("admin: { address: '127.0.0.1:8080' }"),
            ["3:10", "admin.address is 127.0.0.1:8080", "an address of its own"],
        ),
        (
            three("admin: { address: '127.0.0.1:1' }\nhealth: { address: '127.0.0.1:1' }"),
            ["4:11", "health.address is 127.0.0.1:1", "an address of its own"],
        ),
        (
            "listen: 0.0.0.0:8080\nstable: http://127.0.0.1:8080".into(),
            ["2:1", "http://127.0.0.1:8080 is where Serin itself listens", "an address of its own"],
        ),
        (three("<<: {}"), ["3:1", "unknown key `<<`", "mappings are not merged"]),
        (
            "listen: 127.0.0.1:0\nservices: { shop: { pools: {}, stable: a } }".into(),
            ["2:21", "services.shop.pools is a mapping", "one pool at least"],
        ),
        (shop("    canary: a"), ["6:5", "canary and stable are the same pool", "canary"]),
        (shop("    canary: c"), ["6:5", "services.shop.canary is \"c\"", "pools: a, b"]),
        (shop("    match: { path: shop }"), ["6:14", "services.shop.match.path is \"shop\"", "begins with `/`"]),
        (shop("    match: { hosts: ['*'] }"), ["6:22", "\"*\"", "for example shop.example.com or *.example.com"]),
        (shop("    connections: { queue: 5 }"), ["6:20", "queue does nothing without perEndpoint", "perEndpoint: 10"]),
        (
            shop("    timeouts: { connect: 0s }"),
            ["6:17", "services.shop.timeouts.connect is \"0s\"", "from 1ms to 24h"],
        ),
        (shop("    errors: { status: [200-] }"), ["6:24", "\"200-\"", "a range like 500-599"]),
        (shop("    retry: { attempts: 3 }"), ["6:14", "services.shop.retry.attempts is 3", "from 0 to 2"]),
        (shop("    retry: { on: [timeout] }"), ["6:19", "\"timeout\"", "allowed: connect, reset"]),
        (shop("    health: { interval: 1s }"), ["6:5", "services.shop.health has no `path`", "for example /up"]),
        (shop("    deploy: { stages: [] }"), ["6:15", "stages is empty", "for example 1, 5, 25, 100"]),
        (
            shop("    deploy: { stages: [ { percentage: 10, duration: 1m, maxErrorRate: 0.1 } ] }"),
            ["6:15", "the last stage is at 100 percent", "stages grow to 100"],
        ),
        (
            shop(&format!(
                "    deploy: {{ stages: [ {{ percentage: 130, duration: 1, maxErrorRate: 0.1 }}, {stage} ] }}"
            )),
            ["6:27", "percentage is 130", "from 0 to 100"],
        ),
        (
            shop("    deploy: { stages: [ { percentage: 100, duration: 1m, maxErrorRate: 5 } ] }"),
            ["6:58", "maxErrorRate is 5", "0.05 is 5 %"],
        ),
        (
            shop("    deploy: { guard: { falseRollback: 1 } }"),
            ["6:24", "falseRollback is 1", "above 0 and at most 0.5"],
        ),
        (shop("    deploy: { guard: { slowerThan: p20 } }"), ["6:24", "\"p20\"", "p50 to p99"]),
        (shop("    deploy: { include: [ { type: users, value: x } ] }"), ["6:28", "\"users\"", "did you mean `user`?"]),
        (shop("    overrides: { secret: plain-text }"), ["6:18", "\"plain-text\"", "a mapping is expected"]),
        (
            shop("  shop2: { pools: { a: { endpoints: 'http://127.0.0.1:1' } }, stable: a }"),
            ["6:3", "services shop and shop2 match the same host and path", "tells them apart"],
        ),
        (
            shop("  'a b': { match: { path: /x }, pools: { a: { endpoints: 'http://127.0.0.1:1' } }, stable: a }"),
            ["6:3", "`a b` is no name", "letters, digits"],
        ),
        (
            shop("  none: { match: { path: /x }, pools: { a: { endpoints: [] } }, stable: a }"),
            ["6:46", "endpoints is a list", "one app server at least"],
        ),
    ]
}

#[test]
fn every_mistake_is_named_with_its_place_what_was_found_and_what_is_allowed() {
    let broken = broken();
    assert!(broken.len() >= 40);
    let mut wrong = Vec::new();
    for (text, [place, found, allowed]) in broken {
        let error = config::from_text(&text, Path::new("serin.yaml")).expect_err(&text).to_string();
        let right = error.starts_with(&format!("serin.yaml:{place}"))
            && error.contains(found)
            && error.contains(allowed)
            // One mistake, one error.
            && error.matches("serin.yaml:").count() == 1;
        if !right {
            wrong.push(format!("{text}\n{error}\nis not {place} {found} … {allowed}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

const SEVEN: &str = "\
listen: 0.0.0.0:8080
workers: 0
services:
  shop:
    pools:
      blue: { endpoint: 'http://10.0.0.1' }
    stable: blue
    timeouts: { response: soon }
    deploy: { onFail: ignore, stages: [ { percentage: 101, duration: 1m, maxErrorRate: 0.1 } ] }
drain: { dealy: 1s }
";

#[test]
fn a_file_with_seven_mistakes_reports_seven() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serin.yaml");
    std::fs::write(&file, SEVEN).unwrap();
    let output = cli(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let text = errors(&output);
    let places: Vec<&str> =
        text.lines().filter_map(|line| line.split("serin.yaml:").nth(1)?.split(": ").next()).collect();
    assert_eq!(places, ["2:1", "6:7", "6:15", "8:17", "9:15", "9:43", "10:10"], "{text}");
    assert!(text.contains("did you mean `endpoints`?") && text.contains("did you mean `delay`?"), "{text}");
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn check(text: &str, variables: &[(&str, &str)]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serin.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.args(["check", "--config"]).arg(&file).envs(variables.iter().copied()).current_dir(folder.path());
    command.output().unwrap()
}

#[test]
fn exit_codes_are_fine_wrong_and_usage() {
    assert_eq!(check(&three(""), &[]).status.code(), Some(0));
    assert_eq!(check(&three("x: 1"), &[]).status.code(), Some(1));
    assert_eq!(check(&format!("\u{feff}{}", three("")), &[]).status.code(), Some(0), "a mark that editors write");
    assert_eq!(cli(&["check", "--config", "/no/such/file.yaml"]).status.code(), Some(1));
    assert_eq!(cli(&["check", "--nonsense"]).status.code(), Some(2));
}

#[test]
fn variables_are_filled_in_and_never_shown() {
    let text = "listen: ${HOST}:${PORT}\nstable: http://${APP}\nworkers: ${WORKERS}\nenvironment: '$${HOST}'\n";
    let set = [("HOST", "127.0.0.1"), ("PORT", "0"), ("APP", "127.0.0.1:1"), ("WORKERS", "2")];
    let output = check(text, &set);
    assert!(output.status.success(), "{}", errors(&output));
    let output = check(text, &[set[0], set[1], set[2], ("WORKERS", "hunter2")]);
    let text = errors(&output);
    assert!(text.contains("serin.yaml:3:1: workers is \"${WORKERS}\"") && !text.contains("hunter2"), "{text}");
    // Under names that are numbers, and in texts that other types form.
    for wrong in [
        "services: { 1: { pools: { 2: { endpoints: '${APP}' } }, stable: 2 } }",
        "stable: http://a\nflags: { headers: { expose: ['${APP}'] } }",
        "stable: http://a\nmetrics: { namespace: '${APP}' }",
    ] {
        let output = check(&format!("listen: 127.0.0.1:0\n{wrong}"), &[("APP", "hunter 2")]);
        let text = errors(&output);
        assert!(text.contains("${APP}") && !text.contains("hunter"), "{text}");
    }
    // What a variable says is never YAML.
    let output = check("listen: 127.0.0.1:0\nstable: ${APP}", &[("APP", "[ http://127.0.0.1:1 ]")]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn warnings_say_what_hardly_works_and_how_to_mend_it() {
    let text = shop(
        "    skew: { paths: /assets/ }\n    deploy: { include: [ { type: group, value: staff } ] }\n\
         identity: { user: [ { header: x-user-id } ], group: [ { cookie: g } ] }",
    );
    let output = check(&text, &[]);
    assert!(output.status.success());
    let warnings = errors(&output);
    assert!(warnings.contains("serin.yaml:7:15: warning: a rule for a group never matches"), "{warnings}");
    assert!(warnings.contains("serin.yaml:8:21: warning: the header x-user-id is believed from nobody"), "{warnings}");
    assert!(warnings.contains("hint: listeners: `trustedProxies:"), "{warnings}");
    let trusted = "listeners: [ { address: '127.0.0.1:0', trustedProxies: [127.0.0.0/8] } ]\nstable: http://a";
    assert_eq!(errors(&check(trusted, &[])), "");
    let anyone = "listen: 127.0.0.1:0\nstable: http://a\nidentity: { user: [ { header: x-id, trust: true } ] }";
    assert!(errors(&check(anyone, &[])).contains("believed from anyone"));
    let long =
        shop("    deploy: { maxDuration: 1h, stages: [ { percentage: 100, duration: 2h, maxErrorRate: 0.1 } ] }");
    assert!(errors(&check(&long, &[])).contains("serin.yaml:6:15: warning: the stage of 100 %"));
}

#[test]
fn flags_that_hardly_mean_what_they_say_are_told_by_check_and_at_the_start() {
    let mut serin =
        Serin::start("services: { shop: { pools: { a: { endpoints: 'http://127.0.0.1:1' } }, stable: a } }");
    serin.does(&["flags", "set", "never", "--rollout", "0"]);
    serin.does(&["flags", "set", "useless", "--rollout", "100", "--rules", r#"[{"type": "group", "value": "g"}]"#]);
    let file = serin.folder.path().join("serin.yaml");
    let told = errors(&cli(&["check", "--config", file.to_str().unwrap()]));
    for expected in ["the flag `never` is switched on, but nobody has it", "the flag `useless` is on for everybody"] {
        assert!(told.contains(expected), "{told}");
    }
    serin.restart();
    eventually("the warning", || serin.log().iter().any(|line| line.contains("the flag `never`")).then_some(()));
}

fn examples() -> Vec<PathBuf> {
    let files = std::fs::read_dir("config").unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|kind| kind == "yaml")).collect();
    assert!(files.len() >= 3, "{files:?}");
    files
}

/// The full example names every key; the schema's own leaves say which there are.
#[test]
fn the_full_example_has_every_key() {
    let text = std::fs::read_to_string("config/full.yaml").unwrap();
    let full: serde_json::Value = serde_yaml::from_str(&text).unwrap();
    let only_elsewhere = ["listen", "stable", "canary"];
    let missing: Vec<String> = common::keys::leaves(&config::schema())
        .into_iter()
        .filter(|path| !only_elsewhere.contains(&path.as_str()) && !common::keys::has(&full, path))
        .collect();
    // Groups and attributes stand in the same places as users.
    let elsewhere = ["identity.group[]", "identity.attributes.*"];
    let missing: Vec<&String> =
        missing.iter().filter(|key| !elsewhere.iter().any(|start| key.starts_with(start))).collect();
    assert_eq!(missing, ["identity.session[].header"]);
}

/// As editors and linters do: python's jsonschema.
#[test]
fn the_schema_takes_every_example_and_refuses_what_it_can_know_to_be_wrong() {
    if !python_has("jsonschema") {
        return;
    }
    let seven: serde_json::Value = serde_yaml::from_str(SEVEN).unwrap();
    let good = examples().into_iter().map(|file| std::fs::read_to_string(file).unwrap());
    let good: Vec<serde_json::Value> = good.map(|text| serde_yaml::from_str(&text).unwrap()).collect();
    let program = "
import json, sys, jsonschema
schema, good, bad = json.load(sys.stdin)
validator = jsonschema.Draft7Validator(schema)
jsonschema.Draft7Validator.check_schema(schema)
for document in good:
    validator.validate(document)
print(len(list(validator.iter_errors(bad))))
";
    let schema: serde_json::Value = serde_json::from_slice(&cli(&["schema"]).stdout).unwrap();
    let empty = three("workers:\nenvironment:\nlimits:\ndrain: { delay: }\nlog: { level: }");
    assert!(config::from_text(&empty, Path::new("serin.yaml")).is_ok(), "an empty key is as good as none");
    let good: Vec<serde_json::Value> = good.into_iter().chain([serde_yaml::from_str(&empty).unwrap()]).collect();
    let count: usize = common::python(program, &json!([schema, good, seven])).trim().parse().unwrap();
    assert_eq!(count, 7);
}

#[test]
fn the_level_of_the_log_changes_while_it_runs() {
    let shop = "services: { shop: { pools: { a: { endpoints: 'http://127.0.0.1:1' } }, stable: a } }";
    // It is heard to start in text, and speaks JSON where that is asked for.
    let serin = Serin::start(&format!("{shop}\nlog: {{ level: info }}"));
    let debug = || serin.log().iter().filter(|line| line.contains("DEBUG")).count();
    assert_eq!(common::http::get(serin.proxy, "/", "").status, 502);
    assert_eq!(serin.does(&["log"]).trim(), "info");
    assert_eq!(debug(), 0);
    assert_eq!(serin.does(&["log", "debug"]).trim(), "debug");
    assert_eq!(common::http::get(serin.proxy, "/", "").status, 502);
    eventually("a line of single requests", || (debug() > 0).then_some(()));
    let refused = serin.cli(&["log", "loud"]);
    assert!(errors(&refused).contains("loud") && errors(&refused).contains("`error`"), "{}", errors(&refused));
    serin.write_config(&format!("{shop}\nlog: {{ level: error }}"));
    eventually("the reload", || (serin.does(&["log"]).trim() == "error").then_some(()));
}
