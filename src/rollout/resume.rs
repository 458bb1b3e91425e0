//! A rollout goes on where another process left it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::run::{Rollout, Terms};
use super::threshold::{RecentLatency, Threshold};
use crate::decide::rollout::{Active, Clock, Pause, Phase, State};
use crate::decide::time::{Moment, seconds};
use crate::subject::{Memory, Subject};

/// What one deployment has counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointRecord {
    /// The stage that it is about.
    pub stage: usize,
    /// How long that has lasted, in seconds.
    #[serde(with = "seconds")]
    pub elapsed: Duration,
    /// Counts and evidence.
    pub memory: Memory,
}

/// What was written of a rollout when something last happened to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) phase: Phase,
    pub(crate) pause: Option<Pause>,
    pub(crate) waived: bool,
}

impl Rollout {
    /// Goes on at its stage, with what the checkpoint remembers.
    pub(crate) fn resume(
        terms: Terms,
        recent: &RecentLatency,
        written: Written,
        checkpoint: Option<&CheckpointRecord>,
        now: Moment,
        wake: impl Fn() + Clone + Send + Sync + 'static,
    ) -> Self {
        let Written { phase, pause, waived } = written;
        // A checkpoint of an earlier stage knows what was counted before this one began.
        let same_stage = checkpoint.is_some_and(|checkpoint| checkpoint.stage == terms.plan.stage_of(phase));
        let elapsed = checkpoint.filter(|_| same_stage).map_or(Duration::ZERO, |checkpoint| checkpoint.elapsed);
        let stopped = Clock::stopped(elapsed);
        let clock = if pause.is_some() { stopped } else { stopped.resumed(now) };
        let here = terms.subject(phase);
        let threshold = Threshold::new(terms.guard.slower_than, recent);
        let remembered = checkpoint.and_then(|checkpoint| {
            let before = if same_stage { phase } else { Phase::Stage(checkpoint.stage) };
            let then = terms.subject(before);
            let subject = Subject::recall(then, checkpoint.memory.clone(), wake.clone())?;
            // What was slow in the stage before is slow in the next one, until that knows better.
            let threshold = threshold.clone().recalled(&subject.judge());
            if !same_stage {
                // A verdict that came first stays: the next tick carries it out.
                let _ = subject.turn(subject.word(), here.share, here.rule);
            }
            Some((subject, threshold))
        });
        let (subject, threshold) = remembered.unwrap_or_else(|| (Subject::new(here, wake), threshold));
        let state = State::Active(Active { phase, clock, pause, waived });
        let run = Self::of(terms, state, subject, threshold);
        run.warm_up(now, elapsed);
        run
    }

    /// What was written of it now; `None` once it has ended.
    pub(crate) fn written(&self) -> Option<Written> {
        match &self.state {
            State::Active(Active { phase, pause, waived, .. }) => {
                Some(Written { phase: *phase, pause: *pause, waived: *waived })
            }
            _ => None,
        }
    }

    /// What a restart has to know beyond that; `None` once it has ended.
    pub(crate) fn checkpoint(&self, now: Moment) -> Option<CheckpointRecord> {
        let State::Active(active) = &self.state else { return None };
        let elapsed = active.clock.elapsed(now);
        Some(CheckpointRecord { stage: self.stage_index(), elapsed, memory: self.subject.memory() })
    }
}
