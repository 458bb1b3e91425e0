//! Is a request's head unambiguous? (RFC 9110 section 7, RFC 9112 sections 3 and 6)
//!
//! What hyper's parser lets through and what an app might read differently is
//! refused here, before anything is sent on.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri, Version};

use super::answer::Answer;
use super::headers::{self, Protected};
use crate::config::Limits;
use crate::telemetry::Refusal;

/// What the way of a request needs of its head.
#[derive(Debug)]
pub(super) struct Head<'a> {
    /// The host as it came, with its port.
    pub(super) authority: &'a str,
    /// The same as the field's value.
    pub(super) host: &'a HeaderValue,
    /// The target for the app: its path and query as they came.
    pub(super) target: Uri,
    /// The fields that are not for the app; mostly none.
    pub(super) gone: Vec<HeaderName>,
    /// The client's request id, whatever it looks like.
    pub(super) request_id: Option<&'a HeaderValue>,
    /// The protocol that the connection is to become one of.
    pub(super) upgrade: Option<&'a HeaderValue>,
    /// Whether the client takes trailers (RFC 9110 section 10.1.4).
    pub(super) trailers: bool,
}

/// Looks at a head.
///
/// # Errors
/// The answer that refuses it.
pub(super) fn admit<'a>(
    parts: &'a Parts,
    limits: &Limits,
    protected: &Protected,
    trusted: bool,
) -> Result<Head<'a>, Answer> {
    if parts.method == Method::CONNECT {
        return Err(bad("CONNECT is not served here"));
    }
    if parts.headers.len() > limits.headers {
        return Err(Answer::Refused(Refusal::HeadersTooMany, "the request's head has too many fields"));
    }
    // Over HTTP/1.1 the parser counts them.
    if parts.version == Version::HTTP_2 && head_bytes(parts) > limits.header_bytes {
        return Err(Answer::Refused(Refusal::HeadersTooMany, "the request's head is too large"));
    }
    let fields = Fields::survey(&parts.headers, protected, trusted)?;
    let host = fields.host.ok_or(bad("the request has no Host"))?;
    let authority = host.to_str().ok().filter(|host| is_authority(host)).ok_or(bad("the Host is not a host"))?;
    let target = target(parts, authority)?;
    if target.path_and_query().is_some_and(|path| path.as_str().len() > limits.uri_bytes) {
        return Err(Answer::Refused(Refusal::UriTooLong, "the request's target is too long"));
    }
    if has_dot_segment(target.path()) {
        return Err(bad("the path has a `.` or `..` segment"));
    }
    if let (Some(limit), Some(length)) = (limits.body_bytes, fields.length)
        && length > limit
    {
        return Err(Answer::Refused(Refusal::BodyTooLarge, "the request's body is too large"));
    }
    let upgrade = fields.wanted_upgrade().filter(|_| parts.version == Version::HTTP_11);
    let Fields { gone, request_id, trailers, .. } = fields;
    Ok(Head { authority, host, target, gone, request_id, upgrade, trailers })
}

/// As many as HTTP/1.1 would need.
fn head_bytes(parts: &Parts) -> usize {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    parts.headers.iter().map(field).sum::<usize>() + target
}

/// The fields that matter on the way, found in one pass.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a HeaderValue>,
    length: Option<u64>,
    measured: bool,
    chunked: bool,
    gone: Vec<HeaderName>,
    request_id: Option<&'a HeaderValue>,
    upgrade: Option<&'a HeaderValue>,
    upgrades: usize,
    /// Connection names it (RFC 9110 section 7.8).
    upgrade_is_named: bool,
    trailers: bool,
}

