//! Who a request is from: user, else session, else anonymous (SPEC 2.4).
//!
//! What a stranger writes may choose a bucket but never matches a rule: only
//! what is believed does (headers of trusted peers, sources with `trust`).

use std::borrow::Cow;
use std::hash::Hasher;
use std::net::IpAddr;

use http::header::{COOKIE, HeaderMap, HeaderValue};
use siphasher::sip::SipHasher24;

use crate::config::{self, Anonymous, Belief, Place, Source, Stick};
use crate::decide::flags::{Attribute, Attributes};

/// The name of Serin's own cookie.
pub(crate) const COOKIE_NAME: &str = "serin_id";
const ID_DIGITS: usize = 32;
const CHECK_DIGITS: usize = 16;
/// Ids are hashed and compared, never stored; a head's limit bounds them anyway.
const ID_BYTES_MAX: usize = 1024;

/// The secret that tells Serin's own `serin_id` from a made-up one.
#[derive(Clone, Copy)]
pub struct CookieKey([u8; 16]);

impl std::fmt::Debug for CookieKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieKey(…)")
    }
}

impl CookieKey {
    /// A key of these bytes.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// SipHash-2-4, a message authentication code for short texts.
    fn check(&self, id: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(id.as_bytes());
        hasher.finish()
    }

    /// Stands for an id where that must not be seen: the same one for the same id. No code
    /// of a cookie, as those are made of digits alone.
    pub(super) fn pseudonym(&self, id: &str) -> String {
        format!("{:016x}", self.check(&format!("pseudonym:{id}")))
    }

    /// The cookie's value for 128 random bits.
    pub(super) fn seal(&self, random: u128) -> String {
        let id = format!("{random:032x}");
        let check = self.check(&id);
        format!("{id}.{check:016x}")
    }

    /// The id in a cookie's value, where Serin made it.
    fn open<'a>(&self, value: &'a str) -> Option<&'a str> {
        let (id, check) = value.split_once('.')?;
        let expected = self.check(id);
        let given = u64::from_str_radix(check, 16).ok()?;
        (id.len() == ID_DIGITS && check.len() == CHECK_DIGITS && given == expected).then_some(id)
    }
}

/// Who a request is from.
#[derive(Debug, Default)]
pub(crate) struct Identity<'a> {
    /// What the deployment's bucket is drawn for.
    pub(crate) sticky: Option<Cow<'a, str>>,
    /// What the flags' buckets are drawn for.
    pub(crate) id: Option<Cow<'a, str>>,
    /// The user, where it is believed.
    pub(crate) user: Option<Cow<'a, str>>,
    /// The groups, where they are believed.
    pub(crate) groups: Option<Cow<'a, str>>,
    /// The cookie that the answer sets.
    pub(crate) minted: Option<String>,
}

/// What identification needs beyond the request.
pub(super) struct Identifier<'a> {
    pub(super) config: &'a config::Identity,
    pub(super) key: &'a CookieKey,
    /// Whether the peer's identity headers are believed.
    pub(super) trusted: bool,
    pub(super) client: IpAddr,
    /// Whether some answer depends on a bucket: else nobody needs a cookie.
    pub(super) needed: bool,
    /// Whether the answer may set one.
    pub(super) mints: bool,
}

