//! One deployment that runs: the machine's effects carried out, and its record.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::checkpoint::CheckpointRecord;
use super::decision::Verdict;
use super::error::ControlError;
use super::service::ServiceControl;
use super::threshold::Threshold;
use crate::clock;
use crate::config::SaltKind;
use crate::decide::bucket::{Salt, Share};
use crate::decide::flags::Rule;
use crate::decide::guard::{GuardPlan, StageRule};
use crate::decide::rollout::{
    Active, Cause, Clock, Effect, Event, Milestone, OnFail, Pause, Phase, Plan, Readings, State, Strategy, due, step,
};
use crate::decide::time::Moment;
use crate::store::{DecisionRecord, DeploymentRecord, EventRecord, MetricsRecord};
use crate::subject::{NotTurned, Subject, SubjectPlan, Track};
use crate::telemetry::MergedLatency;

/// No timeline is longer.
const EVENTS_MAX: usize = 500;

/// A deployment that runs.
pub(super) struct Deployment {
    id: String,
    version: String,
    previous_version: Option<String>,
    strategy: Strategy,
    pub(super) pool: usize,
    previous_pool: String,
    plan: Plan,
    guard: GuardPlan,
    salt_kind: SaltKind,
    chosen: Chosen,
    state: State,
    revision: u64,
    pub(super) subject: Arc<Subject>,
    pub(super) latency: Arc<[MergedLatency; 2]>,
    pub(super) threshold: Threshold,
    started_at: String,
    ended_at: Option<String>,
    decision: Option<DecisionRecord>,
    events: Vec<EventRecord>,
    /// The newest events, until somebody takes them to tell.
    untold: Vec<EventRecord>,
    service: Arc<crate::config::Service>,
}

/// Who is on a track whatever the share, as it was given.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    pub(super) include: Vec<Rule>,
    pub(super) exclude: Vec<Rule>,
}

/// Everything that a deployment begins with.
pub(super) struct Begin {
    pub(super) version: String,
    pub(super) strategy: Strategy,
    pub(super) pool: usize,
    pub(super) plan: Plan,
    pub(super) guard: GuardPlan,
    pub(super) salt: SaltKind,
    pub(super) chosen: Chosen,
    pub(super) by: String,
}

impl Deployment {
    pub(super) fn start(begin: Begin, service: &ServiceControl, woken: &Arc<Notify>) -> Self {
        let Begin { version, strategy, pool, plan, guard, salt, chosen, by } = begin;
        let subject = Subject::new(subject_plan(&plan, Phase::Stage(0), guard, service.recorders()), wake(woken));
        let mut deployment = Self {
            id: new_id(),
            version,
            previous_version: service.stable_version.clone(),
            strategy,
            pool,
            previous_pool: service.config.pools[service.stable].name.clone(),
            subject: Arc::new(subject),
            plan,
            guard,
            salt_kind: salt,
            chosen,
            state: State::started(clock::now()),
            revision: 0,
            latency: Arc::default(),
            threshold: Threshold::new(guard.slower_than, &service.stable_recent),
            started_at: clock::rfc3339(),
            ended_at: None,
            decision: None,
            events: Vec::new(),
            untold: Vec::new(),
            service: Arc::clone(&service.config),
        };
        deployment.warm_up(clock::now(), Duration::ZERO);
        deployment.threshold.look(&deployment.subject);
        let share = deployment.plan.stages.as_slice()[0].share;
        deployment.tell("started", &by, format!("{} goes to {share} of users", deployment.version));
        deployment
    }

