//! `services.<name>.deploy`: stages, guard, conduct, who is chosen.

use super::all;
use crate::config::checked::DeployDefaults;
use crate::config::keys;
use crate::config::node::{Map, Node};
use crate::decide::flags::{OneOrMany, Rule, RuleKind, Target};
use crate::decide::guard::{Alpha, GuardPlan, SlowerThan};
use crate::decide::rollout::{Conduct, Stage, Stages, Steps};

pub(super) fn deploy(node: &Node<'_>) -> Option<DeployDefaults> {
    let map = node.map()?;
    let strategy = map.read("strategy", |node| node.word(&keys::STRATEGIES));
    let stages = map.read("stages", stages);
    let guard = map.read("guard", guard);
    let bake = map.read("bake", Node::span);
    let salt = map.read("salt", |node| node.word(&keys::SALTS));
    let step = map.read("step", |node| {
        node.decimal()?;
        node.percentage()
    });
    let interval = map.read("interval", Node::span);
    let chosen = |node: &Node<'_>| all(node.list()?.iter().map(chosen));
    let (include, exclude) = (map.read("include", chosen), map.read("exclude", chosen));
    let conduct = conduct(&map);
    let (stages, conduct) = (stages?, conduct?);
    if let Some(stage) = stages.as_slice().iter().find(|stage| stage.duration > conduct.max_duration) {
        let place = map.given("maxDuration").or_else(|| map.given("stages")).unwrap_or_else(|| node.clone());
        place.strange(
            format!("the stage of {} lasts longer than maxDuration: it pauses and never ends by itself", stage.share),
            Some(format!("maxDuration: {}", stage.duration.as_secs() * 2)),
        );
    }
    Some(DeployDefaults {
        strategy: strategy?,
        stages,
        steps: Steps { step: step?, interval: interval? },
        guard: guard?,
        bake: bake?,
        conduct,
        include: include?,
        exclude: exclude?,
        salt: salt?,
    })
}

fn conduct(map: &Map<'_>) -> Option<Conduct> {
    let on_fail = map.read("onFail", |node| node.word(&keys::ON_FAIL));
    let on_insufficient = map.read("onInsufficient", |node| node.word(&keys::ON_INSUFFICIENT));
    let max_duration = map.read("maxDuration", Node::span);
    let promote_early = map.read("promoteEarly", Node::boolean);
    let on_complete = map.read("onComplete", |node| node.word(&keys::ON_COMPLETE));
    let warmup = map.read("warmup", Node::span);
    Some(Conduct {
        warmup: warmup?,
        on_fail: on_fail?,
        on_insufficient: on_insufficient?,
        max_duration: max_duration?,
        promote_early: promote_early?,
        on_complete: on_complete?,
    })
}

/// A rule of `include` or `exclude`.
fn chosen(node: &Node<'_>) -> Option<Rule> {
    let map = node.map()?;
    let kind = map.read("type", |node| node.word(&keys::CHOSEN));
    let values = map.read("value", |node| all(node.one_or_list().iter().map(Node::text)));
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
    let map = node.map()?;
    let (share, duration) = (map.read("percentage", Node::percentage), map.read("duration", Node::span));
    let min_requests = map.read("minRequests", Node::number);
    let (rate, hold) = (map.read("maxErrorRate", Node::rate), map.read("hold", Node::boolean));
    Some(Stage { share: share?, duration: duration?, min_requests: min_requests?, max_error_rate: rate?, hold: hold? })
}

fn guard(node: &Node<'_>) -> Option<GuardPlan> {
    let map = node.map()?;
    let budget = map.read("falseRollback", |node| node.checked(node.float()?, Alpha::new));
    let errors = map.read("errors", |node| node.word(&keys::ENFORCEMENTS));
    let latency = map.read("latency", |node| node.word(&keys::ENFORCEMENTS));
    let slower_than = map.read("slowerThan", |node| node.checked(node.text()?.as_str(), str::parse::<SlowerThan>));
    let rate = map.read("rate", |node| node.word(&keys::RATES));
    Some(GuardPlan {
        false_rollback: budget?,
        errors: errors?,
        latency: latency?,
        slower_than: slower_than?,
        rate: rate?,
    })
}
