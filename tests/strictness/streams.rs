//! What clients may write in HTTP/2, and what they see of an app's answers there.

use super::answers::{CHUNKED, LEAK, OK, others, target};
use super::app::{Do, When, send};
use super::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, Seen, Stream,
    WINDOW_UPDATE, block, frame, preface,
};
use super::requests::{Sees, always_of, saw};
use super::stage::{Case, Client, Outcome, Stage};
use super::wire::{self, Message};
use Sees::{Body, Has, Lacks, Line, NoTrailer, Trailer};

type Fields = Vec<(String, String)>;

#[derive(Clone, Debug)]
enum Expect {
    /// An error of the stream or the connection, or a status of 4xx; the app sees nothing.
    Refused,
    /// Wrong after its head: the app may have seen that, but never its end.
    Broken,
    Once(Vec<Sees>),
    /// Refused or once.
    Open(Vec<Sees>),
    /// Broken or once.
    BrokenOr(Vec<Sees>),
}

struct Row {
    name: &'static str,
    section: &'static str,
    frames: Vec<u8>,
    expect: Expect,
    taken_back: bool,
}

fn row(name: &'static str, section: &'static str, frames: Vec<u8>) -> Row {
    Row { name, section, frames, expect: Expect::Refused, taken_back: false }
}

impl Row {
    fn broken(mut self) -> Self {
        self.expect = Expect::Broken;
        self
    }

    fn once(mut self, sees: &[Sees]) -> Self {
        self.expect = Expect::Once(sees.to_vec());
        self
    }

    fn open(mut self, sees: &[Sees]) -> Self {
        self.expect = Expect::Open(sees.to_vec());
        self
    }

    fn broken_or(mut self, sees: &[Sees]) -> Self {
        self.expect = Expect::BrokenOr(sees.to_vec());
        self
    }

    fn taken_back(mut self) -> Self {
        self.taken_back = true;
        self.broken()
    }

    fn case(self) -> Case {
        let (name, section) = (format!("HTTP/2: {}", self.name), self.section);
        Case { name, section, plays: Box::new(move |stage| check(stage, &self)) }
    }
}

fn owned(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn usual() -> Fields {
    owned(&[(":method", "GET"), (":scheme", "http"), (":authority", "shop.test"), (":path", "/row")])
}

fn with(more: &[(&str, &str)]) -> Fields {
    [usual(), owned(more)].concat()
}

fn without(name: &str) -> Fields {
    usual().into_iter().filter(|(own, _)| own != name).collect()
}

/// The usual fields with another value for one of them.
fn instead(name: &str, value: &str) -> Fields {
    usual().into_iter().map(|(own, old)| if own == name { (own, value.to_owned()) } else { (own, old) }).collect()
}

/// A request without a body.
fn request(fields: &[(String, String)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// A POST with these further fields and this body.
fn post(more: &[(&str, &str)], body: &str) -> Vec<u8> {
    method("POST", more, body)
}

fn method(method: &str, more: &[(&str, &str)], body: &str) -> Vec<u8> {
    let fields = [instead(":method", method), owned(more)].concat();
    let head = frame(HEADERS, END_HEADERS, 1, &block(&fields));
    [head, frame(DATA, END_STREAM, 1, body.as_bytes())].concat()
}

/// A POST that ends with these trailers.
fn trailing(trailers: &[(&str, &str)]) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, 1, &block(&instead(":method", "POST")));
    let end = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&owned(trailers)));
    [head, frame(DATA, 0, 1, b"hello"), end].concat()
}

pub fn cases() -> Vec<Case> {
    let rows = [good(), names(), pseudo(), paths(), authorities(), lengths(), trailers(), order(), limits()];
    rows.into_iter().flatten().map(Row::case).chain(answers()).collect()
}