impl Identifier<'_> {
    pub(super) fn identify<'h>(&self, headers: &'h HeaderMap) -> Identity<'h> {
        let (user, user_believed) = self.first(&self.config.user, headers);
        let session =
            if user.is_none() { self.config.session.iter().find_map(|place| value(place, headers)) } else { None };
        let (groups, groups_believed) = self.first(&self.config.group, headers);
        let own = user.clone().or(session);
        let mut identity = Identity {
            user: user.filter(|_| user_believed),
            groups: groups.filter(|_| groups_believed),
            ..Identity::default()
        };
        let browser = self.config.stick == Stick::Browser;
        let anonymous = if own.is_none() || browser { self.anonymous(headers, &mut identity.minted) } else { None };
        identity.sticky =
            if browser { anonymous.clone().or_else(|| own.clone()) } else { own.clone().or(anonymous.clone()) };
        identity.id = own.or(anonymous);
        identity
    }

    /// The first source that is present and not empty, and whether it is believed.
    fn first<'h>(&self, sources: &[Source], headers: &'h HeaderMap) -> (Option<Cow<'h, str>>, bool) {
        let found = sources.iter().find_map(|source| read(source, headers, self.trusted));
        found.map_or((None, false), |(value, believed)| (Some(value), believed))
    }

    fn anonymous<'h>(&self, headers: &'h HeaderMap, minted: &mut Option<String>) -> Option<Cow<'h, str>> {
        if !self.needed {
            return None;
        }
        match self.config.anonymous {
            Anonymous::Stable => None,
            Anonymous::Ip => Some(Cow::Owned(client_network(self.client))),
            Anonymous::Cookie => {
                let given = cookie(headers, COOKIE_NAME).and_then(|value| std::str::from_utf8(value).ok());
                given.and_then(|value| self.key.open(value)).map(Cow::Borrowed).or_else(|| self.mint(headers, minted))
            }
        }
    }

    /// A new id, for requests whose answer may set a cookie: not for a page's images and scripts.
    fn mint<'h>(&self, headers: &HeaderMap, minted: &mut Option<String>) -> Option<Cow<'h, str>> {
        let destination = headers.get("sec-fetch-dest").map(HeaderValue::as_bytes);
        let page = matches!(destination, None | Some(b"document" | b"iframe" | b"frame" | b"empty"));
        let mut random = [0_u8; 16];
        if !self.mints || !page || getrandom::fill(&mut random).is_err() {
            return None;
        }
        let value = self.key.seal(u128::from_le_bytes(random));
        let id = value[..ID_DIGITS].to_owned();
        *minted = Some(value);
        Some(Cow::Owned(id))
    }
}

/// What a source says, and whether it is believed; what is not signed where it should be
/// is not there.
fn read<'h>(source: &Source, headers: &'h HeaderMap, trusted: bool) -> Option<(Cow<'h, str>, bool)> {
    let found = text(&source.place, headers)?;
    let value = match (&source.belief, found) {
        (Belief::TrustedPeers | Belief::Anyone, found) => found,
        (Belief::Signed(signed), Cow::Borrowed(text)) => signed.open(text)?,
        // Bytes that are no text were signed by nobody.
        (Belief::Signed(_), Cow::Owned(_)) => return None,
    };
    let believed = match source.belief {
        Belief::TrustedPeers => trusted && matches!(source.place, Place::Header(_)),
        Belief::Anyone | Belief::Signed(_) => true,
    };
    (!value.is_empty() && value.len() <= ID_BYTES_MAX).then_some((value, believed))
}

/// What is known of whoever sent a request beyond who it is; read where a rule asks.
#[derive(Debug)]
pub(super) struct RequestAttributes<'a> {
    pub(super) sources: &'a [(String, Source)],
    pub(super) headers: &'a HeaderMap,
    pub(super) trusted: bool,
}

impl<'a> RequestAttributes<'a> {
    /// The attribute of this name, where it is believed.
    pub(super) fn find(&self, name: &str) -> Option<Attribute<'a>> {
        let found = self.sources.binary_search_by(|(own, _)| own.as_str().cmp(name)).ok()?;
        let (value, believed) = read(&self.sources[found].1, self.headers, self.trusted)?;
        believed.then_some(Attribute::Text(value))
    }
}

impl Attributes for RequestAttributes<'_> {
    fn get(&self, name: &str) -> Option<Attribute<'_>> {
        self.find(name)
    }
}

/// What a place says of a request, where it is present, not empty and not endless.
fn value<'h>(place: &Place, headers: &'h HeaderMap) -> Option<Cow<'h, str>> {
    text(place, headers).filter(|value| value.len() <= ID_BYTES_MAX)
}

/// What a place says of a request, where it is present and not empty.
fn text<'h>(place: &Place, headers: &'h HeaderMap) -> Option<Cow<'h, str>> {
    let value = match place {
        Place::Header(name) => headers.get(name).map(HeaderValue::as_bytes)?,
        Place::Cookie(name) => cookie(headers, name)?,
    };
    let value = value.trim_ascii();
    (!value.is_empty()).then(|| String::from_utf8_lossy(value))
}

