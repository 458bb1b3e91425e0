//! Deployments: the machine's effects carried out, and their records.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::controller::Controller;
use super::error::ControlError;
use super::service::{ServiceControl, ServiceOverview};
use crate::clock;
use crate::config::SaltKind;
use crate::decide::bucket::{Salt, Share};
use crate::decide::guard::{Breach, GuardPlan, StageRule};
use crate::decide::rollout::{
    Cause, Clock, Effect, Event, Milestone, Phase, Plan, Readings, Stages, State, Strategy, due, step,
};
use crate::decide::time::Moment;
use crate::store::{Counts, DecisionRecord, DeploymentRecord, EventRecord, MetricsRecord};
use crate::subject::{NotTurned, Subject, SubjectPlan, Track};
use crate::telemetry::MergedLatency;

const VERSION_MAX: usize = 128;
const REASON_MAX: usize = 1_000;
/// No timeline is longer.
const EVENTS_MAX: usize = 500;

/// What a deployment is started with; what is not said comes from the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRequest {
    /// What it brings.
    pub version: String,
    /// How it moves.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Its stages.
    #[serde(default)]
    pub stages: Option<Stages>,
    /// The pool that runs the version.
    #[serde(default)]
    pub pool: Option<String>,
    /// The watch after 100 %: seconds, or a text like `10m`.
    #[serde(default, with = "optional_seconds")]
    pub bake: Option<Duration>,
    /// Its guard.
    #[serde(default)]
    pub guard: Option<GuardPlan>,
}

impl StartRequest {
    /// A deployment of this version as the configuration has it.
    pub fn of(version: &str) -> Self {
        Self { version: version.to_owned(), strategy: None, stages: None, pool: None, bake: None, guard: None }
    }
}

mod optional_seconds {
    use super::Duration;
    use crate::decide::time::seconds;
    use serde::Deserializer;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        seconds::deserialize(deserializer).map(Some)
    }
}

/// A deployment that was started, or ran already.
#[derive(Clone, Debug)]
pub struct Started {
    /// It.
    pub deployment: DeploymentRecord,
    /// Whether it is new.
    pub created: bool,
}

/// What an operator asks of a running deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The next stage now.
    Advance,
    /// No advancing.
    Pause,
    /// Go on.
    Resume,
    /// Complete now.
    Promote,
    /// Back to stable, for a reason.
    Rollback(String),
}

/// Where a user is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assigned {
    /// `stable` or `canary`.
    pub track: &'static str,
    /// 0 to 9,999; absent without a deployment.
    pub bucket: Option<u16>,
    /// In percent.
    pub share: Share,
    /// Why.
    pub reason: &'static str,
    /// The id that the bucket was drawn for.
    pub identity: String,
}

/// A deployment that runs.
pub(super) struct Deployment {
    id: String,
    version: String,
    previous_version: Option<String>,
    strategy: Strategy,
    pub(super) pool: usize,
    plan: Plan,
    guard: GuardPlan,
    salt_kind: SaltKind,
    state: State,
    pub(super) subject: Arc<Subject>,
    pub(super) latency: Arc<[MergedLatency; 2]>,
    started_at: String,
    ended_at: Option<String>,
    decision: Option<DecisionRecord>,
    events: Vec<EventRecord>,
    service: Arc<crate::config::Service>,
}

impl Deployment {
    fn start(request: StartRequest, service: &ServiceControl, pool: usize, woken: &Arc<Notify>) -> Self {
        let defaults = &service.config.deploy;
        let strategy = request.strategy.unwrap_or(defaults.strategy);
        let stages = request.stages.unwrap_or_else(|| defaults.stages.clone());
        let stages = if strategy == Strategy::Instant { stages.at_once() } else { stages };
        let plan = Plan { stages, bake: request.bake.unwrap_or(defaults.bake) };
        let guard = request.guard.unwrap_or(defaults.guard);
        let mut deployment = Self {
            id: new_id(),
            version: request.version,
            previous_version: service.stable_version.clone(),
            strategy,
            pool,
            subject: subject(&plan, Phase::Stage(0), guard, service.workers(), woken),
            plan,
            guard,
            salt_kind: defaults.salt,
            state: State::started(clock::now()),
            latency: Arc::default(),
            started_at: clock::rfc3339(),
            ended_at: None,
            decision: None,
            events: Vec::new(),
            service: Arc::clone(&service.config),
        };
        let share = deployment.plan.stages.as_slice()[0].share;
        deployment.tell("started", "operator", format!("{} goes to {share} of users", deployment.version));
        deployment
    }

