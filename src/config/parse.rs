//! From the document to the checked configuration: the one function between them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::checked::*;
use super::cidr::{Cidr, Networks};
use super::document::Document;
use super::error_rule::StatusSet;
use super::node::{Map, Node, Problems};
use super::problem::ConfigError;
use crate::decide::flags::{EnvironmentRules, FlagName, OneOrMany, Rule, RuleKind, Target};
use crate::decide::guard::{Alpha, Enforcement, GuardPlan, RateRule};
use crate::decide::rollout::{Conduct, OnComplete, OnFail, OnInsufficient, Stage, Stages, Steps, Strategy};

/// The name of the only service of the three-line form.
const DEFAULT_SERVICE: &str = "default";
const STATE_DIRECTORY: &str = "config/observability";
const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// Shorter ones are guessed.
const SECRET_BYTES_MIN: usize = 16;
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
];

pub(super) fn config(document: &Document) -> Result<Config, ConfigError> {
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
    let (services, listeners, admin) = (services(&map), listeners(&map), admin(&map));
    let (identity, flags) = (identity(map.get("identity")), flags(map.get("flags")));
    let (metrics, limits) = (metrics(map.get("metrics")), limits(map.get("limits")));
    let workers = workers(map.get("workers"));
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

fn admin(map: &Map<'_>) -> Option<Admin> {
    let default = SocketAddr::from(([127, 0, 0, 1], 9900));
    let Some(node) = map.get("admin") else {
        return Some(Admin { address: default, hosts: Vec::new(), tokens: Vec::new() });
    };
    let map = node.keys(&["address", "hosts", "tokens", "plaintext"])?;
    let address = or(map.get("address"), default, address);
    let hosts = or(map.get("hosts"), Vec::new(), |node| all(node.list()?.iter().map(Node::text)));
    let tokens = or(map.get("tokens"), Vec::new(), |node| all(node.list()?.iter().map(token)));
    let plaintext = or(map.get("plaintext"), false, Node::boolean);
    let (address, tokens, plaintext) = (address?, tokens?, plaintext?);
    if !address.ip().is_loopback() {
        let place = map.get("address").unwrap_or_else(|| node.clone());
        if tokens.is_empty() {
            place.wrong("beyond loopback the admin API needs `tokens`".to_owned(), None);
        }
        if !plaintext {
            let hint = "`plaintext: true` says that the network between is yours".to_owned();
            place.wrong("beyond loopback the admin API would send tokens in plain text".to_owned(), Some(hint));
        }
    }
    for (index, token) in tokens.iter().enumerate() {
        if tokens[..index].iter().any(|other| other.name == token.name || other.secret == token.secret) {
            node.wrong(format!("{}.tokens: `{}` has the name or the text of another one", node.path, token.name), None);
        }
    }
    Some(Admin { address, hosts: hosts?, tokens })
}

fn token(node: &Node<'_>) -> Option<Token> {
    let map = node.keys(&["name", "env", "role"])?;
    let roles = [("write", TokenRole::Write), ("read", TokenRole::Read), ("record", TokenRole::Record)];
    let name = map.require("name", "the name in the audit line").and_then(|node| node.text());
    let secret = map.require("env", "the variable that holds the token").and_then(|node| variable(&node));
    let role = map.require("role", "write, read or record").and_then(|node| node.word(&roles));
    Some(Token { name: name?, secret: secret?, role: role? })
}

/// A secret in a variable of the process.
fn variable(node: &Node<'_>) -> Option<Secret> {
    let name = node.text()?;
    match std::env::var(&name) {
        Ok(text) if text.len() >= SECRET_BYTES_MIN && text.bytes().all(|b| (0x21..0x7f).contains(&b)) => {
            Some(Secret::new(&text))
        }
        Ok(_) => {
            node.expected(&format!("the variable's value must be at least {SECRET_BYTES_MIN} visible ASCII characters"))
        }
        Err(_) => node.expected("the variable is not set"),
    }
}

fn secret(node: &Node<'_>) -> Option<Secret> {
    node.keys(&["env"])?.require("env", "the variable that holds the secret").and_then(|node| variable(&node))
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

fn services(map: &Map<'_>) -> Option<Vec<Service>> {
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
        connections: connections(None)?,
        timeouts: timeouts(None)?,
        errors: errors(None)?,
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

fn service(name: &str, node: &Node<'_>) -> Option<Service> {
    let known = ["match", "pools", "stable", "canary", "connections", "timeouts", "errors", "deploy", "overrides"];
    let map = node.keys(&known)?;
    if !label(name) {
        node.wrong(format!("`{name}` is no name: letters, digits, `.`, `_`, `-`, at most 64 of them"), None);
    }
    let (hosts, path) = matching(map.get("match"))?;
    let pools = map.require("pools", "named endpoints, for example `blue: { endpoints: [...] }`");
    let pools: Option<Vec<Pool>> =
        pools.and_then(|node| all(node.any_keys()?.entries().iter().map(|(name, node)| pool(name, node))));
    let (connections, timeouts) = (connections(map.get("connections")), timeouts(map.get("timeouts")));
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
        connections: connections?,
        timeouts: timeouts?,
        errors: errors?,
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

fn path(node: &Node<'_>) -> Option<String> {
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

fn connections(node: Option<Node<'_>>) -> Option<Connections> {
    let default = Connections { idle: 32, idle_for: Duration::from_secs(4) };
    let Some(node) = node else { return Some(default) };
    let map = node.keys(&["idle", "idleFor"])?;
    let idle = or(map.get("idle"), default.idle, |node| node.number(0..=10_000).map(|n| n as usize));
    let idle_for = or(map.get("idleFor"), default.idle_for, |node| node.span(MILLISECOND..=DAY));
    Some(Connections { idle: idle?, idle_for: idle_for? })
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

fn deploy(node: Option<Node<'_>>) -> Option<DeployDefaults> {
    let default = DeployDefaults {
        strategy: Strategy::Canary,
        stages: Stages::of_the_guide(),
        steps: Steps::default(),
        guard: GuardPlan::default(),
        bake: Duration::from_secs(600),
        conduct: Conduct::default(),
        include: Vec::new(),
        exclude: Vec::new(),
        salt: SaltKind::Deployment,
    };
    let Some(node) = node else { return Some(default) };
    let own = ["strategy", "stages", "step", "interval", "guard", "bake", "include", "exclude", "salt"];
    let map = node.keys(&[&own[..], &CONDUCT[..]].concat())?;
    let strategies = [
        ("canary", Strategy::Canary),
        ("rolling", Strategy::Rolling),
        ("blue-green", Strategy::BlueGreen),
        ("instant", Strategy::Instant),
    ];
    let salts = [("deployment", SaltKind::Deployment), ("service", SaltKind::Service)];
    let strategy = or(map.get("strategy"), default.strategy, |node| node.word(&strategies));
    let stages = or(map.get("stages"), default.stages, stages);
    let guard = or(map.get("guard"), default.guard, guard);
    let bake = or(map.get("bake"), default.bake, |node| node.span(Duration::ZERO..=YEAR));
    let salt = or(map.get("salt"), default.salt, |node| node.word(&salts));
    let step = or(map.get("step"), default.steps.step, |node| match node.percentage()? {
        step if step >= Steps::SMALLEST => Some(step),
        _ => node.expected("a step is 1 to 100 percent"),
    });
    let interval = or(map.get("interval"), default.steps.interval, |node| node.span(Duration::ZERO..=YEAR));
    let chosen = |node: &Node<'_>| all(node.list()?.iter().map(chosen));
    let (include, exclude) = (or(map.get("include"), Vec::new(), chosen), or(map.get("exclude"), Vec::new(), chosen));
    let conduct = conduct(&map);
    Some(DeployDefaults {
        strategy: strategy?,
        stages: stages?,
        steps: Steps { step: step?, interval: interval? },
        guard: guard?,
        bake: bake?,
        conduct: conduct?,
        include: include?,
        exclude: exclude?,
        salt: salt?,
    })
}

const CONDUCT: [&str; 5] = ["onFail", "onInsufficient", "maxDuration", "promoteEarly", "onComplete"];

fn conduct(map: &Map<'_>) -> Option<Conduct> {
    let default = Conduct::default();
    let on_fail = [("rollback", OnFail::Rollback), ("pause", OnFail::Pause)];
    let on_insufficient =
        [("extend", OnInsufficient::Extend), ("pause", OnInsufficient::Pause), ("rollback", OnInsufficient::Rollback)];
    let on_complete = [("promote", OnComplete::Promote), ("return", OnComplete::Return)];
    let on_fail = or(map.get("onFail"), default.on_fail, |node| node.word(&on_fail));
    let on_insufficient = or(map.get("onInsufficient"), default.on_insufficient, |node| node.word(&on_insufficient));
    let max_duration =
        or(map.get("maxDuration"), default.max_duration, |node| node.span(Duration::from_secs(1)..=YEAR));
    let promote_early = or(map.get("promoteEarly"), default.promote_early, Node::boolean);
    let on_complete = or(map.get("onComplete"), default.on_complete, |node| node.word(&on_complete));
    Some(Conduct {
        on_fail: on_fail?,
        on_insufficient: on_insufficient?,
        max_duration: max_duration?,
        promote_early: promote_early?,
        on_complete: on_complete?,
    })
}

/// A rule of `include` or `exclude`.
fn chosen(node: &Node<'_>) -> Option<Rule> {
    let map = node.keys(&["type", "value"])?;
    let kinds = [("user", RuleKind::User), ("group", RuleKind::Group)];
    let kind = map.require("type", "user or group").and_then(|node| node.word(&kinds));
    let values = map.require("value", "who").and_then(|node| all(node.one_or_list().iter().map(Node::text)));
    let values = OneOrMany::Many(values?);
    Some(Rule::new(if kind? == RuleKind::User { Target::User(values) } else { Target::Group(values) }))
}

fn stages(node: &Node<'_>) -> Option<Stages> {
    match Stages::new(all(node.list()?.iter().map(stage))?) {
        Ok(stages) => Some(stages),
        Err(error) => {
            let hint = "stages grow to 100, for example 1, 5, 25, 100".to_owned();
            node.wrong(format!("{}: {error}", node.path), Some(hint));
            None
        }
    }
}

fn stage(node: &Node<'_>) -> Option<Stage> {
    let map = node.keys(&["percentage", "duration", "minRequests", "maxErrorRate", "hold"])?;
    let share = map.require("percentage", "the part of users on the canary").and_then(|node| node.percentage());
    let duration =
        map.require("duration", "how long the stage lasts at least").and_then(|node| node.span(Duration::ZERO..=YEAR));
    let min_requests = or(map.get("minRequests"), 0, |node| node.number(0..=1_000_000_000));
    let rate = map.require("maxErrorRate", "the error rate above which it fails").and_then(|node| node.rate());
    let hold = or(map.get("hold"), false, Node::boolean);
    Some(Stage { share: share?, duration: duration?, min_requests: min_requests?, max_error_rate: rate?, hold: hold? })
}

fn guard(node: &Node<'_>) -> Option<GuardPlan> {
    let default = GuardPlan::default();
    let map = node.keys(&["falseRollback", "errors", "rate"])?;
    let enforcements =
        [("enforce", Enforcement::Enforce), ("observe", Enforcement::Observe), ("off", Enforcement::Off)];
    let rates = [("plain", RateRule::Plain), ("evidence", RateRule::Evidence)];
    let budget = or(map.get("falseRollback"), default.false_rollback, |node| node.checked(node.float()?, Alpha::new));
    let errors = or(map.get("errors"), default.errors, |node| node.word(&enforcements));
    let rate = or(map.get("rate"), default.rate, |node| node.word(&rates));
    Some(GuardPlan { false_rollback: budget?, errors: errors?, rate: rate? })
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

fn workers(node: Option<Node<'_>>) -> Option<Option<usize>> {
    or(node, None, |node| match node.text().as_deref() {
        Some("auto") => Some(None),
        _ => node.number(1..=1_024).map(|n| Some(n as usize)),
    })
}
