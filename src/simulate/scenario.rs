//! A scenario played to its end.

use std::time::Duration;

use serde::Serialize;

use super::random::Random;
use super::users::{Activity, Users};
use super::world::{Served, World, WorldPlan};
use crate::config::{Answers, DeployDefaults, Scenario};
use crate::decide::bucket::Bucket;
use crate::decide::rollout::{Milestone, Plan, State};
use crate::decide::time::Moment;
use crate::rollout::{number, span};
use crate::store::DecisionRecord;
use crate::subject::Track;

/// The 95th percentile of a standard normal distribution.
const Z95: f64 = 1.644_853_627;

/// How a simulation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// The new version is stable.
    Completed,
    /// Everybody is back on the old one.
    RolledBack,
    /// It waits for a person.
    Paused,
    /// The scenario, or the log, was over first.
    Running,
}

/// How a rollout in this state has ended.
pub(super) fn ended_of(state: &State) -> Ended {
    match state {
        State::Completed => Ended::Completed,
        State::RolledBack { .. } => Ended::RolledBack,
        State::Active(active) if active.pause.is_some() => Ended::Paused,
        State::Active(_) => Ended::Running,
    }
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How it ended.
    pub ended: Ended,
    /// Seconds after the start.
    pub after_seconds: f64,
    /// Requests in all.
    pub requests: u64,
    /// On the canary.
    pub canary_requests: u64,
    /// Errors of the canary.
    pub canary_errors: u64,
    /// On stable.
    pub stable_requests: u64,
    /// Errors of stable.
    pub stable_errors: u64,
    /// Users whom the canary gave an error.
    pub users_with_canary_errors: u64,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
    /// The verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRecord>,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// Seconds after the start.
    pub at_seconds: f64,
    /// In words.
    pub text: String,
}

impl Report {
    /// What a finished world says.
    pub fn of(world: &World, plan: &Plan, users_with_canary_errors: u64) -> Self {
        let (canary, stable) = (world.total(Track::Canary), world.total(Track::Stable));
        let ended = ended_of(world.state());
        let seconds = |moment: &Moment| moment.since(Moment::ORIGIN).as_secs_f64();
        let first = TimelineEntry { at_seconds: 0.0, text: words(Milestone::Stage(0), plan, world) };
        let entry = |(at, milestone): &(Moment, Milestone)| TimelineEntry {
            at_seconds: seconds(at),
            text: words(*milestone, plan, world),
        };
        Self {
            ended,
            after_seconds: seconds(&world.now()),
            requests: canary.requests + stable.requests,
            canary_requests: canary.requests,
            canary_errors: canary.errors,
            stable_requests: stable.requests,
            stable_errors: stable.errors,
            users_with_canary_errors,
            timeline: std::iter::once(first).chain(world.told().iter().map(entry)).collect(),
            decision: world.decision().cloned(),
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for entry in &self.timeline {
            writeln!(f, "{:>14}  {}", span(Duration::from_secs_f64(entry.at_seconds)), entry.text)?;
        }
        let ended = match self.ended {
            Ended::Completed => "completed",
            Ended::RolledBack => "rolled back",
            Ended::Paused => "paused",
            Ended::Running => "still running",
        };
        writeln!(
            f,
            "{ended} after {}: canary {} errors in {} requests ({} users saw one), stable {} in {}",
            span(Duration::from_secs_f64(self.after_seconds)),
            number(self.canary_errors),
            number(self.canary_requests),
            number(self.users_with_canary_errors),
            number(self.stable_errors),
            number(self.stable_requests),
        )
    }
}

fn words(milestone: Milestone, plan: &Plan, world: &World) -> String {
    match milestone {
        Milestone::Stage(index) => {
            let share = plan.stages.as_slice().get(index).map(|stage| stage.share).unwrap_or_default();
            format!("stage {} began: {share} of users", index + 1)
        }
        Milestone::Baking => "the bake began: all users are on the new version".to_owned(),
        Milestone::Returning => "waits for its old pool".to_owned(),
        Milestone::Paused(pause) => format!("paused: {}", pause.name()),
        Milestone::Resumed => "resumed".to_owned(),
        Milestone::Completed => "completed".to_owned(),
        Milestone::RolledBack => match (world.decision(), world.cause()) {
            (Some(decision), _) => decision.text.clone(),
            (None, Some(cause)) => format!("rolled back: {cause}"),
            (None, None) => "rolled back".to_owned(),
        },
    }
}

/// What a deployment does by its configuration.
pub(super) fn plan_of(deploy: &DeployDefaults) -> Plan {
    Plan {
        stages: deploy.stages.for_strategy(deploy.strategy, deploy.steps),
        bake: deploy.bake,
        conduct: deploy.conduct,
    }
}

/// Plays a scenario until the deployment has ended or its time is over.
pub fn run(scenario: &Scenario) -> Report {
    let mut random = Random::new(scenario.seed);
    let activity = if scenario.users.heavy_tailed { Activity::HeavyTailed } else { Activity::Equal };
    let users = Users::new(scenario.users.count, activity, scenario.users.culprits, &mut random);
    let plan = plan_of(&scenario.deploy);
    let id = format!("simulated-{}", scenario.seed);
    let mut world = World::new(WorldPlan { plan: plan.clone(), guard: scenario.deploy.guard, id, in_flight: true });
    let buckets: Vec<Bucket> = (0..users.count()).map(|user| world.bucket(&format!("user-{user}"))).collect();
    let mut unlucky = vec![false; users.count()];
    let (mut at, end) = (0.0, scenario.duration.as_secs_f64());
    while at < end && !world.state().ended() {
        let time = Duration::from_secs_f64(at);
        at += random.exponential() / scenario.rate.at(time);
        let time = Duration::from_secs_f64(at.min(end));
        world.pass(Moment::ORIGIN + time);
        let user = users.draw(&mut random);
        let unlucky = &mut unlucky[user];
        let random = &mut random;
        world.request(buckets[user], |track| {
            let answers = if track == Track::Canary { &scenario.canary } else { &scenario.stable };
            let answers = answers.at(time);
            let served = serve(answers, users.error_rate(user, answers.error_rate), random);
            *unlucky |= served.error && track == Track::Canary;
            served
        });
    }
    world.settle();
    Report::of(&world, &plan, unlucky.iter().filter(|unlucky| **unlucky).count() as u64)
}

fn serve(answers: &Answers, error_rate: f64, random: &mut Random) -> Served {
    let spread = (answers.p95.as_secs_f64() / answers.latency.as_secs_f64()).ln() / Z95;
    let latency = answers.latency.mul_f64((spread * random.normal()).exp().min(1e6));
    Served { error: random.chance(error_rate), latency }
}
