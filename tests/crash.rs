//! `kill -9` at random moments under commands and load: nothing that was answered is
//! lost, no file is broken, a rollback never comes back, a rollout goes on.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::Serin;
use common::app::answering;
use serde_json::{Value, json};

const KILLS: u64 = 200;

/// SplitMix64: the same moments in every run, as far as a machine allows it.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// What a client of the admin API knows: what was answered, and what was only asked.
#[derive(Default)]
struct Known {
    flag: u64,
    flag_asked: u64,
    version: u64,
    /// The deployment whose start was answered.
    running: Option<String>,
    share: f64,
    share_asked: f64,
    rollback_asked: bool,
    rolled_back: Vec<String>,
    /// Something was started without an answer.
    start_asked: bool,
}

impl Known {
    /// Commands until the process is gone.
    fn command(&mut self, admin: SocketAddr) {
        loop {
            let fine = match self.flag_asked % 7 {
                3 if self.running.is_none() => self.start(admin),
                5 if self.running.is_some() && self.share == 10.0 => self.advance(admin),
                6 if self.running.is_some() && self.flag_asked.is_multiple_of(3) => self.roll_back(admin),
                _ => Some(()),
            };
            if fine.and_then(|()| self.set_flag(admin)).is_none() {
                return;
            }
        }
    }

    fn set_flag(&mut self, admin: SocketAddr) -> Option<()> {
        self.flag_asked += 1;
        let body = json!({ "enabled": true, "rolloutPercentage": 0, "description": self.flag_asked.to_string() });
        call(admin, "PUT", "/api/flags/counter", &body)?;
        self.flag = self.flag_asked;
        Some(())
    }

    fn start(&mut self, admin: SocketAddr) -> Option<()> {
        self.start_asked = true;
        self.version += 1;
        let body = json!({ "version": format!("v{}", self.version) });
        let answer = call(admin, "POST", "/api/deployments", &body)?;
        self.start_asked = false;
        self.running = Some(answer["id"].as_str()?.to_owned());
        (self.share, self.share_asked, self.rollback_asked) = (10.0, 10.0, false);
        Some(())
    }

    fn advance(&mut self, admin: SocketAddr) -> Option<()> {
        self.share_asked = 50.0;
        call(admin, "POST", "/api/deployment/advance", &json!({}))?;
        self.share = 50.0;
        Some(())
    }

    fn roll_back(&mut self, admin: SocketAddr) -> Option<()> {
        self.rollback_asked = true;
        let answer = call(admin, "POST", "/api/deployment/rollback", &json!({}))?;
        assert_eq!(answer["durable"], true);
        self.rolled_back.extend(self.running.take());
        Some(())
    }

    /// Holds what is there after a restart against what is known.
    fn check(&mut self, serin: &Serin, kill: u64) {
        let flag = serin.get("/api/flags/counter")["description"].as_str().map_or(0, |text| text.parse().unwrap());
        assert!(flag == self.flag || flag == self.flag_asked, "kill {kill}: flag {flag}, answered {}", self.flag);
        self.flag = flag;
        let (status, current) = serin.api("GET", "/api/deployment", &Value::Null);
        let current = (status == 200).then_some(current);
        let history = serin.get("/api/deployments");
        let history = history["deployments"].as_array().unwrap();
        for id in self.rolled_back.iter().rev().take(5) {
            let record = history.iter().find(|record| record["id"] == id.as_str());
            assert_eq!(record.map(|record| &record["status"]), Some(&json!("rolled_back")), "kill {kill}: {id}");
        }
        if let Some(id) = self.running.clone() {
            let Some(current) = current.as_ref().filter(|current| current["id"] == id.as_str()) else {
                assert!(self.rollback_asked, "kill {kill}: {id} is gone");
                assert_eq!(history[0]["id"], id.as_str(), "kill {kill}");
                self.rolled_back.extend(self.running.take());
                return;
            };
            let share = current["currentPercentage"].as_f64().unwrap();
            assert!(share == self.share || share == self.share_asked, "kill {kill}: share {share}, {}", self.share);
            (self.share, self.share_asked) = (share, share);
        } else if let Some(current) = current {
            assert!(self.start_asked, "kill {kill}: a rollback came back: {}", current["id"]);
            self.running = current["id"].as_str().map(str::to_owned);
            (self.share, self.share_asked, self.rollback_asked) = (10.0, 10.0, false);
        }
        self.start_asked = false;
    }
}

