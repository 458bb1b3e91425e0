//! What is in `deploy/`: each file by its own schema or linter, and its names against a running Serin.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::app::answering;
use common::http::get;
use common::{Serin, cli, have};
use serde_json::Value;
use serin::config;

/// A program that has to be content; nothing where it is not installed.
fn content(program: &str, args: &[&str]) -> String {
    if !have(program) {
        return String::new();
    }
    let output = Command::new(program).args(args).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{program} {args:?}: {said}");
    said
}

#[test]
fn the_image_is_built_as_its_linter_wants_it() {
    content("hadolint", &["deploy/Dockerfile"]);
    let text = std::fs::read_to_string("deploy/Dockerfile").unwrap();
    // What the build needs is not kept from it, and the commands that it names exist.
    let sent = std::fs::read_to_string(".dockerignore").unwrap();
    for needed in ["src", "benches", "examples", "Cargo.toml", "Cargo.lock"] {
        assert!(sent.lines().any(|line| line == format!("!{needed}")), "{needed} does not reach the build");
    }
    assert!(text.contains("USER 10001") && text.contains("HEALTHCHECK"));
    let serin = Serin::start("services: { shop: { pools: { a: { endpoints: 'http://127.0.0.1:1' } }, stable: a } }");
    serin.does(&["ready"]);
    let unreachable = cli(&["--admin", "http://127.0.0.1:1", "ready"]);
    assert_eq!(unreachable.status.code(), Some(1));
}

#[test]
fn the_compose_file_is_one_and_names_files_that_are_there() {
    content("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", "deploy/compose/compose.yaml"]);
    let text = std::fs::read_to_string("deploy/compose/compose.yaml").unwrap();
    let mut document: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    document.apply_merge().unwrap();
    let services = document["services"].as_mapping().unwrap();
    let volumes = services.values().flat_map(|service| service["volumes"].as_sequence().into_iter().flatten());
    for volume in volumes.filter_map(|volume| volume.as_str()).filter(|volume| volume.starts_with('.')) {
        let file = Path::new("deploy/compose").join(volume.split(':').next().unwrap());
        assert!(file.exists(), "{}", file.display());
    }
    let config = config::load(Path::new("deploy/compose/config/serin.yaml")).unwrap();
    let hosts = config.services[0].pools.iter().flat_map(|pool| &pool.endpoints).map(|endpoint| endpoint.host.as_str());
    for host in hosts {
        assert!(services.contains_key(host), "no service is called {host}");
    }
}

/// The sample app of the compose file, behind Serin, as a release that goes well.
#[test]
fn the_sample_app_answers_through_serin() {
    if !have("python3") {
        return;
    }
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let app = |version: &str, port: u16| {
        let mut python = Command::new("python3");
        python.arg("deploy/compose/app.py").env("VERSION", version).env("PORT", port.to_string());
        common::Process::from(python.spawn().unwrap())
    };
    // Both are held before either is let go: two of them are never the same.
    let held = [free(), free()];
    let [one, two] = held.each_ref().map(|listener| listener.local_addr().unwrap().port());
    drop(held);
    let _apps = (app("v1", one), app("v2", two));
    let serin = Serin::start(&format!(
        "services: {{ shop: {{ pools: {{ a: {{ endpoints: 'http://127.0.0.1:{one}' }}, \
         b: {{ endpoints: 'http://127.0.0.1:{two}' }} }}, stable: a, canary: b }} }}"
    ));
    serin.does(&["flags", "set", "new-cart", "--rollout", "100"]);
    let text = common::eventually("v1", || {
        let answer = get(serin.proxy, "/", "");
        (answer.status == 200).then(|| answer.text())
    });
    assert_eq!(text, "v1, flags: x-feature-new-cart\n");
    common::eventually("v2", || {
        serin.cli(&["deploy", "instant", "v2"]);
        get(serin.proxy, "/", "").text().starts_with("v2").then_some(())
    });
}

