//! Commands about deployments: what an operator asks, from every state.

use std::time::Duration;

use serde::Deserialize;

use super::controller::Controller;
use super::course::Samples;
use super::deployment::{Begin, Chosen, Deployment};
use super::error::ControlError;
use super::service::{ServiceControl, ServiceOverview};
use crate::clock;
use crate::decide::bucket::Share;
use crate::decide::flags::{Rule, Target};
use crate::decide::guard::{Alpha, Enforcement, GuardPlan, RateRule, SlowerThan};
use crate::decide::rollout::{
    Cause, Conduct, Event, OnComplete, OnFail, OnInsufficient, Plan, Stages, Steps, Strategy,
};
use crate::store::DeploymentRecord;
use crate::subject::{Outcome, Recorded, Track};
use crate::telemetry::{ErrorKind, OutcomeKind};

const VERSION_MAX: usize = 128;
const REASON_MAX: usize = 1_000;
/// No list of outcomes is longer.
pub const OUTCOMES_MAX: usize = 10_000;
/// Below this many requests stable's own error rate says nothing.
const ENOUGH_ON_STABLE: u64 = 100;

/// What a deployment is started with; what is not said comes from the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartRequest {
    /// What it brings; an A/A test brings what stable runs.
    #[serde(default)]
    pub version: String,
    /// An A/A test: a release of the version that is stable, to see that nothing is found.
    #[serde(default)]
    pub aa: bool,
    /// How it moves.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Its stages.
    #[serde(default)]
    pub stages: Option<Stages>,
    /// The steps of a rolling one, in percent.
    #[serde(default)]
    pub step: Option<Share>,
    /// How long each of these steps lasts.
    #[serde(default, with = "optional_seconds")]
    pub interval: Option<Duration>,
    /// The pool that runs the version.
    #[serde(default)]
    pub pool: Option<String>,
    /// The watch after 100 %: seconds, or a text like `10m`.
    #[serde(default, with = "optional_seconds")]
    pub bake: Option<Duration>,
    /// Its guard.
    #[serde(default)]
    pub guard: GuardChanges,
    /// After a verdict.
    #[serde(default)]
    pub on_fail: Option<OnFail>,
    /// Without enough requests.
    #[serde(default)]
    pub on_insufficient: Option<OnInsufficient>,
    /// Longest a stage lasts.
    #[serde(default, with = "optional_seconds")]
    pub max_duration: Option<Duration>,
    /// Whether stages end early.
    #[serde(default)]
    pub promote_early: Option<bool>,
    /// After the bake.
    #[serde(default)]
    pub on_complete: Option<OnComplete>,
    /// After the start and each stage slow answers do not count for so long.
    #[serde(default, with = "optional_seconds")]
    pub warmup: Option<Duration>,
    /// Who is always on the canary.
    #[serde(default)]
    pub include: Option<Vec<Rule>>,
    /// Who is never.
    #[serde(default)]
    pub exclude: Option<Vec<Rule>>,
    /// Begin again where this version is running already.
    #[serde(default)]
    pub restart: bool,
    /// Start although something speaks against it.
    #[serde(default)]
    pub force: bool,
}

/// What of its guard is other than configured.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GuardChanges {
    /// The budget.
    pub false_rollback: Option<Alpha>,
    /// The comparison of errors.
    pub errors: Option<Enforcement>,
    /// The comparison of slow answers.
    pub latency: Option<Enforcement>,
    /// What slow is.
    pub slower_than: Option<SlowerThan>,
    /// How `maxErrorRate` is judged.
    pub rate: Option<RateRule>,
}

impl GuardChanges {
    /// The configured guard with these changes.
    pub fn apply(self, configured: GuardPlan) -> GuardPlan {
        GuardPlan {
            false_rollback: self.false_rollback.unwrap_or(configured.false_rollback),
            errors: self.errors.unwrap_or(configured.errors),
            latency: self.latency.unwrap_or(configured.latency),
            slower_than: self.slower_than.unwrap_or(configured.slower_than),
            rate: self.rate.unwrap_or(configured.rate),
        }
    }
}

