//! One deployment that runs: the machine's effects carried out, and its record.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Notify;

use super::course::Reading;
use super::error::ControlError;
use super::service::ServiceControl;
use crate::clock;
use crate::config::SaltKind;
use crate::decide::bucket::Salt;
use crate::decide::flags::Rule;
use crate::decide::guard::GuardPlan;
use crate::decide::rollout::{Active, Effect, Event, Milestone, Pause, Phase, Plan, State, Strategy};
use crate::decide::time::Moment;
use crate::rollout::{CheckpointRecord, Rollout, Terms, Written};
use crate::store::{DeploymentRecord, EventRecord, MetricsRecord};
use crate::subject::Track;
use crate::telemetry::MergedLatency;

/// No timeline is longer.
const EVENTS_MAX: usize = 500;

/// A deployment that runs.
pub(super) struct Deployment {
    id: String,
    version: String,
    aa: bool,
    previous_version: Option<String>,
    strategy: Strategy,
    pub(super) pool: usize,
    previous_pool: String,
    guard: GuardPlan,
    salt_kind: SaltKind,
    chosen: Chosen,
    pub(super) run: Rollout,
    revision: u64,
    pub(super) latency: Arc<[MergedLatency; 2]>,
    started_at: String,
    ended_at: Option<String>,
    events: Vec<EventRecord>,
    /// The newest events, until somebody takes them to tell.
    untold: Vec<EventRecord>,
    service: Arc<crate::config::Service>,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StageLive {
    /// Its time that is over, in seconds.
    pub elapsed_seconds: f64,
    /// How long it lasts at least.
    pub seconds: f64,
    /// Whether its clock runs.
    pub running: bool,
    /// The canary's outcomes in it.
    pub canary_requests: u64,
    /// As many have to come.
    pub min_requests: u64,
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
    pub(super) aa: bool,
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
        let Begin { version, aa, strategy, pool, plan, guard, salt, chosen, by } = begin;
        let run = Rollout::start(terms(plan, guard, service), &service.stable_recent, clock::now(), wake(woken));
        let mut deployment = Self {
            id: new_id(),
            version,
            aa,
            previous_version: service.stable_version.clone(),
            strategy,
            pool,
            previous_pool: service.config.pools[service.stable].name.clone(),
            run,
            guard,
            salt_kind: salt,
            chosen,
            revision: 0,
            latency: Arc::default(),
            started_at: clock::rfc3339(),
            ended_at: None,
            events: Vec::new(),
            untold: Vec::new(),
            service: Arc::clone(&service.config),
        };
        let share = deployment.run.plan.stages.as_slice()[0].share;
        let version = &deployment.version;
        let text = match aa {
            false => format!("{version} goes to {share} of users"),
            true => format!("A/A test of {version}: {share} of users are its canary"),
        };
        deployment.tell("started", &by, text);
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
        let written = Written {
            phase: phase_of(&plan, record),
            pause: record.pause.or((record.status == "paused").then_some(Pause::Operator)),
            waived: record.waived,
        };
        let terms = terms(plan, record.guard, service);
        let run = Rollout::resume(terms, &service.stable_recent, written, checkpoint, clock::now(), wake(woken));
        Some(Self {
            id: record.id.clone(),
            version: record.version.clone(),
            aa: record.aa,
            previous_version: record.previous_version.clone(),
            strategy: record.strategy,
            pool,
            previous_pool: record.previous_pool.clone().unwrap_or_else(|| service.stable_name().to_owned()),
            run,
            guard: record.guard,
            salt_kind: if record.salt == "service" { SaltKind::Service } else { SaltKind::Deployment },
            chosen: Chosen { include: record.include.clone(), exclude: record.exclude.clone() },
            revision: record.revision,
            latency: Arc::default(),
            started_at: record.started_at.clone(),
            ended_at: None,
            events: record.events.clone(),
            untold: Vec::new(),
            service: Arc::clone(&service.config),
        })
    }

    /// What a restart has to know beyond the record.
    pub(super) fn checkpoint(&self) -> Option<(String, CheckpointRecord)> {
        Some((self.id.clone(), self.run.checkpoint(clock::now())?))
    }

    /// Whether it waits for its old pool, and for which version.
    pub(super) fn returning(&self) -> Option<&str> {
        matches!(&self.run.state, State::Active(Active { phase: Phase::Return, .. })).then_some(self.version.as_str())
    }

    /// The service has another configuration, in which the pools in use may stand elsewhere.
    pub(super) fn reconfigure(&mut self, service: &Arc<crate::config::Service>) {
        let name = &self.service.pools[self.pool].name;
        // Control has looked before: the pools in use are there.
        self.pool = service.pools.iter().position(|pool| pool.name == *name).unwrap_or(self.pool);
        self.service = Arc::clone(service);
    }

