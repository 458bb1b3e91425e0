//! Every key of the configuration does something: each is in a test that fails if it does nothing.
//!
//! The table at the end says which test that is. Keys that no other test needs have theirs here:
//! each is seen to differ from the default.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::app::{Do, Scripted, answering, echo, nobody};
use common::http::{connect, exchange, get, read_answer};
use common::{Serin, eventually};
use serde_json::{Value, json};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const FAILS: &str = "HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n";

/// A service with these app servers and lines; `top` stands beside it.
fn shop_with(stable: &[SocketAddr], canary: &[SocketAddr], service: &str, top: &str) -> Serin {
    let list = |servers: &[SocketAddr]| servers.iter().map(|s| format!("'http://{s}'")).collect::<Vec<_>>().join(", ");
    let (stable, canary) = (list(stable), list(canary));
    Serin::start(&format!(
        "workers: 1\n{top}\nservices:\n  shop:\n    pools: {{ a: {{ endpoints: [{stable}] }}, b: {{ endpoints: [{canary}] }} }}\n    \
         stable: a\n    canary: b\n    {service}\n"
    ))
}

fn shop(service: &str) -> Serin {
    shop_with(&[answers(OK)], &[answers(OK)], service, "")
}

fn answers(answer: &'static str) -> SocketAddr {
    answering(move |_| answer.to_owned())
}

/// An app server that counts its requests.
fn counting() -> (SocketAddr, Arc<AtomicUsize>) {
    counting_with(OK)
}

fn counting_with(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let count: Arc<AtomicUsize> = Arc::default();
    let counter = Arc::clone(&count);
    let app = answering(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        answer.to_owned()
    });
    (app, count)
}

fn status(serin: &Serin, user: usize) -> u16 {
    get(serin.proxy, "/", &format!("x-user-id: u-{user}\r\n")).status
}

fn becomes(serin: &Serin, wanted: &str) {
    eventually(wanted, || (serin.deployment()["status"] == wanted).then_some(()));
}

/// One stage of half of the users, then everybody.
fn stages(first: &str) -> String {
    format!("stages: [ {{ percentage: 50, {first} }}, {{ percentage: 100, duration: 1h, maxErrorRate: 1.0 }} ]")
}

