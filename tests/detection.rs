//! How early a bad release is stopped, end to end: the real binary at 1,000 requests a
//! second of 10,000 users, with 10 % of them on the canary.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::app::{Do, Scripted, answering};
use common::http::{connect, read_answer};
use common::traffic::{Statuses, Traffic};
use common::{Serin, eventually};
use serde_json::Value;
use serin::simulate::Random;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const FAILS: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";

fn shop(stable: SocketAddr, canary: SocketAddr, more: &str) -> Serin {
    Serin::start(&format!(
        "services: {{ shop: {{ pools: {{ a: {{ endpoints: 'http://{stable}' }}, \
         b: {{ endpoints: 'http://{canary}' }} }}, stable: a, canary: b, {more} }} }}\n"
    ))
}

/// Runs something while users ask.
fn under_traffic<T>(serin: &Serin, seed: u64, act: impl FnOnce() -> T) -> (T, Statuses) {
    let stop = AtomicBool::new(false);
    let patience = Duration::from_secs(6);
    let traffic = Traffic { proxy: serin.proxy, rate: 1_000, users: 10_000, patience, seed };
    std::thread::scope(|scope| {
        let flowing = scope.spawn(|| traffic.flows(&stop));
        let value = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        stop.store(true, Ordering::Relaxed);
        let statuses = flowing.join().unwrap();
        (value.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), statuses)
    })
}

fn rolled_back(serin: &Serin) -> Value {
    eventually("the rollback", || {
        Some(serin.get("/api/deployments")["deployments"][0].clone()).filter(|d| d["status"] == "rolled_back")
    })
}

/// The service has been running for a while: what is slow is known.
fn has_served(serin: &Serin, requests: f64) {
    eventually("traffic", || {
        let served = serin.metrics().sum("serin_request_duration_seconds_count", &["track=\"stable\""]);
        (served >= requests).then_some(())
    });
}

#[test]
fn one_that_fails_everything_is_stopped_within_a_fifth_of_a_second_and_no_user_sees_it() {
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let canary = {
        let asked = Arc::clone(&asked);
        answering(move |_| {
            asked.lock().unwrap().push(Instant::now());
            FAILS.to_owned()
        })
    };
    let serin = shop(answering(|_| OK.to_owned()), canary, "");
    let (record, statuses) = under_traffic(&serin, 1, || {
        serin.does(&["deploy", "start", "v2"]);
        let record = rolled_back(&serin);
        // Users go on asking: the canary hears nothing of it.
        has_served(&serin, 2_000.0);
        record
    });
    let asked = asked.lock().unwrap();
    let lasted = asked.last().unwrap().duration_since(asked[0]);
    println!("{} canary requests in {lasted:?}: {}", asked.len(), record["decision"]["text"]);
    assert!(lasted <= Duration::from_millis(200), "the canary was asked for {lasted:?}");
    assert!(asked.len() <= 8, "four users prove it, found {} canary requests", asked.len());
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [200], "users saw {statuses:?}");
}

#[test]
fn one_that_fails_five_of_a_hundred_is_stopped_within_three_hundred_requests() {
    const SEEDS: u64 = 100;
    /// Whether the next request of this app fails.
    fn failing(rate: Arc<AtomicU64>, seed: u64) -> SocketAddr {
        let random = Mutex::new(Random::new(seed));
        answering(move |_| {
            let fails = random.lock().unwrap().unit() * 1e6 < rate.load(Ordering::Relaxed) as f64;
            if fails { FAILS } else { OK }.to_owned()
        })
    }
    let (stable, canary) = (Arc::new(AtomicU64::new(1_000)), Arc::new(AtomicU64::new(50_000)));
    let serin = shop(failing(stable, 1), failing(canary, 2), "");
    let stop = AtomicBool::new(false);
    let mut costs = Vec::new();
    // As fast as it goes: what decides are requests, not seconds.
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (proxy, stop) = (serin.proxy, &stop);
            scope.spawn(move || {
                let (mut stream, mut random) = (connect(proxy), Random::new(client));
                while !stop.load(Ordering::Relaxed) {
                    let user = random.below(10_000);
                    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: user-{user}\r\n\r\n");
                    std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
                    read_answer(&mut stream, false);
                }
            });
        }
        for seed in 0..SEEDS {
            serin.does(&["deploy", "start", &format!("v{seed}")]);
            let record = eventually("the rollback", || {
                let last = serin.get("/api/deployments")["deployments"][0].clone();
                Some(last).filter(|last| last["version"] == format!("v{seed}"))
            });
            assert_eq!(record["status"], "rolled_back");
            costs.push(record["metrics"]["canaryRequests"].as_u64().unwrap());
        }
        stop.store(true, Ordering::Relaxed);
    });
    costs.sort_unstable();
    println!("canary requests: median {}, 95th {}, most {}", costs[50], costs[94], costs[99]);
    assert!(costs[94] <= 300, "95 of 100 within 300: {costs:?}");
}

#[test]
fn one_that_is_ten_times_slower_is_stopped_within_five_hundred_requests() {
    let slow = |millis| {
        answering(move |_| {
            std::thread::sleep(Duration::from_millis(millis));
            OK.to_owned()
        })
    };
    let serin = shop(slow(5), slow(50), "deploy: { guard: { latency: enforce } }");
    let (record, statuses) = under_traffic(&serin, 3, || {
        has_served(&serin, 500.0);
        serin.does(&["deploy", "start", "v2"]);
        rolled_back(&serin)
    });
    println!("{}", record["decision"]["text"]);
    assert_eq!(record["decision"]["rule"], "latency", "{}", record["decision"]["text"]);
    let cost = record["metrics"]["canaryRequests"].as_u64().unwrap();
    assert!(cost <= 500, "{cost} canary requests");
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [200]);
}

#[test]
fn one_that_hangs_is_stopped_within_ten_seconds_with_impatient_users() {
    let canary = Scripted::start();
    canary.plays(&[Do::Hang]);
    let serin = shop(answering(|_| OK.to_owned()), canary.address, "");
    let (took, statuses) = under_traffic(&serin, 4, || {
        let began = Instant::now();
        serin.does(&["deploy", "start", "v2"]);
        let record = rolled_back(&serin);
        println!("{}", record["decision"]["text"]);
        began.elapsed()
    });
    assert!(took <= Duration::from_secs(10), "it took {took:?}");
    assert!(statuses[&0] > 100, "users left: {statuses:?}");
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [0, 200]);
}
