//! `services`, or the three-line form: hosts, pools, deadlines, what counts as an error.

use std::time::Duration;

use http::HeaderName;

use super::admin::secret;
use super::deploy::deploy;
use super::{DAY, MILLISECOND, all, header_name, or, upstream};
use crate::config::checked::*;
use crate::config::error_rule::StatusSet;
use crate::config::node::{Map, Node};

/// The name of the only service of the three-line form.
const DEFAULT_SERVICE: &str = "default";

pub(super) fn services(map: &Map<'_>) -> Option<Vec<Service>> {
    match (map.get("services"), map.get("stable")) {
        (Some(services), None) => {
            if let Some(canary) = map.get("canary") {
                canary.wrong("`canary` belongs to the three-line form; with `services` each one has its own", None);
            }
            named_services(&services)
        }
        (None, Some(stable)) => Some(vec![three_line_service(&stable, map.get("canary"))?]),
        (Some(_), Some(stable)) => {
            stable.wrong("both `stable` and `services` are given: `stable` belongs to the three-line form", None);
            None
        }
        (None, None) => {
            let hint = "for example `stable: http://127.0.0.1:3000`".to_owned();
            map.node.wrong("neither `stable` nor `services` is given: where the app is", Some(hint));
            None
        }
    }
}

fn three_line_service(stable: &Node<'_>, canary: Option<Node<'_>>) -> Option<Service> {
    let pool = |name: &str, node: &Node<'_>| -> Option<Pool> {
        let endpoints = all(node.one_or_list().iter().map(endpoint))?;
        Some(Pool { name: name.to_owned(), endpoints, version: PoolVersion::Unknown })
    };
    let mut pools = vec![pool("a", stable)?];
    if let Some(canary) = canary {
        pools.push(pool("b", &canary)?);
    }
    Some(Service {
        name: DEFAULT_SERVICE.to_owned(),
        hosts: Vec::new(),
        path: "/".to_owned(),
        canary: (pools.len() == 2).then_some(1),
        pools,
        stable: 0,
        balance: Balance::LeastRequest,
        slow_start: Duration::ZERO,
        health: None,
        ejection: upstream::ejection(None)?,
        connections: upstream::connections(None)?,
        timeouts: timeouts(None)?,
        errors: errors(None)?,
        retry: upstream::retry(None)?,
        shield: upstream::shield(None)?,
        skew: Vec::new(),
        deploy: deploy(None)?,
        override_secret: None,
    })
}

fn named_services(node: &Node<'_>) -> Option<Vec<Service>> {
    let services = all(node.any_keys()?.entries().iter().map(|(name, node)| service(name, node)))?;
    if services.is_empty() {
        return node.expected("one service at least is expected here");
    }
    for (index, service) in services.iter().enumerate() {
        let twin = services[..index].iter().find(|s| s.path == service.path && same_hosts(s, service));
        if let Some(twin) = twin {
            node.wrong(format!("services {} and {} match the same host and path", twin.name, service.name), None);
        }
    }
    Some(services)
}

fn same_hosts(one: &Service, other: &Service) -> bool {
    one.hosts.is_empty() && other.hosts.is_empty() || one.hosts.iter().any(|host| other.hosts.contains(host))
}

const KEYS: [&str; 16] = [
    "match",
    "pools",
    "stable",
    "canary",
    "balance",
    "slowStart",
    "health",
    "ejection",
    "connections",
    "timeouts",
    "errors",
    "retry",
    "shield",
    "skew",
    "deploy",
    "overrides",
];

fn service(name: &str, node: &Node<'_>) -> Option<Service> {
    let map = node.keys(&KEYS)?;
    if !label(name) {
        node.wrong(format!("`{name}` is no name: letters, digits, `.`, `_`, `-`, at most 64 of them"), None);
    }
    let (hosts, path) = matching(map.get("match"))?;
    let pools = map.require("pools", "named endpoints, for example `blue: { endpoints: [...] }`");
    let pools: Option<Vec<Pool>> =
        pools.and_then(|node| all(node.any_keys()?.entries().iter().map(|(name, node)| pool(name, node))));
    let (connections, timeouts) = (upstream::connections(map.get("connections")), timeouts(map.get("timeouts")));
    let (balance, slow_start) = (upstream::balance(map.get("balance")), upstream::slow_start(map.get("slowStart")));
    let (health, ejection) = (upstream::health(map.get("health")), upstream::ejection(map.get("ejection")));
    let (retry, shield) = (upstream::retry(map.get("retry")), upstream::shield(map.get("shield")));
    let skew = upstream::skew(map.get("skew"));
    let (errors, deploy) = (errors(map.get("errors")), deploy(map.get("deploy")));
    let override_secret = or(map.get("overrides"), None, |node| {
        let map = node.keys(&["secret"])?;
        map.require("secret", "what overrides are signed with").and_then(|node| secret(&node)).map(Some)
    });
    let pools = pools?;
    let role = |node: &Node<'_>| {
        let name = node.text()?;
        let found = pools.iter().position(|pool| pool.name == name);
        if found.is_none() {
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            return node.expected(&format!("allowed are this service's pools: {}", names.join(", ")));
        }
        found
    };
    let stable = map.require("stable", "the pool that is stable at first start").and_then(|node| role(&node));
    let canary = or(map.get("canary"), None, |node| role(node).map(Some));
    if let (Some(stable), Some(Some(canary))) = (stable, canary)
        && stable == canary
    {
        node.wrong(format!("{}.canary and stable are the same pool", node.path), None);
    }
    Some(Service {
        name: name.to_owned(),
        hosts,
        path,
        stable: stable?,
        canary: canary?,
        pools,
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
    })
}