impl StartRequest {
    /// A deployment of this version as the configuration has it.
    pub fn of(version: &str) -> Self {
        Self { version: version.to_owned(), ..Self::default() }
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
    Promote {
        /// Against a verdict.
        force: bool,
    },
    /// Back to stable, for a reason.
    Rollback(String),
    /// Back to the old pool, which runs the new version.
    Return,
}

/// Who asks, and what of.
#[derive(Clone, Debug)]
pub struct Order {
    /// The service.
    pub service: String,
    /// The name of the token, or `operator`.
    pub by: String,
    /// The state that the order rests on, where the caller says so.
    pub if_match: Option<String>,
}

/// What pools answer when they are asked for their version; empty where nobody asks them.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The version that the pool to deploy answers, and from where.
    pub version: Option<(String, String)>,
}

/// An outcome that the proxy did not see.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutcomeReport {
    /// Its track.
    pub track: Track,
    /// Milliseconds.
    #[serde(default)]
    pub latency_ms: Option<f64>,
    /// Whether it went wrong.
    pub error: bool,
    /// Whose it was; without a user only the rate rule hears of it.
    #[serde(default)]
    pub user_id: Option<String>,
}

impl Controller {
    /// Starts a deployment; the same version running already is answered with that.
    ///
    /// # Errors
    /// A version or pool that cannot be deployed, or something that speaks against it.
    pub fn start_deployment(
        &mut self,
        order: &Order,
        mut request: StartRequest,
        answers: &Answers,
    ) -> Result<Started, ControlError> {
        let service = self.service(&order.service)?;
        if request.aa {
            request.version = version_of_aa(service, request.version)?;
        }
        check_version(&request.version)?;
        if let Some(current) = &service.current
            && current.version() == request.version
            && !request.restart
            && !request.aa
        {
            return Ok(Started { deployment: current.record(), created: false });
        }
        let pool = pool_for(service, request.pool.as_deref(), request.aa)?;
        let force = request.force;
        let begin = begin(service, request, pool, &order.by)?;
        if !force {
            check_health(service, pool)?;
            check_answer(answers, &begin.version, "wrongVersion")?;
            check_stable(service, &begin.plan.stages)?;
        }
        service.check_match(order.if_match.as_deref())?;
        self.begin(order, begin)
    }

    fn begin(&mut self, order: &Order, begin: Begin) -> Result<Started, ControlError> {
        let woken = self.woken();
        let service = self.service(&order.service)?;
        if let Some(current) = &mut service.current {
            let effects = current.happen(Event::Rollback(Cause::Superseded), &order.by, clock::now())?;
            service.carry_out(&effects);
        }
        let deployment = Deployment::start(begin, service, &woken);
        let record = deployment.record();
        service.begin(deployment);
        self.deployments_changed();
        self.publish();
        Ok(Started { deployment: record, created: true })
    }

    /// Carries out what an operator asks of the running deployment.
    ///
    /// # Errors
    /// No deployment, or a verb that makes no sense now.
    pub fn act(&mut self, order: &Order, action: Action) -> Result<DeploymentRecord, ControlError> {
        let service = self.service(&order.service)?;
        if !matches!(action, Action::Rollback(_)) {
            service.check_match(order.if_match.as_deref())?;
        }
        let Some(current) = &mut service.current else {
            return rollback_repeated(service, &action);
        };
        let event = match action {
            Action::Advance => Event::Advance,
            Action::Pause => Event::Pause,
            Action::Resume => Event::Resume,
            Action::Promote { force } => Event::Promote { force },
            Action::Return => Event::Return,
            Action::Rollback(reason) => {
                Event::Rollback(Cause::Operator(reason.chars().filter(|c| !c.is_control()).take(REASON_MAX).collect()))
            }
        };
        let effects = current.happen(event, &order.by, clock::now())?;
        let record = current.record();
        service.carry_out(&effects);
        if !effects.is_empty() {
            self.deployments_changed();
            self.publish();
        }
        Ok(record)
    }

    /// Which pool a start, an undo or a retry would go to, for whoever asks it for its version.
    ///
    /// # Errors
    /// Where there is none.
    pub fn pool_of_start(&mut self, service: &str, named: Option<&str>, aa: bool) -> Result<usize, ControlError> {
        pool_for(self.service(service)?, named, aa)
    }

