//! How a service goes: rates, latencies and evidence over time, for whoever looks.
//!
//! A deployment has a course of its own, from its start to its end: when it is full, two
//! neighbours become one, so that it always shows the whole deployment. Without one, the last
//! minutes are kept. In memory only: a restart begins anew.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::error::ControlError;
use crate::clock;
use crate::decide::bucket::Share;
use crate::decide::guard::Standing;
use crate::decide::time::Moment;
use crate::subject::Track;
use crate::telemetry::MergedLatency;

/// As many of a deployment at the most.
const KEPT: usize = 480;
const EVERY: Duration = Duration::from_secs(1);
/// As many while none runs, a look each five seconds: five minutes. There may be a thousand
/// services at rest.
const RESTING: usize = 60;
const SELDOM: Duration = Duration::from_secs(5);
/// What is told as now.
const NOW: Duration = Duration::from_secs(10);
const PERCENTILES: [f64; 3] = [0.5, 0.95, 0.99];

/// What happened from one look to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// Its end, in seconds since 1970.
    pub at: f64,
    /// How long it lasted, in seconds.
    pub seconds: f64,
    /// The canary's share, in percent.
    pub share: f64,
    /// What stable did.
    pub stable: TrackSample,
    /// What the canary did.
    pub canary: TrackSample,
    /// What the guards had come to.
    pub evidence: Evidence,
}

/// What a track did meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrackSample {
    /// Outcomes.
    pub requests: u64,
    /// Those that were errors.
    pub errors: u64,
    /// How long answers took; of the slower part where two became one.
    #[serde(flatten)]
    pub latency: Quantiles,
}

/// Latencies in milliseconds; absent without an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// The median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50: Option<f32>,
    /// The 95th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95: Option<f32>,
    /// The 99th percentile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f32>,
}

/// The evidence of each guard that is kept; of two samples that became one the higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
}

/// What a track is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// Outcomes a second, of the last ten.
    pub requests_per_second: f64,
    /// Errors among them, 0 to 1; absent where there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<f64>,
    /// How long answers took, over the deployment; without one, since the start.
    #[serde(flatten)]
    pub latency: Quantiles,
}

/// A course, or its end.
#[derive(Clone, Debug, Serialize)]
pub struct Samples {
    /// Whose it is; absent where no deployment runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The oldest first.
    pub samples: Vec<Sample>,
}

/// How fast both tracks are, whatever begins or ends meanwhile.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Moment, [(u64, u64); 2])>);

impl Pace {
    /// Notes the counts of now, once a second.
    pub(super) fn look(&mut self, now: Moment, counts: impl FnOnce() -> [(u64, u64); 2]) {
        if self.0.back().is_none_or(|(last, _)| now.since(*last) >= EVERY) {
            self.0.push_back((now, counts()));
            while self.0.get(1).is_some_and(|(second, _)| now.since(*second) >= NOW) {
                self.0.pop_front();
            }
        }
    }

    /// Rate and errors of a track in the last seconds, with these latencies.
    pub(super) fn live(&self, track: Track, latency: &MergedLatency) -> Live {
        let rest = Live { latency: Quantiles::of(latency.quantiles(PERCENTILES)), ..Live::default() };
        let (Some((from, before)), Some((to, counts))) = (self.0.front(), self.0.back()) else { return rest };
        let requests = counts[track.index()].0.saturating_sub(before[track.index()].0);
        let errors = counts[track.index()].1.saturating_sub(before[track.index()].1);
        let seconds = to.since(*from).as_secs_f64();
        Live {
            requests_per_second: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
            error_rate: (requests > 0).then(|| errors as f64 / requests as f64),
            ..rest
        }
    }
}

/// What there is to be looked at.
pub(super) struct Reading {
    pub(super) share: Share,
    /// Requests and errors so far.
    pub(super) counts: [(u64, u64); 2],
    pub(super) standings: Vec<Standing>,
}

