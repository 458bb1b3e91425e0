//! Faults of app servers and of the machine: for each what the client saw, what the app saw,
//! which outcome it was, and how the access log says that it ended.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::app::{Do, Scripted, nobody};
use common::certificates::Authority;
use common::frames::{self, frame};
use common::http::{Answer, connect, find, read_answer};
use common::{Process, Serin, eventually, signal};
use rustix::process::Signal;
use serde_json::Value;

const GET: &str = "GET /x HTTP/1.1\r\nhost: shop.test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n\r\nhello";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What is to be seen of an exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Seen {
    status: u16,
    /// `serin-error`.
    error: Option<&'static str>,
    complete: bool,
    outcome: Option<&'static str>,
    /// `end` of the access log.
    end: &'static str,
}

const GOOD: Seen = Seen { status: 200, error: None, complete: true, outcome: Some("success"), end: "complete" };

/// Answered by Serin in the app's place.
const fn own(status: u16, error: &'static str, outcome: &'static str) -> Seen {
    Seen { status, error: Some(error), complete: true, outcome: Some(outcome), end: "complete" }
}

const CUT: Seen = Seen { complete: false, outcome: Some("truncated"), end: "truncated", ..GOOD };

fn config(app: &str, log: &Path) -> String {
    format!(
        "workers: 1\naccessLog: {{ format: json, to: '{}', sample: 100 }}\nservices:\n  shop:\n    \
         pools: {{ blue: {{ endpoints: '{app}' }} }}\n    stable: blue\n    \
         ejection: {{ consecutiveErrors: 1000 }}\n    \
         timeouts: {{ connect: 1s, response: 800ms, stream: 800ms }}\n    errors: {{ abandonAfter: 300ms }}\n",
        log.display()
    )
}

/// Serin before one app, and its access log.
struct Bench {
    serin: Serin,
    folder: tempfile::TempDir,
}

impl Bench {
    fn before(app: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let serin = Serin::start(&config(app, &folder.path().join("access.log")));
        Self { serin, folder }
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Plays a client, and holds what is seen of it.
    fn holds(&self, name: &str, wanted: Seen, client: impl FnOnce(&mut TcpStream) -> Answer) {
        let (before, lines) = (self.serin.metrics(), self.lines().len());
        let mut stream = connect(self.serin.proxy);
        let answer = client(&mut stream);
        assert_eq!(answer.status, wanted.status, "{name}: {answer:?}");
        assert_eq!(answer.header("serin-error"), wanted.error, "{name}");
        assert_eq!(answer.complete, wanted.complete, "{name}: {answer:?}");
        drop(stream);
        let line = eventually(name, || self.lines().get(lines).cloned());
        assert_eq!(line["end"], wanted.end, "{name}: {line}");
        let outcome = line["outcome"].as_str();
        assert_eq!(outcome, wanted.outcome, "{name}: {line}");
        let after = self.serin.metrics();
        let grown =
            |labels: &[&str]| after.sum("serin_outcomes_total", labels) - before.sum("serin_outcomes_total", labels);
        assert_eq!(grown(&[]), f64::from(u8::from(wanted.outcome.is_some())), "{name}: one outcome at most");
        if let Some(outcome) = wanted.outcome {
            assert_eq!(grown(&[&format!("outcome=\"{outcome}\"")]), 1.0, "{name}: {outcome}");
        }
        let refused = |metrics: &common::Metrics| metrics.sum("serin_refused_total", &[]);
        assert_eq!(refused(&after), refused(&before), "{name}: an app's fault is no refusal");
    }

    fn asks(&self, name: &str, wanted: Seen) {
        self.holds(name, wanted, |stream| ask(stream, GET));
    }
}

fn ask(stream: &mut TcpStream, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream, request.starts_with("HEAD"))
}

fn endless(field: impl Fn(usize) -> String) -> &'static str {
    let fields: String = (0..20_000).map(field).collect();
    Box::leak(format!("HTTP/1.1 200 OK\r\n{fields}").into_boxed_str())
}

