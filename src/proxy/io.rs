//! The client's stream, and where its connection stands.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::FrameMeter;
use super::lines::{Lines, Strange};
use super::turn::Turnstile;
use crate::tls::Stream;

/// Interim answers that may wait for a client to take them.
const INTERIM_BYTES: usize = 64 << 10;

/// A connection of HTTP/2 reads no more before others on its worker have their turn.
const READ_AT_ONCE: usize = 64 << 10;
/// Nor more that is work, as the meter counts it.
const WORK_AT_ONCE: usize = 32;
/// One read brings about as much, unless a longer frame is under way: it may be full of small
/// ones.
const LITTLE: usize = 1 << 10;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Between two requests.
    Idle,
    /// The head of a request has begun and not ended.
    Head,
    /// A request is answered.
    Busy,
}

/// Where a connection stands, or a stream of HTTP/2; only its own task writes, the atomics
/// are for hyper, which hands what hears of interim answers to itself as `Send`.
///
/// Changes are counted, not timed: whoever waits looks at the clock once for each
/// that is still the last one, so a busy connection never does.
#[derive(Debug, Default)]
pub(super) struct Progress {
    phase: AtomicU8,
    changes: AtomicU64,
    /// Bytes wait for the client to take them.
    stalled: AtomicBool,
    /// What is strange about the head under way: a bit each.
    strange: AtomicU8,
    /// Interim answers on their way to the client.
    interim: Mutex<Vec<u8>>,
    has_interim: AtomicBool,
    /// All that was written has left, too.
    flushed: AtomicBool,
}

