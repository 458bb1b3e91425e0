//! `services`, or the three-line form: hosts, pools, deadlines, what counts as an error.

use std::collections::HashMap;

use super::admin::secret;
use super::deploy::deploy;
use super::{all, header_name, tls, upstream};
use crate::config::checked::*;
use crate::config::error_rule::StatusSet;
use crate::config::keys;
use crate::config::node::{Map, Node};
use crate::tls::{ClientTls, TlsOptions};

/// The name of the only service of the three-line form.
const DEFAULT_SERVICE: &str = "default";

pub(super) fn services(map: &Map<'_>) -> Option<Vec<Service>> {
    match (map.given("services"), map.given("stable")) {
        (Some(services), None) => {
            if let Some(canary) = map.given("canary") {
                canary.wrong("`canary` belongs to the three-line form; with `services` each one has its own", None);
            }
            named_services(&services)
        }
        (None, Some(stable)) => Some(vec![three_line_service(map, &stable)?]),
        (Some(_), Some(stable)) => {
            let hint = Some("`stable: POOL` stands inside of each service".to_owned());
            stable.wrong("both `stable` and `services` are given: `stable` belongs to the three-line form", hint);
            None
        }
        (None, None) => {
            let hint = "for example `stable: http://127.0.0.1:3000`".to_owned();
            map.node.wrong("neither `stable` nor `services` is given: where the app is", Some(hint));
            None
        }
    }
}

fn three_line_service(map: &Map<'_>, stable: &Node<'_>) -> Option<Service> {
    let pool = |name: &str, node: &Node<'_>| -> Option<Pool> {
        let endpoints = endpoints(node, None)?;
        Some(Pool { name: name.to_owned(), endpoints, version: PoolVersion::Unknown })
    };
    // Both are read before the first that is wrong ends it.
    let (stable, canary) = (pool("a", stable), map.maybe("canary", |node| pool("b", node)));
    let mut pools = vec![stable?];
    pools.extend(canary?);
    let canary = (pools.len() == 2).then_some(1);
    settings(&map.defaults(&keys::SERVICE), DEFAULT_SERVICE)?.with(pools, Some(0), canary)
}

fn named_services(node: &Node<'_>) -> Option<Vec<Service>> {
    let entries = node.entries()?;
    let services = all(entries.iter().map(|(name, node)| service(name, node)))?;
    if services.is_empty() {
        return node.expected("one service at least is expected here");
    }
    let mut known: HashMap<(&str, Option<&Host>), &str> = HashMap::new();
    for (service, (_, place)) in services.iter().zip(&entries) {
        let hosts = service.hosts.iter().map(Some).chain(service.hosts.is_empty().then_some(None));
        let twin = hosts.filter_map(|host| known.insert((&service.path, host), &service.name)).next();
        if let Some(twin) = twin {
            place.wrong(
                format!("services {twin} and {} match the same host and path", service.name),
                Some("another `match: { hosts: […], path: … }` tells them apart".to_owned()),
            );
        }
    }
    Some(services)
}

fn service(name: &str, node: &Node<'_>) -> Option<Service> {
    let map = node.map()?;
    if !label(name) {
        node.wrong(format!("`{name}` is no name: letters, digits, `.`, `_`, `-`, at most 64 of them"), None);
    }
    let settings = settings(&map, name);
    let pools: Option<Vec<Pool>> = map.read("pools", |node| match node.entries()? {
        pools if pools.is_empty() => node.expected("one pool at least is expected here"),
        pools => all(pools.iter().map(|(name, node)| pool(name, node))),
    });
    let Some(pools) = pools else {
        // What is missing is said all the same.
        let (_, _) = (map.read("stable", Node::text), map.maybe("canary", Node::text));
        return None;
    };
    let role = |node: &Node<'_>| {
        let name = node.text()?;
        let found = pools.iter().position(|pool| pool.name == name);
        if found.is_none() {
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            return node.expected(&format!("allowed are this service's pools: {}", names.join(", ")));
        }
        found
    };
    let (stable, canary) = (map.read("stable", role), map.maybe("canary", role));
    if let (Some(stable), Some(Some(canary))) = (stable, canary)
        && stable == canary
    {
        let place = map.given("canary").unwrap_or_else(|| node.clone());
        place.wrong(format!("{}.canary and stable are the same pool", node.path), None);
    }
    settings?.with(pools, stable, canary?)
}