    /// A stored deployment goes on at its stage; `None` where its pool is gone.
    pub(super) fn resumed(record: &DeploymentRecord, service: &ServiceControl, woken: &Arc<Notify>) -> Option<Self> {
        let pool = service.config.pools.iter().position(|pool| pool.name == record.pool)?;
        let plan = Plan { stages: record.stages.clone(), bake: record.bake };
        let in_stage = record.current_stage_index < plan.stages.as_slice().len();
        let phase = if in_stage { Phase::Stage(record.current_stage_index) } else { Phase::Bake };
        let clock = match record.status.as_str() {
            "paused" => Clock::stopped(Duration::ZERO),
            _ => Clock::started(clock::now()),
        };
        Some(Self {
            id: record.id.clone(),
            version: record.version.clone(),
            previous_version: record.previous_version.clone(),
            strategy: record.strategy,
            pool,
            subject: subject(&plan, phase, record.guard, service.workers(), woken),
            plan,
            guard: record.guard,
            salt_kind: if record.salt == "service" { SaltKind::Service } else { SaltKind::Deployment },
            state: State::Active { phase, clock },
            latency: Arc::default(),
            started_at: record.started_at.clone(),
            ended_at: None,
            decision: None,
            events: record.events.clone(),
            service: Arc::clone(&service.config),
        })
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
            State::Active { phase, .. } | State::RolledBack { phase, .. } => *phase,
            State::Completed => Phase::Bake,
        };
        match phase {
            Phase::Stage(index) => index,
            Phase::Bake => self.plan.stages.as_slice().len(),
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
        // Neither is ever refused.
        self.happen(event, "serin", now).unwrap_or_default()
    }

    fn readings(&self, now: Moment) -> Readings {
        let patience = self.service.errors.abandon_after;
        let waits = self.subject.oldest_waiting().map(Moment::from_micros);
        Readings {
            counts: self.subject.stage_counts(self.subject.word().epoch()),
            overdue: waits.is_some_and(|since| now.since(since) >= patience),
        }
    }

