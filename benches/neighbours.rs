//! What a user notices of another one who attacks: latency beside idle connections, slow
//! clients, and each flood, as a ratio to the quiet one.
//!
//! `cargo bench --bench neighbours [-- [--realtime] [--only NAME]]`
//!
//! Serin has one worker, pinned to a core: whoever attacks and whoever is attacked share it.
//! App, measuring clients and attackers are processes of their own on another core, where the
//! attackers, and the app that they ask, get only what the others leave: what is measured is
//! what Serin makes others wait for, not the work of attackers and app servers.
//!
//! Clients ask once a millisecond on each of three connections, two of HTTP/1.1 and one of
//! HTTP/2. Who is kept waiting beyond that asks late, and its time counts from when it was due:
//! a stall is as long for those who would have asked meanwhile. Measurements alternate, quiet
//! and attacked, and the medians of their 99th hundredths are compared. On a machine that
//! others use a hundredth of all requests meets one of theirs: `--realtime` (for root) has them
//! wait, for four minutes. A row over the goal is measured once more.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::attacks::{Crowd, Flood, floods, pour, raise_descriptors};
use common::certificates::Authority;
use common::frames::{self, DATA, END_STREAM, Http2};
use common::http::{connect, narrow, read_answer, request};
use common::target::App;
use common::{PATIENCE, Process, Serin, eventually};

const SERIN_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// The goal: so many times the quiet 99th hundredth.
const GOAL: f64 = 2.0;
/// Quiet and attacked measurements of each row.
const PAIRS: usize = 3;
/// Requests of a connection in a measurement; there are three connections.
const REQUESTS: u32 = 1_000;
const PACE: Duration = Duration::from_millis(1);
/// Before these, connections to the app and buffers may have to be made.
const WARM_UP: u32 = 50;

/// Idle connections, and clients of a crowd.
const IDLE: usize = 10_000;
const CROWD: usize = 200;
/// Connections that attack at once.
const ATTACKERS: usize = 4;
/// No attack lasts longer, whoever forgets to end it.
const ATTACK_MAX: Duration = Duration::from_secs(15);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--realtime", ..] => realtime(&args[1..]),
        [] => compare(|_| true),
        ["--only", name] => compare(|row| row == name),
        ["app"] => app(),
        ["measure", proxy] => measure(proxy.parse().unwrap()),
        ["attack", name, proxy, tls] => attack(name, proxy.parse().unwrap(), tls.parse().unwrap()),
        _ => panic!("neighbours [--only NAME]"),
    }
}

// The bench itself.