fn check(text: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serin.yaml");
    std::fs::write(&file, text).unwrap();
    let mut serin = std::process::Command::new(env!("CARGO_BIN_EXE_serin"));
    serin
        .args(["check", "--config"])
        .arg(file)
        .env("SERIN_KEYS_TOKEN", "0123456789abcdef")
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn admin_answers_to_its_hosts() {
    let serin = Serin::start_bare(
        &format!(
            "admin: {{ address: '127.0.0.1:0', hosts: [serin.internal] }}\nservices: {{ shop: {{ pools: {{ a: {{ endpoints: 'http://{}' }} }}, stable: a }} }}",
            answers(OK)
        ),
        &[],
    );
    let ask = |host: &str| {
        exchange(
            serin.admin,
            format!("GET /api/flags HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .status
    };
    assert_eq!((ask("serin.internal"), ask("other.internal")), (200, 421));
}

#[test]
fn admin_beyond_loopback_needs_a_word_on_plain_text() {
    let with = |plaintext: bool| {
        check(&format!(
            "listen: 127.0.0.1:0\nstable: http://a\nadmin: {{ address: '0.0.0.0:9900', plaintext: {plaintext}, \
             tokens: [ {{ name: ci, env: SERIN_KEYS_TOKEN, role: write }} ] }}"
        ))
    };
    assert_eq!((with(true), with(false)), (true, false));
}

#[test]
fn the_admin_api_listens_where_it_is_told() {
    let serin = Serin::start_bare("admin: { address: '127.0.0.2:0' }\nstable: http://127.0.0.1:1", &[]);
    assert_eq!(serin.admin.ip().to_string(), "127.0.0.2");
    assert_ne!(serin.admin.port(), 9900);
}

#[test]
fn draining_has_its_delay_and_its_timeout() {
    let ends_after = |drain: &str| {
        let mut serin = shop_with(&[answers(OK)], &[answers(OK)], "", &format!("drain: {{ {drain} }}"));
        let mut idle = connect(serin.proxy);
        idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert_eq!(read_answer(&mut idle, false).status, 200);
        let begun = Instant::now();
        serin.signal(rustix::process::Signal::TERM);
        assert!(serin.ends().success());
        begun.elapsed()
    };
    let (second, seconds) = (Duration::from_secs(1), Duration::from_secs(4));
    assert!(ends_after("delay: 0s, timeout: 0s") < second);
    assert!((second..seconds).contains(&ends_after("delay: 1s, timeout: 0s")));
    assert!((second..seconds).contains(&ends_after("delay: 0s, timeout: 1s")));
}

#[test]
fn users_and_sessions_come_from_their_places() {
    let identity = "identity: { user: [ { cookie: uid, trust: true } ], session: [ { header: x-session }, { cookie: sid } ], anonymous: stable }";
    let serin = shop_with(&[echo("a")], &[echo("b")], "", identity);
    serin.does(&["flags", "set", "half", "--rollout", "50"]);
    serin.does(&["flags", "set", "mine", "--rollout", "0", "--rules", r#"[{"type": "user", "value": "anna"}]"#]);
    let told =
        |fields: &str, flag: &str| get(serin.proxy, "/", fields).text().contains(&format!("x-feature-{flag}: true"));
    assert!(told("cookie: uid=anna\r\n", "mine") && !told("cookie: uid=bea\r\n", "mine"));
    let half = |id: usize| {
        let (_, answer) =
            serin.api("POST", "/api/flags/half/evaluate", &json!({ "context": { "sessionId": format!("s-{id}") } }));
        answer["enabled"] == true
    };
    let ids: Vec<usize> = (0..30).collect();
    assert!(ids.iter().any(|id| half(*id)) && !ids.iter().all(|id| half(*id)));
    for id in ids {
        assert_eq!(told(&format!("x-session: s-{id}\r\n"), "half"), half(id), "s-{id}");
        assert_eq!(told(&format!("cookie: sid=s-{id}\r\n"), "half"), half(id), "s-{id}");
    }
}

#[test]
fn a_deployment_goes_to_the_canary_pool_unless_told_otherwise() {
    let app = answers(OK);
    let pools = format!(
        "pools: {{ a: {{ endpoints: 'http://{app}' }}, b: {{ endpoints: 'http://{app}' }}, c: {{ endpoints: 'http://{app}' }} }}"
    );
    let serin = Serin::start(&format!("services: {{ shop: {{ {pools}, stable: a, canary: c }} }}"));
    serin.does(&["deploy", "start", "v2"]);
    assert_eq!(serin.deployment()["pool"], "c");
}

#[test]
fn state_lies_where_its_directory_says() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "listeners: [ {{ address: '127.0.0.1:0' }} ]\nadmin: {{ address: '127.0.0.1:0' }}\nstable: http://127.0.0.1:1\n\
         state: {{ directory: '{}' }}",
        folder.path().join("here").display()
    );
    let mut serin =
        Serin::start("services: { shop: { pools: { a: { endpoints: 'http://127.0.0.1:1' } }, stable: a } }");
    serin.kill();
    serin.write_text(&text);
    serin.start_again();
    serin.does(&["flags", "set", "f", "--rollout", "1"]);
    assert!(folder.path().join("here/feature-flags.json").exists());
}

#[test]
fn the_environment_is_what_rules_compare_with() {
    let serin = shop_with(&[echo("a")], &[echo("b")], "", "environment: staging");
    serin.does(&[
        "flags",
        "set",
        "f",
        "--rollout",
        "100",
        "--rules",
        r#"[{"type": "environment", "value": "staging"}]"#,
    ]);
    assert!(get(serin.proxy, "/", "").text().contains("x-feature-f: true"));
}

#[test]
fn metrics_have_their_namespace() {
    let serin = shop_with(&[answers(OK)], &[answers(OK)], "", "metrics: { namespace: acme }");
    serin.does(&["flags", "set", "f", "--rollout", "1"]);
    let names = serin.metrics().names();
    assert!(names.contains("acme_feature_flag_enabled") && !names.iter().any(|name| name.starts_with("togetheros")));
}

#[test]
fn the_log_has_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("serin.yaml");
    let text =
        "listen: 127.0.0.1:0\nstable: http://127.0.0.1:1\nadmin: { address: 127.0.0.1:0 }\nlog: { format: json }";
    std::fs::write(&file, format!("{text}\nstate: {{ directory: '{}' }}", folder.path().join("state").display()))
        .unwrap();
    let mut serin = std::process::Command::new(env!("CARGO_BIN_EXE_serin"));
    let serin = serin.args(["run", "--config"]).arg(file).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut serin = common::Process::from(serin);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(serin.child.stderr.take().unwrap()));
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).expect("a line of JSON");
    assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
}

#[test]
fn a_head_has_at_most_so_many_bytes_and_fields() {
    let serin = shop_with(&[answers(OK)], &[answers(OK)], "", "limits: { headerBytes: 10KiB, headers: 10 }");
    let with = |fields: &str| {
        exchange(serin.proxy, format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}connection: close\r\n\r\n").as_bytes())
            .status
    };
    assert_eq!(with(&"x-a: b\r\n".repeat(5)), 200);
    assert_eq!(with(&"x-a: b\r\n".repeat(12)), 431);
    assert_eq!(with(&format!("x-a: {}\r\n", "b".repeat(9_000))), 200);
    assert_eq!(with(&format!("x-a: {}\r\n", "b".repeat(20_000))), 431);
}

#[test]
fn over_so_many_connections_accepting_pauses() {
    let serin = shop_with(&[answers(OK)], &[answers(OK)], "", "limits: { connections: 2 }");
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut first = connect(serin.proxy);
    let mut second = connect(serin.proxy);
    for stream in [&mut first, &mut second] {
        stream.write_all(request).unwrap();
        assert_eq!(read_answer(stream, false).status, 200);
    }
    let mut third = connect(serin.proxy);
    third.write_all(request).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.read(&mut [0]).is_err(), "it waits");
    drop(first);
    third.set_read_timeout(Some(common::PATIENCE)).unwrap();
    assert_eq!(read_answer(&mut third, false).status, 200);
}

#[test]
fn idle_connections_are_kept_as_many_and_as_long_as_said() {
    let connections = |keys: &str, pause: u64| {
        let app = Scripted::start();
        app.plays(&[Do::Send(OK)]);
        let serin = shop_with(&[app.address], &[answers(OK)], &format!("connections: {{ {keys} }}"), "");
        for _ in 0..3 {
            assert_eq!(status(&serin, 0), 200);
            std::thread::sleep(Duration::from_millis(pause));
        }
        let seen = app.seen.lock().unwrap();
        seen.connections
    };
    assert_eq!(connections("idle: 32", 0), 1);
    assert_eq!(connections("idle: 0", 0), 3);
    assert_eq!(connections("idleFor: 50ms", 300), 3);
}