#[test]
fn faults_of_an_app_of_http_1_1() {
    use Do::{Close, Hang, Pause, Reset, Send};
    let app = Scripted::start();
    let bench = Bench::before(&format!("http://{}", app.address));
    let drip: Vec<Do> = OK.split_inclusive(|_: char| true).flat_map(|c| [Send(c), Pause(5)]).collect();
    let rows: Vec<(&str, Vec<Do>, Seen)> = vec![
        ("reset before the head", vec![Reset], own(502, "upstreamReset", "reset")),
        ("closed before the head", vec![Close], own(502, "upstreamReset", "reset")),
        (
            "reset in the head",
            vec![Send("HTTP/1.1 200 OK\r\nx: "), Pause(50), Reset],
            own(502, "upstreamReset", "reset"),
        ),
        ("accepts and says nothing", vec![Hang], own(504, "upstreamTimeout", "timeout")),
        ("half a head", vec![Send("HTTP/1.1 200 OK\r\nx: "), Hang], own(504, "upstreamTimeout", "timeout")),
        (
            "fields without end",
            vec![Send(endless(|n| format!("x-{n}: y\r\n"))), Hang],
            own(502, "upstreamProtocol", "protocol"),
        ),
        (
            "a field without end",
            vec![Send(endless(|_| "x".repeat(100))), Hang],
            own(502, "upstreamProtocol", "protocol"),
        ),
        ("a byte at a time", drip, GOOD),
        ("closes after its answer", vec![Send(OK), Close], GOOD),
        ("an idle connection that the app has closed is none", vec![Send(OK)], GOOD),
        ("a body that breaks off", vec![Send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), Close], CUT),
        ("a body that is reset", vec![Send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), Pause(50), Reset], CUT),
        ("a body that falls silent", vec![Send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"), Hang], CUT),
    ];
    for (name, script, wanted) in rows {
        app.plays(&script);
        let before = app.requests().len();
        bench.asks(name, wanted);
        let more = app.requests().len() - before;
        // GET may be sent once more where an idle connection was dead.
        assert_eq!(more, 1, "{name}: requests that the app saw");
    }
    let dead = Bench::before(&format!("http://{}", nobody()));
    dead.asks("refuses", own(502, "upstreamConnect", "connect"));
}

#[test]
fn a_client_leaves_at_each_point() {
    use Do::{Await, Hang, Send};
    let app = Scripted::start();
    let bench = Bench::before(&format!("http://{}", app.address));
    let gone = Seen { status: 0, error: None, complete: false, outcome: None, end: "clientLeft" };
    let leaves = |after: u64, request: &'static str| {
        move |stream: &mut TcpStream| {
            stream.write_all(request.as_bytes()).unwrap();
            std::thread::sleep(millis(after));
            Answer::default()
        }
    };
    let part = "POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 50\r\n\r\nhello";
    app.plays(&[Hang]);
    bench.holds("before the head, early", gone, leaves(50, GET));
    bench.holds("before the head, late", Seen { outcome: Some("abandoned"), ..gone }, leaves(500, GET));
    bench.holds("in its own body", gone, leaves(500, part));
    app.plays(&[Await("hello"), Send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nok"), Hang]);
    let in_answer = Seen { status: 200, ..gone };
    bench.holds("in the answer's body", in_answer, |stream| {
        stream.write_all(POST.as_bytes()).unwrap();
        Answer { complete: false, ..read_answer(stream, true) }
    });
}

/// An endless row of interim answers ends in bounded memory and time, whether or not the
/// client reads: no worker is kept from its other requests by it.
#[test]
fn endless_interim_answers_are_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let interim = format!("HTTP/1.1 103 Early Hints\r\nlink: <{}>\r\n\r\n", "x".repeat(500)).repeat(100);
            std::thread::spawn(move || {
                // What comes before the request is no answer to it, but the connection's end.
                let mut request = [0; 1 << 14];
                while stream.read(&mut request).is_ok_and(|read| read > 0 && !request[..read].ends_with(b"\r\n\r\n")) {}
                while stream.write_all(interim.as_bytes()).is_ok() {}
            });
        }
    });
    let bench = Bench::before(&format!("http://{address}"));
    let before = bench.serin.resident();
    let no_answer = own(502, "upstreamProtocol", "protocol");
    bench.asks("a client that reads", no_answer);
    // A client that reads nothing.
    let outcomes = || bench.serin.metrics().sum("serin_outcomes_total", &["outcome=\"protocol\""]);
    let mut client = connect(bench.serin.proxy);
    client.write_all(GET.as_bytes()).unwrap();
    eventually("the request's outcome", || (outcomes() == 2.0).then_some(()));
    let grown = bench.serin.resident().saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB for two clients");
}

