//! After 101: bytes in both directions until both have ended (RFC 9110 section 7.8).
//!
//! Either side may end its own direction first. An idle tunnel holds no buffers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::exchange::Exchange;
use super::timer::LazyTimer;
use super::turn::after_others;
use super::view::InUseServer;
use crate::clock;
use crate::decide::time::Moment;
use crate::tls::Stream;

const BUFFER: usize = 16 << 10;
/// Other tasks of the worker have their turn after so many reads.
const READS: usize = 16;

/// A connection that speaks another protocol from now on.
pub(super) struct Tunnel {
    app: Stream,
    /// What the app has said already.
    early: Bytes,
    exchange: Exchange,
    silence: Option<Duration>,
    /// The app server has one more request under way for as long as this lasts.
    _server: InUseServer,
}

impl Tunnel {
    pub(super) fn new(
        (app, early): (Stream, Bytes),
        exchange: Exchange,
        silence: Option<Duration>,
        server: InUseServer,
    ) -> Self {
        Self { app, early, exchange, silence, _server: server }
    }

    /// Moves bytes until both directions have ended, one has broken, or silence was too long.
    pub(super) async fn run(mut self, mut client: Stream, early: Bytes) {
        let mut up = Direction::new(early);
        let mut down = Direction::new(std::mem::take(&mut self.early));
        let mut quiet = Quiet { span: self.silence, since: clock::now(), timer: LazyTimer::default() };
        let app_broke = poll_fn(|cx| {
            if self.exchange.has_had_its_time(cx) {
                return Poll::Ready(false);
            }
            let before = (up.moved, down.moved);
            let (to_app, to_client) =
                (up.poll(&mut client, &mut self.app, cx), down.poll(&mut self.app, &mut client, cx));
            self.exchange.passed(down.moved - before.1);
            if (up.moved, down.moved) != before {
                quiet.since = clock::now();
            }
            match (to_app, to_client) {
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(false),
                (Poll::Ready(Err(Broken::Source)), _) | (_, Poll::Ready(Err(Broken::Sink))) => Poll::Ready(false),
                // Whoever has said its last word is not waited for.
                (Poll::Ready(Err(Broken::Sink)), _) | (_, Poll::Ready(Err(Broken::Source))) => Poll::Ready(!up.ended),
                _ => quiet.poll(cx).map(|()| false),
            }
        })
        .await;
        if app_broke {
            self.exchange.truncated();
        } else {
            self.exchange.finished();
        }
    }
}

/// Which end of a direction broke.
#[derive(Debug)]
enum Broken {
    Source,
    Sink,
}

struct Direction {
    /// Read, and not written yet.
    waiting: Bytes,
    /// Whether some of it was written since the last flush.
    unflushed: bool,
    moved: usize,
    ended: bool,
    shut: bool,
}

impl Direction {
    fn new(early: Bytes) -> Self {
        Self { waiting: early, unflushed: false, moved: 0, ended: false, shut: false }
    }

    /// Ready once the source has ended and the sink knows.
    fn poll(&mut self, from: &mut Stream, to: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        for _ in 0..READS {
            if let Err(error) = ready!(self.poll_write(to, cx)) {
                tracing::debug!(%error, "a tunnel broke");
                return Poll::Ready(Err(Broken::Sink));
            }
            if self.ended {
                return self.poll_end(to, cx);
            }
            let mut buffer = [0; BUFFER];
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(&mut *from).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => self.ended = true,
                Poll::Ready(Ok(())) => {
                    self.moved += buffer.filled().len();
                    if let Err(error) = self.pass(buffer.filled(), to, cx) {
                        tracing::debug!(%error, "a tunnel broke");
                        return Poll::Ready(Err(Broken::Sink));
                    }
                }
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a tunnel broke");
                    return Poll::Ready(Err(Broken::Source));
                }
                Poll::Pending => return self.poll_flush(to, cx),
            }
        }
        after_others(cx);
        Poll::Pending
    }

    /// Writes what was read; what the sink does not take now has to wait.
    fn pass(&mut self, mut bytes: &[u8], to: &mut Stream, cx: &mut Context<'_>) -> io::Result<()> {
        while !bytes.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, bytes)? {
                Poll::Ready(written) => bytes = &bytes[written..],
                Poll::Pending => {
                    self.waiting = Bytes::copy_from_slice(bytes);
                    break;
                }
            }
        }
        self.unflushed = true;
        Ok(())
    }

    fn poll_write(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.waiting))?;
            self.waiting.advance(written);
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Nothing more to read now: what TLS holds back leaves.
    fn poll_flush(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            match ready!(Pin::new(&mut *to).poll_flush(cx)) {
                Ok(()) => self.unflushed = false,
                Err(_) => return Poll::Ready(Err(Broken::Sink)),
            }
        }
        Poll::Pending
    }

    fn poll_end(&mut self, to: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if !self.shut {
            // A sink that is gone needs not be told.
            let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// How long nothing has moved.
struct Quiet {
    span: Option<Duration>,
    since: Moment,
    timer: LazyTimer,
}

impl Quiet {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.span {
            Some(span) => self.timer.poll(cx, self.since + span),
            None => Poll::Pending,
        }
    }
}
