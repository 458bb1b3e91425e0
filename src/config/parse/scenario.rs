//! Scenarios for `serin simulate`: what happens to a made-up service.

use std::time::Duration;

use super::deploy::deploy;
use super::{MILLISECOND, YEAR, all, or};
use crate::config::document::Document;
use crate::config::node::{Map, Node, Problems};
use crate::config::problem::ConfigError;
use crate::config::scenario::{Answers, Crowd, Scenario, Series};
use crate::decide::guard::Rate;

/// Slower than half of the answers is the 95th percentile by this, unless told otherwise.
const SPREAD: f64 = 2.5;

pub(in crate::config) fn scenario(document: &Document) -> Result<Scenario, ConfigError> {
    let problems = Problems::default();
    let parsed = whole(&Node::root(document, &problems));
    let problems = problems.into_sorted();
    match parsed {
        Some(scenario) if problems.is_empty() => Ok(scenario),
        _ => Err(ConfigError::Wrong { file: document.file.clone(), problems }),
    }
}

fn whole(root: &Node<'_>) -> Option<Scenario> {
    let map = root.keys(&["seed", "duration", "users", "requestsPerSecond", "stable", "canary", "deploy"])?;
    let seed = or(map.get("seed"), 1, |node| node.number(0..=u64::MAX));
    let duration = or(map.get("duration"), Duration::from_secs(3_600), |node| node.span(MILLISECOND..=YEAR));
    let users = or(map.get("users"), Crowd { count: 10_000, heavy_tailed: false, culprits: 0.0 }, crowd);
    let rate = map
        .require("requestsPerSecond", "how many come, for example 1000")
        .and_then(|node| series(&node, rate, |map| map.require("value", "how many come").and_then(|n| rate(&n))));
    let track = |key| map.require(key, "how it answers").and_then(|node| series(&node, answers_of, answers));
    let (stable, canary, deploy) = (track("stable"), track("canary"), deploy(map.get("deploy")));
    Some(Scenario {
        seed: seed?,
        duration: duration?,
        users: users?,
        rate: rate?,
        stable: stable?,
        canary: canary?,
        deploy: deploy?,
    })
}

fn crowd(node: &Node<'_>) -> Option<Crowd> {
    let count = |node: &Node<'_>| node.number(1..=10_000_000).map(|n| n as usize);
    if !node.is_map() {
        return Some(Crowd { count: count(node)?, heavy_tailed: false, culprits: 0.0 });
    }
    let map = node.keys(&["count", "activity", "culprits"])?;
    let count = map.require("count", "how many there are").and_then(|node| count(&node));
    let activity = [("equal", false), ("heavyTailed", true)];
    let heavy_tailed = or(map.get("activity"), false, |node| node.word(&activity));
    let culprits = or(map.get("culprits"), 0.0, |node| node.rate().map(Rate::get));
    Some(Crowd { count: count?, heavy_tailed: heavy_tailed?, culprits: culprits? })
}

fn rate(node: &Node<'_>) -> Option<f64> {
    let rate = node.float()?;
    if rate > 0.0 && rate <= 1e6 { Some(rate) } else { node.expected("a rate is above 0 and at most 1,000,000") }
}

/// One value for all the time, or a list of values, each with the time `at` which it begins.
fn series<T>(
    node: &Node<'_>,
    one: impl Fn(&Node<'_>) -> Option<T>,
    part: impl Fn(&Map<'_>) -> Option<T>,
) -> Option<Series<T>> {
    if !node.is_list() {
        return Some(Series::constant(one(node)?));
    }
    let part = |node: &Node<'_>| {
        let map = node.any_keys()?;
        let at = or(map.get("at"), Duration::ZERO, |node| node.span(Duration::ZERO..=YEAR));
        Some((at?, part(&map)?))
    };
    let parts = all(node.list()?.iter().map(part))?;
    match Series::new(parts) {
        Some(series) => Some(series),
        None => node.expected("the first part begins at 0s, and each later than the one before it"),
    }
}

fn answers_of(node: &Node<'_>) -> Option<Answers> {
    answers(&node.any_keys()?)
}

fn answers(map: &Map<'_>) -> Option<Answers> {
    map.node.keys(&["at", "errorRate", "latency", "p95"])?;
    let error_rate = or(map.get("errorRate"), 0.0, |node| node.rate().map(Rate::get));
    let latency = or(map.get("latency"), Duration::from_millis(50), |node| node.span(Duration::from_micros(1)..=YEAR))?;
    let p95 = or(map.get("p95"), latency.mul_f64(SPREAD), |node| node.span(latency..=YEAR));
    Some(Answers { error_rate: error_rate?, latency, p95: p95? })
}