#[test]
fn an_app_server_is_chosen_as_balance_says() {
    let counts = |balance: &str, users: usize| {
        let (one, two) = (counting(), counting());
        let serin = shop_with(&[one.0, two.0], &[answers(OK)], &format!("balance: {balance}"), "");
        (0..40).for_each(|request| assert_eq!(status(&serin, request % users), 200));
        [one.1.load(Ordering::Relaxed), two.1.load(Ordering::Relaxed)]
    };
    assert_eq!(counts("roundRobin", 1), [20, 20], "each in turn");
    assert!(counts("hash", 1).contains(&40), "a user has one of their own");
    assert!(!counts("hash", 40).contains(&40), "and others another");
    let random = counts("leastRequest", 1);
    assert!(!random.contains(&40), "{random:?}");
}

#[test]
fn an_app_server_that_comes_back_starts_slowly() {
    let well = Arc::new(AtomicBool::new(false));
    let (seen, health) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&well));
    let counter = Arc::clone(&seen);
    let comes_back = answering(move |head| {
        if head.starts_with("GET /up") {
            return if health.load(Ordering::Relaxed) { OK } else { FAILS }.to_owned();
        }
        counter.fetch_add(1, Ordering::Relaxed);
        OK.to_owned()
    });
    let health = "health: { path: /up, interval: 100ms, unhealthyAfter: 1, healthyAfter: 1 }";
    let serin = shop_with(
        &[comes_back, answers(OK)],
        &[answers(OK)],
        &format!("slowStart: 1h\n    {health}\n    balance: roundRobin"),
        "",
    );
    let available = |wanted: f64| {
        eventually("its health", || {
            (serin.metrics().sum("serin_endpoint_available", &["pool=\"a\""]) == wanted).then_some(())
        });
    };
    available(1.0);
    seen.store(0, Ordering::Relaxed);
    well.store(true, Ordering::Relaxed);
    available(2.0);
    (0..200).for_each(|user| assert_eq!(status(&serin, user), 200));
    let got = seen.load(Ordering::Relaxed);
    assert!(got < 50, "{got} of 200, where half would be its share");
}

#[test]
fn health_checks_have_an_interval_and_a_timeout() {
    let hangs = Scripted::start();
    hangs.plays(&[Do::Hang]);
    let begun = Instant::now();
    let serin = shop_with(
        &[hangs.address, answers(OK)],
        &[answers(OK)],
        "health: { path: /up, interval: 100ms, timeout: 50ms, unhealthyAfter: 3 }",
        "",
    );
    eventually("it is left out", || {
        (serin.metrics().sum("serin_endpoint_available", &["pool=\"a\""]) == 1.0).then_some(())
    });
    // By the default interval it would take 2 s at least, by the default timeout 15 s.
    assert!(begun.elapsed() < Duration::from_millis(1_900), "{:?}", begun.elapsed());
    assert!(hangs.requests().len() >= 3);
}

#[test]
fn an_app_server_is_left_out_for_so_long() {
    let service = "ejection: { consecutiveErrors: 2, for: 200ms }\n    balance: roundRobin";
    let serin = shop_with(&[answers(FAILS), answers(OK)], &[answers(OK)], service, "");
    (0..8).for_each(|user| assert!(status(&serin, user) > 0));
    assert_eq!(serin.metrics().sum("serin_endpoint_ejections_total", &[]), 1.0);
    let available = || serin.metrics().sum("serin_endpoint_available", &["pool=\"a\""]);
    eventually("its return", || (available() == 2.0).then_some(()));
}

#[test]
fn an_app_server_is_healthy_again_after_so_many_good_answers() {
    let (well, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (health, counter) = (Arc::clone(&well), Arc::clone(&asked));
    let app = answering(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        if health.load(Ordering::Relaxed) { OK } else { FAILS }.to_owned()
    });
    let check = "health: { path: /up, interval: 100ms, unhealthyAfter: 1, healthyAfter: 1000 }";
    let serin = shop_with(&[app, answers(OK)], &[answers(OK)], check, "");
    let available = || serin.metrics().sum("serin_endpoint_available", &["pool=\"a\""]);
    eventually("it is left out", || (available() == 1.0).then_some(()));
    well.store(true, Ordering::Relaxed);
    let before = asked.load(Ordering::Relaxed);
    eventually("ten good answers", || (asked.load(Ordering::Relaxed) >= before + 10).then_some(()));
    assert_eq!(available(), 1.0, "that is not enough");
}

#[test]
fn an_app_server_is_unhealthy_after_so_many_bad_answers() {
    let (app, asked) = counting_with(FAILS);
    let serin = shop_with(
        &[app, answers(OK)],
        &[answers(OK)],
        "health: { path: /up, interval: 100ms, unhealthyAfter: 1000 }",
        "",
    );
    eventually("ten bad answers", || (asked.load(Ordering::Relaxed) >= 10).then_some(()));
    assert_eq!(serin.metrics().sum("serin_endpoint_available", &["pool=\"a\""]), 2.0, "that is not enough");
}

#[test]
fn a_connection_that_does_not_come_is_given_up() {
    // A queue for one that is full: the kernel answers nobody any more.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let wait = Duration::from_millis(200);
    let full = |_: &usize| std::net::TcpStream::connect_timeout(&address, wait).ok();
    let waiting: Vec<_> = (0..64).map_while(|n| full(&n)).collect();
    assert!(waiting.len() < 64, "it is full");
    let serin = shop_with(&[address], &[answers(OK)], "timeouts: { connect: 100ms }\n    retry: { attempts: 0 }", "");
    let begun = Instant::now();
    assert_eq!(status(&serin, 0), 502);
    assert!(begun.elapsed() < Duration::from_millis(1_500), "by the default it would be 2 s: {:?}", begun.elapsed());
}

