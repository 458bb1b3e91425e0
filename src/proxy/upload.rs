//! A request's body on its way to the app.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::connection::Client;
use super::headers::Protected;
use super::timer::LazyTimer;
use crate::clock;
use crate::config::Limits;
use crate::decide::time::Moment;

/// Why a request's body did not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadFailure {
    /// The client broke it off, or wrote nonsense.
    Client,
    /// It is over its limit.
    TooLarge,
    /// Nothing of it came for too long.
    TooSlow,
}

/// `Expect: 100-continue`: the body waits until the app wants it (RFC 9110 section 10.1.1).
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<GateState>);

#[derive(Debug, Default)]
struct GateState {
    open: AtomicBool,
    /// Who waits for it.
    waiting: Mutex<Option<Waker>>,
}

impl Gate {
    pub(super) fn open(&self) {
        self.0.open.store(true, Ordering::Relaxed);
        if let Some(waiting) = self.waiting().take() {
            waiting.wake();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Relaxed)
    }

    fn wait(&self, cx: &Context<'_>) {
        *self.waiting() = Some(cx.waker().clone());
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waker>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a request's body; shared by the body and its exchange.
pub(super) struct Upload {
    ended: Cell<Option<Moment>>,
    started: Cell<bool>,
    failure: Cell<Option<UploadFailure>>,
    /// The body while nobody has asked for a byte of it: another attempt may have it.
    untouched: RefCell<Option<Incoming>>,
    room: Cell<u64>,
    /// How long the client may say nothing, since when it does.
    patience: Duration,
    silent_since: Cell<Option<Moment>>,
    timer: RefCell<LazyTimer>,
    gate: Option<Gate>,
    protected: Rc<Protected>,
    trusted: bool,
    /// Set once trailers have come: hyper reads them on to an empty line whose CR nobody left
    /// out, and what a bare LF should have ended would be taken for more of them. So nothing
    /// is read behind them (RFC 9112 section 2.2).
    last: Rc<Cell<bool>>,
}

impl Upload {
    pub(super) fn new(
        body: Incoming,
        limits: &Limits,
        gate: Option<Gate>,
        protected: Rc<Protected>,
        client: &Client,
    ) -> Self {
        Self {
            ended: Cell::new(None),
            started: Cell::new(false),
            failure: Cell::new(None),
            untouched: RefCell::new(Some(body)),
            room: Cell::new(limits.body_bytes.unwrap_or(u64::MAX)),
            patience: limits.body_idle,
            silent_since: Cell::new(None),
            timer: RefCell::default(),
            gate,
            protected,
            trusted: client.trusted,
            last: Rc::clone(&client.end.last),
        }
    }

    /// When its last byte had come.
    pub(super) fn ended_at(&self) -> Option<Moment> {
        self.ended.get()
    }

    pub(super) fn failure(&self) -> Option<UploadFailure> {
        self.failure.get()
    }

    pub(super) fn gate(&self) -> Option<&Gate> {
        self.gate.as_ref()
    }

    /// Whether another attempt could have the whole body.
    pub(super) fn is_untouched(&self) -> bool {
        !self.started.get()
    }

    /// The body for an attempt; `None` once another one has taken a byte of it.
    pub(super) fn body(self: &Rc<Self>) -> Option<RequestBody> {
        let incoming = self.untouched.borrow_mut().take()?;
        Some(RequestBody::Streaming { incoming: Some(incoming), upload: Rc::clone(self) })
    }

    /// Nothing of it is here: has that lasted too long?
    fn poll_patience(&self, cx: &mut Context<'_>) -> Poll<()> {
        let since = self.silent_since.get().unwrap_or_else(clock::now);
        self.silent_since.set(Some(since));
        // A connection may get a task of its own meanwhile.
        self.timer.borrow_mut().poll_anew(cx, since + self.patience)
    }

    fn fail(&self, failure: UploadFailure) -> BodyError {
        self.failure.set(Some(failure));
        BodyError("the request's body failed")
    }
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct BodyError(pub(super) &'static str);

/// The body of a request to the app.
pub(super) enum RequestBody {
    /// None.
    Empty,
    /// The client's, as it comes.
    Streaming {
        /// `None` once it was given back.
        incoming: Option<Incoming>,
        /// What is known of it.
        upload: Rc<Upload>,
    },
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self::Streaming { incoming: Some(incoming), upload } = self.get_mut() else { return Poll::Ready(None) };
        if let Some(gate) = upload.gate.as_ref().filter(|gate| !gate.is_open()) {
            gate.wait(cx);
            return Poll::Pending;
        }
        upload.started.set(true);
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
            std::task::ready!(upload.poll_patience(cx));
            return Poll::Ready(Some(Err(upload.fail(UploadFailure::TooSlow))));
        };
        upload.silent_since.set(None);
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return Poll::Ready(Some(Err(upload.fail(UploadFailure::Client)))),
            None => {
                upload.ended.set(Some(clock::now()));
                return Poll::Ready(None);
            }
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        match upload.room.get().checked_sub(length) {
            Some(room) => upload.room.set(room),
            None => return Poll::Ready(Some(Err(upload.fail(UploadFailure::TooLarge)))),
        }
        if frame.is_trailers() {
            upload.last.set(true);
        }
        if incoming.is_end_stream() || frame.is_trailers() {
            upload.ended.set(Some(clock::now()));
        }
        Poll::Ready(Some(Ok(without_protected(frame, upload))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming { incoming, .. } => incoming.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming { incoming, .. } => {
                incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
            }
        }
    }
}

/// What a client may not write in its head it may not write in its trailers either.
fn without_protected(frame: Frame<Bytes>, upload: &Upload) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => {
            let passes = |name: &http::HeaderName| !upload.protected.covers(name.as_str(), upload.trusted);
            let mut kept = http::HeaderMap::with_capacity(trailers.keys_len());
            for (name, value) in trailers.iter().filter(|(name, _)| passes(name)) {
                kept.append(name.clone(), value.clone());
            }
            Frame::trailers(kept)
        }
        Err(frame) => frame,
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Self::Streaming { incoming, upload } = self
            && !upload.started.get()
        {
            *upload.untouched.borrow_mut() = incoming.take();
        }
    }
}
