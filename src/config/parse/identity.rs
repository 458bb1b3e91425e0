//! When a source of identity is believed: `trust`, `verify`, `jwt`.

use std::sync::Arc;

use super::admin::secret;
use crate::config::checked::Belief;
use crate::config::node::{Map, Node};
use crate::signed::{JwtKey, JwtRules, Signed};

pub(super) fn belief(node: &Node<'_>, map: &Map<'_>) -> Option<Belief> {
    let trust = map.read("trust", Node::boolean);
    let (verify, jwt) = (map.maybe("verify", secret), map.maybe("jwt", jwt));
    let trust = trust?.then_some(Belief::Anyone);
    let verify = verify?.map(|secret| Belief::Signed(Arc::new(Signed::hmac(secret.bytes()))));
    let jwt = jwt?.map(|jwt| Belief::Signed(Arc::new(jwt)));
    let mut given = [trust, verify, jwt].into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Some(Belief::TrustedPeers),
        (Some(belief), None) => Some(belief),
        (Some(_), Some(_)) => node.expected("a source has one of `trust: true`, `verify` and `jwt`"),
    }
}

fn jwt(node: &Node<'_>) -> Option<Signed> {
    let map = node.map()?;
    let (by_secret, by_key) = (map.maybe("secret", secret), map.maybe("key", Node::file));
    let by_set = map.maybe("jwks", Node::file);
    let claim = map.read("claim", Node::text);
    let (issuer, audience) = (map.maybe("issuer", Node::text), map.maybe("audience", Node::text));
    let key = match (by_secret?, by_key?, by_set?) {
        (Some(secret), None, None) => JwtKey::Secret(secret.bytes().to_vec()),
        (None, Some(file), None) => JwtKey::Pem(file),
        (None, None, Some(file)) => JwtKey::Set(file),
        _ => return node.expected("one of `secret`, `key` and `jwks` is expected here"),
    };
    let rules = JwtRules { claim: claim?, issuer: issuer?, audience: audience? };
    let hint = Some("paths begin at the folder that Serin is started in".to_owned());
    Signed::jwt(key, rules).map_err(|error| node.wrong(error.to_string(), hint)).ok()
}