fn good() -> Vec<Row> {
    let connection = "RFC 9113 8.2.2";
    let specific = |name, field: &str, value: &str| row(name, connection, request(&with(&[(field, value)])));
    vec![
        row("a request", "RFC 9113 8.3", request(&usual()))
            .once(&[Line("GET /row HTTP/1.1"), Has("host", "shop.test")]),
        row("a body", "RFC 9113 8.1", post(&[], "hello")).once(&[Body("hello")]),
        row("a body with its length", "RFC 9113 8.1.1", post(&[("content-length", "5")], "hello"))
            .once(&[Body("hello"), Lacks("transfer-encoding")]),
        row("a body of GET", "RFC 9110 9.3.1", method("GET", &[], "hello")).once(&[Body("hello")]),
        row("a body of HEAD", "RFC 9110 9.3.2", method("HEAD", &[], "hello")).once(&[Body("hello")]),
        row("a body of DELETE", "RFC 9110 9.3.5", method("DELETE", &[], "hello")).once(&[Body("hello")]),
        row("an empty body", "RFC 9113 8.1", post(&[], "")).once(&[Body("")]),
        row("expecting 100", "RFC 9110 10.1.1", post(&[("expect", "100-continue"), ("content-length", "5")], "hello"))
            .once(&[Body("hello")]),
        row(
            "cookies in pieces",
            "RFC 9113 8.2.3",
            request(&with(&[("cookie", "a=b"), ("x-a", "b"), ("cookie", "c=d"), ("cookie", "e=f")])),
        )
        .once(&[Has("cookie", "a=b; c=d; e=f")]),
        row("two fields of a name", "RFC 9110 5.3", request(&with(&[("accept", "a/b"), ("accept", "c/d")]))).once(&[]),
        row("a method in lower case", "RFC 9110 9.1", request(&instead(":method", "get")))
            .once(&[Line("get /row HTTP/1.1")]),
        row("TE: trailers", connection, request(&with(&[("te", "trailers")]))).once(&[]),
        specific("Connection", "connection", "close"),
        specific("Connection that names a field", "connection", "x-a"),
        specific("Keep-Alive", "keep-alive", "timeout=9"),
        specific("Proxy-Connection", "proxy-connection", "keep-alive"),
        specific("Transfer-Encoding", "transfer-encoding", "chunked"),
        specific("Transfer-Encoding: identity", "transfer-encoding", "identity"),
        specific("Upgrade", "upgrade", "h2c"),
        specific("TE: gzip", "te", "gzip"),
        specific("TE: trailers, gzip", "te", "trailers, gzip"),
        specific("HTTP2-Settings", "http2-settings", "AAMAAABkAAQAAP__").open(&[Lacks("http2-settings")]),
        row(
            "Transfer-Encoding with a body",
            connection,
            post(&[("transfer-encoding", "chunked")], "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
        ),
        specific("a track", "x-serin-track", "canary").once(&[Has("x-serin-track", "stable")]),
        specific("a flag with underscores", "x_feature_a", "true").once(&[Lacks("x_feature_a")]),
        specific("an address", "x-forwarded-for", "1.2.3.4").once(&[Has("x-forwarded-for", "127.0.0.1")]),
        specific("Forwarded", "forwarded", "for=1.2.3.4").once(&[Lacks("forwarded")]),
    ]
}

fn names() -> Vec<Row> {
    let name = |name, field: &str| row(name, "RFC 9113 8.2.1", request(&with(&[(field, "b")])));
    let value = |name, value: &str| row(name, "RFC 9113 8.2.1", request(&with(&[("x-a", value)])));
    vec![
        name("capitals in a name", "X-A"),
        name("one capital in a name", "x-A"),
        name("capitals in a name of HTTP/1.1", "Transfer-Encoding"),
        name("a colon in a name", "x-a:b"),
        name("a blank in a name", "x a"),
        name("a blank after a name", "transfer-encoding "),
        name("a tab in a name", "x\ta"),
        name("CR in a name", "x-a\r"),
        name("LF in a name", "x-a\n"),
        name("a field in a name", "x-a: b\r\ntransfer-encoding: chunked\r\nx-b"),
        name("a NUL in a name", "x-a\0"),
        name("a DEL in a name", "x-a\x7f"),
        name("a byte beyond ASCII in a name", "x-\u{e4}"),
        name("a parenthesis in a name", "x(a)"),
        name("no name", ""),
        value("CR in a value", "b\rc"),
        value("LF in a value", "b\nc"),
        value("a field in a value", "b\r\ntransfer-encoding: chunked"),
        value("a request in a value", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"),
        value("a NUL in a value", "b\0c"),
        value("a SOH in a value", "b\x01c"),
        value("a DEL in a value", "b\x7fc"),
        value("a blank before a value", " b").open(&[Has("x-a", "b")]),
        value("a blank after a value", "b ").open(&[Has("x-a", "b")]),
        value("a tab in a value", "b\tc").once(&[Has("x-a", "b\tc")]),
        value("bytes beyond ASCII in a value", "\u{ff}").once(&[Has("x-a", "\u{ff}")]),
        value("no value", "").once(&[Has("x-a", "")]),
        row("CR LF in a cookie", "RFC 9113 8.2.1", request(&with(&[("cookie", "a=b"), ("cookie", "c\r\nx-b: d")]))),
    ]
}

fn pseudo() -> Vec<Row> {
    let request = |name, fields: Fields| row(name, "RFC 9113 8.3", request(&fields));
    let value = |name, field: &str, value: &str| request(name, instead(field, value));
    let last: Fields = [without(":path"), owned(&[("x-a", "b"), (":path", "/row")])].concat();
    let early: Fields = [owned(&[("x-a", "b")]), usual()].concat();
    vec![
        request("a pseudo-field nobody knows", with(&[(":x", "y")])),
        request("a pseudo-field of answers", with(&[(":status", "200")])),
        request("a pseudo-field without a name", with(&[(":", "y")])),
        request("a pseudo-field after a field", last),
        request("a field before all", early),
        request("two methods", with(&[(":method", "GET")])),
        request("two paths", with(&[(":path", "/row")])),
        request("two schemes", with(&[(":scheme", "http")])),
        request("two authorities", with(&[(":authority", "shop.test")])),
        request("no method", without(":method")),
        request("no path", without(":path")),
        request("no scheme", without(":scheme")),
        request("nothing", Vec::new()),
        value("an empty method", ":method", ""),
        value("a blank in the method", ":method", "GET /x HTTP/1.1"),
        value("a line end in the method", ":method", "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET"),
        value("a NUL in the method", ":method", "GET\0"),
        value("an empty scheme", ":scheme", ""),
        value("a scheme with an authority", ":scheme", "http://evil.test/"),
        value("a blank in the scheme", ":scheme", "http x"),
        value("a line end in the scheme", ":scheme", "http\r\nx-a: b"),
        value("a scheme nobody serves", ":scheme", "ftp").open(&[Line("GET /row HTTP/1.1")]),
        value("https on a plain connection", ":scheme", "https").open(&[Line("GET /row HTTP/1.1")]),
        request("CONNECT", owned(&[(":method", "CONNECT"), (":authority", "shop.test:443")])),
        request("CONNECT with a path", instead(":method", "CONNECT")),
        request(
            "CONNECT with a protocol nobody offered",
            [instead(":method", "CONNECT"), owned(&[(":protocol", "websocket")])].concat(),
        ),
        request("a protocol without CONNECT", with(&[(":protocol", "websocket")])),
        request("PRI", instead(":method", "PRI")).open(&[Line("PRI /row HTTP/1.1")]),
    ]
}

fn paths() -> Vec<Row> {
    let path = |name, path: &str| row(name, "RFC 9113 8.3.1", request(&instead(":path", path)));
    let options = |name, path: &str| {
        let fields: Fields = [
            owned(&[(":method", "OPTIONS"), (":path", path)]),
            without(":method").into_iter().filter(|(name, _)| name != ":path").collect(),
        ]
        .concat();
        row(name, "RFC 9113 8.3.1", request(&fields))
    };
    vec![
        path("an empty path", ""),
        path("a blank in the path", "/a b"),
        path("a request in the path", "/ HTTP/1.1\r\nhost: a\r\n\r\nGET /smuggled"),
        path("CR in the path", "/a\rb"),
        path("LF in the path", "/a\nb"),
        path("a NUL in the path", "/a\0b"),
        path("a tab in the path", "/a\tb"),
        path("a DEL in the path", "/a\x7fb"),
        // The parser of URIs cuts it off before anybody sees it; the app gets the one path.
        path("a fragment", "/row#a").once(&[]),
        path("no slash before", "row"),
        path("a query alone", "?a"),
        path("a star", "*"),
        path("a whole URI", "http://shop.test/row"),
        path("an authority in the path", "@evil.test/row"),
        path("a port in the path", ":80/row"),
        path("..", "/a/../row"),
        path("%2e%2e", "/a/%2E%2e/row"),
        path("two slashes", "//evil.test/row").open(&[Line("GET //evil.test/row HTTP/1.1"), Has("host", "shop.test")]),
        path("bytes beyond ASCII", "/\u{c3}\u{a9}").open(&[Line("GET /\u{c3}\u{a9} HTTP/1.1")]),
        path("a path as it came", "/A%2fb;c=d,e?f=%20&g=?/").once(&[Line("GET /A%2fb;c=d,e?f=%20&g=?/ HTTP/1.1")]),
        options("OPTIONS of a star", "*").once(&[Line("OPTIONS * HTTP/1.1")]),
        options("OPTIONS without a slash", "row"),
    ]
}

fn authorities() -> Vec<Row> {
    let section = "RFC 9113 8.3.1";
    let authority = |name, value: &str| row(name, section, request(&instead(":authority", value)));
    let host =
        |name, hosts: &[(&str, &str)]| row(name, section, request(&[without(":authority"), owned(hosts)].concat()));
    vec![
        authority("userinfo", "me@shop.test"),
        authority("a blank in the authority", "shop.test x"),
        authority("a slash in the authority", "shop.test/row"),
        authority("a line end in the authority", "shop.test\r\nx-a: b"),
        authority("a question mark in the authority", "shop.test?a"),
        authority("a hash in the authority", "shop.test#a"),
        authority("a port of letters", "shop.test:x"),
        authority("IPv6 that is none", "[gg::1]"),
        authority("a comma and a blank", "shop.test, evil.test"),
        authority("a NUL in the authority", "shop.test\0"),
        authority("an empty authority", "").open(&[Has("host", "")]),
        authority("an address", "[::1]:8080").once(&[Has("host", "[::1]:8080")]),
        row("an authority and another Host", section, request(&with(&[("host", "evil.test")]))),
        row("an authority and the same Host", section, request(&with(&[("host", "shop.test")])))
            .once(&[Has("host", "shop.test")]),
        row("an authority and two Hosts", section, request(&with(&[("host", "shop.test"), ("host", "shop.test")]))),
        row("an authority and an empty Host", section, request(&with(&[("host", "")]))),
        host("a Host alone", &[("host", "shop.test")]).once(&[Has("host", "shop.test")]),
        host("two Hosts", &[("host", "shop.test"), ("host", "evil.test")]),
        host("a Host with a slash", &[("host", "shop.test/row")]),
        host("a Host with userinfo", &[("host", "me@shop.test")]),
        host("no authority and no Host", &[]),
    ]
}

fn lengths() -> Vec<Row> {
    let section = "RFC 9113 8.1.1";
    let length = |name, length: &str| row(name, section, post(&[("content-length", length)], "hello"));
    vec![
        length("less data than its length", "10").broken(),
        length("more data than its length", "2").broken(),
        length("data over a length of 0", "0").broken_or(&[Body("")]),
        length("a length that is none", "x"),
        length("a length with a plus", "+5"),
        length("a length below nothing", "-5"),
        length("hexadecimal", "0x5"),
        length("an empty length", ""),
        length("2^64 + 5", "18446744073709551621"),
        length("differing lengths in a list", "5, 6"),
        length("the same length in a list", "5, 5").open(&[Body("hello")]),
        row("differing lengths", section, post(&[("content-length", "5"), ("content-length", "6")], "hello")),
        row("the same length twice", section, post(&[("content-length", "5"), ("content-length", "5")], "hello"))
            .open(&[Body("hello")]),
        row(
            "a length without data",
            section,
            request(&[instead(":method", "POST"), owned(&[("content-length", "5")])].concat()),
        )
        .broken(),
        row(
            "a length of 0 without data",
            section,
            request(&[instead(":method", "POST"), owned(&[("content-length", "0")])].concat()),
        )
        .once(&[Body("")]),
        row("chunks in the data", section, post(&[("content-length", "5")], "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"))
            .broken(),
    ]
}

fn trailers() -> Vec<Row> {
    let section = "RFC 9113 8.1";
    let trailer = |name, field: &str, value: &str| row(name, section, trailing(&[(field, value)]));
    let unended = {
        let head = frame(HEADERS, END_HEADERS, 1, &block(&instead(":method", "POST")));
        [head, frame(DATA, 0, 1, b"hello"), frame(HEADERS, END_HEADERS, 1, &block(&owned(&[("x-a", "b")])))].concat()
    };
    let one = [Body("hello"), Has("host", "shop.test"), Line("POST /row HTTP/1.1")];
    let also = |sees: Sees| [one.to_vec(), vec![sees]].concat();
    vec![
        row("trailers", section, trailing(&[("x-mine", "1")])).once(&one),
        row("trailers that were named", section, {
            let head = frame(
                HEADERS,
                END_HEADERS,
                1,
                &block(&[instead(":method", "POST"), owned(&[("trailer", "x-mine")])].concat()),
            );
            [
                head,
                frame(DATA, 0, 1, b"hello"),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&owned(&[("x-mine", "1")]))),
            ]
            .concat()
        })
        .once(&also(Trailer("x-mine", "1"))),
        trailer("a pseudo-field in trailers", ":path", "/other").broken_or(&also(NoTrailer(":path"))),
        trailer("a method in trailers", ":method", "GET").broken_or(&also(NoTrailer(":method"))),
        trailer("capitals in trailers", "X-A", "b").broken(),
        trailer("a line end in trailers", "x-a", "b\r\nx-c: d").broken(),
        trailer("a coding in trailers", "transfer-encoding", "chunked")
            .broken_or(&also(NoTrailer("transfer-encoding"))),
        trailer("Connection in trailers", "connection", "x-a").broken_or(&also(NoTrailer("connection"))),
        trailer("a length in trailers", "content-length", "9").broken_or(&also(NoTrailer("content-length"))),
        trailer("a Host in trailers", "host", "evil.test").broken_or(&also(NoTrailer("host"))),
        trailer("a track in trailers", "x-serin-track", "canary").broken_or(&also(NoTrailer("x-serin-track"))),
        trailer("a flag in trailers", "x_feature_a", "true").broken_or(&also(NoTrailer("x_feature_a"))),
        row("trailers without an end", section, unended).broken(),
    ]
}

