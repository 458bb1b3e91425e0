//! What an app may answer, and what of it clients see: never another's answer, never
//! half of one that looks whole.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::app::{Do, When, send};
use super::stage::{Case, Client, End, Outcome, Stage};
use super::wire::{self, Message};

/// An answer that belongs to nobody: no client may see a byte of it.
pub const LEAK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nLEAK";
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
pub const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const SIZES: &str = "RFC 9112 7.1";
const LENGTHS: &str = "RFC 9112 6.3";
const CODINGS: &str = "RFC 9112 6.1";
const STATUS: &str = "RFC 9112 4";

/// What a client may get.
#[derive(Clone, Debug)]
enum Gets {
    /// Serin's own 502 or 504.
    Refused,
    /// Something that cannot be taken for a whole answer.
    Broken,
    Whole(u16, &'static str),
}

/// What the head that the client gets has to say.
#[derive(Clone, Debug)]
enum Says {
    Has(&'static str, &'static [&'static str]),
    Lacks(&'static str),
    NoTrailer(&'static str),
    Trailer(&'static str, &'static str),
}

struct Row {
    name: &'static str,
    section: &'static str,
    request: &'static str,
    script: Vec<Do>,
    /// One of these.
    gets: Vec<Gets>,
    says: Vec<Says>,
}

/// An answer that is refused, until it is said otherwise.
fn row(name: &'static str, section: &'static str, script: &[Do]) -> Row {
    let request = "GET {} HTTP/1.1\r\nhost: shop.test\r\n\r\n";
    Row { name, section, request, script: script.to_vec(), gets: vec![Gets::Refused], says: Vec::new() }
}

/// The same with the bytes of one write, after which the connection stays open.
fn says(name: &'static str, section: &'static str, text: &str) -> Row {
    row(name, section, &[send(text)])
}

/// The same, and the connection closes.
fn closes(name: &'static str, section: &'static str, text: &str) -> Row {
    row(name, section, &[send(text), Do::Close])
}

impl Row {
    fn gets(mut self, gets: &[Gets]) -> Self {
        self.gets = gets.to_vec();
        self
    }

    fn whole(self) -> Self {
        self.gets(&[Gets::Whole(200, "hello")])
    }

    fn broken(self) -> Self {
        self.gets(&[Gets::Broken])
    }

    fn refused_or_broken(self) -> Self {
        self.gets(&[Gets::Refused, Gets::Broken])
    }

    /// Refused, or "hello" with what the row says.
    fn refused_or_whole(self) -> Self {
        self.gets(&[Gets::Refused, Gets::Whole(200, "hello")])
    }

    fn says(mut self, says: &[Says]) -> Self {
        self.says = says.to_vec();
        self
    }

    fn to(mut self, request: &'static str) -> Self {
        self.request = request;
        self
    }

    fn asked_by_head(self) -> Self {
        self.to("HEAD {} HTTP/1.1\r\nhost: shop.test\r\n\r\n")
    }

    fn asked_by_old_client(self) -> Self {
        self.to("GET {} HTTP/1.0\r\nhost: shop.test\r\n\r\n")
    }

    fn case(self) -> Case {
        let (name, section) = (self.name.to_owned(), self.section);
        Case { name, section, plays: Box::new(move |stage| check(stage, &self)) }
    }
}

fn scene(name: &str, section: &'static str, plays: fn(&Stage) -> Outcome) -> Case {
    Case { name: name.to_owned(), section, plays: Box::new(plays) }
}

pub fn cases() -> Vec<Case> {
    let rows =
        [lengths(), codings(), sizes(), breaks(), surplus(), statuses(), fields(), interim(), bodyless(), limits()];
    rows.into_iter().chain([old_clients(), removed()]).flatten().map(Row::case).chain(scenes()).collect()
}

/// A target of its own for every script.
pub fn target() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("/answer/{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn check(stage: &Stage, row: &Row) -> Outcome {
    let target = target();
    stage.app.plays(&target, When::Whole, &row.script);
    let mut client = stage.client();
    client.write(&row.request.replace("{}", &target));
    let answer = client.answer(row.request.starts_with("HEAD"));
    let next = answer.and_then(|answer| {
        let fits =
            fits(row, answer.as_ref(), &client).map_err(|why| format!("{why}; {}", shown(answer.as_ref(), &client)));
        fits.and_then(|()| goes_on(&mut client, &target))
    });
    // Whatever came of this one, the next client has its own answer.
    let other = stage.own_answer(&format!("{target}/other"), &format!("saw GET {target}/other HTTP/1.1"));
    let seen = stage.app.look();
    let outcome = next.and(no_leak(&client)).and(other);
    outcome.map_err(|why| {
        let list = |messages: &[Message]| messages.iter().map(Message::shown).collect::<Vec<_>>().join(" and ");
        format!("{why}; app: {}; unfinished: {} {:?}", list(&seen.requests), list(&seen.unfinished), seen.oddities)
    })
}

fn shown(answer: Option<&Message>, client: &Client) -> String {
    format!("client: {} {:?}", answer.map_or_else(|| "nothing".to_owned(), Message::shown), client.end)
}

fn no_leak(client: &Client) -> Outcome {
    let all = wire::text(&client.all);
    if all.contains("LEAK") { Err(format!("the client sees what belongs to nobody: {all:?}")) } else { Ok(()) }
}

fn fits(row: &Row, answer: Option<&Message>, client: &Client) -> Outcome {
    if client.end == Some(End::Silent) {
        return Err("the client waits for ever".to_owned());
    }
    if !row.gets.iter().any(|gets| got(gets, answer)) {
        return Err(format!("the client has to get one of {:?}", row.gets));
    }
    let Some(answer) = answer else { return Ok(()) };
    let own = |name: &str| name.starts_with("x-serin-") || name.starts_with("x_serin_");
    if answer.fields.iter().chain(&answer.trailers).any(|(name, _)| own(&name.to_ascii_lowercase())) {
        return Err("the client sees x-serin-*".to_owned());
    }
    if matches!(answer.status(), 502 | 504) && answer.field("serin-error").is_some() {
        return Ok(());
    }
    for says in &row.says {
        let fits = match says {
            Says::Has(name, values) => answer.all(name).eq(values.iter().copied()),
            Says::Lacks(name) => answer.field(name).is_none(),
            Says::NoTrailer(name) => !answer.trailers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name)),
            Says::Trailer(name, value) => answer.trailers.iter().any(|(own, it)| own == name && it == value),
        };
        if !fits {
            return Err(format!("the client has to see {says:?}"));
        }
    }
    Ok(())
}

fn got(gets: &Gets, answer: Option<&Message>) -> bool {
    match (gets, answer) {
        (Gets::Refused, Some(answer)) => {
            matches!(answer.status(), 502 | 504) && answer.field("serin-error").is_some() && answer.complete
        }
        (Gets::Broken, None) => true,
        (Gets::Broken, Some(answer)) => !answer.complete,
        (Gets::Whole(status, body), Some(answer)) => {
            answer.status() == *status && answer.body == *body && answer.complete
        }
        (Gets::Refused | Gets::Whole(..), None) => false,
    }
}

/// The connection ends now, or carries the next request's own answer.
fn goes_on(client: &mut Client, target: &str) -> Outcome {
    if client.end.is_none() {
        client.write(&format!("GET {target}/next HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n"));
    }
    match client.answer(false)? {
        Some(next) if next.body == format!("saw GET {target}/next HTTP/1.1") => Ok(()),
        Some(next) => Err(format!("the next request on the connection is answered {}", next.shown())),
        None if client.bytes.is_empty() && client.end != Some(End::Silent) => Ok(()),
        None => Err(format!("bytes that nobody asked for: {:?} {:?}", wire::text(&client.bytes), client.end)),
    }
}

fn lengths() -> Vec<Row> {
    let length = |name, fields: &str| closes(name, LENGTHS, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nhello"));
    vec![
        says("a length", LENGTHS, OK).whole().says(&[Says::Has("content-length", &["5"])]),
        length("differing lengths", "content-length: 5\r\ncontent-length: 6"),
        length("differing lengths, the second fits", "content-length: 1\r\ncontent-length: 5"),
        length("differing lengths in a list", "content-length: 5, 6"),
        length("the same length in a list", "content-length: 5, 5").refused_or_whole(),
        length("the same length in two fields", "content-length: 5\r\ncontent-length: 5").refused_or_whole(),
        length("a length below nothing", "content-length: -1"),
        length("a plus", "content-length: +5"),
        length("hexadecimal", "content-length: 0x5"),
        length("a blank in the length", "content-length: 5 5"),
        length("no length", "content-length:"),
        length("a parameter", "content-length: 5;a"),
        length("2^64", "content-length: 18446744073709551616"),
        length("2^64 + 5", "content-length: 18446744073709551621"),
        length("2^63", "content-length: 9223372036854775808").refused_or_broken(),
        length("a blank before its colon", "content-length : 5").refused_or_whole(),
    ]
}

fn codings() -> Vec<Row> {
    let body = "5\r\nhello\r\n0\r\n\r\n";
    let coding = |name, field: &str| closes(name, CODINGS, &format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n{body}"));
    let both = |name, fields: &str| {
        says(name, CODINGS, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}{LEAK}"))
            .refused_or_whole()
            .says(&[Says::Lacks("content-length")])
    };
    vec![
        coding("chunked", "transfer-encoding: chunked").whole(),
        coding("CHUNKED", "Transfer-Encoding: CHUNKED").whole(),
        both("a length and chunked", "content-length: 5\r\ntransfer-encoding: chunked"),
        both("chunked and a length", "transfer-encoding: chunked\r\ncontent-length: 90"),
        both("chunked and a length that is none", "transfer-encoding: chunked\r\ncontent-length: x"),
        coding("gzip", "transfer-encoding: gzip"),
        coding("gzip, chunked", "transfer-encoding: gzip, chunked"),
        coding("chunked, gzip", "transfer-encoding: chunked, gzip"),
        coding("chunked, identity", "transfer-encoding: chunked, identity"),
        coding("chunked, chunked", "transfer-encoding: chunked, chunked").refused_or_whole(),
        coding("chunked in two fields", "transfer-encoding: chunked\r\ntransfer-encoding: chunked").refused_or_whole(),
        coding("xchunked", "transfer-encoding: xchunked"),
        coding("a vertical tab before chunked", "transfer-encoding: \x0bchunked"),
        coding("a NUL after chunked", "transfer-encoding: chunked\0"),
        coding("no coding", "transfer-encoding:")
            .gets(&[Gets::Refused, Gets::Whole(200, "5\r\nhello\r\n0\r\n\r\n")]),
        coding("a blank before the colon", "transfer-encoding : chunked").refused_or_whole(),
        coding("folded", "transfer-encoding:\r\n chunked").refused_or_whole(),
        coding("a coding that nobody has, and a length", "transfer-encoding: x\r\ncontent-length: 5"),
        closes("chunked in HTTP/1.0", CODINGS, &format!("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}"))
            .gets(&[Gets::Refused, Gets::Broken, Gets::Whole(200, "hello")]),
        says(
            "chunked in HTTP/1.0 that keeps alive",
            CODINGS,
            &format!("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n{body}{LEAK}"),
        )
        .gets(&[Gets::Refused, Gets::Broken, Gets::Whole(200, "hello")]),
    ]
}

fn sizes() -> Vec<Row> {
    let chunk = |name, body: &str| says(name, SIZES, &format!("{CHUNKED}{body}{LEAK}")).refused_or_broken();
    let second = |name, body: &str| says(name, SIZES, &format!("{CHUNKED}5\r\nhello\r\n{body}{LEAK}")).broken();
    vec![
        chunk("a size that is none", "zz\r\nhello\r\n0\r\n\r\n"),
        chunk("a size below nothing", "-5\r\nhello\r\n0\r\n\r\n"),
        chunk("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        chunk("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
        chunk("a blank in a size", "5 5\r\nhello\r\n0\r\n\r\n"),
        chunk("no size", "\r\nhello\r\n0\r\n\r\n"),
        chunk("a size of 17 digits", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
        chunk("a size that would wrap to 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        chunk("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        chunk("a bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
        chunk("no CRLF after the data", "5\r\nhello0\r\n\r\n"),
        chunk("a bare LF in an extension", "5;\na\r\nhello\r\n0\r\n\r\n"),
        chunk("an extension without end", &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1 << 20))),
        second("a later size that is none", "zz\r\n0\r\n\r\n"),
        second("a later size below nothing", "-1\r\n0\r\n\r\n"),
        second("no last chunk but an empty line", "\r\n"),
        chunk("a trailer without a colon", "5\r\nhello\r\n0\r\nx\r\n\r\n"),
        chunk("a bare LF after a trailer", "5\r\nhello\r\n0\r\nx: a\n\r\n").gets(&[
            Gets::Refused,
            Gets::Broken,
            Gets::Whole(200, "hello"),
        ]),
        chunk("a bare CR in a trailer", "5\r\nhello\r\n0\r\nx: a\rb\r\n\r\n"),
    ]
}

fn breaks() -> Vec<Row> {
    let section = "RFC 9112 8";
    let long = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello";
    let chunk = format!("{CHUNKED}5\r\nhello\r\n");
    vec![
        closes("a length that is not reached", section, long).broken(),
        row("a length that is not reached, with a reset", section, &[send(long), Do::Turn, Do::Turn, Do::Reset])
            .refused_or_broken(),
        closes("no last chunk", section, &chunk).broken(),
        closes("half a last chunk", section, &format!("{chunk}0\r\n")).broken(),
        closes("no end of the trailers", section, &format!("{chunk}0\r\nx-a: b\r\n")).broken(),
        closes("half a chunk", section, &format!("{CHUNKED}50\r\nhello")).broken(),
        closes("no byte of the body", section, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").refused_or_broken(),
        says("silence in the body", "SPEC 3", long).broken(),
        closes("until the close", "RFC 9112 6.3", "HTTP/1.1 200 OK\r\n\r\nhello").whole(),
        closes("until the close, of HTTP/1.0", "RFC 9112 6.3", "HTTP/1.0 200 OK\r\n\r\nhello").whole(),
        row("nothing", section, &[Do::Close]),
        row("nothing but a reset", section, &[Do::Reset]),
        closes("half a status line", section, "HTTP/1.1 20"),
        closes("half a head", section, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"),
        row("silence", "SPEC 2.1", &[Do::Hang]),
        row("silence in the head", "SPEC 2.1", &[send("HTTP/1.1 200 OK\r\n"), Do::Hang]),
    ]
}

/// Bytes over an answer's end are nobody's.
fn surplus() -> Vec<Row> {
    let over = |name, text: &str| says(name, "RFC 9112 6.3", &format!("{text}{LEAK}")).whole();
    vec![
        over("another answer over the length", OK),
        over("another answer after the last chunk", &format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n")),
        over("a body longer than its length", &OK.replace("hello", "helloLEAK")),
        over("an empty line over the length", &format!("{OK}\r\n\r\n")),
        says(
            "a body over a length of 0",
            "RFC 9112 6.3",
            &format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nLEAK{LEAK}"),
        )
        .gets(&[Gets::Whole(200, "")]),
    ]
}

fn statuses() -> Vec<Row> {
    let status = |name, line: &str| closes(name, STATUS, &format!("{line}\r\ncontent-length: 5\r\n\r\nhello"));
    vec![
        status("two digits", "HTTP/1.1 20 OK"),
        status("four digits", "HTTP/1.1 2000 OK"),
        status("099", "HTTP/1.1 099 OK"),
        status("000", "HTTP/1.1 000 OK"),
        status("a minus", "HTTP/1.1 -20 OK"),
        status("a plus in the status", "HTTP/1.1 +20 OK"),
        status("letters", "HTTP/1.1 abc OK"),
        status("no status", "HTTP/1.1"),
        status("a status at the reason", "HTTP/1.1 200OK"),
        status("HTTP/2.0", "HTTP/2.0 200 OK"),
        status("HTTP/0.9", "HTTP/0.9 200 OK"),
        status("http/1.1", "http/1.1 200 OK"),
        status("ICY", "ICY 200 OK"),
        status("HTTPS/1.1", "HTTPS/1.1 200 OK"),
        status("HTTP/1.2", "HTTP/1.2 200 OK").refused_or_whole(),
        status("two blanks before the status", "HTTP/1.1  200 OK").refused_or_whole(),
        status("a tab before the status", "HTTP/1.1\t200 OK").refused_or_whole(),
        status("no reason", "HTTP/1.1 200 ").whole(),
        status("no blank after the status", "HTTP/1.1 200").refused_or_whole(),
        status("a NUL in the reason", "HTTP/1.1 200 O\0K").refused_or_whole(),
        status("a bare CR in the reason", "HTTP/1.1 200 O\rx-evil: 1")
            .refused_or_whole()
            .says(&[Says::Lacks("x-evil")]),
        status("a status that nobody knows", "HTTP/1.1 299 Own").gets(&[Gets::Whole(299, "hello")]),
        status("999", "HTTP/1.1 999 Own").gets(&[Gets::Refused, Gets::Whole(999, "hello")]),
        closes("no status line", STATUS, "content-length: 5\r\n\r\nhello"),
        closes("HTTP/0.9", STATUS, "<html>hello</html>\r\n\r\n"),
        closes("an empty line", STATUS, "\r\n\r\n"),
        closes("a TLS alert", STATUS, "\x15\x03\x03\0\x02\x02\x28\r\n\r\n"),
        closes("a request", STATUS, "GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        says("an empty line before the status line", STATUS, &format!("\r\n{OK}")).refused_or_whole(),
    ]
}

fn fields() -> Vec<Row> {
    let field = |name, section, field: &str| {
        closes(name, section, &format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 5\r\n\r\nhello"))
    };
    vec![
        field("a fold", "RFC 9112 5.2", "x-a: b\r\n c").refused_or_whole(),
        field("a fold that looks like a field", "RFC 9112 5.2", "x-a: b\r\n content-length: 1").refused_or_whole(),
        field("a bare CR in a value", "RFC 9112 2.2", "x-a: b\rset-cookie: a=b")
            .refused_or_whole()
            .says(&[Says::Lacks("set-cookie")]),
        field("a bare LF in a value", "RFC 9112 2.2", "x-a: b\nx-b: c").refused_or_whole(),
        field("a NUL in a value", "RFC 9110 5.5", "x-a: b\0c").refused_or_whole(),
        field("another control in a value", "RFC 9110 5.5", "x-a: b\x01c").refused_or_whole(),
        field("a DEL in a value", "RFC 9110 5.5", "x-a: b\x7fc").refused_or_whole(),
        field("a blank before the colon", "RFC 9112 5.1", "x-a : b").refused_or_whole(),
        field("a blank in a name", "RFC 9112 5", "x a: b").refused_or_whole(),
        field("no name", "RFC 9112 5", ": b").refused_or_whole(),
        field("no colon", "RFC 9112 5", "x-a").refused_or_whole(),
        field("bytes beyond ASCII in a value", "RFC 9110 5.5", "x-a: \u{ff}")
            .whole()
            .says(&[Says::Has("x-a", &["\u{ff}"])]),
        field("a byte beyond ASCII in a name", "RFC 9110 5.1", "x-\u{e4}: b").refused_or_whole(),
        field("a name of any token", "RFC 9110 5.1", "!#$%&'*+-.^_`|~: b")
            .whole()
            .says(&[Says::Has("!#$%&'*+-.^_`|~", &["b"])]),
        field(
            "cookies one by one, in order",
            "RFC 6265 3",
            "set-cookie: a=1, b\r\nset-cookie: b=2\r\nset-cookie: a=1, b",
        )
        .whole()
        .says(&[Says::Has("set-cookie", &["a=1, b", "b=2", "a=1, b"])]),
        field("two challenges", "RFC 9110 11.6.1", "www-authenticate: a\r\nwww-authenticate: b").whole(),
    ]
}

/// What is of the app's connection, or only Serin's to say, ends at Serin.
fn removed() -> Vec<Row> {
    let field = |name, section, field: &str| {
        says(name, section, &format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 5\r\n\r\nhello")).whole()
    };
    let trailer = |name, section, trailer: &str| {
        let names = "trailer: x-mine, x-serin-track, serin-error, content-length, set-cookie";
        let head = CHUNKED.replacen("\r\n\r\n", &format!("\r\n{names}\r\n\r\n"), 1);
        says(name, section, &format!("{head}5\r\nhello\r\n0\r\n{trailer}\r\n\r\n"))
            .to("GET {} HTTP/1.1\r\nhost: shop.test\r\nte: trailers\r\nconnection: te\r\n\r\n")
            .gets(&[Gets::Broken, Gets::Whole(200, "hello")])
    };
    vec![
        field(
            "x-serin-* and serin-error",
            "SPEC 2.3",
            "x-serin-track: a\r\nX-Serin-Outcome: success\r\nserin-error: noRoute",
        )
        .says(&[Says::Lacks("serin-error")]),
        field("x_serin_* and serin_error", "SPEC 2.3", "x_serin_track: a"),
        says(
            "a 502 that looks like Serin's",
            "SPEC 2.2",
            "HTTP/1.1 502 Bad\r\nserin-error: upstreamConnect\r\ncontent-length: 5\r\n\r\nhello",
        )
        .gets(&[Gets::Whole(502, "hello")]),
        field(
            "what Connection names",
            "RFC 9110 7.6.1",
            "connection: x-hop, X-OTHER\r\nx-hop: 1\r\nx-other: 2\r\nx-end: 3",
        )
        .says(&[Says::Lacks("x-hop"), Says::Lacks("x-other"), Says::Has("x-end", &["3"])]),
        field(
            "what the second Connection names",
            "RFC 9110 7.6.1",
            "connection: keep-alive\r\nconnection: x-hop\r\nx-hop: 1",
        )
        .says(&[Says::Lacks("x-hop")]),
        field(
            "fields of one connection",
            "RFC 9110 7.6.1",
            "keep-alive: timeout=9\r\nproxy-connection: a\r\nupgrade: h2c\r\nconnection: upgrade",
        )
        .says(&[Says::Lacks("keep-alive"), Says::Lacks("proxy-connection"), Says::Lacks("upgrade")]),
        field("Connection that names Content-Length", "RFC 9110 7.6.1", "connection: content-length"),
        trailer("a trailer", "RFC 9110 6.5", "x-mine: 1")
            .gets(&[Gets::Whole(200, "hello")])
            .says(&[Says::Trailer("x-mine", "1")]),
        trailer("x-serin-* in a trailer", "SPEC 2.3", "x-serin-track: 1\r\nserin-error: 2")
            .says(&[Says::NoTrailer("serin-error")]),
        trailer("a length in a trailer", "RFC 9110 6.5.1", "content-length: 9")
            .says(&[Says::NoTrailer("content-length"), Says::Lacks("content-length")]),
    ]
}

fn interim() -> Vec<Row> {
    let before = |name, first: &str| says(name, "RFC 9110 15.2", &format!("{first}{OK}")).whole();
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    vec![
        before("103", "HTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n"),
        before("100 that nobody asked for", "HTTP/1.1 100 Continue\r\n\r\n"),
        before("102 three times", &"HTTP/1.1 102 Processing\r\n\r\n".repeat(3)),
        before("199", "HTTP/1.1 199 Own\r\nx-a: b\r\n\r\n"),
        says(
            "a body of an interim answer",
            "RFC 9110 15.2",
            &format!("HTTP/1.1 103 Early\r\ncontent-length: 5\r\n\r\nhello{LEAK}"),
        )
        .refused_or_broken(),
        says(
            "an interim answer in chunks",
            "RFC 9110 15.2",
            &format!("HTTP/1.1 103 Early\r\ntransfer-encoding: chunked\r\n\r\n4\r\nLEAK\r\n0\r\n\r\n{LEAK}"),
        )
        .refused_or_broken(),
        closes("an interim answer and the end", "RFC 9110 15.2", "HTTP/1.1 103 Early Hints\r\n\r\n")
            .refused_or_broken(),
        says(
            "x-serin-* and Connection in an interim answer",
            "SPEC 2.3",
            &format!("HTTP/1.1 103 Early\r\nconnection: x-hop\r\nx-hop: LEAK\r\nx-serin-track: LEAK\r\n\r\n{OK}"),
        )
        .whole(),
        says("to an old client", "RFC 9110 15.2", &format!("HTTP/1.1 103 LEAK\r\n\r\n{OK}"))
            .asked_by_old_client()
            .whole(),
        says("101 that nobody asked for", "RFC 9110 15.2.2", &format!("{upgrade}{LEAK}")),
        says("101 without Upgrade", "RFC 9110 15.2.2", &format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{LEAK}")),
        says("101 after 103", "RFC 9110 15.2.2", &format!("HTTP/1.1 103 Early\r\n\r\n{upgrade}{LEAK}"))
            .refused_or_broken(),
        says("101 to HTTP/1.0", "RFC 9110 7.8", &format!("{upgrade}{LEAK}"))
            .to("GET {} HTTP/1.0\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"),
        says("no upgrade though asked for", "RFC 9110 7.8", OK)
            .to("GET {} HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .whole(),
        says(
            "10,000 interim answers",
            "RFC 9110 15.2",
            &format!("{}{OK}", "HTTP/1.1 103 Early\r\nlink: <a>\r\n\r\n".repeat(10_000)),
        )
        .gets(&[Gets::Refused, Gets::Broken, Gets::Whole(200, "hello")]),
        says("32 MiB of interim answers", "RFC 9110 15.2", &"HTTP/1.1 103 Early\r\nlink: <a>\r\n\r\n".repeat(900_000))
            .refused_or_broken(),
    ]
}

/// Answers that have no body, whatever follows their heads.
fn bodyless() -> Vec<Row> {
    let empty = |name, section, status: u16, text: &str| {
        says(name, section, &format!("HTTP/1.1 {status} X\r\n{text}{LEAK}"))
            .gets(&[Gets::Refused, Gets::Whole(status, "")])
    };
    let head = |name, text: &str| says(name, "RFC 9110 9.3.2", text).asked_by_head().gets(&[Gets::Whole(200, "")]);
    vec![
        says("204", "RFC 9110 15.3.5", "HTTP/1.1 204 X\r\n\r\n").gets(&[Gets::Whole(204, "")]),
        empty("204 with a length and a body", "RFC 9110 8.6", 204, "content-length: 4\r\n\r\nLEAK"),
        empty("204 with a body", "RFC 9112 6.3", 204, "\r\n"),
        empty("204 in chunks", "RFC 9112 6.1", 204, "transfer-encoding: chunked\r\n\r\n4\r\nLEAK\r\n0\r\n\r\n"),
        empty("304 with a length and a body", "RFC 9112 6.3", 304, "content-length: 4\r\n\r\nLEAK"),
        empty("304 in chunks", "RFC 9112 6.3", 304, "transfer-encoding: chunked\r\n\r\n4\r\nLEAK\r\n0\r\n\r\n"),
        says("304 with a length", "RFC 9110 15.4.5", "HTTP/1.1 304 X\r\ncontent-length: 99\r\n\r\n")
            .gets(&[Gets::Whole(304, "")]),
        says("205 with a body", "RFC 9110 15.3.6", &format!("HTTP/1.1 205 X\r\ncontent-length: 0\r\n\r\n{LEAK}"))
            .gets(&[Gets::Whole(205, "")]),
        head("HEAD with a length", "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
            .says(&[Says::Has("content-length", &["99"])]),
        head("HEAD, chunked", CHUNKED),
        head("HEAD with a body", &format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nLEAK{LEAK}")),
        head("HEAD with a body of chunks", &format!("{CHUNKED}4\r\nLEAK\r\n0\r\n\r\n{LEAK}")),
        closes("HEAD until the close", "RFC 9110 9.3.2", "HTTP/1.1 200 OK\r\n\r\nLEAK")
            .asked_by_head()
            .gets(&[Gets::Whole(200, "")]),
        says(
            "HEAD with differing lengths",
            "RFC 9112 6.3",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n",
        )
        .asked_by_head(),
    ]
}

fn limits() -> Vec<Row> {
    let head = |name, fields: &str| {
        says(name, "SPEC 2", &format!("HTTP/1.1 200 OK\r\n{fields}content-length: 5\r\n\r\nhello"))
    };
    vec![
        head("90 fields", &"x-a: b\r\n".repeat(90)).whole(),
        head("20,000 fields", &"x-a: b\r\n".repeat(20_000)).refused_or_whole(),
        head("a field of 16 MiB", &format!("x-a: {}\r\n", "b".repeat(16 << 20))),
        says("a status line of 16 MiB", STATUS, &format!("HTTP/1.1 200 {}", "O".repeat(16 << 20))),
        says("trailers without end", SIZES, &format!("{CHUNKED}5\r\nhello\r\n0\r\n{}", "x-a: b\r\n".repeat(100_000)))
            .broken(),
    ]
}

/// HTTP/1.0 knows no chunks: what breaks off is a reset, or shorter than its length.
fn old_clients() -> Vec<Row> {
    let section = "RFC 9112 8";
    let lacks = [Says::Lacks("transfer-encoding")];
    vec![
        says("a length to HTTP/1.0", section, OK).asked_by_old_client().whole(),
        says("chunks to HTTP/1.0", "RFC 9112 6.1", &format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n"))
            .asked_by_old_client()
            .whole()
            .says(&lacks),
        closes("until the close to HTTP/1.0", section, "HTTP/1.1 200 OK\r\n\r\nhello")
            .asked_by_old_client()
            .whole()
            .says(&lacks),
        closes("chunks that break off to HTTP/1.0", section, &format!("{CHUNKED}5\r\nhello\r\n"))
            .asked_by_old_client()
            .broken(),
        closes("half a chunk to HTTP/1.0", section, &format!("{CHUNKED}50\r\nhello")).asked_by_old_client().broken(),
        says("a bad chunk to HTTP/1.0", section, &format!("{CHUNKED}5\r\nhello\r\nzz\r\n"))
            .asked_by_old_client()
            .broken(),
        closes("a length not reached to HTTP/1.0", section, "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello")
            .asked_by_old_client()
            .broken(),
        closes("chunks that break off to HTTP/1.0 that keeps alive", section, &format!("{CHUNKED}5\r\nhello\r\n"))
            .to("GET {} HTTP/1.0\r\nhost: shop.test\r\nconnection: keep-alive\r\n\r\n")
            .broken(),
    ]
}

fn scenes() -> Vec<Case> {
    let idle = |name: &str, text: &'static str, closes: bool| Case {
        name: name.to_owned(),
        section: "RFC 9112 9.3",
        plays: Box::new(move |stage| idle(stage, text, closes)),
    };
    let early = |name: &str, status: u16| Case {
        name: name.to_owned(),
        section: "RFC 9112 9.6",
        plays: Box::new(move |stage| early(stage, status)),
    };
    let cut = |name: &str, version: &'static str| Case {
        name: name.to_owned(),
        section: "RFC 9112 8",
        plays: Box::new(move |stage| cut(stage, version)),
    };
    vec![
        idle("an answer on an idle connection", LEAK, false),
        idle("an interim answer on an idle connection", "HTTP/1.1 103 LEAK\r\n\r\n", false),
        idle("half an answer on an idle connection", "HTTP/1.1 200 LEAK\r\ncontent-length: 30\r\n", false),
        idle("no HTTP on an idle connection", "LEAK", false),
        idle("an empty line on an idle connection", "\r\n", false),
        idle("408 on an idle connection", "HTTP/1.1 408 LEAK\r\nconnection: close\r\n\r\n", true),
        scene("an answer that comes too late", "SPEC 3", late),
        scene("an answer to a client that has left", "RFC 9112 9.3", left),
        scene("the rest of an answer to a client that has left", "RFC 9112 9.3", left_in_body),
        early("200 before the request's end", 200),
        early("413 before the request's end", 413),
        cut("until a reset", "HTTP/1.1"),
        cut("until a reset to HTTP/1.0", "HTTP/1.0"),
        scene("an upgrade that both agree on", "RFC 9110 7.8", upgrade),
    ]
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: shop.test\r\n\r\n")
}

/// Another client's answer is its own, twice: by the connection at hand and by the next.
pub fn others(stage: &Stage) -> Outcome {
    for _ in 0..2 {
        let target = target();
        stage.own_answer(&target, &format!("saw GET {target} HTTP/1.1"))?;
    }
    stage.app.look();
    Ok(())
}

fn past(stage: &Stage, gate: &str) {
    stage.app.open(gate);
    crate::common::eventually("the gate", || stage.app.is_past(gate).then_some(()));
}

fn idle(stage: &Stage, text: &str, closes: bool) -> Outcome {
    let target = target();
    let end = if closes { Do::Close } else { Do::Turn };
    stage.app.plays(&target, When::Whole, &[send(OK), Do::Gate(target.clone()), send(text), end]);
    let mut client = stage.client();
    client.write(&get(&target));
    let answer = client.answer(false)?;
    if answer.as_ref().is_none_or(|answer| answer.body != "hello") {
        return Err(format!("the first answer: {}", shown(answer.as_ref(), &client)));
    }
    past(stage, &target);
    // Serin has a chance to see what came before the next request does.
    stage.turn()?;
    goes_on(&mut client, &target)?;
    no_leak(&client)?;
    others(stage)
}

fn late(stage: &Stage) -> Outcome {
    let target = target();
    stage.app.plays(&target, When::Whole, &[Do::Gate(target.clone()), send(LEAK)]);
    let mut client = stage.client();
    client.write(&get(&target));
    let answer = client.answer(false)?;
    if answer.as_ref().is_none_or(|answer| answer.status() != 504) {
        return Err(format!("no 504: {}", shown(answer.as_ref(), &client)));
    }
    stage.app.open(&target);
    goes_on(&mut client, &target)?;
    no_leak(&client)?;
    others(stage)
}

fn left(stage: &Stage) -> Outcome {
    let target = target();
    stage.app.plays(&target, When::Whole, &[Do::Gate(target.clone()), send(LEAK)]);
    let mut client = stage.client();
    client.write(&get(&target));
    crate::common::eventually("the request", || stage.app.look().requests.pop());
    drop(client);
    stage.app.open(&target);
    others(stage)
}

fn left_in_body(stage: &Stage) -> Outcome {
    let target = target();
    let start = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nhello", LEAK.len() + 5);
    stage.app.plays(&target, When::Whole, &[send(&start), Do::Gate(target.clone()), send(LEAK)]);
    let mut client = stage.client();
    client.write(&get(&target));
    while !wire::text(&client.bytes).ends_with("hello") {
        if !client.more() {
            return Err(format!("no body: {:?}", client.end));
        }
    }
    drop(client);
    stage.app.open(&target);
    others(stage)
}

/// What the client still sends is its body, however early the answer came.
fn early(stage: &Stage, status: u16) -> Outcome {
    let target = target();
    let body = "GET /smuggled HTTP/1.1\r\nhost: shop.test\r\n\r\n";
    let answer = OK.replacen("200", &status.to_string(), 1);
    stage.app.plays(&target, When::Head, &[send(&answer)]);
    let mut client = stage.client();
    let length = body.len() + 5;
    client.write(&format!("POST {target} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: {length}\r\n\r\nhello"));
    let first = client.answer(false)?;
    if first.as_ref().is_none_or(|first| first.status() != status || first.body != "hello") {
        return Err(format!("no early answer: {}", shown(first.as_ref(), &client)));
    }
    client.write(body);
    goes_on(&mut client, &target)?;
    let seen = stage.seen()?;
    let smuggled = |message: &Message| message.second() == "/smuggled";
    if seen.requests.iter().chain(&seen.unfinished).any(smuggled) || !seen.oddities.is_empty() {
        return Err(format!("the app read the body as a request: {:?} {:?}", seen.requests, seen.oddities));
    }
    others(stage)
}

fn cut(stage: &Stage, version: &str) -> Outcome {
    let target = target();
    let script = [send("HTTP/1.1 200 OK\r\n\r\nhello"), Do::Gate(target.clone()), Do::Reset];
    stage.app.plays(&target, When::Whole, &script);
    let mut client = stage.client();
    client.write(&format!("GET {target} {version}\r\nhost: shop.test\r\n\r\n"));
    while !wire::text(&client.bytes).contains("hello") {
        if !client.more() {
            return Err(format!("no body: {:?}", client.end));
        }
    }
    stage.app.open(&target);
    match client.answer(false)? {
        Some(answer) if !answer.complete && client.end != Some(End::Silent) => others(stage),
        answer => Err(format!("it looks whole: {}", shown(answer.as_ref(), &client))),
    }
}

fn upgrade(stage: &Stage) -> Outcome {
    let target = target();
    let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stage.app.plays(&target, When::Whole, &[send(&format!("{head}early")), Do::Close]);
    let mut client = stage.client();
    client.write(&get(&target).replace("\r\n\r\n", "\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"));
    let answer = client.answer(false)?;
    let rest = client.rest();
    if answer.as_ref().is_none_or(|answer| answer.status() != 101) || rest != "early" {
        return Err(format!("no tunnel: {} {rest:?}", shown(answer.as_ref(), &client)));
    }
    others(stage)
}
