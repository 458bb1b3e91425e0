//! From the document to the checked configuration: the one function between them.

mod admin;
mod deploy;
mod identity;
mod ofrep;
pub(super) mod scenario;
mod service;
mod tls;
mod upstream;
mod warnings;

use std::net::SocketAddr;
use std::path::PathBuf;

use http::HeaderName;

use crate::config::checked::*;
use crate::config::cidr::{Cidr, Networks};
use crate::config::definition::Kind;
use crate::config::document::Document;
use crate::config::keys;
use crate::config::node::{Map, Node, Problems};
use crate::config::problem::ConfigError;
use crate::decide::flags::FlagName;
use crate::tls::ServerTls;

static TOP: Kind = Kind::Section(&keys::TOP);

pub(in crate::config) fn config(document: &Document) -> Result<Config, ConfigError> {
    let problems = Problems::default();
    let parsed = whole(&Node::root(document, &problems, &TOP), document);
    let files = problems.files();
    let (wrong, strange) = problems.into_sorted();
    match parsed {
        Some(config) if wrong.is_empty() => Ok(Config { warnings: strange, files, ..config }),
        _ => Err(ConfigError::Wrong { file: document.file.clone(), problems: wrong }),
    }
}

fn whole(root: &Node<'_>, document: &Document) -> Option<Config> {
    let map = root.map()?;
    // All are read before the first missing one ends it: one run finds all that is wrong.
    let (services, listeners, admin) = (service::services(&map), listeners(&map), map.read("admin", admin::admin));
    let (identity, flags) = (map.read("identity", identity), map.read("flags", flags));
    let (metrics, limits) = (map.read("metrics", metrics), map.read("limits", limits));
    let (log, access_log) = (map.read("log", log), map.maybe("accessLog", access_log));
    let (workers, drain) = (map.read("workers", workers), map.read("drain", drain));
    let ofrep = map.maybe("ofrep", ofrep::ofrep);
    let health = map.maybe("health", |node| node.map()?.read("address", address));
    let state = map.read("state", |node| node.map()?.read("directory", Node::text));
    let environment = map.maybe("environment", Node::text);
    let config = Config {
        file: document.file.clone(),
        warnings: Vec::new(),
        files: Vec::new(),
        environment: environment?.or_else(|| std::env::var("SERIN_ENVIRONMENT").ok()).unwrap_or("production".into()),
        state_directory: PathBuf::from(state?),
        listeners: listeners?,
        admin: admin?,
        health: health?,
        ofrep: ofrep?,
        identity: identity?,
        three_lines: map.given("services").is_none(),
        services: services?,
        flags: flags?,
        metrics_namespace: metrics?,
        log: log?,
        access_log: access_log?,
        limits: limits?,
        workers: workers?,
        drain: drain?,
    };
    check_addresses(&map, &config);
    warnings::of(&map, &config);
    Some(config)
}

/// One address is for one purpose, and no app server.
fn check_addresses(map: &Map<'_>, config: &Config) {
    let clients: Vec<SocketAddr> =
        config.listeners.iter().map(|listener| listener.address).filter(|address| address.port() != 0).collect();
    let twice = |name: &str, address: SocketAddr, others: &[SocketAddr]| {
        if address.port() != 0 && others.contains(&address) {
            let message = format!("{name} is {address}; something else of this configuration listens there");
            map.node.at(name).wrong(message, Some("each needs an address of its own".to_owned()));
        }
    };
    twice("admin.address", config.admin.address, &clients);
    if let Some(health) = config.health {
        twice("health.address", health, &[&clients[..], &[config.admin.address]].concat());
    }
    if let Some(ofrep) = &config.ofrep {
        let health: Vec<SocketAddr> = config.health.into_iter().collect();
        twice("ofrep.address", ofrep.address, &[&clients[..], &[config.admin.address], &health].concat());
    }
    for service in &config.services {
        for endpoint in service.pools.iter().flat_map(|pool| &pool.endpoints) {
            let own = |address: &&SocketAddr| {
                let ip = endpoint.host.parse::<std::net::IpAddr>();
                let reached =
                    ip.is_ok_and(|ip| ip == address.ip() || (address.ip().is_unspecified() && ip.is_loopback()));
                reached && endpoint.port == address.port()
            };
            if let Some(own) = clients.iter().find(own) {
                let place = if config.three_lines { "stable".to_owned() } else { format!("services.{}", service.name) };
                let message =
                    format!("{endpoint} is where Serin itself listens ({own}): requests would go round for ever");
                map.node.at(&place).wrong(message, Some("an app server has an address of its own".to_owned()));
            }
        }
    }
}

