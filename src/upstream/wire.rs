//! The bytes between Serin and an app server.
//!
//! What Serin adds to a request's head is written here, behind the client's own fields:
//! a map would be asked for the place of each of them, allocate for it, and hand out
//! what hyper then copies once more, with every request.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use crate::tls::Stream;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const END_OF_HEAD: &[u8] = b"\r\n\r\n";
const END_OF_LINE: &[u8] = b"\r\n";
/// What a connection keeps for the next head; a large one is let go.
const KEPT: usize = 16 << 10;
/// What an app may say before its answer has a whole head is seen: interim answers, the head,
/// and the first of the body, each as much as hyper's buffer.
const BEFORE_BODY: usize = 192 << 10;

/// Fields for the end of a head. Their types hold that none of them ends a line.
#[derive(Debug)]
pub struct HeadFields<'a>(Head<'a>);

#[derive(Debug)]
enum Head<'a> {
    /// Of HTTP/1.1.
    Bytes(&'a mut Vec<u8>),
    /// Of HTTP/2, which compresses fields.
    Map(&'a mut HeaderMap),
}

impl<'a> HeadFields<'a> {
    pub(super) fn of_map(headers: &'a mut HeaderMap) -> Self {
        Self(Head::Map(headers))
    }

    /// Adds a field.
    pub fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        match &mut self.0 {
            Head::Bytes(bytes) => line(bytes, name, value.as_bytes()),
            Head::Map(headers) => drop(headers.append(name, value.clone())),
        }
    }

    /// Adds a number of 128 bits as 32 hexadecimal digits.
    pub fn add_hex(&mut self, name: &HeaderName, number: u128) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0_u8; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        match &mut self.0 {
            Head::Bytes(bytes) => line(bytes, name, &text),
            Head::Map(headers) => {
                if let Ok(value) = HeaderValue::from_bytes(&text) {
                    headers.append(name, value);
                }
            }
        }
    }
}

fn line(bytes: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    bytes.extend_from_slice(name.as_str().as_bytes());
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(END_OF_LINE);
}

/// What a request and the bytes of its connection tell each other. Both are on one
/// thread: the lock is there for the compiler and never waits.
#[derive(Debug, Default)]
pub(super) struct Wire {
    heard: AtomicBool,
    /// Bytes that came while no whole head of the answer has; beyond [`BEFORE_BODY`] there
    /// will be none.
    headless: AtomicUsize,
    answered: AtomicBool,
    added: Mutex<Vec<u8>>,
}

impl Wire {
    /// A request follows, with these fields.
    pub(super) fn begin(&self, fields: impl FnOnce(&mut HeadFields<'_>)) {
        self.heard.store(false, Ordering::Relaxed);
        self.headless.store(0, Ordering::Relaxed);
        self.answered.store(false, Ordering::Relaxed);
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        added.clear();
        fields(&mut HeadFields(Head::Bytes(&mut added)));
    }

    /// Whether the app has said anything since: a request that met a dead idle
    /// connection is told from one that the app broke off.
    pub(super) fn heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// The answer has a head: what follows is its body's.
    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether the app has said so much before its answer that it was not heard to the end.
    pub(super) fn is_endless(&self) -> bool {
        self.headless.load(Ordering::Relaxed) > BEFORE_BODY && !self.answered.load(Ordering::Relaxed)
    }

    fn hear(&self, bytes: usize) {
        self.heard.store(true, Ordering::Relaxed);
        if !self.answered.load(Ordering::Relaxed) {
            self.headless.store(self.headless.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
        }
    }

    /// Puts what waits to be added behind the head's last field; false where nothing waits.
    fn splice(&self, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let mut added = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        if added.is_empty() {
            return Ok(false);
        }
        // hyper writes a head whole. A request never leaves without its fields.
        let at = memmem::find(bytes, END_OF_HEAD).ok_or_else(|| io::Error::other("a head came in parts"))?;
        let (head, rest) = bytes.split_at(at + END_OF_LINE.len());
        out.reserve(bytes.len() + added.len());
        for part in [head, &added, rest] {
            out.extend_from_slice(part);
        }
        added.clear();
        Ok(true)
    }
}

/// The socket.
pub(super) struct AppIo {
    stream: Stream,
    wire: Arc<Wire>,
    /// What was taken over from hyper and has not left yet.
    out: Vec<u8>,
    left: usize,
}

impl AppIo {
    pub(super) fn new(stream: Stream, wire: Arc<Wire>) -> Self {
        Self { stream, wire, out: Vec::new(), left: 0 }
    }

    /// The stream itself, once nothing of a head waits to leave.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.left < self.out.len() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.left..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.left += n;
        }
        self.out.clear();
        self.out.shrink_to(KEPT);
        self.left = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for AppIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // hyper takes interim answers without end, and others would not have their turn.
        if self.wire.is_endless() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "interim answers without end")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.wire.hear(bytes);
        }
        read
    }
}

impl AsyncWrite for AppIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        if !this.wire.splice(buf, &mut this.out)? {
            return Pin::new(&mut this.stream).poll_write(cx, buf);
        }
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // Taken over whole: what has not left leaves before anything else, or with a flush.
            _ => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_added_behind_the_last_one_and_once() {
        let wire = Wire::default();
        wire.begin(|fields| {
            fields.add(&HeaderName::from_static("a"), &HeaderValue::from_static("1"));
            fields.add_hex(&HeaderName::from_static("b"), 0xAB);
        });
        let mut out = Vec::new();
        assert!(wire.splice(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nbody\r\n\r\n", &mut out).unwrap());
        let expected = format!("GET / HTTP/1.1\r\nhost: x\r\na: 1\r\nb: {:032x}\r\n\r\nbody\r\n\r\n", 0xAB);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(!wire.splice(b"more\r\n\r\n", &mut Vec::new()).unwrap());
    }

    #[test]
    fn no_request_leaves_without_its_fields() {
        let wire = Wire::default();
        wire.begin(|fields| fields.add_hex(&HeaderName::from_static("b"), 1));
        assert!(wire.splice(b"GET / HTTP/1.1\r\nhost: x\r\n", &mut Vec::new()).is_err());
    }

    #[test]
    fn what_does_not_leave_at_once_leaves_before_what_follows() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let near = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut far, _) = listener.accept().await.unwrap();
            let wire = Arc::new(Wire::default());
            let mut io = AppIo::new(Stream::Plain(near), Arc::clone(&wire));
            wire.begin(|fields| fields.add(&HeaderName::from_static("a"), &HeaderValue::from_static("1")));
            // Far more than a socket takes at once.
            let body = vec![b'x'; 32 << 20];
            let sent = [b"PUT / HTTP/1.1\r\nhost: x\r\n\r\n".as_slice(), &body].concat();
            let expected = [b"PUT / HTTP/1.1\r\nhost: x\r\na: 1\r\n\r\n".as_slice(), &body, b"the end"].concat();
            let reader = async {
                let mut got = Vec::new();
                far.read_to_end(&mut got).await.unwrap();
                got
            };
            let writer = async {
                io.write_all(&sent).await.unwrap();
                io.write_all(b"the end").await.unwrap();
                io.shutdown().await.unwrap();
            };
            let (got, ()) = tokio::join!(reader, writer);
            assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
        });
    }
}
