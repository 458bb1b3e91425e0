//! An answer's body on its way to the client: streamed, never buffered.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::headers::serins_own;
pub(super) use super::upload::{BodyError, RequestBody};
use crate::clock;
use crate::decide::time::Moment;
use crate::upstream::{InUse, Lease};

/// The body of an answer.
// One per connection, stored in place by hyper: a box would cost every request an allocation.
#[allow(clippy::large_enum_variant)]
pub(super) enum ResponseBody {
    /// Serin's own text, or nothing.
    Own(Option<Bytes>),
    /// The app's.
    Streaming(Streaming),
}

impl ResponseBody {
    pub(super) fn of(text: Bytes) -> Self {
        Self::Own(Some(text).filter(|text| !text.is_empty()))
    }
}

/// The app's answer, with the connection that brings it.
pub(super) struct Streaming {
    incoming: Incoming,
    /// Gone once it was handed back, or closed.
    lease: Option<Lease<RequestBody>>,
    server: InUse<RequestBody>,
    kept_for: Option<Duration>,
    exchange: Exchange,
    /// How long silence may last, and since when it does.
    silence: Option<(Duration, Moment)>,
    /// The client's version of HTTP.
    version: Version,
    /// The app broke it off: the client is told with the next look.
    broken: bool,
    /// It did not come all at once.
    waited: bool,
    /// Of gRPC, whose status is still to come: which ones are errors.
    grpc: Option<u32>,
}

/// What an answer's body is held to.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// How long silence may last.
    pub(super) silence: Option<Duration>,
    /// Of gRPC, whose status is still to come: which ones are errors.
    pub(super) grpc: Option<u32>,
    /// The client's version of HTTP.
    pub(super) version: Version,
}

impl Streaming {
    /// The rest of an answer whose head has come.
    pub(super) fn new(
        incoming: Incoming,
        lease: Lease<RequestBody>,
        server: InUse<RequestBody>,
        kept_for: Option<Duration>,
        exchange: Exchange,
        rules: Rules,
    ) -> Self {
        let Rules { silence, grpc, version } = rules;
        let silence = silence.map(|span| (span, clock::now()));
        let lease = Some(lease);
        Self { incoming, lease, server, kept_for, exchange, silence, version, broken: false, waited: false, grpc }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.broken {
            return Poll::Ready(Some(Err(BodyError("the answer's body broke off"))));
        }
        let http2 = self.version == Version::HTTP_2;
        if http2 {
            self.exchange.client().progress.stall(false);
        }
        let frame = self.poll_frame(cx);
        // hyper asks again once the stream's window has room.
        if http2 && matches!(&frame, Poll::Ready(Some(Ok(frame))) if frame.is_data()) {
            self.exchange.client().progress.stall(true);
        }
        frame
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = self.poll_incoming(cx);
        if frame.is_pending() {
            if let Some(lease) = &mut self.lease {
                lease.drive();
            }
            frame = self.poll_incoming(cx);
        }
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                self.exchange.passed(frame.data_ref().map_or(0, Bytes::len));
                if let (Some(trailers), Some(errors)) = (frame.trailers_ref(), self.grpc) {
                    self.exchange.grpc_ended(errors, Some(trailers));
                    self.grpc = None;
                }
                // Nothing comes after trailers, and hyper does not ask for it.
                if self.incoming.is_end_stream() || frame.is_trailers() {
                    self.finish();
                } else if let Some((_, since)) = &mut self.silence {
                    *since = clock::now();
                }
                Poll::Ready(Some(Ok(for_the_client(frame))))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                self.break_off();
                // hyper drops what it has not written yet once a body fails: what the
                // client is to see of the answer leaves first.
                self.broken = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Pending => {
                self.waited = true;
                if let Some(lease) = &self.lease {
                    lease.sleep(cx);
                }
                self.poll_timers(cx)
            }
        }
    }

    /// Where this task drives the connection only its own look can bring a frame: the
    /// task's waker would wake it once more for nothing.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let incoming = Pin::new(&mut self.incoming);
        match self.lease.as_ref().and_then(Lease::waker) {
            Some(own) => incoming.poll_frame(&mut Context::from_waker(own)),
            None => incoming.poll_frame(cx),
        }
    }

    /// Nothing came: is it a long stream by now, or silent for too long?
    fn poll_timers(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.exchange.has_had_its_time(cx) {
            self.lease = None;
            return Poll::Ready(Some(Err(BodyError("the canary was rolled back"))));
        }
        let silent_at = self.silence.map(|(span, since)| since + span);
        if let Some(deadline) = self.exchange.long_at().into_iter().chain(silent_at).min() {
            let client = Rc::clone(self.exchange.client());
            let mut timer = client.timer.borrow_mut();
            if timer.poll(cx, deadline).is_ready() {
                if Some(deadline) == silent_at {
                    self.break_off();
                    return Poll::Ready(Some(Err(BodyError("the answer's body fell silent"))));
                }
                self.exchange.lasts();
                if let Some(deadline) = silent_at {
                    let _ = timer.poll(cx, deadline);
                }
            }
        }
        Poll::Pending
    }

    fn finish(&mut self) {
        // A short answer came at once: its head's time will do.
        let at = if self.waited { clock::now() } else { self.exchange.heard_at() };
        if let Some(errors) = self.grpc.take() {
            self.exchange.grpc_ended(errors, None);
        }
        self.exchange.finished();
        if let Some(lease) = self.lease.take() {
            self.server.give_back(lease, self.kept_for, at);
        }
    }

    fn break_off(&mut self) {
        self.lease = None;
        self.exchange.truncated();
        // Its body may end with the connection.
        self.exchange.client().end.reset.set(self.version == Version::HTTP_10);
    }
}

/// What an app may not say in its head it may not say in its trailers either.
fn for_the_client(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            let own: Vec<_> = trailers.keys().filter(|name| serins_own(name)).cloned().collect();
            own.iter().for_each(|name| drop(trailers.remove(name)));
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Streaming(streaming) => streaming.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_none(),
            Self::Streaming(streaming) => streaming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streaming(streaming) => streaming.incoming.size_hint(),
        }
    }
}