impl Progress {
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        }
    }

    /// Grows with every change.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.change();
    }

    fn change(&self) {
        self.changes.store(self.changes() + 1, Ordering::Relaxed);
    }

    /// Whether bytes wait for the client to take them.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// Whether nothing is under way at all.
    pub(super) fn is_at_rest(&self) -> bool {
        self.phase() == Phase::Idle && self.flushed.load(Ordering::Relaxed)
    }

    /// Bytes wait for the client, or were taken.
    pub(super) fn stall(&self, stalled: bool) {
        if self.is_stalled() != stalled {
            self.stalled.store(stalled, Ordering::Relaxed);
            self.change();
        }
    }

    /// What is strange about the head that was parsed last, as far as anybody knows.
    pub(super) fn strange(&self) -> Strange {
        let bits = self.strange.load(Ordering::Relaxed);
        Strange { both_lengths: bits & 1 != 0, bare_lf: bits & 2 != 0, fragment: bits & 4 != 0 }
    }

    fn note_strange(&self, strange: Strange) {
        let Strange { both_lengths, bare_lf, fragment } = strange;
        let bits = u8::from(both_lengths) | u8::from(bare_lf) << 1 | u8::from(fragment) << 2;
        self.strange.store(bits, Ordering::Relaxed);
    }

    /// Has the client told before the answer itself.
    pub(super) fn tell(&self, interim: &[u8]) {
        let mut waiting = self.interim.lock().unwrap_or_else(PoisonError::into_inner);
        // Who says no end of them to a client that does not read is not heard any more.
        if waiting.len() + interim.len() <= INTERIM_BYTES {
            waiting.extend_from_slice(interim);
            self.has_interim.store(true, Ordering::Relaxed);
        }
    }

    fn take_interim(&self, out: &mut Vec<u8>) {
        if self.has_interim.swap(false, Ordering::Relaxed) {
            out.append(&mut self.interim.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

pub(super) struct ClientIo {
    stream: Stream,
    /// What was read before hyper asked.
    early: Bytes,
    progress: Arc<Progress>,
    /// Of HTTP/1.1: the head under way.
    lines: Lines,
    /// Of HTTP/2 only.
    meter: Option<FrameMeter>,
    /// The same.
    turnstile: Option<Rc<Turnstile>>,
    /// Bytes read since others had their turn, of HTTP/2.
    at_once: usize,
    /// Interim answers that have not left yet.
    out: Vec<u8>,
    /// All bytes of the last message have left: what hyper writes next begins another one.
    between: bool,
}

impl ClientIo {
    pub(super) fn http1(stream: Stream, early: Bytes, progress: Arc<Progress>) -> Self {
        Self {
            stream,
            early,
            progress,
            lines: Lines::default(),
            meter: None,
            turnstile: None,
            at_once: 0,
            out: Vec::new(),
            between: true,
        }
    }

    pub(super) fn http2(
        stream: Stream,
        early: Bytes,
        progress: Arc<Progress>,
        meter: FrameMeter,
        turnstile: Rc<Turnstile>,
    ) -> Self {
        Self { meter: Some(meter), turnstile: Some(turnstile), ..Self::http1(stream, early, progress) }
    }

    /// The stream, and what nobody has read of it.
    pub(super) fn into_stream(self) -> (Stream, Bytes) {
        (self.stream, self.early)
    }

    /// Bytes are still leaving: the wait for the next request begins after them.
    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        self.progress.stall(written.is_pending());
        if let Poll::Ready(Ok(bytes)) = written {
            if self.progress.phase() == Phase::Idle {
                self.progress.change();
            }
            if let Some(meter) = &mut self.meter {
                meter.wrote(*bytes);
            }
        }
    }

    fn read(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(meter) = &mut self.meter {
            return meter.read(bytes);
        }
        match self.progress.phase() {
            Phase::Idle => {
                self.lines = Lines::default();
                self.lines.read(bytes);
                self.progress.note_strange(self.lines.strange());
                self.progress.enter(Phase::Head);
            }
            Phase::Head => {
                self.lines.read(bytes);
                self.progress.note_strange(self.lines.strange());
            }
            // A body, or a head behind it that nobody has looked at.
            Phase::Busy => self.progress.note_strange(Strange { both_lengths: true, ..Strange::default() }),
        }
        Ok(())
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (Some(meter), Some(turnstile)) = (&mut self.meter, &self.turnstile) else {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        };
        if self.at_once >= READ_AT_ONCE || meter.work >= WORK_AT_ONCE {
            (self.at_once, meter.work) = (0, 0);
            turnstile.queue(cx);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = if buf.remaining() <= 2 * LITTLE.max(meter.expected()) {
            Pin::new(&mut self.stream).poll_read(cx, buf)
        } else {
            poll_read_little(&mut self.stream, cx, buf)
        };
        if read.is_pending() {
            (self.at_once, meter.work) = (0, 0);
        }
        self.at_once += buf.filled().len() - before;
        read
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            self.out.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

fn poll_read_little(stream: &mut Stream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    let mut bytes = [0; LITTLE];
    let mut little = ReadBuf::new(&mut bytes);
    ready!(Pin::new(stream).poll_read(cx, &mut little))?;
    buf.put_slice(little.filled());
    Poll::Ready(Ok(()))
}

impl AsyncRead for ClientIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        if this.early.is_empty() {
            ready!(this.poll_stream(cx, buf))?;
        } else {
            let taken = this.early.len().min(buf.remaining());
            buf.put_slice(&this.early[..taken]);
            this.early.advance(taken);
            if this.early.is_empty() {
                this.early = Bytes::new();
            }
        }
        if buf.filled().len() > before {
            this.read(&buf.filled()[before..])?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // An interim answer that came together with the answer itself has to leave first.
        if this.between && this.out.is_empty() {
            this.progress.take_interim(&mut this.out);
        }
        if !this.out.is_empty() {
            ready!(this.poll_interim(cx))?;
        }
        this.between = false;
        this.progress.flushed.store(false, Ordering::Relaxed);
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.wrote(&written);
        written
    }

    /// hyper flushes once all of its own bytes have left: between two messages, that is,
    /// where an interim answer may stand.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.out.is_empty() {
            this.progress.take_interim(&mut this.out);
        }
        ready!(this.poll_interim(cx))?;
        this.between = true;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.progress.flushed.store(true, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    /// Of HTTP/1.1 whoever serves the connection ends it, in the way that fits its end.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.meter {
            Some(_) => Pin::new(&mut self.stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