/// A process that answers as an app does, and can be stopped.
fn stoppable() -> (Process, SocketAddr) {
    let program = "import socket\nl=socket.create_server(('127.0.0.1',0))\nprint(l.getsockname()[1],flush=True)\n\
                   while True:\n c,_=l.accept()\n while True:\n  d=c.recv(65536)\n  if not d: break\n  \
                   if b'\\r\\n\\r\\n' in d: c.sendall(b'HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok')\n";
    let mut child = Command::new("python3").args(["-c", program]).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut port).unwrap();
    (Process::from(child), SocketAddr::from(([127, 0, 0, 1], port.trim().parse().unwrap())))
}

#[test]
fn an_app_that_is_stopped_is_a_timeout_and_goes_on_later() {
    let (process, address) = stoppable();
    let bench = Bench::before(&format!("http://{address}"));
    bench.asks("before", GOOD);
    signal(process.child.id(), Signal::STOP);
    bench.asks("stopped, on an idle connection", own(504, "upstreamTimeout", "timeout"));
    // The kernel accepts in the app's place.
    bench.asks("stopped, on a new connection", own(504, "upstreamTimeout", "timeout"));
    signal(process.child.id(), Signal::CONT);
    bench.asks("goes on", GOOD);
}

/// A body that the app does not take has a deadline as well: the exchange would last for
/// ever, whoever still waits for it.
#[test]
fn an_app_that_does_not_take_a_body_is_an_error_in_time() {
    let (process, address) = stoppable();
    let bench = Bench::before(&format!("http://{address}"));
    signal(process.child.id(), Signal::STOP);
    let mut client = connect(bench.serin.proxy);
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    client.write_all(b"POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 1000000000\r\n\r\n").unwrap();
    // More than all buffers on the way hold.
    while client.write_all(&[b'x'; 65536]).is_ok() {}
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let answer = read_answer(&mut client, false);
    assert!(matches!(answer.status, 502 | 504), "nothing within 5 s, with response and stream at 800 ms");
}

#[test]
fn a_client_that_leaves_while_the_app_does_not_take_its_body_leaves_nothing_behind() {
    let (process, address) = stoppable();
    let bench = Bench::before(&format!("http://{address}"));
    signal(process.child.id(), Signal::STOP);
    let open = || bench.serin.metrics().sum("serin_connections_open", &[]);
    let mut client = connect(bench.serin.proxy);
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    client.write_all(b"POST /x HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 1000000000\r\n\r\n").unwrap();
    while client.write_all(&[b'x'; 65536]).is_ok() {}
    common::http::reset(&client);
    drop(client);
    let begun = Instant::now();
    while open() > 0.0 && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(millis(50));
    }
    assert_eq!(open(), 0.0, "the connection is still there");
}

#[test]
fn an_app_of_tls_that_is_not_believed_is_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (known, other) = (Authority::named(folder.path(), "known"), Authority::named(folder.path(), "other"));
    let good = known.issue("good", &["127.0.0.1"]);
    let rows = [
        ("believed", good.clone(), GOOD),
        ("for another name", known.issue("name", &["shop.test"]), own(502, "upstreamConnect", "connect")),
        ("by another authority", other.issue("other", &["127.0.0.1"]), own(502, "upstreamConnect", "connect")),
        ("expired", known.issue_until("expired", &["127.0.0.1"], 2001), own(502, "upstreamConnect", "connect")),
    ];
    for (name, files, wanted) in rows {
        let app = Serin::start_with(
            &format!("stable: 'http://{}'\n", common::app::answering(|_| OK.to_owned())),
            &format!(", tls: {{ certificates: [ {} ] }}", files.yaml()),
            &[],
        );
        let log = folder.path().join(format!("{name}.log"));
        let text = config("APP", &log).replace(
            "endpoints: 'APP'",
            &format!("endpoints: 'https://{}', tls: {{ ca: '{}' }}", app.proxy, known.file.display()),
        );
        let serin = Serin::start(&text);
        let mut stream = connect(serin.proxy);
        let answer = ask(&mut stream, GET);
        assert_eq!((answer.status, answer.header("serin-error")), (wanted.status, wanted.error), "{name}: {answer:?}");
        let outcome = format!("outcome=\"{}\"", wanted.outcome.unwrap());
        assert_eq!(serin.metrics().sum("serin_outcomes_total", &[&outcome]), 1.0, "{name}");
    }
}

