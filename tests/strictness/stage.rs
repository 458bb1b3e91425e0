//! What rows are played on: one Serin, one app, and clients that keep every byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::app::{App, Seen};
use super::wire::{self, Message};
use crate::common::Serin;
use crate::common::http::connect;

/// What fails, in a line.
pub type Outcome = Result<(), String>;

/// Only a row that fails waits as long as this.
const SILENCE: Duration = Duration::from_secs(4);

pub struct Stage {
    pub serin: Serin,
    pub app: App,
    markers: AtomicUsize,
}

impl Stage {
    /// One worker, so that what was written first is served first; `{app}` is the app's address.
    pub fn start(config: &str) -> Self {
        let app = App::start();
        let config = format!("workers: 1\n{}\n", config.replace("{app}", &app.address.to_string()));
        Self { serin: Serin::start(&config), app, markers: AtomicUsize::new(0) }
    }

    pub fn client(&self) -> Client {
        let stream = connect(self.serin.proxy);
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.set_write_timeout(Some(SILENCE)).unwrap();
        Client { stream, bytes: Vec::new(), all: Vec::new(), end: None }
    }

    /// What the app has seen, once a request that came later has been answered.
    pub fn seen(&self) -> Result<Seen, String> {
        let target = format!("/marker/{}", self.markers.fetch_add(1, Ordering::Relaxed));
        self.own_answer(&target, &format!("saw GET {target} HTTP/1.1"))?;
        Ok(self.app.look())
    }

    /// Another client's request gets its own answer.
    pub fn own_answer(&self, target: &str, body: &str) -> Outcome {
        let mut client = self.client();
        client.write(&format!("GET {target} HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n"));
        let answer = client.answer(false)?.ok_or_else(|| format!("no answer for another client ({:?})", client.end))?;
        let rest = client.rest();
        if answer.status() != 200 || answer.body != body || !answer.complete || !rest.is_empty() {
            return Err(format!("another client's answer was {}, then {rest:?}", answer.shown()));
        }
        Ok(())
    }

    /// Lets Serin look at all its sockets once, without a word to the app.
    pub fn turn(&self) -> Outcome {
        let mut client = self.client();
        client.write("GET /../ HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n");
        client.answer(false)?.map(|_| ()).ok_or_else(|| "no answer for a bad target".to_owned())
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Orderly,
    Reset,
    /// It did not end.
    Silent,
}

pub struct Client {
    pub stream: TcpStream,
    /// What has not been read as an answer yet.
    pub bytes: Vec<u8>,
    /// Everything that came.
    pub all: Vec<u8>,
    pub end: Option<End>,
}

impl Client {
    /// Serin may answer and close before it has read everything.
    pub fn write(&mut self, text: &str) {
        self.write_bytes(&wire::bytes(text));
    }

    pub fn write_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads once more; whether anything came.
    pub fn more(&mut self) -> bool {
        let mut buffer = [0; 65536];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.end = Some(End::Orderly),
            Ok(n) => {
                self.bytes.extend_from_slice(&buffer[..n]);
                self.all.extend_from_slice(&buffer[..n]);
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.end = Some(End::Silent);
            }
            Err(_) => self.end = Some(End::Reset),
        }
        false
    }

    /// The next answer that is not interim, as far as it came; `None` without a head.
    pub fn answer(&mut self, to_head: bool) -> Result<Option<Message>, String> {
        loop {
            let found = wire::answer(&self.bytes, to_head, self.end == Some(End::Orderly))?;
            match found {
                Some(message) if message.complete || self.end.is_some() => {
                    self.bytes.drain(..message.used.min(self.bytes.len()));
                    if !(100..200).contains(&message.status()) || message.status() == 101 {
                        return Ok(Some(message));
                    }
                }
                None if self.end.is_some() => return Ok(None),
                _ => {
                    self.more();
                }
            }
        }
    }

    /// All answers to the connection's end.
    pub fn answers(&mut self, first_to_head: bool) -> Result<Vec<Message>, String> {
        let mut answers = Vec::new();
        while let Some(answer) = self.answer(first_to_head && answers.is_empty())? {
            let whole = answer.complete;
            answers.push(answer);
            if !whole {
                break;
            }
        }
        if self.bytes.is_empty() || answers.last().is_some_and(|answer| !answer.complete) {
            return Ok(answers);
        }
        Err(format!("bytes that are no answer: {:?}", wire::cut(&wire::text(&self.bytes))))
    }

    /// Whatever else comes, to the connection's end.
    pub fn rest(&mut self) -> String {
        while self.end.is_none() && self.more() {}
        wire::text(&self.bytes)
    }
}

/// A case by its name and the section that it is from.
pub struct Case {
    pub name: String,
    pub section: &'static str,
    pub plays: Box<dyn Fn(&Stage) -> Outcome>,
}

/// Plays all cases, and tells of all that fail at once.
pub fn play(stage: &Stage, cases: &[Case], at_least: usize) {
    assert!(cases.len() >= at_least, "{} rows", cases.len());
    let mut failures = Vec::new();
    for case in cases {
        if let Err(seen) = (case.plays)(stage) {
            failures.push(format!("  {} ({}): {seen}", case.name, case.section));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} rows fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n").replace('\0', "\\0")
    );
}
