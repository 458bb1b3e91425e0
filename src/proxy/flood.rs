//! Frames of HTTP/2 that cost the server and bring nobody an answer: PING, SETTINGS,
//! RST_STREAM and their like, in numbers that no honest client needs.
//!
//! Owns: the price of each kind of frame, and what a connection may spend. Frames are paid
//! with what a connection earns: by time, by requests and bodies it sends, and by bytes that
//! it takes, for each of which flow control and bandwidth probes need frames of their own.

use std::io;
use std::sync::Arc;

use crate::clock;
use crate::decide::time::Moment;
use crate::telemetry::{ProcessStats, Refusal};

/// What a connection can have saved, and begins with.
const SAVINGS: i64 = 1_000;
const EARNED_A_SECOND: i64 = 400;
/// Bytes that a client takes or sends for one unit.
const BYTES_A_UNIT: usize = 512;
/// So much of a head is as much work as a frame.
const BYTES_OF_WORK: usize = 128;
const HEADER: usize = 9;
const PREFACE: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;

/// Watches the frames that a client sends (RFC 9113 section 4.1, and 10.5).
pub(super) struct FrameMeter {
    stats: Arc<ProcessStats>,
    /// Bytes of the preface or of a frame's payload that are still to come.
    skip: usize,
    /// A frame's header as far as it has come.
    header: [u8; HEADER],
    got: usize,
    /// What the frames that have come are to work through; whoever lets others have their
    /// turn sets it back.
    pub(super) work: usize,
    purse: i64,
    paid_until: Moment,
    /// Bytes that were not worth a unit yet.
    change: usize,
    /// The stream that was opened last.
    newest: u32,
}

impl FrameMeter {
    pub(super) fn new(stats: Arc<ProcessStats>) -> Self {
        let now = clock::now();
        Self {
            stats,
            skip: PREFACE,
            header: [0; HEADER],
            got: 0,
            work: 0,
            purse: SAVINGS,
            paid_until: now,
            change: 0,
            newest: 0,
        }
    }

    /// How many bytes of the frame under way are still to come.
    pub(super) fn expected(&self) -> usize {
        self.skip
    }

    /// The client has taken so many bytes.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.earn_by_bytes(bytes);
    }

    /// These bytes have come.
    ///
    /// # Errors
    /// Where the connection has spent more than it had.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEADER - self.got).min(bytes.len());
            self.header[self.got..self.got + taken].copy_from_slice(&bytes[..taken]);
            self.got += taken;
            bytes = &bytes[taken..];
            if self.got == HEADER {
                self.got = 0;
                self.frame();
            }
        }
        if self.purse >= 0 || self.earns_by_time() {
            return Ok(());
        }
        self.stats.refuse(Refusal::Flood);
        Err(io::Error::other("more frames than a client needs"))
    }

    fn frame(&mut self) {
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let stream = u32::from_be_bytes(stream);
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skip = length;
        self.work += if kind == DATA { 1 } else { 1 + length / BYTES_OF_WORK };
        match kind {
            DATA if length == 0 && flags & END_STREAM == 0 => self.purse -= 1,
            DATA => self.earn_by_bytes(length.max(BYTES_A_UNIT)),
            // Trailers, or what is none of a request.
            HEADERS if stream <= self.newest => self.purse -= 1,
            HEADERS => {
                self.newest = stream;
                self.earn(1);
            }
            RST_STREAM | SETTINGS => self.purse -= 4,
            _ => self.purse -= 1,
        }
    }

    fn earn_by_bytes(&mut self, bytes: usize) {
        self.change += bytes;
        self.earn((self.change / BYTES_A_UNIT) as i64);
        self.change %= BYTES_A_UNIT;
    }

    fn earn(&mut self, units: i64) {
        self.purse = (self.purse + units).min(SAVINGS);
    }

    /// Asked for once the purse is empty: the clock is not looked at for every frame.
    fn earns_by_time(&mut self) -> bool {
        let now = clock::now();
        let units = now.since(self.paid_until).as_millis() as i64 * EARNED_A_SECOND / 1_000;
        if units > 0 {
            self.paid_until = now;
            self.earn(units);
        }
        self.purse >= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        of_stream(1, kind, length)
    }

    fn of_stream(stream: u32, kind: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0, (length >> 8) as u8, length as u8, kind, 0];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.resize(HEADER + length, 0);
        frame
    }

    fn meter() -> FrameMeter {
        let mut meter = FrameMeter::new(Arc::default());
        meter.read(&[0; PREFACE]).unwrap();
        meter
    }

    /// How many of these frames pass at once, in pieces as a socket may bring them.
    fn passing(frames: impl Fn(u32) -> Vec<u8>, piece: usize, most: u32) -> usize {
        let mut meter = meter();
        (0..most).take_while(|n| frames(1 + 2 * n).chunks(piece).all(|bytes| meter.read(bytes).is_ok())).count()
    }

    #[test]
    fn floods_end_and_requests_do_not() {
        for piece in [1, 5, 9, 10, 1_000] {
            let request = |stream| of_stream(stream, HEADERS, 20);
            let resets = passing(|stream| [request(stream), frame(RST_STREAM, 4)].concat(), piece, 10_000);
            assert!((330..400).contains(&resets), "{resets} rapid resets");
            let pings = passing(|_| frame(6, 8), piece, 10_000);
            assert!((1_000..1_300).contains(&pings), "{pings} pings");
            let settings = passing(|_| frame(SETTINGS, 0), piece, 10_000);
            assert!((250..330).contains(&settings), "{settings} settings");
            let trailers = passing(|_| frame(HEADERS, 20), piece, 10_000);
            assert!((1_000..1_300).contains(&trailers), "{trailers} trailers");
            assert_eq!(passing(request, piece, 10_000), 10_000);
            let with_body = |stream| [request(stream), of_stream(stream, DATA, 700), request(stream)].concat();
            assert_eq!(passing(with_body, piece, 10_000), 10_000, "with trailers");
        }
    }

    #[test]
    fn who_takes_bytes_may_say_so() {
        let mut meter = meter();
        let update = frame(8, 4);
        for _ in 0..100_000 {
            meter.wrote(1_024);
            // For the stream and for the connection.
            meter.read(&update).unwrap();
            meter.read(&update).unwrap();
        }
        assert!((0..100_000).any(|_| meter.read(&update).is_err()), "and not otherwise");
    }
}
