//! Counters with one writer each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::latency::MergedLatency;
use super::outcome::OutcomeKind;
use crate::subject::Track;

/// The first and last status that HTTP knows.
const CODES: std::ops::Range<u16> = 100..600;

/// One writer: no locked instruction is needed.
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// A worker's counters, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Row(Box<[AtomicU64]>);

#[derive(Debug)]
struct Rows(Box<[Row]>);

impl Rows {
    fn new(workers: usize, columns: usize) -> Self {
        let row = || Row((0..columns).map(|_| AtomicU64::new(0)).collect());
        Self((0..workers.max(1)).map(|_| row()).collect())
    }

    fn bump(&self, worker: usize, column: usize) {
        bump(&self.0[worker % self.0.len()].0[column]);
    }

    fn sum(&self, column: usize) -> u64 {
        self.0.iter().map(|row| row.0[column].load(Ordering::Relaxed)).sum()
    }
}

/// A service's outcomes and latencies.
#[derive(Debug)]
pub struct ServiceStats {
    outcomes: [Rows; 2],
    latency: [MergedLatency; 2],
    latest: [MergedLatency; 2],
    rescues: Rows,
    rollbacks: Mutex<BTreeMap<&'static str, u64>>,
}

/// A further attempt: no outcome of any track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rescue {
    /// On another app server of the track.
    Retry,
    /// On stable, in the canary's place.
    Shield,
    /// On the other track, where this one does not know the file.
    Skew,
}

impl Rescue {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Retry, Self::Shield, Self::Skew];

    /// Its name in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Shield => "shield",
            Self::Skew => "skew",
        }
    }
}

impl ServiceStats {
    /// Nothing yet.
    pub fn new(workers: usize) -> Self {
        let rows = || Rows::new(workers, OutcomeKind::ALL.len());
        let rescues = Rows::new(workers, Rescue::ALL.len() * 2);
        Self {
            outcomes: [rows(), rows()],
            latency: Default::default(),
            latest: Default::default(),
            rescues,
            rollbacks: Mutex::default(),
        }
    }

    /// Counts an outcome.
    pub fn count(&self, worker: usize, track: Track, kind: OutcomeKind) {
        self.outcomes[track.index()].bump(worker, kind.index());
    }

    /// How often.
    pub fn outcomes(&self, track: Track, kind: OutcomeKind) -> u64 {
        self.outcomes[track.index()].sum(kind.index())
    }

    /// Counts a further attempt.
    pub fn count_rescue(&self, worker: usize, rescue: Rescue, good: bool) {
        self.rescues.bump(worker, rescue as usize * 2 + usize::from(good));
    }

    /// How many further attempts went well, or did not.
    pub fn rescues(&self, rescue: Rescue, good: bool) -> u64 {
        self.rescues.sum(rescue as usize * 2 + usize::from(good))
    }

    /// Counts a rollback by this rule.
    pub fn count_rollback(&self, rule: &'static str) {
        *self.rollbacks.lock().unwrap_or_else(PoisonError::into_inner).entry(rule).or_default() += 1;
    }

    /// Rollbacks by rule.
    pub fn rollbacks(&self) -> Vec<(&'static str, u64)> {
        let rollbacks = self.rollbacks.lock().unwrap_or_else(PoisonError::into_inner);
        rollbacks.iter().map(|(rule, count)| (*rule, *count)).collect()
    }

    /// The latencies of a track.
    pub fn latency(&self, track: Track) -> &MergedLatency {
        &self.latency[track.index()]
    }

    /// Those since somebody last took them.
    pub fn latest(&self, track: Track) -> &MergedLatency {
        &self.latest[track.index()]
    }
}

/// The answers of a pool in a role, by code.
#[derive(Debug)]
pub struct PoolSeries {
    /// The labels.
    pub service: String,
    /// The role.
    pub track: Track,
    /// The pool's name.
    pub pool: String,
    /// The version it runs; empty where nobody said.
    pub version: String,
    codes: Rows,
}

impl PoolSeries {
    /// Nothing yet.
    pub fn new(service: &str, track: Track, pool: &str, version: &str, workers: usize) -> Self {
        let codes = Rows::new(workers, CODES.len() + 1);
        Self { service: service.into(), track, pool: pool.into(), version: version.into(), codes }
    }

    /// Counts an answer.
    pub fn count(&self, worker: usize, code: u16) {
        let column = if CODES.contains(&code) { usize::from(code - CODES.start) } else { CODES.len() };
        self.codes.bump(worker, column);
    }

    /// The codes that were answered, and how often; codes outside of IANA's list are `other`.
    pub fn codes(&self) -> Vec<(String, u64)> {
        let mut other = self.codes.sum(CODES.len());
        let mut codes = Vec::new();
        for code in CODES {
            let count = self.codes.sum(usize::from(code - CODES.start));
            if count == 0 {
                continue;
            }
            // 499: the client left before the head, as nginx says it.
            if code == 499 || http::StatusCode::from_u16(code).is_ok_and(|c| c.canonical_reason().is_some()) {
                codes.push((code.to_string(), count));
            } else {
                other += count;
            }
        }
        if other > 0 {
            codes.push(("other".to_owned(), other));
        }
        codes
    }
}

