//! Rollouts that never happen: live outcomes, and invented errors on their canaries.
//!
//! The canary of each is drawn from live users as a deployment would draw it, and what
//! its users' requests came to is what counts, with errors invented beside. With none
//! invented it is a test of the promise: nothing distinguishes the tracks.

use std::time::Duration;

use serde::Serialize;

use super::random::Random;
use super::scenario::{Ended, ended_of};
use super::world::{Served, World, WorldPlan};
use crate::decide::bucket::Salt;
use crate::decide::guard::GuardPlan;
use crate::decide::rollout::Plan;
use crate::decide::time::Moment;
use crate::rollout::{number, span};
use crate::subject::{Heard, Track};

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct RehearsalPlan {
    /// The rollout.
    pub plan: Plan,
    /// Its guard.
    pub guard: GuardPlan,
    /// Canary requests that become errors, a fraction of 1.
    pub error_rate: f64,
    /// How many rollouts at once, each with users drawn anew.
    pub times: usize,
    /// What is drawn depends on it.
    pub seed: u64,
}

/// Rollouts that never happen.
pub struct Rehearsal {
    error_rate: f64,
    promise: f64,
    runs: Vec<Run>,
    random: Random,
    now: Moment,
    requests: u64,
    errors: u64,
}

struct Run {
    world: World,
    salt: Salt,
    /// When it came to its end.
    ended_at: Option<Moment>,
}

/// How a rehearsal goes.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RehearsalReport {
    /// In one sentence.
    pub text: String,
    /// Canary requests that became errors, a fraction of 1.
    pub error_rate: f64,
    /// Whether it goes on.
    pub running: bool,
    /// How long it has lasted.
    pub elapsed_seconds: f64,
    /// Outcomes heard.
    pub requests: u64,
    /// Real errors among them.
    pub errors: u64,
    /// Outcomes that came too fast to be heard.
    pub lost: u64,
    /// How many rollouts.
    pub times: usize,
    /// How many of them would have been rolled back.
    pub rolled_back: usize,
    /// Canary requests until then: half of those rolled back needed no more.
    pub canary_requests_median: Option<u64>,
    /// Nineteen of twenty needed no more.
    pub canary_requests_p95: Option<u64>,
    /// Seconds until then, as a median.
    pub seconds_median: Option<f64>,
    /// Each of them.
    pub runs: Vec<RunReport>,
}

/// How one of the rollouts goes.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// How it stands.
    pub ended: Ended,
    /// Seconds until it ended, or until now.
    pub after_seconds: f64,
    /// On its canary.
    pub canary_requests: u64,
    /// Invented and real ones.
    pub canary_errors: u64,
    /// The rule that would have rolled it back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
}

