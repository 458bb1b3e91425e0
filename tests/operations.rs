//! Changed and ended without a dropped request: reload, drain. The real binary, under load.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::app::echo;
use common::http::{connect, exchange, find, get, read_answer};
use common::{Serin, eventually};
use rustix::process::Signal;
use serde_json::json;

fn three_lines(stable: SocketAddr) -> String {
    format!("services: {{ shop: {{ pools: {{ a: {{ endpoints: 'http://{stable}' }} }}, stable: a }} }}")
}

fn who(serin: &Serin) -> String {
    get(serin.proxy, "/", "").text().lines().next().unwrap_or_default().to_owned()
}

fn reloads(serin: &Serin, result: &str) -> f64 {
    serin.metrics().sum("serin_config_reloads_total", &[&format!("result=\"{result}\"")])
}

#[test]
fn a_changed_file_is_in_force_by_itself_and_no_connection_is_dropped() {
    let (one, two) = (echo("one"), echo("two"));
    let serin = Serin::start(&three_lines(one));
    let mut kept = connect(serin.proxy);
    let mut ask = || {
        kept.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        read_answer(&mut kept, false).text().lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(ask(), "one");
    serin.write_config(&three_lines(two));
    eventually("the other app server", || (who(&serin) == "two").then_some(()));
    assert_eq!(ask(), "two", "the same connection sees it");
    assert_eq!(serin.metrics().sum("serin_config_reload_success", &[]), 1.0);
}

#[test]
fn a_wrong_file_changes_nothing_and_is_told() {
    let serin = Serin::start(&three_lines(echo("one")));
    serin.write_config("services: { shop: { pools: 7 } }\nwhat: 1");
    eventually("the refusal", || (reloads(&serin, "refused") == 1.0).then_some(()));
    assert_eq!(serin.metrics().sum("serin_config_reload_success", &[]), 0.0);
    serin.says("serin.yaml:4:21: services.shop.pools is 7");
    serin.says("serin.yaml:5:1");
    assert_eq!(who(&serin), "one");
    serin.write_config(&three_lines(echo("two")));
    eventually("the mended file", || (who(&serin) == "two").then_some(()));
    assert_eq!(serin.metrics().sum("serin_config_reload_success", &[]), 1.0);
}

#[test]
fn a_signal_reloads_and_a_pool_in_use_cannot_be_taken_away() {
    let (one, two) = (echo("one"), echo("two"));
    let pools = |names: [&str; 2]| {
        let [stable, canary] = names;
        format!(
            "services: {{ shop: {{ pools: {{ {stable}: {{ endpoints: 'http://{one}' }}, \
             {canary}: {{ endpoints: 'http://{two}' }} }}, stable: {stable}, canary: {canary} }} }}"
        )
    };
    let serin = Serin::start(&pools(["blue", "green"]));
    serin.does(&["deploy", "start", "v2"]);
    serin.write_config(&pools(["blue", "red"]));
    serin.signal(Signal::HUP);
    eventually("the refusal", || (reloads(&serin, "refused") >= 1.0).then_some(()));
    serin.says("pool `green` of `shop` is in use");
    assert_eq!(serin.deployment()["status"], "in_progress");
    serin.does(&["deploy", "rollback"]);
    serin.signal(Signal::HUP);
    eventually("the reload", || (reloads(&serin, "applied") >= 1.0).then_some(()));
    assert_eq!(serin.get("/api/services/shop")["pools"], json!(["blue", "red"]));
}

#[test]
fn a_deployment_goes_on_through_a_reload_that_moves_its_pools() {
    let (one, two) = (echo("one"), echo("two"));
    let (a, b) = (format!("a: {{ endpoints: 'http://{one}' }}"), format!("b: {{ endpoints: 'http://{two}' }}"));
    let config = |pools: &str| format!("services: {{ shop: {{ pools: {{ {pools} }}, stable: a, canary: b }} }}");
    let serin = Serin::start(&config(&format!("{a}, {b}")));
    serin.does(&["deploy", "start", "v2", "--stages", r#"[{"percentage": 50, "duration": "1h", "minRequests": 0, "maxErrorRate": 0.05}, {"percentage": 100, "duration": 0, "minRequests": 0, "maxErrorRate": 0.05}]"#]);
    let users =
        || (0..200).map(|user| get(serin.proxy, "/", &format!("x-user-id: u{user}\r\n")).text().starts_with("two"));
    let before: Vec<bool> = users().collect();
    let c = format!("c: {{ endpoints: 'http://{one}' }}");
    serin.write_config(&config(&format!("{c}, {b}, {a}")));
    serin.signal(Signal::HUP);
    eventually("the reload", || (reloads(&serin, "applied") >= 1.0).then_some(()));
    assert_eq!(users().collect::<Vec<_>>(), before, "every user is where they were");
    assert_eq!(serin.deployment()["metrics"]["totalRequests"], 400, "its counts go on");
}

#[test]
fn listeners_and_services_come_and_go() {
    let serin = Serin::start(&three_lines(echo("one")));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = |listeners: &str, services: &str| {
        format!(
            "state: {{ directory: '{}' }}\nadmin: {{ address: '127.0.0.1:0' }}\nlisteners: [ {{ address: '127.0.0.1:0' }}{listeners} ]\nservices: {{ {services} }}\n",
            serin.folder.path().join("state").display()
        )
    };
    let shop = format!("shop: {{ pools: {{ a: {{ endpoints: 'http://{}' }} }}, stable: a }}", echo("shop"));
    let api = format!(
        "api: {{ match: {{ path: /api }}, pools: {{ a: {{ endpoints: 'http://{}' }} }}, stable: a }}",
        echo("api")
    );
    serin.write_text(&text(&format!(", {{ address: '{port}' }}"), &format!("{shop}, {api}")));
    serin.signal(Signal::HUP);
    eventually("the new listener", || TcpStream::connect(port).ok());
    assert!(get(port, "/api/x", "").text().starts_with("api"));
    assert!(get(serin.proxy, "/", "").text().starts_with("shop"));
    let mut open = connect(port);
    serin.write_text(&text("", &shop));
    serin.signal(Signal::HUP);
    eventually("the end of the listener", || TcpStream::connect(port).is_err().then_some(()));
    open.write_all(b"GET /api HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    assert!(read_answer(&mut open, false).text().starts_with("shop"), "an open connection stays, the service is gone");
}

/// An app that reads whole requests and answers in pieces.
fn whole_app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer_in_pieces(stream));
        }
    });
    address
}

