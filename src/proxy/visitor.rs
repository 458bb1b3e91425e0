//! Whoever asks Serin itself, not an app: known by the same sources as a request's sender.

use std::net::IpAddr;

use http::HeaderMap;

use super::added::forwarded_for;
use super::identity::{CookieKey, Identifier, Identity, RequestAttributes};
use crate::config::{self, Networks};
use crate::decide::flags::Attribute;

/// Who a visitor is.
pub(crate) type VisitorIdentity<'a> = Identity<'a>;

/// What it takes to know a visitor.
#[derive(Debug)]
pub(crate) struct Visitor<'a> {
    pub(crate) config: &'a config::Identity,
    pub(crate) key: &'a CookieKey,
    /// Peers that are believed.
    pub(crate) trusted: &'a Networks,
    /// Where the connection comes from.
    pub(crate) peer: IpAddr,
}

impl Visitor<'_> {
    fn is_trusted(&self) -> bool {
        self.trusted.contain(self.peer)
    }

    /// Where it is.
    pub(crate) fn address(&self, headers: &HeaderMap) -> IpAddr {
        nearest_stranger(self.peer, self.trusted, headers)
    }

    /// Who it is, as far as its fields say; no cookie is made for it.
    pub(crate) fn identify<'h>(&self, headers: &'h HeaderMap) -> VisitorIdentity<'h> {
        let identifier = Identifier {
            config: self.config,
            key: self.key,
            trusted: self.is_trusted(),
            client: self.address(headers),
            needed: true,
            mints: false,
        };
        identifier.identify(headers)
    }

    /// Whether configuration says where an attribute stands.
    pub(crate) fn knows_attribute(&self, name: &str) -> bool {
        self.config.attributes.iter().any(|(own, _)| own == name)
    }

    /// What its fields say of an attribute.
    pub(crate) fn attribute<'h>(&'h self, headers: &'h HeaderMap, name: &str) -> Option<Attribute<'h>> {
        RequestAttributes { sources: &self.config.attributes, headers, trusted: self.is_trusted() }.find(name)
    }
}

/// The nearest address in X-Forwarded-For that is no trusted peer, else the peer.
pub(super) fn nearest_stranger(peer: IpAddr, trusted: &Networks, headers: &HeaderMap) -> IpAddr {
    if !trusted.contain(peer) {
        return peer;
    }
    let Some(list) = forwarded_for(headers) else { return peer };
    let mut addresses = list.rsplit(',').map_while(|text| text.trim().parse::<IpAddr>().ok());
    addresses.find(|address| !trusted.contain(*address)).unwrap_or(peer)
}
