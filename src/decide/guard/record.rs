//! What a stage's verdict rested on: enough to come to it once more.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::judge::{Judge, Report, StageCounts, StageRule};
use super::plan::{GuardPlan, SlowerThan};
use crate::decide::bucket::{Bucket, Share};
use crate::decide::time::Moment;

/// No more events are kept; the oldest go first.
const EVENTS_MAX: usize = 5_000;

/// What the judge was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An error.
    Error,
    /// A slow answer.
    Slow,
    /// A success at which the rate rule was asked.
    Success,
}

impl Kind {
    const ALL: [(&'static str, Self); 3] = [("error", Self::Error), ("slow", Self::Slow), ("success", Self::Success)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// One thing that the judge was told. Its text form has the microseconds of the process'
/// clock, the kind, the track, the bucket (`-`: none), the share in basis points, and the
/// canary's requests, errors and watched successes in the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// About which request; its epoch is the stage's.
    pub report: Report,
    /// The canary's counts in the stage at that time.
    pub counts: StageCounts,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, report, counts } = self;
        let track = if report.canary { "canary" } else { "stable" };
        write!(f, "{} {} {track} ", report.at.as_micros(), kind.name())?;
        match report.bucket {
            Some(bucket) => write!(f, "{}", bucket.number())?,
            None => f.write_str("-")?,
        }
        let StageCounts { requests, errors, watched } = counts;
        write!(f, " {} {requests} {errors} {watched}", report.share.basis_points())
    }
}

/// A text that is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event: `{0}`")]
pub struct EventError(String);

impl FromStr for Event {
    type Err = EventError;

    fn from_str(text: &str) -> Result<Self, EventError> {
        let wrong = || EventError(text.chars().take(80).collect());
        let parts: Vec<&str> = text.split(' ').collect();
        let [at, kind, track, bucket, share, requests, errors, watched] = parts[..] else { return Err(wrong()) };
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        let kind = Kind::ALL.iter().find(|(name, _)| *name == kind).ok_or_else(wrong)?.1;
        let bucket = match bucket {
            "-" => None,
            bucket => Some(bucket.parse().ok().and_then(Bucket::new).ok_or_else(wrong)?),
        };
        let canary = match track {
            "canary" => true,
            "stable" => false,
            _ => return Err(wrong()),
        };
        let share = share.parse().ok().and_then(Share::from_basis_points).ok_or_else(wrong)?;
        let report = Report { at: Moment::from_micros(number(at)?), canary, bucket, share, epoch: 1 };
        let counts = StageCounts { requests: number(requests)?, errors: number(errors)?, watched: number(watched)? };
        Ok(Self { kind, report, counts })
    }
}

impl Serialize for Event {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What the judge was told in this stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StageRecord {
    /// The windows of errors, latency and limit with which the stage began.
    windows: [u32; 3],
    events: VecDeque<Event>,
    /// Older events that are not kept: with some of them a replay is not exact.
    dropped: u64,
    /// What was slow, in microseconds.
    slower_than: u64,
}

impl StageRecord {
    pub(super) fn begun(windows: [u32; 3]) -> Self {
        Self { windows, events: VecDeque::new(), dropped: 0, slower_than: 0 }
    }

    pub(super) fn note(&mut self, kind: Kind, report: Report, counts: StageCounts) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.events.push_back(Event { kind, report, counts });
    }

    pub(super) fn note_threshold(&mut self, threshold: Duration) {
        self.slower_than = threshold.as_micros() as u64;
    }

    /// The events, the oldest first.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.events.iter()
    }

    /// How many older ones are not kept.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Comes to the verdict once more, perhaps with another guard or rule: each judge's
    /// state after each event. What was slow stays slow, whatever the threshold.
    pub fn replay(&self, plan: GuardPlan, rule: StageRule, mut each: impl FnMut(&Event, &Judge)) -> Judge {
        let slower_than = SlowerThan::Span(Duration::from_micros(self.slower_than));
        let mut judge = Judge::in_windows(GuardPlan { slower_than, ..plan }, rule, 1, self.windows);
        for event in &self.events {
            let report = Report { epoch: 1, ..event.report };
            match event.kind {
                Kind::Error => drop(judge.error(report, event.counts)),
                Kind::Success => drop(judge.success(report, event.counts)),
                Kind::Slow => drop(judge.slow(report)),
            }
            each(event, &judge);
            if judge.verdict().is_some() {
                break;
            }
        }
        judge
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Alpha, Rate};
    use super::*;

    fn error(number: u16) -> (Report, StageCounts) {
        let share = Share::clamped(10.0);
        let report = Report {
            at: Moment::from_micros(u64::from(number) * 10),
            canary: true,
            bucket: Bucket::new(number),
            share,
            epoch: 1,
        };
        (report, StageCounts { requests: u64::from(number), errors: u64::from(number), watched: 0 })
    }

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let (report, counts) = error(7);
        for report in [report, Report { bucket: None, canary: false, ..report }] {
            let event = Event { kind: Kind::Slow, report, counts };
            assert_eq!(event.to_string().parse(), Ok(event));
        }
        for wrong in ["", "1 error canary 10000 1000 1 1 1", "1 bad canary 1 1000 1 1 1", "1 error canary 1 1000 1 1"] {
            assert!(wrong.parse::<Event>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replay_comes_to_the_same_verdict_and_other_settings_to_another() {
        let rule = StageRule { min_requests: 100, max_error_rate: Rate::percent(5) };
        let plan = GuardPlan::default();
        let mut judge = Judge::new(plan, rule, 1);
        let mut number = 0;
        while judge.verdict().is_none() {
            number += 1;
            let (report, counts) = error(number);
            judge.error(report, counts);
        }
        let text = serde_json::to_string(judge.record()).unwrap();
        let record: StageRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(record.replay(plan, rule, |_, _| ()).verdict(), judge.verdict());
        let strict = GuardPlan { false_rollback: Alpha::new(1e-6).unwrap(), ..plan };
        assert_eq!(record.replay(strict, rule, |_, _| ()).verdict(), None);
    }

    #[test]
    fn no_more_events_are_kept_than_a_window_has() {
        let mut record = StageRecord::begun([1, 1, 1]);
        for _ in 0..EVENTS_MAX + 3 {
            let (report, counts) = error(1);
            record.note(Kind::Error, report, counts);
        }
        assert_eq!((record.events().len(), record.dropped()), (EVENTS_MAX, 3));
    }
}