/// One call; `None` once the process is gone.
fn call(admin: SocketAddr, method: &str, path: &str, body: &Value) -> Option<Value> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(admin).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {admin}\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let answer: Value = serde_json::from_str(body).ok()?;
    assert!(head.starts_with("HTTP/1.1 2"), "{method} {path}: {text}");
    Some(answer)
}

/// Requests of many users until the process is gone.
fn load(proxy: SocketAddr, done: &AtomicBool, sent: &AtomicU64) {
    let mut buffer = [0; 1024];
    while !done.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(proxy) else { return };
        for _ in 0..50 {
            let user = sent.fetch_add(1, Ordering::Relaxed) % 1_000;
            let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: u{user}\r\n\r\n");
            if stream.write_all(request.as_bytes()).is_err() || !matches!(stream.read(&mut buffer), Ok(1..)) {
                break;
            }
        }
    }
}

fn checkpointed(serin: &Serin) -> Option<(String, u64)> {
    let text = std::fs::read(serin.folder.path().join("state/checkpoint.json")).ok()?;
    let file: Value = serde_json::from_slice(&text).expect("the checkpoint is whole");
    let (id, record) = file["deployments"].as_object()?.iter().next()?;
    let counts = record["memory"]["counts"].as_array()?;
    let sum = counts.iter().flat_map(|epoch| epoch.as_array().into_iter().flatten());
    Some((id.clone(), sum.map(|tally| tally["requests"].as_u64().unwrap()).sum()))
}

#[test]
fn two_hundred_crashes_lose_nothing_that_was_answered() {
    let app = || answering(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    let mut serin = Serin::start(&format!(
        "services:\n  shop:\n    pools:\n      blue: {{ endpoints: 'http://{}' }}\n      \
         green: {{ endpoints: 'http://{}' }}\n    stable: blue\n    canary: green\n",
        app(),
        app()
    ));
    let mut random = Random(7);
    let mut known = Known::default();
    let sent = AtomicU64::new(0);
    let (mut resumed, mut counted) = (0, 0);
    for kill in 0..KILLS {
        let (done, (admin, proxy)) = (AtomicBool::new(false), (serin.admin, serin.proxy));
        std::thread::scope(|scope| {
            let commands = scope.spawn(|| known.command(admin));
            let loads = [0, 1].map(|_| scope.spawn(|| load(proxy, &done, &sent)));
            // Some live long enough for a checkpoint.
            let life = if kill % 20 == 19 { 1_200 } else { random.below(60) };
            std::thread::sleep(Duration::from_millis(life));
            serin.kill();
            done.store(true, Ordering::Relaxed);
            commands.join().unwrap();
            for load in loads {
                load.join().unwrap();
            }
        });
        for name in ["feature-flags.json", "deploy-state.json"] {
            assert!(serin.state_file(name)["version"].as_u64() > Some(0), "kill {kill}: {name} is whole");
        }
        let checkpoint = checkpointed(&serin);
        serin.start_again();
        known.check(&serin, kill);
        let current = serin.get("/api/deployment");
        if let Some((id, requests)) = checkpoint.filter(|(id, _)| current["id"] == id.as_str()) {
            resumed += 1;
            counted = counted.max(requests);
            assert_eq!(current["metrics"]["totalRequests"].as_u64(), Some(requests), "kill {kill}: {id} goes on");
        }
    }
    assert!(resumed > 20 && counted > 100, "{resumed} rollouts went on, with up to {counted} requests");
    assert!(known.rolled_back.len() > 10 && known.flag > 200, "{} rollbacks", known.rolled_back.len());
}
