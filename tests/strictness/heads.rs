//! The first line and the fields of a request.

use super::requests::Next::{Either, Never, Served};
use super::requests::Sees::{Body, Has, Lacks, Line};
use super::requests::{Row, Sees, row};

/// A request that is refused for what it asks; where it ends is beyond doubt.
fn alone(name: &'static str, section: &'static str, text: impl Into<String>) -> Row {
    row(name, section, text).refused_alone(&[400])
}

const ROW: Sees = Line("GET /row HTTP/1.1");
const LINES: &str = "RFC 9112 3";
const TARGETS: &str = "RFC 9112 3.2";
const FIELDS: &str = "RFC 9112 5";
const HOSTS: &str = "RFC 9112 3.2";

fn line(line: &str) -> String {
    format!("{line}\r\nhost: shop.test\r\n\r\n")
}

fn with(fields: &str) -> String {
    format!("GET /row HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n\r\n")
}

fn host(field: &str) -> String {
    format!("GET /row HTTP/1.1\r\n{field}\r\n\r\n")
}

pub fn rows() -> Vec<Row> {
    [lines(), versions(), methods(), targets(), absolute(), dots(), hosts(), odd_hosts(), fields(), controls()]
        .into_iter()
        .chain([connection(), hops(), names(), pipelines(), limits()])
        .flatten()
        .collect()
}

fn lines() -> Vec<Row> {
    let lenient = |name, text: &str| row(name, LINES, line(text)).open(Either, &[ROW]);
    vec![
        row("an empty line before", "RFC 9112 2.2", format!("\r\n{}", line("GET /row HTTP/1.1"))).passes(&[ROW]),
        row("many empty lines before", "RFC 9112 2.2", format!("{}{}", "\r\n".repeat(5), line("GET /row HTTP/1.1")))
            .open(Served, &[ROW]),
        row("a bare LF before", "RFC 9112 2.2", format!("\n{}", line("GET /row HTTP/1.1"))).open(Either, &[ROW]),
        row("a bare CR before", "RFC 9112 2.2", format!("\r{}", line("GET /row HTTP/1.1"))),
        row("a blank before", LINES, format!(" {}", line("GET /row HTTP/1.1"))).open(Either, &[ROW]),
        row("bare LFs for line ends", "RFC 9112 2.2", "GET /row HTTP/1.1\nhost: shop.test\n\n").open(Never, &[ROW]),
        lenient("two blanks before the target", "GET  /row HTTP/1.1"),
        lenient("two blanks after the target", "GET /row  HTTP/1.1"),
        lenient("a tab before the target", "GET\t/row HTTP/1.1"),
        lenient("a tab after the target", "GET /row\tHTTP/1.1"),
        lenient("a vertical tab after the target", "GET /row\x0bHTTP/1.1"),
        lenient("a blank after the version", "GET /row HTTP/1.1 "),
        row("a bare CR after the version", "RFC 9112 2.2", line("GET /row HTTP/1.1\r")).open(Either, &[ROW]),
        row("a bare CR in the line", "RFC 9112 2.2", line("GET /row\rx HTTP/1.1")),
        row("a NUL in the line", LINES, line("GET /row\0 HTTP/1.1")),
        row("a fourth word", LINES, line("GET /row HTTP/1.1 x")),
        row("one word", LINES, line("GET")),
        row("a TLS hello", LINES, "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n"),
    ]
}

