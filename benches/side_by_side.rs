//! Serin, nginx and HAProxy in turn on one core, with origin and load generator on
//! the other: CPU time of the proxy's process per request, as a ratio to nginx.
//!
//! `cargo bench --bench side_by_side [-- --rounds 15 --seconds 2]`
//!
//! Workload: 64 keep-alive connections, a 1 KiB answer, 10,000 users by cookie,
//! 10 % of them to the canary. nginx and HAProxy split by a hash of the cookie and
//! inject three header fields; Serin does what it always does (identity, bucket,
//! guard, ledgers, histogram, three flags, track, forwarding and request id
//! fields: ten in all). A second nginx writes ten fields too: what it costs to have
//! of nginx what Serin says to the app. Rounds are interleaved and the median of the
//! per-round ratios counts: absolute times say nothing on a machine that
//! others use too.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use std::cell::Cell;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const CONNECTIONS: usize = 64;
const USERS: usize = 10_000;
const BODY: usize = 1024;
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

struct Options {
    rounds: usize,
    seconds: f64,
}

fn options() -> Options {
    let mut options = Options { rounds: 15, seconds: 2.0 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => options.rounds = args.next().and_then(|n| n.parse().ok()).expect("--rounds N"),
            "--seconds" => options.seconds = args.next().and_then(|n| n.parse().ok()).expect("--seconds N"),
            _ => {}
        }
    }
    options
}

