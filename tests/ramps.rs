//! Guarded ramps, end to end: flags whose percentage grows by itself, and is set back where
//! those who have the flag see more errors than those who do not.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::app::answering;
use common::http::{connect, get, read_answer};
use common::{Serin, eventually};
use serde_json::{Value, json};
use serin::simulate::Random;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const FAILS: &str = "HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n";

/// An app that fails so many of a million requests with the flag `bad`, and so many without.
fn app(with_flag: f64, without: f64) -> SocketAddr {
    let random = Mutex::new(Random::new(7));
    answering(move |head| {
        let rate = if head.contains("x-feature-bad: true") { with_flag } else { without };
        if random.lock().unwrap().unit() * 1e6 < rate { FAILS } else { OK }.to_owned()
    })
}

fn serin(app: SocketAddr) -> Serin {
    Serin::start(&format!("stable: 'http://{app}'\n"))
}

fn stages(shares: &[u32], duration: u32) -> Value {
    let stage =
        |share: &u32| json!({ "percentage": share, "duration": duration, "minRequests": 0, "maxErrorRate": 0.5 });
    Value::from(shares.iter().map(stage).collect::<Vec<_>>())
}

fn ramp(serin: &Serin, flag: &str, ramp: &Value) {
    let on = json!({ "enabled": true, "rolloutPercentage": 0 });
    assert_eq!(serin.api("PUT", &format!("/api/flags/{flag}"), &on).0, 200);
    let (status, answer) = serin.api("PATCH", &format!("/api/flags/{flag}"), &json!({ "ramp": ramp }));
    assert_eq!(status, 200, "{answer}");
}

fn of(serin: &Serin, flag: &str) -> Value {
    serin.get(&format!("/api/flags/{flag}/ramp"))
}

fn becomes(serin: &Serin, flag: &str, status: &str) -> Value {
    eventually(status, || Some(of(serin, flag)).filter(|ramp| ramp["status"] == status))
}

/// Asks as 10,000 users do, until it is stopped.
fn ask(proxy: SocketAddr, seed: u64, stop: &AtomicBool) {
    let (mut stream, mut random) = (connect(proxy), Random::new(seed));
    while !stop.load(Ordering::Relaxed) {
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: user-{}\r\n\r\n", random.below(10_000));
        stream.write_all(head.as_bytes()).unwrap();
        read_answer(&mut stream, false);
    }
}

fn under_load<T>(serin: &Serin, act: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (proxy, stop) = (serin.proxy, &stop);
            scope.spawn(move || ask(proxy, seed, stop));
        }
        let value = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        stop.store(true, Ordering::Relaxed);
        value.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_flag_that_breaks_five_of_a_hundred_is_set_back_while_a_healthy_one_goes_on() {
    let serin = serin(app(50_000.0, 1_000.0));
    ramp(&serin, "bad", &json!({ "stages": stages(&[10, 50, 100], 3_600) }));
    ramp(&serin, "good", &json!({ "stages": stages(&[10, 50, 100], 3_600) }));
    let (bad, good) = under_load(&serin, || {
        let bad = becomes(&serin, "bad", "rolled_back");
        let before = of(&serin, "good")["on"]["requests"].as_u64().unwrap();
        // The healthy one goes on and gathers evidence of its own.
        let good = eventually("more of the healthy one", || {
            Some(of(&serin, "good")).filter(|good| good["on"]["requests"].as_u64() > Some(before + 200))
        });
        (bad, good)
    });
    println!("{} exposed requests: {}", bad["on"]["requests"], bad["decision"]["text"]);
    assert!(bad["on"]["requests"].as_u64().unwrap() <= 300, "{}", bad["on"]);
    assert_eq!((&bad["rolloutPercentage"], &bad["decision"]["rule"]), (&json!(0), &json!("errors")), "{bad}");
    assert!(bad["decision"]["routes"][0]["errors"].as_u64() >= Some(1), "where it failed: {}", bad["decision"]);
    assert_eq!((&good["status"], &good["rolloutPercentage"]), (&json!("in_progress"), &json!(10)), "{good}");
    // Every header follows, and the file, and who asks by an SDK.
    for user in 0..300 {
        let id = format!("user-{user}");
        let evaluated =
            serin.api("POST", "/ofrep/v1/evaluate/flags/bad", &json!({ "context": { "targetingKey": id } })).1;
        assert_eq!(evaluated["value"], false, "{evaluated}");
    }
    assert_eq!(serin.get("/api/flags/bad")["rolloutPercentage"], 0);
}