fn answer_in_pieces(mut stream: TcpStream) -> Option<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
    loop {
        let end = loop {
            if let Some(end) = find(&bytes, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                let whole = end + 4 + length.unwrap_or(0_usize);
                if bytes.len() >= whole {
                    break whole;
                }
            }
            match stream.read(&mut buffer).ok()? {
                0 => return None,
                n => bytes.extend_from_slice(&buffer[..n]),
            }
        };
        let length = bytes.drain(..end).len();
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
        for _ in 0..3 {
            stream.write_all(format!("8\r\n{length:08}\r\n").as_bytes()).ok()?;
            std::thread::sleep(Duration::from_micros(300));
        }
        stream.write_all(b"0\r\n\r\n").ok()?;
    }
}

/// Clients with uploads and streamed answers, on connections that are kept, until something
/// is done; the value is how many requests they have made. None of them may fail.
fn under_load(proxy: SocketAddr, reconnects: bool, act: impl FnOnce()) -> u64 {
    let (done, made) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (done, made) = (&done, &made);
            scope.spawn(move || {
                let mut stream = connect(proxy);
                let body = "x".repeat(1 << (client * 2));
                let request = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                while !done.load(Ordering::Relaxed) {
                    stream.write_all(request.as_bytes()).unwrap();
                    let answer = read_answer(&mut stream, false);
                    assert!(answer.status == 200 && answer.complete && answer.body.len() == 24, "{answer:?}");
                    made.fetch_add(1, Ordering::Relaxed);
                    if answer.header("connection").is_some_and(|value| value == "close") {
                        if !reconnects {
                            return;
                        }
                        stream = connect(proxy);
                    }
                }
            });
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        done.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    made.load(Ordering::Relaxed)
}

#[test]
fn a_hundred_reloads_under_load_fail_no_request() {
    let apps = [whole_app(), whole_app()];
    let serin = Serin::start(&three_lines(apps[0]));
    let made = under_load(serin.proxy, false, || {
        for reload in 1..=100 {
            serin.write_config(&three_lines(apps[reload % 2]));
            serin.signal(Signal::HUP);
            eventually("the reload", || (reloads(&serin, "applied") >= reload as f64).then_some(()));
            let served = || serin.metrics().sum("serin_requests_total", &[]);
            eventually("traffic between reloads", || (served() >= reload as f64 * 10.0).then_some(()));
        }
    });
    assert_eq!(reloads(&serin, "refused"), 0.0);
    assert!(made >= 1_000, "{made} requests");
}

