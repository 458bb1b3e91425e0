//! The table of SPEC 3 with raw sockets on both sides: what happened, what the
//! client saw, and which outcome it was.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::Write;
use std::time::Duration;

use common::app::{Do, Scripted, nobody};
use common::http::{Answer, connect, read_answer, reset};
use common::{Metrics, Serin, eventually};

const GET: &str = "GET /x HTTP/1.1\r\nhost: shop.test\r\n\r\n";
const HEAD: &str = "HEAD /x HTTP/1.1\r\nhost: shop.test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n\r\nhello";
const POST_CHUNKED: &str =
    "POST /x HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const POST_UNFINISHED: &str = "POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 50\r\n\r\nhello";
const EXPECTING: &str = "POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// What the client does after it has written its request.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Reads the answer to its end.
    Reads,
    /// Leaves after so many milliseconds without an answer.
    Leaves(u64),
    /// Reads the head and leaves in the body.
    LeavesInBody,
    /// Leaves with a reset.
    Resets(u64),
    /// Writes more once the interim answer has come.
    WritesOnContinue(&'static str),
    /// Writes more after so many milliseconds.
    WritesAfter(u64, &'static str),
}

struct Row {
    name: &'static str,
    request: String,
    app: Vec<Do>,
    then: Then,
    /// The status that the client sees; 0: none.
    status: u16,
    /// Whether the answer ended as promised.
    complete: bool,
    /// The outcome; `None`: none.
    outcome: Option<&'static str>,
    /// The code that was counted; `None`: refused before any attempt.
    code: Option<&'static str>,
}

fn row(name: &'static str, request: &str, app: &[Do]) -> Row {
    Row {
        name,
        request: request.to_owned(),
        app: app.to_vec(),
        then: Then::Reads,
        status: 200,
        complete: true,
        outcome: Some("success"),
        code: Some("200"),
    }
}

impl Row {
    fn sees(mut self, status: u16) -> Self {
        self.status = status;
        self.code = Some(Box::leak(status.to_string().into_boxed_str()));
        self
    }

    fn is(mut self, outcome: &'static str) -> Self {
        self.outcome = Some(outcome);
        self
    }

    fn broken(mut self) -> Self {
        self.complete = false;
        self.is("truncated")
    }

    fn none(mut self) -> Self {
        self.outcome = None;
        self
    }

    /// The client has left before the head.
    fn gone(mut self, then: Then) -> Self {
        (self.then, self.status, self.complete) = (then, 0, false);
        self.code = Some("499");
        self.none()
    }

    fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }

    fn refused(mut self, status: u16) -> Self {
        self = self.sees(status).none();
        self.code = None;
        self
    }
}

