//! What may never come through, asserted of any head: for whoever makes up heads.

use http::request::Parts;

use super::force;
use super::head::{self, admit};
use super::headers::{Protected, hop_by_hop};
use super::identity::{CookieKey, Identifier};
use crate::config::Config;
use crate::overrides;

/// Goes the way of a request with a head and asserts what holds of every head that is let
/// through: it names a host and a path without dot segments, and the app gets no field of
/// Serin's, of the connection's, nor an override.
#[doc(hidden)]
pub fn examine(parts: &Parts, config: &Config, trusted: bool) {
    let protected = Protected::new(&config.flags.headers.prefix);
    let identifier = Identifier {
        config: &config.identity,
        key: &CookieKey::new([7; 16]),
        trusted,
        client: std::net::IpAddr::from([192, 0, 2, 7]),
        mints: true,
        needed: true,
    };
    let identity = identifier.identify(&parts.headers);
    let Ok(head) = admit(parts, &config.limits, &protected, trusted) else { return };
    assert!(!head::host_name(head.authority).contains(['/', '@', ' ', ',']), "{:?}", head.authority);
    let path = head::routing_path(head.target.path());
    assert!(path.starts_with('/') || path == "*", "{path:?}");
    assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{path:?}");
    assert!(trusted || identity.user.is_none() && identity.groups.is_none(), "a stranger is believed");
    let mut headers = parts.headers.clone();
    for name in &head.gone {
        headers.remove(name);
    }
    force::remove_cookie(&mut headers);
    assert!(super::identity::cookie(&headers, overrides::COOKIE).is_none(), "an override goes to the app");
    for name in headers.keys() {
        assert!(!protected.covers(name.as_str(), trusted) && !hop_by_hop(name.as_str()), "{name} goes to the app");
    }
    if let Some(protocol) = head.upgrade {
        let token = String::from_utf8_lossy(protocol.as_bytes()).to_ascii_lowercase();
        assert!(!token.starts_with("h2c") && !token.contains([',', ' ']), "{token:?}");
    }
}
