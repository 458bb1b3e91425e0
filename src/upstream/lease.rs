//! A connection on loan to one request; of HTTP/2 a stream of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;

use super::http2::{Stream, head_for_http2};
use super::signal::Signal;
use super::wire::{AppIo, HeadFields, Wire};
use crate::tls;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection on loan to one request. Dropped, it is closed; handed back to its
/// endpoint after the last byte, it is used again.
pub struct Lease<B: Body + 'static> {
    link: Link<B>,
    reused: bool,
    /// How long the app keeps it open, where the app said so.
    pub(super) kept_for: Option<Duration>,
}

enum Link<B: Body + 'static> {
    Http1(Http1<B>),
    Http2(Stream<B>),
}

struct Http1<B: Body + 'static> {
    sender: SendRequest<B>,
    driven: Driven<B>,
    wire: Arc<Wire>,
}

/// A connection of HTTP/1.1, driven by whoever holds the lease.
struct Driven<B: Body + 'static> {
    /// Gone once it has ended or has a task of its own.
    connection: Option<Box<Connection<TokioIo<AppIo>, B>>>,
    /// What is left of it once it has ended: requests that it had not answered are told.
    ended: Option<Box<(AppIo, Bytes)>>,
    signal: Arc<Signal>,
    /// The signal as the connection knows it.
    waker: Waker,
    /// Its task, where it has one of its own.
    task: Option<Task>,
}