/// Frames where they do not belong.
fn order() -> Vec<Row> {
    let good = || block(&usual());
    let whole = END_HEADERS | END_STREAM;
    let broken = |name, section, frames: &[Vec<u8>]| row(name, section, frames.concat());
    let half = |flags| frame(HEADERS, flags, 1, &block(&instead(":method", "POST")));
    vec![
        broken("HEADERS on stream 0", "RFC 9113 6.2", &[frame(HEADERS, whole, 0, &good())]),
        broken("HEADERS on an even stream", "RFC 9113 5.1.1", &[frame(HEADERS, whole, 2, &good())]),
        broken("DATA on stream 0", "RFC 9113 6.1", &[frame(DATA, END_STREAM, 0, b"hello")]),
        broken("DATA on an idle stream", "RFC 9113 5.1", &[frame(DATA, END_STREAM, 1, b"hello")]),
        broken("RST_STREAM on an idle stream", "RFC 9113 6.4", &[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])]),
        broken("CONTINUATION without HEADERS", "RFC 9113 6.10", &[frame(CONTINUATION, END_HEADERS, 1, &good())]),
        broken("DATA inside a head", "RFC 9113 6.10", &[half(0), frame(DATA, END_STREAM, 1, b"hello")]),
        broken("another stream inside a head", "RFC 9113 6.10", &[half(0), frame(HEADERS, whole, 3, &good())]),
        broken(
            "PUSH_PROMISE",
            "RFC 9113 8.4",
            &[frame(PUSH_PROMISE, END_HEADERS, 1, &[vec![0, 0, 0, 2], good()].concat())],
        ),
        broken("SETTINGS of odd length", "RFC 9113 6.5", &[frame(SETTINGS, 0, 0, &[0, 1, 0])]),
        broken("SETTINGS on a stream", "RFC 9113 6.5", &[frame(SETTINGS, 0, 1, &[])]),
        broken("a window that grows by nothing", "RFC 9113 6.9", &[frame(WINDOW_UPDATE, 0, 0, &[0; 4])]),
        broken(
            "a window that grows too far",
            "RFC 9113 6.9.1",
            &[frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])],
        ),
        broken(
            "a frame that is too large",
            "RFC 9113 4.2",
            &[half(END_HEADERS), frame(DATA, 0, 1, &vec![b'a'; 1 << 20]), frame(DATA, END_STREAM, 1, b"")],
        )
        .broken(),
        broken(
            "a name from nowhere",
            "RFC 7541 2.3.3",
            &[frame(HEADERS, whole, 1, &[good(), vec![0xff, 0x7f]].concat())],
        ),
        broken("index 0", "RFC 7541 6.1", &[frame(HEADERS, whole, 1, &[good(), vec![0x80]].concat())]),
        broken("a number without end", "RFC 7541 5.1", &[frame(HEADERS, whole, 1, &[good(), vec![0xff; 20]].concat())]),
        broken(
            "a string that breaks off",
            "RFC 7541 5.2",
            &[frame(HEADERS, whole, 1, &[good(), vec![0, 9, b'a']].concat())],
        ),
        broken(
            "padding of more than a byte",
            "RFC 7541 5.2",
            &[frame(HEADERS, whole, 1, &[good(), vec![0, 1, b'a', 0x82, 0xff, 0xff]].concat())],
        ),
        broken(
            "padding as long as the frame",
            "RFC 9113 6.1",
            &[half(END_HEADERS), frame(DATA, END_STREAM | 8, 1, &[9, b'a'])],
        )
        .broken(),
        broken(
            "a stream that depends on itself",
            "RFC 9113 5.3",
            &[frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 9]), request(&usual())],
        )
        .open(&[]),
        broken("a frame nobody knows", "RFC 9113 5.5", &[frame(0xbe, 0xff, 1, b"?"), request(&usual())]).once(&[]),
        broken(
            "a head in pieces",
            "RFC 9113 6.10",
            &[
                frame(HEADERS, END_STREAM, 1, &good()[..9]),
                frame(CONTINUATION, 0, 1, &good()[9..20]),
                frame(CONTINUATION, END_HEADERS, 1, &good()[20..]),
            ],
        )
        .once(&[Line("GET /row HTTP/1.1")]),
        broken("DATA after the end", "RFC 9113 5.1", &[request(&usual()), frame(DATA, END_STREAM, 1, b"hello")])
            .broken_or(&[Body("")]),
        broken("HEADERS after the end", "RFC 9113 5.1", &[request(&usual()), request(&usual())]).broken_or(&[Body("")]),
        broken(
            "a body that is taken back",
            "RFC 9113 6.4",
            &[half(END_HEADERS), frame(DATA, 0, 1, b"hello"), frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])],
        )
        .taken_back(),
    ]
}

