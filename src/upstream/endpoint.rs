//! An app server as one worker sees it: its idle connections.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::connect::{ConnectError, connect};
use super::lease::Lease;
use super::state::ServerState;
use super::wire::{AppIo, Wire};
use crate::decide::time::Moment;
use crate::telemetry::ProcessStats;

/// How many connections are kept idle, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleLimits {
    /// Kept idle.
    pub count: usize,
    /// For how long; less where the app says so.
    pub span: Duration,
}

/// One app server, for one worker.
pub struct Endpoint<B: Body + 'static> {
    state: Arc<ServerState>,
    /// Its address as a text.
    name: String,
    limits: IdleLimits,
    /// Requests of this worker.
    under_way: Cell<usize>,
    turn: Cell<usize>,
    /// Last in, first out: what was used last is the least likely to be closed.
    idle: RefCell<Vec<Idle<B>>>,
    stats: Arc<ProcessStats>,
}

struct Idle<B: Body + 'static> {
    lease: Lease<B>,
    until: Moment,
}

impl<B: Body + 'static> Endpoint<B> {
    /// An app server without connections.
    pub fn new(state: Arc<ServerState>, limits: IdleLimits, stats: Arc<ProcessStats>) -> Self {
        let name = state.address().to_string();
        let (under_way, turn) = (Cell::new(0), Cell::new(0));
        Self { state, name, limits, under_way, turn, idle: RefCell::new(Vec::new()), stats }
    }

    /// What all workers know of it.
    pub fn state(&self) -> &Arc<ServerState> {
        &self.state
    }

    /// Its address as a text.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Requests of this worker that are under way.
    pub fn under_way(&self) -> usize {
        self.under_way.get()
    }

    pub(super) fn enter(&self) {
        self.under_way.set(self.under_way.get() + 1);
    }

    pub(super) fn leave(&self) {
        self.under_way.set(self.under_way.get() - 1);
    }
}

impl<B> Endpoint<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The connection that was used last, if it has not been idle for too long.
    pub fn idle(&self, now: Moment) -> Option<Lease<B>> {
        let mut idle = self.idle.borrow_mut();
        match idle.pop() {
            Some(Idle { lease, until }) if now < until => Some(lease.reuse()),
            Some(late) => {
                // The others have been idle for longer still.
                let others = std::mem::take(&mut *idle);
                drop(idle);
                drop((late, others));
                None
            }
            None => None,
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// Where there is none in time.
    pub async fn connect(&self, within: Duration) -> Result<Lease<B>, ConnectError> {
        let stream = connect(&self.state, within, self.turn.replace(self.turn.get().wrapping_add(1))).await?;
        self.stats.upstream_connected();
        let wire = Arc::new(Wire::default());
        let io = TokioIo::new(AppIo::new(stream, Arc::clone(&wire)));
        let (sender, connection) = http1::Builder::new()
            .writev(false)
            .handshake(io)
            .await
            .map_err(|error| ConnectError::Failed(std::io::Error::other(error)))?;
        Ok(Lease::new(sender, connection, wire))
    }

    /// Takes a connection back after the last byte of an answer; closes it where it
    /// cannot be used again. `now` may be a little early: then so is its end.
    pub fn give_back(&self, mut lease: Lease<B>, kept_for: Option<Duration>, now: Moment) {
        lease.kept_for = kept_for.or(lease.kept_for);
        let span = lease.kept_for.map_or(self.limits.span, |kept| kept.min(self.limits.span));
        if span.is_zero() || self.limits.count == 0 || !lease.ready() {
            return;
        }
        let until = now + span;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.limits.count {
            idle.push(Idle { lease, until });
        }
    }

    /// Closes what has been idle for too long; the oldest are first.
    pub fn sweep(&self, now: Moment) {
        let closed: Vec<Idle<B>> = {
            let mut idle = self.idle.borrow_mut();
            let live = idle.iter().position(|entry| entry.until > now).unwrap_or(idle.len());
            idle.drain(..live).collect()
        };
        drop(closed);
    }
}