    /// A stored deployment goes on at its stage, with what the checkpoint remembers;
    /// `None` where its pool is gone.
    pub(super) fn resumed(
        record: &DeploymentRecord,
        checkpoint: Option<&CheckpointRecord>,
        service: &ServiceControl,
        woken: &Arc<Notify>,
    ) -> Option<Self> {
        let pool = service.config.pools.iter().position(|pool| pool.name == record.pool)?;
        let plan = Plan { stages: record.stages.clone(), bake: record.bake, conduct: record.conduct };
        let phase = phase_of(&plan, record);
        // A checkpoint of an earlier stage knows what was counted before this one began.
        let same_stage = checkpoint.is_some_and(|checkpoint| checkpoint.stage == record.current_stage_index);
        let elapsed = checkpoint.filter(|_| same_stage).map_or(Duration::ZERO, |checkpoint| checkpoint.elapsed);
        let pause = record.pause.or((record.status == "paused").then_some(Pause::Operator));
        let stopped = Clock::stopped(elapsed);
        let clock = if pause.is_some() { stopped } else { stopped.resumed(clock::now()) };
        let now = subject_plan(&plan, phase, record.guard, service.recorders());
        let remembered = checkpoint.and_then(|checkpoint| {
            let before = if same_stage { phase } else { Phase::Stage(checkpoint.stage) };
            let then = subject_plan(&plan, before, record.guard, service.recorders());
            let subject = Subject::recall(then, checkpoint.memory.clone(), wake(woken))?;
            if !same_stage {
                // A verdict that came first stays: the next tick carries it out.
                let _ = subject.turn(subject.word(), now.share, now.rule);
            }
            Some(subject)
        });
        let subject = remembered.unwrap_or_else(|| Subject::new(now, wake(woken)));
        let threshold = Threshold::new(record.guard.slower_than, &service.stable_recent).recalled(&subject.judge());
        let deployment = Self {
            id: record.id.clone(),
            version: record.version.clone(),
            previous_version: record.previous_version.clone(),
            strategy: record.strategy,
            pool,
            previous_pool: record.previous_pool.clone().unwrap_or_else(|| service.stable_name().to_owned()),
            subject: Arc::new(subject),
            plan,
            guard: record.guard,
            salt_kind: if record.salt == "service" { SaltKind::Service } else { SaltKind::Deployment },
            chosen: Chosen { include: record.include.clone(), exclude: record.exclude.clone() },
            state: State::Active(Active { phase, clock, pause, waived: record.waived }),
            revision: record.revision,
            latency: Arc::default(),
            threshold,
            started_at: record.started_at.clone(),
            ended_at: None,
            decision: None,
            events: record.events.clone(),
            untold: Vec::new(),
            service: Arc::clone(&service.config),
        };
        deployment.warm_up(clock::now(), elapsed);
        Some(deployment)
    }

    /// Slow answers count once the stage, which has lasted so long, is warm.
    fn warm_up(&self, now: Moment, elapsed: Duration) {
        self.subject.warm_at(now + self.plan.conduct.warmup.saturating_sub(elapsed));
    }

    /// What a restart has to know beyond the record.
    pub(super) fn checkpoint(&self) -> Option<(String, CheckpointRecord)> {
        let State::Active(active) = &self.state else { return None };
        let elapsed = active.clock.elapsed(clock::now());
        let record = CheckpointRecord { stage: self.stage_index(), elapsed, memory: self.subject.memory() };
        Some((self.id.clone(), record))
    }

    /// Whether it waits for its old pool, and for which version.
    pub(super) fn returning(&self) -> Option<&str> {
        matches!(&self.state, State::Active(Active { phase: Phase::Return, .. })).then_some(self.version.as_str())
    }