/// An app of HTTP/2 that answers each connection's requests by a function of the connection
/// and the stream; `None` closes.
fn http2_app(settings: bool, answer: impl Fn(usize, u32) -> Option<Vec<u8>> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for (number, mut stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || -> std::io::Result<()> {
                stream.set_nodelay(true)?;
                if settings {
                    stream.write_all(
                        &[frame(frames::SETTINGS, 0, 0, b""), frame(frames::SETTINGS, 1, 0, b"")].concat(),
                    )?;
                }
                let mut bytes = vec![0; frames::PREFACE.len()];
                stream.read_exact(&mut bytes)?;
                loop {
                    let mut head = [0; 9];
                    stream.read_exact(&mut head)?;
                    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
                    stream.read_exact(&mut payload)?;
                    if head[3] == frames::HEADERS {
                        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                        match answer(number, id) {
                            Some(bytes) => stream.write_all(&bytes)?,
                            None => return Ok(()),
                        }
                    }
                }
            });
        }
    });
    address
}

fn ok(stream: u32) -> Vec<u8> {
    let head = frame(frames::HEADERS, frames::END_HEADERS, stream, &[0x88]);
    [head, frame(frames::DATA, frames::END_STREAM, stream, b"ok")].concat()
}

fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(frames::RST_STREAM, 0, stream, &reason.to_be_bytes())
}

fn goaway(last: u32) -> Vec<u8> {
    frame(frames::GOAWAY, 0, 0, &[last.to_be_bytes(), 0_u32.to_be_bytes()].concat())
}

#[test]
fn faults_of_an_app_of_http2() {
    let first = |number: usize, yes: Vec<u8>, id: u32| Some(if number == 0 { yes } else { ok(id) });
    let part =
        |id: u32| [frame(frames::HEADERS, frames::END_HEADERS, id, &[0x88]), frame(frames::DATA, 0, id, b"o")].concat();
    type Reply = Box<dyn Fn(usize, u32) -> Option<Vec<u8>> + Send + Sync>;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let rows: Vec<(&str, bool, Reply, Seen)> = vec![
        ("good", true, Box::new(|_, id| Some(ok(id))), GOOD),
        (
            "refused once, then answered",
            true,
            Box::new(move |_, id| {
                let again = counted.fetch_add(1, Ordering::Relaxed) > 0;
                Some(if again { ok(id) } else { reset(id, frames::REFUSED_STREAM) })
            }),
            GOOD,
        ),
        (
            "refuses always",
            true,
            Box::new(|_, id| Some(reset(id, frames::REFUSED_STREAM))),
            own(502, "upstreamReset", "reset"),
        ),
        ("reset before the head", true, Box::new(|_, id| Some(reset(id, 2))), own(502, "upstreamReset", "reset")),
        ("GOAWAY that has not seen the request", true, Box::new(move |number, id| first(number, goaway(0), id)), GOOD),
        ("GOAWAY in the middle, and the answer", true, Box::new(|_, id| Some([goaway(id), ok(id)].concat())), GOOD),
        ("reset in the body", true, Box::new(move |_, id| Some([part(id), reset(id, 2)].concat())), CUT),
        ("dies before the head", true, Box::new(|_, _| None), own(502, "upstreamReset", "reset")),
        ("falls silent in the body", true, Box::new(move |_, id| Some(part(id))), CUT),
        ("never answers", true, Box::new(|_, _| Some(vec![])), own(504, "upstreamTimeout", "timeout")),
        ("never says its settings", false, Box::new(|_, _| Some(vec![])), own(504, "upstreamTimeout", "timeout")),
        (
            "speaks another protocol",
            false,
            Box::new(|_, _| Some(b"HTTP/1.1 400 Bad\r\n\r\n".to_vec())),
            own(502, "upstreamReset", "reset"),
        ),
    ];
    for (name, settings, reply, wanted) in rows {
        let bench = Bench::before(&format!("h2c://{}", http2_app(settings, reply)));
        bench.asks(name, wanted);
    }
}

