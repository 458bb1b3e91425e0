//! One exchange, one outcome (SPEC 3): what happened to a request is settled here, once.
//!
//! An error is settled the moment it is known, so that a rollback does not wait
//! for a body; a success when the last byte has passed.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode, Uri};

use super::added::Added;
use super::answer::Answer;
use super::attempt::Answered;
use super::connection::Client;
use super::headers::{GRPC_STATUS, is_grpc};
use super::io::Phase;
use super::record::Record;
use super::retired::Hearing;
use super::upload::Upload;
use super::view::ServiceView;
use super::waiting::{Ticket, Waiter};
use crate::access_log::{End, Served, seconds};
use crate::clock;
use crate::config::ErrorRules;
use crate::decide::bucket::Bucket;
use crate::decide::time::Moment;
use crate::subject::{Failed, Heard, Outcome, Recorded, Subject, Track, Word};
use crate::telemetry::{ErrorKind, OutcomeKind};

/// A stream that has lasted this long went well; a break afterwards is one more error.
pub(super) const LONG_STREAM: Duration = Duration::from_secs(10);

/// What nginx calls "client closed request".
pub(super) const CLIENT_LEFT: u16 = 499;

/// Where a request was sent, and on what ground.
#[derive(Clone, Copy, Debug)]
pub(super) struct Assignment {
    /// The dial's word; `None` without a deployment.
    pub(super) word: Option<Word>,
    /// The user's drawn bucket.
    pub(super) bucket: Option<Bucket>,
    /// Where it was sent.
    pub(super) track: Track,
    /// Why, in the words of `x-serin-reason`.
    pub(super) reason: &'static str,
}

/// A ramp that a request is evidence of.
pub(super) struct Exposure {
    pub(super) subject: Arc<Subject>,
    /// The dial's word under which the flag was told.
    pub(super) word: Word,
    pub(super) bucket: Bucket,
    /// The canary's: who has the flag on; stable's: who has it off.
    pub(super) track: Track,
}

enum State {
    /// No head yet.
    Waiting,
    /// The head was good; the body is under way.
    Answered { at: Moment },
    /// A long stream, counted as a success.
    Streaming,
    /// Settled.
    Done,
}

/// An exchange from its assignment to its end.
pub(super) struct Exchange {
    client: Rc<Client>,
    service: Rc<ServiceView>,
    assignment: Assignment,
    /// Recorded in metrics only.
    ignored: bool,
    started: Moment,
    upload: Option<Rc<Upload>>,
    state: State,
    ticket: Option<Ticket>,
    /// It has counted as slow.
    slow: bool,
    /// The code that the client gets is counted.
    counted: bool,
    /// What to say of the request if the canary fails it.
    about: Option<Box<About>>,
    /// Ramps that it is evidence of.
    exposures: Vec<Exposure>,
    /// Whose it is, where something is rehearsed with it.
    pub(super) tapped: Option<u64>,
    /// What the access log will say of it, where one is kept.
    pub(super) record: Option<Box<Record>>,
    /// Whether a canary that was rolled back has had its time; asked for by long answers.
    hearing: Hearing,
}

/// A canary request, for whoever asks later where the canary failed.
pub(super) struct About {
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) request_id: String,
    /// The status of the canary's answer.
    pub(super) status: Option<StatusCode>,
}

impl Exchange {
    pub(super) fn new(
        client: Rc<Client>,
        service: Rc<ServiceView>,
        assignment: Assignment,
        ignored: bool,
        upload: Option<Rc<Upload>>,
        exposures: Vec<Exposure>,
        about: impl FnOnce() -> About,
    ) -> Self {
        let on_trial = |exposure: &Exposure| exposure.track == Track::Canary;
        let on_trial = assignment.track == Track::Canary || exposures.iter().any(on_trial);
        let mut exchange = Self {
            client,
            service,
            assignment,
            ignored,
            started: clock::now(),
            upload,
            state: State::Waiting,
            ticket: None,
            slow: false,
            counted: false,
            about: (on_trial && !ignored).then(|| Box::new(about())),
            exposures,
            tapped: None,
            record: None,
            hearing: Hearing::default(),
        };
        exchange.note_wait();
        exchange
    }