    /// The pools that it goes to and came from.
    pub(super) fn pools_in_use(&self) -> [&str; 2] {
        [&self.service.pools[self.pool].name, &self.previous_pool]
    }

    /// Whether it tests the guard, not a version.
    pub(super) fn is_aa(&self) -> bool {
        self.aa
    }

    pub(super) fn failed(&self) -> bool {
        matches!(&self.run.state, State::Active(Active { pause: Some(Pause::Failed(_)), .. }))
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
        self.run.state.ended()
    }

    pub(super) fn salt(&self) -> Salt {
        match self.salt_kind {
            SaltKind::Deployment => Salt::deployment(&self.id),
            SaltKind::Service => Salt::service(&self.service.name),
        }
    }

    /// The stage, from 0; the number of stages in the bake.
    pub(super) fn stage_index(&self) -> usize {
        self.run.stage_index()
    }

    pub(super) fn rolled_back_by(&self) -> Option<&'static str> {
        match &self.run.state {
            State::RolledBack { cause, .. } => Some(cause.rule()),
            _ => None,
        }
    }

    pub(super) fn look_again(&self, now: Moment) -> Option<Moment> {
        self.run.look_again(now)
    }

    /// Lets time pass; the value is what was done.
    pub(super) fn tick(&mut self, now: Moment) -> Vec<Effect> {
        let mut effects = self.run.tick(now);
        self.follow(&effects, "serin");
        if self.tell_observed() {
            effects.push(Effect::Persist);
        }
        effects
    }

    /// Tells once what guards that only observe would have done.
    fn tell_observed(&mut self) -> bool {
        let found = self.run.subject.judge().observed();
        let kinds = ["observedErrors", "observedLatency"];
        let mut told = false;
        for (kind, breach) in kinds.into_iter().zip(found) {
            let known = self.events.iter().any(|event| event.kind == kind);
            if let (Some(breach), false, false) = (breach, known, self.run.state.ended()) {
                let text =
                    format!("a guard that only observes would have rolled back: {breach}; {}", self.counts_in_words());
                self.tell(kind, "serin", text);
                told = true;
            }
        }
        told
    }

    pub(super) fn happen(&mut self, event: Event, by: &str, now: Moment) -> Result<Vec<Effect>, ControlError> {
        let conflict = |refused: crate::decide::rollout::Refused| ControlError::Conflict {
            code: "wrongState",
            detail: refused.to_string(),
        };
        let effects = self.run.happen(event, now).map_err(conflict)?;
        self.follow(&effects, by);
        Ok(effects)
    }

    /// Notes what has happened.
    fn follow(&mut self, effects: &[Effect], by: &str) {
        if self.run.state.ended() && self.ended_at.is_none() {
            self.ended_at = Some(clock::rfc3339());
        }
        for effect in effects {
            if let Effect::Tell(milestone) = effect {
                let (kind, text) = self.milestone(*milestone);
                self.tell(kind, by, text);
            }
        }
    }

    fn milestone(&self, milestone: Milestone) -> (&'static str, String) {
        match milestone {
            Milestone::Stage(index) => {
                let share = self.run.plan.stages.as_slice()[index].share;
                ("stage", format!("stage {} began: {share} of users", index + 1))
            }
            Milestone::Baking => ("bake", "all users are on the new version; the old pool is kept".to_owned()),
            Milestone::Returning => {
                let old = &self.previous_pool;
                ("returning", format!("complete; traffic goes back once pool `{old}` runs {}", self.version))
            }
            Milestone::Paused(pause) => ("paused", self.pause_in_words(pause)),
            Milestone::Resumed => ("resumed", "the stage's clock goes on".to_owned()),
            Milestone::Completed if self.aa => ("completed", format!("no false rollback: {}", self.highest_in_words())),
            Milestone::Completed => ("completed", format!("{} is stable now", self.version)),
            Milestone::RolledBack => {
                let reason = self.rollback_reason().unwrap_or_default();
                let by_hand = || format!("rolled back: {reason}; {}", self.counts_in_words());
                let text = self.run.decision.as_ref().map_or_else(by_hand, |decision| decision.text.clone());
                let false_alarm =
                    if self.aa && self.run.decision.is_some() { "; a false alarm: nothing was changed" } else { "" };
                ("rolledBack", text + false_alarm)
            }
        }
    }

    fn pause_in_words(&self, pause: Pause) -> String {
        match pause {
            Pause::Operator => "paused; users keep their track".to_owned(),
            Pause::Insufficient => "paused: the stage's time is over and too few canary requests came".to_owned(),
            Pause::TooLong => "paused: the stage has lasted for maxDuration".to_owned(),
            Pause::Failed(breach) => {
                let why =
                    self.run.decision.as_ref().map_or_else(|| breach.to_string(), |decision| decision.text.clone());
                format!("{why}; the share stays until somebody decides")
            }
        }
    }

    /// What an A/A test is for: how near its guards have come to a verdict.
    fn highest_in_words(&self) -> String {
        let standings = self.run.subject.judge().standings();
        let guards = standings.iter().filter_map(|standing| {
            let highest = standing.highest?;
            Some(format!("{} came to an evidence of {highest:.1}, bound {:.0}", standing.guard, standing.bound))
        });
        let guards: Vec<String> = guards.collect();
        format!("{}; {}", guards.join("; "), self.counts_in_words())
    }

    fn counts_in_words(&self) -> String {
        let words = |track: Track| {
            let total = self.run.subject.total(track);
            format!("{} {} errors in {} requests", track.name(), total.errors, total.requests)
        };
        format!("{}, {}", words(Track::Canary), words(Track::Stable))
    }

    fn rollback_reason(&self) -> Option<String> {
        match &self.run.state {
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

    pub(super) fn record(&self) -> DeploymentRecord {
        let active = match &self.run.state {
            State::Active(active) => Some(*active),
            _ => None,
        };
        DeploymentRecord {
            id: self.id.clone(),
            service: self.service.name.clone(),
            version: self.version.clone(),
            aa: self.aa,
            previous_version: self.previous_version.clone(),
            status: self.run.state.status().to_owned(),
            strategy: self.strategy,
            pool: self.service.pools[self.pool].name.clone(),
            previous_pool: Some(self.previous_pool.clone()),
            revision: self.revision,
            current_stage_index: self.stage_index(),
            current_percentage: self.run.subject.word().share(),
            started_at: self.started_at.clone(),
            completed_at: self.ended_at.clone(),
            stages: self.run.plan.stages.clone(),
            bake: self.run.plan.bake,
            guard: self.guard,
            conduct: self.run.plan.conduct,
            include: self.chosen.include.clone(),
            exclude: self.chosen.exclude.clone(),
            salt: if self.salt_kind == SaltKind::Service { "service" } else { "deployment" }.to_owned(),
            pause: active.and_then(|active| active.pause),
            waived: active.is_some_and(|active| active.waived),
            returning: self.returning().is_some(),
            metrics: self.metrics(),
            evidence: self.run.subject.judge().standings(),
            rollback_reason: self.rollback_reason(),
            decision: self.run.decision.clone(),
            events: self.events.clone(),
        }
    }

    /// Requests and errors of both tracks so far.
    pub(super) fn counts(&self) -> [(u64, u64); 2] {
        Track::BOTH.map(|track| {
            let total = self.run.subject.total(track);
            (total.requests, total.errors)
        })
    }

    /// What its course is told.
    pub(super) fn reading(&self) -> Reading {
        let subject = &self.run.subject;
        Reading { share: subject.word().share(), counts: self.counts(), standings: subject.judge().standings() }
    }

    /// How far its stage is; `None` where time alone does not move it on.
    pub(super) fn stage_live(&self, now: Moment) -> Option<StageLive> {
        let State::Active(active) = &self.run.state else { return None };
        let stage = self.run.plan.stages.as_slice().get(self.stage_index());
        let span = match (active.phase, stage) {
            (Phase::Stage(_), Some(stage)) if !stage.hold => stage.duration,
            (Phase::Bake, _) => self.run.plan.bake,
            _ => return None,
        };
        let word = self.run.subject.word();
        Some(StageLive {
            elapsed_seconds: active.clock.elapsed(now).as_secs_f64(),
            seconds: span.as_secs_f64(),
            running: active.clock.runs(),
            canary_requests: self.run.subject.tally(word.epoch(), Track::Canary).requests,
            min_requests: stage.map_or(0, |stage| stage.min_requests),
        })
    }

    fn metrics(&self) -> MetricsRecord {
        let (canary, stable) = (self.run.subject.total(Track::Canary), self.run.subject.total(Track::Stable));
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

fn terms(plan: Plan, guard: GuardPlan, service: &ServiceControl) -> Terms {
    Terms { plan, guard, workers: service.recorders(), abandon_after: service.config.errors.abandon_after }
}

fn phase_of(plan: &Plan, record: &DeploymentRecord) -> Phase {
    match record.current_stage_index {
        _ if record.returning => Phase::Return,
        index if index < plan.stages.as_slice().len() => Phase::Stage(index),
        _ => Phase::Bake,
    }
}

fn wake(woken: &Arc<Notify>) -> impl Fn() + Clone + Send + Sync + 'static {
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
