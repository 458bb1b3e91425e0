//! Which header fields pass, in which order they are removed and added (SPEC 2.3).
//!
//! What is not for the app is taken out of the client's fields first, what is
//! injected comes last: nothing that a client writes can remove or replace it.

use std::time::Duration;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPIRES, HOST, HeaderMap, HeaderName,
    HeaderValue, TRANSFER_ENCODING,
};
use http::{Response, StatusCode};

use super::answer::Answer;
use crate::telemetry::Refusal;

pub(super) static X_SERIN_TRACK: HeaderName = HeaderName::from_static("x-serin-track");
pub(super) static X_SERIN_VERSION: HeaderName = HeaderName::from_static("x-serin-version");
pub(super) static X_SERIN_REASON: HeaderName = HeaderName::from_static("x-serin-reason");
pub(super) static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) static FEATURE_FLAGS: HeaderName = HeaderName::from_static("feature-flags");

pub(super) static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a message is gRPC's.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        // gRPC-Web says its status in the body.
        value.starts_with(TYPE) && matches!(value.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
    })
}

/// Longest request id that is passed on.
const REQUEST_ID_MAX: usize = 128;

/// The names that only Serin may write.
#[derive(Debug)]
pub(super) struct Protected {
    /// What flag headers begin with, folded.
    prefix: Box<[u8]>,
}

/// Apps fold header names (`X_Feature_A`, `HTTP_X_FEATURE_A`): every byte that is
/// no letter or digit is read as `-`. Names are in lower case already.
fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

fn folded_starts(name: &[u8], prefix: &[u8]) -> bool {
    name.len() >= prefix.len() && name.iter().zip(prefix).all(|(byte, expected)| fold(*byte) == *expected)
}

fn folded_is(name: &[u8], expected: &[u8]) -> bool {
    name.len() == expected.len() && folded_starts(name, expected)
}

impl Protected {
    pub(super) fn new(flag_prefix: &str) -> Self {
        Self { prefix: flag_prefix.bytes().map(fold).collect() }
    }

    /// Whether a client may not write this name; more so where it is not trusted.
    pub(super) fn covers(&self, name: &str, trusted: bool) -> bool {
        let name = name.as_bytes();
        let first = name[0];
        if first != self.prefix[0] && first != b'x' && first != b'f' {
            return false;
        }
        let serins =
            folded_starts(name, &self.prefix) || folded_starts(name, b"x-serin-") || folded_is(name, b"feature-flags");
        let forwarding =
            || folded_starts(name, b"x-forwarded-") || folded_is(name, b"forwarded") || folded_is(name, b"x-real-ip");
        serins || (!trusted && forwarding())
    }
}

/// Fields of one connection only (RFC 9110 section 7.6.1).
pub(super) fn hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "te" | "upgrade" | "http2-settings"
    )
}

/// Adds the fields that a Connection field names.
pub(super) fn add_named(connection: &HeaderValue, named: &mut Vec<HeaderName>) {
    for token in connection.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
        let option = token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive");
        if !option && let Ok(name) = HeaderName::from_bytes(token) {
            named.push(name);
        }
    }
}

/// Refuses a request whose Connection names a field that must not be lost on the way.
///
/// # Errors
/// With the answer that says so.
pub(super) fn check_named(named: &[HeaderName]) -> Result<(), Answer> {
    if named.iter().any(|name| [HOST, CONTENT_LENGTH, COOKIE, AUTHORIZATION].contains(name)) {
        return Err(Answer::Refused(Refusal::BadRequest, "Connection names a field that is not its own"));
    }
    Ok(())
}

/// Whether a client's request id is passed on: 1 to 128 of `[A-Za-z0-9._-]`.
pub(super) fn is_request_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    !bytes.is_empty() && bytes.len() <= REQUEST_ID_MAX && bytes.iter().all(allowed)
}

/// Removes from an answer what is not for the client. The value is how long the
/// app keeps an idle connection, where it says so.
pub(super) fn clean_answer(headers: &mut HeaderMap) -> Option<Duration> {
    let mut gone = Vec::new();
    let mut kept_for = None;
    for (name, value) in headers.iter() {
        if hop_by_hop(name.as_str()) {
            match name.as_str() {
                "connection" => add_named(value, &mut gone),
                "keep-alive" => kept_for = keep_alive_timeout(value),
                _ => {}
            }
            gone.push(name.clone());
        } else if serins_own(name) {
            gone.push(name.clone());
        }
    }
    for name in gone {
        headers.remove(name);
    }
    kept_for
}

/// Whether an answer's length can be told in one way only; where it said so twice alike, it
/// says so once now (RFC 9110 section 8.6, RFC 9112 section 6.3).
pub(super) fn has_one_length<B>(response: &mut Response<B>) -> bool {
    let status = response.status();
    let headers = response.headers_mut();
    let (mut codings, mut chunked_only) = (0, true);
    let (mut lengths, mut length) = (0, None);
    let mut as_it_should_be = true;
    for (name, value) in headers.iter() {
        if name == TRANSFER_ENCODING {
            codings += 1;
            chunked_only &= codings == 1 && value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
        } else if name == CONTENT_LENGTH {
            for part in value.as_bytes().split(|byte| *byte == b',') {
                lengths += 1;
                let one = number(part);
                if one.is_none() || *length.get_or_insert(one) != one {
                    return false;
                }
                as_it_should_be &= lengths == 1 && !part.starts_with(b"0") && part.trim_ascii().len() == part.len();
            }
        }
    }
    if !chunked_only || (codings > 0 && lengths > 0) {
        return false;
    }
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
    } else if let (Some(length), false) = (length.flatten(), as_it_should_be) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    true
}

