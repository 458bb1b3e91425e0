//! How a service meets its app servers: balance, health, ejection, limits, rescue.

use std::time::Duration;

use super::service::path;
use super::{DAY, MILLISECOND, all, or};
use crate::config::checked::*;
use crate::config::node::Node;

pub(super) fn balance(node: Option<Node<'_>>) -> Option<Balance> {
    let words = [("leastRequest", Balance::LeastRequest), ("roundRobin", Balance::RoundRobin), ("hash", Balance::Hash)];
    or(node, Balance::LeastRequest, |node| node.word(&words))
}

pub(super) fn slow_start(node: Option<Node<'_>>) -> Option<Duration> {
    or(node, Duration::ZERO, |node| node.span(Duration::ZERO..=DAY))
}

pub(super) fn health(node: Option<Node<'_>>) -> Option<Option<HealthCheck>> {
    or(node, None, |node| {
        let map = node.keys(&["path", "interval", "timeout", "unhealthyAfter", "healthyAfter"])?;
        let path = map.require("path", "what is asked for, for example /up").and_then(|node| path(&node));
        let interval = or(map.get("interval"), Duration::from_secs(1), |node| node.span(TENTH..=DAY));
        let timeout = or(map.get("timeout"), Duration::from_secs(5), |node| node.span(MILLISECOND..=DAY));
        let times = |key: &str, default| or(map.get(key), default, |node| node.number(1..=1_000).map(|n| n as u32));
        let (unhealthy_after, healthy_after) = (times("unhealthyAfter", 3), times("healthyAfter", 2));
        Some(Some(HealthCheck {
            path: path?,
            interval: interval?,
            timeout: timeout?,
            unhealthy_after: unhealthy_after?,
            healthy_after: healthy_after?,
        }))
    })
}

/// App servers are not asked more often than ten times a second.
const TENTH: Duration = Duration::from_millis(100);

pub(super) fn ejection(node: Option<Node<'_>>) -> Option<Ejection> {
    let default = Ejection { consecutive_errors: 5, span: Duration::from_secs(30), max_share: 50 };
    or(node, default, |node| {
        let map = node.keys(&["consecutiveErrors", "for", "maxShare"])?;
        let errors = or(map.get("consecutiveErrors"), default.consecutive_errors, |node| {
            node.number(0..=1_000_000).map(|n| n as u32)
        });
        let span = or(map.get("for"), default.span, |node| node.span(MILLISECOND..=DAY));
        let max_share = or(map.get("maxShare"), default.max_share, percent);
        Some(Ejection { consecutive_errors: errors?, span: span?, max_share: max_share? })
    })
}

fn percent(node: &Node<'_>) -> Option<u8> {
    node.number(0..=100).map(|n| n as u8)
}

pub(super) fn connections(node: Option<Node<'_>>) -> Option<Connections> {
    let default = Connections { per_endpoint: None, queue: 0, idle: 32, idle_for: Duration::from_secs(4) };
    or(node, default, |node| {
        let map = node.keys(&["perEndpoint", "queue", "idle", "idleFor"])?;
        let number =
            |key: &str, default: usize, most| or(map.get(key), default, |n| n.number(0..=most).map(|n| n as usize));
        let (per_endpoint, queue) = (number("perEndpoint", 0, 1_000_000), number("queue", 0, 1_000_000));
        let idle = number("idle", default.idle, 10_000);
        let idle_for = or(map.get("idleFor"), default.idle_for, |node| node.span(MILLISECOND..=DAY));
        let (per_endpoint, queue) = (Some(per_endpoint?).filter(|limit| *limit > 0), queue?);
        if queue > 0 && per_endpoint.is_none() {
            node.wrong(format!("{}.queue does nothing without perEndpoint", node.path), None);
        }
        Some(Connections { per_endpoint, queue, idle: idle?, idle_for: idle_for? })
    })
}

pub(super) fn retry(node: Option<Node<'_>>) -> Option<Retry> {
    let default = Retry { attempts: 1, connect: true, reset: true };
    or(node, default, |node| {
        let map = node.keys(&["attempts", "on"])?;
        let attempts = or(map.get("attempts"), default.attempts, |node| node.number(0..=2).map(|n| n as u8));
        let words = [("connect", Cause::Connect), ("reset", Cause::Reset)];
        let on = or(map.get("on"), vec![Cause::Connect, Cause::Reset], |node| {
            all(node.one_or_list().iter().map(|node| node.word(&words)))
        })?;
        Some(Retry { attempts: attempts?, connect: on.contains(&Cause::Connect), reset: on.contains(&Cause::Reset) })
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Cause {
    Connect,
    Reset,
}

pub(super) fn shield(node: Option<Node<'_>>) -> Option<Shield> {
    let default = Shield { methods: ShieldMethods::Safe, budget: 20 };
    or(node, default, |node| {
        let map = node.keys(&["methods", "budget"])?;
        let words =
            [("safe", ShieldMethods::Safe), ("idempotent", ShieldMethods::Idempotent), ("off", ShieldMethods::Off)];
        let methods = or(map.get("methods"), default.methods, |node| node.word(&words));
        let budget = or(map.get("budget"), default.budget, percent);
        Some(Shield { methods: methods?, budget: budget? })
    })
}

pub(super) fn skew(node: Option<Node<'_>>) -> Option<Vec<String>> {
    or(node, Vec::new(), |node| {
        let map = node.keys(&["paths"])?;
        map.require("paths", "path prefixes").and_then(|node| all(node.one_or_list().iter().map(path)))
    })
}
