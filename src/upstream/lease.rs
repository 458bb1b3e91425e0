//! A connection on loan to one request.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_util::rt::TokioIo;
use pin_project_lite::pin_project;

use super::signal::Signal;
use super::wire::{AppIo, HeadFields, Wire};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection on loan to one request. Dropped, it is closed; handed back to its
/// endpoint after the last byte, it is used again.
pub struct Lease<B: Body + 'static> {
    sender: SendRequest<B>,
    /// Driven by whoever holds the lease; gone once it has ended or has a task of its own.
    connection: Option<Box<Connection<TokioIo<AppIo>, B>>>,
    wire: Arc<Wire>,
    signal: Arc<Signal>,
    /// The signal as the connection knows it.
    waker: Waker,
    reused: bool,
    /// How long the app keeps it open, where the app said so.
    pub(super) kept_for: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug)]
pub struct SendError<B> {
    /// What hyper says.
    pub error: hyper::Error,
    /// The request, where not a byte of it was sent.
    pub unsent: Option<Request<B>>,
}

impl<B> Lease<B>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    pub(super) fn new(sender: SendRequest<B>, connection: Connection<TokioIo<AppIo>, B>, wire: Arc<Wire>) -> Self {
        let signal = Arc::new(Signal::default());
        let waker = Waker::from(Arc::clone(&signal));
        Self { sender, connection: Some(Box::new(connection)), wire, signal, waker, reused: false, kept_for: None }
    }

    /// Sends a request, with these fields behind its own, and waits for the head of its answer. `between` is asked after
    /// each look at the connection: `Ready` ends the waiting with its value, and it says
    /// whether the connection has to be looked at once more.
    ///
    /// # Errors
    /// With the connection's error; the inner one is `between`'s.
    pub fn send<T>(
        &mut self,
        request: Request<B>,
        fields: impl FnOnce(&mut HeadFields<'_>),
        between: impl FnMut(&mut Context<'_>) -> Poll<Between<T>>,
    ) -> impl Future<Output = Result<Result<Response<Incoming>, SendError<B>>, T>> {
        self.wire.begin(fields);
        let Self { sender, connection, signal, waker, .. } = self;
        Sending { connection, signal, waker, answer: sender.try_send_request(request), between }
    }

    /// Moves bytes in both directions as far as they go now.
    pub fn drive(&mut self) {
        drive(&mut self.connection, &self.signal, &self.waker);
    }

    /// The waker of a connection that whoever holds the lease drives.
    pub fn waker(&self) -> Option<&Waker> {
        self.connection.as_ref().map(|_| &self.waker)
    }

    /// The task will wait until something happens on the connection.
    pub fn sleep(&self, cx: &Context<'_>) {
        self.signal.sleep(cx);
    }

    /// Gives the connection a task of its own: the answer has begun while the request's
    /// body is still under way, and neither may wait for the other.
    pub fn detach(&mut self) {
        if let Some(connection) = self.connection.take() {
            tokio::task::spawn_local(async move {
                // Its error reaches the request through the body.
                let _ = connection.await;
            });
        }
    }

    /// Whether it served another request before.
    pub fn reused(&self) -> bool {
        self.reused
    }

    /// Whether the app has sent a byte since the request was sent.
    pub fn heard(&self) -> bool {
        self.wire.heard()
    }

    /// Whether it can take another request now.
    pub(super) fn ready(&mut self) -> bool {
        if self.connection.is_some() && !self.sender.is_ready() {
            self.drive();
        }
        // Idle: what happens on it is seen by the next request.
        self.signal.look();
        self.connection.is_some() && self.sender.is_ready()
    }

    /// It has been idle and goes out again. Whether it still lives shows when it is
    /// driven: hyper looks for the end before it writes, and then gives the request back.
    pub(super) fn reuse(mut self) -> Self {
        self.reused = true;
        self
    }
}

pin_project! {
    /// A request under way, until the head of its answer is here. A type of its own: an
    /// `async` block would have room for the request twice.
    struct Sending<'a, B, A, F> where B: Body, B: 'static {
        connection: &'a mut Option<Box<Connection<TokioIo<AppIo>, B>>>,
        signal: &'a Signal,
        waker: &'a Waker,
        #[pin]
        answer: A,
        between: F,
    }
}

impl<B, A, F, T> Future for Sending<'_, B, A, F>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    A: Future<Output = Result<Response<Incoming>, TrySendError<Request<B>>>>,
    F: FnMut(&mut Context<'_>) -> Poll<Between<T>>,
{
    type Output = Result<Result<Response<Incoming>, SendError<B>>, T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            drive(this.connection, this.signal, this.waker);
            // Only the connection that this task drives can answer: a waker of the
            // answer's own would wake the task once more for nothing.
            let mut unwoken = Context::from_waker(Waker::noop());
            if let Poll::Ready(answer) = this.answer.as_mut().poll(&mut unwoken) {
                let answer = answer
                    .map_err(|mut failed| SendError { unsent: failed.take_message(), error: failed.into_error() });
                return Poll::Ready(Ok(answer));
            }
            match (this.between)(cx) {
                Poll::Ready(Between::LookAgain) => {}
                Poll::Ready(Between::End(value)) => return Poll::Ready(Err(value)),
                Poll::Pending => {
                    this.signal.sleep(cx);
                    return Poll::Pending;
                }
            }
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

fn drive<B>(connection: &mut Option<Box<Connection<TokioIo<AppIo>, B>>>, signal: &Signal, waker: &Waker)
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    signal.look();
    if let Some(running) = connection
        && Pin::new(&mut **running).poll(&mut Context::from_waker(waker)).is_ready()
    {
        *connection = None;
    }
}
