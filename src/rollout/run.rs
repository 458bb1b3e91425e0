//! The machine with its dial and judge: what decides, in the proxy and in simulations alike.
//!
//! Asks nobody for the time and writes nothing: whoever holds it says what time it is,
//! and does what is left of the effects.

use std::sync::Arc;
use std::time::Duration;

use super::decision::Verdict;
use super::threshold::{RecentLatency, Threshold};
use crate::decide::bucket::Share;
use crate::decide::guard::{GuardPlan, StageRule};
use crate::decide::rollout::{
    Active, Cause, Effect, Event, OnFail, Pause, Phase, Plan, Readings, Refused, State, due, step,
};
use crate::decide::time::Moment;
use crate::store::DecisionRecord;
use crate::subject::{NotTurned, Subject, SubjectPlan};
use crate::telemetry::MergedLatency;

/// A stage that waits for more than time is looked at this often.
const PATIENCE: Duration = Duration::from_millis(100);

/// What a rollout runs under, from its start to its end.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) plan: Plan,
    pub(crate) guard: GuardPlan,
    /// How many record outcomes.
    pub(crate) workers: usize,
    /// A canary request that waits for longer than a user would holds a stage back.
    pub(crate) abandon_after: Duration,
}

impl Terms {
    /// The subject of a rollout in this phase.
    pub(super) fn subject(&self, phase: Phase) -> SubjectPlan {
        let stages = self.plan.stages.as_slice();
        let (share, rule) = match phase {
            Phase::Stage(index) if index < stages.len() => (stages[index].share, stages[index].rule()),
            _ => (Share::EVERYBODY, StageRule { min_requests: 0, ..self.plan.stages.last().rule() }),
        };
        SubjectPlan {
            share,
            rule,
            guard: self.guard,
            // A cell for each stage, the bake, and one more for a promotion out of the middle.
            epochs: stages.len() + 2,
            workers: self.workers,
            closes: self.plan.conduct.on_fail == OnFail::Rollback,
            watches_first: self.plan.conduct.promote_early,
        }
    }
}

/// A rollout under way.
pub(crate) struct Rollout {
    pub(crate) plan: Plan,
    pub(crate) state: State,
    pub(crate) subject: Arc<Subject>,
    threshold: Threshold,
    pub(crate) decision: Option<DecisionRecord>,
    abandon_after: Duration,
}

impl Rollout {
    /// Begins with its first stage.
    pub(crate) fn start(
        terms: Terms,
        recent: &RecentLatency,
        now: Moment,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let subject = Subject::new(terms.subject(Phase::Stage(0)), wake);
        let threshold = Threshold::new(terms.guard.slower_than, recent);
        let mut rollout = Self::of(terms, State::started(now), subject, threshold);
        rollout.warm_up(now, Duration::ZERO);
        rollout.look_at_latencies();
        rollout
    }

    pub(super) fn of(terms: Terms, state: State, subject: Subject, threshold: Threshold) -> Self {
        let Terms { plan, abandon_after, .. } = terms;
        Self { plan, state, subject: Arc::new(subject), threshold, decision: None, abandon_after }
    }

    /// Where stable's latencies of the latency guard's window are recorded.
    pub(crate) fn stable_window(&self) -> &Arc<MergedLatency> {
        &self.threshold.window
    }

    /// Says what is slow, where the latency guard waits for that and enough is known.
    pub(crate) fn look_at_latencies(&mut self) {
        self.threshold.look(&self.subject);
    }

    /// Slow answers count once the stage, which has lasted so long, is warm.
    pub(super) fn warm_up(&self, now: Moment, elapsed: Duration) {
        self.subject.warm_at(now + self.plan.conduct.warmup.saturating_sub(elapsed));
    }

    /// The stage, from 0; the number of stages in the bake.
    pub(crate) fn stage_index(&self) -> usize {
        let phase = match &self.state {
            State::Active(Active { phase, .. }) | State::RolledBack { phase, .. } => *phase,
            State::Completed => Phase::Bake,
        };
        self.plan.stage_of(phase)
    }

    /// When time alone could change something, or something should be looked at again.
    pub(crate) fn look_again(&self, now: Moment) -> Option<Moment> {
        let due = due(&self.plan, &self.state, now)?;
        Some(if due > now { due } else { now + PATIENCE })
    }

    /// Lets time pass; the value is what was done.
    pub(crate) fn tick(&mut self, now: Moment) -> Vec<Effect> {
        self.look_at_latencies();
        let verdict = self.subject.judge().verdict();
        let event = match verdict {
            Some(breach) => Event::Breach(breach),
            None => Event::Tick(self.readings(now)),
        };
        // Neither is ever refused.
        self.happen(event, now).unwrap_or_default()
    }

    fn readings(&self, now: Moment) -> Readings {
        let waits = self.subject.oldest_waiting().map(Moment::from_micros);
        Readings {
            counts: self.subject.stage_counts(self.subject.word().epoch()),
            overdue: waits.is_some_and(|since| now.since(since) >= self.abandon_after),
            safe: self.plan.conduct.promote_early && self.subject.is_safe(),
        }
    }

    /// Something happens; the value is what was done, and what is left to do.
    ///
    /// # Errors
    /// A verb that makes no sense now.
    pub(crate) fn happen(&mut self, event: Event, now: Moment) -> Result<Vec<Effect>, Refused> {
        let next = step(&self.plan, &self.state, event, now)?;
        for effect in &next.effects {
            match effect {
                Effect::Turn { share, rule } => {
                    // Before the turn: the first answers of the stage are not counted yet.
                    self.warm_up(now, Duration::ZERO);
                    if let Err(lost) = self.subject.turn(self.subject.word(), *share, *rule) {
                        return self.turn_lost(lost, now);
                    }
                }
                Effect::Overrule => {
                    if let Err(lost) = self.subject.overrule() {
                        return self.turn_lost(lost, now);
                    }
                }
                Effect::Close => drop(self.subject.close()),
                Effect::SwapRoles | Effect::KeepRoles | Effect::Persist | Effect::Tell(_) => {}
            }
        }
        let after = match &self.state {
            State::Active(active) => active.clock.elapsed(now),
            _ => Duration::ZERO,
        };
        self.state = next.state;
        if self.decision.is_none() {
            self.explain(after);
        }
        Ok(next.effects)
    }

    /// The dial was closed first: by a verdict, which is the next event, or by an
    /// operator whose command follows.
    fn turn_lost(&mut self, lost: NotTurned, now: Moment) -> Result<Vec<Effect>, Refused> {
        match lost {
            NotTurned::Breach(breach) => self.happen(Event::Breach(breach), now),
            NotTurned::Changed(_) => Ok(Vec::new()),
        }
    }

    /// Writes the verdict down while its numbers are fresh.
    fn explain(&mut self, after: Duration) {
        let (breach, rolled_back) = match &self.state {
            State::RolledBack { cause: Cause::Breach(breach), .. } => (breach, true),
            State::Active(Active { pause: Some(Pause::Failed(breach)), .. }) => (breach, false),
            _ => return,
        };
        let (stage, stages) = (self.stage_index(), self.plan.stages.as_slice().len());
        let verdict = Verdict { breach, subject: &self.subject, stage, stages, after, rolled_back };
        self.decision = Some(verdict.record());
    }
}
