//! What the access log says of a request, gathered along its way.

use std::cell::RefCell;

use http::header::{HOST, HeaderMap, HeaderName, REFERER, USER_AGENT};
use http::request::Parts;
use http::{StatusCode, Version};

use super::connection::Client;
use super::handler::client_address;
use super::view::View;
use crate::access_log::{AccessLogWriter, Batch, End, Line, Served};
use crate::clock;
use crate::config::AccessLog;
use crate::decide::bucket::Bucket;
use crate::decide::time::Moment;

/// Lines are handed over once there are so many bytes, and with every tick.
const BATCH_BYTES: usize = 16 << 10;

/// A request that is written once it has ended.
pub(super) struct Record {
    pub(super) line: Line,
    started: Moment,
}

impl Record {
    /// A record of a request, where one is kept.
    pub(super) fn begin(client: &Client, view: &View, parts: &Parts) -> Option<Box<Self>> {
        let log = view.snapshot.config.access_log.as_ref()?;
        if !log.sample.reaches(Bucket::of_hash(client.worker.random())) {
            return None;
        }
        let text = |name: &HeaderName| lossy(&parts.headers, name);
        let line = Line {
            client: client_address(client, &parts.headers),
            method: Some(parts.method.clone()),
            host: text(&HOST),
            target: parts.uri.to_string(),
            protocol: parts.version,
            referer: text(&REFERER),
            user_agent: text(&USER_AGENT),
            ..Self::of(client)
        };
        Some(Box::new(Self { line, started: clock::now() }))
    }

    /// A head that was refused before it was understood, where records are kept.
    pub(super) fn refused(client: &Client, status: StatusCode, error: &'static str) {
        if client.worker.view().snapshot.config.access_log.is_some() {
            let line = Line { status: status.as_u16(), error: Some(error), end: End::Complete, ..Self::of(client) };
            client.worker.log(Box::new(Self { line, started: clock::now() }));
        }
    }

    fn of(client: &Client) -> Line {
        Line {
            time: String::new(),
            client: client.peer,
            user: None,
            request_id: String::new(),
            method: None,
            host: String::new(),
            target: String::new(),
            protocol: Version::HTTP_11,
            status: 0,
            bytes: 0,
            duration: 0.0,
            latency: None,
            // Whoever hears of the end says so.
            end: End::ClientLeft,
            served: None,
            error: None,
            referer: String::new(),
            user_agent: String::new(),
        }
    }

    /// Serin answers itself.
    pub(super) fn answered_by_serin(&mut self, status: StatusCode, error: &'static str, bytes: u64) {
        (self.line.status, self.line.error, self.line.bytes) = (status.as_u16(), Some(error), bytes);
        self.line.end = End::Complete;
    }

    /// Where it went.
    pub(super) fn served(&mut self) -> Option<&mut Served> {
        self.line.served.as_mut()
    }
}

fn lossy(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
}

/// A worker's lines that are not handed over yet.
pub(super) struct Lines {
    writer: AccessLogWriter,
    waiting: RefCell<Option<Batch>>,
}

impl Lines {
    pub(super) fn new(writer: AccessLogWriter) -> Self {
        Self { writer, waiting: RefCell::new(None) }
    }

    /// Writes a record's line behind those that wait.
    pub(super) fn add(&self, mut record: Box<Record>, log: &AccessLog) {
        record.line.time = clock::rfc3339();
        record.line.duration = clock::now().since(record.started).as_micros() as f64 / 1e6;
        let mut waiting = self.waiting.borrow_mut();
        let other = |batch: &Batch| batch.target != log.to;
        if let Some(other) = waiting.take_if(|batch| other(batch)) {
            self.writer.write(other);
        }
        let batch = waiting.get_or_insert_with(|| Batch { target: log.to.clone(), bytes: Vec::new(), lines: 0 });
        record.line.write(log.format, &mut batch.bytes);
        batch.lines += 1;
        let full = batch.bytes.len() >= BATCH_BYTES;
        drop(waiting);
        if full {
            self.hand_over();
        }
    }

    /// Hands over what waits.
    pub(super) fn hand_over(&self) {
        if let Some(batch) = self.waiting.borrow_mut().take() {
            self.writer.write(batch);
        }
    }
}
