//! Connections of HTTP/2 to app servers (RFC 9113): many requests at once on each.
//!
//! They have a task of their own, as none of their requests is the one to drive it.

use std::cell::{Cell, RefCell};
use std::error::Error as StdError;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::lease::SendError;
use crate::decide::time::Moment;
use crate::tls;

/// Streams on one connection before there is another: what servers usually allow.
const STREAMS: usize = 100;
/// Of an answer's head.
const HEADER_BYTES: u32 = 256 << 10;
/// Of one stream's body on its way: who reads slowly holds no more.
const WINDOW: u32 = 64 << 10;
/// Of all of them: slow readers leave room for the others. h2 ends connections whose small
/// frames, unread, take half of it.
const CONNECTION_WINDOW: u32 = 16 << 20;
const SEND_BUFFER: usize = 64 << 10;
/// A connection with requests under way that does not answer a PING is dead.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// Runs hyper's tasks on this worker.
#[derive(Clone, Copy, Debug)]
struct Here;

impl<F> Executor<F> for Here
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A connection.
pub(super) struct Multiplexed<B: Body + 'static> {
    sender: RefCell<SendRequest<B>>,
    streams: Cell<usize>,
    /// Since when it has had no request.
    idle_since: Cell<Moment>,
    /// Nothing new goes out on it.
    leaving: Cell<bool>,
    scheme: Scheme,
}

impl<B> Multiplexed<B>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    pub(super) async fn open(stream: tls::Stream, now: Moment) -> hyper::Result<Rc<Self>> {
        let scheme = if stream.is_encrypted() { Scheme::HTTPS } else { Scheme::HTTP };
        let (sender, connection) = Builder::new(Here)
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(HEADER_BYTES)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::task::spawn_local(async move {
            // Its error reaches the requests.
            let _ = connection.await;
        });
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            streams: Cell::new(0),
            idle_since: Cell::new(now),
            leaving: Cell::new(false),
            scheme,
        }))
    }

    /// Whether it can take one more request.
    pub(super) fn has_room(&self) -> bool {
        !self.leaving.get() && self.streams.get() < STREAMS && !self.sender.borrow().is_closed()
    }

    /// Whether it has to be kept.
    pub(super) fn is_needed(&self, now: Moment, idle_for: Duration) -> bool {
        self.streams.get() > 0 || (self.has_room() && now.since(self.idle_since.get()) < idle_for)
    }

    /// Whether no request is on it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    pub(super) fn stream(self: &Rc<Self>) -> Stream<B> {
        self.streams.set(self.streams.get() + 1);
        Stream(Rc::clone(self))
    }
}

/// A request's place on a connection.
pub(super) struct Stream<B: Body + 'static>(Rc<Multiplexed<B>>);

impl<B: Body + 'static> Stream<B> {
    pub(super) fn scheme(&self) -> &Scheme {
        &self.0.scheme
    }

    pub(super) fn send(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>> + use<B> {
        self.0.sender.borrow_mut().try_send_request(request)
    }

    /// What an error says of the request and of the connection.
    pub(super) fn failed(&self, error: hyper::Error, unsent: bool) -> SendError {
        let own = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
        let reset = own.is_some_and(|error| error.is_reset() && error.is_remote());
        let refused = reset && own.and_then(h2::Error::reason) == Some(h2::Reason::REFUSED_STREAM);
        // A stream that GOAWAY ends was not looked at (RFC 9113 section 6.8).
        let gone = own.is_some_and(|error| error.is_go_away() && error.is_remote());
        if !reset {
            self.0.leaving.set(true);
        }
        let malformed = error.is_parse();
        SendError { error, untouched: unsent || refused || gone, heard: reset && !refused, malformed }
    }
}

impl<B: Body + 'static> Drop for Stream<B> {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.idle_since.set(crate::clock::now());
        }
    }
}

/// Says a head as HTTP/2 does: the Host is the target's (RFC 9113 section 8.3.1).
pub(super) fn head_for_http2<B>(request: &mut Request<B>, scheme: &Scheme) -> Option<()> {
    let host = request.headers_mut().remove(HOST)?;
    let authority = Authority::from_maybe_shared(bytes::Bytes::copy_from_slice(host.as_bytes())).ok()?;
    let mut parts = request.uri().clone().into_parts();
    (parts.scheme, parts.authority) = (Some(scheme.clone()), Some(authority));
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    *request.version_mut() = Version::HTTP_2;
    Some(())
}
