//! From the document to the checked configuration: the one function between them.

mod admin;
mod deploy;
pub(super) mod scenario;
mod service;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::config::checked::*;
use crate::config::cidr::{Cidr, Networks};
use crate::config::document::Document;
use crate::config::node::{Map, Node, Problems};
use crate::config::problem::ConfigError;
use crate::decide::flags::{EnvironmentRules, FlagName};

const STATE_DIRECTORY: &str = "config/observability";
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const MILLISECOND: Duration = Duration::from_millis(1);

const TOP: &[&str] = &[
    "listen",
    "stable",
    "canary",
    "environment",
    "state",
    "listeners",
    "admin",
    "health",
    "identity",
    "services",
    "flags",
    "metrics",
    "limits",
    "workers",
    "drain",
];

pub(in crate::config) fn config(document: &Document) -> Result<Config, ConfigError> {
    let problems = Problems::default();
    let parsed = whole(&Node::root(document, &problems), document);
    let problems = problems.into_sorted();
    match parsed {
        Some(config) if problems.is_empty() => Ok(config),
        _ => Err(ConfigError::Wrong { file: document.file.clone(), problems }),
    }
}

fn whole(root: &Node<'_>, document: &Document) -> Option<Config> {
    let map = root.keys(TOP)?;
    // All are read before the first missing one ends it: one run finds all that is wrong.
    let (services, listeners, admin) = (service::services(&map), listeners(&map), admin::admin(&map));
    let (identity, flags) = (identity(map.get("identity")), flags(map.get("flags")));
    let (metrics, limits) = (metrics(map.get("metrics")), limits(map.get("limits")));
    let (workers, drain) = (workers(map.get("workers")), drain(map.get("drain")));
    let health = or(map.get("health"), None, |node| {
        node.keys(&["address"])?.require("address", "where probes ask").and_then(|node| address(&node)).map(Some)
    });
    Some(Config {
        file: document.file.clone(),
        environment: environment(&map),
        state_directory: state(&map),
        listeners: listeners?,
        admin: admin?,
        health: health?,
        identity: identity?,
        three_lines: map.get("services").is_none(),
        services: services?,
        flags: flags?,
        metrics_namespace: metrics?,
        limits: limits?,
        workers: workers?,
        drain: drain?,
    })
}

/// All values, read to the last one even where an earlier one is wrong.
fn all<T>(values: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let values: Vec<Option<T>> = values.collect();
    values.into_iter().collect()
}

/// The value of a key, or a default; `None` only after a problem was noted.
fn or<'a, T>(node: Option<Node<'a>>, default: T, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
    match node {
        Some(node) => read(&node),
        None => Some(default),
    }
}

fn environment(map: &Map<'_>) -> String {
    let configured = map.get("environment").and_then(|node| node.text());
    configured.or_else(|| std::env::var("SERIN_ENVIRONMENT").ok()).unwrap_or_else(|| "production".to_owned())
}

fn state(map: &Map<'_>) -> PathBuf {
    let directory = map.get("state").and_then(|node| node.keys(&["directory"])?.get("directory")?.text());
    directory.map_or_else(|| PathBuf::from(STATE_DIRECTORY), PathBuf::from)
}

fn listeners(map: &Map<'_>) -> Option<Vec<Listener>> {
    match (map.get("listen"), map.get("listeners")) {
        (Some(listen), None) => Some(vec![Listener { address: address(&listen)?, trusted: Networks::default() }]),
        (None, Some(list)) => {
            let listeners = all(list.list()?.iter().map(listener))?;
            if listeners.is_empty() {
                return list.expected("one listener at least is expected here");
            }
            Some(listeners)
        }
        (Some(listen), Some(_)) => {
            listen.wrong("both `listen` and `listeners` are given: one of them is enough", None);
            None
        }
        (None, None) => {
            let hint = "for example `listen: 0.0.0.0:8080`".to_owned();
            map.node.wrong("no `listen`: the address where clients connect", Some(hint));
            None
        }
    }
}

fn listener(node: &Node<'_>) -> Option<Listener> {
    let map = node.keys(&["address", "trustedProxies"])?;
    let trusted = or(map.get("trustedProxies"), Vec::new(), |node| {
        all(node.list()?.iter().map(|entry| entry.checked(entry.text()?.as_str(), str::parse::<Cidr>)))
    });
    let address = map.require("address", "where clients connect").and_then(|node| address(&node));
    Some(Listener { address: address?, trusted: Networks(trusted?) })
}

