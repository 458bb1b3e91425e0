//! A client's connection of HTTP/2 (RFC 9113): requests side by side, each a stream of its
//! own with its own deadlines.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{COOKIE, HOST, HeaderValue};
use http::request::Parts;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;

use super::connection::{Client, FAREWELL, Wait};
use super::flood::FrameMeter;
use super::handler::handle;
use super::io::{ClientIo, Phase, Progress};
use super::turn::after_others;
use crate::config::Limits;
use crate::telemetry::{ProcessStats, Refusal};
use crate::tls::Stream;

/// Of one request's body on its way.
const WINDOW: u32 = 64 << 10;
/// h2 ends connections whose small frames, unread, take half of it.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Of one answer's body on its way: who reads slowly holds no more.
const SEND_BUFFER: usize = 32 << 10;
/// Streams that the client has reset before anybody has looked at them, and those that its
/// own faults have ended (CVE-2023-44487 and its like).
const PENDING_RESETS: usize = 20;
const FAULTS: usize = 16;
/// A client that does not answer a PING while its requests are under way is gone.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// Serves a connection to its end.
pub(super) async fn serve(stream: Stream, early: Bytes, client: Rc<Client>, limits: Limits) {
    let progress = Arc::clone(&client.progress);
    let meter = FrameMeter::new(Arc::clone(&client.worker.stats));
    let io =
        TokioIo::new(ClientIo::http2(stream, early, Arc::clone(&progress), meter, Rc::clone(&client.worker.turnstile)));
    let streams = Streams {
        limits,
        open: Rc::default(),
        next: Rc::default(),
        connection: Arc::clone(&progress),
        stats: Arc::clone(&client.worker.stats),
        turns: Rc::default(),
    };
    let (known, executor) = (Rc::clone(&client), streams.clone());
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let stream = Rc::new(client.stream());
        streams.begin(&stream.progress);
        let (mut parts, body) = request.into_parts();
        as_http1(&mut parts);
        request = http::Request::from_parts(parts, body);
        handle(stream, request)
    });
    let mut connection = std::pin::pin!(builder(&limits, executor).serve_connection(io, service));
    let mut wait = Wait::default();
    let mut leaving = Leaving::new(&known);
    let ended = poll_fn(|cx| {
        if leaving.poll(cx).is_ready() {
            connection.as_mut().graceful_shutdown();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => wait.overdue(&progress, &limits, cx).map(Err),
        }
    })
    .await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let own = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<h2::Error>());
            // What the client did wrong; that it has left is nobody's fault.
            if own.is_some_and(h2::Error::is_library) {
                known.worker.stats.refuse(Refusal::Parser);
            }
            tracing::debug!(error = &error as &dyn std::error::Error, "a client's connection ended");
        }
        Err(Phase::Busy) => known.worker.stats.refuse(Refusal::BodyIdle),
        Err(Phase::Idle | Phase::Head) => {
            // An idle connection is told before it closes (RFC 9113 section 6.8).
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(FAREWELL, connection).await;
        }
    }
}

fn builder(limits: &Limits, streams: Streams) -> http2::Builder<Streams> {
    let mut builder = http2::Builder::new(streams);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        // A head over the limit is refused where it is counted; one of twice that is not decoded.
        .max_header_list_size(u32::try_from(limits.header_bytes.saturating_mul(2)).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(FAULTS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE);
    builder
}

/// When the process is on its way out the client hears of it.
struct Leaving(Option<Pin<Box<dyn Future<Output = ()>>>>);

impl Leaving {
    fn new(client: &Rc<Client>) -> Self {
        let client = Rc::clone(client);
        Self(Some(Box::pin(async move { client.worker.drain.has_begun().await })))
    }

    /// Ready once.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.0.as_mut().is_some_and(|begun| begun.as_mut().poll(cx).is_ready());
        if ready {
            self.0 = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Runs the streams of a connection on this worker, each until it is done or its client has
/// let it wait for too long.
#[derive(Clone)]
struct Streams {
    limits: Limits,
    open: Rc<Cell<usize>>,
    /// hyper asks the service first, and then has what comes of that executed.
    next: Rc<RefCell<Option<Arc<Progress>>>>,
    connection: Arc<Progress>,
    stats: Arc<ProcessStats>,
    turns: Rc<Turns>,
}

/// So many requests of a connection begin before others on its worker have their turn: a
/// burst of one client holds nobody up for longer.
const BEGIN_AT_ONCE: u32 = 8;

/// Whose turn it is among the streams of a connection.
#[derive(Default)]
struct Turns {
    round: Cell<u64>,
    begun: Cell<u32>,
}

impl Turns {
    /// Whether a stream may begin; one that may not comes back, `waited` saying since which round.
    fn take(&self, waited: &mut Option<u64>) -> bool {
        if *waited == Some(self.round.get()) {
            // The first of those that had to wait is back: so had all others their turn.
            self.round.set(self.round.get() + 1);
            self.begun.set(0);
        }
        let fits = self.begun.get() < BEGIN_AT_ONCE;
        if fits {
            self.begun.set(self.begun.get() + 1);
        } else {
            *waited = Some(self.round.get());
        }
        fits
    }
}

impl Streams {
    fn begin(&self, progress: &Arc<Progress>) {
        *self.next.borrow_mut() = Some(Arc::clone(progress));
    }

    fn enter(&self) -> Open {
        self.open.set(self.open.get() + 1);
        self.connection.enter(Phase::Busy);
        Open { open: Rc::clone(&self.open), connection: Arc::clone(&self.connection), stats: Arc::clone(&self.stats) }
    }
}

/// A stream that is under way.
struct Open {
    open: Rc<Cell<usize>>,
    connection: Arc<Progress>,
    stats: Arc<ProcessStats>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.stats.panicked();
        }
        self.open.set(self.open.get() - 1);
        if self.open.get() == 0 {
            self.connection.enter(Phase::Idle);
        }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, future: F) {
        let progress = self.next.borrow_mut().take().unwrap_or_default();
        let open = self.enter();
        tokio::task::spawn_local(Timed {
            future,
            progress,
            wait: Wait::default(),
            limits: self.limits,
            open,
            turns: Some(Rc::clone(&self.turns)),
            waited: None,
        });
    }
}

pin_project! {
    /// A stream; dropped before its end it is reset.
    struct Timed<F> {
        #[pin]
        future: F,
        progress: Arc<Progress>,
        wait: Wait,
        limits: Limits,
        open: Open,
        // Gone once it has begun.
        turns: Option<Rc<Turns>>,
        waited: Option<u64>,
    }
}

impl<F: Future<Output = ()>> Future for Timed<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if let Some(turns) = this.turns {
            if !turns.take(this.waited) {
                after_others(cx);
                return Poll::Pending;
            }
            *this.turns = None;
        }
        if this.future.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        // Its body stalls, or an answer of Serin's own is not taken: nothing else is waited for here.
        ready!(this.wait.overdue(this.progress, this.limits, cx));
        this.open.stats.refuse(Refusal::BodyIdle);
        Poll::Ready(())
    }
}

/// Gives a head the form that the way of a request knows: one cookie field (RFC 9113 section
/// 8.2.3), and a Host that says what `:authority` said.
fn as_http1(parts: &mut Parts) {
    let crumbs: Vec<&[u8]> = parts.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        parts.headers.insert(COOKIE, joined);
    }
    if !parts.headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
}