impl<'a> Fields<'a> {
    /// One protocol, asked for as it should be, by a request without a body. HTTP/2 is none:
    /// that begins by ALPN or with prior knowledge (RFC 9113 section 3.1).
    fn wanted_upgrade(&self) -> Option<&'a HeaderValue> {
        let protocol = self.upgrade.filter(|_| self.upgrades == 1 && self.upgrade_is_named)?;
        let token = protocol.as_bytes();
        let one = token.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',');
        let http = token.len() >= 3 && token[..3].eq_ignore_ascii_case(b"h2c")
            || token.len() >= 4 && token[..4].eq_ignore_ascii_case(b"http");
        let body = self.chunked || self.length.is_some_and(|length| length > 0);
        (!token.is_empty() && one && !http && !body).then_some(protocol)
    }

    fn survey(headers: &'a HeaderMap, protected: &Protected, trusted: bool) -> Result<Self, Answer> {
        let mut fields = Self::default();
        for (name, value) in headers {
            match name.as_str() {
                "host" if fields.host.replace(value).is_some() => return Err(bad("the request has several Hosts")),
                // Over HTTP/1.1 the parser has made one of equal ones.
                "content-length" if std::mem::replace(&mut fields.measured, true) => {
                    return Err(bad("the request has several Content-Lengths"));
                }
                "content-length" => fields.length = value.to_str().ok().and_then(|text| text.parse().ok()),
                "transfer-encoding" => {
                    let twice = std::mem::replace(&mut fields.chunked, true);
                    if twice || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                        return Err(bad("a Transfer-Encoding other than chunked"));
                    }
                    fields.gone.push(name.clone());
                }
                "connection" => {
                    let before = fields.gone.len();
                    headers::add_named(value, &mut fields.gone);
                    headers::check_named(&fields.gone[before..])?;
                    fields.upgrade_is_named |= fields.gone[before..].contains(&UPGRADE);
                    fields.gone.push(name.clone());
                }
                "upgrade" => {
                    fields.upgrade = Some(value);
                    fields.upgrades += 1;
                    fields.gone.push(name.clone());
                }
                "te" => {
                    let token = |part: &[u8]| part.trim_ascii().eq_ignore_ascii_case(b"trailers");
                    fields.trailers |= value.as_bytes().split(|byte| *byte == b',').any(token);
                    fields.gone.push(name.clone());
                }
                "x-request-id" => {
                    // Written anew, whether it is taken over or not.
                    fields.request_id = Some(value);
                    fields.gone.push(name.clone());
                }
                text if headers::hop_by_hop(text) || protected.covers(text, trusted) => fields.gone.push(name.clone()),
                _ => {}
            }
        }
        Ok(fields)
    }
}

const fn bad(detail: &'static str) -> Answer {
    Answer::Refused(Refusal::BadRequest, detail)
}

/// Bytes of a host's name. RFC 3986 section 3.2.2 has more, which no host uses: a comma that
/// makes two of one, a percent sign that says it in another way.
const REG_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let others = b"-._~";
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut index = 0;
    while index < others.len() {
        table[others[index] as usize] = true;
        index += 1;
    }
    table
};

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
        if !name.bytes().all(|byte| REG_NAME[usize::from(byte)]) {
            return false;
        }
        (name, rest)
    };
    let port = rest.strip_prefix(':').unwrap_or(rest);
    let port_is_number = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    !name.trim_matches('.').is_empty() && port_is_number && (rest.is_empty() || rest.starts_with(':'))
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
            let path = path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
            // Behind an authority the path may be left out: `/` is meant. HTTP/2 says it (RFC 9113
            // section 8.3.1).
            let left_out = path.as_str().starts_with('?') && parts.version != Version::HTTP_2;
            let fits = path.as_str().starts_with('/') || (path == "*" && parts.method == Method::OPTIONS);
            if !fits && !left_out {
                return Err(bad("the target is neither a path nor an address"));
            }
            // Behind an authority the parser takes a fragment for a path that is empty.
            let target = Uri::from(path);
            Ok(if target.path().is_empty() { Uri::from_static("/") } else { target })
        }
        _ => Err(bad("the target is neither a path nor an address")),
    }
}

/// `.` and `..`, in any spelling that an app may decode.
fn has_dot_segment(path: &str) -> bool {
    // Nearly all paths have neither: one look at their bytes.
    if !path.bytes().any(|byte| matches!(byte, b'.' | b'%')) {
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
        for wrong in [
            "", ".", ":80", "a,b", "%61", "a b", "a/b", "u@a", "a:x", "a:123456", "[::1", "[::1]x", "[x]", "a\\b",
            "a:80:80",
        ] {
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

    #[test]
    fn a_target_is_never_empty() {
        for target in ["http://a", "http://a/", "http://a#b", "http://a#/b?c", "http://a?b"] {
            let mut request = http::Request::new(());
            *request.uri_mut() = target.parse().unwrap();
            let target = super::target(&request.into_parts().0, "a").unwrap_or_else(|_| panic!("{target}"));
            assert!(target.to_string().starts_with('/'), "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".*") {
            let _ = (is_authority(&text), has_dot_segment(&text), routing_path(&text).len(), host_name(&text));
        }
    }
}
