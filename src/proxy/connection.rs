//! One client's connection, from its first byte to its last; over HTTP/1.1 requests come
//! one after another, each in its time.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::arrival::{Arrived, Ended, arrive, first_byte};
use super::handler::handle;
use super::http2;
use super::io::{ClientIo, Phase, Progress};
use super::record::Record;
use super::timer::LazyTimer;
use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::clock;
use crate::config::{Limits, Listener};
use crate::decide::time::Moment;
use crate::telemetry::Refusal;
use crate::tls::Stream;

const HEADER_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nserin-error: headerTimeout\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 55\r\nconnection: close\r\n\r\n\
    408 Request Timeout: the request's head took too long.\n";
/// A connection that has been idle for so long gives its buffers back until it speaks again.
const PARK_AFTER: Duration = Duration::from_secs(1);
/// A peer that does not read is not waited for.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// What a client may still send that nobody reads: closing before would reset the
/// connection, and with it the answer (RFC 9112 section 9.6).
const LINGER_BYTES: usize = 1 << 20;

/// What is known of a client's connection, or of its stream of HTTP/2.
pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    pub(super) listener: Arc<Listener>,
    pub(super) peer: IpAddr,
    /// The peer's address as a field's value.
    pub(super) peer_text: HeaderValue,
    /// Whether what it says of others is believed.
    pub(super) trusted: bool,
    /// Whether it speaks TLS.
    pub(super) encrypted: bool,
    pub(super) progress: Arc<Progress>,
    /// The deadline of the exchange under way; there is one at a time.
    pub(super) timer: RefCell<LazyTimer>,
    /// How the connection ends.
    pub(super) end: Ending,
}

/// What the way of a request says of its connection's end.
#[derive(Default)]
pub(super) struct Ending {
    /// Another protocol is spoken from now on.
    pub(super) tunnel: RefCell<Option<Box<Tunnel>>>,
    /// The answer is not whole yet, and only a reset can say so.
    pub(super) reset: Cell<bool>,
    /// There is more of a request that nobody will read.
    pub(super) unread: Cell<bool>,
    /// No request is read after this one.
    pub(super) last: Rc<Cell<bool>>,
}

impl Client {
    fn new(worker: Rc<Worker>, listener: Arc<Listener>, peer: IpAddr, encrypted: bool) -> Self {
        Self {
            trusted: listener.trusted.contain(peer),
            // An address is visible ASCII.
            peer_text: HeaderValue::try_from(peer.to_string()).unwrap_or(HeaderValue::from_static("unknown")),
            peer,
            listener,
            worker,
            encrypted,
            progress: Arc::default(),
            timer: RefCell::default(),
            end: Ending::default(),
        }
    }

    /// The same client with one more request of its own time.
    pub(super) fn stream(&self) -> Self {
        Self {
            worker: Rc::clone(&self.worker),
            listener: Arc::clone(&self.listener),
            peer_text: self.peer_text.clone(),
            progress: Arc::default(),
            timer: RefCell::default(),
            end: Ending::default(),
            ..*self
        }
    }
}

/// Serves a connection to its end. While nothing is said on it, it holds next to nothing: no
/// buffers before its first byte, and of HTTP/1.1 none while it is idle.
pub(super) async fn serve(socket: TcpStream, peer: SocketAddr, listener: Arc<Listener>, worker: Rc<Worker>) {
    let limits = worker.view().snapshot.config.limits;
    let peer = peer.ip().to_canonical();
    if !first_byte(&socket, limits.keep_alive).await {
        return;
    }
    let arriving = Box::pin(arrive(socket, peer, &listener, &limits, &worker.turnstile));
    let Arrived { mut stream, mut early, peer, http2 } = match arriving.await {
        Ok(arrived) => arrived,
        Err(Ended::Left) => return,
        Err(Ended::Refused(refusal, error)) => {
            worker.stats.refuse(refusal);
            let client = Client::new(worker, listener, peer, false);
            Record::refused(&client, StatusCode::BAD_REQUEST, refusal.name());
            return tracing::debug!(%error, client = %client.peer, why = refusal.name(), "a connection was refused");
        }
    };
    let client = Rc::new(Client::new(worker, listener, peer, stream.is_encrypted()));
    if http2 {
        return Box::pin(http2::serve(stream, early, client, limits)).await;
    }
    loop {
        match Box::pin(session(stream, early, &client, &limits)).await {
            Session::Parked(parked) => {
                (stream, early) = (parked, Bytes::new());
                if !first_byte(stream.socket(), limits.keep_alive.saturating_sub(PARK_AFTER)).await {
                    return Box::pin(leave(stream, &client, None)).await;
                }
            }
            Session::Tunnel(tunnel, stream, early) => return Box::pin(tunnel.run(stream, early)).await,
            Session::Over(stream, late) => return Box::pin(leave(stream, &client, late)).await,
        }
    }
}

/// How requests of HTTP/1.1 come to an end.
enum Session {
    /// There may be more, but not soon.
    Parked(Stream),
    /// Another protocol is spoken; what has come of it already.
    Tunnel(Box<Tunnel>, Stream, Bytes),
    /// There are no more; the phase in which the client took too long, where it did.
    Over(Stream, Option<Phase>),
}