fn versions() -> Vec<Row> {
    let version = |name, text: &str| row(name, "RFC 9112 2.3", line(text)).refused(&[400, 505]);
    vec![
        version("no version", "GET /row"),
        version("no version but a blank", "GET /row "),
        row("a simple request", "RFC 9112 2.3", "GET /row\r\n").refused(&[400, 505]),
        row("HTTP/1.2", "RFC 9110 2.5", line("GET /row HTTP/1.2")).open_or(&[400, 505], Either, &[ROW]),
        version("HTTP/2.0", "GET /row HTTP/2.0"),
        version("HTTP/3.0", "GET /row HTTP/3.0"),
        version("HTTP/0.9", "GET /row HTTP/0.9"),
        version("http/1.1", "GET /row http/1.1"),
        version("HTTP/11", "GET /row HTTP/11"),
        version("HTTP/1", "GET /row HTTP/1"),
        version("HTTP/1.", "GET /row HTTP/1."),
        version("HTTP/1.10", "GET /row HTTP/1.10"),
        version("HTTP/01.1", "GET /row HTTP/01.1"),
        version("HTTP/1.1x", "GET /row HTTP/1.1x"),
        version("HTTP/1,1", "GET /row HTTP/1,1"),
        version("HTTPS/1.1", "GET /row HTTPS/1.1"),
        version("ICY/1.1", "GET /row ICY/1.1"),
        row("HTTP/1.0 closes", "RFC 9112 9.3", line("GET /row HTTP/1.0")).passes_last(&[ROW]),
        row(
            "HTTP/1.0 that keeps alive",
            "RFC 9112 9.3",
            "GET /row HTTP/1.0\r\nhost: shop.test\r\nconnection: keep-alive\r\n\r\n",
        )
        .open(Either, &[ROW]),
        row("the preface of HTTP/2 with a request", "RFC 9113 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").nothing(),
        row("nearly the preface of HTTP/2", "RFC 9113 3.4", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").nothing(),
        row("PRI in HTTP/1.1", "RFC 9112 3.2.4", line("PRI * HTTP/1.1")).refused_alone(&[400, 405, 501]),
    ]
}

fn methods() -> Vec<Row> {
    let method = |name, text: &str| row(name, "RFC 9110 9.1", line(text));
    vec![
        method("a method of its own", "PURGE /row HTTP/1.1").passes(&[Line("PURGE /row HTTP/1.1")]),
        method("a method in lower case", "get /row HTTP/1.1").passes(&[Line("get /row HTTP/1.1")]),
        method("every letter of a token", "!#$%&'*+-.^_`|~09azAZ /row HTTP/1.1")
            .passes(&[Line("!#$%&'*+-.^_`|~09azAZ /row HTTP/1.1")]),
        method("no method", " /row HTTP/1.1"),
        method("a parenthesis in the method", "GE(T /row HTTP/1.1"),
        method("a colon in the method", "GET: /row HTTP/1.1"),
        method("quotes around the method", "\"GET\" /row HTTP/1.1"),
        method("a control in the method", "GE\x01T /row HTTP/1.1"),
        method("a NUL in the method", "GE\0T /row HTTP/1.1"),
        method("a DEL in the method", "GET\x7f /row HTTP/1.1"),
        method("a letter beyond ASCII in the method", "G\u{c9}T /row HTTP/1.1"),
        row("a method of 2 KiB", "RFC 9112 3", line(&format!("{} /row HTTP/1.1", "A".repeat(2048)))).open_or(
            &[400, 414, 431, 501],
            Either,
            &[],
        ),
        method("CONNECT to an authority", "CONNECT shop.test:443 HTTP/1.1").refused_alone(&[400, 405, 501]),
        method("CONNECT to a path", "CONNECT /row HTTP/1.1").refused_alone(&[400, 405, 501]),
        row("TRACE", "RFC 9110 9.3.8", line("TRACE /row HTTP/1.1")).open_or(
            &[400, 405, 501],
            Served,
            &[Line("TRACE /row HTTP/1.1")],
        ),
    ]
}

fn targets() -> Vec<Row> {
    let target = |name, text: &str| alone(name, TARGETS, line(text));
    vec![
        target("a blank in the target", "GET /a b HTTP/1.1"),
        target("a fragment", "GET /row#a HTTP/1.1"),
        target("a fragment after a query", "GET /row?a#b HTTP/1.1"),
        target("only a fragment", "GET #a HTTP/1.1"),
        target("a control in the target", "GET /\x01row HTTP/1.1"),
        target("a DEL in the target", "GET /row\x7f HTTP/1.1"),
        target("an empty target", "GET  HTTP/1.1"),
        target("no slash before", "GET row HTTP/1.1"),
        target("a query without a path", "GET ?a HTTP/1.1"),
        target("an authority", "GET shop.test:80 HTTP/1.1"),
        target("a star", "GET * HTTP/1.1"),
        target("a star with more", "OPTIONS *x HTTP/1.1"),
        target("a star of OPTIONS", "OPTIONS * HTTP/1.1").passes(&[Line("OPTIONS * HTTP/1.1")]),
        target("OPTIONS of a path", "OPTIONS /row HTTP/1.1").passes(&[Line("OPTIONS /row HTTP/1.1")]),
        target("two slashes before", "GET //evil.test/row HTTP/1.1")
            .open(Served, &[Line("GET //evil.test/row HTTP/1.1"), Has("host", "shop.test")]),
        target("a backslash", "GET /a\\row HTTP/1.1").open(Either, &[Line("GET /a\\row HTTP/1.1")]),
        target("bytes beyond ASCII", "GET /caf\u{c3}\u{a9} HTTP/1.1")
            .open(Either, &[Line("GET /caf\u{c3}\u{a9} HTTP/1.1")]),
        target("a byte that is no UTF-8", "GET /\u{ff} HTTP/1.1").open(Either, &[Line("GET /\u{ff} HTTP/1.1")]),
        target("angle brackets and quotes", "GET /<\"> HTTP/1.1").open(Either, &[Line("GET /<\"> HTTP/1.1")]),
        target("a percent sign alone", "GET /% HTTP/1.1").open(Either, &[Line("GET /% HTTP/1.1")]),
        target("a percent sign and one digit", "GET /%2 HTTP/1.1").open(Either, &[Line("GET /%2 HTTP/1.1")]),
        target("a percent sign and no digits", "GET /%zz HTTP/1.1").open(Either, &[Line("GET /%zz HTTP/1.1")]),
        target("an encoded NUL", "GET /%00 HTTP/1.1").open(Either, &[Line("GET /%00 HTTP/1.1")]),
        target("an encoded line end", "GET /%0d%0Ax:y HTTP/1.1").open(Either, &[Line("GET /%0d%0Ax:y HTTP/1.1")]),
        target("a target as it came", "GET /A%2fb%2Fc;d=e,f?g=%20&&h=?/ HTTP/1.1")
            .passes(&[Line("GET /A%2fb%2Fc;d=e,f?g=%20&&h=?/ HTTP/1.1")]),
        target("an empty query", "GET /row? HTTP/1.1").passes(&[Line("GET /row? HTTP/1.1")]),
    ]
}

fn absolute() -> Vec<Row> {
    let target = |name, text: &str| alone(name, "RFC 9112 3.2.2", line(text));
    let shop = Has("host", "shop.test");
    vec![
        target("the same host", "GET http://shop.test/row?a HTTP/1.1")
            .passes(&[Line("GET /row?a HTTP/1.1"), shop.clone()]),
        target("the scheme in capitals", "GET HTTP://shop.test/row HTTP/1.1").open(Served, &[ROW, shop.clone()]),
        target("no path", "GET http://shop.test HTTP/1.1").passes(&[Line("GET / HTTP/1.1"), shop.clone()]),
        target("no path but a query", "GET http://shop.test?a HTTP/1.1")
            .open(Served, &[Line("GET /?a HTTP/1.1"), shop.clone()]),
        target("the usual port", "GET http://shop.test:80/row HTTP/1.1").open(Served, &[ROW]),
        target("another host", "GET http://other.test/row HTTP/1.1").open_or(
            &[400, 421],
            Served,
            &[ROW, Has("host", "other.test")],
        ),
        target("another port", "GET http://shop.test:81/row HTTP/1.1").open_or(
            &[400, 421],
            Served,
            &[ROW, Has("host", "shop.test:81")],
        ),
        target("https on a plain connection", "GET https://shop.test/row HTTP/1.1").open_or(
            &[400, 421],
            Served,
            &[ROW, shop.clone()],
        ),
        target("userinfo", "GET http://me@shop.test/row HTTP/1.1"),
        target("userinfo that looks like the host", "GET http://shop.test@other.test/row HTTP/1.1"),
        target("another scheme", "GET ftp://shop.test/row HTTP/1.1").refused_alone(&[400, 404, 421, 501]),
        target("a scheme without a host", "GET javascript:alert(1) HTTP/1.1"),
        target("no host", "GET http:// HTTP/1.1"),
        target("no host but a path", "GET http:///row HTTP/1.1"),
        target("a port that is none", "GET http://shop.test:x/row HTTP/1.1"),
        target("one slash", "GET http:/shop.test/row HTTP/1.1"),
        target("a fragment in it", "GET http://shop.test/row#a HTTP/1.1"),
        target("dots in it", "GET http://shop.test/a/../row HTTP/1.1"),
        alone("without a Host", "RFC 9112 3.2", "GET http://shop.test/row HTTP/1.1\r\n\r\n"),
        alone(
            "with two Hosts",
            "RFC 9112 3.2",
            "GET http://shop.test/row HTTP/1.1\r\nhost: shop.test\r\nhost: shop.test\r\n\r\n",
        ),
        // Of the last proxy before an origin the RFC asks for `*`; a gateway is that origin to its
        // clients, and the parser does not tell an empty path from `/`.
        row("OPTIONS of a whole server", "RFC 9112 3.2.4", line("OPTIONS http://shop.test HTTP/1.1"))
            .open(Served, &[Line("OPTIONS / HTTP/1.1")]),
    ]
}

/// SPEC 1: routed on the decoded path, forwarded as it came; so dot segments are refused in every spelling.
fn dots() -> Vec<Row> {
    let refused = |name, text: &str| alone(name, "SPEC 1, RFC 3986 5.2.4", line(text));
    let passes = |name, path: &'static str| {
        let whole: &'static str = Box::leak(format!("GET {path} HTTP/1.1").into_boxed_str());
        row(name, "RFC 3986 3.3", line(whole)).passes(&[Line(whole)])
    };
    vec![
        refused("..", "GET /.. HTTP/1.1"),
        refused("../", "GET /../row HTTP/1.1"),
        refused(".. in the middle", "GET /a/../row HTTP/1.1"),
        refused(".. at the end", "GET /a/.. HTTP/1.1"),
        refused(".", "GET /. HTTP/1.1"),
        refused(". in the middle", "GET /a/./row HTTP/1.1"),
        refused("%2e%2e", "GET /%2e%2e/row HTTP/1.1"),
        refused("%2E.", "GET /a/%2E./row HTTP/1.1"),
        refused(".%2e", "GET /a/.%2e HTTP/1.1"),
        refused("%2e", "GET /a/%2e/row HTTP/1.1"),
        refused(".. with a parameter", "GET /a/..;x/b HTTP/1.1"),
        refused(".. before a query", "GET /a/..?b HTTP/1.1"),
        refused(".. between encoded slashes", "GET /a%2f..%2frow HTTP/1.1"),
        refused(".. after two slashes", "GET //../row HTTP/1.1"),
        row(".. between backslashes", "RFC 3986 5.2.4", line("GET /a\\..\\row HTTP/1.1"))
            .open(Either, &[Line("GET /a\\..\\row HTTP/1.1")]),
        row("dots encoded twice", "RFC 3986 2.4", line("GET /%252e%252e/row HTTP/1.1"))
            .open(Served, &[Line("GET /%252e%252e/row HTTP/1.1")]),
        passes("three dots", "/.../row"),
        passes("dots in a name", "/a..b/.row"),
        passes("dots in a query", "/row?a=/../b"),
    ]
}