#[test]
fn at_most_a_share_of_a_pool_is_left_out() {
    let ejections = |share: u8| {
        let serin = shop_with(
            &[answers(FAILS), answers(OK)],
            &[answers(OK)],
            &format!("ejection: {{ maxShare: {share} }}"),
            "",
        );
        (0..60).for_each(|user| assert!(status(&serin, user) > 0));
        serin.metrics().sum("serin_endpoint_ejections_total", &[])
    };
    assert_eq!((ejections(0), ejections(50)), (0.0, 1.0));
}

#[test]
fn an_app_says_its_outcome_in_the_configured_header_and_status() {
    let app = answering(|head| {
        let own = if head.contains("/own") { "x-own: error\r\n" } else { "x-serin-outcome: error\r\n" };
        let status = if head.contains("/gone") { "410 Gone" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\n{own}content-length: 0\r\n\r\n")
    });
    let serin = shop_with(&[app], &[answers(OK)], "errors: { outcomeHeader: x-own, status: [410] }", "");
    for path in ["/own", "/other", "/gone"] {
        get(serin.proxy, path, "");
    }
    let count = |outcome: &str| serin.metrics().sum("serin_outcomes_total", &[&format!("outcome=\"{outcome}\"")]);
    assert_eq!((count("app"), count("status"), count("success")), (1.0, 1.0, 1.0));
}

#[test]
fn what_is_tried_again_is_what_retry_says() {
    let failed = |retry: &str, other: SocketAddr| {
        let serin = shop_with(
            &[other, answers(OK)],
            &[answers(OK)],
            &format!("retry: {{ {retry} }}\n    ejection: {{ consecutiveErrors: 0 }}\n    balance: roundRobin"),
            "",
        );
        (0..10).filter(|user| status(&serin, *user) != 200).count()
    };
    let resets = Scripted::start();
    resets.plays(&[Do::Reset]);
    assert_eq!(failed("attempts: 1", nobody()), 0);
    assert_eq!(failed("attempts: 0", nobody()), 5);
    assert_eq!(failed("on: [connect, reset]", resets.address), 0);
    assert_eq!(failed("on: connect", resets.address), 5);
    assert_eq!(failed("on: reset", nobody()), 5);
}

/// A canary that fails everything and is not rolled back for it.
const HARMLESS: &str = "deploy: { strategy: instant, bake: 1h, guard: { errors: 'off' }, stages: [ { percentage: 100, duration: 1h, maxErrorRate: 1.0 } ] }";

#[test]
fn the_shield_takes_its_methods_and_keeps_its_budget() {
    let saved = |shield: &str, method: &str| {
        let stages = "stages: [ { percentage: 50, duration: 1h, maxErrorRate: 1.0 }, { percentage: 100, duration: 1h, maxErrorRate: 1.0 } ]";
        let deploy = format!("deploy: {{ guard: {{ errors: 'off' }}, {stages} }}");
        let serin = shop_with(&[answers(OK)], &[answers(FAILS)], &format!("shield: {{ {shield} }}\n    {deploy}"), "");
        serin.does(&["deploy", "start", "v2"]);
        let on_canary = |user: &usize| serin.get(&format!("/api/assignment?userId=u-{user}"))["track"] == "canary";
        let (canary, stable): (Vec<usize>, Vec<usize>) = (0..40).partition(on_canary);
        let mut stream = connect(serin.proxy);
        let mut ask = |user: usize, method: &str| {
            let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nx-user-id: u-{user}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            read_answer(&mut stream, false).status
        };
        // What stable's requests earn.
        (0..1_000).for_each(|request| assert_eq!(ask(stable[request % stable.len()], "GET"), 200));
        (0..100).filter(|request| ask(canary[request % canary.len()], method) == 200).count()
    };
    assert_eq!(saved("methods: safe", "GET"), 100);
    assert_eq!(saved("methods: safe", "PUT"), 0);
    assert_eq!(saved("methods: idempotent", "PUT"), 100);
    assert_eq!(saved("methods: 'off'", "GET"), 0);
    // Ten a second remain; the hundred take far less than eight seconds.
    let poor = saved("budget: 0", "GET");
    assert!(poor < 90, "{poor}");
}

#[test]
fn a_salt_of_the_service_draws_the_same_users_every_time() {
    let drawn = |salt: &str| {
        let serin = shop(&format!("deploy: {{ salt: {salt} }}"));
        let users = |version: &str| -> Vec<bool> {
            serin.does(&["deploy", "start", version]);
            (0..200).map(|user| serin.get(&format!("/api/assignment?userId=u-{user}"))["track"] == "canary").collect()
        };
        (users("v2"), users("v3"))
    };
    let (first, second) = drawn("service");
    assert_eq!(first, second);
    let (first, second) = drawn("deployment");
    assert_ne!(first, second);
}

#[test]
fn slow_answers_count_as_the_guard_and_warmup_say() {
    let ends = |guard: &str, more: &str| {
        let canary = Scripted::start();
        canary.plays(&[Do::Pause(60), Do::Send(OK)]);
        let deploy =
            format!("deploy: {{ guard: {{ {guard} }}, {more} {} }}", stages("duration: 1h, maxErrorRate: 1.0"));
        let serin = shop_with(&[answers(OK)], &[canary.address], &deploy, "");
        serin.does(&["deploy", "start", "v2"]);
        std::thread::scope(|scope| {
            for part in 0..8 {
                let serin = &serin;
                scope.spawn(move || (0..15).for_each(|user| assert_eq!(status(serin, part * 15 + user), 200)));
            }
        });
        // The guard has decided when the last slow answer was there.
        serin.deployment()["status"].as_str().unwrap_or("none").to_owned()
    };
    let rolled_back = |status: &str| status == "rolled_back" || status == "none";
    assert!(rolled_back(&ends("latency: enforce, slowerThan: 30ms", "")));
    assert_eq!(ends("latency: observe, slowerThan: 30ms", ""), "in_progress");
    assert_eq!(ends("latency: enforce, slowerThan: 10s", ""), "in_progress");
    assert_eq!(ends("latency: enforce, slowerThan: 30ms", "warmup: 1h,"), "in_progress");
}

#[test]
fn the_guard_has_its_budget_and_its_rules() {
    let bounds = |guard: &str| {
        let serin = shop(&format!("deploy: {{ guard: {{ {guard} }} }}"));
        serin.does(&["deploy", "start", "v2"]);
        serin.metrics().sum("serin_guard_bound", &["guard=\"errors\""])
    };
    assert!(bounds("falseRollback: 0.001") > 5.0 * bounds("falseRollback: 0.01"));
    assert_eq!(bounds("errors: 'off'"), 0.0, "nothing is compared");
    // Six errors in a hundred are above a limit of 5 %, and no proof of it.
    let ends = |rate: &str| {
        let deploy = format!(
            "deploy: {{ guard: {{ errors: 'off', rate: {rate} }}, stages: [ {{ percentage: 100, duration: 1h, minRequests: 100, maxErrorRate: 0.05 }} ] }}"
        );
        let serin = shop(&deploy);
        serin.does(&["deploy", "start", "v2"]);
        let outcome = |user: usize| json!({ "track": "canary", "latencyMs": 1, "error": user.is_multiple_of(16), "userId": format!("u-{user}") });
        let outcomes: Vec<Value> = (1..=100).map(outcome).collect();
        let (code, answer) = serin.api("POST", "/api/services/shop/outcomes", &Value::Array(outcomes));
        assert_eq!(code, 202, "{answer}");
        serin.get("/api/services/shop")["deployment"]["status"].as_str().unwrap_or("ended").to_owned()
    };
    assert_eq!(ends("evidence"), "in_progress");
    assert_eq!(ends("plain"), "ended");
}

#[test]
fn a_stage_ends_as_its_keys_say() {
    let quick = "duration: 0, maxErrorRate: 1.0";
    let start = |deploy: &str| {
        let serin = shop(&format!("deploy: {{ {deploy} }}"));
        serin.does(&["deploy", "start", "v2"]);
        serin
    };
    let stage = |serin: &Serin| serin.deployment()["currentStageIndex"].as_u64().unwrap();
    let moves = start(&stages(quick));
    eventually("the next stage", || (stage(&moves) == 1).then_some(()));
    let held = start(&stages(&format!("hold: true, {quick}")));
    let few = start(&stages(&format!("minRequests: 1000, {quick}")));
    let pauses = start(&format!("onInsufficient: pause, {}", stages(&format!("minRequests: 1000, {quick}"))));
    becomes(&pauses, "paused");
    let gives_up = start(&format!("onInsufficient: rollback, {}", stages(&format!("minRequests: 1000, {quick}"))));
    eventually("the rollback", || (gives_up.get("/api/services/shop")["deployment"] == Value::Null).then_some(()));
    let long = start(&format!("maxDuration: 1s, {}", stages("duration: 1h, maxErrorRate: 1.0")));
    becomes(&long, "paused");
    // By now they would have moved.
    assert_eq!((stage(&held), stage(&few)), (0, 0));
    assert_eq!(few.deployment()["status"], "in_progress", "it extends");
}

#[test]
fn what_fails_does_what_on_fail_says() {
    let deploy = "deploy: { onFail: pause, guard: { errors: 'off' }, stages: [ { percentage: 100, duration: 1h, minRequests: 5, maxErrorRate: 0.1 } ] }";
    let serin = shop_with(&[answers(OK)], &[answers(FAILS)], deploy, "");
    serin.does(&["deploy", "start", "v2"]);
    (0..10).for_each(|user| assert!(status(&serin, user) > 0));
    becomes(&serin, "paused");
}

#[test]
fn a_bake_keeps_the_way_back_for_so_long() {
    let serin = shop(HARMLESS);
    serin.does(&["deploy", "start", "v2"]);
    eventually("the bake", || {
        let events = serin.deployment()["events"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| event["kind"] == "bake").then_some(())
    });
    assert_eq!(serin.deployment()["status"], "in_progress");
    let at_once = shop("deploy: { strategy: instant, bake: 0 }");
    at_once.does(&["deploy", "start", "v2"]);
    eventually("its end", || (at_once.get("/api/services/shop")["stable"]["pool"] == "b").then_some(()));
}

/// Where a key is seen to work: a test of a file in `tests/`.
const SEEN: &[(&str, &str, &str)] = &[
    ("accessLog.format", "access_log", "a_file_that_was_moved_is_opened_anew_and_sigterm_loses_no_line"),
    ("accessLog.sample", "access_log", "only_a_sample_is_written_where_a_sample_is_asked_for"),
    ("accessLog.to", "access_log", "formats_and_targets_change_with_a_reload_and_what_is_written_can_be_simulated"),
    ("admin.address", "keys", "the_admin_api_listens_where_it_is_told"),
    ("admin.hosts", "keys", "admin_answers_to_its_hosts"),
    ("admin.plaintext", "keys", "admin_beyond_loopback_needs_a_word_on_plain_text"),
    ("admin.tokens[].env", "admin", "where_there_are_tokens_nobody_writes_without_one"),
    ("admin.tokens[].name", "admin", "where_there_are_tokens_nobody_writes_without_one"),
    ("admin.tokens[].role", "admin", "where_there_are_tokens_nobody_writes_without_one"),
    ("canary", "rollout", "the_state_files_have_the_guides_shapes"),
    ("drain.delay", "keys", "draining_has_its_delay_and_its_timeout"),
    ("drain.timeout", "keys", "draining_has_its_delay_and_its_timeout"),
    ("environment", "keys", "the_environment_is_what_rules_compare_with"),
    ("flags.environmentPrefix", "headers", "a_variable_forces_a_flag_and_other_settings_do_what_they_say"),
    ("flags.environmentRules", "headers", "a_variable_forces_a_flag_and_other_settings_do_what_they_say"),
    ("flags.headers.expose", "headers", "a_variable_forces_a_flag_and_other_settings_do_what_they_say"),
    ("flags.headers.maxBytes", "cli", "a_flag_past_the_headers_limits_is_refused_when_it_is_written"),
    ("flags.headers.maxCount", "cli", "a_flag_past_the_headers_limits_is_refused_when_it_is_written"),
    ("flags.headers.prefix", "headers", "a_variable_forces_a_flag_and_other_settings_do_what_they_say"),
    ("flags.headers.style", "headers", "a_list_of_flags_is_one_field"),
    ("health.address", "operations", "it_ends_in_peace_with_no_failed_request_and_its_counts_on_disk"),
    ("identity.anonymous", "headers", "identity_comes_from_where_configuration_says"),
    ("identity.group[].cookie", "headers", "identity_comes_from_where_configuration_says"),
    ("identity.group[].header", "headers", "identity_comes_from_where_configuration_says"),
    ("identity.group[].trust", "headers", "identity_comes_from_where_configuration_says"),
    ("identity.session[].cookie", "keys", "users_and_sessions_come_from_their_places"),
    ("identity.session[].header", "keys", "users_and_sessions_come_from_their_places"),
    ("identity.stick", "headers", "identity_comes_from_where_configuration_says"),
    ("identity.user[].cookie", "keys", "users_and_sessions_come_from_their_places"),
    ("identity.user[].header", "headers", "identity_comes_from_where_configuration_says"),
    ("identity.user[].trust", "headers", "identity_comes_from_where_configuration_says"),
    ("limits.bodyBytes", "outcomes", "every_exchange_has_the_outcome_of_the_table"),
    ("limits.connections", "keys", "over_so_many_connections_accepting_pauses"),
    ("limits.headerBytes", "keys", "a_head_has_at_most_so_many_bytes_and_fields"),
    ("limits.headerTimeout", "outcomes", "a_slow_head_is_answered_408_and_an_idle_connection_is_closed_silently"),
    ("limits.headers", "keys", "a_head_has_at_most_so_many_bytes_and_fields"),
    ("limits.keepAlive", "outcomes", "a_slow_head_is_answered_408_and_an_idle_connection_is_closed_silently"),
    ("limits.uriBytes", "outcomes", "every_exchange_has_the_outcome_of_the_table"),
    ("listen", "operations", "sockets_that_systemd_hands_over_are_taken_up_and_it_is_told_what_happens"),
    ("listeners[].address", "operations", "listeners_and_services_come_and_go"),
    ("listeners[].trustedProxies", "headers", "a_trusted_peer_is_believed"),
    ("log.format", "keys", "the_log_has_its_format"),
    ("log.level", "configuration", "the_level_of_the_log_changes_while_it_runs"),
    ("metrics.namespace", "keys", "metrics_have_their_namespace"),
    ("services.*.balance", "keys", "an_app_server_is_chosen_as_balance_says"),
    ("services.*.canary", "keys", "a_deployment_goes_to_the_canary_pool_unless_told_otherwise"),
    ("services.*.connections.idle", "keys", "idle_connections_are_kept_as_many_and_as_long_as_said"),
    ("services.*.connections.idleFor", "keys", "idle_connections_are_kept_as_many_and_as_long_as_said"),
    ("services.*.connections.perEndpoint", "rescue", "a_full_app_server_has_a_queue_and_then_says_so"),
    ("services.*.connections.queue", "rescue", "a_full_app_server_has_a_queue_and_then_says_so"),
    ("services.*.deploy.bake", "keys", "a_bake_keeps_the_way_back_for_so_long"),
    (
        "services.*.deploy.exclude[].type",
        "deployments",
        "who_is_included_or_excluded_is_on_that_track_whatever_the_share",
    ),
    (
        "services.*.deploy.exclude[].value",
        "deployments",
        "who_is_included_or_excluded_is_on_that_track_whatever_the_share",
    ),
    ("services.*.deploy.guard.errors", "keys", "the_guard_has_its_budget_and_its_rules"),
    ("services.*.deploy.guard.falseRollback", "keys", "the_guard_has_its_budget_and_its_rules"),
    ("services.*.deploy.guard.latency", "keys", "slow_answers_count_as_the_guard_and_warmup_say"),
    ("services.*.deploy.guard.rate", "keys", "the_guard_has_its_budget_and_its_rules"),
    ("services.*.deploy.guard.slowerThan", "keys", "slow_answers_count_as_the_guard_and_warmup_say"),
    (
        "services.*.deploy.include[].type",
        "deployments",
        "who_is_included_or_excluded_is_on_that_track_whatever_the_share",
    ),
    (
        "services.*.deploy.include[].value",
        "deployments",
        "who_is_included_or_excluded_is_on_that_track_whatever_the_share",
    ),
    ("services.*.deploy.interval", "deployments", "a_rolling_deployment_takes_its_steps"),
    ("services.*.deploy.maxDuration", "keys", "a_stage_ends_as_its_keys_say"),
    ("services.*.deploy.onComplete", "deployments", "traffic_returns_once_the_old_pool_runs_the_new_version"),
    ("services.*.deploy.onFail", "keys", "what_fails_does_what_on_fail_says"),
    ("services.*.deploy.onInsufficient", "keys", "a_stage_ends_as_its_keys_say"),
    ("services.*.deploy.promoteEarly", "deployments", "a_stage_may_end_as_soon_as_the_canary_is_shown_to_be_good"),
    ("services.*.deploy.salt", "keys", "a_salt_of_the_service_draws_the_same_users_every_time"),
    ("services.*.deploy.stages[].duration", "keys", "a_stage_ends_as_its_keys_say"),
    ("services.*.deploy.stages[].hold", "keys", "a_stage_ends_as_its_keys_say"),
    ("services.*.deploy.stages[].maxErrorRate", "keys", "what_fails_does_what_on_fail_says"),
    ("services.*.deploy.stages[].minRequests", "keys", "a_stage_ends_as_its_keys_say"),
    (
        "services.*.deploy.stages[].percentage",
        "rollout",
        "a_hundred_thousand_users_split_as_the_dial_says_and_keep_their_track",
    ),
    ("services.*.deploy.step", "deployments", "a_rolling_deployment_takes_its_steps"),
    ("services.*.deploy.strategy", "deployments", "blue_green_waits_at_nobody_for_somebody_to_say_go"),
    ("services.*.deploy.warmup", "keys", "slow_answers_count_as_the_guard_and_warmup_say"),
    ("services.*.ejection.consecutiveErrors", "rescue", "errors_in_a_row_leave_an_app_server_out"),
    ("services.*.ejection.for", "keys", "an_app_server_is_left_out_for_so_long"),
    ("services.*.ejection.maxShare", "keys", "at_most_a_share_of_a_pool_is_left_out"),
    ("services.*.errors.abandonAfter", "outcomes", "every_exchange_has_the_outcome_of_the_table"),
    ("services.*.errors.ignore.paths", "outcomes", "every_exchange_has_the_outcome_of_the_table"),
    ("services.*.errors.ignore.userAgents", "outcomes", "every_exchange_has_the_outcome_of_the_table"),
    ("services.*.errors.outcomeHeader", "keys", "an_app_says_its_outcome_in_the_configured_header_and_status"),
    ("services.*.errors.status", "keys", "an_app_says_its_outcome_in_the_configured_header_and_status"),
    ("services.*.health.healthyAfter", "keys", "an_app_server_is_healthy_again_after_so_many_good_answers"),
    ("services.*.health.interval", "keys", "health_checks_have_an_interval_and_a_timeout"),
    ("services.*.health.path", "keys", "an_app_server_that_comes_back_starts_slowly"),
    ("services.*.health.timeout", "keys", "health_checks_have_an_interval_and_a_timeout"),
    ("services.*.health.unhealthyAfter", "keys", "an_app_server_is_unhealthy_after_so_many_bad_answers"),
    ("services.*.match.hosts", "headers", "services_are_found_by_host_and_path"),
    ("services.*.match.path", "headers", "services_are_found_by_host_and_path"),
    ("services.*.overrides.secret.env", "deployments", "a_signed_override_works_at_nobody_and_the_app_never_sees_it"),
    ("services.*.pools.*.endpoints", "headers", "services_are_found_by_host_and_path"),
    ("services.*.pools.*.version", "scale", "a_thousand_services_and_ten_thousand_flags_start_and_reload_in_time"),
    ("services.*.pools.*.version.json", "deployments", "pools_that_answer_another_version_are_not_deployed"),
    ("services.*.pools.*.version.path", "deployments", "pools_that_answer_another_version_are_not_deployed"),
    ("services.*.retry.attempts", "keys", "what_is_tried_again_is_what_retry_says"),
    ("services.*.retry.on", "keys", "what_is_tried_again_is_what_retry_says"),
    ("services.*.shield.budget", "keys", "the_shield_takes_its_methods_and_keeps_its_budget"),
    ("services.*.shield.methods", "keys", "the_shield_takes_its_methods_and_keeps_its_budget"),
    ("services.*.skew.paths", "rescue", "a_page_of_one_version_finds_its_files_on_the_other"),
    ("services.*.slowStart", "keys", "an_app_server_that_comes_back_starts_slowly"),
    ("services.*.stable", "rollout", "a_healthy_canary_completes_and_the_pools_swap_roles"),
    ("services.*.timeouts.connect", "keys", "a_connection_that_does_not_come_is_given_up"),
    ("services.*.timeouts.response", "outcomes", "every_exchange_has_the_outcome_of_the_table"),
    ("services.*.timeouts.stream", "outcomes", "every_exchange_has_the_outcome_of_the_table"),
    ("stable", "rollout", "the_state_files_have_the_guides_shapes"),
    ("state.directory", "keys", "state_lies_where_its_directory_says"),
    ("identity.attributes.*.jwt.claim", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.attributes.*.jwt.issuer", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.attributes.*.jwt.audience", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.attributes.*.jwt.jwks", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.attributes.*.jwt.key", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.attributes.*.jwt.secret.env", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    (
        "identity.attributes.*.verify.env",
        "edge",
        "a_signed_identity_is_believed_from_anyone_and_an_unsigned_one_from_nobody",
    ),
    ("identity.attributes.*.header", "flags", "attributes_come_from_where_configuration_says"),
    ("identity.attributes.*.cookie", "flags", "attributes_come_from_where_configuration_says"),
    ("identity.attributes.*.trust", "flags", "attributes_come_from_where_configuration_says"),
    ("ofrep.address", "ofrep", "apps_of_users_ask_at_an_address_and_path_of_their_own"),
    ("ofrep.path", "ofrep", "apps_of_users_ask_at_an_address_and_path_of_their_own"),
    ("ofrep.tls.certificates[].cert", "ofrep", "a_public_listener_speaks_tls"),
    ("ofrep.tls.certificates[].key", "ofrep", "a_public_listener_speaks_tls"),
    ("ofrep.tls.clientCa", "ofrep", "a_public_listener_speaks_tls"),
    ("ofrep.trustedProxies", "ofrep", "only_trusted_proxies_say_who_a_visitor_is"),
    ("ofrep.tokens[].env", "ofrep", "a_public_listener_has_tokens_of_its_own"),
    ("ofrep.origins", "ofrep", "pages_of_named_origins_may_ask"),
    ("ofrep.requestsPerSecond", "ofrep", "who_asks_too_often_is_told_when_to_come_back"),
    ("ofrep.burst", "ofrep", "who_asks_too_often_is_told_when_to_come_back"),
    ("ofrep.events", "ofrep", "a_change_is_signalled_at_once_where_events_are_on"),
    ("identity.group[].jwt.claim", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.group[].jwt.issuer", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.group[].jwt.audience", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.group[].jwt.jwks", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.group[].jwt.key", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.group[].jwt.secret.env", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    (
        "identity.group[].verify.env",
        "edge",
        "a_signed_identity_is_believed_from_anyone_and_an_unsigned_one_from_nobody",
    ),
    ("identity.user[].jwt.claim", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.user[].jwt.issuer", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.user[].jwt.audience", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.user[].jwt.jwks", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.user[].jwt.key", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.user[].jwt.secret.env", "edge", "a_tokens_claim_is_believed_by_each_kind_of_key"),
    ("identity.user[].verify.env", "edge", "a_signed_identity_is_believed_from_anyone_and_an_unsigned_one_from_nobody"),
    ("admin.tls.certificates[].cert", "edge", "the_admin_api_speaks_tls_to_whom_it_is_told"),
    ("admin.tls.certificates[].key", "edge", "the_admin_api_speaks_tls_to_whom_it_is_told"),
    ("admin.tls.clientCa", "edge", "the_admin_api_speaks_tls_to_whom_it_is_told"),
    ("limits.bodyIdle", "abuse", "a_body_that_stalls_is_answered_408"),
    ("limits.streams", "abuse", "streams_over_their_limit_are_refused"),
    ("listeners[].proxyProtocol", "edge", "proxy_protocol_says_who_the_peer_is_and_trust_is_that_peers"),
    ("listeners[].tls.certificates[].cert", "edge", "the_server_name_picks_the_certificate_and_the_app_hears_of_tls"),
    ("listeners[].tls.certificates[].key", "edge", "the_server_name_picks_the_certificate_and_the_app_hears_of_tls"),
    ("listeners[].tls.clientCa", "edge", "client_ca_asks_for_a_certificate"),
    ("services.*.errors.grpcStatus", "edge", "a_grpc_status_is_an_error_as_grpc_status_says"),
    ("services.*.pools.*.tls.ca", "edge", "an_app_server_is_checked_by_ca_and_server_name_unless_told_otherwise"),
    (
        "services.*.pools.*.tls.serverName",
        "edge",
        "an_app_server_is_checked_by_ca_and_server_name_unless_told_otherwise",
    ),
    (
        "services.*.pools.*.tls.skipVerification",
        "edge",
        "an_app_server_is_checked_by_ca_and_server_name_unless_told_otherwise",
    ),
    ("workers", "operations", "a_fresh_connection_goes_to_the_emptiest_worker"),
];

#[test]
fn every_key_of_the_schema_has_its_test_and_every_test_is_there() {
    let listed: BTreeSet<String> = SEEN.iter().map(|(key, ..)| (*key).to_owned()).collect();
    let known: BTreeSet<String> = common::keys::leaves(&serin::config::schema()).into_iter().collect();
    let missing: Vec<&String> = known.difference(&listed).collect();
    assert!(missing.is_empty(), "keys without a test: {missing:?}");
    let stale: Vec<&String> = listed.difference(&known).filter(|key| *key != "services.*.pools.*.version").collect();
    assert!(stale.is_empty(), "no keys any more: {stale:?}");
    for (key, file, test) in SEEN {
        let text = std::fs::read_to_string(format!("tests/{file}.rs")).unwrap();
        assert!(text.contains(&format!("#[test]\nfn {test}() {{")), "{key}: no test {test} in {file}");
        let last = key.rsplit('.').next().unwrap().trim_end_matches("[]");
        // What several tests share stands in a file of its own.
        assert!(text.contains(last) || *file == "scale", "{key} is not in {file}");
    }
}
