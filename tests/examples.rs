//! The apps of `examples/apps`, each behind a real Serin: their pages follow flags and tracks, their own
//! word about errors counts, and SIGTERM ends them in peace.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::print_stderr)]

mod common;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::http::{connect, get, read_answer, request};
use common::{Process, Serin, eventually, have, signal};
use serin::config;

const APPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/apps");

/// A running app; `variables` come to `PORT` and `VERSION`.
fn start(mut program: Command, variables: &[(&str, &str)]) -> (Process, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    program.env("PORT", address.port().to_string()).env("VERSION", "v7").envs(variables.iter().copied());
    let mut process = Process::from(program.spawn().unwrap());
    eventually("the app listens", || {
        assert_eq!(process.child.try_wait().unwrap(), None, "it has ended");
        std::net::TcpStream::connect(address).ok()
    });
    (process, address)
}

fn text(address: SocketAddr, path: &str) -> String {
    let answer = get(address, path, "");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text()
}

/// All that is said of an app, of one that `program` starts.
fn keeps_its_word(program: impl Fn() -> Command) {
    let (mut process, address) = start(program(), &[]);
    assert_eq!(text(address, "/healthz"), "ok\n");
    assert_eq!(text(address, "/version"), "v7\n");
    assert_eq!(get(address, "/nowhere", "").status, 404);
    // Without Serin, each flag is what the app takes for its default.
    assert_eq!(text(address, "/"), "The old dashboard in black, v7 on no track\n");
    assert_eq!(get(address, "/", "x-feature-new-dashboard: 1\r\n").text(), text(address, "/"));
    assert_eq!(text(address, "/search"), "3 results, v7 on no track\n");

    let pools = format!("pools: {{ a: {{ endpoints: 'http://{address}' }} }}, stable: a, health: {{ path: /healthz }}");
    let serin = Serin::start(&format!("services: {{ shop: {{ {pools} }} }}"));
    assert_eq!(text(serin.proxy, "/"), "The old dashboard in black, v7 on stable\n");
    serin.does(&["flags", "set", "new-dashboard", "--rollout", "100"]);
    assert_eq!(text(serin.proxy, "/"), "The new dashboard in black, v7 on stable\n");
    // A client cannot switch it back.
    assert_eq!(get(serin.proxy, "/", "x-feature-new-dashboard: false\r\n").text(), text(serin.proxy, "/"));
    let color = r##"{"variants": {"red": {"value": "#f00"}}, "defaultVariant": "red"}"##;
    serin.does(&["flags", "set", "color", "--rollout", "100", "--fields", color]);
    assert_eq!(text(serin.proxy, "/"), "The new dashboard in #f00, v7 on stable\n");
    serin.does(&["flags", "disable", "new-dashboard"]);
    assert_eq!(text(serin.proxy, "/"), "The old dashboard in #f00, v7 on stable\n");

    // A page of status 200 that is an error: Serin counts it, the client gets it and nothing of the word.
    let errors = |serin: &Serin| serin.metrics().sum("serin_outcomes_total", &["outcome=\"app\""]);
    assert_eq!((text(serin.proxy, "/search").as_str(), errors(&serin)), ("3 results, v7 on stable\n", 0.0));
    serin.does(&["flags", "set", "new-search", "--rollout", "100"]);
    let sorry = get(serin.proxy, "/search", "");
    assert_eq!((sorry.status, sorry.text().as_str()), (200, "Sorry, we found nothing.\n"));
    assert_eq!((sorry.header("x-serin-outcome"), sorry.header("cache-control")), (None, Some("private, no-store")));
    assert_eq!(errors(&serin), 1.0);

    // Its end does not wait for who is connected and says nothing.
    let mut idle = connect(address);
    std::io::Write::write_all(&mut idle, request("/", "").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut idle, false).status, 200);
    signal(process.child.id(), rustix::process::Signal::TERM);
    let status = eventually("the app's end", || process.child.try_wait().unwrap());
    assert!(status.success(), "{status}");

    let (_failing, address) = start(program(), &[("FAIL_RATE", "1")]);
    assert_eq!((get(address, "/", "").status, get(address, "/search", "").status), (500, 500));
    assert_eq!(get(address, "/healthz", "").status, 200);
}

#[test]
fn the_app_for_python() {
    if have("python3") {
        keeps_its_word(|| {
            let mut python = Command::new("python3");
            python.arg(Path::new(APPS).join("python/app.py")).env("PYTHONDONTWRITEBYTECODE", "1");
            python
        });
    }
}

#[test]
fn the_app_for_node() {
    if have("node") {
        keeps_its_word(|| {
            let mut node = Command::new("node");
            node.arg(Path::new(APPS).join("node/app.js"));
            node
        });
    }
}

/// `go run` starts another process and does not hand signals on: the program is built here.
#[test]
fn the_app_for_go() {
    if !have("go") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("shop");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(".").current_dir(Path::new(APPS).join("go"));
    // The same cache as other tests', so that the standard library is built once.
    go.env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go")).env("GOFLAGS", "-buildvcs=false");
    assert!(go.status().unwrap().success());
    keeps_its_word(|| Command::new(&program));
}

#[test]
fn the_app_for_rust() {
    let built = Path::new(env!("CARGO_BIN_EXE_serin")).with_file_name("examples").join("app");
    // `cargo test` builds it, `cargo test --test examples` does not.
    assert!(built.exists() || std::env::var_os("CI").is_none(), "the example `app` was not built, and this is CI");
    if !built.exists() {
        eprintln!("SKIPPED: the example `app` is not built (cargo build --example app)");
        return;
    }
    keeps_its_word(|| Command::new(&built));
}

#[test]
fn the_compose_file_is_one_and_runs_what_is_there() {
    let file = Path::new(APPS).join("compose.yaml");
    if have("check-jsonschema") {
        let mut check = Command::new("check-jsonschema");
        check.args(["--builtin-schema", "vendor.compose-spec"]).arg(&file);
        let output = check.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let mut document: serde_yaml::Value = serde_yaml::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    document.apply_merge().unwrap();
    let services = document["services"].as_mapping().unwrap();
    for service in services.values() {
        let volumes = service["volumes"].as_sequence().into_iter().flatten().filter_map(|volume| volume.as_str());
        let mounted: Vec<(PathBuf, &str)> = volumes
            .filter(|volume| volume.starts_with('.'))
            .map(|volume| volume.split_once(':').unwrap())
            .map(|(here, there)| (Path::new(APPS).join(here), there.split(':').next().unwrap()))
            .collect();
        assert!(mounted.iter().all(|(here, _)| here.exists()), "{mounted:?}");
        // What is run is mounted.
        let command = service["command"].as_sequence().into_iter().flatten().filter_map(|word| word.as_str());
        for program in command.filter(|word| word.ends_with(".py")) {
            assert!(mounted.iter().any(|(_, there)| *there == program), "{program} is not mounted");
        }
    }
    let build = &document["services"]["serin"]["build"];
    let context = Path::new(APPS).join(build["context"].as_str().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).exists());
    let config = config::load(&Path::new(APPS).join("config/serin.yaml")).unwrap();
    assert!(config.warnings.is_empty());
    for endpoint in config.services[0].pools.iter().flat_map(|pool| &pool.endpoints) {
        assert!(services.contains_key(endpoint.host.as_str()), "no service is called {}", endpoint.host);
    }
}