#[test]
fn the_unit_and_the_manifests_are_valid_and_carry_good_configurations() {
    let folder = tempfile::tempdir().unwrap();
    // systemd wants to see the program; a checkout does not install it.
    let unit = std::fs::read_to_string("deploy/systemd/serin.service").unwrap();
    let unit = unit.replace("/usr/local/bin/serin", env!("CARGO_BIN_EXE_serin"));
    let (service, socket) = (folder.path().join("serin.service"), folder.path().join("serin.socket"));
    std::fs::write(&service, unit).unwrap();
    std::fs::copy("deploy/systemd/serin.socket", &socket).unwrap();
    // It says what it ignores, and is content all the same.
    let said = content("systemd-analyze", &["verify", "--man=no", service.to_str().unwrap(), socket.to_str().unwrap()]);
    assert_eq!(said, "");
    content("kubernetes-validate", &["-k", "1.34", "--strict", "deploy/kubernetes/serin.yaml"]);
    let text = std::fs::read_to_string("deploy/kubernetes/serin.yaml").unwrap();
    let map: serde_yaml::Value =
        serde::Deserialize::deserialize(serde_yaml::Deserializer::from_str(&text).next().unwrap()).unwrap();
    let carried = map["data"]["serin.yaml"].as_str().unwrap();
    let config = config::from_text(carried, Path::new("serin.yaml")).unwrap();
    assert!(config.warnings.is_empty());
    let grace = config.drain.delay + config.drain.timeout;
    assert!(text.contains("terminationGracePeriodSeconds: 45") && grace.as_secs() < 45, "it may drain to its end");
}

#[test]
fn the_alerts_are_rules_that_fire_when_they_should() {
    content("promtool", &["check", "rules", "deploy/prometheus/serin.rules.yml"]);
    content("promtool", &["test", "rules", "deploy/prometheus/serin.rules.test.yml"]);
}

/// Names of metrics in a PromQL expression.
fn names(expression: &str, prefixes: &[&str]) -> Vec<String> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix))).map(str::to_owned).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_a_running_serin_has() {
    let answer = |status: &'static str| answering(move |_| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
    let serin = Serin::start(&format!(
        "accessLog: {{ to: stderr }}\nservices: {{ shop: {{ pools: {{ a: {{ endpoints: 'http://{}' }}, \
         b: {{ endpoints: 'http://{}' }} }}, stable: a, canary: b }} }}",
        answer("200 OK"),
        answer("500 E")
    ));
    serin.does(&["flags", "set", "f", "--rollout", "50"]);
    // One that fails, for the counters of rollbacks; then one that runs.
    serin.does(&["deploy", "start", "v2", "--strategy", "instant"]);
    common::eventually("the rollback", || {
        get(serin.proxy, "/", &format!("x-user-id: {}\r\n", serin.log().len()));
        (serin.metrics().sum("serin_rollbacks_total", &[]) > 0.0).then_some(())
    });
    serin.does(&["deploy", "start", "v3"]);
    get(serin.proxy, "/", "");
    let known: BTreeSet<String> = serin.metrics().names();
    let (guides, own) = ("togetheros_", "serin_");
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string("deploy/grafana/serin.json").unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut used: Vec<String> =
        targets.flat_map(|target| names(target["expr"].as_str().unwrap(), &[guides, own])).collect();
    let panels = used.len();
    let rules: serde_yaml::Value =
        serde_yaml::from_str(&std::fs::read_to_string("deploy/prometheus/serin.rules.yml").unwrap()).unwrap();
    let rules = rules["groups"][0]["rules"].as_sequence().unwrap();
    used.extend(rules.iter().flat_map(|rule| names(rule["expr"].as_str().unwrap(), &[guides, own])));
    assert!(panels > 20 && used.len() - panels >= rules.len());
    let unknown: Vec<&String> = used.iter().filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "{unknown:?} are not among {known:?}");
}