fn address(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.text()?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => node.expected("an address with a port is expected here, for example 0.0.0.0:8080 or [::]:8080"),
    }
}

fn identity(node: Option<Node<'_>>) -> Option<Identity> {
    let default = Identity {
        user: vec![Source { kind: SourceKind::Header(HeaderName::from_static("x-user-id")), trust: false }],
        session: vec![Source { kind: SourceKind::Cookie("session_id".into()), trust: false }],
        group: vec![Source { kind: SourceKind::Header(HeaderName::from_static("x-user-group")), trust: false }],
        anonymous: Anonymous::Cookie,
        stick: Stick::Identity,
    };
    let Some(node) = node else { return Some(default) };
    let map = node.keys(&["user", "session", "group", "anonymous", "stick"])?;
    let anonymous = [("cookie", Anonymous::Cookie), ("ip", Anonymous::Ip), ("stable", Anonymous::Stable)];
    let stick = [("identity", Stick::Identity), ("browser", Stick::Browser)];
    let (user, session) = (sources(map.get("user"), default.user), sources(map.get("session"), default.session));
    let group = sources(map.get("group"), default.group);
    let anonymous = or(map.get("anonymous"), default.anonymous, |node| node.word(&anonymous));
    let stick = or(map.get("stick"), default.stick, |node| node.word(&stick));
    Some(Identity { user: user?, session: session?, group: group?, anonymous: anonymous?, stick: stick? })
}

fn sources(node: Option<Node<'_>>, default: Vec<Source>) -> Option<Vec<Source>> {
    or(node, default, |node| all(node.list()?.iter().map(source)))
}

fn source(node: &Node<'_>) -> Option<Source> {
    let map = node.keys(&["header", "cookie", "trust"])?;
    let kind = match (map.get("header"), map.get("cookie")) {
        (Some(header), None) => SourceKind::Header(header_name(&header)?),
        (None, Some(cookie)) => SourceKind::Cookie(cookie.text()?),
        _ => return node.expected("a source is one of `header: name` and `cookie: name`"),
    };
    Some(Source { kind, trust: or(map.get("trust"), false, Node::boolean)? })
}

fn header_name(node: &Node<'_>) -> Option<HeaderName> {
    let text = node.text()?;
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) => node.expected("a header name is expected here"),
    }
}

fn flags(node: Option<Node<'_>>) -> Option<FlagSettings> {
    let default = FlagSettings {
        prefix: "x-feature-".to_owned(),
        style: HeaderStyle::Each,
        expose: Expose::All,
        max_count: 50,
        max_bytes: 4096,
        environment_prefix: "FEATURE_FLAG_".to_owned(),
        environment_rules: EnvironmentRules::Restrict,
    };
    let Some(node) = node else { return Some(default) };
    let map = node.keys(&["headers", "environmentPrefix", "environmentRules"])?;
    let readings = [("restrict", EnvironmentRules::Restrict), ("match", EnvironmentRules::Match)];
    let environment_prefix = or(map.get("environmentPrefix"), default.environment_prefix.clone(), Node::text);
    let environment_rules = or(map.get("environmentRules"), default.environment_rules, |node| node.word(&readings));
    let headers = or(map.get("headers"), default, flag_headers);
    Some(FlagSettings { environment_prefix: environment_prefix?, environment_rules: environment_rules?, ..headers? })
}