/// The course of a service or of one of its deployments.
#[derive(Debug)]
pub(super) struct Course {
    deployment: Option<String>,
    /// The wall clock may jump: it is asked once.
    origin: (Moment, f64),
    every: Duration,
    last: Moment,
    counts: [(u64, u64); 2],
    samples: VecDeque<Sample>,
}

impl Course {
    /// Begins, with what has been counted before.
    pub(super) fn begin(deployment: Option<&str>, counts: [(u64, u64); 2]) -> Self {
        let now = clock::now();
        Self {
            deployment: deployment.map(str::to_owned),
            origin: (now, clock::unix_millis() as f64 / 1e3),
            every: if deployment.is_some() { EVERY } else { SELDOM },
            last: now,
            counts,
            samples: VecDeque::new(),
        }
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        now.since(self.last) >= self.every
    }

    /// Adds what has happened since the last look.
    pub(super) fn look(&mut self, now: Moment, reading: &Reading, latest: [&MergedLatency; 2]) {
        let track = |track: Track| {
            let (requests, errors) = reading.counts[track.index()];
            let (before, errors_before) = self.counts[track.index()];
            TrackSample {
                requests: requests.saturating_sub(before),
                errors: errors.saturating_sub(errors_before),
                latency: Quantiles::of(latest[track.index()].take(PERCENTILES)),
            }
        };
        let sample = Sample {
            at: self.origin.1 + now.since(self.origin.0).as_secs_f64(),
            seconds: now.since(self.last).as_secs_f64(),
            share: reading.share.percentage(),
            stable: track(Track::Stable),
            canary: track(Track::Canary),
            evidence: Evidence::of(&reading.standings),
        };
        (self.last, self.counts) = (now, reading.counts);
        self.samples.push_back(sample);
        match self.deployment {
            Some(_) if self.samples.len() > KEPT => self.halve(),
            None if self.samples.len() > RESTING => drop(self.samples.pop_front()),
            _ => {}
        }
    }

    /// Makes room: half as many, each twice as long.
    fn halve(&mut self) {
        let samples = std::mem::take(&mut self.samples).into_iter().collect::<Vec<_>>();
        self.samples = samples.chunks(2).filter_map(|pair| pair.iter().copied().reduce(Sample::and)).collect();
        self.every *= 2;
    }

    /// What came after this time (in seconds since 1970), the newest last.
    pub(super) fn after(&self, after: Option<f64>) -> Samples {
        let later = |sample: &&Sample| after.is_none_or(|after| sample.at > after);
        Samples { deployment: self.deployment.clone(), samples: self.samples.iter().filter(later).copied().collect() }
    }

    pub(super) fn is_of_a_deployment(&self) -> bool {
        self.deployment.is_some()
    }

    pub(super) fn is_of(&self, deployment: &str) -> bool {
        self.deployment.as_deref() == Some(deployment)
    }
}

impl Sample {
    /// Two in a row as one.
    fn and(self, next: Self) -> Self {
        Self {
            at: next.at,
            seconds: self.seconds + next.seconds,
            share: next.share,
            stable: self.stable.and(next.stable),
            canary: self.canary.and(next.canary),
            evidence: self.evidence.and(next.evidence),
        }
    }
}

impl TrackSample {
    fn and(self, next: Self) -> Self {
        Self {
            requests: self.requests + next.requests,
            errors: self.errors + next.errors,
            latency: self.latency.and(next.latency),
        }
    }
}

impl Quantiles {
    fn of(spans: Option<[Duration; 3]>) -> Self {
        let [p50, p95, p99] =
            spans.map_or([None; 3], |spans| spans.map(|span| Some((span.as_secs_f64() * 1e3) as f32)));
        Self { p50, p95, p99 }
    }

    fn and(self, next: Self) -> Self {
        Self { p50: higher(self.p50, next.p50), p95: higher(self.p95, next.p95), p99: higher(self.p99, next.p99) }
    }
}