/// All of a service but its pools.
struct Settings(Service);

impl Settings {
    fn with(self, pools: Vec<Pool>, stable: Option<usize>, canary: Option<usize>) -> Option<Service> {
        Some(Service { pools, stable: stable?, canary, ..self.0 })
    }
}

fn settings(map: &Map<'_>, name: &str) -> Option<Settings> {
    let matching = map.read("match", matching);
    let (balance, slow_start) =
        (map.read("balance", |node| node.word(&keys::BALANCE)), map.read("slowStart", Node::span));
    let (health, ejection) = (map.maybe("health", upstream::health), map.read("ejection", upstream::ejection));
    let (connections, timeouts) = (map.read("connections", upstream::connections), map.read("timeouts", timeouts));
    let (errors, retry) = (map.read("errors", errors), map.read("retry", upstream::retry));
    let (shield, skew) = (map.read("shield", upstream::shield), map.read("skew", upstream::skew));
    let deploy = map.read("deploy", deploy);
    let override_secret = map.maybe("overrides", |node| node.map()?.read("secret", secret));
    let (hosts, path) = matching?;
    Some(Settings(Service {
        name: name.to_owned(),
        hosts,
        path,
        pools: Vec::new(),
        stable: 0,
        canary: None,
        balance: balance?,
        slow_start: slow_start?,
        health: health?,
        ejection: ejection?,
        connections: connections?,
        timeouts: timeouts?,
        errors: errors?,
        retry: retry?,
        shield: shield?,
        skew: skew?,
        deploy: deploy?,
        override_secret: override_secret?,
    }))
}

/// What may be a metric's label, a path segment and a file's key as it is.
fn label(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 64 && name.chars().all(allowed)
}

