//! What works, but hardly as it is meant: told by `serin check` and at every start.

use crate::config::checked::{Belief, Config, Place, Source};
use crate::config::node::Map;
use crate::decide::flags::{Rule, RuleKind};

pub(super) fn of(map: &Map<'_>, config: &Config) {
    if map.given("identity").is_some() {
        for (path, source) in sources(config) {
            let place = map.node.at(&format!("identity.{path}"));
            if matches!(source.belief, Belief::Anyone) {
                let name = &source.place;
                let hint = "right only where nobody but your own gateway can send it".to_owned();
                place.strange(format!("`trust: true`: {name} is believed from anyone"), Some(hint));
            } else if matches!((&source.belief, &source.place), (Belief::TrustedPeers, Place::Header(_)))
                && !config.trusts_somebody()
            {
                let message =
                    format!("{} is believed from nobody: it draws a bucket, but matches no rule", source.place);
                place.strange(message, Some(HOW_TO_BELIEVE.to_owned()));
            }
        }
    }
    for service in &config.services {
        for (list, rules) in [("include", &service.deploy.include), ("exclude", &service.deploy.exclude)] {
            let never = |rule: &&Rule| !config.believes(rule.target.kind());
            if let Some(rule) = rules.iter().find(never) {
                let place = map.node.at(&format!("services.{}.deploy.{list}", service.name));
                let what = if rule.target.kind() == RuleKind::User { "user" } else { "group" };
                let message = format!("a rule for a {what} never matches: no {what} is believed");
                place.strange(message, Some(HOW_TO_BELIEVE.to_owned()));
            }
        }
        if !service.skew.is_empty() && service.pools.len() == 1 {
            let place = map.node.at(&format!("services.{}.skew", service.name));
            place.strange("skew does nothing with one pool: there is no other track", None);
        }
    }
}

const HOW_TO_BELIEVE: &str = "listeners: `trustedProxies: [10.0.0.0/8]` names the peers that write it; `verify` or `jwt` on a source believes what is signed; `trust: true` believes anyone";

/// All sources, each with its place under `identity`.
fn sources(config: &Config) -> impl Iterator<Item = (String, &Source)> {
    let identity = &config.identity;
    let lists = [("user", &identity.user), ("group", &identity.group)];
    let listed = lists.into_iter().flat_map(|(list, sources)| {
        sources.iter().enumerate().map(move |(index, source)| (format!("{list}[{index}]"), source))
    });
    listed.chain(identity.attributes.iter().map(|(name, source)| (format!("attributes.{name}"), source)))
}
