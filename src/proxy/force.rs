//! A request's override: where it stands, and that the app never sees it.

use http::header::{COOKIE, HeaderMap};

use super::identity::cookie;
use crate::config::Secret;
use crate::overrides;
use crate::subject::Track;

/// The track that a request's override chooses, where it has a good one.
pub(super) fn forced(secret: &Secret, service: &str, headers: &HeaderMap, now: u64) -> Option<Track> {
    let by_header = headers.get(overrides::HEADER).and_then(|value| value.to_str().ok());
    let by_cookie = || cookie(headers, overrides::COOKIE).and_then(|value| std::str::from_utf8(value).ok());
    overrides::open(secret, service, by_header.or_else(by_cookie)?, now)
}

/// The client's Cookie fields without the override.
pub(super) fn remove_cookie(headers: &mut HeaderMap) {
    if cookie(headers, overrides::COOKIE).is_none() {
        return;
    }
    let fields: Vec<_> = headers.get_all(COOKIE).iter().cloned().collect();
    headers.remove(COOKIE);
    for field in fields {
        let others = field.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let own = |pair: &&[u8]| pair.split(|byte| *byte == b'=').next() != Some(overrides::COOKIE.as_bytes());
        let kept: Vec<&[u8]> = others.filter(own).collect();
        if !kept.is_empty()
            && let Ok(value) = http::HeaderValue::from_bytes(&kept.join(&b"; "[..]))
        {
            headers.append(COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_never_sees_the_cookie() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, "a=1; serin_force=x; b=2".parse().unwrap());
        headers.append(COOKIE, "serin_force=y".parse().unwrap());
        remove_cookie(&mut headers);
        let left: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(left, ["a=1; b=2"]);
    }
}