fn limits() -> Vec<Row> {
    let many: Vec<(String, String)> = (0..150).map(|n| (format!("x-{n}"), "a".to_owned())).collect();
    let fields = [usual(), many].concat();
    let long = |length: usize| {
        let block = block(&with(&[("x-a", &"a".repeat(length))]));
        let mut pieces = block.chunks(16_000);
        let first = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap());
        let middle = pieces.flat_map(|piece| frame(CONTINUATION, 0, 1, piece));
        [first, middle.collect(), frame(CONTINUATION, END_HEADERS, 1, &[])].concat()
    };
    let flood =
        [frame(HEADERS, END_STREAM, 1, &block(&usual())), frame(CONTINUATION, 0, 1, &[]).repeat(100_000)].concat();
    vec![
        row("150 fields", "SPEC 2.1", request(&fields)),
        row("a field of 40 KiB", "SPEC 2.1", long(40 << 10)).once(&[Line("GET /row HTTP/1.1")]),
        row("a field of 70 KiB", "SPEC 2.1", long(70 << 10)),
        row("a field of 1 MiB", "SPEC 2.1", long(1 << 20)),
        row("a target of 9 KiB", "SPEC 2.1", request(&instead(":path", &format!("/{}", "a".repeat(9 << 10))))),
        row("a head without end", "RFC 9113 10.5.1", flood),
    ]
}