/// All values, read to the last one even where an earlier one is wrong.
fn all<T>(values: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let values: Vec<Option<T>> = values.collect();
    values.into_iter().collect()
}

fn listeners(map: &Map<'_>) -> Option<Vec<Listener>> {
    match (map.given("listen"), map.given("listeners")) {
        (Some(listen), None) => Some(vec![Listener {
            address: address(&listen)?,
            trusted: Networks::default(),
            tls: None,
            proxy_protocol: false,
        }]),
        (None, Some(list)) => {
            let entries = list.list()?;
            let listeners = all(entries.iter().map(listener))?;
            if listeners.is_empty() {
                return list.expected("one listener at least is expected here");
            }
            for (index, listener) in listeners.iter().enumerate() {
                let same = |other: &Listener| other.address == listener.address && other.address.port() != 0;
                if listeners[..index].iter().any(same) {
                    entries[index].wrong(format!("{} is listened on already", listener.address), None);
                }
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
    let map = node.map()?;
    let trusted = map.read("trustedProxies", networks);
    let (address, tls) = (map.read("address", address), map.maybe("tls", |node| tls::server(node, ServerTls::new)));
    let proxy_protocol = map.read("proxyProtocol", Node::boolean);
    Some(Listener { address: address?, trusted: trusted?, tls: tls?, proxy_protocol: proxy_protocol? })
}

fn networks(node: &Node<'_>) -> Option<Networks> {
    let network = |entry: &Node<'_>| entry.checked(entry.text()?.as_str(), str::parse::<Cidr>);
    all(node.list()?.iter().map(network)).map(Networks)
}

fn address(node: &Node<'_>) -> Option<SocketAddr> {
    let text = node.text()?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => node.expected("an address with a port is expected here, for example 0.0.0.0:8080 or [::]:8080"),
    }
}

fn identity(node: &Node<'_>) -> Option<Identity> {
    let map = node.map()?;
    let sources = |node: &Node<'_>| all(node.list()?.iter().map(source));
    let (user, group) = (map.read("user", sources), map.read("group", sources));
    let session = map.read("session", |node| all(node.list()?.iter().map(|node| place(node, &node.map()?))));
    let anonymous = map.read("anonymous", |node| node.word(&keys::ANONYMOUS));
    let stick = map.read("stick", |node| node.word(&keys::STICK));
    let attributes = map.read("attributes", |node| {
        let mut sources = all(node.entries()?.iter().map(|(name, node)| Some((name.clone(), source(node)?))))?;
        sources.sort_by(|(one, _), (other, _)| one.cmp(other));
        Some(sources)
    });
    Some(Identity {
        user: user?,
        session: session?,
        group: group?,
        attributes: attributes?,
        anonymous: anonymous?,
        stick: stick?,
    })
}

fn source(node: &Node<'_>) -> Option<Source> {
    let map = node.map()?;
    let (place, belief) = (place(node, &map), identity::belief(node, &map));
    Some(Source { place: place?, belief: belief? })
}

fn place(node: &Node<'_>, map: &Map<'_>) -> Option<Place> {
    match (map.given("header"), map.given("cookie")) {
        (Some(header), None) => Some(Place::Header(header_name(&header)?)),
        (None, Some(cookie)) => Some(Place::Cookie(cookie.text()?)),
        _ => node.expected("a source is one of `header: name` and `cookie: name`"),
    }
}

fn header_name(node: &Node<'_>) -> Option<HeaderName> {
    let text = node.text()?;
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) => node.expected("a header name is expected here"),
    }
}

