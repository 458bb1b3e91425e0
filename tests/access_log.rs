//! A line for every request: complete, true, one line whatever clients say, and never in the way.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::path::PathBuf;

use common::app::{Do, Scripted, answering, echo};
use common::http::{connect, exchange, get};
use common::{Serin, cli, eventually};
use rustix::process::Signal;
use serde_json::Value;

fn config(stable: &str, canary: &str, log: &str) -> String {
    format!(
        "accessLog: {{ {log} }}\nidentity: {{ anonymous: stable }}\nlimits: {{ headerTimeout: 200ms }}\n\
         drain: {{ delay: 0s, timeout: 5s }}\nservices: {{ shop: {{ match: {{ hosts: shop.test }}, \
         pools: {{ a: {{ endpoints: 'http://{stable}' }}, \
         b: {{ endpoints: 'http://{canary}' }} }}, stable: a, canary: b }} }}"
    )
}

struct Logged {
    serin: Serin,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

fn logged(stable: &str, canary: &str, more: &str) -> Logged {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let serin = Serin::start(&config(stable, canary, &format!("to: '{}'{more}", file.display())));
    Logged { serin, file, _folder: folder }
}

impl Logged {
    fn lines(&self) -> Vec<String> {
        std::fs::read_to_string(&self.file).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The newest line, once there are so many.
    fn line(&self, count: usize) -> Value {
        let lines = eventually("the line", || Some(self.lines()).filter(|lines| lines.len() >= count));
        assert_eq!(lines.len(), count, "{lines:?}");
        serde_json::from_str(lines.last().unwrap()).unwrap()
    }
}

#[test]
fn a_line_says_what_was_asked_where_it_went_and_what_came_of_it() {
    let canary = Scripted::start();
    let log = logged(&echo("stable").to_string(), &canary.address.to_string(), "");
    let proxy = log.serin.proxy;
    let sent =
        get(proxy, "/cart?x=1", "x-user-id: anna\r\nx-request-id: r-1\r\nuser-agent: a\"\\b\r\nreferer: /here\r\n");
    let line = log.line(1);
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let expected = [
        ("client", "127.0.0.1"),
        ("requestId", "r-1"),
        ("method", "GET"),
        ("host", "shop.test"),
        ("target", "/cart?x=1"),
        ("protocol", "HTTP/1.1"),
        ("end", "complete"),
        ("service", "shop"),
        ("track", "stable"),
        ("reason", "none"),
        ("outcome", "success"),
        ("pool", "a"),
        ("referer", "/here"),
        ("userAgent", "a\"\\b"),
    ];
    for (key, value) in expected {
        assert_eq!(text(&line, key), value, "{key} in {line}");
    }
    assert_eq!((line["status"].as_u64(), line["bytes"].as_u64()), (Some(200), Some(sent.body.len() as u64)));
    assert!(line["duration"].as_f64().unwrap() >= line["latency"].as_f64().unwrap());
    assert!(text(&line, "endpoint").contains("127.0.0.1") && !line.to_string().contains("anna"), "{line}");
    let again = get(proxy, "/", "x-user-id: anna\r\n");
    assert_eq!(again.status, 200);
    assert_eq!(text(&log.line(2), "user"), text(&line, "user"), "the same user, without the id");

    // The canary fails, stable answers: the outcome is the canary's.
    canary.plays(&[Do::Send("HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n")]);
    log.serin.does(&["deploy", "start", "v2", "--strategy", "instant"]);
    assert_eq!(get(proxy, "/", "x-user-id: anna\r\n").status, 200);
    let line = log.line(3);
    for (key, value) in [("track", "canary"), ("outcome", "status"), ("rescue", "shield"), ("pool", "a")] {
        assert_eq!(text(&line, key), value, "{key} in {line}");
    }
    // It breaks off.
    canary.plays(&[Do::Send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Do::Close]);
    assert!(!get(proxy, "/", "x-user-id: anna\r\n").complete);
    let line = log.line(4);
    assert_eq!((text(&line, "end"), text(&line, "outcome")), ("truncated".into(), "truncated".into()), "{line}");
    // The client leaves.
    canary.plays(&[Do::Hang]);
    let mut client = connect(proxy);
    std::io::Write::write_all(&mut client, b"GET /slow HTTP/1.1\r\nhost: shop.test\r\nx-user-id: anna\r\n\r\n")
        .unwrap();
    eventually("its request", || canary.requests().iter().any(|head| head.starts_with("GET /slow")).then_some(()));
    drop(client);
    let line = log.line(5);
    assert_eq!((line["status"].as_u64(), text(&line, "end")), (Some(499), "clientLeft".into()), "{line}");
    assert_eq!(line["outcome"], Value::Null, "it left early: nobody's outcome");
}

#[test]
fn what_serin_refuses_is_written_too() {
    let log = logged(&echo("a").to_string(), &echo("b").to_string(), "");
    let proxy = log.serin.proxy;
    let own = exchange(proxy, b"GET / HTTP/1.1\r\nhost: elsewhere.test\r\nconnection: close\r\n\r\n");
    let line = log.line(1);
    assert_eq!((line["status"].as_u64(), line["error"].as_str()), (Some(404), Some("noService")), "{line}");
    assert_eq!(line["bytes"].as_u64(), Some(own.body.len() as u64));
    exchange(proxy, b"GET / HTTP/1.1\r\nhost: a\r\n folded: x\r\n\r\n");
    let line = log.line(2);
    assert_eq!((line["status"].as_u64(), line["error"].as_str()), (Some(400), Some("parser")), "{line}");
    let mut slow = connect(proxy);
    std::io::Write::write_all(&mut slow, b"GET / HT").unwrap();
    let line = log.line(3);
    assert_eq!((line["status"].as_u64(), line["error"].as_str()), (Some(408), Some("headerTimeout")), "{line}");
}

#[test]
fn a_request_that_is_cut_at_the_end_has_its_line() {
    let app = Scripted::start();
    app.plays(&[Do::Hang]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let more = format!("to: '{}'", file.display());
    let config =
        config(&app.address.to_string(), &app.address.to_string(), &more).replace("timeout: 5s", "timeout: 100ms");
    let mut serin = Serin::start(&config);
    let mut client = connect(serin.proxy);
    std::io::Write::write_all(&mut client, b"GET /cut HTTP/1.1\r\nhost: shop.test\r\n\r\n").unwrap();
    eventually("its request", || (!app.requests().is_empty()).then_some(()));
    serin.signal(Signal::TERM);
    assert!(serin.ends().success());
    let line: Value = serde_json::from_str(std::fs::read_to_string(&file).unwrap().trim()).unwrap();
    assert_eq!((line["target"].as_str(), line["end"].as_str()), (Some("/cut"), Some("cut")), "{line}");
    assert_eq!((line["status"].as_u64(), &line["outcome"]), (Some(0), &Value::Null), "nobody's fault");
}

#[test]
fn a_file_that_was_moved_is_opened_anew_and_sigterm_loses_no_line() {
    let mut log = logged(&echo("a").to_string(), &echo("b").to_string(), ", format: common");
    let ask = |count: usize| (0..count).for_each(|_| assert_eq!(get(log.serin.proxy, "/", "").status, 200));
    ask(5);
    eventually("the lines", || (log.lines().len() == 5).then_some(()));
    let moved = log.file.with_extension("1");
    std::fs::rename(&log.file, &moved).unwrap();
    let mut asked = 5;
    eventually("another file", || {
        ask(1);
        asked += 1;
        log.file.exists().then_some(())
    });
    ask(20);
    asked += 20;
    log.serin.signal(Signal::TERM);
    assert!(log.serin.ends().success());
    let old = std::fs::read_to_string(moved).unwrap().lines().count();
    assert_eq!(old + log.lines().len(), asked, "every request has its line");
    assert!(
        log.lines()[0].starts_with("127.0.0.1 - - [") && log.lines()[0].contains("] \"GET / HTTP/1.1\" 200 "),
        "{}",
        log.lines()[0]
    );
}

#[test]
fn formats_and_targets_change_with_a_reload_and_what_is_written_can_be_simulated() {
    let app = answering(|head| {
        let status = if head.contains("/bad") { "500 E" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")
    });
    let app = app.to_string();
    let log = logged(&app, &app, "");
    let ask = |count: usize| {
        for request in 0..count {
            let path = if request % 20 == 0 { "/bad" } else { "/" };
            get(log.serin.proxy, path, &format!("x-user-id: u{request}\r\n"));
        }
    };
    ask(40);
    eventually("the lines", || (log.lines().len() == 40).then_some(()));
    let other = log.file.with_extension("combined");
    let more = format!("to: '{}', format: combined", other.display());
    log.serin.write_config(&config(&app, &app, &more));
    log.serin.signal(Signal::HUP);
    eventually("the reload", || {
        (log.serin.metrics().sum("serin_config_reloads_total", &["result=\"applied\""]) >= 1.0).then_some(())
    });
    ask(40);
    eventually("the lines", || {
        (std::fs::read_to_string(&other).unwrap_or_default().lines().count() == 40).then_some(())
    });
    for file in [&log.file, &other] {
        let output = cli(&["simulate", "--log", file.to_str().unwrap(), "--output", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert!(output.status.success());
        let count = |key: &str| report[key].as_u64().unwrap();
        assert_eq!((count("requests"), count("stableErrors") + count("canaryErrors")), (40, 2), "{report}");
    }
}

#[test]
fn only_a_sample_is_written_where_a_sample_is_asked_for() {
    let log = logged(&echo("a").to_string(), &echo("b").to_string(), ", sample: 25");
    (0..1_000).for_each(|_| assert_eq!(get(log.serin.proxy, "/", "").status, 200));
    let written = || log.serin.metrics().sum("serin_access_log_lines_total", &["result=\"written\""]);
    // 250 ± 5 standard deviations; all are handed over within a tick.
    let count = eventually("most lines", || Some(written()).filter(|count| *count > 180.0));
    assert!(count < 320.0, "{count}");
}

/// A terminal that was stopped, a log collector that hangs: requests go on, lines are counted as lost.
#[test]
fn a_reader_that_does_not_read_costs_lines_and_no_request() {
    let serin = Serin::start_unread(&config(&echo("a").to_string(), &echo("b").to_string(), "to: stdout"));
    let long = format!("x-user-id: u\r\nuser-agent: {}\r\n", "a".repeat(8_000));
    let dropped = || serin.metrics().sum("serin_access_log_lines_total", &["result=\"dropped\""]);
    let mut asked = 0;
    eventually("dropped lines", || {
        for _ in 0..100 {
            assert_eq!(get(serin.proxy, "/", &long).status, 200);
            asked += 1;
        }
        (dropped() > 0.0).then_some(())
    });
    assert!(asked > 256, "the queue holds some: {asked}");
}