/// Ends with whoever holds it: an app that has answered and does not take the rest of a
/// request holds nobody up.
struct Task(tokio::task::AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub struct SendError {
    /// What hyper says.
    pub error: hyper::Error,
    /// Not a byte of the request was sent, or the app server says that it did nothing with it.
    pub untouched: bool,
    /// The app server has said something since the request was sent.
    pub heard: bool,
    /// What it said is no answer.
    pub malformed: bool,
}

impl<B> Lease<B>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pub(super) fn http1(sender: SendRequest<B>, connection: Connection<TokioIo<AppIo>, B>, wire: Arc<Wire>) -> Self {
        let signal = Arc::new(Signal::default());
        let waker = Waker::from(Arc::clone(&signal));
        let driven = Driven { connection: Some(Box::new(connection)), ended: None, signal, waker, task: None };
        Self { link: Link::Http1(Http1 { sender, driven, wire }), reused: false, kept_for: None }
    }

    pub(super) fn http2(stream: Stream<B>, reused: bool) -> Self {
        Self { link: Link::Http2(stream), reused, kept_for: None }
    }

    /// Whether it is a stream of HTTP/2.
    pub fn is_http2(&self) -> bool {
        matches!(self.link, Link::Http2(_))
    }

    /// Gives a request's head the form of the connection's version; false where its Host
    /// cannot be said in it.
    pub fn shape(&self, request: &mut Request<B>) -> bool {
        match &self.link {
            Link::Http1(_) => true,
            Link::Http2(stream) => head_for_http2(request, stream.scheme()).is_some(),
        }
    }

    /// Sends a request, with these fields behind its own, and waits for the head of its answer. `between` is asked after
    /// each look at the connection: `Ready` ends the waiting with its value, and it says
    /// whether the connection has to be looked at once more.
    ///
    /// # Errors
    /// With the connection's error; the inner one is `between`'s.
    pub fn send<T>(
        &mut self,
        mut request: Request<B>,
        fields: impl FnOnce(&mut HeadFields<'_>),
        between: impl FnMut(&mut Context<'_>) -> Poll<Between<T>>,
    ) -> impl Future<Output = Result<Result<Response<Incoming>, SendError>, T>> {
        match &mut self.link {
            Link::Http1(Http1 { sender, driven, wire }) => {
                wire.begin(fields);
                let answer = Answer::Http1 { answer: sender.try_send_request(request) };
                Sending { by: By::Http1 { driven, wire }, answer, between }
            }
            Link::Http2(stream) => {
                fields(&mut HeadFields::of_map(request.headers_mut()));
                let answer = Answer::Http2 { answer: Box::pin(stream.send(request)) };
                Sending { by: By::Http2 { stream }, answer, between }
            }
        }
    }

    /// Moves bytes in both directions as far as they go now.
    pub fn drive(&mut self) {
        if let Link::Http1(link) = &mut self.link {
            link.driven.drive();
        }
    }

    /// The waker of a connection that whoever holds the lease drives.
    pub fn waker(&self) -> Option<&Waker> {
        match &self.link {
            Link::Http1(link) => link.driven.connection.as_ref().map(|_| &link.driven.waker),
            Link::Http2(_) => None,
        }
    }

    /// The task will wait until something happens on the connection.
    pub fn sleep(&self, cx: &Context<'_>) {
        if let Link::Http1(link) = &self.link {
            link.driven.signal.sleep(cx);
        }
    }

    /// Gives the connection a task of its own: the answer has begun while the request's
    /// body is still under way, and neither may wait for the other.
    pub fn detach(&mut self) {
        if let Link::Http1(link) = &mut self.link
            && let Some(connection) = link.driven.connection.take()
        {
            let task = tokio::task::spawn_local(async move {
                // Its error reaches the request through the body.
                let _ = connection.await;
            });
            link.driven.task = Some(Task(task.abort_handle()));
        }
    }

    /// Whether it has been idle before this request.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// The bytes' own way, after the answer has said that another protocol is spoken from
    /// now on, and what has come of that already.
    pub fn into_stream(mut self) -> Option<(tls::Stream, Bytes)> {
        self.drive();
        match self.link {
            Link::Http1(link) => {
                let (io, early) = *link.driven.ended?;
                Some((io.into_stream(), early))
            }
            Link::Http2(_) => None,
        }
    }

    /// Whether it can take another request now.
    pub(super) fn ready(&mut self) -> bool {
        let Link::Http1(Http1 { sender, driven, .. }) = &mut self.link else { return false };
        if driven.connection.is_some() && !sender.is_ready() {
            driven.drive();
        }
        // Idle: what happens on it is seen by the next request.
        driven.signal.look();
        driven.connection.is_some() && sender.is_ready()
    }

    /// It has been idle and goes out again. Whether it still lives shows when it is
    /// driven: hyper looks for the end before it writes, and then gives the request back.
    pub(super) fn reuse(mut self) -> Self {
        self.reused = true;
        self
    }
}

pin_project! {
    /// The answer to come.
    #[project = AnswerProjection]
    enum Answer<A, O> {
        Http1 { #[pin] answer: A },
        Http2 { answer: Pin<Box<dyn Future<Output = O>>> },
    }
}

/// What a request under way needs of its connection.
enum By<'a, B: Body + 'static> {
    Http1 { driven: &'a mut Driven<B>, wire: &'a Wire },
    Http2 { stream: &'a Stream<B> },
}

pin_project! {
    /// A request under way, until the head of its answer is here. A type of its own: an
    /// `async` block would have room for the request twice.
    struct Sending<'a, B, A, F> where B: Body, B: 'static {
        by: By<'a, B>,
        #[pin]
        answer: Answer<A, Answered<B>>,
        between: F,
    }
}

type Answered<B> = Result<Response<Incoming>, TrySendError<Request<B>>>;

impl<B, A, F, T> Future for Sending<'_, B, A, F>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    A: Future<Output = Answered<B>>,
    F: FnMut(&mut Context<'_>) -> Poll<Between<T>>,
{
    type Output = Result<Result<Response<Incoming>, SendError>, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let answer = match (&mut *this.by, this.answer.as_mut().project()) {
                (By::Http1 { driven, .. }, AnswerProjection::Http1 { answer }) => {
                    driven.drive();
                    // Only the connection that this task drives can answer: a waker of the
                    // answer's own would wake the task once more for nothing.
                    answer.poll(&mut Context::from_waker(Waker::noop()))
                }
                (_, AnswerProjection::Http2 { answer }) => answer.as_mut().poll(cx),
                (By::Http2 { .. }, AnswerProjection::Http1 { answer }) => answer.poll(cx),
            };
            if let Poll::Ready(answer) = answer {
                if let (By::Http1 { wire, .. }, Ok(_)) = (&this.by, &answer) {
                    wire.answered();
                }
                return Poll::Ready(Ok(answer.map_err(|failed| this.by.failed(failed))));
            }
            match (this.between)(cx) {
                Poll::Ready(Between::LookAgain) => {}
                Poll::Ready(Between::End(value)) => return Poll::Ready(Err(value)),
                Poll::Pending => {
                    if let By::Http1 { driven, .. } = &this.by {
                        driven.signal.sleep(cx);
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<B: Body + 'static> By<'_, B> {
    fn failed(&self, mut failed: TrySendError<Request<B>>) -> SendError {
        let unsent = failed.take_message().is_some();
        let error = failed.into_error();
        match self {
            Self::Http1 { wire, .. } => {
                let malformed = error.is_parse() || wire.is_endless();
                SendError { error, untouched: unsent, heard: wire.heard(), malformed }
            }
            Self::Http2 { stream } => stream.failed(error, unsent),
        }
    }
}

/// What happens while a request waits for its answer.
#[derive(Debug)]
pub enum Between<T> {
    /// Something has changed: look at the connection again.
    LookAgain,
    /// No more waiting.
    End(T),
}

impl<B> Driven<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn drive(&mut self) {
        self.signal.look();
        if let Some(running) = &mut self.connection
            && running.poll_without_shutdown(&mut Context::from_waker(&self.waker)).is_ready()
        {
            let parts = self.connection.take().map(|ended| ended.into_parts());
            self.ended = parts.map(|parts| Box::new((parts.io.into_inner(), parts.read_buf)));
        }
    }
}
