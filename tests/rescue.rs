//! A canary that costs users nothing: shield, retry, skew, and pools under fire.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::app::{Do, Scripted, answering, echo, nobody};
use common::http::{Answer, connect, exchange, find, get, read_answer, reset};
use common::{Serin, eventually};
use serde_json::json;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const FAILS: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 6\r\n\r\ncanary";

fn shop(stable: &[SocketAddr], canary: &[SocketAddr], more: &str) -> Serin {
    let list = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| format!("'http://{address}'")).collect::<Vec<_>>().join(", ")
    };
    Serin::start(&format!(
        "services:\n  shop:\n    pools:\n      blue: {{ endpoints: [{}], version: v1 }}\n      \
         green: {{ endpoints: [{}] }}\n    stable: blue\n    canary: green\n    {more}\n",
        list(stable),
        list(canary)
    ))
}

fn as_user(serin: &Serin, method: &str, path: &str, user: &str) -> Answer {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nx-user-id: {user}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    exchange(serin.proxy, request.as_bytes())
}

/// A user on the canary of the running deployment.
fn canary_user(serin: &Serin) -> String {
    let on_canary = |n: &u32| serin.get(&format!("/api/assignment?userId=user-{n}"))["track"] == "canary";
    format!("user-{}", (0..).find(on_canary).unwrap())
}

fn attempts(serin: &Serin, kind: &str, result: &str) -> f64 {
    let (kind, result) = (format!("kind=\"{kind}\""), format!("result=\"{result}\""));
    serin.metrics().sum("serin_attempts_total", &[&kind, &result])
}

#[test]
fn nobody_sees_the_errors_of_a_canary_that_fails_everything() {
    let serin = shop(&[echo("stable")], &[answering(|_| FAILS.to_owned())], "");
    serin.does(&["deploy", "start", "v2"]);
    let mut stream = connect(serin.proxy);
    let mut shielded = 0;
    for user in 0..600 {
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u-{user}\r\n\r\n").as_bytes()).unwrap();
        let answer = read_answer(&mut stream, false);
        assert_eq!(answer.status, 200, "user {user}");
        if answer.text().contains("x-serin-reason: shield\r\n") {
            shielded += 1;
            assert!(
                answer.text().contains("x-serin-track: stable\r\nx-serin-reason: shield\r\nx-serin-version: v1\r\n")
            );
        }
    }
    let record = eventually("the rollback", || Some(serin.deployment()).filter(|d| d["status"] == "rolled_back"));
    assert_eq!(record["metrics"]["canaryErrors"], shielded, "each is the canary's error");
    // Errors of four users prove it. Two of them may share a bucket, which is one user to the judge.
    let decision = &record["decision"];
    assert_eq!((decision["rule"].as_str(), decision["canary"]["users"].as_u64()), (Some("errors"), Some(4)));
    assert!((4..=6).contains(&shielded), "{shielded}");
    assert_eq!(attempts(&serin, "shield", "success"), f64::from(shielded));
    assert_eq!(serin.metrics().sum("serin_outcomes_total", &[]), 600.0, "one outcome an exchange");
    let stable = serin.metrics().sum("serin_outcomes_total", &["track=\"stable\"", "outcome=\"success\""]);
    assert_eq!(stable, 600.0 - f64::from(shielded), "a shielded request is no outcome of stable");
}

