//! HTTP/2 by raw frames (RFC 9113 section 4.1): also such as no client would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const ACK: u8 = 1;
/// Reasons (RFC 9113 section 7).
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field as a literal that no table keeps (RFC 7541 section 6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        string(&mut bytes, text.as_bytes());
    }
    bytes
}

/// A string without Huffman's code.
fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    match text.len().checked_sub(127) {
        None => bytes.push(text.len() as u8),
        Some(mut rest) => {
            bytes.push(127);
            while rest >= 128 {
                bytes.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend(text);
}

/// The fields of a request's head.
pub fn fields(method: &str, path: &str) -> Vec<u8> {
    let text = [field(":method", method), field(":path", path), field(":authority", "shop.test")].concat();
    [vec![0x86], text].concat()
}

/// A GET without a body.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields("GET", path))
}

/// The head of a POST, whose body follows.
pub fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields("POST", path))
}

#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The reason of RST_STREAM.
    pub fn reason(&self) -> u32 {
        self.payload.first_chunk().map_or(u32::MAX, |bytes| u32::from_be_bytes(*bytes))
    }

    /// The status in a head: what Serin's encoder writes first.
    pub fn status(&self) -> u16 {
        let updates = self.payload.iter().take_while(|byte| **byte >> 5 == 1).count();
        match self.payload[updates..] {
            [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
            [0x08 | 0x48, length, ref rest @ ..] if length & 128 == 0 => {
                std::str::from_utf8(&rest[..usize::from(length)]).unwrap().parse().unwrap()
            }
            [0x08 | 0x48, length, ref rest @ ..] => digits(&rest[..usize::from(length & 127)]),
            _ => 0,
        }
    }
}

/// Three digits in Huffman's code (RFC 7541 appendix B).
fn digits(bytes: &[u8]) -> u16 {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    let mut take = |count: usize| bits.by_ref().take(count).fold(0_u16, |value, bit| value << 1 | u16::from(bit));
    (0..3).fold(0, |number, _| {
        let five = take(5);
        number * 10 + if five < 3 { five } else { (five << 1 | take(1)) - 0b01_1001 + 3 }
    })
}

/// A client's connection.
pub struct Http2 {
    pub stream: TcpStream,
    bytes: Vec<u8>,
    /// The other side has ended it, in order or not.
    pub ended: bool,
}

impl Http2 {
    /// Connects and says the preface with these settings.
    pub fn with_settings(address: SocketAddr, settings: &[u8]) -> Self {
        let stream = super::http::connect(address);
        let mut connection = Self { stream, bytes: Vec::new(), ended: false };
        connection.send(&[PREFACE, &frame(SETTINGS, 0, 0, settings)].concat());
        connection
    }

    pub fn connect(address: SocketAddr) -> Self {
        Self::with_settings(address, &[])
    }

    /// Writes; whether it could.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame, where one comes within this time.
    pub fn next(&mut self, within: Duration) -> Option<Frame> {
        let end = Instant::now() + within;
        loop {
            if let Some(frame) = self.parsed() {
                return Some(frame);
            }
            let left = end.saturating_duration_since(Instant::now());
            if self.ended || left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = true,
                Ok(n) => self.bytes.extend_from_slice(&buffer[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.ended = true,
            }
        }
    }

    fn parsed(&mut self) -> Option<Frame> {
        let [a, b, c, kind, flags, s @ ..] = *self.bytes.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.bytes.get(9..9 + length)?.to_vec();
        self.bytes.drain(..9 + length);
        Some(Frame { kind, flags, stream: u32::from_be_bytes(s), payload })
    }

    /// The first frame of this stream of these kinds.
    pub fn find(&mut self, stream: u32, kinds: &[u8], within: Duration) -> Option<Frame> {
        let end = Instant::now() + within;
        loop {
            let frame = self.next(end.saturating_duration_since(Instant::now()))?;
            if frame.stream == stream && kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }

    /// The status of a stream's answer; 0: the stream or the connection ended without.
    pub fn status(&mut self, stream: u32) -> u16 {
        match self.find(stream, &[HEADERS, RST_STREAM], super::PATIENCE) {
            Some(frame) if frame.kind == HEADERS => frame.status(),
            _ => 0,
        }
    }

    /// Waits for the end of the connection; whether it came.
    pub fn ends(&mut self, within: Duration) -> bool {
        let end = Instant::now() + within;
        while !self.ended && Instant::now() < end {
            let _ = self.next(end.saturating_duration_since(Instant::now()));
        }
        self.ended
    }
}