/// An IPv6 client has a whole /64 to choose from.
fn client_network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// A cookie's value (RFC 6265 section 4.2).
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    headers.get_all(COOKIE).iter().find_map(|field| {
        field.as_bytes().split(|b| *b == b';').find_map(|pair| {
            let value = pair.trim_ascii_start().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?.trim_ascii_end();
            Some(value.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(value))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: CookieKey = CookieKey::new([7; 16]);

    fn config() -> config::Identity {
        let text = "listen: 127.0.0.1:0\nstable: http://a";
        config::from_text(text, std::path::Path::new("t")).unwrap().identity
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn identifier(config: &config::Identity) -> Identifier<'_> {
        Identifier { config, key: &KEY, trusted: false, client: IpAddr::from([10, 1, 2, 3]), needed: true, mints: true }
    }

    #[test]
    fn a_user_comes_before_a_session_before_a_browser() {
        let config = config();
        let id =
            |fields: &[(&'static str, &str)]| identifier(&config).identify(&headers(fields)).id.map(Cow::into_owned);
        let cookie = format!("a=b; serin_id={}; session_id=s-1", KEY.seal(5));
        assert_eq!(id(&[("x-user-id", " u-1 "), ("cookie", &cookie)]).as_deref(), Some("u-1"));
        assert_eq!(id(&[("x-user-id", ""), ("cookie", &cookie)]).as_deref(), Some("s-1"));
        let anonymous = format!("serin_id={}", KEY.seal(5));
        assert_eq!(id(&[("cookie", &anonymous)]), Some(format!("{:032x}", 5)));
    }

    #[test]
    fn a_stranger_chooses_a_bucket_and_no_rule() {
        let config = config();
        let fields = headers(&[("x-user-id", "boss"), ("x-user-group", "staff")]);
        let stranger = identifier(&config).identify(&fields);
        assert_eq!((stranger.id.as_deref(), stranger.user, stranger.groups), (Some("boss"), None, None));
        let trusted = Identifier { trusted: true, ..identifier(&config) }.identify(&fields);
        assert_eq!((trusted.user.as_deref(), trusted.groups.as_deref()), (Some("boss"), Some("staff")));
    }

    #[test]
    fn a_made_up_cookie_counts_as_none() {
        let config = config();
        let made_up = format!("serin_id={:032x}.{:016x}", 5, 6);
        let fields = headers(&[("cookie", &made_up)]);
        let identity = identifier(&config).identify(&fields);
        let minted = identity.minted.expect("a new one is made");
        assert_eq!(identity.id.as_deref(), Some(&minted[..32]));
        assert_ne!(identity.id, Some(Cow::Owned(format!("{:032x}", 5))));
    }

    #[test]
    fn no_cookie_is_made_where_nobody_needs_one_nor_for_a_pages_images() {
        let config = config();
        let (none, image) = (HeaderMap::new(), headers(&[("sec-fetch-dest", "image")]));
        let unneeded = Identifier { needed: false, ..identifier(&config) }.identify(&none);
        assert!(unneeded.id.is_none() && unneeded.minted.is_none());
        let image = identifier(&config).identify(&image);
        assert!(image.id.is_none() && image.minted.is_none());
    }

    #[test]
    fn an_address_is_an_identity_where_configuration_says_so() {
        let config = config::Identity { anonymous: Anonymous::Ip, ..config() };
        let id = |client: &str| {
            let client = client.parse().unwrap();
            Identifier { client, ..identifier(&config) }.identify(&HeaderMap::new()).id.map(Cow::into_owned)
        };
        assert_eq!(id("10.1.2.3").as_deref(), Some("10.1.2.3"));
        assert_eq!(id("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::/64"));
        assert_eq!(id("::ffff:10.1.2.3").as_deref(), Some("10.1.2.3"));
    }

    #[test]
    fn a_browser_keeps_its_bucket_through_sign_in() {
        let config = config::Identity { stick: Stick::Browser, ..config() };
        let cookie = format!("serin_id={}", KEY.seal(9));
        let fields = headers(&[("x-user-id", "u"), ("cookie", &cookie)]);
        let identity = identifier(&config).identify(&fields);
        assert_eq!(identity.sticky, Some(Cow::Owned(format!("{:032x}", 9))));
        assert_eq!(identity.id.as_deref(), Some("u"));
    }
}
