//! Scenarios for `serin simulate`: what happens to a made-up service.

use super::all;
use super::deploy::deploy;
use crate::config::definition::Kind;
use crate::config::document::Document;
use crate::config::keys;
use crate::config::node::{Map, Node, Problems};
use crate::config::problem::ConfigError;
use crate::config::scenario::{Answers, Crowd, Scenario, Series};
use crate::decide::guard::Rate;

/// Slower than half of the answers is the 95th percentile by this, unless told otherwise.
const SPREAD: f64 = 2.5;

static TOP: Kind = Kind::Section(&keys::SCENARIO);

pub(in crate::config) fn scenario(document: &Document) -> Result<Scenario, ConfigError> {
    let problems = Problems::default();
    let parsed = whole(&Node::root(document, &problems, &TOP));
    let (wrong, _) = problems.into_sorted();
    match parsed {
        Some(scenario) if wrong.is_empty() => Ok(scenario),
        _ => Err(ConfigError::Wrong { file: document.file.clone(), problems: wrong }),
    }
}

fn whole(root: &Node<'_>) -> Option<Scenario> {
    let map = root.map()?;
    let (seed, duration) = (map.read("seed", Node::number), map.read("duration", Node::span));
    let users = map.read("users", crowd);
    let rate = map.read("requestsPerSecond", |node| {
        series(node, Node::decimal, |node| {
            let map = node.map()?;
            let (at, rate) = (map.read("at", Node::span), map.read("value", Node::decimal));
            Some((at?, rate?))
        })
    });
    let track = |key| {
        map.read(key, |node| {
            series(
                node,
                |node| answers(&node.map()?),
                |node| {
                    let map = node.map()?;
                    let (at, answers) = (map.read("at", Node::span), answers(&map));
                    Some((at?, answers?))
                },
            )
        })
    };
    let (stable, canary, deploy) = (track("stable"), track("canary"), map.read("deploy", deploy));
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
    if !node.is_map() {
        return Some(Crowd { count: node.number()?, heavy_tailed: false, culprits: 0.0 });
    }
    let map = node.map()?;
    let count = map.read("count", Node::number);
    let heavy_tailed = map.read("activity", |node| node.word(&keys::ACTIVITY));
    let culprits = map.read("culprits", |node| node.rate().map(Rate::get));
    Some(Crowd { count: count?, heavy_tailed: heavy_tailed?, culprits: culprits? })
}

/// One value for all the time, or a list of values, each with the time `at` which it begins.
fn series<'a, T>(
    node: &Node<'a>,
    one: impl FnOnce(&Node<'a>) -> Option<T>,
    part: impl Fn(&Node<'a>) -> Option<(std::time::Duration, T)>,
) -> Option<Series<T>> {
    if !node.is_list() {
        return Some(Series::constant(one(node)?));
    }
    let parts = all(node.list()?.iter().map(part))?;
    match Series::new(parts) {
        Some(series) => Some(series),
        None => node.expected("the first part begins at 0s, and each later than the one before it"),
    }
}

fn answers(map: &Map<'_>) -> Option<Answers> {
    let error_rate = map.read("errorRate", |node| node.rate().map(Rate::get));
    let latency = map.read("latency", Node::span);
    let p95 = map.maybe("p95", |node| match node.span()? {
        p95 if latency.is_none_or(|median| p95 >= median) => Some(p95),
        _ => node.expected("the 95th percentile is at least the median, `latency`"),
    });
    let latency = latency?;
    let p95 = p95?.unwrap_or_else(|| latency.mul_f64(SPREAD));
    Some(Answers { error_rate: error_rate?, latency, p95 })
}
