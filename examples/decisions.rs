//! Draws `docs/decisions.svg`: the evidence of three releases over the canary's requests.
//!
//! `cargo run --example decisions` writes the file; `tests/reference.rs` holds that it is
//! what this draws now. The decisions are those of the code that decides in the proxy, in
//! virtual time: 10 % of 10,000 users, 1,000 requests a second, stable fails 1 %.
#![allow(dead_code, clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serin::decide::bucket::{Bucket, Share};
use serin::decide::guard::{GuardPlan, Rate};
use serin::decide::rollout::{Conduct, Plan, Stage, Stages, State};
use serin::decide::time::Moment;
use serin::simulate::{Activity, Random, Served, Users, World, WorldPlan};
use serin::subject::Track;

const USERS: usize = 10_000;
const RATE: f64 = 1_000.0;
const STABLE: f64 = 0.01;
/// Who has not been found by then will not be drawn any further.
const CANARY_REQUESTS: u64 = 10_000;
const SEED: u64 = 1;

/// The picture, in its own units.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 730.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 350.0;
/// The axis of evidence, as powers of ten.
const LOWEST: f64 = -2.0;
const HIGHEST: f64 = 3.0;

/// A release: its class in the picture, and the part of the canary's answers that fail.
const RELEASES: [(&str, &str, f64); 3] =
    [("dead", "every answer fails", 1.0), ("bad", "5 % fail", 0.05), ("good", "1 % fail, as on stable", STABLE)];

/// How one went: canary requests and the evidence at each change of it.
struct Course {
    points: Vec<(u64, f64)>,
    rolled_back_after: Option<u64>,
}

fn plan() -> WorldPlan {
    let stage = |percent, seconds| Stage {
        share: Share::clamped(percent),
        duration: Duration::from_secs(seconds),
        // Only the comparison speaks here.
        min_requests: 0,
        max_error_rate: Rate::percent(100),
        hold: false,
    };
    let stages = Stages::new(vec![stage(10.0, 86_400), stage(100.0, 0)]).unwrap_or_else(|_| Stages::of_the_guide());
    let plan = Plan { stages, bake: Duration::ZERO, conduct: Conduct::default() };
    WorldPlan { plan, guard: GuardPlan::default(), id: "decisions".to_owned(), in_flight: true }
}

fn course(canary_errors: f64) -> Course {
    let mut random = Random::new(SEED);
    let users = Users::new(USERS, Activity::HeavyTailed, 0.0, &mut random);
    let mut world = World::new(plan());
    let buckets: Vec<Bucket> = (0..USERS).map(|user| world.bucket(&format!("user-{user}"))).collect();
    let mut course = Course { points: Vec::new(), rolled_back_after: None };
    let (mut at, mut requests) = (0.0, 0);
    while requests < CANARY_REQUESTS {
        at += random.exponential() / RATE;
        world.pass(Moment::ORIGIN + Duration::from_secs_f64(at));
        let bucket = buckets[users.draw(&mut random)];
        let draw = random.unit();
        let latency = Duration::from_millis(40);
        let track = world.request(bucket, |track| {
            let rate = if track == Track::Canary { canary_errors } else { STABLE };
            Served { error: draw < rate, latency }
        });
        requests += u64::from(track == Track::Canary);
        // The last answers come in before anything is looked at.
        world.pass(Moment::ORIGIN + Duration::from_secs_f64(at) + latency);
        at += latency.as_secs_f64();
        let evidence = world.subject().judge().comparison().evidence();
        if requests > 0 && course.points.last().is_none_or(|(_, last)| *last != evidence) {
            course.points.push((requests, evidence));
        }
        if matches!(world.state(), State::RolledBack { .. }) {
            course.rolled_back_after = Some(requests);
            return course;
        }
    }
    course.points.extend(course.points.last().map(|(_, evidence)| (CANARY_REQUESTS, *evidence)));
    course
}

fn x(requests: u64) -> f64 {
    LEFT + (RIGHT - LEFT) * (requests.max(1) as f64).log10() / (CANARY_REQUESTS as f64).log10()
}

fn y(evidence: f64) -> f64 {
    let power = evidence.log10().clamp(LOWEST, HIGHEST);
    BOTTOM - (BOTTOM - TOP) * (power - LOWEST) / (HIGHEST - LOWEST)
}