    pub(super) fn failed(&self) -> bool {
        matches!(&self.state, State::Active(Active { pause: Some(Pause::Failed(_)), .. }))
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn take_untold(&mut self) -> Vec<EventRecord> {
        std::mem::take(&mut self.untold)
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn chosen(&self) -> &Chosen {
        &self.chosen
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn ended(&self) -> bool {
        self.state.ended()
    }

    pub(super) fn salt(&self) -> Salt {
        match self.salt_kind {
            SaltKind::Deployment => Salt::deployment(&self.id),
            SaltKind::Service => Salt::service(&self.service.name),
        }
    }

    /// The stage, from 0; the number of stages in the bake.
    pub(super) fn stage_index(&self) -> usize {
        let phase = match &self.state {
            State::Active(Active { phase, .. }) | State::RolledBack { phase, .. } => *phase,
            State::Completed => Phase::Bake,
        };
        match phase {
            Phase::Stage(index) => index,
            Phase::Bake | Phase::Return => self.plan.stages.as_slice().len(),
        }
    }

    pub(super) fn rolled_back_by(&self) -> Option<&'static str> {
        match &self.state {
            State::RolledBack { cause, .. } => Some(cause.rule()),
            _ => None,
        }
    }

    pub(super) fn due(&self, now: Moment) -> Option<Moment> {
        due(&self.plan, &self.state, now)
    }

    /// Lets time pass; the value is what was done.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<Effect> {
        let verdict = self.subject.judge().verdict();
        let event = match verdict {
            Some(breach) => Event::Breach(breach),
            None => Event::Tick(self.readings(now)),
        };
        self.threshold.look(&self.subject);
        // Neither is ever refused.
        let mut effects = self.happen(event, "serin", now).unwrap_or_default();
        if self.tell_observed() {
            effects.push(Effect::Persist);
        }
        effects
    }

    /// Tells once what guards that only observe would have done.
    fn tell_observed(&mut self) -> bool {
        let found = self.subject.judge().observed();
        let kinds = ["observedErrors", "observedLatency"];
        let mut told = false;
        for (kind, breach) in kinds.into_iter().zip(found) {
            let known = self.events.iter().any(|event| event.kind == kind);
            if let (Some(breach), false, false) = (breach, known, self.state.ended()) {
                let text =
                    format!("a guard that only observes would have rolled back: {breach}; {}", self.counts_in_words());
                self.tell(kind, "serin", text);
                told = true;
            }
        }
        told
    }

    fn readings(&self, now: Moment) -> Readings {
        let patience = self.service.errors.abandon_after;
        let waits = self.subject.oldest_waiting().map(Moment::from_micros);
        Readings {
            counts: self.subject.stage_counts(self.subject.word().epoch()),
            overdue: waits.is_some_and(|since| now.since(since) >= patience),
            safe: self.plan.conduct.promote_early && self.subject.is_safe(),
        }
    }

    pub(super) fn happen(&mut self, event: Event, by: &str, now: Moment) -> Result<Vec<Effect>, ControlError> {
        let conflict = |refused: crate::decide::rollout::Refused| ControlError::Conflict {
            code: "wrongState",
            detail: refused.to_string(),
        };
        let next = step(&self.plan, &self.state, event, now).map_err(conflict)?;
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
        if self.state.ended() {
            self.ended_at = Some(clock::rfc3339());
        }
        if self.decision.is_none() {
            self.explain(after);
        }
        for effect in &next.effects {
            if let Effect::Tell(milestone) = effect {
                let (kind, text) = self.milestone(*milestone);
                self.tell(kind, by, text);
            }
        }
        Ok(next.effects)
    }

    /// The dial was closed first: by a verdict, which is the next event, or by an
    /// operator whose command follows.
    fn turn_lost(&mut self, lost: NotTurned, now: Moment) -> Result<Vec<Effect>, ControlError> {
        match lost {
            NotTurned::Breach(breach) => self.happen(Event::Breach(breach), "serin", now),
            NotTurned::Changed(_) => Ok(Vec::new()),
        }
    }

    fn milestone(&self, milestone: Milestone) -> (&'static str, String) {
        match milestone {
            Milestone::Stage(index) => {
                let share = self.plan.stages.as_slice()[index].share;
                ("stage", format!("stage {} began: {share} of users", index + 1))
            }
            Milestone::Baking => ("bake", "all users are on the new version; the old pool is kept".to_owned()),
            Milestone::Returning => {
                let old = &self.previous_pool;
                ("returning", format!("complete; traffic goes back once pool `{old}` runs {}", self.version))
            }
            Milestone::Paused(pause) => ("paused", self.pause_in_words(pause)),
            Milestone::Resumed => ("resumed", "the stage's clock goes on".to_owned()),
            Milestone::Completed => ("completed", format!("{} is stable now", self.version)),
            Milestone::RolledBack => {
                let reason = self.rollback_reason().unwrap_or_default();
                let by_hand = || format!("rolled back: {reason}; {}", self.counts_in_words());
                ("rolledBack", self.decision.as_ref().map_or_else(by_hand, |decision| decision.text.clone()))
            }
        }
    }

    fn pause_in_words(&self, pause: Pause) -> String {
        match pause {
            Pause::Operator => "paused; users keep their track".to_owned(),
            Pause::Insufficient => "paused: the stage's time is over and too few canary requests came".to_owned(),
            Pause::TooLong => "paused: the stage has lasted for maxDuration".to_owned(),
            Pause::Failed(breach) => {
                let why = self.decision.as_ref().map_or_else(|| breach.to_string(), |decision| decision.text.clone());
                format!("{why}; the share stays until somebody decides")
            }
        }
    }

    fn counts_in_words(&self) -> String {
        let words = |track: Track| {
            let total = self.subject.total(track);
            format!("{} {} errors in {} requests", track.name(), total.errors, total.requests)
        };
        format!("{}, {}", words(Track::Canary), words(Track::Stable))
    }

    fn rollback_reason(&self) -> Option<String> {
        match &self.state {
            State::RolledBack { cause, .. } => Some(cause.to_string()),
            _ => None,
        }
    }

    fn tell(&mut self, kind: &str, by: &str, text: String) {
        tracing::info!(service = self.service.name, deployment = self.id, kind, by, "{text}");
        self.revision += 1;
        let event = EventRecord { at: clock::rfc3339(), kind: kind.to_owned(), by: by.to_owned(), text };
        self.untold.push(event.clone());
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
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

    pub(super) fn record(&self) -> DeploymentRecord {
        let active = match &self.state {
            State::Active(active) => Some(*active),
            _ => None,
        };
        DeploymentRecord {
            id: self.id.clone(),
            service: self.service.name.clone(),
            version: self.version.clone(),
            previous_version: self.previous_version.clone(),
            status: self.state.status().to_owned(),
            strategy: self.strategy,
            pool: self.service.pools[self.pool].name.clone(),
            previous_pool: Some(self.previous_pool.clone()),
            revision: self.revision,
            current_stage_index: self.stage_index(),
            current_percentage: self.subject.word().share(),
            started_at: self.started_at.clone(),
            completed_at: self.ended_at.clone(),
            stages: self.plan.stages.clone(),
            bake: self.plan.bake,
            guard: self.guard,
            conduct: self.plan.conduct,
            include: self.chosen.include.clone(),
            exclude: self.chosen.exclude.clone(),
            salt: if self.salt_kind == SaltKind::Service { "service" } else { "deployment" }.to_owned(),
            pause: active.and_then(|active| active.pause),
            waived: active.is_some_and(|active| active.waived),
            returning: self.returning().is_some(),
            metrics: self.metrics(),
            evidence: self.subject.judge().standings(),
            rollback_reason: self.rollback_reason(),
            decision: self.decision.clone(),
            events: self.events.clone(),
        }
    }

    fn metrics(&self) -> MetricsRecord {
        let (canary, stable) = (self.subject.total(Track::Canary), self.subject.total(Track::Stable));
        let rate = |errors: u64, requests: u64| (requests > 0).then(|| errors as f64 / requests as f64);
        let p95 = |track: Track| self.latency[track.index()].quantile(0.95).map(|p95| p95.as_secs_f64() * 1e3);
        MetricsRecord {
            total_requests: canary.requests + stable.requests,
            canary_requests: canary.requests,
            canary_errors: canary.errors,
            canary_error_rate: rate(canary.errors, canary.requests),
            canary_latency_p95: p95(Track::Canary),
            baseline_requests: stable.requests,
            baseline_errors: stable.errors,
            baseline_error_rate: rate(stable.errors, stable.requests),
            baseline_latency_p95: p95(Track::Stable),
            last_updated: clock::rfc3339(),
        }
    }
}

fn phase_of(plan: &Plan, record: &DeploymentRecord) -> Phase {
    match record.current_stage_index {
        _ if record.returning => Phase::Return,
        index if index < plan.stages.as_slice().len() => Phase::Stage(index),
        _ => Phase::Bake,
    }
}

fn subject_plan(plan: &Plan, phase: Phase, guard: GuardPlan, workers: usize) -> SubjectPlan {
    let stages = plan.stages.as_slice();
    let (share, rule) = match phase {
        Phase::Stage(index) if index < stages.len() => (stages[index].share, stages[index].rule()),
        _ => (Share::EVERYBODY, StageRule { min_requests: 0, ..plan.stages.last().rule() }),
    };
    SubjectPlan {
        share,
        rule,
        guard,
        // A cell for each stage, the bake, and one more for a promotion out of the middle.
        epochs: stages.len() + 2,
        workers,
        closes: plan.conduct.on_fail == OnFail::Rollback,
        watches_first: plan.conduct.promote_early,
    }
}

fn wake(woken: &Arc<Notify>) -> impl Fn() + Send + Sync + 'static {
    let woken = Arc::clone(woken);
    move || woken.notify_one()
}

/// Unique, sortable by time, and fit for a path and a label.
fn new_id() -> String {
    let mut random = [0_u8; 4];
    // Without randomness the milliseconds alone have to do.
    let _ = getrandom::fill(&mut random);
    format!("d-{}-{:08x}", clock::unix_millis(), u32::from_le_bytes(random))
}