    /// What is known of a request before it goes out.
    pub(super) fn note_request(&mut self, added: &Added<'_>) {
        if let Some(record) = &mut self.record {
            record.line.request_id = added.request_id();
            record.line.user = added.sticky().map(|id| self.client.worker.key.pseudonym(id));
            record.line.served = Some(Served {
                service: self.service.state.config.name.clone(),
                track: self.assignment.track.name(),
                reason: self.assignment.reason,
                outcome: None,
                rescue: None,
                pool: None,
                version: None,
                endpoint: None,
            });
        }
    }

    /// Which app server answers.
    pub(super) fn note_server(&mut self, track: Track, endpoint: &str) {
        let role = self.service.state.role(track);
        if let Some(served) = self.record.as_mut().and_then(|record| record.served()) {
            served.pool = Some(role.series.pool.clone());
            served.version = Some(role.series.version.clone()).filter(|version| !version.is_empty());
            served.endpoint = Some(endpoint.to_owned());
        }
    }

    /// What saved the answer.
    pub(super) fn note_rescue(&mut self, rescue: &'static str) {
        if let Some(served) = self.record.as_mut().and_then(|record| record.served()) {
            served.rescue = Some(rescue);
        }
    }

    /// So many bytes of the answer's body go to the client.
    pub(super) fn passed(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.line.bytes += bytes as u64;
        }
    }

    fn note_end(&mut self, end: End) {
        if let Some(record) = &mut self.record {
            record.line.end = end;
        }
    }

    /// Since when the app could answer: the end of the request's body.
    pub(super) fn asked_at(&self) -> Option<Moment> {
        match &self.upload {
            None => Some(self.started),
            Some(upload) => upload.ended_at(),
        }
    }

    /// A request whose body has ended is seen to wait.
    pub(super) fn note_wait(&mut self) {
        let Assignment { word: Some(word), bucket, track, .. } = self.assignment else { return };
        let waiting = self.ticket.is_none() && matches!(self.state, State::Waiting);
        let waits = waiting && !self.ignored && self.service.watches(track);
        if let (true, Some(since)) = (waits, self.asked_at()) {
            self.ticket = Some(self.service.wait(track, since, Waiter { word, bucket }));
        }
    }

    /// What the first attempt says of its track; the value is its error.
    pub(super) fn judged(&mut self, first: &Result<Answered, Answer>) -> Option<ErrorKind> {
        self.wait_is_over();
        match first {
            Ok(answered) => self.answered(answered.response.status(), answered.response.headers()),
            Err(Answer::Failed(kind)) => {
                self.failed(*kind);
                Some(*kind)
            }
            // The client's own fault: no outcome of any track.
            Err(Answer::ClientBody | Answer::Refused(..)) => {
                self.state = State::Done;
                None
            }
        }
    }

    /// The head of the answer is here.
    fn answered(&mut self, status: StatusCode, headers: &HeaderMap) -> Option<ErrorKind> {
        let now = clock::now();
        // An answer may come before the request's body has ended.
        let latency = now.since(self.asked_at().unwrap_or(now));
        self.service.record_latency(self.assignment.track, latency);
        if let Some(record) = &mut self.record {
            record.line.latency = Some(seconds(latency));
        }
        self.state = State::Answered { at: now };
        let error = error_of(&self.service.state.config.errors, status, headers);
        if let Some(about) = &mut self.about {
            about.status = Some(status);
        }
        match error {
            Some(kind) => self.settle(OutcomeKind::Error(kind)),
            None => self.find_slow(now, latency),
        }
        error
    }

    /// There is no answer.
    fn failed(&mut self, kind: ErrorKind) {
        if let (ErrorKind::Timeout, Some(since)) = (kind, self.asked_at()) {
            // The deadline is a lower bound of what the answer would have taken.
            self.record_wait();
            let now = clock::now();
            self.find_slow(now, now.since(since));
        }
        self.settle(OutcomeKind::Error(kind));
    }

    /// The client gets this code, from an app server of this track or from Serin in its place.
    pub(super) fn answers(&mut self, track: Track, code: u16) {
        self.counted = true;
        self.service.state.role(track).series.count(self.client.worker.index, code);
        if let Some(record) = &mut self.record {
            record.line.status = code;
        }
    }

    /// The last byte of the answer has passed.
    pub(super) fn finished(&mut self) {
        self.note_end(End::Complete);
        match self.state {
            State::Answered { .. } => self.settle(OutcomeKind::Success),
            _ => self.state = State::Done,
        }
    }

    /// The answer's body broke off.
    pub(super) fn truncated(&mut self) {
        self.note_end(End::Truncated);
        match self.state {
            State::Answered { .. } | State::Streaming => self.settle(OutcomeKind::Error(ErrorKind::Truncated)),
            _ => {}
        }
    }

    /// When a stream becomes a long one; `None` once it is settled.
    pub(super) fn long_at(&self) -> Option<Moment> {
        match self.state {
            State::Answered { at } => Some(at + LONG_STREAM),
            _ => None,
        }
    }

    /// The stream has lasted long enough to be a success.
    pub(super) fn lasts(&mut self) {
        if matches!(self.state, State::Answered { .. }) {
            self.settle(OutcomeKind::Success);
            self.state = State::Streaming;
        }
    }

    /// Whether this is a long answer of a canary that was rolled back a while ago; it ends
    /// by nobody's fault.
    pub(super) fn has_had_its_time(&mut self, cx: &mut Context<'_>) -> bool {
        let long = self.assignment.track == Track::Canary
            && self.assignment.word.is_some()
            && matches!(self.state, State::Streaming);
        let over = long && self.hearing.poll(&self.service.retired, cx).is_ready();
        if over {
            self.note_end(End::Cut);
            self.state = State::Done;
        }
        over
    }

    /// The trailers of a gRPC answer, or that it had none; `errors` has a bit for each status
    /// that is one.
    pub(super) fn grpc_ended(&mut self, errors: u32, trailers: Option<&HeaderMap>) {
        if errors & grpc_bit(trailers.and_then(|trailers| trailers.get(&GRPC_STATUS))) != 0
            && matches!(self.state, State::Answered { .. } | State::Streaming)
        {
            self.settle(OutcomeKind::Error(ErrorKind::Grpc));
        }
    }

    /// The client has left.
    fn left(&mut self) {
        if !self.counted {
            self.answers(self.assignment.track, CLIENT_LEFT);
        }
        if !matches!(self.state, State::Waiting) {
            return;
        }
        self.wait_is_over();
        let patience = self.service.state.config.errors.abandon_after;
        let now = clock::now();
        let Some(waited) = self.asked_at().map(|since| now.since(since)) else { return };
        self.find_slow(now, waited);
        if waited >= patience {
            self.record_wait();
            self.settle(OutcomeKind::Error(ErrorKind::Abandoned));
        }
    }

    /// Has it taken longer than the threshold, and is that not counted yet?
    fn find_slow(&mut self, now: Moment, latency: Duration) {
        let Assignment { word, bucket, track, .. } = self.assignment;
        if let (Some(word), Some(canary), false) = (word, &self.service.state.canary, self.slow || self.ignored)
            && canary.subject.slow_after(now).is_some_and(|after| latency > after)
        {
            self.slow = true;
            canary.subject.record_slow(Outcome { at: now, word, track, bucket, verdict: Recorded::Success });
        }
    }

    fn settle(&mut self, kind: OutcomeKind) {
        let late = matches!(self.state, State::Streaming);
        let headed_at = self.headed_at();
        self.state = State::Done;
        if self.ignored {
            return;
        }
        if let Some(served) = self.record.as_mut().and_then(|record| record.served()) {
            served.outcome = Some(kind.name());
        }
        if !late {
            self.tell(kind, headed_at);
        }
        let Assignment { word, bucket, track, .. } = self.assignment;
        let worker = self.client.worker.index;
        self.service.state.stats.count(worker, track, kind);
        let verdict = match kind {
            OutcomeKind::Success => Recorded::Success,
            OutcomeKind::Error(_) if late => Recorded::LateError,
            OutcomeKind::Error(_) => Recorded::Error,
        };
        if let (Some(word), Some(canary)) = (word, &self.service.state.canary) {
            self.record(&canary.subject, kind, Outcome { at: clock::now(), word, track, bucket, verdict });
        }
        for Exposure { subject, word, bucket, track } in &self.exposures {
            let (word, track, bucket) = (*word, *track, Some(*bucket));
            self.record(subject, kind, Outcome { at: clock::now(), word, track, bucket, verdict });
        }
    }

    /// Tells a rollout what came of this request.
    fn record(&self, subject: &Subject, kind: OutcomeKind, outcome: Outcome) {
        if let (OutcomeKind::Error(_), Track::Canary, Some(about)) = (kind, outcome.track, &self.about) {
            subject.saw(about.failed(kind));
        }
        subject.record(self.client.worker.index, outcome);
    }

    /// A rehearsal hears of it.
    fn tell(&self, kind: OutcomeKind, headed_at: Option<Moment>) {
        if let (Some(tap), Some(identity)) = (&self.service.state.rehearsal, self.tapped) {
            let now = clock::now();
            let until = headed_at.unwrap_or(now);
            let latency = self.asked_at().map(|since| until.since(since)).unwrap_or_default();
            tap.tell(Heard { at: now, identity, error: kind != OutcomeKind::Success, latency });
        }
    }

    fn record_wait(&self) {
        if let Some(since) = self.asked_at() {
            self.service.record_latency(self.assignment.track, clock::now().since(since));
        }
    }

    fn wait_is_over(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.slow |= self.service.wait_is_over(self.assignment.track, ticket);
        }
    }

    /// When the head of the answer came; before, when it began.
    pub(super) fn heard_at(&self) -> Moment {
        self.headed_at().unwrap_or(self.started)
    }

    fn headed_at(&self) -> Option<Moment> {
        match self.state {
            State::Answered { at } => Some(at),
            _ => None,
        }
    }

    /// When it began.
    pub(super) fn started(&self) -> Moment {
        self.started
    }

    pub(super) fn client(&self) -> &Rc<Client> {
        &self.client
    }
}

