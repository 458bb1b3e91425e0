//! What the access log says of a request, gathered along its way.

use std::cell::RefCell;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::request::Parts;
use http::{StatusCode, Version};

use super::connection::Client;
use super::handler::client_address;
use super::view::View;
use crate::access_log::{AccessLogWriter, Batch, End, Line, Served, seconds};
use crate::clock;
use crate::config::AccessLog;
use crate::decide::bucket::Bucket;
use crate::decide::time::Moment;

/// Lines are handed over once there are so many bytes, and with every tick.
const BATCH_BYTES: usize = 16 << 10;

/// Of a field, and of a target, no more is written.
const FIELD_MAX: usize = 1 << 10;
const TARGET_MAX: usize = 8 << 10;

/// A request that is written once it has ended.
pub(super) struct Record {
    pub(super) line: Line,
    started: Moment,
}

impl Record {
    /// A record of a request, where one is kept.
    pub(super) fn begin(client: &Client, view: &View, parts: &Parts) -> Option<Box<Self>> {
        if !drawn(client, view.snapshot.config.access_log.as_ref()) {
            return None;
        }
        let text = |name: &HeaderName| lossy(&parts.headers, name);
        let line = Line {
            client: client_address(client, &parts.headers),
            method: Some(parts.method.clone()),
            host: text(&HOST),
            target: parts.uri.to_string().chars().take(TARGET_MAX).collect(),
            protocol: parts.version,
            referer: text(&REFERER),
            user_agent: text(&USER_AGENT),
            ..Self::of(client)
        };
        Some(Box::new(Self { line, started: clock::now() }))
    }

    /// A head that was refused before it was understood, where records are kept.
    pub(super) fn refused(client: &Client, status: StatusCode, error: &'static str) {
        if drawn(client, client.worker.view().snapshot.config.access_log.as_ref()) {
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

    /// The client's own body broke: what it still gets is no answer to its request.
    pub(super) fn client_broke_off(&mut self, code: u16, error: &'static str) {
        (self.line.status, self.line.error, self.line.end) = (code, Some(error), End::ClientLeft);
    }

    /// Where it went.
    pub(super) fn served(&mut self) -> Option<&mut Served> {
        self.line.served.as_mut()
    }
}

/// Whether a request is one of those that are written.
fn drawn(client: &Client, log: Option<&AccessLog>) -> bool {
    log.is_some_and(|log| log.sample.reaches(Bucket::of_hash(client.worker.random())))
}

/// A field's value, as far as a line needs it.
fn lossy(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    String::from_utf8_lossy(&value[..value.len().min(FIELD_MAX)]).into_owned()
}

/// A worker's lines that are not handed over yet.
pub(super) struct Lines {
    writer: AccessLogWriter,
    waiting: RefCell<Option<Batch>>,
}

impl Drop for Lines {
    /// The lines of connections that were cut.
    fn drop(&mut self) {
        self.hand_over();
    }
}

impl Lines {
    pub(super) fn new(writer: AccessLogWriter) -> Self {
        Self { writer, waiting: RefCell::new(None) }
    }

    /// Writes a record's line behind those that wait.
    pub(super) fn add(&self, mut record: Box<Record>, log: &AccessLog) {
        record.line.time = clock::rfc3339();
        record.line.duration = seconds(clock::now().since(record.started));
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