/// A connection of HTTP/2.
struct Talk {
    client: Client,
    seen: Seen,
}

impl Talk {
    fn begin(stage: &Stage, frames: &[u8]) -> Self {
        let mut client = stage.client();
        client.write_bytes(&[preface(), frames.to_vec()].concat());
        Self { client, seen: Seen::default() }
    }

    /// Reads until a stream is over, or the connection.
    fn stream(&mut self, id: u32) -> Result<Option<Stream>, String> {
        loop {
            let replies = self.seen.take(&mut self.client.bytes)?;
            if !replies.is_empty() {
                self.client.write_bytes(&replies);
            }
            if let Some(stream) = self.seen.streams.get(&id).filter(|stream| stream.is_over()) {
                proper(stream)?;
                return Ok(Some(stream.clone()));
            }
            if self.client.end.is_some() || self.seen.goaway.is_some_and(|code| code != 0) {
                return Ok(self.seen.streams.get(&id).cloned());
            }
            self.client.more();
        }
    }

    fn shown(&self) -> String {
        let streams: Vec<String> =
            self.seen.streams.iter().map(|(id, stream)| format!("{id}: {}", shown(stream))).collect();
        format!("client: {} goaway {:?} {:?}", streams.join(" and "), self.seen.goaway, self.client.end)
    }
}