fn hosts() -> Vec<Row> {
    let host_row = |name, field: &str| alone(name, HOSTS, host(field));
    vec![
        host_row("no Host", "x-a: b"),
        host_row("two Hosts", "host: shop.test\r\nhost: other.test"),
        host_row("the same Host twice", "host: shop.test\r\nhost: shop.test"),
        host_row("a Host and an empty one", "host: shop.test\r\nhost:"),
        host_row("a Host and one with a blank", "host: shop.test\r\nhost : other.test"),
        host_row("a folded second Host", "host: shop.test\r\n\thost: other.test"),
        host_row("a Host behind a blank", "host: shop.test\r\n host: other.test"),
        host_row("a bare CR and a second Host", "host: shop.test\rhost: other.test"),
        row("no Host in HTTP/1.0", "RFC 9112 3.2", "GET /row HTTP/1.0\r\n\r\n").open(Never, &[ROW]),
        alone("two Hosts in HTTP/1.0", HOSTS, "GET /row HTTP/1.0\r\nhost: a.test\r\nhost: b.test\r\n\r\n"),
        host_row("an address", "host: 127.0.0.1:8080").passes(&[Has("host", "127.0.0.1:8080")]),
        host_row("an IPv6 address", "host: [::1]:8080").passes(&[Has("host", "[::1]:8080")]),
        host_row("capitals and a dot at the end", "host: Shop.Test.").passes(&[Has("host", "Shop.Test.")]),
        host_row("no port after a colon", "host: shop.test:").open(Served, &[Has("host", "shop.test:")]),
        host_row("an empty Host", "host:").open(Served, &[Has("host", "")]),
        host_row("a port that is too great", "host: shop.test:99999").open(Served, &[Has("host", "shop.test:99999")]),
        host_row("an underscore in the Host", "host: my_shop.test").open(Served, &[Has("host", "my_shop.test")]),
        row("x-forwarded-host", "SPEC 2.3", with("x-forwarded-host: other.test"))
            .passes(&[Has("host", "shop.test"), Has("x-forwarded-host", "shop.test")]),
    ]
}