#[test]
fn where_stable_cannot_either_the_client_gets_the_first_answer() {
    let fails = |text: &'static str| {
        answering(move |_| format!("HTTP/1.1 503 No\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
    };
    let serin = shop(&[fails("stable")], &[fails("canary")], "deploy: { onFail: pause }");
    serin.does(&["deploy", "start", "v2"]);
    let user = canary_user(&serin);
    let answer = as_user(&serin, "GET", "/", &user);
    assert_eq!((answer.status, answer.text().as_str()), (503, "canary"));
    assert_eq!(attempts(&serin, "shield", "error"), 1.0);
}

#[test]
fn a_request_that_may_have_done_something_is_not_sent_again() {
    let canary = Scripted::start();
    canary.plays(&[Do::Send(FAILS)]);
    let serin = shop(&[echo("stable")], &[canary.address], "deploy: { onFail: pause }");
    serin.does(&["deploy", "start", "v2"]);
    let user = canary_user(&serin);
    assert_eq!(as_user(&serin, "POST", "/", &user).status, 500);
    assert_eq!(as_user(&serin, "DELETE", "/", &user).status, 500, "shielded are safe methods unless told otherwise");
    assert_eq!(as_user(&serin, "HEAD", "/", &user).status, 200);
    canary.plays(&[Do::Reset]);
    let sent = canary.requests().len();
    assert_eq!(as_user(&serin, "POST", "/", &user).status, 502);
    assert_eq!(canary.requests().len(), sent + 1, "once");
}

#[test]
fn a_request_that_never_left_goes_elsewhere_whatever_its_method() {
    let serin = shop(&[echo("stable")], &[nobody()], "deploy: { onFail: pause }");
    serin.does(&["deploy", "start", "v2"]);
    let user = canary_user(&serin);
    let request =
        format!("POST /x HTTP/1.1\r\nhost: a\r\nx-user-id: {user}\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi");
    let answer = exchange(serin.proxy, request.as_bytes());
    assert!(answer.status == 200 && answer.text().contains("x-serin-reason: shield"), "{answer:?}");
    assert_eq!(serin.metrics().sum("serin_outcomes_total", &["track=\"canary\"", "outcome=\"connect\""]), 1.0);
}

#[test]
fn another_app_server_of_the_track_comes_first() {
    let serin = shop(&[nobody(), echo("stable")], &[echo("canary")], "balance: roundRobin");
    for n in 0..6 {
        let answer = as_user(&serin, "POST", "/", "u");
        assert_eq!(answer.status, 200, "request {n}");
    }
    let (retried, charged) =
        (attempts(&serin, "retry", "success"), serin.metrics().sum("serin_outcomes_total", &["outcome=\"connect\""]));
    assert!(retried >= 2.0 && retried == charged, "{retried} retried, {charged} charged to the track");
}

#[test]
fn errors_in_a_row_leave_an_app_server_out() {
    let serin = shop(
        &[nobody(), echo("stable")],
        &[echo("canary")],
        "balance: roundRobin\n    ejection: { consecutiveErrors: 2, for: 1h }",
    );
    for _ in 0..20 {
        assert_eq!(as_user(&serin, "GET", "/", "u").status, 200);
    }
    assert_eq!(attempts(&serin, "retry", "success"), 2.0, "after that nobody goes there");
    let metrics = serin.metrics();
    assert_eq!(metrics.sum("serin_endpoint_ejections_total", &["pool=\"blue\""]), 1.0);
    assert_eq!(metrics.sum("serin_endpoint_available", &["pool=\"blue\""]), 1.0, "one of two");
}

/// An app that says of itself whether it is well.
fn with_health(name: &'static str, well: &Arc<AtomicBool>) -> SocketAddr {
    let well = Arc::clone(well);
    answering(move |head| {
        if head.starts_with("GET /up ") {
            let status = if well.load(Ordering::Relaxed) { "204 Fine" } else { "503 Unwell" };
            return format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        }
        let body = format!("{name}\n{head}");
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    })
}

const HEALTH: &str = "health: { path: /up, interval: 100ms, unhealthyAfter: 2, healthyAfter: 1 }";

fn available(serin: &Serin, pool: &str, expected: f64) {
    eventually("health", || {
        let pool = format!("pool=\"{pool}\"");
        Some(()).filter(|()| serin.metrics().sum("serin_endpoint_available", &[&pool]) == expected)
    });
}

#[test]
fn a_canary_without_a_healthy_app_server_is_served_by_stable_and_charged() {
    let well = Arc::new(AtomicBool::new(true));
    let serin = shop(&[echo("stable")], &[with_health("canary", &well)], HEALTH);
    // Stable's app answers 200 to anything.
    serin.does(&["deploy", "start", "v2"]);
    let user = canary_user(&serin);
    assert!(as_user(&serin, "GET", "/", &user).text().starts_with("canary\n"));
    well.store(false, Ordering::Relaxed);
    available(&serin, "green", 0.0);
    let answer = as_user(&serin, "POST", "/", &user);
    assert!(answer.text().contains("x-serin-track: stable\r\nx-serin-reason: fallback\r\n"), "{}", answer.text());
    assert_eq!(serin.metrics().sum("serin_outcomes_total", &["track=\"canary\"", "outcome=\"noEndpoint\""]), 1.0);
    serin.does(&["deploy", "rollback"]);
    let (status, problem) = serin.api("POST", "/api/deployments", &json!({ "version": "v3" }));
    assert_eq!((status, problem["code"].as_str()), (409, Some("unhealthyPool")));
    well.store(true, Ordering::Relaxed);
    available(&serin, "green", 1.0);
    serin.does(&["deploy", "start", "v3"]);
}

#[test]
fn without_any_healthy_app_server_there_is_a_503() {
    let well = Arc::new(AtomicBool::new(false));
    let serin = shop(&[with_health("stable", &well)], &[echo("canary")], HEALTH);
    available(&serin, "blue", 0.0);
    let answer = as_user(&serin, "GET", "/", "u");
    assert_eq!((answer.status, answer.header("serin-error")), (503, Some("noEndpoint")));
    assert!(answer.header("retry-after").is_some());
    well.store(true, Ordering::Relaxed);
    available(&serin, "blue", 1.0);
    assert_eq!(as_user(&serin, "GET", "/", "u").status, 200);
}

#[test]
fn a_page_of_one_version_finds_its_files_on_the_other() {
    let files = |name: &'static str, file: &'static str| {
        answering(move |head| {
            let found = head.starts_with(&format!("GET {file} "));
            let (status, body) = if found { ("200 OK", name) } else { ("404 Not Found", "nothing") };
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        })
    };
    let serin =
        shop(&[files("stable", "/assets/old.js")], &[files("canary", "/assets/new.js")], "skew: { paths: [/assets/] }");
    let asks = |path: &str, user: &str| {
        let answer = as_user(&serin, "GET", path, user);
        (answer.status, answer.text())
    };
    assert_eq!(asks("/assets/new.js", "anybody").0, 404, "without a deployment there is no other track");
    serin.does(&["deploy", "start", "v2"]);
    let user = canary_user(&serin);
    assert_eq!(asks("/assets/old.js", &user), (200, "stable".to_owned()));
    assert_eq!(asks("/assets/new.js", &user), (200, "canary".to_owned()));
    assert_eq!(asks("/assets/none.js", &user), (404, "nothing".to_owned()));
    assert_eq!(asks("/old.js", &user).0, 404);
    assert_eq!(serin.metrics().sum("serin_outcomes_total", &["track=\"canary\"", "outcome=\"success\""]), 4.0);
    assert_eq!(attempts(&serin, "skew", "success"), 2.0, "a 404 of the other one is a good answer, too");
}

#[test]
fn a_full_app_server_has_a_queue_and_then_says_so() {
    let app = Scripted::start();
    app.plays(&[Do::Pause(300), Do::Send(OK)]);
    let limit = "connections: { perEndpoint: 1, queue: 1 }\n    timeouts: { response: 5s }";
    let serin = shop(&[app.address], &[echo("canary")], limit);
    let ask = || get(serin.proxy, "/", "").status;
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(serin.metrics().sum("serin_outcomes_total", &["outcome=\"overflow\""]), 1.0);
    assert_eq!(ask(), 200, "its slot is free again");
}

#[test]
fn a_canary_that_accepts_and_never_answers_is_rolled_back_when_its_clients_leave() {
    let canary = Scripted::start();
    canary.plays(&[Do::Hang]);
    let serin = shop(&[echo("stable")], &[canary.address], "errors: { abandonAfter: 300ms }");
    serin.does(&["deploy", "start", "v2"]);
    let users: Vec<String> = (0..400).map(|n| format!("user-{n}")).collect();
    std::thread::scope(|scope| {
        for users in users.chunks(40) {
            let serin = &serin;
            scope.spawn(move || {
                for user in users {
                    let mut stream = connect(serin.proxy);
                    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: {user}\r\n\r\n");
                    stream.write_all(request.as_bytes()).unwrap();
                    stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
                    // Who does not hear anything leaves.
                    let _ = stream.read(&mut [0; 1024]);
                }
            });
        }
    });
    let record = eventually("the rollback", || Some(serin.deployment()).filter(|d| d["status"] == "rolled_back"));
    assert_eq!(record["decision"]["rule"], "errors");
    assert!(serin.metrics().sum("serin_outcomes_total", &["outcome=\"abandoned\""]) >= 4.0);
}

/// An app that dies like a process: its listener and all its connections at once.
struct Mortal {
    address: SocketAddr,
    listener: Arc<Mutex<Option<TcpListener>>>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    dead: Arc<AtomicBool>,
}

impl Mortal {
    /// `count` is told of each request when its work is done, before it is answered.
    fn start(count: Arc<dyn Fn(u64) + Send + Sync>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            listener: Arc::default(),
            streams: Arc::default(),
            dead: Arc::default(),
        };
        let accepting = listener.try_clone().unwrap();
        *app.listener.lock().unwrap() = Some(listener);
        let (streams, dead) = (Arc::clone(&app.streams), Arc::clone(&app.dead));
        std::thread::spawn(move || {
            for stream in accepting.incoming().map_while(Result::ok) {
                if dead.load(Ordering::Relaxed) {
                    reset(&stream);
                    return;
                }
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let count = Arc::clone(&count);
                std::thread::spawn(move || Self::serve(stream, &*count));
            }
        });
        app
    }

    fn serve(mut stream: TcpStream, count: &(dyn Fn(u64) + Send + Sync)) {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            while let Some(end) = find(&bytes, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
                bytes.drain(..end + 4);
                count(head.lines().find_map(|line| line.strip_prefix("x-id: ")).unwrap().parse().unwrap());
                if stream.write_all(OK.as_bytes()).is_err() {
                    return;
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(n) => bytes.extend_from_slice(&buffer[..n]),
            }
        }
    }

    fn dies(&self) {
        self.dead.store(true, Ordering::Relaxed);
        // Who is accepting sees it; nobody else is let in.
        let _ = TcpStream::connect(self.address);
        drop(self.listener.lock().unwrap().take());
        self.streams.lock().unwrap().drain(..).for_each(|stream| reset(&stream));
    }
}

