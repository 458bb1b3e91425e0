//! `services.<name>.deploy`: stages, guard, conduct, who is chosen.

use std::time::Duration;

use super::{DAY, YEAR, all, or};
use crate::config::checked::{DeployDefaults, SaltKind};
use crate::config::node::{Map, Node};
use crate::decide::flags::{OneOrMany, Rule, RuleKind, Target};
use crate::decide::guard::{Alpha, Enforcement, GuardPlan, RateRule, SlowerThan};
use crate::decide::rollout::{Conduct, OnComplete, OnFail, OnInsufficient, Stage, Stages, Steps, Strategy};

pub(super) fn deploy(node: Option<Node<'_>>) -> Option<DeployDefaults> {
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

const CONDUCT: [&str; 6] = ["onFail", "onInsufficient", "maxDuration", "promoteEarly", "onComplete", "warmup"];

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
    let warmup = or(map.get("warmup"), default.warmup, |node| node.span(Duration::ZERO..=DAY));
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
    let map = node.keys(&["falseRollback", "errors", "latency", "slowerThan", "rate"])?;
    let enforcements =
        [("enforce", Enforcement::Enforce), ("observe", Enforcement::Observe), ("off", Enforcement::Off)];
    let rates = [("plain", RateRule::Plain), ("evidence", RateRule::Evidence)];
    let budget = or(map.get("falseRollback"), default.false_rollback, |node| node.checked(node.float()?, Alpha::new));
    let errors = or(map.get("errors"), default.errors, |node| node.word(&enforcements));
    let latency = or(map.get("latency"), default.latency, |node| node.word(&enforcements));
    let slower_than = or(map.get("slowerThan"), default.slower_than, |node| {
        node.checked(node.text()?.as_str(), str::parse::<SlowerThan>)
    });
    let rate = or(map.get("rate"), default.rate, |node| node.word(&rates));
    Some(GuardPlan {
        false_rollback: budget?,
        errors: errors?,
        latency: latency?,
        slower_than: slower_than?,
        rate: rate?,
    })
}