fn shown(stream: &Stream) -> String {
    let end = if stream.ended { "ended" } else { "not ended" };
    format!("{:?} {:?} {end} reset {:?} {:?}", stream.fields, wire::cut(&stream.data), stream.reset, stream.trailers)
}

/// What every answer in HTTP/2 has to be.
fn proper(stream: &Stream) -> Outcome {
    for (name, value) in stream.fields.iter().chain(&stream.trailers) {
        let specific = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];
        if name.chars().any(|c| c.is_ascii_uppercase()) || specific.contains(&name.as_str()) {
            return Err(format!("the client sees {name}"));
        }
        if value.chars().any(|c| c != '\t' && (c < ' ' || c == '\x7f')) {
            return Err(format!("a control in {name}: {value:?}"));
        }
    }
    let lengths: Vec<&String> =
        stream.fields.iter().filter(|(name, _)| name == "content-length").map(|(_, value)| value).collect();
    match lengths.as_slice() {
        [] => Ok(()),
        [length] if length.parse() == Ok(stream.data.chars().count()) || stream.data.is_empty() || !stream.ended => {
            Ok(())
        }
        _ => Err(format!("a length that is not the body's: {lengths:?}")),
    }
}

fn check(stage: &Stage, row: &Row) -> Outcome {
    let mut talk = Talk::begin(stage, &row.frames);
    // Nothing has to come on a stream that the client has taken back.
    let stream = if row.taken_back { Ok(None) } else { talk.stream(1) };
    let next = stream.and_then(|stream| goes_on(&mut talk, row).map(|()| stream));
    let seen = stage.seen()?;
    let stream = next.map_err(|why| format!("{why}; {}", talk.shown()))?;
    let list = |messages: &[Message]| messages.iter().map(Message::shown).collect::<Vec<_>>().join(" and ");
    let told = || format!("{}; app: {}; unfinished: {}", talk.shown(), list(&seen.requests), list(&seen.unfinished));
    if !seen.oddities.is_empty() {
        return Err(format!("the app received what can be read in more than one way: {:?}; {}", seen.oddities, told()));
    }
    let requests: Vec<Message> = seen.requests.iter().filter(|request| request.second() != "/after").cloned().collect();
    let fits = always_of(requests.iter().chain(&seen.unfinished))
        .and_then(|()| fits(&row.expect, stream.as_ref(), &requests, &seen.unfinished));
    fits.map_err(|why| format!("{why}; {}", told()))
}