/// Serves requests of HTTP/1.1 one after another.
async fn session(stream: Stream, early: Bytes, client: &Rc<Client>, limits: &Limits) -> Session {
    let progress = &client.progress;
    let io = TokioIo::new(ClientIo::http1(stream, early, Arc::clone(progress)));
    let known = Rc::clone(client);
    let service = service_fn(move |request| handle(Rc::clone(&known), request));
    let mut connection = builder(limits).serve_connection(io, service);
    let (mut wait, mut park) = (Wait::default(), Wait::default());
    let parked = Limits { keep_alive: PARK_AFTER, ..*limits };
    let end = poll_fn(|cx| {
        let polled = Pin::new(&mut connection).poll(cx);
        if client.end.last.take() {
            Pin::new(&mut connection).graceful_shutdown();
        }
        match polled {
            Poll::Ready(result) => {
                if let Err(error) = result {
                    note(client, &error);
                }
                Poll::Ready(End::Over)
            }
            Poll::Pending if progress.is_at_rest() && limits.keep_alive > PARK_AFTER => {
                park.overdue(progress, &parked, cx).map(|_| End::Parked)
            }
            Poll::Pending => wait.overdue(progress, limits, cx).map(End::Late),
        }
    })
    .await;
    let parts = connection.into_parts();
    // The service holds an exchange that is under way: it ends with the connection.
    drop(parts.service);
    let (stream, _) = parts.io.into_inner().into_stream();
    match (client.end.tunnel.take(), end) {
        (Some(tunnel), _) => Session::Tunnel(tunnel, stream, parts.read_buf),
        (None, End::Parked) => Session::Parked(stream),
        (None, End::Over) => Session::Over(stream, None),
        (None, End::Late(phase)) => Session::Over(stream, Some(phase)),
    }
}

enum End {
    Over,
    Parked,
    Late(Phase),
}

/// Ends a connection of HTTP/1.1.
async fn leave(mut stream: Stream, client: &Client, late: Option<Phase>) {
    match late {
        Some(Phase::Head) => {
            client.worker.stats.refuse(Refusal::HeaderTimeout);
            Record::refused(client, StatusCode::REQUEST_TIMEOUT, Refusal::HeaderTimeout.name());
            let farewell = async {
                let _ = stream.write_all(HEADER_TIMEOUT).await;
                let _ = stream.shutdown().await;
            };
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        Some(Phase::Busy) => {
            client.worker.stats.refuse(Refusal::BodyIdle);
            tracing::debug!(client = %client.peer, "a client does not take its answer");
            reset_where_needed(&stream, client);
        }
        _ if client.end.reset.get() => reset_where_needed(&stream, client),
        _ => {
            let farewell = async {
                let _ = stream.shutdown().await;
                if client.end.unread.get() {
                    linger(&mut stream).await;
                }
            };
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
    }
}

/// Where the end of the connection is the end of the answer, an orderly one would make a
/// whole of a part (RFC 9112 section 8).
fn reset_where_needed(stream: &Stream, client: &Client) {
    if client.end.reset.get() {
        let _ = stream.socket().set_zero_linger();
    }
}

/// Takes what the client still sends, until it has seen that nobody listens.
async fn linger(stream: &mut Stream) {
    let mut scrap = [0; 8 << 10];
    let mut left = LINGER_BYTES;
    while let Ok(more) = stream.read(&mut scrap).await {
        left = left.saturating_sub(more);
        if more == 0 || left == 0 {
            return;
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(true)
        .half_close(false)
        .header_read_timeout(None)
        .writev(false)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        // Also the buffer for bodies on their way: a slow reader holds no more than this.
        .max_buf_size(limits.header_bytes.max(64 << 10));
    builder
}

/// How long the client has let the connection, or a stream of it, wait.
#[derive(Default)]
pub(super) struct Wait {
    timer: LazyTimer,
    /// The change that is waited on, and since when.
    since: Option<(u64, Moment)>,
}

impl Wait {
    /// Whether it was too long, and in which phase.
    pub(super) fn overdue(&mut self, progress: &Progress, limits: &Limits, cx: &mut Context<'_>) -> Poll<Phase> {
        let phase = progress.phase();
        let patience = match phase {
            Phase::Busy if progress.is_stalled() => limits.body_idle,
            Phase::Busy => return Poll::Pending,
            Phase::Idle => limits.keep_alive,
            Phase::Head => limits.header_timeout,
        };
        let since = match self.since {
            Some((change, since)) if change == progress.changes() => since,
            _ => {
                let now = clock::now();
                self.since = Some((progress.changes(), now));
                now
            }
        };
        self.timer.poll(cx, since + patience).map(|()| phase)
    }
}

fn note(client: &Client, error: &hyper::Error) {
    if error.is_parse() && client.progress.phase() != Phase::Busy {
        client.end.unread.set(true);
        client.worker.stats.refuse(Refusal::Parser);
        let too_large = error.is_parse_too_large();
        let status = if too_large { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        Record::refused(client, status, Refusal::Parser.name());
    }
    tracing::debug!(error = error as &dyn std::error::Error, "a client's connection ended");
}