#[test]
fn it_ends_in_peace_with_no_failed_request_and_its_counts_on_disk() {
    let config = format!(
        "health: {{ address: '127.0.0.1:0' }}\ndrain: {{ delay: 500ms, timeout: 10s }}\nservices: {{ shop: {{ \
         pools: {{ a: {{ endpoints: 'http://{}' }}, b: {{ endpoints: 'http://{}' }} }}, stable: a, canary: b }} }}",
        whole_app(),
        whole_app()
    );
    let mut serin = Serin::start(&config);
    let health = serin.health.unwrap();
    serin.does(&["deploy", "start", "v2"]);
    assert_eq!(get(health, "/readyz", "").status, 200);
    // It was opened before and has never spoken: it lives until it does.
    let mut silent = connect(serin.proxy);
    let made = under_load(serin.proxy, false, || {
        eventually("traffic", || (serin.metrics().sum("serin_requests_total", &[]) > 500.0).then_some(()));
        serin.signal(Signal::TERM);
        eventually("probes fail", || (get(health, "/readyz", "").status == 503).then_some(()));
        assert_eq!(get(serin.proxy, "/", "").status, 200, "accepting goes on for a while");
        eventually("the end of accepting", || TcpStream::connect(serin.proxy).is_err().then_some(()));
        assert_eq!(exchange(health, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").status, 200, "it lives on");
        silent.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let answer = read_answer(&mut silent, false);
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    });
    assert!(serin.ends().success(), "{:?}", serin.log());
    let counted = serin.state_file("deploy-state.json");
    assert_eq!(counted["services"]["shop"]["current"]["status"], "in_progress");
    serin.start_again();
    let total = serin.deployment()["metrics"]["totalRequests"].as_u64().unwrap();
    assert_eq!(total, made + 2, "every request is in the counts that the next one goes on with");
}

#[test]
fn a_second_signal_ends_it_at_once_and_a_stream_past_the_timeout_is_cut() {
    let config = |timeout: &str| format!("drain: {{ delay: 0s, timeout: {timeout} }}\n{}", three_lines(echo("one")));
    let mut patient = Serin::start(&config("1h"));
    let _idle = connect(patient.proxy);
    eventually("the connection", || (patient.metrics().sum("serin_connections_open", &[]) >= 1.0).then_some(()));
    patient.signal(Signal::TERM);
    eventually("its last word", || patient.log().iter().any(|line| line.contains("ending:")).then_some(()));
    patient.signal(Signal::TERM);
    assert!(patient.ends().success());
    let mut strict = Serin::start(&config("100ms"));
    let _idle = connect(strict.proxy);
    eventually("the connection", || (strict.metrics().sum("serin_connections_open", &[]) >= 1.0).then_some(()));
    strict.signal(Signal::TERM);
    assert!(strict.ends().success());
    strict.says("connections are cut");
}

#[test]
fn twenty_upgrades_under_load_fail_no_request_and_a_deployment_goes_on() {
    let config = format!(
        "workers: 2\nhealth: {{ address: '127.0.0.1:0' }}\nservices: {{ shop: {{ \
         pools: {{ a: {{ endpoints: 'http://{}' }}, b: {{ endpoints: 'http://{}' }} }}, stable: a, canary: b }} }}",
        whole_app(),
        whole_app()
    );
    let mut serin = Serin::start(&config);
    let health = serin.health.unwrap();
    serin.does(&["flags", "set", "kept", "--rollout", "25"]);
    serin.does(&["deploy", "start", "v2"]);
    let id = serin.deployment()["id"].clone();
    let (proxy, mut counted) = (serin.proxy, 0);
    let made = under_load(proxy, true, || {
        for upgrade in 1..=20 {
            serin.upgrade();
            assert_eq!(serin.successors().len(), upgrade);
            assert_eq!(get(health, "/readyz", "").status, 200);
            let deployment = serin.deployment();
            assert_eq!((&deployment["id"], &deployment["status"]), (&id, &json!("in_progress")));
            let total = deployment["metrics"]["totalRequests"].as_u64().unwrap();
            assert!(total >= counted, "the counts go on: {total} after {counted}");
            counted = total;
            let served = || serin.metrics().sum("serin_requests_total", &[]);
            eventually("traffic between upgrades", || (served() >= 100.0).then_some(()));
        }
    });
    assert!(made >= 2_000 && counted >= 1_000, "{made} requests, {counted} counted");
    assert_eq!(serin.get("/api/flags/kept")["rolloutPercentage"], 25);
    serin.does(&["deploy", "rollback"]);
    assert_eq!(serin.state_file("deploy-state.json")["services"]["shop"]["current"], serde_json::Value::Null);
}

#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let serin = Serin::start(&three_lines(echo("one")));
    std::fs::write(serin.folder.path().join("serin.yaml"), "listen: nowhere").unwrap();
    serin.signal(Signal::USR2);
    let said = |text: &str| serin.log().iter().any(|line| line.contains(text));
    eventually("the refusal", || said("the next process is not ready").then_some(()));
    serin.says("listen is \"nowhere\"");
    assert_eq!(who(&serin), "one");
    serin.does(&["flags", "set", "still", "--rollout", "1"]);
    assert!(serin.successors().is_empty());
}

/// Who ends the service while it hands over means both processes, and cuts nobody.
#[test]
fn a_signal_to_end_during_an_upgrade_ends_both_in_peace() {
    for pause in [0, 5, 20, 60] {
        let slow = common::app::Scripted::start();
        slow.plays(&[
            common::app::Do::Pause(300),
            common::app::Do::Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ]);
        let config = format!("drain: {{ delay: 0s, timeout: 10s }}\n{}", three_lines(slow.address));
        let mut serin = Serin::start(&config);
        let proxy = serin.proxy;
        let client = std::thread::spawn(move || get(proxy, "/", "").status);
        eventually("its request", || (!slow.requests().is_empty()).then_some(()));
        serin.signal(Signal::USR2);
        std::thread::sleep(Duration::from_millis(pause));
        serin.signal(Signal::TERM);
        assert_eq!(client.join().unwrap(), 200, "{pause} ms");
        assert!(serin.ends().success(), "{pause} ms: {:?}", serin.log());
        // Who hears of it after the handover is another process by now: a manager knows that.
        if let Some(next) = serin.successors().last().filter(|_| pause > 0) {
            serin.serves_by(*next);
            serin.signal(Signal::TERM);
        }
        eventually("the end of both", || TcpStream::connect(proxy).is_err().then_some(()));
    }
}

/// What is no file would hold whoever reads it.
#[test]
fn a_pipe_in_the_files_place_stops_nothing() {
    let mut serin = Serin::start(&format!("drain: {{ delay: 0s, timeout: 1s }}\n{}", three_lines(echo("one"))));
    let file = serin.folder.path().join("serin.yaml");
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    serin.signal(Signal::HUP);
    eventually("the refusal", || (reloads(&serin, "refused") >= 1.0).then_some(()));
    assert_eq!(who(&serin), "one");
    serin.signal(Signal::TERM);
    assert!(serin.ends().success());
}

/// The next one has everything, and does not start: its address for the health listener is taken.
#[test]
fn an_upgrade_that_fails_late_changes_nothing_either() {
    let serin = Serin::start(&three_lines(echo("one")));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // A reload does not take it up: it needs a new start.
    let health = format!("health: {{ address: '{}' }}", taken.local_addr().unwrap());
    serin.write_config(&format!("{health}\n{}", three_lines(echo("one"))));
    serin.signal(Signal::USR2);
    eventually("the refusal", || {
        serin.log().iter().any(|line| line.contains("the next process does not serve")).then_some(())
    });
    assert_eq!(who(&serin), "one");
    serin.does(&["flags", "set", "still", "--rollout", "1"]);
    assert_eq!(serin.state_file("feature-flags.json")["flags"]["still"]["rolloutPercentage"], 1);
}

/// Fewer workers have several sockets each: all of them hear of a reload.
#[test]
fn after_an_upgrade_to_fewer_workers_a_reload_reaches_every_socket() {
    let text = |workers: usize, trusted: &str, state: &std::path::Path| {
        format!(
            "workers: {workers}\nstate: {{ directory: '{}' }}\nadmin: {{ address: '127.0.0.1:0' }}\n\
             listeners: [ {{ address: '127.0.0.1:0', trustedProxies: {trusted} }} ]\nstable: 'http://{}'\n",
            state.display(),
            echo("one")
        )
    };
    let mut serin = Serin::start(&three_lines(echo("one")));
    let state = serin.folder.path().join("state");
    serin.kill();
    serin.write_text(&text(4, "[127.0.0.0/8]", &state));
    serin.start_again();
    serin.write_text(&text(2, "[127.0.0.0/8]", &state));
    serin.upgrade();
    let believed = || {
        let claims = |_: &usize| get(serin.proxy, "/", "x-forwarded-for: 9.9.9.9\r\n").text().contains("9.9.9.9");
        (0..60).filter(claims).count()
    };
    assert_eq!(believed(), 60);
    serin.write_text(&text(2, "[]", &state));
    serin.signal(Signal::HUP);
    eventually("the reload", || (reloads(&serin, "applied") >= 1.0).then_some(()));
    eventually("the workers have heard of it", || (believed() < 60).then_some(()));
    assert_eq!(believed(), 0, "on every socket");
}

/// The kernel alone would pass a round by luck, and ten of them one time in a million.
#[test]
fn a_fresh_connection_goes_to_the_emptiest_worker() {
    let serin = Serin::start(&format!("workers: 4\n{}", three_lines(echo("one"))));
    let open = || -> Vec<f64> {
        let metrics = serin.metrics();
        let of = |worker| metrics.sum("serin_worker_connections", &[&format!("worker=\"{worker}\"")]);
        (0..4).map(of).collect()
    };
    for _ in 0..10 {
        let mut kept: Vec<TcpStream> = Vec::new();
        for _ in 0..16 {
            let mut stream = connect(serin.proxy);
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            assert_eq!(read_answer(&mut stream, false).status, 200);
            kept.push(stream);
        }
        let open_now = open();
        assert_eq!(open_now.iter().sum::<f64>(), 16.0);
        assert!(open_now.iter().all(|open| *open <= 5.0), "{open_now:?}, where the mean is 4");
        drop(kept);
        eventually("their end", || (open().iter().sum::<f64>() == 0.0).then_some(()));
    }
}

/// A process as systemd starts it: its socket from descriptor 3 on. The port is in the file.
const ACTIVATE: &str = "
import os, socket, sys
file, serin, app, state = sys.argv[1:]
sock = socket.create_server(('127.0.0.1', 0))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
with open(file, 'w') as out:
    out.write('state: { directory: %s }\\n' % state)
    out.write('listen: 127.0.0.1:%d\\nstable: http://%s\\nworkers: 2\\n' % (sock.getsockname()[1], app))
    out.write('admin: { address: 127.0.0.1:0 }\\ndrain: { delay: 0s, timeout: 1s }\\n')
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(serin, [serin, 'run', '--config', file])
";

#[test]
fn sockets_that_systemd_hands_over_are_taken_up_and_it_is_told_what_happens() {
    if !common::have("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, told) = (folder.path().join("serin.yaml"), folder.path().join("notify"));
    let hears = std::os::unix::net::UnixDatagram::bind(&told).unwrap();
    hears.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let said = || {
        let mut text = [0; 512];
        let length = hears.recv(&mut text).expect("the manager is told");
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    let process = std::process::Command::new("python3")
        .args(["-c", ACTIVATE])
        .args([file.as_os_str(), env!("CARGO_BIN_EXE_serin").as_ref()])
        .arg(echo("one").to_string())
        .arg(folder.path().join("state"))
        .env("NOTIFY_SOCKET", &told)
        .spawn()
        .unwrap();
    let mut process = common::Process::from(process);
    assert!(said().contains("READY=1"));
    let text = std::fs::read_to_string(&file).unwrap();
    let address: SocketAddr = text.lines().find_map(|line| line.strip_prefix("listen: ")?.parse().ok()).unwrap();
    (0..20).for_each(|_| assert!(get(address, "/", "").text().starts_with("one")));
    common::signal(process.child.id(), Signal::HUP);
    let reloading = said();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(said().contains("READY=1"));
    common::signal(process.child.id(), Signal::USR2);
    let next = said();
    let next = next.lines().find_map(|line| line.strip_prefix("MAINPID=")?.parse().ok());
    process.serving = next.expect("the next process");
    assert!(process.child.wait().unwrap().success());
    (0..20).for_each(|_| assert!(get(address, "/", "").text().starts_with("one")));
    common::signal(process.serving, Signal::TERM);
    assert!(said().contains("STOPPING=1"));
    eventually("its end", || TcpStream::connect(address).is_err().then_some(()));
}
