//! Is a request's head unambiguous? (RFC 9110 section 7, RFC 9112 sections 3 and 6)
//!
//! What hyper's parser lets through and what an app might read differently is
//! refused here, before anything is sent on.

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri};

use super::answer::Answer;
use crate::config::Limits;
use crate::telemetry::Refusal;

/// What routing needs of a head.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// The host as it came, with its port.
    pub(super) authority: &'a str,
    /// The target for the app: its path and query as they came.
    pub(super) target: Uri,
}

/// Looks at a head.
///
/// # Errors
/// The answer that refuses it.
pub(super) fn admit<'a>(parts: &'a Parts, limits: &Limits) -> Result<Head<'a>, Answer> {
    if parts.method == Method::CONNECT {
        return Err(bad("CONNECT is not served here"));
    }
    let authority = host(parts)?;
    let target = target(parts, authority)?;
    if target.path_and_query().is_some_and(|path| path.as_str().len() > limits.uri_bytes) {
        return Err(Answer::Refused(Refusal::UriTooLong, "the request's target is too long"));
    }
    if has_dot_segment(target.path()) {
        return Err(bad("the path has a `.` or `..` segment"));
    }
    body_length(parts, limits)?;
    Ok(Head { authority, target })
}

const fn bad(detail: &'static str) -> Answer {
    Answer::Refused(Refusal::BadRequest, detail)
}

fn host(parts: &Parts) -> Result<&str, Answer> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().ok_or(bad("the request has no Host"))?;
    if hosts.next().is_some() {
        return Err(bad("the request has several Hosts"));
    }
    let host = host.to_str().map_err(|_| bad("the Host is not a host"))?;
    if is_authority(host) { Ok(host) } else { Err(bad("the Host is not a host")) }
}

/// `host[:port]` without userinfo (RFC 3986 section 3.2).
fn is_authority(text: &str) -> bool {
    let (name, rest) = if let Some(inner) = text.strip_prefix('[') {
        match inner.split_once(']') {
            Some((address, rest)) if address.parse::<std::net::Ipv6Addr>().is_ok() => (address, rest),
            _ => return false,
        }
    } else {
        let end = text.find(':').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b);
        if !name.bytes().all(allowed) {
            return false;
        }
        (name, rest)
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let port_is_number = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    !name.is_empty() && port_is_number && (rest.is_empty() || rest.starts_with(':'))
}

/// Origin form for the app; an absolute form has to name the Host it came with.
fn target(parts: &Parts, authority: &str) -> Result<Uri, Answer> {
    let uri = &parts.uri;
    match (uri.authority(), uri.path_and_query()) {
        (None, Some(path)) if path.as_str().starts_with('/') => Ok(uri.clone()),
        (None, Some(path)) if path == "*" && parts.method == Method::OPTIONS => Ok(uri.clone()),
        (Some(named), path) if uri.scheme_str() == Some("http") || uri.scheme_str() == Some("https") => {
            if !named.as_str().eq_ignore_ascii_case(authority) {
                return Err(bad("the target names another host than the Host field"));
            }
            Ok(Uri::from(path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/"))))
        }
        _ => Err(bad("the target is neither a path nor an address")),
    }
}

fn body_length(parts: &Parts, limits: &Limits) -> Result<(), Answer> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(bad("a Transfer-Encoding other than chunked"));
    }
    let too_large = |limit: u64| {
        let length = parts.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok()?;
        (length > limit).then_some(())
    };
    match limits.body_bytes.and_then(too_large) {
        Some(()) => Err(Answer::Refused(Refusal::BodyTooLarge, "the request's body is too large")),
        None => Ok(()),
    }
}

/// `.` and `..`, in any spelling that an app may decode.
fn has_dot_segment(path: &str) -> bool {
    // Nearly all paths have neither: one look at their bytes.
    if !path.contains("/.") && !path.contains('%') {
        return false;
    }
    let dots = |segment: &str| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        // Some apps cut path parameters off before they look.
        matches!(plain.split(';').next(), Some("." | ".."))
    };
    // An encoded slash may be a segment's end for the app.
    path.replace("%2f", "/").replace("%2F", "/").split('/').any(dots)
}

/// The host for routing: lower case, without port and trailing dot.
pub(super) fn host_name(authority: &str) -> String {
    let end = match authority.strip_prefix('[') {
        Some(_) => authority.find(']').map_or(authority.len(), |end| end + 1),
        None => authority.find(':').unwrap_or(authority.len()),
    };
    authority[..end].trim_end_matches('.').to_ascii_lowercase()
}

/// The path for routing: percent-decoded once, several slashes as one.
pub(super) fn routing_path(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut decoded: Vec<u8> = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' { decode(&mut bytes) } else { byte };
        if !(byte == b'/' && decoded.last() == Some(&b'/')) {
            decoded.push(byte);
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The byte that two hexadecimal digits stand for; a stray percent sign is itself.
fn decode(bytes: &mut std::str::Bytes<'_>) -> u8 {
    let mut ahead = bytes.clone();
    let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
    match (digit(ahead.next()), digit(ahead.next())) {
        (Some(high), Some(low)) => {
            *bytes = ahead;
            (high * 16 + low) as u8
        }
        _ => b'%',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_host_is_an_authority_without_userinfo() {
        for fine in ["a", "a.b:80", "127.0.0.1", "[::1]:8080", "[::1]", "a:", "xn--bcher-kva.example"] {
            assert!(is_authority(fine), "{fine:?}");
        }
        for wrong in ["", ":80", "a b", "a/b", "u@a", "a:x", "a:123456", "[::1", "[::1]x", "[x]", "a\\b", "a:80:80"] {
            assert!(!is_authority(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn dot_segments_are_seen_in_every_spelling() {
        for path in ["/..", "/a/../b", "/%2e%2e/", "/.%2E", "/a/.", "/%2e/x", "/a%2f..%2fb", "/..;x/a"] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in ["/", "/a.b", "/.well-known/x", "/a..b", "/...", "/%41", "/a/..b"] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn routing_sees_the_decoded_path_and_the_bare_host() {
        assert_eq!(routing_path("/%61dmin//x%2"), "/admin/x%2");
        assert_eq!(host_name("Shop.Example.COM.:8080"), "shop.example.com");
        assert_eq!(host_name("[::1]:80"), "[::1]");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = (is_authority(&text), has_dot_segment(&text), routing_path(&text).len(), host_name(&text));
        }
    }
}