impl Evidence {
    fn of(standings: &[Standing]) -> Self {
        let of = |guard: &str| standings.iter().find(|standing| standing.guard == guard).map(|found| found.evidence);
        Self { errors: of("errors"), latency: of("latency"), limit: of("limit") }
    }

    fn and(self, next: Self) -> Self {
        Self {
            errors: higher(self.errors, next.errors),
            latency: higher(self.latency, next.latency),
            limit: higher(self.limit, next.limit),
        }
    }
}

fn higher<T: PartialOrd>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other > one { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// What a path or query of samples names is not there.
pub(super) fn unknown(deployment: &str) -> ControlError {
    ControlError::NotFound { what: "course of a deployment", name: deployment.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Moment {
        Moment::from_micros(second * 1_000_000)
    }

    fn reading(requests: u64, errors: u64) -> Reading {
        let counts = [(requests, 0), (requests, errors)];
        Reading { share: Share::EVERYBODY, counts, standings: Vec::new() }
    }

    fn course(deployment: Option<&str>, seconds: u64) -> Course {
        let mut course = Course::begin(deployment, [(0, 0); 2]);
        (course.last, course.origin) = (at(0), (at(0), 0.0));
        let nothing = MergedLatency::default();
        for second in 1..=seconds {
            if course.is_due(at(second)) {
                course.look(at(second), &reading(second * 10, second), [&nothing, &nothing]);
            }
        }
        course
    }

    #[test]
    fn a_course_shows_the_whole_deployment_however_long_it_is() {
        for seconds in [1, 480, 481, 5_000, 100_000] {
            let samples = course(Some("d"), seconds).after(None).samples;
            assert!(samples.len() <= KEPT && samples.len() > KEPT / 3 || seconds == 1, "{}", samples.len());
            let requests: u64 = samples.iter().map(|sample| sample.canary.requests).sum();
            let lasted: f64 = samples.iter().map(|sample| sample.seconds).sum();
            let end = samples.last().unwrap().at;
            // What is not due yet comes with the next one.
            assert!((requests as f64 / 10.0 - end).abs() < 1e-6 && (lasted - end).abs() < 1e-6);
            assert!(seconds as f64 - end < 300.0, "{end} of {seconds}");
            let errors: u64 = samples.iter().map(|sample| sample.canary.errors).sum();
            assert_eq!(errors * 10, requests);
        }
    }

    #[test]
    fn without_a_deployment_the_last_minutes_are_kept() {
        let samples = course(None, 1_000).after(None).samples;
        assert_eq!((samples.len(), samples[0].at), (RESTING, 705.0));
        assert_eq!(course(None, 1_000).after(Some(990.0)).samples.len(), 2);
    }

    #[test]
    fn now_is_the_last_ten_seconds() {
        let latency = MergedLatency::default();
        let mut pace = Pace::default();
        assert_eq!(pace.live(Track::Stable, &latency), Live::default());
        for second in 0..=100 {
            // Ten times as many in the first half.
            let requests = if second < 50 { second * 100 } else { 5_000 + (second - 50) * 10 };
            pace.look(at(second), || [(0, 0), (requests, requests / 10)]);
            pace.look(at(second), || panic!("once a second"));
        }
        let live = pace.live(Track::Canary, &latency);
        assert_eq!((live.requests_per_second, live.error_rate, live.latency.p95), (10.0, Some(0.1), None));
        assert_eq!(pace.live(Track::Stable, &latency).error_rate, None);
        assert_eq!(pace.0.len(), 11);
    }

    #[test]
    fn of_two_that_become_one_the_worse_is_kept() {
        let sample = |p95, evidence| Sample {
            canary: TrackSample { latency: Quantiles { p95, ..Quantiles::default() }, ..TrackSample::default() },
            evidence: Evidence { errors: evidence, ..Evidence::default() },
            ..Sample::default()
        };
        let both = sample(Some(9.0), None).and(sample(Some(5.0), Some(80.0)));
        assert_eq!((both.canary.latency.p95, both.evidence.errors), (Some(9.0), Some(80.0)));
    }
}