fn odd_hosts() -> Vec<Row> {
    let odd = |name, value: &str| alone(name, "RFC 9112 3.2, RFC 3986 3.2.2", host(&format!("host: {value}")));
    vec![
        odd("a blank in it", "shop.test other.test"),
        odd("a tab in it", "shop.test\tother.test"),
        odd("a slash", "shop.test/row"),
        odd("userinfo in the Host", "me@shop.test"),
        odd("userinfo and a port", "me:x@shop.test:80"),
        odd("a port of letters", "shop.test:x"),
        odd("a port below nothing", "shop.test:-1"),
        odd("two ports", "shop.test:80:80"),
        odd("only a port", ":80").open(Served, &[Has("host", ":80")]),
        odd("a comma", "shop.test,other.test").open(Served, &[Has("host", "shop.test,other.test")]),
        odd("a comma and a blank", "shop.test, other.test"),
        odd("a question mark", "shop.test?a"),
        odd("a hash", "shop.test#a"),
        odd("a backslash in it", "shop.test\\row"),
        odd("a scheme", "http://shop.test"),
        odd("quotes", "\"shop.test\""),
        odd("angle brackets", "<shop.test>"),
        odd("a caret", "shop^test"),
        odd("a bar", "shop|test"),
        odd("a percent sign", "shop%zz.test").open(Served, &[Has("host", "shop%zz.test")]),
        odd("an encoded slash", "shop.test%2frow").open(Served, &[Has("host", "shop.test%2frow")]),
        odd("a bracket that is not closed", "[::1"),
        odd("a bracket that is not opened", "::1]"),
        odd("IPv6 without brackets", "::1"),
        odd("IPv6 that is none", "[gg::1]"),
        odd("an empty IPv6", "[]"),
        odd("more after the bracket", "[::1]x"),
        odd("brackets around a name", "[shop.test]"),
        odd("bytes beyond ASCII in it", "sh\u{c3}\u{b6}p.test"),
        odd("a control in it", "shop\x01.test"),
        odd("a NUL in it", "shop.test\0"),
    ]
}