#[test]
fn an_app_of_http2_that_dies_in_a_body_cuts_it_and_the_next_request_has_another_connection() {
    let app = http2_app(true, |number, id| {
        let head = frame(frames::HEADERS, frames::END_HEADERS, id, &[0x88]);
        match (number, id) {
            (0, 1) => Some([head, frame(frames::DATA, 0, id, b"o")].concat()),
            (0, _) => None,
            _ => Some(ok(id)),
        }
    });
    let bench = Bench::before(&format!("h2c://{app}"));
    let mut victim = connect(bench.serin.proxy);
    victim.write_all(GET.as_bytes()).unwrap();
    let mut byte = [0; 1];
    while victim.read_exact(&mut byte).is_ok() && byte[0] != b'1' {}
    // Another request has the app die. A dead connection gives a GET back: it may be sent again.
    let mut other = connect(bench.serin.proxy);
    assert!(matches!(ask(&mut other, GET).status, 200 | 502));
    let mut rest = Vec::new();
    let _ = victim.read_to_end(&mut rest);
    assert!(find(&rest, b"\r\n0\r\n\r\n").is_none(), "a part looks like a whole: {}", String::from_utf8_lossy(&rest));
    eventually("both lines", || (bench.lines().len() == 2).then_some(()));
    bench.asks("afterwards", GOOD);
    let truncated = bench.serin.metrics().sum("serin_outcomes_total", &["outcome=\"truncated\""]);
    assert_eq!(truncated, 1.0);
}

/// Descriptors are used up: who is connected is served, nothing spins, and what is missing is
/// no fault of the app's.
#[test]
fn without_descriptors_connections_go_on_and_nothing_spins() {
    let app = Scripted::start();
    app.plays(&[Do::Send(OK)]);
    let serin = Serin::start_limited(&format!("workers: 1\nstable: 'http://{}'\n", app.address), 64);
    let get = |client: &mut TcpStream| ask(client, GET).status;
    let mut inside = connect(serin.proxy);
    assert_eq!(get(&mut inside), 200);
    let crowd: Vec<TcpStream> = (0..100).map(|_| connect(serin.proxy)).collect();
    // Each may need a connection to the app, too: accepting pauses before there is none left.
    let open = || serin.metrics().sum("serin_connections_open", &[]);
    let most = eventually("a pause", || {
        let before = open();
        std::thread::sleep(millis(200));
        Some(before).filter(|before| *before > 1.0 && *before == open())
    });
    assert!(most < 32.0, "{most} connections with 64 descriptors");
    assert_eq!(get(&mut inside), 200, "on the app's idle connection");
    let (before, lines) = (serin.processor_time(), serin.log().len());
    std::thread::sleep(Duration::from_secs(2));
    let (busy, said) = (serin.processor_time() - before, serin.log().len() - lines);
    assert!(busy < millis(500), "{busy:?} in two seconds");
    // The app's idle connection is gone by now: who is connected still needs one.
    std::thread::sleep(Duration::from_secs(3));
    let status = get(&mut inside);
    drop(crowd);
    eventually("a new connection", || (get(&mut connect(serin.proxy)) == 200).then_some(()));
    let outcomes = serin.metrics().sum("serin_outcomes_total", &["outcome=\"connect\""]);
    assert_eq!((status, outcomes), (200, 0.0), "Serin's own want of descriptors is no error of the app");
    assert!(said <= 10, "{said} lines of log in two seconds");
}
