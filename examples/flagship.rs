//! Serin beside a controller that asks a metrics store once a minute, on the same traffic.
//!
//! `cargo run --release --example flagship` prints the table that stands in the README.
//! Serin's side is the code that decides in the proxy, in virtual time. The controller's
//! is as gentle as they come: its clock runs exactly, its metrics are complete and new, a
//! check fails where more than 1 % of the canary's answers of the last minute are errors
//! or its 99th percentile is above 500 ms, and the third or fifth failed check rolls back.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use serin::decide::bucket::{Bucket, Share};
use serin::decide::guard::{Enforcement, GuardPlan, Rate};
use serin::decide::rollout::{Conduct, Plan, Stage, Stages, State};
use serin::decide::time::Moment;
use serin::simulate::{Activity, Random, Served, Users, World, WorldPlan};
use serin::subject::Track;

const RATE: f64 = 1_000.0;
const USERS: usize = 10_000;
const SHARE: f64 = 10.0;
/// Each cell is the median of so many runs.
const RUNS: u64 = 11;
const MINUTE: f64 = 60.0;
const TOO_MANY_ERRORS: f64 = 0.01;
const TOO_SLOW: Duration = Duration::from_millis(500);
/// Nobody waits longer than that.
const HALF_AN_HOUR: f64 = 1_800.0;

/// A canary.
struct Case {
    name: &'static str,
    error_rate: f64,
    slower: f64,
}

const STABLE_ERRORS: f64 = 0.001;
const CASES: [Case; 6] = [
    Case { name: "every answer is an error", error_rate: 1.0, slower: 1.0 },
    Case { name: "50 % errors", error_rate: 0.5, slower: 1.0 },
    Case { name: "5 % errors", error_rate: 0.05, slower: 1.0 },
    Case { name: "2 % errors", error_rate: 0.02, slower: 1.0 },
    Case { name: "0.5 % errors", error_rate: 0.005, slower: 1.0 },
    Case { name: "ten times slower", error_rate: STABLE_ERRORS, slower: 10.0 },
];

/// What it took until the rollback.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    seconds: f64,
    requests: u64,
    errors: u64,
}

/// A controller that looks once a minute.
struct Controller {
    failed_checks: u32,
    allowed: u32,
    next_check: f64,
    canary: Cost,
    minute: Vec<(bool, Duration)>,
    found: Option<Cost>,
}

impl Controller {
    fn new(allowed: u32, phase: f64) -> Self {
        let canary = Cost { seconds: 0.0, requests: 0, errors: 0 };
        Self { failed_checks: 0, allowed, next_check: phase, canary, minute: Vec::new(), found: None }
    }

    /// Time passes; a check is made where one is due.
    fn pass(&mut self, now: f64) {
        if now < self.next_check || self.found.is_some() {
            return;
        }
        self.failed_checks += u32::from(self.check_fails());
        if self.failed_checks == self.allowed {
            self.found = Some(Cost { seconds: self.next_check, ..self.canary });
        }
        self.next_check += MINUTE;
        self.minute.clear();
    }

    fn check_fails(&mut self) -> bool {
        let errors = self.minute.iter().filter(|(error, _)| *error).count() as f64;
        self.minute.sort_unstable_by_key(|(_, latency)| *latency);
        let p99 = self.minute.get(self.minute.len() * 99 / 100).map_or(Duration::ZERO, |(_, latency)| *latency);
        errors > TOO_MANY_ERRORS * self.minute.len() as f64 || p99 > TOO_SLOW
    }

    fn hears(&mut self, served: Served) {
        if self.found.is_none() {
            self.canary.requests += 1;
            self.canary.errors += u64::from(served.error);
            self.minute.push((served.error, served.latency));
        }
    }
}

fn plan() -> WorldPlan {
    let stage = |percent, seconds| Stage {
        share: Share::clamped(percent),
        duration: Duration::from_secs(seconds),
        min_requests: 100,
        max_error_rate: Rate::percent(5),
        hold: false,
    };
    let stages = Stages::new(vec![stage(SHARE, 86_400), stage(100.0, 0)]).unwrap_or_else(|_| Stages::of_the_guide());
    let plan = Plan { stages, bake: Duration::ZERO, conduct: Conduct::default() };
    let guard = GuardPlan { latency: Enforcement::Enforce, ..GuardPlan::default() };
    WorldPlan { plan, guard, id: String::new(), in_flight: true }
}

