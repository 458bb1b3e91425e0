//! A million requests at full load through an advance and a rollback: none failed,
//! mixed up or doubled, and memory stays flat. Loopback only.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::app::answering;
use common::http::{connect, read_answer};
use common::{Serin, eventually};

const REQUESTS: u64 = 1_000_000;
const CLIENTS: u64 = 32;
const USERS: u64 = 10_000;
/// What a longer run may have more of than a shorter one: noise, no leak.
const GROWTH_KIB: u64 = 16 << 10;

/// One bit an id: set by the app that answers it.
struct Answered(Vec<AtomicU64>);

impl Answered {
    fn new() -> Self {
        Self((0..REQUESTS.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Whether this is the first time.
    fn first(&self, id: u64) -> bool {
        self.0[(id / 64) as usize].fetch_or(1 << (id % 64), Ordering::Relaxed) & (1 << (id % 64)) == 0
    }

    fn all(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum()
    }
}

fn id_of(head: &str) -> u64 {
    let line = head.lines().find_map(|line| line.strip_prefix("x-id: ")).expect("every request has an id");
    line.parse().unwrap()
}

fn app(
    track: &'static str,
    answered: Arc<Answered>,
    doubled: Arc<AtomicU64>,
    failing: Arc<AtomicBool>,
) -> std::net::SocketAddr {
    answering(move |head| {
        let id = id_of(head);
        if !answered.first(id) {
            doubled.fetch_add(1, Ordering::Relaxed);
        }
        assert!(head.contains(&format!("x-serin-track: {track}\r\n")), "{head}");
        let status = if failing.load(Ordering::Relaxed) { "500 Oops" } else { "200 OK" };
        // Bodies of many lengths: a byte too many or too few would show.
        let body = format!("{track} {id} {}", "x".repeat((id % 1_500) as usize));
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    })
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_million_requests_through_advance_and_rollback() {
    let (answered, doubled) = (Arc::new(Answered::new()), Arc::new(AtomicU64::new(0)));
    let (healthy, failing) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let stable = app("stable", Arc::clone(&answered), Arc::clone(&doubled), healthy);
    let canary = app("canary", Arc::clone(&answered), Arc::clone(&doubled), Arc::clone(&failing));
    // Without a shield every request reaches an app once.
    let serin = Serin::start(&format!(
        "services: {{ shop: {{ pools: {{ a: {{ endpoints: 'http://{stable}' }}, b: {{ endpoints: 'http://{canary}' }} }}, \
         stable: a, canary: b, shield: {{ methods: off }} }} }}\n"
    ));
    serin.does(&["flags", "set", "half", "--rollout", "50"]);
    serin.does(&["deploy", "start", "v2"]);

    let (next, errors, on_canary) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    // The advance is answered once it is on disk: however long that takes, requests are left.
    let until_advanced = AtomicU64::new(REQUESTS / 10 * 6);
    let mut warm = 0;
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut stream = connect(serin.proxy);
                loop {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    if id >= REQUESTS {
                        return;
                    }
                    while id >= until_advanced.load(Ordering::Relaxed) {
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                    let user = id % USERS;
                    let request =
                        format!("GET /{id} HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\nx-user-id: user-{user}\r\n\r\n");
                    stream.write_all(request.as_bytes()).unwrap();
                    let answer = read_answer(&mut stream, false);
                    let text = answer.text();
                    let (track, rest) = text.split_once(' ').unwrap_or_default();
                    let expected = format!("{id} {}", "x".repeat((id % 1_500) as usize));
                    assert!(
                        rest == expected && answer.complete,
                        "request {id} was answered {} {:.60}",
                        answer.status,
                        text
                    );
                    match (answer.status, track) {
                        (200, "stable") => {}
                        (200, "canary") => drop(on_canary.fetch_add(1, Ordering::Relaxed)),
                        (500, "canary") => drop(errors.fetch_add(1, Ordering::Relaxed)),
                        other => panic!("request {id}: {other:?}"),
                    }
                }
            });
        }
        let reached = |count: u64| eventually_long(|| next.load(Ordering::Relaxed) >= count);
        reached(REQUESTS / 4);
        warm = resident_kib(serin.pid());
        serin.does(&["deploy", "advance"]);
        until_advanced.store(REQUESTS, Ordering::Relaxed);
        reached(next.load(Ordering::Relaxed) + REQUESTS / 4);
        failing.store(true, Ordering::Relaxed);
        eventually("the rollback", || Some(serin.deployment()).filter(|d| d["status"] == "rolled_back"));
    });

    assert_eq!(answered.all(), REQUESTS, "every request reached an app");
    assert_eq!(doubled.load(Ordering::Relaxed), 0, "none reached it twice");
    assert!(on_canary.load(Ordering::Relaxed) > REQUESTS / 10, "the canary had its share");
    let errors = errors.load(Ordering::Relaxed);
    // In flight when the verdict came: at most one a client beyond those that proved it.
    assert!((4..=60).contains(&errors), "{errors} errors before the rollback");
    let metrics = serin.metrics();
    assert_eq!(metrics.sum("serin_requests_total", &[]), REQUESTS as f64);
    assert_eq!(metrics.sum("serin_outcomes_total", &[]), REQUESTS as f64, "one outcome an exchange");
    assert_eq!(metrics.sum("serin_outcomes_total", &["outcome=\"status\""]), errors as f64);
    let end = resident_kib(serin.pid());
    assert!(end < warm + GROWTH_KIB, "memory grew from {warm} KiB to {end} KiB");
    eprintln!("memory {warm} KiB after a quarter, {end} KiB at the end; {errors} errors until the rollback");
}

/// A load test takes as long as the machine needs, with a bound.
fn eventually_long(mut condition: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while !condition() {
        assert!(std::time::Instant::now() < end, "the load test does not get on");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
