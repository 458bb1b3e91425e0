//! An app server as one worker sees it: its connections that can take a request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::connect::{ConnectError, Need, Protocol, connect};
use super::http2::Multiplexed;
use super::lease::Lease;
use super::state::ServerState;
use super::wire::{AppIo, Wire};
use crate::clock;
use crate::config::Transport;
use crate::decide::time::Moment;
use crate::telemetry::ProcessStats;

/// What hyper buffers of an answer's body: who reads slowly holds no more, nor does a head have more.
const BUFFER: usize = 64 << 10;
/// Fields in an answer's head. hyper has room for a hundred on its stack; for more it would
/// allocate with every answer.
const FIELDS: usize = 100;

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
    /// Connections of HTTP/2.
    http2: RefCell<Vec<Rc<Multiplexed<B>>>>,
    /// What it spoke last; unknown before the first handshake of TLS.
    speaks: Cell<Option<Protocol>>,
    /// Connections of HTTP/2 are opened one after another: many requests fit on one.
    opening: tokio::sync::Mutex<()>,
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
        let speaks = match state.address().transport {
            Transport::Http1 => Some(Protocol::Http1),
            Transport::Http2 => Some(Protocol::Http2),
            Transport::Tls(_) => None,
        };
        Self {
            state,
            name,
            limits,
            under_way: Cell::new(0),
            turn: Cell::new(0),
            idle: RefCell::default(),
            http2: RefCell::default(),
            speaks: Cell::new(speaks),
            opening: tokio::sync::Mutex::default(),
            stats,
        }
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

    /// Whether a connection to it can become one of another protocol.
    pub fn can_upgrade(&self) -> bool {
        self.state.address().transport != Transport::Http2
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
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The connection that was used last, if it has not been idle for too long; of HTTP/2 one
    /// with room.
    pub fn idle(&self, now: Moment, need: Need) -> Option<Lease<B>> {
        if need == Need::Any
            && let Some(lease) = self.stream()
        {
            return Some(lease);
        }
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
    pub async fn connect(&self, within: Duration, need: Need) -> Result<Lease<B>, ConnectError> {
        if need == Need::Upgrade || self.speaks.get() == Some(Protocol::Http1) {
            return self.open(within, need).await;
        }
        let shared = async {
            let _turn = self.opening.lock().await;
            match self.stream() {
                // Another request has opened it meanwhile.
                Some(lease) => Ok(lease),
                None => self.open(within, need).await,
            }
        };
        tokio::time::timeout(within, shared).await.map_err(|_| ConnectError::Timeout)?
    }

    async fn open(&self, within: Duration, need: Need) -> Result<Lease<B>, ConnectError> {
        let turn = self.turn.replace(self.turn.get().wrapping_add(1));
        let (stream, protocol) = connect(&self.state, within, turn, need).await?;
        self.stats.upstream_connected();
        let failed = |error| ConnectError::Failed(std::io::Error::other(error));
        if need == Need::Any {
            self.speaks.set(Some(protocol));
        }
        if protocol == Protocol::Http2 {
            let opening = Multiplexed::open(stream, clock::now());
            let opened = tokio::time::timeout(within, opening).await.map_err(|_| ConnectError::Timeout)?;
            let opened = opened.map_err(failed)?;
            self.http2.borrow_mut().push(Rc::clone(&opened));
            return Ok(Lease::http2(opened.stream(), false));
        }
        let wire = Arc::new(Wire::default());
        let io = TokioIo::new(AppIo::new(stream, Arc::clone(&wire)));
        let (sender, connection) = http1::Builder::new()
            .writev(false)
            .max_buf_size(BUFFER)
            .max_headers(FIELDS)
            .handshake(io)
            .await
            .map_err(failed)?;
        Ok(Lease::http1(sender, connection, wire))
    }

    /// A place on an open connection of HTTP/2.
    fn stream(&self) -> Option<Lease<B>> {
        let open = self.http2.borrow();
        let with_room = open.iter().find(|connection| connection.has_room())?;
        let idle = with_room.is_idle();
        Some(Lease::http2(with_room.stream(), idle))
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
        let closed: Vec<_> = {
            let mut open = self.http2.borrow_mut();
            open.extract_if(.., |connection| !connection.is_needed(now, self.limits.span)).collect()
        };
        drop(closed);
    }
}
