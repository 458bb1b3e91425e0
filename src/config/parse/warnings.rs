//! What works, but hardly as it is meant: told by `serin check` and at every start.

use crate::config::checked::{Config, Place, Source};
use crate::config::node::Map;
use crate::decide::flags::{Rule, RuleKind};

pub(super) fn of(map: &Map<'_>, config: &Config) {
    let believes = Believes { anyone_trusted: config.listeners.iter().any(|listener| !listener.trusted.0.is_empty()) };
    if map.given("identity").is_some() {
        for (list, sources) in sources(config) {
            for (index, source) in sources.iter().enumerate() {
                let place = map.node.at(&format!("identity.{list}[{index}]"));
                if source.trust {
                    let name = source.name();
                    let hint = "right only where nobody but your own gateway can send it".to_owned();
                    place.strange(format!("`trust: true`: {name} is believed from anyone"), Some(hint));
                } else if matches!(source.place, Place::Header(_)) && !believes.anyone_trusted {
                    let message =
                        format!("{} is believed from nobody: it draws a bucket, but matches no rule", source.name());
                    place.strange(message, Some(HOW_TO_BELIEVE.to_owned()));
                }
            }
        }
    }
    for service in &config.services {
        for (list, rules) in [("include", &service.deploy.include), ("exclude", &service.deploy.exclude)] {
            let never = |rule: &&Rule| !believes.a_rule_of(rule.target.kind(), config);
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

const HOW_TO_BELIEVE: &str = "listeners: `trustedProxies: [10.0.0.0/8]` names the peers that write it; `trust: true` on a source believes it from anyone";

/// Whose word counts.
struct Believes {
    anyone_trusted: bool,
}

impl Believes {
    fn a_rule_of(&self, kind: RuleKind, config: &Config) -> bool {
        let sources = match kind {
            RuleKind::User => &config.identity.user,
            RuleKind::Group => &config.identity.group,
            RuleKind::Percentage | RuleKind::Environment => return true,
        };
        sources.iter().any(|source| source.believed(self.anyone_trusted))
    }
}

impl Config {
    /// Whether somebody can match rules of this kind.
    pub(crate) fn believes(&self, kind: RuleKind) -> bool {
        let anyone_trusted = self.listeners.iter().any(|listener| !listener.trusted.0.is_empty());
        Believes { anyone_trusted }.a_rule_of(kind, self)
    }
}

impl Source {
    fn believed(&self, anyone_trusted: bool) -> bool {
        self.trust || (anyone_trusted && matches!(self.place, Place::Header(_)))
    }

    fn name(&self) -> String {
        match &self.place {
            Place::Header(name) => format!("the header {name}"),
            Place::Cookie(name) => format!("the cookie {name}"),
        }
    }
}

fn sources(config: &Config) -> [(&'static str, &[Source]); 2] {
    [("user", &config.identity.user), ("group", &config.identity.group)]
}