fn flag_headers(node: &Node<'_>) -> Option<FlagSettings> {
    let default = flags(None)?;
    let map = node.keys(&["prefix", "style", "expose", "maxCount", "maxBytes"])?;
    let styles = [("each", HeaderStyle::Each), ("list", HeaderStyle::List)];
    let prefix = or(map.get("prefix"), default.prefix, |node| {
        let text = node.text()?.to_ascii_lowercase();
        // A prefix protects itself by its first bytes, so it cannot be a common word.
        let dashed = text.len() >= 3 && text.ends_with('-') && HeaderName::from_bytes(text.as_bytes()).is_ok();
        if dashed { Some(text) } else { node.expected("a prefix is the start of a header name and ends with `-`") }
    });
    let style = or(map.get("style"), default.style, |node| node.word(&styles));
    let expose = or(map.get("expose"), default.expose, |node| {
        if let [only] = node.one_or_list().as_slice()
            && only.text().as_deref() == Some("all")
        {
            return Some(Expose::All);
        }
        let name = |entry: &Node<'_>| entry.checked(entry.text()?.as_str(), FlagName::new);
        all(node.list()?.iter().map(name)).map(Expose::Names)
    });
    let max_count = or(map.get("maxCount"), default.max_count, |node| node.number(0..=1_000).map(|n| n as usize));
    let max_bytes = or(map.get("maxBytes"), default.max_bytes, |node| node.size(0..=65_536).map(|n| n as usize));
    Some(FlagSettings {
        prefix: prefix?,
        style: style?,
        expose: expose?,
        max_count: max_count?,
        max_bytes: max_bytes?,
        ..flags(None)?
    })
}

fn metrics(node: Option<Node<'_>>) -> Option<String> {
    let default = "togetheros".to_owned();
    let node = match node {
        Some(node) => node.keys(&["namespace"])?.get("namespace"),
        None => None,
    };
    or(node, default, |node| {
        let text = node.text()?;
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if first && rest && text.len() <= 64 {
            Some(text)
        } else {
            node.expected("the first word of a metric's name is expected here: letters, digits, `_`")
        }
    })
}

fn limits(node: Option<Node<'_>>) -> Option<Limits> {
    let default = Limits {
        header_bytes: 64 << 10,
        headers: 100,
        uri_bytes: 8 << 10,
        body_bytes: None,
        header_timeout: Duration::from_secs(10),
        keep_alive: Duration::from_secs(75),
        connections: 20_000,
    };
    let Some(node) = node else { return Some(default) };
    let known = ["headerBytes", "headers", "uriBytes", "bodyBytes", "headerTimeout", "keepAlive", "connections"];
    let map = node.keys(&known)?;
    let size = |key: &str, default: usize, range: std::ops::RangeInclusive<u64>| {
        or(map.get(key), default, |node| node.size(range).map(|n| n as usize))
    };
    let span = |key: &str, default: Duration| or(map.get(key), default, |node| node.span(MILLISECOND..=DAY));
    // The parser's own buffer is at least 8 KiB, its target at most 65,534 bytes.
    let header_bytes = size("headerBytes", default.header_bytes, 1_024..=1 << 20);
    let uri_bytes = size("uriBytes", default.uri_bytes, 16..=65_534);
    let body_bytes = or(map.get("bodyBytes"), default.body_bytes, |node| {
        node.size(0..=u64::MAX).map(|bytes| (bytes > 0).then_some(bytes))
    });
    let headers = or(map.get("headers"), default.headers, |node| node.number(1..=10_000).map(|n| n as usize));
    let connections =
        or(map.get("connections"), default.connections, |node| node.number(1..=10_000_000).map(|n| n as usize));
    let (header_timeout, keep_alive) =
        (span("headerTimeout", default.header_timeout), span("keepAlive", default.keep_alive));
    Some(Limits {
        header_bytes: header_bytes?,
        headers: headers?,
        uri_bytes: uri_bytes?,
        body_bytes: body_bytes?,
        header_timeout: header_timeout?,
        keep_alive: keep_alive?,
        connections: connections?,
    })
}

fn drain(node: Option<Node<'_>>) -> Option<DrainTimes> {
    let default = DrainTimes { delay: Duration::from_secs(5), timeout: Duration::from_secs(30) };
    or(node, default, |node| {
        let map = node.keys(&["delay", "timeout"])?;
        let span = |key: &str, default| or(map.get(key), default, |node| node.span(Duration::ZERO..=DAY));
        let (delay, timeout) = (span("delay", default.delay), span("timeout", default.timeout));
        Some(DrainTimes { delay: delay?, timeout: timeout? })
    })
}

fn workers(node: Option<Node<'_>>) -> Option<Option<usize>> {
    or(node, None, |node| match node.text().as_deref() {
        Some("auto") => Some(None),
        _ => node.number(1..=1_024).map(|n| Some(n as usize)),
    })
}