/// What the app is told from the response on that proves it: nobody has the flag any more.
#[test]
fn headers_follow_a_verdict_at_once() {
    static WITH: AtomicUsize = AtomicUsize::new(0);
    let app = answering(|head| {
        let on = head.contains("x-feature-bad: true");
        WITH.fetch_add(usize::from(on), Ordering::Relaxed);
        if on { FAILS } else { OK }.to_owned()
    });
    let serin = serin(app);
    ramp(&serin, "bad", &json!({ "stages": stages(&[50, 100], 3_600) }));
    // One after another: no request is under way when the verdict comes.
    for user in 0..300 {
        get(serin.proxy, "/", &format!("x-user-id: user-{user}\r\n"));
    }
    let seen = WITH.load(Ordering::Relaxed);
    assert!((1..=12).contains(&seen), "{seen} requests with the flag");
    becomes(&serin, "bad", "rolled_back");
}

#[test]
fn a_healthy_ramp_takes_the_flag_from_nobody_and_ends_with_everybody() {
    let serin = serin(app(0.0, 0.0));
    let has = |user: usize| {
        let context = json!({ "context": { "userId": format!("user-{user}") } });
        serin.api("POST", "/api/flags/bad/evaluate", &context).1["enabled"] == true
    };
    ramp(&serin, "bad", &json!({ "stages": stages(&[10, 30, 60, 100], 3_600) }));
    let mut before = vec![false; 500];
    for share in [10, 30, 60] {
        assert_eq!(of(&serin, "bad")["rolloutPercentage"], share);
        let now: Vec<bool> = (0..500).map(has).collect();
        assert!(before.iter().zip(&now).all(|(before, now)| *now || !before), "at {share} somebody has lost it");
        let users = now.iter().filter(|has| **has).count();
        assert!((users as f64 / 5.0 - f64::from(share)).abs() < 8.0, "{users} of 500 at {share} %");
        before = now;
        serin.does(&["flags", "ramp", "advance", "bad"]);
    }
    assert_eq!(serin.api("POST", "/api/flags/bad/ramp/promote", &json!({})).0, 200);
    let done = becomes(&serin, "bad", "completed");
    assert_eq!(done["rolloutPercentage"], 100);
    assert!((0..500).all(has));
    assert_eq!(serin.get("/api/flags/bad")["rolloutPercentage"], 100);
}

#[test]
fn stages_follow_each_other_by_themselves() {
    let serin = serin(app(0.0, 0.0));
    ramp(&serin, "bad", &json!({ "stages": stages(&[10, 100], 0) }));
    under_load(&serin, || becomes(&serin, "bad", "completed"));
}