impl About {
    fn failed(&self, kind: OutcomeKind) -> Failed<'_> {
        let status = self.status.as_ref().filter(|_| kind == OutcomeKind::Error(ErrorKind::Status));
        Failed {
            method: self.method.as_str(),
            path: self.target.path(),
            what: status.map_or(kind.name(), StatusCode::as_str),
            request_id: &self.request_id,
        }
    }
}

/// The error that an answer's head says: the app's own word, then its status.
pub(super) fn error_of(rules: &ErrorRules, status: StatusCode, headers: &HeaderMap) -> Option<ErrorKind> {
    let own = headers.get(&rules.outcome_header);
    if own.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"error")) {
        Some(ErrorKind::App)
    } else if rules.status.contains(status.as_u16()) {
        Some(ErrorKind::Status)
    } else if let Some(grpc) = headers.get(&GRPC_STATUS).filter(|_| is_grpc(headers))
        && rules.grpc_status & grpc_bit(Some(grpc)) != 0
    {
        Some(ErrorKind::Grpc)
    } else {
        None
    }
}

/// The bit of a gRPC status; none, or one that is no number, is UNKNOWN (2), as clients take it.
fn grpc_bit(status: Option<&HeaderValue>) -> u32 {
    let number = status.and_then(|value| value.to_str().ok()?.parse().ok()).filter(|number| *number <= 16);
    1 << number.unwrap_or(2)
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.client.worker.cutting.get() {
            self.note_end(End::Cut);
            self.wait_is_over();
        } else {
            self.left();
        }
        if let Some(record) = self.record.take() {
            self.client.worker.log(record);
        }
        self.client.progress.enter(Phase::Idle);
    }
}