/// One run: the same requests for all three.
fn run(case: &Case, seed: u64) -> [Option<Cost>; 3] {
    let mut random = Random::new(seed);
    let users = Users::new(USERS, Activity::HeavyTailed, 0.0, &mut random);
    let mut world = World::new(WorldPlan { id: format!("flagship-{seed}"), ..plan() });
    let buckets: Vec<Bucket> = (0..USERS).map(|user| world.bucket(&format!("user-{user}"))).collect();
    let phase = MINUTE * random.unit();
    let mut controllers = [3, 5].map(|allowed| Controller::new(allowed, phase));
    let (mut at, mut serin) = (0.0, None);
    let mut asked = Cost { seconds: 0.0, requests: 0, errors: 0 };
    while at < HALF_AN_HOUR && (serin.is_none() || controllers.iter().any(|controller| controller.found.is_none())) {
        at += random.exponential() / RATE;
        controllers.iter_mut().for_each(|controller| controller.pass(at));
        let bucket = buckets[users.draw(&mut random)];
        let canary = Share::clamped(SHARE).reaches(bucket);
        let (error_rate, slower) = if canary { (case.error_rate, case.slower) } else { (STABLE_ERRORS, 1.0) };
        let error = random.chance(error_rate);
        // A median of 40 ms and a 95th percentile of 120 ms.
        let latency = Duration::from_secs_f64(0.040 * slower * (0.668 * random.normal()).exp());
        let served = Served { error, latency };
        if canary {
            controllers.iter_mut().for_each(|controller| controller.hears(served));
        }
        if serin.is_none() {
            world.pass(Moment::ORIGIN + Duration::from_secs_f64(at));
            if matches!(world.state(), State::RolledBack { .. }) {
                serin = Some(Cost { seconds: at, ..asked });
            } else if world.request(bucket, |_| served) == Track::Canary {
                asked.requests += 1;
                asked.errors += u64::from(error);
            }
        }
    }
    [serin, controllers[0].found, controllers[1].found]
}

/// The middle one by requests; `None` where most are not found.
fn median(mut costs: Vec<Option<Cost>>) -> Option<Cost> {
    costs.sort_by_key(|cost| cost.map_or(u64::MAX, |cost| cost.requests));
    costs[costs.len() / 2]
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let from_behind = digits.bytes().rev().enumerate();
    let mut text: Vec<char> = Vec::new();
    for (place, digit) in from_behind {
        if place > 0 && place % 3 == 0 {
            text.push(',');
        }
        text.push(char::from(digit));
    }
    text.into_iter().rev().collect()
}

fn cell(cost: Option<Cost>) -> String {
    let Some(Cost { seconds, requests, errors }) = cost else { return "not within half an hour".to_owned() };
    let time = if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") };
    format!("{} requests, {} errors, {time}", grouped(requests), grouped(errors))
}

/// The table, line by line.
pub(crate) fn table() -> Vec<String> {
    let head = ["Canary at 10 %", "Serin", "60 s, 3 failed checks", "60 s, 5 failed checks"];
    let mut lines = vec![format!("| {} |", head.join(" | ")), "| --- | --- | --- | --- |".to_owned()];
    let rows = std::thread::scope(|scope| {
        let rows = CASES.each_ref().map(|case| {
            scope.spawn(move || {
                let runs: Vec<_> = (0..RUNS).map(|seed| run(case, seed)).collect();
                let costs = [0, 1, 2].map(|who| cell(median(runs.iter().map(|run| run[who]).collect())));
                format!("| {} | {} |", case.name, costs.join(" | "))
            })
        });
        rows.map(|row| row.join().unwrap_or_default())
    });
    lines.extend(rows);
    lines
}

#[allow(dead_code)]
fn main() {
    println!("{}", table().join("\n"));
}