fn matching(node: &Node<'_>) -> Option<(Vec<Host>, String)> {
    let map = node.map()?;
    let hosts = map.read("hosts", |node| all(node.one_or_list().iter().map(host)));
    let path = map.read("path", |node| {
        let text = node.text()?;
        let dots = text.split('/').any(|segment| matches!(segment, "." | ".."));
        if !text.starts_with('/') || dots || text.contains(['?', '#', '%']) {
            return node.expected("a path begins with `/` and has no `..`, `?`, `#`, `%`");
        }
        let trimmed = text.trim_end_matches('/');
        Some(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
    });
    Some((hosts?, path?))
}

fn host(node: &Node<'_>) -> Option<Host> {
    let text = node.text()?.to_ascii_lowercase();
    let (name, wildcard) = match text.strip_prefix("*.") {
        Some(rest) => (rest, true),
        None => (text.as_str(), false),
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if name.is_empty() || !name.chars().all(allowed) {
        return node.expected("a host name is expected here, for example shop.example.com or *.example.com");
    }
    let name = name.trim_end_matches('.');
    Some(if wildcard { Host::Suffix(format!(".{name}")) } else { Host::Exact(name.to_owned()) })
}

fn pool(name: &str, node: &Node<'_>) -> Option<Pool> {
    let map = node.map()?;
    if !label(name) {
        node.wrong(format!("`{name}` is no name: letters, digits, `.`, `_`, `-`, at most 64 of them"), None);
    }
    let version = map.maybe("version", pool_version);
    let tls = map.maybe("tls", tls::options)?;
    let endpoints = map.read("endpoints", |node| endpoints(node, tls.as_ref()));
    if let (Some(endpoints), Some(given)) = (&endpoints, map.given("tls"))
        && !endpoints.iter().any(|endpoint| matches!(endpoint.transport, Transport::Tls(_)))
    {
        given.wrong(format!("{} does nothing: no endpoint is https://", given.path), None);
    }
    Some(Pool { name: name.to_owned(), endpoints: endpoints?, version: version?.unwrap_or_default() })
}

/// Addresses; all that speak TLS check alike, so what they check by is read once.
fn endpoints(node: &Node<'_>, options: Option<&TlsOptions>) -> Option<Vec<Endpoint>> {
    let mut by = None;
    let endpoints = all(node.one_or_list().iter().map(|node| endpoint(node, options, &mut by)))?;
    if endpoints.is_empty() {
        return node.expected("one app server at least is expected here");
    }
    Some(endpoints)
}

/// A text, or `{ path: /version, json: version }`: the app servers are asked.
fn pool_version(node: &Node<'_>) -> Option<PoolVersion> {
    if !node.is_map() {
        return version(node).map(PoolVersion::Named);
    }
    let map = node.map()?;
    let (path, json) = (map.read("path", path), map.maybe("json", Node::text));
    Some(PoolVersion::Asked { path: path?, json: json? })
}

pub(super) fn path(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    if text.starts_with('/') && text.parse::<http::uri::PathAndQuery>().is_ok() {
        return Some(text);
    }
    node.expected("a path begins with `/`")
}

fn version(node: &Node<'_>) -> Option<String> {
    let text = node.text()?;
    let visible = text.bytes().all(|b| (0x21..0x7f).contains(&b));
    if text.is_empty() || text.len() > 128 || !visible {
        return node.expected("a version is 1 to 128 visible ASCII characters");
    }
    Some(text)
}

fn endpoint(node: &Node<'_>, options: Option<&TlsOptions>, by: &mut Option<ClientTls>) -> Option<Endpoint> {
    const ALLOWED: &str = "an app server's address is expected here, for example http://127.0.0.1:3000 \
        (https:// for TLS, h2c:// for HTTP/2 without it)";
    let text = node.text()?;
    let Some((scheme, rest)) = text.split_once("://") else { return node.expected(ALLOWED) };
    let usual_port = match scheme {
        "http" | "h2c" => 80,
        "https" => 443,
        _ => return node.expected(ALLOWED),
    };
    let authority: http::uri::Authority = match rest.trim_end_matches('/').parse() {
        Ok(authority) => authority,
        Err(_) => return node.expected(ALLOWED),
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    // `Authority` takes a port that is no port for none.
    let port = match authority.as_str().strip_prefix(authority.host()).map(|rest| rest.strip_prefix(':')) {
        Some(None) => usual_port,
        Some(Some(port)) => match port.parse() {
            Ok(port) if port > 0 => port,
            _ => return node.expected("an app server's port is from 1 to 65535"),
        },
        // Somebody's name and an `@`.
        None => return node.expected(ALLOWED),
    };
    if host.is_empty() {
        return node.expected(ALLOWED);
    }
    let transport = match scheme {
        "http" => Transport::Http1,
        "h2c" => Transport::Http2,
        _ => Transport::Tls(match by {
            Some(tls) => tls.clone(),
            None => by.insert(tls::client(node, options)?).clone(),
        }),
    };
    Some(Endpoint { transport, host: host.to_owned(), port })
}

fn timeouts(node: &Node<'_>) -> Option<Timeouts> {
    let map = node.map()?;
    let (connect, response) = (map.read("connect", Node::span), map.read("response", Node::span));
    let stream = map.read("stream", Node::span_or_none);
    Some(Timeouts { connect: connect?, response: response?, stream: stream? })
}

fn errors(node: &Node<'_>) -> Option<ErrorRules> {
    let map = node.map()?;
    let status = map.read("status", |node| {
        let range = |entry: &Node<'_>| entry.checked(entry.text()?.as_str(), StatusSet::parse_range);
        all(node.one_or_list().iter().map(range)).map(StatusSet::new)
    });
    let grpc_status = map.read("grpcStatus", |node| {
        let statuses = all(node.one_or_list().iter().map(Node::number::<u32>))?;
        Some(statuses.into_iter().fold(0, |set, status| set | 1 << status))
    });
    let abandon_after = map.read("abandonAfter", Node::span);
    let outcome_header = map.read("outcomeHeader", header_name);
    let ignore = map.read("ignore", |node| {
        let map = node.map()?;
        let texts = |key: &str| map.read(key, |node| all(node.one_or_list().iter().map(Node::text)));
        let (paths, user_agents) = (texts("paths"), texts("userAgents"));
        Some(Ignore { paths: paths?, user_agents: user_agents? })
    });
    Some(ErrorRules {
        status: status?,
        grpc_status: grpc_status?,
        abandon_after: abandon_after?,
        outcome_header: outcome_header?,
        ignore: ignore?,
    })
}