/// What may be a metric's label, a path segment and a file's key as it is.
fn label(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 64 && name.chars().all(allowed)
}

fn matching(node: Option<Node<'_>>) -> Option<(Vec<Host>, String)> {
    let Some(node) = node else { return Some((Vec::new(), "/".to_owned())) };
    let map = node.keys(&["hosts", "path"])?;
    let hosts = or(map.get("hosts"), Vec::new(), |node| all(node.one_or_list().iter().map(host)));
    let path = or(map.get("path"), "/".to_owned(), |node| {
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
    let map = node.keys(&["endpoints", "version"])?;
    if !label(name) {
        node.wrong(format!("`{name}` is no name: letters, digits, `.`, `_`, `-`, at most 64 of them"), None);
    }
    let endpoints: Option<Vec<Endpoint>> = map
        .require("endpoints", "the addresses of its app servers")
        .and_then(|node| all(node.one_or_list().iter().map(endpoint)));
    let version = or(map.get("version"), PoolVersion::Unknown, pool_version);
    let endpoints = endpoints?;
    if endpoints.is_empty() {
        node.wrong(format!("{} has no endpoint: one at least is needed", node.path), None);
    }
    Some(Pool { name: name.to_owned(), endpoints, version: version? })
}

/// A text, or `{ path: /version, json: version }`: the app servers are asked.
fn pool_version(node: &Node<'_>) -> Option<PoolVersion> {
    if !node.is_map() {
        return version(node).map(PoolVersion::Named);
    }
    let map = node.keys(&["path", "json"])?;
    let path = map.require("path", "the path that tells the version").and_then(|node| path(&node));
    let json = or(map.get("json"), None, |node| node.text().map(Some));
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

fn endpoint(node: &Node<'_>) -> Option<Endpoint> {
    const ALLOWED: &str = "an app server's address is expected here, for example http://127.0.0.1:3000";
    let text = node.text()?;
    let Some(rest) = text.strip_prefix("http://") else { return node.expected(ALLOWED) };
    let authority: http::uri::Authority = match rest.trim_end_matches('/').parse() {
        Ok(authority) => authority,
        Err(_) => return node.expected(ALLOWED),
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = match (authority.port_u16(), authority.port()) {
        (Some(port), _) if port > 0 => port,
        (None, None) if !authority.as_str().ends_with(':') => 80,
        _ => return node.expected(ALLOWED),
    };
    if host.is_empty() || authority.as_str().contains('@') {
        return node.expected(ALLOWED);
    }
    Some(Endpoint { host: host.to_owned(), port })
}

fn timeouts(node: Option<Node<'_>>) -> Option<Timeouts> {
    let default = Timeouts { connect: Duration::from_secs(2), response: Duration::from_secs(60), stream: None };
    let Some(node) = node else { return Some(default) };
    let map = node.keys(&["connect", "response", "stream"])?;
    let connect = or(map.get("connect"), default.connect, |node| node.span(MILLISECOND..=DAY));
    let response = or(map.get("response"), default.response, |node| node.span(MILLISECOND..=DAY));
    let stream = or(map.get("stream"), default.stream, |node| {
        node.span(Duration::ZERO..=DAY).map(|span| (!span.is_zero()).then_some(span))
    });
    Some(Timeouts { connect: connect?, response: response?, stream: stream? })
}

fn errors(node: Option<Node<'_>>) -> Option<ErrorRules> {
    let default = ErrorRules {
        status: StatusSet::server_errors(),
        abandon_after: Duration::from_secs(5),
        outcome_header: HeaderName::from_static("x-serin-outcome"),
        ignore: Ignore::default(),
    };
    let Some(node) = node else { return Some(default) };
    let map = node.keys(&["status", "abandonAfter", "outcomeHeader", "ignore"])?;
    let status = or(map.get("status"), default.status, |node| {
        let range = |entry: &Node<'_>| entry.checked(entry.text()?.as_str(), StatusSet::parse_range);
        all(node.one_or_list().iter().map(range)).map(StatusSet::new)
    });
    let abandon_after = or(map.get("abandonAfter"), default.abandon_after, |node| node.span(MILLISECOND..=DAY));
    let outcome_header = or(map.get("outcomeHeader"), default.outcome_header, header_name);
    let ignore = or(map.get("ignore"), default.ignore, |node| {
        let map = node.keys(&["paths", "userAgents"])?;
        let texts = |key: &str| or(map.get(key), Vec::new(), |n| all(n.one_or_list().iter().map(Node::text)));
        Some(Ignore { paths: texts("paths")?, user_agents: texts("userAgents")? })
    });
    Some(ErrorRules {
        status: status?,
        abandon_after: abandon_after?,
        outcome_header: outcome_header?,
        ignore: ignore?,
    })
}