fn flags(node: &Node<'_>) -> Option<FlagSettings> {
    let map = node.map()?;
    let environment_prefix = map.read("environmentPrefix", Node::text);
    let environment_rules = map.read("environmentRules", |node| node.word(&keys::READINGS));
    let headers = map.read("headers", flag_headers);
    Some(FlagSettings {
        environment_prefix: environment_prefix?,
        environment_rules: environment_rules?,
        headers: headers?,
    })
}

fn flag_headers(node: &Node<'_>) -> Option<FlagHeaders> {
    let map = node.map()?;
    let prefix = map.read("prefix", |node| {
        let text = node.text()?.to_ascii_lowercase();
        // A prefix protects itself by its first bytes, so it cannot be a common word.
        let dashed = text.len() >= 3 && text.ends_with('-') && HeaderName::from_bytes(text.as_bytes()).is_ok();
        if dashed { Some(text) } else { node.expected("a prefix is the start of a header name and ends with `-`") }
    });
    let style = map.read("style", |node| node.word(&keys::STYLES));
    let expose = map.read("expose", |node| {
        if let [only] = node.one_or_list().as_slice()
            && only.text().as_deref() == Some("all")
        {
            return Some(Expose::All);
        }
        let name = |entry: &Node<'_>| entry.checked(entry.text()?.as_str(), FlagName::new);
        all(node.list()?.iter().map(name)).map(Expose::Names)
    });
    let (max_count, max_bytes) = (map.read("maxCount", Node::number), map.read("maxBytes", Node::size));
    Some(FlagHeaders { prefix: prefix?, style: style?, expose: expose?, max_count: max_count?, max_bytes: max_bytes? })
}

fn metrics(node: &Node<'_>) -> Option<String> {
    node.map()?.read("namespace", |node| {
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

fn log(node: &Node<'_>) -> Option<Log> {
    let map = node.map()?;
    let (level, format) =
        (map.read("level", |node| node.word(&keys::LEVELS)), map.read("format", |node| node.word(&keys::LOG_FORMATS)));
    Some(Log { level: level?, format: format? })
}

fn access_log(node: &Node<'_>) -> Option<AccessLog> {
    let map = node.map()?;
    let format = map.read("format", |node| node.word(&keys::ACCESS_LOG_FORMATS));
    let to = map.read("to", |node| match node.text()?.as_str() {
        "stdout" => Some(AccessLogTarget::Stdout),
        "stderr" => Some(AccessLogTarget::Stderr),
        file if file.contains('/') => Some(AccessLogTarget::File(PathBuf::from(file))),
        _ => node.expected("stdout, stderr or a file is expected here; a file has a `/`, as in ./access.log"),
    });
    let sample = map.read("sample", Node::percentage);
    Some(AccessLog { format: format?, to: to?, sample: sample? })
}

fn limits(node: &Node<'_>) -> Option<Limits> {
    let map = node.map()?;
    let (header_bytes, headers) = (map.read("headerBytes", Node::size), map.read("headers", Node::number));
    let (uri_bytes, connections) = (map.read("uriBytes", Node::size), map.read("connections", Node::number));
    let body_bytes = map.read("bodyBytes", |node| node.size().map(|bytes: u64| (bytes > 0).then_some(bytes)));
    let (header_timeout, keep_alive) = (map.read("headerTimeout", Node::span), map.read("keepAlive", Node::span));
    let (body_idle, streams) = (map.read("bodyIdle", Node::span), map.read("streams", Node::number));
    Some(Limits {
        header_bytes: header_bytes?,
        headers: headers?,
        uri_bytes: uri_bytes?,
        body_bytes: body_bytes?,
        header_timeout: header_timeout?,
        keep_alive: keep_alive?,
        connections: connections?,
        body_idle: body_idle?,
        streams: streams?,
    })
}

fn drain(node: &Node<'_>) -> Option<DrainTimes> {
    let map = node.map()?;
    let (delay, timeout) = (map.read("delay", Node::span), map.read("timeout", Node::span));
    Some(DrainTimes { delay: delay?, timeout: timeout? })
}

fn workers(node: &Node<'_>) -> Option<Option<usize>> {
    if node.is_word("auto") { Some(None) } else { node.number().map(Some) }
}