/// The connection ends, or serves another request.
fn goes_on(talk: &mut Talk, row: &Row) -> Outcome {
    let lasts = matches!(row.expect, Expect::Once(_));
    if !lasts && (talk.client.end.is_some() || talk.seen.goaway.is_some()) {
        return Ok(());
    }
    let after = frame(HEADERS, END_HEADERS | END_STREAM, 5, &block(&instead(":path", "/after")));
    talk.client.write_bytes(&after);
    match talk.stream(5)? {
        Some(stream) if stream.ended && stream.data == "saw GET /after HTTP/1.1" => Ok(()),
        None if !lasts && (talk.seen.goaway.is_some() || talk.client.end != Some(super::stage::End::Silent)) => Ok(()),
        _ => Err("the next request of the connection is not answered".to_owned()),
    }
}

fn fits(expect: &Expect, stream: Option<&Stream>, requests: &[Message], unfinished: &[Message]) -> Outcome {
    match expect {
        Expect::Refused => refused(stream, requests, unfinished),
        Expect::Broken => broken(stream, requests, unfinished),
        Expect::Once(sees) => once(stream, requests, unfinished, sees),
        Expect::Open(sees) => refused(stream, requests, unfinished)
            .or_else(|first| once(stream, requests, unfinished, sees).map_err(|or| first + ", and " + &or)),
        Expect::BrokenOr(sees) => broken(stream, requests, unfinished).or_else(|first| {
            let [request] = requests else { return Err(first) };
            saw(request, sees).map_err(|or| first + ", and " + &or)
        }),
    }
}

fn refused(stream: Option<&Stream>, requests: &[Message], unfinished: &[Message]) -> Outcome {
    if !requests.is_empty() || !unfinished.is_empty() {
        return Err("it is not refused: it reached the app".to_owned());
    }
    broken(stream, requests, unfinished)
}

fn broken(stream: Option<&Stream>, requests: &[Message], unfinished: &[Message]) -> Outcome {
    if !requests.is_empty() || unfinished.len() > 1 {
        return Err("a request that is broken is one for the app".to_owned());
    }
    match stream {
        Some(stream) if stream.ended && !(400..500).contains(&stream.status()) => {
            Err("a broken request is answered as if it were whole".to_owned())
        }
        _ => Ok(()),
    }
}

fn once(stream: Option<&Stream>, requests: &[Message], unfinished: &[Message], sees: &[Sees]) -> Outcome {
    let ([request], []) = (requests, unfinished) else {
        return Err("it did not reach the app as one request".to_owned());
    };
    saw(request, sees)?;
    let body = if request.line.starts_with("HEAD ") { String::new() } else { format!("saw {}", request.line) };
    match stream {
        Some(stream) if stream.ended && stream.status() == 200 && stream.data == body => Ok(()),
        _ => Err("it has no answer of its own".to_owned()),
    }
}