/// How often each exposed flag was on and off.
#[derive(Debug)]
pub struct FlagCounters(Rows);

impl FlagCounters {
    /// Nothing yet, for this many answers of all flags.
    pub fn new(workers: usize, answers: usize) -> Self {
        Self(Rows::new(workers, answers))
    }

    /// Counts an answer.
    pub fn count(&self, worker: usize, answer: usize) {
        self.0.bump(worker, answer);
    }

    /// How often there was this answer.
    pub fn sum(&self, answer: usize) -> u64 {
        self.0.sum(answer)
    }
}

/// Why a request was refused before any attempt, or answered by Serin itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not understood, or ambiguous.
    BadRequest,
    /// No service has this host and path.
    NoService,
    /// A body over its limit.
    BodyTooLarge,
    /// A target over its limit.
    UriTooLong,
    /// A head that took too long.
    HeaderTimeout,
    /// What the parser itself refused.
    Parser,
    /// A client that neither sent its body nor took the answer's.
    BodyIdle,
    /// More fields than a head may have.
    HeadersTooMany,
    /// Frames of HTTP/2 that nobody needs so many of.
    Flood,
    /// No handshake of TLS.
    Tls,
    /// No PROXY header where there has to be one.
    ProxyProtocol,
    /// Serin had no descriptor for a connection to an app server.
    Descriptors,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::BadRequest,
        Self::NoService,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::HeaderTimeout,
        Self::Parser,
        Self::BodyIdle,
        Self::HeadersTooMany,
        Self::Flood,
        Self::Tls,
        Self::ProxyProtocol,
        Self::Descriptors,
    ];

    /// Its name in labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "badRequest",
            Self::NoService => "noService",
            Self::BodyTooLarge => "bodyTooLarge",
            Self::UriTooLong => "uriTooLong",
            Self::HeaderTimeout => "headerTimeout",
            Self::Parser => "parser",
            Self::BodyIdle => "bodyIdle",
            Self::HeadersTooMany => "headersTooMany",
            Self::Flood => "flood",
            Self::Tls => "tls",
            Self::ProxyProtocol => "proxyProtocol",
            Self::Descriptors => "descriptors",
        }
    }
}

/// Counts of the whole process; rare enough to be shared between workers.
#[derive(Debug, Default)]
pub struct ProcessStats {
    refused: [AtomicU64; Refusal::ALL.len()],
    open: AtomicU64,
    accepted: AtomicU64,
    upstream_connects: AtomicU64,
    dead_idle: AtomicU64,
    panics: AtomicU64,
    /// Configurations taken up, and refused.
    reloads: [AtomicU64; 2],
    last_reload_failed: AtomicBool,
}

impl ProcessStats {
    /// Counts a refusal.
    pub fn refuse(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize].load(Ordering::Relaxed)
    }

    /// Serin's own code has failed, and one connection with it.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// A client's connection was accepted.
    pub fn connection_opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// A client's connection has ended.
    pub fn connection_closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Client connections open now.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Client connections ever accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// A changed configuration was taken up, or refused.
    pub fn config_reloaded(&self, good: bool) {
        self.reloads[usize::from(good)].fetch_add(1, Ordering::Relaxed);
        self.last_reload_failed.store(!good, Ordering::Relaxed);
    }

    /// How many were taken up, or refused.
    pub fn config_reloads(&self, good: bool) -> u64 {
        self.reloads[usize::from(good)].load(Ordering::Relaxed)
    }

    /// Whether the newest one is in force.
    pub fn config_is_current(&self) -> bool {
        !self.last_reload_failed.load(Ordering::Relaxed)
    }

    /// A connection to an app server was opened.
    pub fn upstream_connected(&self) {
        self.upstream_connects.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections to app servers ever opened.
    pub fn upstream_connects(&self) -> u64 {
        self.upstream_connects.load(Ordering::Relaxed)
    }

    /// A request was sent again because an idle connection had been closed.
    pub fn idle_was_dead(&self) {
        self.dead_idle.fetch_add(1, Ordering::Relaxed);
    }

    /// How often.
    pub fn dead_idle(&self) -> u64 {
        self.dead_idle.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_outside_of_ianas_list_are_other() {
        let series = PoolSeries::new("s", Track::Stable, "a", "", 2);
        for (worker, code) in [(0, 200), (1, 200), (0, 499), (1, 599), (0, 299), (1, 999)] {
            series.count(worker, code);
        }
        let expected = [("200", 2), ("499", 1), ("other", 3)].map(|(code, count)| (code.to_owned(), count));
        assert_eq!(series.codes(), expected);
    }
}