impl Rehearsal {
    /// Begins at the origin of its time.
    pub fn new(plan: &RehearsalPlan) -> Self {
        let run = |number: usize| {
            let id = format!("rehearsal-{}-{number}", plan.seed);
            let salt = Salt::deployment(&id);
            let world = World::new(WorldPlan { plan: plan.plan.clone(), guard: plan.guard, id, in_flight: false });
            Run { world, salt, ended_at: None }
        };
        Self {
            error_rate: plan.error_rate,
            promise: plan.guard.false_rollback.get(),
            runs: (0..plan.times).map(run).collect(),
            random: Random::new(plan.seed),
            now: Moment::ORIGIN,
            requests: 0,
            errors: 0,
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, now: Moment) {
        self.now = now;
        for run in self.runs.iter_mut().filter(|run| run.ended_at.is_none()) {
            run.world.pass(now);
            run.settle();
        }
    }

    /// An outcome; its time is the rehearsal's.
    pub fn hear(&mut self, heard: Heard) {
        self.requests += 1;
        self.errors += u64::from(heard.error);
        self.pass(self.now.max(heard.at));
        let id = format!("{:016x}", heard.identity);
        let (random, error_rate) = (&mut self.random, self.error_rate);
        for run in self.runs.iter_mut().filter(|run| run.ended_at.is_none()) {
            run.world.request(run.salt.bucket(&id), |track| {
                let invented = track == Track::Canary && random.chance(error_rate);
                Served { error: heard.error || invented, latency: heard.latency }
            });
            run.settle();
        }
    }

    /// Whether nothing more can come of it.
    pub fn over(&self) -> bool {
        self.runs.iter().all(|run| run.ended_at.is_some())
    }

    /// How it goes.
    pub fn report(&self, running: bool, lost: u64) -> RehearsalReport {
        let runs: Vec<RunReport> = self.runs.iter().map(|run| run.report(self.now)).collect();
        let found: Vec<&RunReport> = runs.iter().filter(|run| run.ended == Ended::RolledBack).collect();
        let (mut costs, mut seconds) = (
            found.iter().map(|run| run.canary_requests).collect::<Vec<_>>(),
            found.iter().map(|run| run.after_seconds).collect::<Vec<_>>(),
        );
        costs.sort_unstable();
        seconds.sort_unstable_by(f64::total_cmp);
        let place = |of: usize, part: usize| (of * part).div_ceil(100).saturating_sub(1);
        let mut report = RehearsalReport {
            text: String::new(),
            error_rate: self.error_rate,
            running,
            elapsed_seconds: self.now.since(Moment::ORIGIN).as_secs_f64(),
            requests: self.requests,
            errors: self.errors,
            lost,
            times: runs.len(),
            rolled_back: found.len(),
            canary_requests_median: costs.get(place(costs.len(), 50)).copied(),
            canary_requests_p95: costs.get(place(costs.len(), 95)).copied(),
            seconds_median: seconds.get(place(seconds.len(), 50)).copied(),
            runs,
        };
        report.text = self.sentence(&report);
        report
    }

    fn sentence(&self, report: &RehearsalReport) -> String {
        let RehearsalReport { times, rolled_back, requests, .. } = report;
        let found = match (report.canary_requests_median, report.canary_requests_p95, report.seconds_median) {
            (Some(median), Some(p95), Some(seconds)) => format!(
                ", after {} canary requests and {} (medians; 19 of 20 within {} requests)",
                number(median),
                span(Duration::from_secs_f64(seconds)),
                number(p95)
            ),
            _ => String::new(),
        };
        let promise =
            if self.error_rate > 0.0 { String::new() } else { format!("; at most {} % may", self.promise * 100.0) };
        let so_far = if report.running { " so far" } else { "" };
        format!(
            "{rolled_back} of {times} would have been rolled back{so_far}{found}, in {} requests{promise}",
            number(*requests)
        )
    }
}

impl Run {
    fn settle(&mut self) {
        if !matches!(ended_of(self.world.state()), Ended::Running) {
            self.ended_at.get_or_insert(self.world.now());
        }
    }

    fn report(&self, now: Moment) -> RunReport {
        let canary = self.world.total(Track::Canary);
        RunReport {
            ended: ended_of(self.world.state()),
            after_seconds: self.ended_at.unwrap_or(now).since(Moment::ORIGIN).as_secs_f64(),
            canary_requests: canary.requests,
            canary_errors: canary.errors,
            rule: self.world.cause().map(crate::decide::rollout::Cause::rule),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::rollout::{Conduct, Stages};

    fn rehearse(error_rate: f64, times: usize, requests: u64) -> Rehearsal {
        let plan = Plan { stages: Stages::of_the_guide(), bake: Duration::ZERO, conduct: Conduct::default() };
        let plan = RehearsalPlan { plan, guard: GuardPlan::default(), error_rate, times, seed: 5 };
        let (mut rehearsal, mut random) = (Rehearsal::new(&plan), Random::new(9));
        for request in 0..requests {
            let at = Moment::from_micros(request * 1_000);
            let error = random.chance(0.01);
            rehearsal.hear(Heard { at, identity: random.bits(), error, latency: Duration::from_millis(20) });
            if rehearsal.over() {
                break;
            }
        }
        rehearsal
    }

    #[test]
    fn invented_errors_are_found_and_without_them_nothing_is() {
        let bad = rehearse(0.5, 20, 100_000);
        let report = bad.report(false, 0);
        assert!(bad.over() && report.rolled_back == 20, "{report:?}");
        assert!(report.canary_requests_median.unwrap() < 30, "{report:?}");
        assert!(report.text.starts_with("20 of 20 would have been rolled back, after "), "{}", report.text);
        let unchanged = rehearse(0.0, 20, 20_000);
        let report = unchanged.report(true, 0);
        assert_eq!((report.rolled_back, unchanged.over()), (0, false));
        assert!(report.text.ends_with("in 20,000 requests; at most 1 % may"), "{}", report.text);
        let canaries: Vec<u64> = report.runs.iter().map(|run| run.canary_requests).collect();
        assert!(canaries.iter().all(|canary| (1_800..2_200).contains(canary)), "a tenth each: {canaries:?}");
        assert!(canaries.iter().any(|canary| *canary != canaries[0]), "other users each: {canaries:?}");
    }
}
