//! How a service meets its app servers: health, ejection, limits, rescue.

use super::all;
use super::service::path;
use crate::config::checked::*;
use crate::config::keys;
use crate::config::node::Node;

pub(super) fn health(node: &Node<'_>) -> Option<HealthCheck> {
    let map = node.map()?;
    let path = map.read("path", path);
    let (interval, timeout) = (map.read("interval", Node::span), map.read("timeout", Node::span));
    let (unhealthy_after, healthy_after) =
        (map.read("unhealthyAfter", Node::number), map.read("healthyAfter", Node::number));
    Some(HealthCheck {
        path: path?,
        interval: interval?,
        timeout: timeout?,
        unhealthy_after: unhealthy_after?,
        healthy_after: healthy_after?,
    })
}

pub(super) fn ejection(node: &Node<'_>) -> Option<Ejection> {
    let map = node.map()?;
    let errors = map.read("consecutiveErrors", Node::number);
    let (span, max_share) = (map.read("for", Node::span), map.read("maxShare", Node::number));
    Some(Ejection { consecutive_errors: errors?, span: span?, max_share: max_share? })
}

pub(super) fn connections(node: &Node<'_>) -> Option<Connections> {
    let map = node.map()?;
    let (per_endpoint, queue) = (map.read("perEndpoint", Node::number), map.read("queue", Node::number));
    let (idle, idle_for) = (map.read("idle", Node::number), map.read("idleFor", Node::span));
    let (per_endpoint, queue) = (Some(per_endpoint?).filter(|limit| *limit > 0), queue?);
    if queue > 0 && per_endpoint.is_none() {
        let hint = "perEndpoint: 10 lets ten requests at once reach each app server".to_owned();
        map.given("queue")
            .unwrap_or_else(|| node.clone())
            .wrong(format!("{}.queue does nothing without perEndpoint", node.path), Some(hint));
    }
    Some(Connections { per_endpoint, queue, idle: idle?, idle_for: idle_for? })
}

pub(super) fn retry(node: &Node<'_>) -> Option<Retry> {
    let map = node.map()?;
    let attempts = map.read("attempts", Node::number);
    let on = map.read("on", |node| all(node.one_or_list().iter().map(|node| node.word(&keys::CAUSES))))?;
    let (connect, reset) = (on.contains(&RetryCause::Connect), on.contains(&RetryCause::Reset));
    Some(Retry { attempts: attempts?, connect, reset })
}

pub(super) fn shield(node: &Node<'_>) -> Option<Shield> {
    let map = node.map()?;
    let (methods, budget) = (map.read("methods", |node| node.word(&keys::SHIELDED)), map.read("budget", Node::number));
    Some(Shield { methods: methods?, budget: budget? })
}

pub(super) fn skew(node: &Node<'_>) -> Option<Vec<String>> {
    node.map()?.read("paths", |node| all(node.one_or_list().iter().map(path)))
}