fn fields() -> Vec<Row> {
    let field = |name, field: &str| row(name, FIELDS, with(field));
    vec![
        field("a blank before a colon", "x-a : b"),
        field("a tab before a colon", "x-a\t: b"),
        field("a blank in a name", "x a: b"),
        field("a parenthesis in a name", "x(a): b"),
        field("quotes in a name", "x\"a\": b"),
        field("a slash in a name", "x/a: b"),
        field("an at sign in a name", "x@a: b"),
        field("a bracket in a name", "[x-a]: b"),
        field("no name", ": b"),
        field("no name but a blank", " : b"),
        field("no colon", "x-a"),
        field("no colon in the last field", "x-a: b\r\ny"),
        field("a byte beyond ASCII in a name", "x-\u{e4}: b"),
        field("a fold", "x-a: b\r\n c"),
        field("a fold with a tab", "x-a: b\r\n\tc"),
        field("a fold of blanks alone", "x-a: b\r\n   "),
        row("a fold before any field", "RFC 9112 2.2", "GET /row HTTP/1.1\r\n x-a: b\r\nhost: shop.test\r\n\r\n")
            .open(Either, &[ROW, Lacks("x-a")]),
        field("a tab in a value", "x-a: b\tc").passes(&[Has("x-a", "b\tc")]),
        field("bytes beyond ASCII in a value", "x-a: \u{ff}\u{80}").passes(&[Has("x-a", "\u{ff}\u{80}")]),
        field("an empty value", "x-a:").passes(&[Has("x-a", "")]),
        field("colons in a value", "x-a: b: c:").passes(&[Has("x-a", "b: c:")]),
        field("every letter of a token in a name", "!#$%&'*+-.^_`|~09az: b").passes(&[Has("!#$%&'*+-.^_`|~09az", "b")]),
        row("the end of the fields with a bare LF", "RFC 9112 2.2", "GET /row HTTP/1.1\r\nhost: shop.test\r\n\n")
            .open(Never, &[ROW]),
        row("one field with a bare LF", "RFC 9112 2.2", with("x-a: b\nx-b: c"))
            .open(Never, &[Has("x-a", "b"), Has("x-b", "c")]),
    ]
}