/// What a client gets of an app's answer.
#[derive(Clone, Copy)]
enum Gets {
    Refused,
    /// An end with RST_STREAM and none with END_STREAM.
    Broken,
    Whole(u16, &'static str),
}

fn answer(name: &str, section: &'static str, script: &[Do], gets: &'static [Gets]) -> Case {
    let script = script.to_vec();
    let head = name.starts_with("HEAD");
    let plays = Box::new(move |stage: &Stage| answered(stage, &script, head, gets).map(|_| ()));
    Case { name: format!("HTTP/2: {name}"), section, plays }
}

fn answered(stage: &Stage, script: &[Do], head: bool, gets: &[Gets]) -> Result<Stream, String> {
    let target = target();
    stage.app.plays(&target, When::Whole, script);
    let fields: Fields = instead(":path", &target)
        .into_iter()
        .map(|(name, value)| if head && name == ":method" { (name, "HEAD".to_owned()) } else { (name, value) })
        .collect();
    let mut talk = Talk::begin(stage, &request(&fields));
    let stream = talk.stream(1)?.unwrap_or_default();
    others(stage)?;
    if wire::text(&talk.client.all).contains("LEAK") {
        return Err("the client sees what belongs to nobody".to_owned());
    }
    let got = |gets: &Gets| match gets {
        Gets::Refused => matches!(stream.status(), 502 | 504) && stream.ended && stream.field("serin-error").is_some(),
        Gets::Broken => !stream.ended && stream.reset.is_some(),
        Gets::Whole(status, body) => stream.status() == *status && stream.ended && stream.data == *body,
    };
    let own = |name: &str| name.starts_with("x-serin-");
    if stream.fields.iter().chain(&stream.trailers).any(|(name, _)| own(name)) {
        return Err(format!("the client sees x-serin-*; {}", talk.shown()));
    }
    if gets.iter().any(got) { Ok(stream) } else { Err(format!("not what it has to be; {}", talk.shown())) }
}

fn answers() -> Vec<Case> {
    use Gets::{Broken, Refused, Whole};
    const WHOLE: &[Gets] = &[Whole(200, "hello")];
    const BROKEN: &[Gets] = &[Broken];
    const EITHER: &[Gets] = &[Refused, Whole(200, "hello")];
    let says = |name, text: &str, gets| answer(name, "RFC 9113 8", &[send(text)], gets);
    let closes = |name, text: &str, gets| answer(name, "RFC 9113 8.1", &[send(text), Do::Close], gets);
    let hops = "connection: x-hop, keep-alive\r\nkeep-alive: timeout=9\r\nproxy-connection: a\r\nx-hop: LEAK\r\nX-Serin-Track: a\r\n";
    let chunks = CHUNKED.replacen("\r\n", &format!("\r\n{hops}"), 1);
    vec![
        says("a length", OK, WHOLE),
        says("chunks with fields of the connection", &format!("{chunks}5\r\nhello\r\n0\r\n\r\n"), WHOLE),
        says("Upgrade in an answer", &OK.replacen("\r\n", "\r\nconnection: upgrade\r\nupgrade: h2c\r\n", 1), WHOLE),
        closes("until the close", "HTTP/1.1 200 OK\r\n\r\nhello", WHOLE),
        closes("a length that is not reached", "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", BROKEN),
        closes("no last chunk", &format!("{CHUNKED}5\r\nhello\r\n"), BROKEN),
        closes("half a chunk", &format!("{CHUNKED}50\r\nhello"), BROKEN),
        says("a size that is none", &format!("{CHUNKED}5\r\nhello\r\nzz\r\n"), BROKEN),
        says("another answer over the length", &format!("{OK}{LEAK}"), WHOLE),
        says("the same length in a list", &OK.replacen(": 5", ": 5, 5", 1), EITHER),
        says(
            "a length and chunked",
            &format!("{}5\r\nhello\r\n0\r\n\r\n", CHUNKED.replacen("\r\n", "\r\ncontent-length: 90\r\n", 1)),
            EITHER,
        ),
        says("a fold", &OK.replacen("\r\n", "\r\nx-a: b\r\n c\r\n", 1), EITHER),
        says("a bare CR in a value", &OK.replacen("\r\n", "\r\nx-a: b\rx-c: d\r\n", 1), EITHER),
        says("103 before", &format!("HTTP/1.1 103 Early\r\nlink: <a>\r\n\r\n{OK}"), WHOLE),
        says("101", &format!("HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n{LEAK}"), &[Refused]),
        says(
            "204 with a body",
            &format!("HTTP/1.1 204 X\r\ncontent-length: 4\r\n\r\nLEAK{LEAK}"),
            &[Refused, Whole(204, "")],
        ),
        says("304", "HTTP/1.1 304 X\r\ncontent-length: 9\r\n\r\n", &[Whole(304, "")]),
        says("HEAD with a body", &format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nLEAK{LEAK}"), &[Whole(200, "")]),
        Case {
            name: "HTTP/2: trailers".to_owned(),
            section: "RFC 9113 8.1",
            plays: Box::new(|stage| {
                let head = CHUNKED.replacen("\r\n", "\r\ntrailer: x-mine, x-serin-track\r\n", 1);
                let text = format!("{head}5\r\nhello\r\n0\r\nX-Mine: 1\r\nx-serin-track: 2\r\n\r\n");
                let stream = answered(stage, &[send(&text)], false, WHOLE)?;
                let mine = [("x-mine".to_owned(), "1".to_owned())];
                if stream.trailers == mine { Ok(()) } else { Err(format!("trailers: {:?}", stream.trailers)) }
            }),
        },
        Case {
            name: "HTTP/2: cookies one by one".to_owned(),
            section: "RFC 6265 3",
            plays: Box::new(|stage| {
                let text = OK.replacen("\r\n", "\r\nset-cookie: a=1, b\r\nset-cookie: c=2\r\n", 1);
                let stream = answered(stage, &[send(&text)], false, WHOLE)?;
                let cookies: Vec<&String> =
                    stream.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value).collect();
                if cookies == ["a=1, b", "c=2"] { Ok(()) } else { Err(shown(&stream)) }
            }),
        },
        Case {
            name: "HTTP/2: streams that are taken back at once".to_owned(),
            section: "RFC 9113 10.5",
            plays: Box::new(taken_back),
        },
    ]
}

/// A thousand requests and their resets: whatever becomes of the connection, others are served.
fn taken_back(stage: &Stage) -> Outcome {
    let frames: Vec<u8> = (0..1000_u32)
        .flat_map(|n| {
            let id = 2 * n + 1;
            let head = frame(HEADERS, END_HEADERS | END_STREAM, id, &block(&instead(":path", "/taken")));
            [head, frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
        })
        .collect();
    let talk = Talk::begin(stage, &frames);
    others(stage)?;
    drop(talk);
    others(stage)
}