#[test]
fn when_an_app_server_dies_under_load_get_never_fails_and_post_never_happens_twice() {
    const REQUESTS: u64 = 20_000;
    let times: Arc<Vec<AtomicU64>> = Arc::new((0..REQUESTS).map(|_| AtomicU64::new(0)).collect());
    let count = {
        let times = Arc::clone(&times);
        move |id: u64| {
            times[id as usize].fetch_add(1, Ordering::Relaxed);
        }
    };
    let count: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(count);
    let (mortal, other) = (Mortal::start(Arc::clone(&count)), Mortal::start(count));
    let serin = shop(&[mortal.address, other.address], &[echo("canary")], "ejection: { for: 1h }");
    let (next, failed_posts) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut stream = connect(serin.proxy);
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    if id >= REQUESTS {
                        return;
                    }
                    if id == REQUESTS / 2 {
                        mortal.dies();
                    }
                    let method = if id % 2 == 0 { "GET" } else { "POST" };
                    let request = format!("{method} / HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\ncontent-length: 0\r\n\r\n");
                    stream.write_all(request.as_bytes()).unwrap();
                    let status = read_answer(&mut stream, false).status;
                    match (method, status) {
                        (_, 200) => {}
                        ("POST", 502) => drop(failed_posts.fetch_add(1, Ordering::Relaxed)),
                        other => panic!("request {id}: {other:?}"),
                    }
                }
            });
        }
    });
    let twice = times.iter().skip(1).step_by(2).filter(|times| times.load(Ordering::Relaxed) > 1).count();
    assert_eq!(twice, 0, "a POST happened twice");
    let failed = failed_posts.load(Ordering::Relaxed);
    // Only what was under way when it died, and what met a dead idle connection of either worker.
    assert!(failed <= 64, "{failed} POSTs were told that they failed");
    assert_eq!(serin.metrics().sum("serin_requests_total", &["code=\"200\""]), (REQUESTS - failed) as f64);
}