/// Measures each row that is wanted, and fails where one is over the goal.
fn compare(wanted: impl Fn(&str) -> bool) {
    let rows: Vec<_> = attacks().into_iter().map(|(name, _)| name).filter(|name| wanted(name)).collect();
    if rows.is_empty() {
        let names: Vec<_> = attacks().into_iter().map(|(name, _)| name).collect();
        panic!("--only takes one of: {}", names.join(", "));
    }
    raise_descriptors(IDLE as u64 + 1_000);
    let ground = Ground::start();
    println!("| attack | quiet p50 µs | p99 µs | attacked p50 µs | p99 µs | ratio of p99 | within {GOAL} |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    // What a machine does to one measurement it does not do to two in a row.
    let over: Vec<_> = rows.into_iter().filter(|name| !ground.row(name) && !ground.row(name)).collect();
    drop(ground);
    if !over.is_empty() {
        eprintln!("over {GOAL} times the quiet p99: {}", over.join(", "));
        std::process::exit(1);
    }
}

/// Once more, before everything else that runs on the machine.
fn realtime(args: &[String]) {
    let this = std::env::current_exe().unwrap();
    let ended = Command::new("chrt").args(["--rr", "1"]).arg(this).args(args).status().unwrap();
    std::process::exit(ended.code().unwrap_or(1));
}

/// Serin, and an app behind it.
struct Ground {
    serin: Serin,
    /// The users' and the attackers'.
    _apps: [Role; 2],
    _folder: tempfile::TempDir,
}

impl Ground {
    fn start() -> Self {
        pin(LOAD_CORE);
        let apps = [Role::start(&["app"]), Role::idle(&["app"])];
        let [users, attackers] = [0, 1].map(|which| apps[which].says());
        let folder = tempfile::tempdir().unwrap();
        let files = Authority::new(folder.path()).issue("shop", &["shop.test"]);
        // Few streams: those within the limit are a load for the app, those over it are the flood.
        let limits = "limits: { connections: 12000, streams: 16, keepAlive: 10m, bodyIdle: 10m }";
        let service = |name: &str, path: &str, app: &str| {
            format!(
                "  {name}: {{ match: {{ path: {path} }}, pools: {{ a: {{ endpoints: 'http://{app}' }} }}, stable: a }}\n"
            )
        };
        let services = service("users", "/", &users) + &service("attackers", "/hang", &attackers);
        let config = format!("workers: 1\n{limits}\nservices:\n{services}");
        let tls = format!(", tls: {{ certificates: [ {} ] }}", files.yaml());
        // What it starts stays where it was started.
        pin(SERIN_CORE);
        let serin = Serin::start_listening(&config, &["", &tls]);
        pin(LOAD_CORE);
        Self { serin, _apps: apps, _folder: folder }
    }

    /// Measures and prints a row; whether it is within the goal.
    fn row(&self, name: &str) -> bool {
        let (mut quiet, mut attacked) = (Vec::new(), Vec::new());
        for _ in 0..PAIRS {
            quiet.push(self.times());
            let attack =
                Role::idle(&["attack", name, &self.serin.proxy.to_string(), &self.serin.others[0].to_string()]);
            assert_eq!(attack.says(), "begun");
            attacked.push(self.times());
            drop(attack);
            let left = || self.serin.metrics().sum("serin_connections_open", &[]) <= 4.0;
            eventually("the end of an attack", || left().then_some(()));
        }
        let ([quiet_p50, quiet_p99], [p50, p99]) = (medians(&quiet), medians(&attacked));
        let ratio = p99 / quiet_p99;
        let within = ratio <= GOAL;
        let yes = if within { "yes" } else { "NO" };
        println!("| {name} | {quiet_p50:.0} | {quiet_p99:.0} | {p50:.0} | {p99:.0} | {ratio:.2} | {yes} |");
        within
    }

    /// The 50th and 99th hundredth of a measurement.
    fn times(&self) -> [f64; 2] {
        let said = Role::start(&["measure", &self.serin.proxy.to_string()]).says();
        let (p50, p99) = said.split_once(' ').unwrap();
        [p50, p99].map(|micros| micros.parse().unwrap())
    }
}

fn medians(measured: &[[f64; 2]]) -> [f64; 2] {
    [0, 1].map(|which| {
        let mut values: Vec<f64> = measured.iter().map(|times| times[which]).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    })
}

/// What this thread starts runs on this core. On a machine with one, everything shares it.
fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// This program again as another process, which ends when this is dropped.
struct Role {
    process: Process,
    says: std::cell::RefCell<BufReader<ChildStdout>>,
}

impl Role {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Self::spawn(command.args(args))
    }

    /// One that gets only the time that others leave.
    fn idle(args: &[&str]) -> Self {
        let humbly = "renice -n 19 -p $$ > /dev/null; chrt --idle --pid 0 $$; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        Self::spawn(command.args(["-c", humbly]).arg(std::env::current_exe().unwrap()).args(args))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child: Child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let says = BufReader::new(child.stdout.take().unwrap()).into();
        Self { process: child.into(), says }
    }

    /// The next line that it prints.
    fn says(&self) -> String {
        let mut line = String::new();
        self.says.borrow_mut().read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "process {} has failed", self.process.serving);
        line.trim().to_owned()
    }
}

// The app.

fn app() {
    let app = App::start();
    println!("{}", app.address);
    // Until whoever has started it ends, in whatever way.
    let _ = std::io::stdin().read(&mut [0]);
}

// The measuring clients.

/// Prints the 50th and the 99th hundredth in microseconds. Any failure is one of the bench.
fn measure(proxy: SocketAddr) {
    let clients: Vec<_> =
        (0..3).map(|n| std::thread::spawn(move || if n < 2 { http1(proxy, n) } else { http2(proxy, n) })).collect();
    let mut times: Vec<Duration> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    times.sort_unstable();
    let hundredth = |n: usize| times[times.len() * n / 100].as_secs_f64() * 1e6;
    println!("{} {}", hundredth(50), hundredth(99));
}

fn http1(proxy: SocketAddr, which: u32) -> Vec<Duration> {
    let mut client = connect(proxy);
    paced(which, |_| {
        client.write_all(request("/", "").as_bytes()).unwrap();
        let answer = read_answer(&mut client, false);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    })
}

fn http2(proxy: SocketAddr, which: u32) -> Vec<Duration> {
    let mut client = Http2::connect(proxy);
    paced(which, |n| {
        let stream = 1 + 2 * n;
        assert!(client.send(&frames::get(stream, "/")));
        assert_eq!(client.status(stream), 200);
        while client.find(stream, &[DATA], PATIENCE).unwrap().flags & END_STREAM == 0 {}
    })
}