/// `1*DIGIT`, with white space around.
fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii();
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    digits.then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten()
}

/// Names by which Serin speaks: an app cannot use them towards clients.
pub(super) fn serins_own(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    matches!(name[0], b'x' | b's') && (folded_starts(name, b"x-serin-") || folded_is(name, b"serin-error"))
}

/// `timeout=N`: one second less, so that the app is never the first to close.
fn keep_alive_timeout(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    Some(Duration::from_secs(seconds.trim().parse::<u64>().ok()?.saturating_sub(1)))
}

/// Whether shared caches may keep an answer by its own word (RFC 9111 section 3).
pub(super) fn shared_cacheable(headers: &HeaderMap) -> bool {
    let Some(control) = headers.get(CACHE_CONTROL) else { return headers.contains_key(EXPIRES) };
    let Ok(control) = control.to_str() else { return true };
    let has = |directive: &str| {
        control.split(',').any(|part| part.split('=').next().unwrap_or_default().trim().eq_ignore_ascii_case(directive))
    };
    !has("private") && !has("no-store") && (has("public") || has("s-maxage") || has("max-age"))
}

/// While users are split, a shared cache must not hand one user's answer to another.
pub(super) fn make_private(headers: &mut HeaderMap) {
    let Some(control) = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()) else { return };
    if !shared_cacheable(headers) {
        return;
    }
    let shared =
        |part: &&str| !part.eq_ignore_ascii_case("public") && !part.to_ascii_lowercase().starts_with("s-maxage");
    let kept: Vec<&str> = control.split(',').map(str::trim).filter(shared).collect();
    let text = std::iter::once("private").chain(kept).collect::<Vec<_>>().join(", ");
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(CACHE_CONTROL, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> HeaderName {
        HeaderName::from_bytes(text.as_bytes()).unwrap()
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (name(n), HeaderValue::from_str(v).unwrap())).collect()
    }

    #[test]
    fn protected_names_are_known_in_every_spelling() {
        let protected = Protected::new("x-feature-");
        let every = [
            "x-feature-a",
            "X_Feature_A",
            "x.feature.a",
            "x~feature-",
            "feature-flags",
            "Feature_Flags",
            "x-serin-track",
            "x_serin_force",
            "X|Serin|Anything",
        ];
        for spelling in every {
            assert!(protected.covers(name(spelling).as_str(), true), "{spelling}");
        }
        for forwarding in ["x-forwarded-for", "x_forwarded_proto", "forwarded", "x-real-ip", "X_Real_IP"] {
            assert!(protected.covers(name(forwarding).as_str(), false), "{forwarding}");
            assert!(!protected.covers(name(forwarding).as_str(), true), "{forwarding} of a trusted peer");
        }
        for other in ["x-features", "x-serin", "host", "accept", "x-request-id", "x-user-id", "forwarded-x"] {
            assert!(!protected.covers(name(other).as_str(), false), "{other}");
        }
    }

    #[test]
    fn an_answer_loses_what_is_not_for_the_client() {
        let mut answer = headers(&[
            ("connection", "x-private"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5, max=100"),
            ("x-serin-outcome", "error"),
            ("Serin_Error", "x"),
            ("x-app", "1"),
            ("server", "app"),
        ]);
        assert_eq!(clean_answer(&mut answer), Some(Duration::from_secs(4)));
        let names: Vec<&str> = answer.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-app", "server"]);
    }

    #[test]
    fn a_split_service_is_not_cached_for_others() {
        for (given, expected) in [
            ("public, max-age=60", "private, max-age=60"),
            ("max-age=60", "private, max-age=60"),
            ("s-maxage=5, public", "private"),
            ("private, max-age=1", "private, max-age=1"),
            ("no-store", "no-store"),
            ("no-cache", "no-cache"),
        ] {
            let mut answer = headers(&[("cache-control", given)]);
            make_private(&mut answer);
            assert_eq!(answer.get(CACHE_CONTROL).unwrap(), expected);
        }
    }

    #[test]
    fn request_ids_are_passed_on_where_they_are_harmless() {
        assert!(is_request_id(&HeaderValue::from_static("a-B_9.z")));
        for wrong in ["", "a b", "a\"b", &"a".repeat(129)] {
            assert!(!is_request_id(&HeaderValue::from_str(wrong).unwrap()), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_flag_header_passes(separators in prop::collection::vec("[-_.~|!#$%&'*+^`]", 3), rest in "[a-zA-Z0-9_-]{1,20}") {
            let spelling = format!("X{}Feature{}{rest}", separators[0], separators[1]);
            prop_assert!(Protected::new("x-feature-").covers(name(&spelling).as_str(), true));
        }
    }
}
