//! Signed overrides: who holds one chooses the track, also at 0 % (SPEC 6).
//!
//! Owns: their text. Touches: nothing; the admin API makes them, the proxy reads them.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Secret;
use crate::subject::Track;

/// The header that carries one: one of the protected names, never passed on.
pub const HEADER: &str = "x-serin-force";
/// The cookie that carries one; never passed on either: it is the operator's, not the app's.
pub const COOKIE: &str = "serin_force";

/// `<track>.<expiry>.<HMAC-SHA256>`, the expiry in seconds since 1970.
pub fn seal(secret: &Secret, service: &str, track: Track, expiry: u64) -> String {
    let check = mac(secret, service, track, expiry).finalize().into_bytes();
    let digits: String = check.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{expiry}.{digits}", track.name())
}

/// The track that an override chooses, where it is a good one now.
pub fn open(secret: &Secret, service: &str, text: &str, now: u64) -> Option<Track> {
    let mut parts = text.trim().splitn(3, '.');
    let (track, expiry, digits) = (parts.next()?, parts.next()?.parse::<u64>().ok()?, parts.next()?);
    let track = Track::BOTH.into_iter().find(|known| known.name() == track)?;
    if expiry < now || digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut check = [0_u8; 32];
    for (byte, pair) in check.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    // Compared in constant time.
    mac(secret, service, track, expiry).verify_slice(&check).ok().map(|()| track)
}

/// Over lines, so that no two services and tracks share a text.
fn mac(secret: &Secret, service: &str, track: Track, expiry: u64) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("a key of any length");
    mac.update(format!("serin-force\n{service}\n{}\n{expiry}", track.name()).as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_the_secret_makes_one() {
        let secret = Secret::new("0123456789abcdef");
        let sealed = seal(&secret, "shop", Track::Canary, 1_000);
        assert_eq!(open(&secret, "shop", &sealed, 1_000), Some(Track::Canary));
        assert_eq!(open(&secret, "shop", &sealed, 1_001), None, "over");
        assert_eq!(open(&secret, "cart", &sealed, 0), None, "of another service");
        assert_eq!(open(&Secret::new("0123456789abcdeF"), "shop", &sealed, 0), None);
        let other = sealed.replace("canary", "stable");
        assert_eq!(open(&secret, "shop", &other, 0), None, "another track");
        assert_eq!(open(&secret, "shop", &sealed.replace("1000", "9000"), 0), None, "a longer life");
        for broken in ["", "canary", "canary.1000", "canary.1000.", "canary.x.00", "canary.1000.zz"] {
            assert_eq!(open(&secret, "shop", broken, 0), None, "{broken}");
        }
    }
}
