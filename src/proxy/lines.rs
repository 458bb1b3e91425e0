//! A head's raw lines, for what the parser does not tell: that it left a length out beside a
//! transfer coding, took a bare LF for a line's end, or cut a fragment off the target.

use memchr::{memchr, memchr_iter};

const LENGTH: &[u8] = b"content-length";
const CODING: &[u8] = b"transfer-encoding";
const NAME_MAX: usize = CODING.len();

/// What is strange about a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strange {
    /// Content-Length and Transfer-Encoding (RFC 9112 section 6.1).
    pub(super) both_lengths: bool,
    /// A line that ends without CR (RFC 9112 section 2.2).
    pub(super) bare_lf: bool,
    /// A target with a fragment (RFC 9112 section 3.2).
    pub(super) fragment: bool,
}

/// Looks at a head as it comes, in whatever pieces, and at those behind it in the same piece.
#[derive(Debug, Default)]
pub(super) struct Lines {
    strange: Strange,
    /// The beginning of the line that has not ended yet.
    begun: [u8; NAME_MAX],
    /// Its bytes so far.
    length: usize,
    last: u8,
    has_length: bool,
    has_coding: bool,
    /// Fields of the first head are over, or its first line is.
    head_ended: bool,
    first_ended: bool,
    method_ended: bool,
}

impl Lines {
    pub(super) fn strange(&self) -> Strange {
        self.strange
    }

    /// These bytes have come.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        if !self.first_ended {
            self.first_line(&bytes[..memchr(b'\n', bytes).unwrap_or(bytes.len())]);
        }
        let mut from = 0;
        for end in memchr_iter(b'\n', bytes) {
            self.part(&bytes[from..end]);
            self.end();
            from = end + 1;
        }
        self.part(&bytes[from..]);
    }

    /// A method may have the sign that a target may not.
    fn first_line(&mut self, part: &[u8]) {
        let target = if self.method_ended { Some(part) } else { memchr(b' ', part).map(|at| &part[at..]) };
        self.method_ended |= target.is_some();
        self.strange.fragment |= target.is_some_and(|target| memchr(b'#', target).is_some());
    }

    fn part(&mut self, part: &[u8]) {
        let Some(last) = part.last() else { return };
        let room = NAME_MAX.saturating_sub(self.length).min(part.len());
        if room > 0 {
            self.begun[self.length..self.length + room].copy_from_slice(&part[..room]);
        }
        self.length += part.len();
        self.last = *last;
    }

    fn end(&mut self) {
        let crlf = self.length > 0 && self.last == b'\r';
        let empty = self.length == usize::from(crlf);
        // Behind the first head there may be a body: its lines end as they like.
        self.strange.bare_lf |= !crlf && !self.head_ended;
        if !empty {
            let begun = &self.begun[..self.length.min(NAME_MAX)];
            let is = |name: &[u8]| begun.len() >= name.len() && begun[..name.len()].eq_ignore_ascii_case(name);
            self.has_length |= is(LENGTH);
            self.has_coding |= is(CODING);
            self.strange.both_lengths |= self.has_length && self.has_coding;
            self.first_ended = true;
        } else if self.first_ended {
            // Empty lines may stand before the first one, and nowhere else.
            self.head_ended = true;
            (self.has_length, self.has_coding) = (false, false);
        }
        self.length = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same whichever pieces it comes in.
    fn seen(text: &str) -> Strange {
        let whole = {
            let mut lines = Lines::default();
            lines.read(text.as_bytes());
            lines.strange()
        };
        for piece in 1..text.len() {
            let mut lines = Lines::default();
            text.as_bytes().chunks(piece).for_each(|bytes| lines.read(bytes));
            assert_eq!(lines.strange(), whole, "{text:?} in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn what_a_parser_does_not_tell_is_seen() {
        let plain = Strange::default();
        assert_eq!(seen("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\na\nb#c"), plain);
        assert_eq!(seen("\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), plain);
        let both = Strange { both_lengths: true, ..plain };
        assert_eq!(seen("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\na: b\r\nCONTENT-LENGTH: 5\r\n\r\n"), both);
        let next =
            "POST /a HTTP/1.1\r\ncontent-length: 1\r\n\r\nxPOST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(seen(next), plain, "two requests");
        let bare = Strange { bare_lf: true, ..plain };
        for text in
            ["GET / HTTP/1.1\nhost: a\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\n\n"]
        {
            assert_eq!(seen(text), bare, "{text:?}");
        }
        assert_eq!(seen("G#T /a HTTP/1.1\r\nhost: a\r\n\r\n"), plain);
        assert_eq!(seen("GET /a#b HTTP/1.1\r\nhost: a\r\n\r\n"), Strange { fragment: true, ..plain });
    }
}