/// RFC 9110 5.5: CR, LF and NUL in a value are refused or replaced; no other control has a use.
fn controls() -> Vec<Row> {
    let value = |name, c: char| row(name, "RFC 9110 5.5", with(&format!("x-a: b{c}c")));
    let field = |name, c: char| row(name, "RFC 9110 5.1", with(&format!("x-{c}a: b")));
    vec![
        value("a bare CR in a value", '\r'),
        row("a bare CR at the end of a value", "RFC 9112 2.2", with("x-a: b\r")),
        row("a bare CR at the start of a value", "RFC 9112 2.2", with("x-a:\rb")),
        value("a NUL in a value", '\0'),
        value("a SOH in a value", '\x01'),
        value("a backspace in a value", '\x08'),
        value("a vertical tab in a value", '\x0b'),
        value("a form feed in a value", '\x0c'),
        value("an escape in a value", '\x1b'),
        value("a DEL in a value", '\x7f'),
        field("a bare CR in a name", '\r'),
        field("a NUL in a name", '\0'),
        field("a SOH in a name", '\x01'),
        field("a vertical tab in a name", '\x0b'),
        field("a DEL in a name", '\x7f'),
    ]
}

fn connection() -> Vec<Row> {
    let names = |name, field: &str| alone(name, "SPEC 2.3, RFC 9110 7.6.1", with(field));
    vec![
        names("Connection that names Host", "connection: host"),
        names("Connection that names HOST among others", "connection: x-a, HOST"),
        names("Connection that names Content-Length", "connection: content-length"),
        names("Connection that names Cookie", "connection: close, cookie\r\ncookie: a=b"),
        names("Connection that names Authorization", "connection: authorization\r\nauthorization: basic x"),
        names("the second Connection names Host", "connection: keep-alive\r\nconnection: host"),
        names("Connection that names a field", "connection: x-hop, keep-alive\r\nx-hop: 1\r\nx-end: 2")
            .passes(&[Lacks("x-hop"), Has("x-end", "2")]),
        names("in another case and with commas", "connection: ,,X-HOP,\r\nx-hop: 1").passes(&[Lacks("x-hop")]),
        names("two Connections", "connection: x-hop\r\nconnection: x-other\r\nx-hop: 1\r\nx-other: 2")
            .passes(&[Lacks("x-hop"), Lacks("x-other")]),
        names("Connection that names what Serin adds", "connection: x-serin-track, x-forwarded-for, x-request-id")
            .passes(&[Has("x-serin-track", "stable"), Has("x-forwarded-for", "127.0.0.1")]),
        names("Connection: close", "connection: close, x-hop\r\nx-hop: 1").passes_last(&[Lacks("x-hop")]),
        row(
            "Connection that names the coding",
            "RFC 9110 7.6.1",
            "POST /row HTTP/1.1\r\nhost: shop.test\r\nconnection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n\
             5\r\nhello\r\n0\r\n\r\n",
        )
        .open(Served, &[Body("hello")]),
        row(
            "Connection that names Expect",
            "RFC 9110 7.6.1",
            "POST /row HTTP/1.1\r\nhost: shop.test\r\nconnection: expect\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        )
        .open(Served, &[Body("hello")]),
    ]
}

/// Fields of one connection end with it.
fn hops() -> Vec<Row> {
    let upgrade = |name, section, field: &str| row(name, section, with(field));
    vec![
        row("Keep-Alive", "RFC 9110 7.6.1", with("keep-alive: timeout=9")).passes(&[Lacks("keep-alive")]),
        row("Proxy-Connection", "RFC 9110 7.6.1", with("proxy-connection: keep-alive")).passes(&[Lacks("proxy-connection")]),
        row("TE", "RFC 9110 10.1.4", with("connection: te\r\nte: gzip, trailers;q=0.5")).passes(&[]),
        row("Upgrade without Connection", "RFC 9110 7.8", with("upgrade: websocket")).passes(&[Lacks("upgrade")]),
        upgrade(
            "h2c",
            "RFC 9113 3.1",
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__",
        )
        .passes(&[Lacks("upgrade"), Lacks("connection")]),
        upgrade("h2c in other letters", "RFC 9113 3.1", "connection: Upgrade\r\nupgrade: H2C\r\nhttp2-settings: AA")
            .passes(&[Lacks("upgrade"), Lacks("connection")]),
        upgrade("h2c among others", "RFC 9113 3.1", "connection: upgrade\r\nupgrade: h2c, websocket\r\nhttp2-settings: AA")
            .open(Either, &[]),
        upgrade("h2c in a second field", "RFC 9113 3.1", "connection: upgrade\r\nupgrade: websocket\r\nupgrade: h2c")
            .open(Either, &[]),
        row("an upgrade with a body of chunks", "RFC 9110 7.8", "POST /row HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
            .open(Either, &[Body("hello")]),
        row("an upgrade in HTTP/1.0", "RFC 9110 7.8", with("connection: upgrade\r\nupgrade: websocket").replace("P/1.1", "P/1.0"))
            .open(Never, &[Lacks("upgrade")]),
        row("an expectation nobody knows", "RFC 9110 10.1.1", with("expect: 200-ok"))
            .open_or(&[417], Served, &[Has("expect", "200-ok")]),
        row(
            "100-continue with the body at once",
            "RFC 9110 10.1.1",
            "POST /row HTTP/1.1\r\nhost: shop.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        )
        .passes(&[Body("hello")]),
        row(
            "100-continue in HTTP/1.0",
            "RFC 9110 10.1.1",
            "POST /row HTTP/1.0\r\nhost: shop.test\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\nhello",
        )
        .passes_last(&[Body("hello")]),
    ]
}

/// Names that only Serin writes, in the spellings that an app may take for them.
fn names() -> Vec<Row> {
    let track = |name, field: &str| row(name, "SPEC 2.3", with(field)).passes(&[Has("x-serin-track", "stable")]);
    vec![
        track("a track", "x-serin-track: canary"),
        track("a track in capitals", "X-SERIN-TRACK: canary"),
        track("a track twice", "x-serin-track: canary\r\nx-serin-track: canary"),
        row("a track with underscores", "SPEC 2.3", with("x_serin_track: canary")).passes(&[Lacks("x_serin_track")]),
        row("a track with other marks", "SPEC 2.3", with("x.serin~track: canary")).passes(&[Lacks("x.serin~track")]),
        row("a flag", "SPEC 2.3", with("x-feature-a: true")).passes(&[Lacks("x-feature-a")]),
        row("a flag with underscores", "SPEC 2.3", with("X_Feature_A: true")).passes(&[Lacks("x_feature_a")]),
        row("a list of flags", "SPEC 2.3", with("feature_flags: a")).passes(&[Lacks("feature_flags")]),
        row("an address", "SPEC 2.3", with("x-forwarded-for: 1.2.3.4")).passes(&[Has("x-forwarded-for", "127.0.0.1")]),
        row("an address with underscores", "SPEC 2.3", with("x_forwarded_for: 1.2.3.4"))
            .passes(&[Lacks("x_forwarded_for")]),
        row("Forwarded", "SPEC 2.3", with("forwarded: for=1.2.3.4\r\nx-real-ip: 1.2.3.4"))
            .passes(&[Lacks("forwarded"), Lacks("x-real-ip")]),
        row("a request id that is none", "SPEC 2.5", with("x-request-id: a b\r\nx-request-id: c")).passes(&[]),
    ]
}

fn pipelines() -> Vec<Row> {
    vec![
        row(
            "bodies and none in one write",
            "RFC 9112 9.3.2",
            "POST /a HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n\r\nhello\
             GET /b HTTP/1.1\r\nhost: shop.test\r\n\r\n\
             POST /c HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        )
        .several(&["POST /a HTTP/1.1", "GET /b HTTP/1.1", "POST /c HTTP/1.1", "GET /smuggled HTTP/1.1"]),
        row(
            "a length in the request after chunks",
            "RFC 9112 9.3.2",
            "POST /a HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n\
             POST /b HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n\r\nhello",
        )
        .several(&["POST /a HTTP/1.1", "POST /b HTTP/1.1", "GET /smuggled HTTP/1.1"]),
        row(
            "a length and chunked in the second request",
            "RFC 9112 6.1",
            "GET /a HTTP/1.1\r\nhost: shop.test\r\n\r\nPOST /b HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        )
        .several(&["GET /a HTTP/1.1", "POST /b HTTP/1.1"]),
        row("an empty line between requests", "RFC 9112 2.2", with("x-a: b") + "\r\n").passes(&[ROW]),
        row(
            "a bad request after a good one",
            "RFC 9112 9.3.2",
            with("x-a: b") + "GET /bad bad HTTP/1.1\r\nhost: a\r\n\r\n",
        )
        .passes_last(&[ROW]),
        row("a request after one that closes", "RFC 9112 9.6", with("connection: close")).passes_last(&[ROW]),
    ]
}

fn limits() -> Vec<Row> {
    let many = |n: usize| (0..n).map(|n| format!("x-{n}: a\r\n")).collect::<String>() + "x-end: b";
    let limit = |name, text: String, statuses| row(name, "SPEC 2.1", text).refused_alone(statuses);
    vec![
        row("90 fields", "SPEC 2.1", with(&many(90))).passes(&[ROW, Has("x-end", "b")]),
        limit("150 fields", with(&many(150)), &[431]),
        limit("5,000 fields", with(&many(5_000)), &[431]),
        row("a field of 40 KiB", "SPEC 2.1", with(&format!("x-a: {}", "a".repeat(40 << 10)))).passes(&[ROW]),
        limit("a field of 70 KiB", with(&format!("x-a: {}", "a".repeat(70 << 10))), &[431]),
        limit("a name of 70 KiB", with(&format!("{}: b", "a".repeat(70 << 10))), &[431]),
        limit("a field without end", with(&format!("x-a: {}", "a".repeat(1 << 20))), &[431]),
        row("a target of 8,000 bytes", "SPEC 2.1", line(&format!("GET /{} HTTP/1.1", "a".repeat(8_000)))).passes(&[]),
        limit("a target of 9 KiB", line(&format!("GET /{} HTTP/1.1", "a".repeat(9 << 10))), &[414]),
        limit("a target of 1 MiB", line(&format!("GET /{} HTTP/1.1", "a".repeat(1 << 20))), &[414, 431]),
        limit("a method without end", line(&format!("{} / HTTP/1.1", "A".repeat(1 << 20))), &[400, 414, 431, 501]),
    ]
}