    fn happen(&mut self, event: Event, by: &str, now: Moment) -> Result<Vec<Effect>, ControlError> {
        let conflict = |refused: crate::decide::rollout::Refused| ControlError::Conflict {
            code: "wrongState",
            detail: refused.to_string(),
        };
        let next = step(&self.plan, &self.state, event, now).map_err(conflict)?;
        for effect in &next.effects {
            match effect {
                Effect::Turn { share, rule } => {
                    if let Err(lost) = self.subject.turn(self.subject.word(), *share, *rule) {
                        return self.turn_lost(lost, now);
                    }
                }
                Effect::Close => drop(self.subject.close()),
                Effect::SwapRoles | Effect::Persist | Effect::Tell(_) => {}
            }
        }
        self.state = next.state;
        if self.state.ended() {
            self.ended_at = Some(clock::rfc3339());
            self.explain();
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
            Milestone::Paused => ("paused", "paused; users keep their track".to_owned()),
            Milestone::Resumed => ("resumed", "the stage's clock goes on".to_owned()),
            Milestone::Completed => ("completed", format!("{} is stable now", self.version)),
            Milestone::RolledBack => {
                let reason = self.rollback_reason().unwrap_or_default();
                let counts = self.counts_in_words();
                ("rolledBack", format!("rolled back: {reason}; {counts}"))
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
        if self.events.len() < EVENTS_MAX {
            let event = EventRecord { at: clock::rfc3339(), kind: kind.to_owned(), by: by.to_owned(), text };
            self.events.push(event);
        }
    }

    /// Writes the verdict down while its numbers are fresh.
    fn explain(&mut self) {
        let State::RolledBack { cause: Cause::Breach(breach), .. } = &self.state else { return };
        let judge = self.subject.judge();
        let stage = self.subject.stage_counts(judge.epoch());
        let stable = self.subject.total(Track::Stable);
        let canary_users = judge.comparison().counted_on_canary();
        let (value, limit) = match breach {
            Breach::ErrorRate { errors, requests, limit } => (*errors as f64 / (*requests).max(1) as f64, limit.get()),
            Breach::Limit { evidence, bound, .. } | Breach::Comparison { evidence, bound, .. } => (*evidence, *bound),
        };
        self.decision = Some(DecisionRecord {
            rule: breach.rule().to_owned(),
            text: format!("{breach}; {}", self.counts_in_words()),
            value,
            limit,
            canary: Counts { requests: stage.requests, errors: stage.errors, users: canary_users },
            stable: Counts {
                requests: stable.requests,
                errors: stable.errors,
                users: judge.comparison().counted() - canary_users,
            },
        });
    }

    pub(super) fn record(&self) -> DeploymentRecord {
        DeploymentRecord {
            id: self.id.clone(),
            service: self.service.name.clone(),
            version: self.version.clone(),
            previous_version: self.previous_version.clone(),
            status: self.state.status().to_owned(),
            strategy: self.strategy,
            pool: self.service.pools[self.pool].name.clone(),
            current_stage_index: self.stage_index(),
            current_percentage: self.subject.word().share(),
            started_at: self.started_at.clone(),
            completed_at: self.ended_at.clone(),
            stages: self.plan.stages.clone(),
            bake: self.plan.bake,
            guard: self.guard,
            salt: if self.salt_kind == SaltKind::Service { "service" } else { "deployment" }.to_owned(),
            metrics: self.metrics(),
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

fn subject(plan: &Plan, phase: Phase, guard: GuardPlan, workers: usize, woken: &Arc<Notify>) -> Arc<Subject> {
    let stages = plan.stages.as_slice();
    let (share, rule) = match phase {
        Phase::Stage(index) if index < stages.len() => (stages[index].share, stages[index].rule()),
        _ => (Share::EVERYBODY, StageRule { min_requests: 0, ..plan.stages.last().rule() }),
    };
    // A cell for each stage, the bake, and one more for a promotion out of the middle.
    let plan = SubjectPlan { share, rule, guard, epochs: stages.len() + 2, workers };
    let woken = Arc::clone(woken);
    Arc::new(Subject::new(plan, move || woken.notify_one()))
}

/// Unique, sortable by time, and fit for a path and a label.
fn new_id() -> String {
    let mut random = [0_u8; 4];
    // Without randomness the milliseconds alone have to do.
    let _ = getrandom::fill(&mut random);
    format!("d-{}-{:08x}", clock::unix_millis(), u32::from_le_bytes(random))
}

impl Controller {
    /// Starts a deployment; the same version running already is answered with that.
    ///
    /// # Errors
    /// A version or pool that cannot be deployed.
    pub fn start_deployment(&mut self, name: &str, request: StartRequest) -> Result<Started, ControlError> {
        check_version(&request.version)?;
        let woken = Arc::clone(&self.woken);
        let service = self.service(name)?;
        if let Some(current) = &service.current
            && current.version == request.version
        {
            return Ok(Started { deployment: current.record(), created: false });
        }
        let pool = pool_for(service, request.pool.as_deref())?;
        if let Some(current) = &mut service.current {
            let effects = current.happen(Event::Rollback(Cause::Superseded), "operator", clock::now())?;
            service.carry_out(&effects);
        }
        let deployment = Deployment::start(request, service, pool, &woken);
        let record = deployment.record();
        service.current = Some(deployment);
        self.changed.deployments = true;
        self.publish();
        Ok(Started { deployment: record, created: true })
    }

    /// Carries out what an operator asks of the running deployment.
    ///
    /// # Errors
    /// No deployment, or a verb that makes no sense now.
    pub fn act(&mut self, name: &str, action: Action, by: &str) -> Result<DeploymentRecord, ControlError> {
        let service = self.service(name)?;
        let Some(current) = &mut service.current else {
            return rollback_repeated(service, &action);
        };
        let event = match action {
            Action::Advance => Event::Advance,
            Action::Pause => Event::Pause,
            Action::Resume => Event::Resume,
            Action::Promote => Event::Promote,
            Action::Rollback(reason) => {
                Event::Rollback(Cause::Operator(reason.chars().filter(|c| !c.is_control()).take(REASON_MAX).collect()))
            }
        };
        let effects = current.happen(event, by, clock::now())?;
        let record = current.record();
        service.carry_out(&effects);
        if !effects.is_empty() {
            self.changed.deployments = true;
            self.publish();
        }
        Ok(record)
    }

    /// The deployment that runs.
    ///
    /// # Errors
    /// An unknown service.
    pub fn current_deployment(&mut self, name: &str) -> Result<Option<DeploymentRecord>, ControlError> {
        Ok(self.service(name)?.current_record())
    }

    /// The last ten that ended, the newest first.
    ///
    /// # Errors
    /// An unknown service.
    pub fn deployment_history(&mut self, name: &str) -> Result<Vec<DeploymentRecord>, ControlError> {
        Ok(self.service(name)?.history())
    }

    /// All services.
    pub fn overviews(&self) -> Vec<ServiceOverview> {
        self.services.iter().map(ServiceControl::overview).collect()
    }

    /// Where a user with this id would be sent now.
    ///
    /// # Errors
    /// An unknown service.
    pub fn assignment(&mut self, name: &str, identity: &str) -> Result<Assigned, ControlError> {
        let service = self.service(name)?;
        let identity = identity.to_owned();
        Ok(match &service.current {
            None => {
                Assigned { track: Track::Stable.name(), bucket: None, share: Share::NOBODY, reason: "none", identity }
            }
            Some(deployment) => {
                let (word, bucket) = (deployment.subject.word(), deployment.salt().bucket(&identity));
                let track = if word.reaches(bucket) { Track::Canary } else { Track::Stable };
                Assigned {
                    track: track.name(),
                    bucket: Some(bucket.number()),
                    share: word.share(),
                    reason: "share",
                    identity,
                }
            }
        })
    }
}

/// A rollback that is asked for again is fine: it is done.
fn rollback_repeated(service: &ServiceControl, action: &Action) -> Result<DeploymentRecord, ControlError> {
    let last = service.history().into_iter().next();
    match (action, last) {
        (Action::Rollback(_), Some(last)) if last.status == "rolled_back" => Ok(last),
        _ => Err(ControlError::Conflict {
            code: "noDeployment",
            detail: format!("no deployment of `{}` is running", service.config.name),
        }),
    }
}

fn check_version(version: &str) -> Result<(), ControlError> {
    let visible = version.bytes().all(|b| (0x21..0x7f).contains(&b));
    if visible && !version.is_empty() && version.len() <= VERSION_MAX {
        return Ok(());
    }
    Err(ControlError::invalid("version", "a version is 1 to 128 visible ASCII characters without spaces"))
}

/// The pool that was named, else the one of two that is not stable.
fn pool_for(service: &ServiceControl, named: Option<&str>) -> Result<usize, ControlError> {
    let pools = &service.config.pools;
    let name = |index: usize| pools[index].name.as_str();
    let conflict = |code, detail| Err(ControlError::Conflict { code, detail });
    let found = match named {
        Some(wanted) => pools.iter().position(|pool| pool.name == wanted),
        None => {
            let others: Vec<usize> = (0..pools.len()).filter(|index| *index != service.stable).collect();
            let configured = service.config.canary.filter(|canary| *canary != service.stable);
            configured.or((others.len() == 1).then(|| others[0]))
        }
    };
    let names: Vec<&str> = (0..pools.len()).map(name).collect();
    match (found, named) {
        (Some(pool), _) if pool == service.stable => {
            conflict("poolIsStable", format!("pool `{}` is stable: another one brings the new version", name(pool)))
        }
        (Some(pool), _) => Ok(pool),
        (None, Some(wanted)) => conflict(
            "unknownPool",
            format!("`{}` has no pool `{wanted}`; it has {}", service.config.name, names.join(", ")),
        ),
        (None, None) => conflict(
            "noPool",
            format!("which pool brings the new version? `{}` has {}", service.config.name, names.join(", ")),
        ),
    }
}
