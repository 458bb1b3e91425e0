//! Where a request's body ends: lengths, codings, chunks and trailers.

use super::requests::Next::{Either, Never, Served};
use super::requests::Sees::{Body, Has, Lacks, Line, NoTrailer, Trailer, Unfinished};
use super::requests::{Row, row};

const CHUNKED: &str = "5\r\nhello\r\n0\r\n\r\n";
/// More than any reader should keep of one line.
const ENDLESS: usize = 1 << 20;

fn post(fields: &str, body: &str) -> String {
    format!("POST /row HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("transfer-encoding: chunked", body)
}

pub fn rows() -> Vec<Row> {
    [
        refused(),
        both(),
        codings(),
        odd_codings(),
        lengths(),
        odd_lengths(),
        sizes(),
        odd_sizes(),
        extensions(),
        trailers(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is refused for another reason has a body all the same: it is no request.
fn refused() -> Vec<Row> {
    let inside = "GET /inside HTTP/1.1\r\nhost: shop.test\r\n\r\n";
    let whole = |fields: &str, body: &str| post(fields, body).replacen("/row", "/a/../row", 1);
    let length = format!("content-length: {}", inside.len());
    let chunk = format!("{:x}\r\n{inside}\r\n0\r\n\r\n", inside.len());
    vec![
        row("refused with a body", "RFC 9112 9.3", whole(&length, inside)).refused_alone(&[400]),
        row("refused with a body in chunks", "RFC 9112 9.3", whole("transfer-encoding: chunked", &chunk))
            .refused_alone(&[400]),
        row("refused with a body of another host", "RFC 9112 9.3", whole(&format!("{length}\r\nhost: a"), inside))
            .refused_alone(&[400]),
        row("refused with a body that breaks off", "RFC 9112 9.3", whole("content-length: 500", inside)).then_ends(),
        row("refused with a body that is none", "RFC 9112 9.3", whole("transfer-encoding: chunked", inside)),
        row(
            "refused and expecting 100",
            "RFC 9110 10.1.1",
            whole(&format!("{length}\r\nexpect: 100-continue"), inside),
        )
        .refused_alone(&[400, 417]),
    ]
}

/// A length and a coding in one request: by the coding alone, and never another request after it.
fn both() -> Vec<Row> {
    let by_coding = |name, fields: &str, body: &str| row(name, "RFC 9112 6.1", post(fields, body));
    let once = [Has("transfer-encoding", "chunked"), Lacks("content-length"), Body("hello")];
    let te = "transfer-encoding: chunked";
    vec![
        by_coding("a length, then chunked", &format!("content-length: 5\r\n{te}"), CHUNKED).open(Never, &once),
        by_coding("chunked, then a length", &format!("{te}\r\ncontent-length: 5"), CHUNKED).open(Never, &once),
        by_coding("a length that covers what follows", &format!("content-length: 99\r\n{te}"), "0\r\n\r\n")
            .open(Never, &[Has("transfer-encoding", "chunked"), Lacks("content-length"), Body("")]),
        by_coding("a length of 0 and chunked", &format!("content-length: 0\r\n{te}"), CHUNKED).open(Never, &once),
        by_coding("a length that is none, and chunked", &format!("content-length: x\r\n{te}"), CHUNKED)
            .open(Never, &once),
        by_coding("two lengths and chunked", &format!("content-length: 5\r\n{te}\r\ncontent-length: 6"), CHUNKED)
            .open(Never, &once),
        by_coding("a length and a coding that is not chunked", "content-length: 5\r\ntransfer-encoding: x", "hello")
            .refused(&[400, 501]),
        by_coding("a length and an empty coding", "content-length: 5\r\ntransfer-encoding:", "hello")
            .refused(&[400, 501]),
    ]
}

/// Codings that are chunked in every reading.
fn codings() -> Vec<Row> {
    let passes = |name, section, fields: &str| {
        row(name, section, post(fields, CHUNKED)).passes(&[Has("transfer-encoding", "chunked"), Body("hello")])
    };
    vec![
        passes("chunked", "RFC 9112 7.1", "transfer-encoding: chunked"),
        passes("CHUNKED", "RFC 9112 7", "transfer-encoding: CHUNKED"),
        passes("ChUnKeD in TRANSFER-ENCODING", "RFC 9110 5.1", "TRANSFER-ENCODING: ChUnKeD"),
        passes("a tab before the coding", "RFC 9112 5", "transfer-encoding:\tchunked"),
        passes("blanks after the coding", "RFC 9112 5", "transfer-encoding: chunked \t "),
        passes("no blank before the coding", "RFC 9112 5", "transfer-encoding:chunked"),
    ]
}

fn odd_codings() -> Vec<Row> {
    let coding = |name, field: &str| row(name, "RFC 9112 6.1", post(field, CHUNKED)).refused(&[400, 501]);
    let once = [Has("transfer-encoding", "chunked"), Lacks("content-length"), Body("hello")];
    vec![
        row("a blank before the colon", "RFC 9112 5.1", post("Transfer-Encoding : chunked", CHUNKED)),
        row("a tab before the colon", "RFC 9112 5.1", post("Transfer-Encoding\t: chunked", CHUNKED)),
        row("a vertical tab before chunked", "RFC 9110 5.5", post("transfer-encoding: \x0bchunked", CHUNKED))
            .refused(&[400, 501]),
        row("a form feed after chunked", "RFC 9110 5.5", post("transfer-encoding: chunked\x0c", CHUNKED))
            .refused(&[400, 501]),
        row("a NUL after chunked", "RFC 9110 5.5", post("transfer-encoding: chunked\0", CHUNKED)).refused(&[400, 501]),
        row("a no-break space before chunked", "RFC 9112 6.1", post("transfer-encoding: \u{a0}chunked", CHUNKED))
            .refused(&[400, 501]),
        coding("xchunked", "transfer-encoding: xchunked"),
        coding("chunkedx", "transfer-encoding: chunkedx"),
        coding("chunked in quotes", "transfer-encoding: \"chunked\""),
        coding("chunked with a parameter", "transfer-encoding: chunked;a=b"),
        coding("two words", "transfer-encoding: chunked chunked"),
        coding("chunked, identity", "transfer-encoding: chunked, identity"),
        coding("identity, chunked", "transfer-encoding: identity, chunked"),
        coding("gzip, chunked", "transfer-encoding: gzip, chunked"),
        coding("chunked, gzip", "transfer-encoding: chunked, gzip"),
        coding("gzip", "transfer-encoding: gzip"),
        coding("identity", "transfer-encoding: identity"),
        coding("chunked, chunked", "transfer-encoding: chunked, chunked"),
        coding("chunked in two fields", "transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
        coding(
            "chunked, then identity in a field of its own",
            "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        ),
        coding(
            "identity, then chunked in a field of its own",
            "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        ),
        coding("chunked, then an empty field", "transfer-encoding: chunked\r\ntransfer-encoding:").open(Either, &once),
        coding("no coding", "transfer-encoding:"),
        coding("only commas", "transfer-encoding: ,,"),
        coding("a comma after chunked", "transfer-encoding: chunked,").open(Either, &once),
        coding("a comma before chunked", "transfer-encoding: ,chunked").open(Either, &once),
        row("folded", "RFC 9112 5.2", post("transfer-encoding:\r\n chunked", CHUNKED)),
        row("in a fold of another field", "RFC 9112 5.2", post("x-a: b\r\n transfer-encoding: chunked", CHUNKED)),
        row("after a bare CR", "RFC 9112 2.2", post("x-a: b\rtransfer-encoding: chunked", CHUNKED)),
        row("after a bare LF", "RFC 9112 2.2", post("x-a: b\ntransfer-encoding: chunked", CHUNKED)).open(Never, &once),
        row("a blank in the name", "RFC 9112 5.1", post("transfer encoding: chunked", CHUNKED)),
        row("before the name", "RFC 9112 2.2", post(" transfer-encoding: chunked", CHUNKED)),
        row("an underscore in the name", "RFC 9110 5.1", post("transfer_encoding: chunked", ""))
            .open(Either, &[Lacks("transfer-encoding"), Lacks("content-length"), Body("")]),
        row("a letter that only looks like one", "RFC 9110 5.1", post("transfer-en\u{e7}oding: chunked", CHUNKED)),
        row("chunked in HTTP/1.0", "RFC 9112 6.1", chunked(CHUNKED).replace("HTTP/1.1", "HTTP/1.0")).open_or(
            &[400, 501],
            Never,
            &[Body("hello")],
        ),
        row(
            "chunked and a length in HTTP/1.0",
            "RFC 9112 6.1",
            post("content-length: 5\r\ntransfer-encoding: chunked\r\nconnection: keep-alive", CHUNKED)
                .replace("HTTP/1.1", "HTTP/1.0"),
        )
        .open_or(&[400, 501], Never, &[Body("hello")]),
    ]
}

fn lengths() -> Vec<Row> {
    let length = |name, section, fields: &str| row(name, section, post(fields, "hello"));
    let once = [Body("hello"), Lacks("transfer-encoding")];
    vec![
        length("a length", "RFC 9112 6.2", "content-length: 5").passes(&once),
        length("blanks around a length", "RFC 9112 5", "content-length: \t 5 \t").passes(&once),
        length("the same length in a list", "RFC 9110 8.6", "content-length: 5, 5").open(Either, &once),
        length("the same length in two fields", "RFC 9110 8.6", "content-length: 5\r\ncontent-length: 5")
            .open(Either, &once),
        length("zeros before a length", "RFC 9110 8.6", "content-length: 005").open(Either, &once),
        length("25 zeros before a length", "RFC 9110 8.6", "content-length: 00000000000000000000000005")
            .open(Either, &once),
        row("no body without a length", "RFC 9112 6.3", "POST /row HTTP/1.1\r\nhost: shop.test\r\n\r\n").open_or(
            &[411],
            Served,
            &[Body("")],
        ),
        row("a body of GET", "RFC 9110 9.3.1", post("content-length: 5", "hello").replacen("POST", "GET", 1))
            .passes(&once),
        row("a body of GET in chunks", "RFC 9110 9.3.1", chunked(CHUNKED).replacen("POST", "GET", 1))
            .passes(&[Body("hello"), Lacks("content-length")]),
        row("a body of HEAD in chunks", "RFC 9110 9.3.2", chunked(CHUNKED).replacen("POST", "HEAD", 1))
            .passes(&[Body("hello"), Lacks("content-length")]),
        row("a body of DELETE in chunks", "RFC 9110 9.3.5", chunked(CHUNKED).replacen("POST", "DELETE", 1))
            .passes(&[Body("hello"), Lacks("content-length")]),
        row("a body of HEAD", "RFC 9110 9.3.2", post("content-length: 5", "hello").replacen("POST", "HEAD", 1))
            .passes(&once),
        row("a body of DELETE", "RFC 9110 9.3.5", post("content-length: 5", "hello").replacen("POST", "DELETE", 1))
            .passes(&once),
        row("a body of TRACE", "RFC 9110 9.3.8", post("content-length: 5", "hello").replacen("POST", "TRACE", 1))
            .open_or(&[400, 405, 501], Either, &once),
        row("a body longer than its length", "RFC 9112 6.3", post("content-length: 3", "hello"))
            .several(&["POST /row HTTP/1.1", "loGET /smuggled HTTP/1.1"]),
        row(
            "a request inside a body",
            "RFC 9112 6.3",
            post("content-length: 43", "GET /smuggled HTTP/1.1\r\nhost: shop.test\r\n\r\n"),
        )
        .passes(&[Body("GET /smuggled HTTP/1.1\r\nhost: shop.test\r\n\r\n")]),
        row("a body that breaks off", "RFC 9112 8", post("content-length: 500", "hello")).then_ends().broken(),
    ]
}

fn odd_lengths() -> Vec<Row> {
    let length = |name, fields: &str| row(name, "RFC 9112 6.3", post(fields, "hello"));
    let huge = |name, digits: &str| {
        row(name, "RFC 9112 6.3", post(&format!("content-length: {digits}"), "hello")).then_ends().open_or(
            &[400, 413, 431],
            Never,
            &[Unfinished],
        )
    };
    vec![
        length("differing lengths in a list", "content-length: 5, 6"),
        length("differing lengths in a list without a blank", "content-length: 5,6"),
        length("differing lengths in two fields", "content-length: 5\r\ncontent-length: 6"),
        length("differing lengths, the first 0", "content-length: 0\r\ncontent-length: 5"),
        length("a plus", "content-length: +5"),
        length("a minus", "content-length: -1"),
        length("minus nothing", "content-length: -0"),
        length("hexadecimal", "content-length: 0x5"),
        length("a blank in the length", "content-length: 5 5"),
        length("no length", "content-length:"),
        length("a comma after the length", "content-length: 5,").open(Either, &[Body("hello")]),
        length("a vertical tab after the length", "content-length: 5\x0b"),
        length("a NUL after the length", "content-length: 5\0"),
        length("a parameter", "content-length: 5;a"),
        length("a fraction", "content-length: 5.0"),
        length("an exponent", "content-length: 5e0"),
        length("an underscore in the length", "content-length: 0_5"),
        length("a superscript", "content-length: \u{b9}"),
        length("quotes", "content-length: \"5\""),
        length("a blank before its colon", "content-length : 5"),
        length("a folded length", "content-length:\r\n 5"),
        length("a NUL in the name", "content-length\0: 5"),
        length("a bare CR before the length", "content-length:\r5"),
        row("an underscore in the length's name", "RFC 9110 5.1", post("content_length: 5", ""))
            .open(Either, &[Body(""), Lacks("transfer-encoding")]),
        huge("2^63", "9223372036854775808"),
        huge("2^64 - 1", "18446744073709551615"),
        row("2^64", "RFC 9112 6.3", post("content-length: 18446744073709551616", "hello")).refused(&[400, 413, 431]),
        row("2^64 + 5", "RFC 9112 6.3", post("content-length: 18446744073709551621", "hello"))
            .refused(&[400, 413, 431]),
        row("30 digits", "RFC 9112 6.3", post("content-length: 100000000000000000000000000005", "hello"))
            .refused(&[400, 413, 431]),
    ]
}

fn sizes() -> Vec<Row> {
    let passes = |name, body: &str| row(name, "RFC 9112 7.1", chunked(body)).passes(&[Body("hello")]);
    vec![
        passes("many chunks", "1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n"),
        passes("zeros before a size", "0005\r\nhello\r\n000\r\n\r\n"),
        row("16 digits with zeros", "RFC 9112 7.1", chunked("0000000000000005\r\nhello\r\n0\r\n\r\n"))
            .passes(&[Body("hello")]),
        row("letters of both cases", "RFC 9112 7.1", chunked("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"))
            .passes(&[Body("01234567890123456789")]),
        row("bytes that look like chunks", "RFC 9112 7.1", chunked("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"))
            .passes(&[Body("\r\n0\r\n\r\n")]),
        row("no chunk but the last", "RFC 9112 7.1", chunked("0\r\n\r\n")).passes(&[Body("")]),
        row("a chunk after the last", "RFC 9112 7.1", chunked("0\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
            .passes_last(&[Body("")]),
    ]
}

/// A reader that is lenient here and one that is not disagree about what follows.
fn odd_sizes() -> Vec<Row> {
    let broken = |name, body: &str| row(name, "RFC 9112 7.1", chunked(body)).broken();
    let once = [Body("hello")];
    vec![
        broken("a size of 17 digits that would wrap to 5", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        broken("a size of 16 digits", "FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n").then_ends(),
        broken("a size of 17 digits", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
        broken("a size of 2^63", "8000000000000000\r\nhello\r\n0\r\n\r\n").then_ends(),
        broken("a size below nothing", "-5\r\nhello\r\n0\r\n\r\n"),
        broken("a size with a plus", "+5\r\nhello\r\n0\r\n\r\n"),
        broken("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        broken("a size with a blank before", " 5\r\nhello\r\n0\r\n\r\n"),
        broken("a blank in the size", "0 5\r\nhello\r\n0\r\n\r\n"),
        broken("an underscore in the size", "0_5\r\nhello\r\n0\r\n\r\n"),
        broken("a size that is none", "g\r\nhello\r\n0\r\n\r\n"),
        broken("a NUL after the size", "5\0\r\nhello\r\n0\r\n\r\n"),
        broken("no size", "\r\nhello\r\n0\r\n\r\n"),
        broken("an empty line between chunks", "5\r\nhello\r\n\r\n0\r\n\r\n"),
        broken("no CRLF after the data", "5\r\nhello0\r\n\r\n"),
        broken("other bytes in place of CRLF", "5\r\nhelloXX0\r\n\r\n"),
        broken("a bare LF after the data", "5\r\nhello\n0\r\n\r\n"),
        broken("a bare CR after the data", "5\r\nhello\r0\r\n\r\n"),
        broken("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        broken("a bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
        broken("CR CR LF after the size", "5\r\r\nhello\r\n0\r\n\r\n"),
        broken("a bare LF after the last size", "5\r\nhello\r\n0\n\r\n"),
        broken("bare LFs throughout", "5\nhello\n0\n\n"),
        broken("a chunk that breaks off", "500\r\nhello").then_ends(),
        row("a blank after the size", "RFC 9112 7.1", chunked("5 \r\nhello\r\n0\r\n\r\n")).broken_or(&once),
        row("zeros without end", "RFC 9112 7.1", chunked(&format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(ENDLESS))))
            .broken_or(&once),
    ]
}

fn extensions() -> Vec<Row> {
    let passes = |name, body: &str| row(name, "RFC 9112 7.1.1", chunked(body)).passes(&[Body("hello")]);
    let broken = |name, body: &str| row(name, "RFC 9112 7.1.1", chunked(body)).broken();
    vec![
        passes("an extension", "5;a\r\nhello\r\n0;b\r\n\r\n"),
        passes("an extension with a value", "5;a=b;c=d\r\nhello\r\n0\r\n\r\n"),
        passes("a quoted extension", "5;a=\"b;\\\"c\"\r\nhello\r\n0\r\n\r\n"),
        row("blanks around an extension", "RFC 9112 7.1.1", chunked("5 ; a = b\r\nhello\r\n0\r\n\r\n"))
            .broken_or(&[Body("hello")]),
        broken("an extension without a semicolon", "5 a\r\nhello\r\n0\r\n\r\n"),
        broken("a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        broken("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        broken("a bare LF that hides a chunk", "5;\nABCDE\r\n0\r\n\r\n"),
        broken("CR LF in a quoted extension", "5;a=\"\r\nhello\"\r\n0\r\n\r\n"),
        broken("an extension without end", &format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(ENDLESS))),
        broken(
            "extensions without end over many chunks",
            &format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "a".repeat(4_000)).repeat(300)),
        ),
    ]
}

fn trailers() -> Vec<Row> {
    let with = |section: &str| {
        let fields = "transfer-encoding: chunked\r\ntrailer: content-length, host, transfer-encoding, authorization, \
            x-serin-track, x-feature-a, x-forwarded-for, x-mine, trailer";
        post(fields, &format!("5\r\nhello\r\n0\r\n{section}\r\n"))
    };
    let trailer = |name, section, trailer: &'static str, field| {
        row(name, section, with(trailer)).broken_or(&[
            Body("hello"),
            NoTrailer(field),
            Line("POST /row HTTP/1.1"),
            Has("host", "shop.test"),
            Lacks("authorization"),
            Lacks("content-length"),
        ])
    };
    let broken = |name, section: &str| row(name, "RFC 9112 7.1.2", with(section)).broken();
    vec![
        // Nothing is read behind trailers: where they end is what a bare LF makes doubtful.
        row("a trailer", "RFC 9110 6.5", with("x-mine: 1\r\n")).passes_last(&[Body("hello"), Trailer("x-mine", "1")]),
        trailer("a length in a trailer", "RFC 9110 6.5.1", "content-length: 99\r\n", "content-length"),
        trailer("a Host in a trailer", "RFC 9110 6.5.1", "host: evil.test\r\n", "host"),
        trailer("a coding in a trailer", "RFC 9110 6.5.1", "transfer-encoding: chunked\r\n", "transfer-encoding"),
        trailer("credentials in a trailer", "RFC 9110 6.5.1", "authorization: basic x\r\n", "authorization"),
        trailer("a Trailer in a trailer", "RFC 9110 6.5.1", "trailer: x-a\r\n", "trailer"),
        trailer("a track in a trailer", "SPEC 2.3", "x-serin-track: canary\r\n", "x-serin-track"),
        trailer("a flag in a trailer", "SPEC 2.3", "X_Feature_A: true\r\n", "x_feature_a"),
        trailer("an address in a trailer", "SPEC 2.3", "x-forwarded-for: 1.2.3.4\r\n", "x-forwarded-for"),
        broken("a bare CR in a trailer", "x-mine: a\rb\r\n"),
        broken("a NUL in a trailer", "x-mine: a\0b\r\n"),
        broken("a folded trailer", "x-mine: a\r\n b\r\n"),
        broken("a blank before a trailer's colon", "x-mine : a\r\n"),
        broken("a trailer without a colon", "x-mine\r\n"),
        broken("a trailer without a name", ": a\r\n"),
        broken("a trailer without end", &format!("x-mine: {}\r\n", "a".repeat(ENDLESS))),
        row("20,000 trailers", "RFC 9110 6.5", with(&"x-mine: a\r\n".repeat(20_000))).broken(),
        row("a bare LF after a trailer", "RFC 9112 2.2", with("x-mine: a\n")).broken_or(&[Body("hello")]),
        row("a request where trailers are", "RFC 9112 7.1.2", with("GET /smuggled HTTP/1.1\r\nhost: shop.test\r\n"))
            .broken(),
    ]
}