/// Asks in step, each client in its own third of the pace.
fn paced(which: u32, mut ask: impl FnMut(u32)) -> Vec<Duration> {
    (0..WARM_UP).for_each(&mut ask);
    let begun = Instant::now() + PACE * which / 3;
    let mut free = begun;
    let timed = |n| {
        let due = begun + PACE * (n - WARM_UP);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // Waking up late is not Serin's fault; an answer that came after the next one was due is.
        let begun = if free > due { due } else { Instant::now() };
        ask(n);
        free = Instant::now();
        free - begun
    };
    (WARM_UP..WARM_UP + REQUESTS).map(timed).collect()
}

// The attackers.

/// What an attacker does, over and over.
enum Attack {
    Idle,
    Readers,
    Writers,
    /// Connections that do this, one after another.
    Connections(fn(SocketAddr)),
    /// The same to the listener of TLS.
    Handshakes,
    Flood(Flood),
}

fn attacks() -> Vec<(&'static str, Attack)> {
    let others = [
        ("10,000 idle connections", Attack::Idle),
        ("slow readers", Attack::Readers),
        ("slow writers", Attack::Writers),
        ("new connections, silent", Attack::Connections(|proxy| drop(TcpStream::connect(proxy)))),
        ("new connections, a request each", Attack::Connections(once)),
        ("TLS handshakes", Attack::Handshakes),
    ];
    let floods = floods().into_iter().map(|(name, flood)| (name, Attack::Flood(flood)));
    others.into_iter().chain(floods).collect()
}

/// Attacks until it is ended; says when it has begun.
fn attack(name: &str, proxy: SocketAddr, tls: SocketAddr) {
    let (_, attack) = attacks().into_iter().find(|(own, _)| *own == name).expect("an attack");
    let end = Instant::now() + ATTACK_MAX;
    match attack {
        Attack::Idle => {
            let _held: Vec<TcpStream> = (0..IDLE).map(|n| idle(proxy, n % 2 == 0)).collect();
            begun(end);
        }
        Attack::Readers => {
            let _crowd = Crowd::of(CROWD, || reader(proxy), |client| drop(client.read(&mut [0; 2048])));
            begun(end);
        }
        Attack::Writers => {
            let _crowd = Crowd::of(CROWD, || writer(proxy), |client| drop(client.write(b"x")));
            begun(end);
        }
        Attack::Connections(one) => at_once(end, move |_| one(proxy)),
        Attack::Handshakes => {
            let hello = hello();
            at_once(end, move |_| shake(tls, &hello));
        }
        Attack::Flood(flood) => at_once(end, move |end| _ = pour(proxy, &flood, end)),
    }
}

fn begun(end: Instant) {
    println!("begun");
    std::thread::sleep(end.saturating_duration_since(Instant::now()));
}

/// Several at once, each again and again.
fn at_once(end: Instant, one: impl Fn(Instant) + Send + Sync + 'static) {
    let one = Arc::new(one);
    for _ in 0..ATTACKERS {
        let one = Arc::clone(&one);
        std::thread::spawn(move || {
            while Instant::now() < end {
                one(end);
            }
        });
    }
    begun(end);
}

fn idle(proxy: SocketAddr, asks: bool) -> TcpStream {
    let mut client = connect(proxy);
    if asks {
        client.write_all(request("/", "").as_bytes()).unwrap();
        assert_eq!(read_answer(&mut client, false).text(), "ok");
    }
    client
}

fn reader(proxy: SocketAddr) -> TcpStream {
    let mut client = narrow(proxy);
    client.write_all(request("/big", "").as_bytes()).unwrap();
    client.peek(&mut [0]).unwrap();
    client
}

fn writer(proxy: SocketAddr) -> TcpStream {
    let mut client = connect(proxy);
    client.write_all(b"POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 1000000\r\n\r\n").unwrap();
    client
}

fn once(proxy: SocketAddr) {
    // The system may have no port left for a moment.
    if let Ok(mut client) = TcpStream::connect(proxy) {
        let _ = client.write_all(request("/", "").as_bytes());
        let _ = client.read(&mut [0; 4096]);
    }
}

/// A handshake that ends once the server has done its part of the work.
fn shake(tls: SocketAddr, hello: &[u8]) {
    let mut client = connect(tls);
    client.write_all(hello).unwrap();
    assert!(client.read(&mut [0; 4096]).unwrap() > 0);
}

/// What a client of TLS 1.3 begins with; said again and again it costs the client nothing.
fn hello() -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(rustls::crypto::aws_lc_rs::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(config.into(), "shop.test".try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}
