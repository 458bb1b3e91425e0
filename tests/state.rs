//! State files: what survives what, and that traffic never waits for any of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::app::answering;
use common::http::get;
use common::{Serin, eventually};
use serde_json::{Value, json};

fn shop() -> Serin {
    let app = |name: &'static str| {
        answering(move |_| format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
    };
    Serin::start(&format!(
        "services:\n  shop:\n    pools:\n      blue: {{ endpoints: 'http://{}', version: v1 }}\n      \
         green: {{ endpoints: 'http://{}' }}\n    stable: blue\n    canary: green\n",
        app("blue"),
        app("green")
    ))
}

fn state(serin: &Serin, name: &str) -> PathBuf {
    serin.folder.path().join("state").join(name)
}

fn put_aside(serin: &Serin, name: &str) -> usize {
    let files = fs::read_dir(serin.folder.path().join("state")).unwrap().map(|file| file.unwrap().file_name());
    files.filter(|file| file.to_string_lossy().starts_with(&format!("{name}.corrupt-"))).count()
}

/// Ends it, changes its files, starts it again.
fn restart_with(serin: &mut Serin, change: impl FnOnce(&Path)) {
    serin.kill();
    change(&serin.folder.path().join("state"));
    serin.start_again();
}

#[test]
fn every_file_broken_anywhere_is_put_aside_and_nothing_good_is_lost() {
    let mut serin = shop();
    serin.does(&["flags", "set", "a", "--rollout", "30"]);
    serin.does(&["flags", "set", "b", "--rollout", "60"]);
    serin.does(&["deploy", "start", "v2"]);
    serin.does(&["deploy", "advance"]);
    eventually("two checkpoints", || state(&serin, "checkpoint.json.bak").exists().then_some(()));
    serin.kill();
    let folder = serin.folder.path().join("state");
    let files = ["feature-flags.json", "deploy-state.json", "checkpoint.json"];
    let good: Vec<Vec<u8>> = files.iter().map(|name| fs::read(folder.join(name)).unwrap()).collect();
    let copies: Vec<Vec<u8>> = files.iter().map(|name| fs::read(folder.join(format!("{name}.bak"))).unwrap()).collect();
    type Break = Box<dyn Fn(&[u8]) -> Vec<u8>>;
    // Each of 200 offsets over the three files, and what a crash or a stranger may leave.
    for (index, name) in files.iter().enumerate() {
        let mut breaks: Vec<(String, Break)> = vec![
            ("emptied".into(), Box::new(|_| Vec::new())),
            ("truncated".into(), Box::new(|bytes| bytes[..bytes.len() / 2].to_vec())),
            ("zeroed".into(), Box::new(|bytes| vec![0; bytes.len()])),
            ("of another version".into(), Box::new(|_| br#"{ "format": 9, "data": [1, 2, 3] }"#.to_vec())),
        ];
        let length = good[index].len();
        for n in 0..67 {
            let offset = n * (length - 2) / 66;
            let broken = move |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                // No longer UTF-8: whatever stood there.
                bytes[offset] |= 0x80;
                bytes
            };
            breaks.push((format!("broken at {offset}"), Box::new(broken)));
        }
        for (how, change) in breaks {
            for (name, (good, copy)) in files.iter().zip(good.iter().zip(&copies)) {
                fs::write(folder.join(name), good).unwrap();
                fs::write(folder.join(format!("{name}.bak")), copy).unwrap();
            }
            let aside = put_aside(&serin, name);
            fs::write(folder.join(name), change(&good[index])).unwrap();
            serin.start_again();
            assert_eq!(get(serin.proxy, "/", "").status, 200, "{name} {how}: it serves");
            assert_eq!(put_aside(&serin, name), aside + 1, "{name} {how}: the broken file is kept");
            assert_eq!(serin.metrics().sum("serin_state_recovered", &[]), 1.0, "{name} {how}: it says so");
            let flags = serin.get("/api/flags");
            let flags: Vec<&str> =
                flags["flags"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
            let running = serin.deployment();
            let expected = match *name {
                // The copy is the file before the last change.
                "feature-flags.json" => (vec!["a"], 50.0),
                "deploy-state.json" => (vec!["a", "b"], 10.0),
                _ => (vec!["a", "b"], 50.0),
            };
            let share = running["currentPercentage"].as_f64().unwrap();
            // The state is written as it was before a command, too: the copy has the state before the last one.
            assert_eq!((flags, share), expected, "{name} {how}");
            serin.kill();
        }
    }
}

#[test]
fn without_a_good_copy_everybody_is_on_stable() {
    let mut serin = shop();
    serin.does(&["deploy", "start", "v2"]);
    serin.does(&["deploy", "promote"]);
    restart_with(&mut serin, |state| {
        fs::write(state.join("deploy-state.json"), "{").unwrap();
        fs::write(state.join("deploy-state.json.bak"), "{").unwrap();
    });
    assert_eq!(get(serin.proxy, "/", "x-user-id: u\r\n").text(), "blue");
    assert_eq!(serin.metrics().sum("serin_state_recovered", &[]), 1.0);
}

#[test]
fn a_rollback_never_comes_back_even_from_the_copy() {
    let mut serin = shop();
    serin.does(&["deploy", "start", "v2"]);
    serin.does(&["deploy", "rollback", "--reason", "bad"]);
    restart_with(&mut serin, |state| fs::write(state.join("deploy-state.json"), "{ broken").unwrap());
    let last = serin.deployment();
    assert_eq!((&last["status"], &last["rollbackReason"]), (&json!("rolled_back"), &json!("bad")));
    assert_eq!(serin.api("GET", "/api/deployment", &Value::Null).0, 404);
}

#[test]
fn flags_edited_by_hand_are_in_force_within_a_second() {
    let serin = shop();
    serin.does(&["flags", "set", "a", "--rollout", "0"]);
    let path = state(&serin, "feature-flags.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"rolloutPercentage\": 0", "\"rolloutPercentage\": 100")).unwrap();
    eventually("in force", || serin.does(&["flags", "eval", "a", "--user", "u"]).contains("a is on").then_some(()));
    // And what Serin writes next rests on it.
    serin.does(&["flags", "set", "b"]);
    assert_eq!(serin.state_file("feature-flags.json")["flags"]["a"]["rolloutPercentage"], 100);
}

#[test]
fn a_broken_edit_is_left_as_it_is_and_protected() {
    let serin = shop();
    serin.does(&["flags", "set", "a", "--rollout", "100"]);
    let path = state(&serin, "feature-flags.json");
    let good = fs::read_to_string(&path).unwrap();
    let broken = good.replacen('{', "{ oops", 1);
    fs::write(&path, &broken).unwrap();
    let set = || serin.api("PUT", "/api/flags/b", &json!({ "enabled": true, "rolloutPercentage": 1 }));
    // Before it was noticed and after: refused in any case.
    let (status, problem) = set();
    assert_eq!((status, &problem["code"]), (409, &json!("fileChanged")), "{problem}");
    eventually("noticed", || set().1["detail"].as_str().unwrap().contains("is broken").then_some(()));
    assert!(serin.does(&["flags", "eval", "a", "--user", "u"]).contains("a is on"), "the old flags stay");
    assert_eq!(fs::read_to_string(&path).unwrap(), broken, "nobody wrote over it");
    let refused = serin.cli(&["flags", "reload"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--discard"));
    serin.does(&["flags", "reload", "--discard"]);
    assert_eq!(set().0, 200);
    assert_eq!(put_aside(&serin, "feature-flags.json"), 1, "what the hand wrote is kept");
    // Mended by hand it is as good.
    fs::write(&path, &broken).unwrap();
    eventually("noticed again", || (set().0 == 409).then_some(()));
    fs::write(&path, &good).unwrap();
    eventually("mended", || (set().0 == 200).then_some(()));
}

/// A folder in the place of the temporary file: every write of this file fails.
fn disk_refuses(serin: &Serin, name: &str) -> PathBuf {
    let path = state(serin, &format!("{name}.tmp"));
    fs::create_dir(&path).unwrap();
    path
}

#[test]
fn what_cannot_be_written_is_not_carried_out_but_a_rollback_is() {
    let serin = shop();
    serin.does(&["flags", "set", "a", "--rollout", "0"]);
    serin.does(&["deploy", "start", "v2"]);
    let (flags, deployments) = (disk_refuses(&serin, "feature-flags.json"), disk_refuses(&serin, "deploy-state.json"));
    let (status, problem) = serin.api("PATCH", "/api/flags/a", &json!({ "rolloutPercentage": 100 }));
    assert_eq!((status, &problem["code"]), (503, &json!("notDurable")));
    assert!(serin.does(&["flags", "eval", "a", "--user", "u"]).contains("a is off"));
    let (status, problem) = serin.api("POST", "/api/deployment/advance", &json!({}));
    assert_eq!((status, &problem["code"]), (503, &json!("notDurable")));
    assert_eq!(serin.deployment()["currentPercentage"], 10);
    assert!(serin.metrics().sum("serin_state_write_errors_total", &[]) >= 2.0);
    let (status, answer) = serin.api("POST", "/api/deployment/rollback", &json!({}));
    assert_eq!((status, &answer["status"], &answer["durable"]), (200, &json!("rolled_back"), &json!(false)));
    assert_eq!(get(serin.proxy, "/", "").status, 200, "traffic goes on");
    fs::remove_dir(flags).unwrap();
    fs::remove_dir(deployments).unwrap();
    eventually("tried again", || {
        let file = serin.state_file("deploy-state.json");
        (file["services"]["shop"]["history"][0]["status"] == "rolled_back").then_some(())
    });
    assert_eq!(serin.api("PATCH", "/api/flags/a", &json!({ "rolloutPercentage": 100 })).0, 200);
}

#[test]
fn a_guards_decision_needs_no_disk() {
    let serin = shop();
    serin.does(&[
        "deploy",
        "start",
        "v2",
        "--stages",
        r#"[{"percentage":100,"duration":3600,"minRequests":1,"maxErrorRate":0.1}]"#,
    ]);
    let _refused = disk_refuses(&serin, "deploy-state.json");
    serin.api("POST", "/api/outcomes", &json!({ "track": "canary", "error": true }));
    eventually("rolled back", || (serin.deployment()["status"] == "rolled_back").then_some(()));
    assert_eq!(get(serin.proxy, "/", "x-user-id: u\r\n").text(), "blue");
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let serin = shop();
    let output = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["run", "--config"])
        .arg(serin.folder.path().join("serin.yaml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("another Serin uses this state folder"), "{text}");
    assert!(text.contains(&format!("process {} has it locked", serin.pid())), "{text}");
}

#[test]
fn a_deployment_whose_pool_is_gone_ends_and_stable_serves() {
    let mut serin = shop();
    serin.does(&["deploy", "start", "v2"]);
    serin.kill();
    let file = serin.folder.path().join("serin.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("green", "purple")).unwrap();
    serin.start_again();
    let last = serin.deployment();
    assert_eq!((&last["status"], &last["rollbackReason"]), (&json!("rolled_back"), &json!("pool removed")));
    assert_eq!(get(serin.proxy, "/", "").text(), "blue");
}