fn good_answers() -> Vec<Row> {
    use Do::{Close, Pause, Send};
    vec![
        row("content-length", GET, &[Send(OK)]),
        row("chunked", GET, &[Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")]),
        row("close-delimited", GET, &[Send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"), Close]),
        row("empty", GET, &[Send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]),
        row("HEAD with a length", HEAD, &[Send("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n")]),
        row("HEAD, chunked", HEAD, &[Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")]),
        row("204", GET, &[Send("HTTP/1.1 204 No Content\r\n\r\n")]).sees(204),
        row("304 with a length", GET, &[Send("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n")]).sees(304),
        row("404 is the app's good answer", GET, &[Send("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")])
            .sees(404),
        row("a redirect", GET, &[Send("HTTP/1.1 301 Moved\r\nlocation: /y\r\ncontent-length: 0\r\n\r\n")]).sees(301),
        row("an interim answer before", GET, &[Send("HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"), Send(OK)]),
        row("HTTP/1.0 of an old app", GET, &[Send("HTTP/1.0 200 OK\r\n\r\nok"), Close]),
        row("a body in pieces", GET, &[Send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"), Pause(30), Send("cd")]),
        row("a head in pieces", GET, &[Send("HTTP/1.1 200 OK\r\ncont"), Pause(30), Send("ent-length: 2\r\n\r\nok")]),
        row(
            "trailers",
            GET,
            &[Send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\n\r\n",
            )],
        ),
        row("POST with a length", POST, &[Do::Await("hello"), Send(OK)]),
        row("POST, chunked", POST_CHUNKED, &[Do::Await("0\r\n\r\n"), Send(OK)]),
        row(
            "an outcome header that says success",
            GET,
            &[Send("HTTP/1.1 200 OK\r\nx-serin-outcome: success\r\ncontent-length: 0\r\n\r\n")],
        ),
    ]
}

fn bad_answers() -> Vec<Row> {
    use Do::{Close, Hang, Reset, Send};
    let fails = |name, status: u16, text| row(name, GET, &[Send(text)]).sees(status).is("status");
    let broken = |name, script: &[Do]| row(name, GET, script).broken();
    let no_head = |name, script: &[Do], status: u16, outcome| row(name, GET, script).sees(status).is(outcome);
    vec![
        fails("500", 500, "HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno"),
        fails("503", 503, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"),
        fails("599, the last one", 599, "HTTP/1.1 599 X\r\ncontent-length: 0\r\n\r\n"),
        row("500 to HEAD", HEAD, &[Send("HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\n")]).sees(500).is("status"),
        row(
            "the app's own word",
            GET,
            &[Send("HTTP/1.1 200 OK\r\nx-serin-outcome: error\r\ncontent-length: 0\r\n\r\n")],
        )
        .is("app"),
        Row {
            complete: false,
            ..row(
                "a 500 that breaks off is one error",
                GET,
                &[Send("HTTP/1.1 500 Oops\r\ncontent-length: 9\r\n\r\nno"), Close],
            )
            .sees(500)
            .is("status")
        },
        no_head("closed before the head", &[Close], 502, "reset"),
        no_head("reset before the head", &[Reset], 502, "reset"),
        no_head("closed in the head", &[Send("HTTP/1.1 200 OK\r\ncontent-le"), Close], 502, "reset"),
        no_head("no HTTP", &[Send("hello world, this is no http\r\n\r\n"), Close], 502, "protocol"),
        no_head("another version", &[Send("HTTP/3.9 200 OK\r\n\r\n"), Close], 502, "protocol"),
        no_head("a status that is none", &[Send("HTTP/1.1 abc OK\r\n\r\n"), Close], 502, "protocol"),
        no_head(
            "differing lengths",
            &[Send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok"), Close],
            502,
            "protocol",
        ),
        no_head(
            "an upgrade nobody asked for",
            &[Send("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), Hang],
            502,
            "protocol",
        ),
        no_head("no answer in time", &[Hang], 504, "timeout"),
        no_head("half a head in time", &[Send("HTTP/1.1 200 OK\r\n"), Hang], 504, "timeout"),
        broken("a body shorter than declared", &[Send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), Close]),
        broken("a reset in the body", &[Send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), Do::Pause(50), Reset]),
        broken(
            "a chunk that breaks off",
            &[Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"), Close],
        ),
        broken("no last chunk", &[Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"), Close]),
        broken(
            "a chunk size that is none",
            &[Send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n"), Hang],
        ),
        broken("silence in the body", &[Send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), Hang]),
        Row {
            request: GET.replace("shop.test", "dead.test"),
            ..row("connection refused", GET, &[]).sees(502).is("connect")
        },
    ]
}

fn clients() -> Vec<Row> {
    use Do::{Await, Close, Hang, Pause, Send};
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok";
    vec![
        row("the client leaves early", GET, &[Hang]).gone(Then::Leaves(20)),
        row("the client leaves after a long wait", GET, &[Hang]).gone(Then::Leaves(350)).is("abandoned"),
        row("the client resets after a long wait", GET, &[Hang]).gone(Then::Resets(350)).is("abandoned"),
        row("the client leaves in a POST early", POST, &[Await("hello"), Hang]).gone(Then::Leaves(20)),
        Row {
            complete: false,
            ..row("the client leaves in the body", GET, &[Send(long), Hang]).then(Then::LeavesInBody).none()
        },
        Row {
            complete: false,
            ..row(
                "the client leaves in the body of an error",
                GET,
                &[Send("HTTP/1.1 500 X\r\ncontent-length: 100\r\n\r\nok"), Hang],
            )
            .sees(500)
            .then(Then::LeavesInBody)
            .is("status")
        },
        row("an unfinished body, then gone", POST_UNFINISHED, &[Hang]).gone(Then::Leaves(350)),
        Row {
            code: Some("499"),
            ..row("a body with a chunk that is none", &POST_CHUNKED.replace("5\r\nhello", "zz\r\nhello"), &[Hang])
                .sees(400)
                .none()
        },
        row(
            "an early final answer",
            POST_UNFINISHED,
            &[Send("HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n"), Pause(50), Close],
        )
        .sees(413),
        row("100-continue", EXPECTING, &[Send("HTTP/1.1 100 Continue\r\n\r\n"), Await("hello"), Send(OK)])
            .then(Then::WritesOnContinue("hello")),
        row("100-continue refused", EXPECTING, &[Send("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n")]).sees(417),
        row("100-continue that the app does not know", EXPECTING, &[Await("hello"), Send(OK)])
            .then(Then::WritesAfter(50, "hello")),
        row("a slow client's body is not the app's time", POST_UNFINISHED, &[Await("hellohello"), Send(OK)])
            .then(Then::WritesAfter(600, "hellohellohellohellohellohellohellohellohello")),
        row("an ignored path", &GET.replace("/x", "/up"), &[Send("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n")])
            .sees(500)
            .none(),
        row("an ignored user agent", &GET.replace("\r\n\r\n", "\r\nuser-agent: kube-probe/1.30\r\n\r\n"), &[Send(OK)])
            .none(),
    ]
}

fn refusals() -> Vec<Row> {
    let refused = |name, request: &str, status| row(name, request, &[Do::Send(OK)]).refused(status);
    let with = |field: &str| GET.replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"));
    vec![
        refused("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
        refused("two Hosts", &with("host: other.test"), 400),
        refused("a Host that is none", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
        refused("a Host with userinfo", "GET / HTTP/1.1\r\nhost: me@shop.test\r\n\r\n", 400),
        refused(
            "an absolute target for another Host",
            "GET http://other.test/ HTTP/1.1\r\nhost: shop.test\r\n\r\n",
            400,
        ),
        refused("CONNECT", "CONNECT shop.test:80 HTTP/1.1\r\nhost: shop.test:80\r\n\r\n", 400),
        refused("a coding that is not chunked", &with("transfer-encoding: gzip, chunked"), 400),
        refused("two codings", &with("transfer-encoding: chunked\r\ntransfer-encoding: chunked"), 400),
        refused("a dot segment", &GET.replace("/x", "/a/../x"), 400),
        refused("an encoded dot segment", &GET.replace("/x", "/a/%2e%2E/x"), 400),
        refused("Connection that names Host", &with("connection: host"), 400),
        refused("nobody's host", &GET.replace("shop.test", "elsewhere.test"), 404),
        refused("a body over the limit", &POST.replace("length: 5", "length: 9999999"), 413),
        refused("a target over the limit", &GET.replace("/x", &format!("/{}", "x".repeat(3_000))), 414),
    ]
}

#[test]
fn every_exchange_has_the_outcome_of_the_table() {
    let app = Scripted::start();
    let serin = Serin::start(&format!(
        "limits: {{ bodyBytes: 1MiB, uriBytes: 2KiB }}\n\
         services:\n  shop:\n    match: {{ hosts: shop.test }}\n    \
         pools: {{ blue: {{ endpoints: 'http://{}' }} }}\n    stable: blue\n    \
         timeouts: {{ connect: 1s, response: 400ms, stream: 400ms }}\n    \
         errors: {{ abandonAfter: 200ms, ignore: {{ paths: [/up], userAgents: [kube-probe] }} }}\n  \
         dead:\n    match: {{ hosts: dead.test }}\n    \
         pools: {{ blue: {{ endpoints: 'http://{}' }} }}\n    stable: blue\n",
        app.address,
        nobody(),
    ));
    let rows: Vec<Row> = [good_answers(), bad_answers(), clients(), refusals()].into_iter().flatten().collect();
    assert!(rows.len() >= 40, "{} rows", rows.len());
    for row in &rows {
        check(&serin, &app, row);
    }
}

fn check(serin: &Serin, app: &Scripted, row: &Row) {
    let before = serin.metrics();
    app.plays(&row.app);
    let answer = play_client(serin, row);
    assert_eq!(answer.status, row.status, "{}: {answer:?}", row.name);
    assert_eq!(answer.complete, row.complete, "{}: {answer:?}", row.name);
    assert_eq!(answer.header("x-serin-outcome"), None, "{}: the app's word is not for clients", row.name);
    let made_by_serin = matches!(answer.status, 502 | 504) || (answer.status == 400 && row.outcome.is_none());
    let made_by_serin = made_by_serin || row.code.is_none();
    assert_eq!(answer.header("serin-error").is_some(), made_by_serin, "{}: {}", row.name, answer.head);
    let after = settled(serin, row, &before);
    let grown = |name: &str, labels: &[&str]| after.sum(name, labels) - before.sum(name, labels);
    assert_eq!(
        grown("serin_outcomes_total", &[]),
        f64::from(u8::from(row.outcome.is_some())),
        "{}: one outcome at most",
        row.name
    );
    if let Some(outcome) = row.outcome {
        assert_eq!(
            grown("serin_outcomes_total", &[&format!("outcome=\"{outcome}\"")]),
            1.0,
            "{}: {outcome}; {:?}",
            row.name,
            outcomes(&after, &before)
        );
    }
    assert_eq!(
        grown("serin_requests_total", &[]),
        f64::from(u8::from(row.code.is_some())),
        "{}: one request",
        row.name
    );
    // What the parser itself refuses is counted under its own name.
    assert_eq!(grown("serin_refused_total", &[]), f64::from(u8::from(row.code.is_none())), "{}: refused", row.name);
}

fn outcomes(after: &Metrics, before: &Metrics) -> Vec<String> {
    let changed = after.0.iter().filter(|(key, value)| before.0.get(*key) != Some(value));
    changed.map(|(key, value)| format!("{key} {value}")).filter(|line| line.starts_with("serin_")).collect()
}

/// The metrics once the exchange has been counted, and settled where it has an outcome.
fn settled(serin: &Serin, row: &Row, before: &Metrics) -> Metrics {
    eventually(row.name, || {
        let now = serin.metrics();
        let grown = |name: &str, label: &str| now.sum(name, &[label]) > before.sum(name, &[label]);
        let counted = match row.code {
            // Statuses that IANA does not list are `other`.
            Some("599") => grown("serin_requests_total", "code=\"other\""),
            Some(code) => grown("serin_requests_total", &format!("code=\"{code}\"")),
            None => grown("serin_refused_total", ""),
        };
        (counted && (row.outcome.is_none() || grown("serin_outcomes_total", ""))).then_some(now)
    })
}

fn play_client(serin: &Serin, row: &Row) -> Answer {
    let mut stream = connect(serin.proxy);
    stream.write_all(row.request.as_bytes()).unwrap();
    let to_head = row.request.starts_with("HEAD");
    match row.then {
        Then::Reads => read_answer(&mut stream, to_head),
        Then::Leaves(millis) => {
            std::thread::sleep(Duration::from_millis(millis));
            Answer::default()
        }
        Then::Resets(millis) => {
            std::thread::sleep(Duration::from_millis(millis));
            reset(&stream);
            Answer::default()
        }
        Then::LeavesInBody => Answer { complete: false, ..read_answer(&mut stream, true) },
        Then::WritesOnContinue(more) => {
            let mut interim = [0; 25];
            std::io::Read::read_exact(&mut stream, &mut interim).unwrap();
            assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n", "{}", row.name);
            stream.write_all(more.as_bytes()).unwrap();
            read_answer(&mut stream, to_head)
        }
        Then::WritesAfter(millis, more) => {
            std::thread::sleep(Duration::from_millis(millis));
            stream.write_all(more.as_bytes()).unwrap();
            read_answer(&mut stream, to_head)
        }
    }
}

fn plain(app: &Scripted) -> Serin {
    Serin::start(&format!("stable: 'http://{}'\n", app.address))
}

fn ask(serin: &Serin, request: &str) -> Answer {
    let mut stream = connect(serin.proxy);
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(&mut stream, false)
}

#[test]
fn a_request_on_a_dead_idle_connection_is_answered_by_a_new_one() {
    let app = Scripted::start();
    let serin = Serin::start(&format!("workers: 1\nstable: 'http://{}'\n", app.address));
    // The app closes after its answer without a word of it.
    app.plays(&[Do::Send(OK), Do::Close]);
    for n in 0..40 {
        assert_eq!(ask(&serin, GET).status, 200, "request {n}");
    }
    let metrics = serin.metrics();
    assert_eq!(metrics.sum("serin_outcomes_total", &["outcome=\"success\""]), 40.0);
    assert_eq!(metrics.sum("serin_outcomes_total", &[]), 40.0, "a dead idle connection is no attempt");
    assert_eq!(app.requests().len(), 40, "no request reached the app twice");
}

#[test]
fn a_post_on_a_dying_idle_connection_reaches_the_app_once_or_is_an_error() {
    let app = Scripted::start();
    let serin = Serin::start(&format!("workers: 1\nstable: 'http://{}'\n", app.address));
    app.plays(&[Do::Await("hello"), Do::Send(OK), Do::Close]);
    // Whether the app's end arrives before the next request is written is chance: seen
    // before, the request goes to a new connection; else it may have been read.
    let answered = (0..40).filter(|_| ask(&serin, POST).status == 200).count();
    assert!(answered >= 1);
    assert_eq!(app.requests().len(), answered, "none reached it twice, none that failed did");
    let metrics = serin.metrics();
    assert_eq!(metrics.sum("serin_outcomes_total", &["outcome=\"success\""]), answered as f64);
    assert_eq!(metrics.sum("serin_outcomes_total", &["outcome=\"reset\""]), 40.0 - answered as f64);
}

#[test]
fn a_request_that_the_app_read_and_dropped_is_an_error_and_not_sent_twice_where_that_is_unsafe() {
    let app = Scripted::start();
    let serin = Serin::start(&format!("workers: 1\nstable: 'http://{}'\n", app.address));
    app.plays(&[Do::Send(OK)]);
    let without_body = "POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(ask(&serin, without_body).status, 200);
    app.plays(&[Do::Close]);
    assert_eq!(ask(&serin, without_body).status, 502);
    assert_eq!(app.requests().len(), 2, "once each");
    assert_eq!(serin.metrics().sum("serin_outcomes_total", &["outcome=\"reset\""]), 1.0);
}

#[test]
fn an_early_final_answer_leaves_no_half_read_connection_behind() {
    let app = Scripted::start();
    let serin = Serin::start(&format!("workers: 1\nstable: 'http://{}'\n", app.address));
    app.plays(&[Do::Send("HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n")]);
    assert_eq!(ask(&serin, EXPECTING).status, 417);
    app.plays(&[Do::Send(OK)]);
    assert_eq!(ask(&serin, GET).status, 200);
    let seen = app.seen.lock().unwrap();
    assert_eq!(seen.connections, 2, "the first one still waited for a body");
    assert!(seen.requests[0].contains("expect: 100-continue") && !seen.requests[0].contains("hello"));
}

#[test]
fn keep_alive_connections_carry_one_request_after_another() {
    let app = Scripted::start();
    let serin = plain(&app);
    app.plays(&[Do::Send(OK)]);
    let mut stream = connect(serin.proxy);
    for _ in 0..5 {
        stream.write_all(GET.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream, false).text(), "ok");
    }
    // Pipelined: two at once, answered in their order.
    stream.write_all([GET, GET].concat().as_bytes()).unwrap();
    let mut bytes = Vec::new();
    while bytes.windows(2).filter(|two| two == b"ok").count() < 2 {
        let mut buffer = [0; 4096];
        let n = std::io::Read::read(&mut stream, &mut buffer).unwrap();
        assert!(n > 0);
        bytes.extend_from_slice(&buffer[..n]);
    }
    assert_eq!(app.seen.lock().unwrap().connections, 1);
}

#[test]
fn a_slow_head_is_answered_408_and_an_idle_connection_is_closed_silently() {
    let app = Scripted::start();
    let limits = "limits: { headerTimeout: 200ms, keepAlive: 300ms }";
    let serin = Serin::start(&format!("{limits}\nstable: 'http://{}'\n", app.address));
    let begun = std::time::Instant::now();
    let mut slow = connect(serin.proxy);
    slow.write_all(b"GET / HTTP/1.1\r\nhost: sh").unwrap();
    let answer = read_answer(&mut slow, false);
    assert_eq!((answer.status, answer.header("serin-error")), (408, Some("headerTimeout")));
    assert!(answer.complete);
    let mut idle = connect(serin.proxy);
    assert_eq!(read_answer(&mut idle, false).status, 0, "closed without a word");
    assert!(begun.elapsed() < Duration::from_secs(8), "by the defaults it would be 10 s and 75 s");
    assert_eq!(serin.metrics().sum("serin_refused_total", &["headerTimeout"]), 1.0);
}

#[test]
fn bodies_pass_in_both_directions_at_once() {
    // Each side writes more than all buffers hold before it reads.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    const SIZE: usize = 8 << 20;
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1];
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            std::io::Read::read_exact(&mut stream, &mut head).unwrap();
            seen.push(head[0]);
        }
        stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let sender = std::thread::spawn(move || writer.write_all(&vec![b'a'; SIZE]));
        let mut body = vec![0; SIZE];
        std::io::Read::read_exact(&mut stream, &mut body).unwrap();
        sender.join().unwrap().unwrap();
    });
    let serin = Serin::start(&format!("stable: 'http://{address}'\n"));
    let mut stream = connect(serin.proxy);
    stream.write_all(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n").as_bytes()).unwrap();
    // All of it is written before a byte of the answer is read.
    stream.write_all(&vec![b'b'; SIZE]).unwrap();
    let answer = read_answer(&mut stream, false);
    assert_eq!((answer.status, answer.body.len(), answer.complete), (200, SIZE, true));
}