#[test]
fn a_ramp_is_steered_and_nothing_else_moves_its_percentage() {
    let serin = serin(app(0.0, 0.0));
    ramp(&serin, "bad", &json!({ "stages": stages(&[20, 100], 3_600) }));
    let (status, answer) = serin.api("PATCH", "/api/flags/bad", &json!({ "rolloutPercentage": 5 }));
    assert_eq!((status, &answer["code"]), (409, &json!("ramping")), "{answer}");
    serin.does(&["flags", "ramp", "pause", "bad"]);
    assert_eq!(of(&serin, "bad")["status"], "paused");
    serin.does(&["flags", "ramp", "resume", "bad"]);
    assert!(serin.does(&["flags", "ramp", "status", "bad"]).contains("at 20 % (in_progress, stage 1)"));
    // What else is said of the flag does not touch the ramp.
    assert_eq!(serin.api("PATCH", "/api/flags/bad", &json!({ "description": "new" })).0, 200);
    assert_eq!(of(&serin, "bad")["status"], "in_progress");
    serin.does(&["flags", "ramp", "rollback", "bad", "--reason", "enough seen"]);
    let ended = of(&serin, "bad");
    assert_eq!((&ended["status"], &ended["rolloutPercentage"]), (&json!("rolled_back"), &json!(0)), "{ended}");
    assert!(ended["text"].as_str().unwrap().contains("enough seen"), "{ended}");
    assert_eq!(serin.api("POST", "/api/flags/bad/ramp/rollback", &json!({})).0, 200, "repeated it is what it was");
    assert_eq!(serin.api("POST", "/api/flags/bad/ramp/advance", &json!({})).0, 404);
    // Another one may begin, from where the flag is.
    assert_eq!(serin.api("PATCH", "/api/flags/bad", &json!({ "ramp": null, "rolloutPercentage": 30 })).0, 200);
    let (status, answer) =
        serin.api("PATCH", "/api/flags/bad", &json!({ "ramp": { "stages": stages(&[20, 100], 60) } }));
    assert_eq!(status, 400, "it would take the flag from users: {answer}");
    serin.does(&["flags", "ramp", "start", "bad", "--stages", &stages(&[40, 100], 60).to_string()]);
    assert_eq!(of(&serin, "bad")["from"], 30);
    serin.does(&["flags", "ramp", "rollback", "bad"]);
    assert_eq!(serin.get("/api/flags/bad")["rolloutPercentage"], 30, "back to where it was");
}

#[test]
fn a_restart_goes_on_with_a_ramp_and_brings_back_none_that_was_set_back() {
    let mut serin = serin(app(0.0, 0.0));
    for flag in ["bad", "good"] {
        ramp(&serin, flag, &json!({ "stages": stages(&[10, 50, 100], 3_600) }));
    }
    serin.does(&["flags", "ramp", "advance", "good"]);
    serin.does(&["flags", "ramp", "rollback", "bad"]);
    for user in 0..200 {
        get(serin.proxy, "/", &format!("x-user-id: user-{user}\r\n"));
    }
    let counted = |serin: &Serin| of(serin, "good")["on"]["requests"].as_u64().unwrap();
    let before = counted(&serin);
    assert!(before > 50, "{before}");
    let file = serin.folder.path().join("state/checkpoint.json");
    eventually("the checkpoint", || {
        let text: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
        let (_, ramp) = text["ramps"].as_object()?.iter().find(|(name, _)| name.starts_with("good@"))?;
        let epochs = ramp["memory"]["counts"].as_array()?.iter().flat_map(|tracks| tracks.as_array().unwrap());
        let total: u64 = epochs.map(|tally| tally["requests"].as_u64().unwrap()).sum();
        (total == 200).then_some(())
    });
    serin.kill();
    serin.start_again();
    let good = of(&serin, "good");
    assert_eq!(
        (&good["status"], &good["rolloutPercentage"], &good["stage"]),
        (&json!("in_progress"), &json!(50), &json!(1))
    );
    assert_eq!(counted(&serin), before, "what was counted is known");
    assert_eq!(of(&serin, "bad")["status"], "rolled_back");
}

#[test]
fn only_requests_of_its_service_are_evidence() {
    let app = app(0.0, 0.0);
    let service = |name: &str, path: &str| {
        format!(
            "  {name}: {{ match: {{ path: {path} }}, pools: {{ a: {{ endpoints: 'http://{app}' }} }}, stable: a }}\n"
        )
    };
    let serin = Serin::start(&format!("services:\n{}{}", service("shop", "/"), service("api", "/api")));
    ramp(&serin, "bad", &json!({ "stages": stages(&[50, 100], 3_600), "service": "api" }));
    for user in 0..40 {
        get(serin.proxy, "/page", &format!("x-user-id: user-{user}\r\n"));
    }
    let total = || {
        let ramp = of(&serin, "bad");
        ramp["on"]["requests"].as_u64().unwrap() + ramp["off"]["requests"].as_u64().unwrap()
    };
    assert_eq!(total(), 0);
    for user in 0..40 {
        get(serin.proxy, "/api/x", &format!("x-user-id: user-{user}\r\n"));
    }
    eventually("forty", || (total() == 40).then_some(()));
}
