//! The listener for apps on their users' devices.

use super::{address, admin, all, networks, tls};
use crate::config::checked::{Ofrep, Origins};
use crate::config::node::Node;
use crate::tls::ServerTls;

pub(super) fn ofrep(node: &Node<'_>) -> Option<Ofrep> {
    let map = node.map()?;
    let (address, tls) = (map.read("address", address), map.maybe("tls", |node| tls::server(node, ServerTls::http1)));
    let path = map.read("path", Node::text);
    let trusted = map.read("trustedProxies", networks);
    let tokens = map.read("tokens", |node| all(node.list()?.iter().map(admin::secret)));
    let origins = map.read("origins", |node| all(node.list()?.iter().map(origin)));
    let (requests_per_second, burst) = (map.read("requestsPerSecond", Node::number), map.read("burst", Node::number));
    let events = map.read("events", Node::boolean);
    let origins = origins?;
    Some(Ofrep {
        address: address?,
        tls: tls?,
        path: path?.trim_end_matches('/').to_owned(),
        trusted: trusted?,
        tokens: tokens?,
        origins: Origins {
            any: origins.iter().any(|origin| origin == "*"),
            named: origins.into_iter().filter(|origin| origin != "*").collect(),
        },
        requests_per_second: requests_per_second?,
        burst: burst?,
        events: events?,
    })
}

/// Browsers send scheme, host and port, in lower case and without a path (RFC 6454 section 7).
fn origin(node: &Node<'_>) -> Option<String> {
    let text = node.text()?.to_ascii_lowercase();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains('/')) {
        Some(text)
    } else {
        node.expected("an origin is a scheme and a host, as in https://shop.example.com; `*` is all of them")
    }
}