/// Evidence stays as it is between two events.
fn steps(points: &[(u64, f64)]) -> String {
    let mut path = String::new();
    let mut last = None;
    for (requests, evidence) in points {
        let (right, height) = (x(*requests), y(*evidence));
        match last {
            None => write!(path, "M{right:.1},{height:.1}").unwrap(),
            Some(before) if before == (format!("{right:.1}"), format!("{height:.1}")) => {}
            Some(_) => write!(path, "H{right:.1}V{height:.1}").unwrap(),
        }
        last = Some((format!("{right:.1}"), format!("{height:.1}")));
    }
    path
}

const STYLE: &str = "
    .paper { fill: #ffffff } text { fill: #24292f; font: 13px system-ui, sans-serif } .small { font-size: 12px }
    .grid { stroke: #d0d7de; stroke-width: 1 } .bound { stroke: #24292f; stroke-width: 1.5; stroke-dasharray: 6 4 }
    .line { fill: none; stroke-width: 2 } .good { stroke: #1a7f37 } .bad { stroke: #bc4c00 } .dead { stroke: #cf222e }
    text.good, circle.good { fill: #1a7f37; stroke: none } text.bad, circle.bad { fill: #bc4c00; stroke: none }
    text.dead, circle.dead { fill: #cf222e; stroke: none }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #0d1117 } text { fill: #e6edf3 } .grid { stroke: #30363d } .bound { stroke: #e6edf3 }
      .good { stroke: #3fb950 } .bad { stroke: #f0883e } .dead { stroke: #ff7b72 }
      text.good, circle.good { fill: #3fb950 } text.bad, circle.bad { fill: #f0883e }
      text.dead, circle.dead { fill: #ff7b72 }
    }
";

/// The whole picture.
pub(crate) fn picture() -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 410\" role=\"img\" \
         aria-label=\"Evidence over canary requests: a failing canary reaches the bound of 100, a healthy one stays \
         below it\">\n  <style>{STYLE}  </style>\n  <rect class=\"paper\" width=\"900\" height=\"410\"/>\n"
    );
    for power in LOWEST as i32..=HIGHEST as i32 {
        let height = y(10_f64.powi(power));
        let text = if power < 0 {
            format!("{:.*}", -power as usize, 10_f64.powi(power))
        } else {
            10_u64.pow(power as u32).to_string()
        };
        let _ = writeln!(svg, "  <path class=\"grid\" d=\"M{LEFT},{height:.1}H{RIGHT}\"/>");
        let _ = writeln!(
            svg,
            "  <text class=\"small\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
            LEFT - 8.0,
            height + 4.0
        );
    }
    for (requests, text) in [(1, "1"), (10, "10"), (100, "100"), (1_000, "1,000"), (10_000, "10,000")] {
        let right = x(requests);
        let _ = writeln!(svg, "  <path class=\"grid\" d=\"M{right:.1},{TOP}V{BOTTOM}\"/>");
        let _ = writeln!(
            svg,
            "  <text class=\"small\" x=\"{right:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
            BOTTOM + 18.0
        );
    }
    let bound = GuardPlan::default().false_rollback.bound();
    let height = y(bound);
    let _ = writeln!(svg, "  <path class=\"bound\" d=\"M{LEFT},{height:.1}H{RIGHT}\"/>");
    let _ =
        writeln!(svg, "  <text x=\"{}\" y=\"{:.1}\">bound {bound:.0}: rolled back</text>", RIGHT + 8.0, height + 4.0);
    let _ = writeln!(
        svg,
        "  <text x=\"{LEFT}\" y=\"24\">Evidence that the canary gives errors to more users than stable does</text>"
    );
    let _ = writeln!(
        svg,
        "  <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">canary requests</text>",
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 42.0
    );
    for (class, words, errors) in RELEASES {
        let course = course(errors);
        let _ = writeln!(svg, "  <path class=\"line {class}\" d=\"{}\"/>", steps(&course.points));
        let Some((requests, evidence)) = course.points.last() else { continue };
        let (right, height) = (x(*requests), y(*evidence));
        let _ = writeln!(svg, "  <circle class=\"{class}\" cx=\"{right:.1}\" cy=\"{height:.1}\" r=\"4\"/>");
        let text = match course.rolled_back_after {
            Some(requests) => format!("{words}: {requests} requests"),
            None => words.to_owned(),
        };
        let (right, height) =
            if course.rolled_back_after.is_some() { (right + 9.0, height - 7.0) } else { (right + 9.0, height + 4.0) };
        let _ = writeln!(svg, "  <text class=\"{class}\" x=\"{right:.1}\" y=\"{height:.1}\">{text}</text>");
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where it is.
pub(crate) fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/decisions.svg")
}

fn main() -> std::io::Result<()> {
    std::fs::write(file(), picture())
}