/// A proxy under test; ended when dropped.
struct Proxy {
    name: &'static str,
    address: SocketAddr,
    process: Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Proxy {
    fn start(name: &'static str, address: SocketAddr, program: &str, args: &[&str]) -> Option<Self> {
        let process = Command::new("taskset")
            .args(["-c", &PROXY_CORE.to_string(), program])
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let proxy = Self { name, address, process };
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if StdStream::connect(address).is_ok() {
                return Some(proxy);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{name} does not listen: skipped");
        None
    }

    /// CPU time of all its threads, in nanoseconds.
    fn cpu(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.process.id());
        let of = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        fs::read_dir(tasks).unwrap().filter_map(Result::ok).filter_map(of).sum()
    }
}

fn free_address() -> SocketAddr {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn write(dir: &Path, name: &str, text: String) -> String {
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn serin(dir: &Path, stable: SocketAddr, canary: SocketAddr) -> Option<Proxy> {
    let (listen, admin) = (free_address(), free_address());
    let config = write(
        dir,
        "serin.yaml",
        format!(
            "workers: 1\nlisteners: [ {{ address: '{listen}' }} ]\nadmin: {{ address: '{admin}' }}\n\
             state: {{ directory: {} }}\nidentity: {{ session: [ {{ cookie: uid }} ] }}\n\
             services:\n  shop:\n    pools:\n      blue: {{ endpoints: 'http://{stable}' }}\n      \
             green: {{ endpoints: 'http://{canary}' }}\n    stable: blue\n    canary: green\n    \
             connections: {{ idle: 128 }}\n",
            dir.join("state").display()
        ),
    );
    let binary = env!("CARGO_BIN_EXE_serin");
    let proxy = Proxy::start("serin", listen, binary, &["run", "--config", &config])?;
    let steer = |args: &[&str]| {
        let done = Command::new(binary).args(["--admin", &format!("http://{admin}")]).args(args).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    steer(&["flags", "set", "new-dashboard", "--rollout", "50"]);
    steer(&["flags", "set", "beta", "--rules", r#"[{"type":"group","value":"beta"}]"#]);
    steer(&["flags", "set", "everybody", "--rollout", "100"]);
    steer(&["deploy", "start", "v2"]);
    Some(proxy)
}

/// The three fields that nginx and HAProxy inject.
const THREE: &str = "proxy_set_header X-Track $pool; proxy_set_header X-Feature-A true; \
    proxy_set_header X-Forwarded-For $remote_addr;";
/// As many as Serin writes: track, reason, version, three flags, where it came from, request id.
const ALL: &str = "proxy_set_header X-Track $pool; proxy_set_header X-Reason share; proxy_set_header X-Version v2; \
    proxy_set_header X-Feature-A true; proxy_set_header X-Feature-B false; proxy_set_header X-Feature-C true; \
    proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme; \
    proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Request-Id $request_id;";

fn nginx(name: &'static str, fields: &str, dir: &Path, stable: SocketAddr, canary: SocketAddr) -> Option<Proxy> {
    let listen = free_address();
    let dir = dir.join(name.replace(' ', "-"));
    fs::create_dir_all(&dir).unwrap();
    let config = write(
        &dir,
        "nginx.conf",
        format!(
            "daemon off; master_process off; worker_processes 1; pid {0}/nginx.pid; error_log {0}/nginx.err;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; tcp_nodelay on;\n\
             client_body_temp_path {0}/a; proxy_temp_path {0}/b; fastcgi_temp_path {0}/c; uwsgi_temp_path {0}/d; scgi_temp_path {0}/e;\n\
             upstream blue {{ server {stable}; keepalive 128; keepalive_requests 1000000000; }}\n\
             upstream green {{ server {canary}; keepalive 128; keepalive_requests 1000000000; }}\n\
             split_clients $cookie_uid $pool {{ 10% green; * blue; }}\n\
             server {{ listen {listen}; location / {{ proxy_pass http://$pool; proxy_http_version 1.1;\n\
             proxy_set_header Connection ''; proxy_set_header Host $host;\n\
             {fields} }} }} }}\n",
            dir.display()
        ),
    );
    Proxy::start(name, listen, "nginx", &["-c", &config])
}

fn haproxy(dir: &Path, stable: SocketAddr, canary: SocketAddr) -> Option<Proxy> {
    let listen = free_address();
    let config = write(
        dir,
        "haproxy.cfg",
        format!(
            "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  \
             timeout connect 2s\n  http-reuse always\nfrontend f\n  bind {listen}\n  \
             http-request set-var(txn.bucket) req.cook(uid),xxh3,mod(100)\n  \
             http-request set-header X-Feature-A true\n  http-request set-header X-Forwarded-For %[src]\n  \
             use_backend green if {{ var(txn.bucket) -m int lt 10 }}\n  default_backend blue\n\
             backend blue\n  http-request set-header X-Track blue\n  server s {stable}\n\
             backend green\n  http-request set-header X-Track green\n  server s {canary}\n"
        ),
    );
    Proxy::start("haproxy", listen, "haproxy", &["-f", &config])
}

/// Answers 1 KiB to every request head, as cheaply as it goes.
async fn origin(listener: TcpListener) {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + BODY, b'x');
    let answer: Rc<[u8]> = answer.into();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let answer = Rc::clone(&answer);
        tokio::task::spawn_local(async move {
            let mut buffer = vec![0; 8192];
            let mut filled = 0;
            loop {
                match stream.read(&mut buffer[filled..]).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => filled += n,
                }
                if buffer[..filled].ends_with(b"\r\n\r\n") {
                    filled = 0;
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        });
    }
}

/// The connections to one proxy: open all the time, busy in turn.
#[derive(Default)]
struct Clients {
    busy: Cell<bool>,
    go: Notify,
    done: Cell<u64>,
}

impl Clients {
    fn start(address: SocketAddr) -> Rc<Self> {
        let clients = Rc::new(Self::default());
        for n in 0..CONNECTIONS {
            tokio::task::spawn_local(client(address, n * USERS / CONNECTIONS, Rc::clone(&clients)));
        }
        clients
    }
}

/// One connection in a closed loop, whenever it is its proxy's turn.
async fn client(address: SocketAddr, first: usize, clients: Rc<Clients>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 16384];
    let mut user = first;
    loop {
        while !clients.busy.get() {
            clients.go.notified().await;
        }
        user = (user + 1) % USERS;
        let request = format!(
            "GET /products/{user} HTTP/1.1\r\nhost: shop.example.com\r\nuser-agent: bench/1.0\r\naccept: text/html\r\n\
             accept-encoding: gzip\r\naccept-language: en\r\ncookie: theme=dark; uid=user-{user}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut filled = 0;
        loop {
            let n = stream.read(&mut buffer[filled..]).await.unwrap();
            assert!(n > 0, "the proxy closed a connection");
            filled += n;
            if let Some(head) = find(&buffer[..filled], b"\r\n\r\n")
                && filled >= head + 4 + BODY
            {
                break;
            }
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..filled.min(200)]));
        clients.done.set(clients.done.get() + 1);
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// CPU nanoseconds per request, and requests per second.
async fn measure(proxy: &Proxy, clients: &Clients, seconds: f64) -> (f64, f64) {
    clients.busy.set(true);
    clients.go.notify_waiters();
    tokio::time::sleep(Duration::from_secs_f64(seconds * 0.25)).await;
    let (cpu, count, since) = (proxy.cpu(), clients.done.get(), Instant::now());
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let (cpu, count, elapsed) = (proxy.cpu() - cpu, clients.done.get() - count, since.elapsed());
    clients.busy.set(false);
    // What is under way ends before the next one's turn.
    tokio::time::sleep(Duration::from_millis(20)).await;
    (cpu as f64 / count as f64, count as f64 / elapsed.as_secs_f64())
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

async fn run(options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let listen = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let (stable, canary) = (listen().await, listen().await);
    let (a, b) = (stable.local_addr().unwrap(), canary.local_addr().unwrap());
    tokio::task::spawn_local(origin(stable));
    tokio::task::spawn_local(origin(canary));
    let path: PathBuf = dir.path().to_owned();
    let proxies = tokio::task::spawn_blocking(move || {
        [
            nginx("nginx", THREE, &path, a, b),
            serin(&path, a, b),
            nginx("nginx, ten fields", ALL, &path, a, b),
            haproxy(&path, a, b),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
    })
    .await
    .unwrap();
    assert!(
        proxies.iter().any(|proxy| proxy.name == "nginx"),
        "nginx is the measure: install it (Debian: nginx-light)"
    );
    let clients: Vec<_> = proxies.iter().map(|proxy| Clients::start(proxy.address)).collect();
    let mut ratios = vec![Vec::new(); proxies.len()];
    let mut costs = vec![Vec::new(); proxies.len()];
    let mut rates = vec![Vec::new(); proxies.len()];
    for round in 1..=options.rounds {
        // Each of them is the first one in turn.
        let mut measured = vec![(0.0, 0.0); proxies.len()];
        for turn in 0..proxies.len() {
            let index = (round + turn) % proxies.len();
            measured[index] = measure(&proxies[index], &clients[index], options.seconds).await;
        }
        let base =
            proxies.iter().zip(&measured).find(|(proxy, _)| proxy.name == "nginx").map_or(f64::NAN, |(_, m)| m.0);
        for (index, (cost, rate)) in measured.into_iter().enumerate() {
            costs[index].push(cost);
            ratios[index].push(cost / base);
            rates[index].push(rate);
        }
        if round % 10 == 0 {
            eprintln!("round {round} of {}", options.rounds);
        }
    }
    println!(
        "| proxy | CPU per request, ratio to nginx (median) | middle half of the rounds | CPU µs per request | requests/s |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for (index, proxy) in proxies.iter().enumerate() {
        let (low, high) = (quantile(&ratios[index], 0.25), quantile(&ratios[index], 0.75));
        println!(
            "| {} | {:.2} | {low:.2} to {high:.2} | {:.1} | {:.0} |",
            proxy.name,
            median(&ratios[index]),
            median(&costs[index]) / 1e3,
            median(&rates[index])
        );
    }
}

fn main() {
    let options = options();
    let mut core = rustix::thread::CpuSet::new();
    core.set(LOAD_CORE);
    // On a machine with one core everything shares it.
    let _ = rustix::thread::sched_setaffinity(None, &core);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, run(&options));
}