    /// The pool of an undo, by its name.
    ///
    /// # Errors
    /// Where there is nothing to undo.
    pub fn pool_of_undo(&mut self, service: &str) -> Result<usize, ControlError> {
        let service = self.service(service)?;
        let (_, pool) = way_back(service)?;
        Ok(pool)
    }

    /// Back to the version before the last completed one, at once.
    ///
    /// # Errors
    /// Where there is none, where something is running, or where its pool runs another version by now.
    pub fn undo(&mut self, order: &Order, force: bool, answers: &Answers) -> Result<Started, ControlError> {
        let service = self.service(&order.service)?;
        service.check_match(order.if_match.as_deref())?;
        let (version, pool) = way_back(service)?;
        if !force {
            check_answer(answers, &version, "wayBackChanged")?;
        }
        let request = StartRequest {
            strategy: Some(Strategy::Instant),
            bake: Some(Duration::ZERO),
            on_complete: Some(OnComplete::Promote),
            version,
            ..StartRequest::default()
        };
        let begin = begin(service, request, pool, &order.by)?;
        self.begin(order, begin)
    }

    /// The last rolled back one once more, with users drawn anew.
    ///
    /// # Errors
    /// Where there is none, or where another one is running well.
    pub fn retry(&mut self, order: &Order) -> Result<Started, ControlError> {
        let service = self.service(&order.service)?;
        service.check_match(order.if_match.as_deref())?;
        let record = match &service.current {
            Some(current) if current.failed() => current.record(),
            Some(_) => return Err(conflict("wrongState", "retry makes no sense: a deployment is running")),
            None => service
                .history()
                .into_iter()
                .find(|record| record.status == "rolled_back")
                .ok_or_else(|| conflict("nothingToRetry", "no deployment was rolled back"))?,
        };
        let pool = pool_for(service, Some(&record.pool), record.aa)?;
        let begin = Begin {
            version: record.version,
            aa: record.aa,
            strategy: record.strategy,
            pool,
            plan: Plan { stages: record.stages, bake: record.bake, conduct: record.conduct },
            guard: record.guard,
            salt: service.config.deploy.salt,
            chosen: Chosen { include: record.include, exclude: record.exclude },
            by: order.by.clone(),
        };
        self.begin(order, begin)
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

    /// How a service goes over time, or how its deployment went.
    ///
    /// # Errors
    /// An unknown service; a deployment that is neither the one that runs nor the last that
    /// ended in this process.
    pub fn samples(
        &mut self,
        name: &str,
        deployment: Option<&str>,
        after: Option<f64>,
    ) -> Result<Samples, ControlError> {
        self.service(name)?.samples(deployment, after)
    }

    /// All services.
    pub fn overviews(&self) -> Vec<ServiceOverview> {
        self.services.iter().map(ServiceControl::overview).collect()
    }

    /// Records outcomes of work that the proxy does not see.
    ///
    /// # Errors
    /// An unknown service, too many of them, or a latency that is none.
    pub fn record_outcomes(&mut self, name: &str, reports: &[OutcomeReport]) -> Result<usize, ControlError> {
        if reports.len() > OUTCOMES_MAX {
            let detail = format!("at most {OUTCOMES_MAX} outcomes at once, found {}", reports.len());
            return Err(ControlError::invalid("outcomes", detail));
        }
        for (index, report) in reports.iter().enumerate() {
            if report.latency_ms.is_some_and(|ms| !(0.0..=86_400_000.0).contains(&ms)) {
                let detail = "a latency is 0 to 86,400,000 milliseconds";
                return Err(ControlError::invalid(&format!("[{index}].latencyMs"), detail));
            }
        }
        let recorder = self.recorder();
        let service = self.service(name)?;
        for report in reports {
            let kind = if report.error { OutcomeKind::Error(ErrorKind::App) } else { OutcomeKind::Success };
            service.stats.count(recorder, report.track, kind);
            if let Some(ms) = report.latency_ms {
                service.record_latency(report.track, Duration::from_secs_f64(ms / 1e3));
            }
            let Some(deployment) = &service.current else { continue };
            let word = deployment.run.subject.word();
            let salt = deployment.salt();
            // An id that says another track than its bucket does is no drawn one.
            let drawn =
                |bucket: &crate::decide::bucket::Bucket| word.reaches(*bucket) == (report.track == Track::Canary);
            let bucket = report.user_id.as_deref().map(|id| salt.bucket(id)).filter(drawn);
            let verdict = if report.error { Recorded::Error } else { Recorded::Success };
            deployment
                .run
                .subject
                .record(recorder, Outcome { at: clock::now(), word, track: report.track, bucket, verdict });
        }
        Ok(reports.len())
    }
}

/// The request with the service's defaults.
fn begin(service: &ServiceControl, request: StartRequest, pool: usize, by: &str) -> Result<Begin, ControlError> {
    let defaults = &service.config.deploy;
    let strategy = request.strategy.unwrap_or(defaults.strategy);
    let steps = Steps {
        step: request.step.unwrap_or(defaults.steps.step),
        interval: request.interval.unwrap_or(defaults.steps.interval),
    };
    if steps.step < Steps::SMALLEST {
        return Err(ControlError::invalid("step", "a step is 1 to 100 percent"));
    }
    let stages = request.stages.as_ref().unwrap_or(&defaults.stages);
    let default = defaults.conduct;
    let conduct = Conduct {
        on_fail: request.on_fail.unwrap_or(default.on_fail),
        on_insufficient: request.on_insufficient.unwrap_or(default.on_insufficient),
        max_duration: request.max_duration.unwrap_or(default.max_duration),
        promote_early: request.promote_early.unwrap_or(default.promote_early),
        on_complete: request.on_complete.unwrap_or(default.on_complete),
        warmup: request.warmup.unwrap_or(default.warmup),
    };
    let include = request.include.unwrap_or_else(|| defaults.include.clone());
    let exclude = request.exclude.unwrap_or_else(|| defaults.exclude.clone());
    for (field, rules) in [("include", &include), ("exclude", &exclude)] {
        if let Some(index) = rules.iter().position(|rule| !matches!(rule.target, Target::User(_) | Target::Group(_))) {
            let detail = "include and exclude know `user` and `group` rules";
            return Err(ControlError::invalid(&format!("{field}[{index}].type"), detail));
        }
    }
    Ok(Begin {
        version: request.version,
        aa: request.aa,
        strategy,
        pool,
        plan: Plan {
            stages: stages.for_strategy(strategy, steps),
            bake: request.bake.unwrap_or(defaults.bake),
            conduct,
        },
        guard: request.guard.apply(defaults.guard),
        salt: defaults.salt,
        chosen: Chosen { include, exclude },
        by: by.to_owned(),
    })
}

/// The version before the last completed one, and the pool that ran it.
fn way_back(service: &ServiceControl) -> Result<(String, usize), ControlError> {
    if service.current.is_some() {
        return Err(conflict("wrongState", "undo makes no sense: a deployment is running; roll it back"));
    }
    let last = service.history().into_iter().find(|record| record.status == "completed" && !record.aa);
    let last = last.ok_or_else(|| conflict("nothingToUndo", "no deployment has completed"))?;
    let nobody_knows = || conflict("nothingToUndo", "nobody knows what ran before the last completed deployment");
    let version = last.previous_version.ok_or_else(nobody_knows)?;
    let pool = last.previous_pool.ok_or_else(nobody_knows)?;
    let index = pool_for(service, Some(&pool), false)?;
    Ok((version, index))
}

fn check_answer(answers: &Answers, expected: &str, code: &'static str) -> Result<(), ControlError> {
    match &answers.version {
        Some((version, from)) if version != expected => {
            Err(conflict(code, &format!("{from} answers version {version}, not {expected}")))
        }
        _ => Ok(()),
    }
}

/// Users would only be sent to stable again, and the canary charged for it.
fn check_health(service: &ServiceControl, pool: usize) -> Result<(), ControlError> {
    if service.pools[pool].has_healthy() {
        return Ok(());
    }
    let name = &service.config.pools[pool].name;
    Err(conflict("unhealthyPool", &format!("pool `{name}` has no healthy app server")))
}

/// A stable pool that breaks the limits itself would make the canary's look good.
fn check_stable(service: &ServiceControl, stages: &Stages) -> Result<(), ControlError> {
    let (requests, errors) = service.last_hour_on_stable();
    if requests < ENOUGH_ON_STABLE {
        return Ok(());
    }
    let above = |stage: &&crate::decide::rollout::Stage| errors as f64 > stage.max_error_rate.get() * requests as f64;
    match stages.as_slice().iter().find(above) {
        None => Ok(()),
        Some(stage) => Err(conflict(
            "stableUnhealthy",
            &format!(
                "stable itself had {errors} errors in {requests} requests of the last hour, above {} of the stage at {}",
                stage.max_error_rate, stage.share
            ),
        )),
    }
}

fn conflict(code: &'static str, detail: &str) -> ControlError {
    ControlError::Conflict { code, detail: detail.to_owned() }
}

/// A rollback that is asked for again is fine: it is done.
fn rollback_repeated(service: &ServiceControl, action: &Action) -> Result<DeploymentRecord, ControlError> {
    let last = service.history().into_iter().next();
    match (action, last) {
        (Action::Rollback(_), Some(last)) if last.status == "rolled_back" => Ok(last),
        _ => Err(conflict("noDeployment", &format!("no deployment of `{}` is running", service.config.name))),
    }
}

/// What stable runs: a test of another version would be none.
fn version_of_aa(service: &ServiceControl, given: String) -> Result<String, ControlError> {
    match &service.stable_version {
        Some(stable) if given.is_empty() || given == *stable => Ok(stable.clone()),
        Some(stable) => {
            let detail = format!("an A/A test is of the version that is stable, {stable}, found {given}");
            Err(ControlError::invalid("version", detail))
        }
        None if given.is_empty() => {
            Err(ControlError::invalid("version", "nobody knows which version is stable: say it"))
        }
        None => Ok(given),
    }
}

fn check_version(version: &str) -> Result<(), ControlError> {
    let visible = version.bytes().all(|b| (0x21..0x7f).contains(&b));
    if visible && !version.is_empty() && version.len() <= VERSION_MAX {
        return Ok(());
    }
    Err(ControlError::invalid("version", "a version is 1 to 128 visible ASCII characters without spaces"))
}

/// The pool that was named, else the one of two that is not stable; for an A/A test stable's own.
fn pool_for(service: &ServiceControl, named: Option<&str>, aa: bool) -> Result<usize, ControlError> {
    let pools = &service.config.pools;
    let name = |index: usize| pools[index].name.as_str();
    let found = match named {
        Some(wanted) => pools.iter().position(|pool| pool.name == wanted),
        None if aa => Some(service.stable),
        None => {
            let others: Vec<usize> = (0..pools.len()).filter(|index| *index != service.stable).collect();
            let configured = service.config.canary.filter(|canary| *canary != service.stable);
            configured.or((others.len() == 1).then(|| others[0]))
        }
    };
    let names: Vec<&str> = (0..pools.len()).map(name).collect();
    let names = names.join(", ");
    let service_name = &service.config.name;
    match (found, named) {
        (Some(pool), _) if pool == service.stable && !aa => Err(conflict(
            "poolIsStable",
            &format!("pool `{}` is stable: another one brings the new version", name(pool)),
        )),
        (Some(pool), _) => Ok(pool),
        (None, Some(wanted)) => {
            Err(conflict("unknownPool", &format!("`{service_name}` has no pool `{wanted}`; it has {names}")))
        }
        (None, None) if pools.len() == 1 => Err(conflict(
            "noPool",
            &format!(
                "`{service_name}` has one pool, which is stable: add another one for the new version (`canary: http://…` \
                 beside `stable`, or one more of its `pools`); it is in force within a second"
            ),
        )),
        (None, None) => {
            Err(conflict("noPool", &format!("which pool brings the new version? `{service_name}` has {names}")))
        }
    }
}
