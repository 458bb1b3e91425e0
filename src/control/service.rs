//! One service: which pool is stable, the deployment that runs, the last ten.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

use super::checkpoint::Checkpoint;
use super::course::{self, Course, Live, Pace, Reading, Samples};
use super::deployment::{Deployment, StageLive};
use super::error::ControlError;
use super::rehearsal::Rehearsing;
use crate::clock;
use crate::config;
use crate::decide::bucket::Share;
use crate::decide::guard::Traffic;
use crate::decide::rollout::Effect;
use crate::decide::time::Moment;
use crate::rollout::RecentLatency;
use crate::store::{DeploymentRecord, EventRecord, ServiceRecord, StableRecord};
use crate::subject::Track;
use crate::telemetry::{LocalLatency, OutcomeKind, PoolSeries, ServiceStats};
use crate::upstream::{self, PoolState};

/// The guide's.
const HISTORY: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// In the place of an id: the deployment that runs, else the last that ended.
const LAST: &str = "last";
/// Series of earlier roles that are still told: the current and the previous version of both tracks.
const SERIES: usize = 4;

/// A service as control sees it.
pub(super) struct ServiceControl {
    pub(super) config: Arc<config::Service>,
    pub(super) pools: Arc<[Arc<PoolState>]>,
    pub(super) stable: usize,
    pub(super) stable_version: Option<String>,
    pub(super) current: Option<Deployment>,
    history: VecDeque<DeploymentRecord>,
    pub(super) stats: Arc<ServiceStats>,
    /// The newest last.
    series: Vec<Arc<PoolSeries>>,
    recorders: usize,
    /// What happened to deployments and was not told yet.
    pub(super) untold: Vec<(String, EventRecord)>,
    stable_by_minute: Recent,
    pub(super) stable_recent: RecentLatency,
    pub(super) rehearsing: Option<Rehearsing>,
    pace: Pace,
    course: Course,
    /// Of the deployment that ended last.
    last_course: Option<Course>,
    /// A deployment that was stored as running could not go on.
    pub(super) ended_at_start: bool,
}

/// A service for whoever asks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceOverview {
    /// Its name.
    pub name: String,
    /// The pool that is stable.
    pub stable: StableRecord,
    /// Its pools' names.
    pub pools: Vec<String>,
    /// The deployment that runs.
    pub deployment: Option<DeploymentRecord>,
    /// The newest one that has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<LastDeployment>,
    /// How it goes now.
    pub live: ServiceLive,
}

/// How a deployment ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastDeployment {
    /// Its id.
    pub id: String,
    /// What it released.
    pub version: String,
    /// Its end: `completed`, `rolled_back`.
    pub status: String,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<String>,
    /// The verdict's sentence, else the last thing that was told of it.
    pub text: String,
}

impl LastDeployment {
    fn of(record: &DeploymentRecord) -> Self {
        let decided = record.decision.as_ref().map(|decision| decision.text.clone());
        let told = || record.events.last().map(|event| event.text.clone());
        Self {
            id: record.id.clone(),
            version: record.version.clone(),
            status: record.status.clone(),
            completed_at: record.completed_at.clone(),
            text: decided.or_else(told).unwrap_or_default(),
        }
    }
}

/// How a service goes now.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLive {
    /// What stable does.
    pub stable: Live,
    /// What the canary does, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Live>,
    /// How far its stage is, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<StageLive>,
}

/// Totals of the last hour, one a minute.
#[derive(Debug, Default)]
struct Recent(VecDeque<(Moment, (u64, u64))>);

impl Recent {
    fn look(&mut self, now: Moment, totals: (u64, u64)) {
        if self.0.back().is_none_or(|(last, _)| now.since(*last) >= MINUTE) {
            self.0.push_back((now, totals));
            while self.0.front().is_some_and(|(first, _)| now.since(*first) > HOUR) {
                self.0.pop_front();
            }
        }
    }

    fn since_the_oldest(&self, totals: (u64, u64)) -> (u64, u64) {
        let (requests, errors) = self.0.front().map_or((0, 0), |(_, totals)| *totals);
        (totals.0.saturating_sub(requests), totals.1.saturating_sub(errors))
    }
}

impl ServiceControl {
    pub(super) fn new(
        config: Arc<config::Service>,
        stored: Option<&ServiceRecord>,
        checkpoint: &Checkpoint,
        recorders: usize,
        woken: &Arc<Notify>,
    ) -> Self {
        let stored_stable = stored.and_then(|stored| stored.stable.as_ref());
        let pool = |name: &str| config.pools.iter().position(|pool| pool.name == name);
        let stable = stored_stable.and_then(|stable| pool(&stable.pool)).unwrap_or(config.stable);
        let stored_version =
            stored_stable.filter(|s| s.pool == config.pools[stable].name).and_then(|s| s.version.clone());
        let mut service = Self {
            pools: config.pools.iter().map(|pool| Arc::new(PoolState::new(pool, &config, None))).collect(),
            stable_version: config.pools[stable].named_version().map(str::to_owned).or(stored_version),
            stable,
            current: None,
            history: stored.map(|stored| stored.history.iter().cloned().collect()).unwrap_or_default(),
            stats: Arc::new(ServiceStats::new(recorders)),
            series: Vec::new(),
            recorders,
            untold: Vec::new(),
            stable_by_minute: Recent::default(),
            stable_recent: RecentLatency::default(),
            rehearsing: None,
            pace: Pace::default(),
            course: Course::begin(None, [(0, 0); 2]),
            last_course: None,
            ended_at_start: false,
            config,
        };
        if let Some(record) = stored.and_then(|stored| stored.current.as_ref()) {
            service.take_up(record, checkpoint, woken);
        }
        service
    }

    /// A deployment that was running when the process ended goes on at its stage.
    fn take_up(&mut self, record: &DeploymentRecord, checkpoint: &Checkpoint, woken: &Arc<Notify>) {
        match Deployment::resumed(record, checkpoint.deployments.get(&record.id), self, woken) {
            Some(deployment) => {
                self.course = Course::begin(Some(deployment.id()), deployment.counts());
                self.current = Some(deployment);
            }
            None => {
                let mut record = record.clone();
                tracing::error!(service = self.config.name, pool = record.pool, "a running deployment's pool is gone");
                record.status = "rolled_back".to_owned();
                record.rollback_reason = Some("pool removed".to_owned());
                record.completed_at = Some(clock::rfc3339());
                self.ended_at_start = true;
                self.remember(record);
            }
        }
    }

    /// Looks after its app servers from now on; on the current runtime.
    pub(super) fn watch(&self) {
        for pool in &*self.pools {
            upstream::watch(pool.servers(), self.config.health.as_ref());
        }
    }

    /// Takes up another configuration of the same service, which has all pools in use. App
    /// servers that stay keep their health and connections.
    pub(super) fn reconfigure(&mut self, config: Arc<config::Service>) {
        let place = |name: &str| config.pools.iter().position(|pool| pool.name == name);
        let stable = place(self.stable_name()).unwrap_or(config.stable);
        let alike = config.health == self.config.health && config.connections.alike_idle(&self.config.connections);
        let mut known: Vec<_> = self.pools.iter().flat_map(|pool| pool.servers().iter().cloned()).collect();
        known.retain(|_| alike);
        self.pools = config.pools.iter().map(|pool| Arc::new(PoolState::new(pool, &config, Some(&known)))).collect();
        let fresh = self.pools.iter().flat_map(|pool| pool.servers());
        let fresh: Vec<_> =
            fresh.filter(|server| !known.iter().any(|known| Arc::ptr_eq(known, server))).cloned().collect();
        upstream::watch(&fresh, config.health.as_ref());
        if let Some(current) = &mut self.current {
            current.reconfigure(&config);
        }
        if let Some(named) = config.pools[stable].named_version() {
            self.stable_version = Some(named.to_owned());
        }
        (self.stable, self.config) = (stable, config);
    }

    /// The pools that have a role, or had one when what runs began.
    pub(super) fn pools_in_use(&self) -> Vec<&str> {
        let running = self.current.as_ref().map(Deployment::pools_in_use);
        let mut pools: Vec<&str> = running.into_iter().flatten().chain([self.stable_name()]).collect();
        pools.sort_unstable();
        pools.dedup();
        pools
    }

    pub(super) fn recorders(&self) -> usize {
        self.recorders
    }

    pub(super) fn stable_name(&self) -> &str {
        &self.config.pools[self.stable].name
    }

    /// Requests and errors on stable in the last hour.
    pub(super) fn last_hour_on_stable(&self) -> (u64, u64) {
        self.stable_by_minute.since_the_oldest(self.on_stable())
    }

    /// What has come in the last hour, as far as it was seen; `None` before a minute has passed.
    pub(super) fn measured(&self, now: Moment) -> Option<Traffic> {
        let (since, _) = self.stable_by_minute.0.front()?;
        let seconds = now.since(*since).as_secs_f64();
        let (requests, errors) = self.last_hour_on_stable();
        (seconds >= 60.0 && requests > 0).then(|| Traffic {
            requests_per_second: requests as f64 / seconds,
            error_rate: errors as f64 / requests as f64,
        })
    }

    fn on_stable(&self) -> (u64, u64) {
        outcomes(&self.stats, Track::Stable)
    }

    pub(super) fn record_latency(&self, track: Track, latency: Duration) {
        let mut one = LocalLatency::default();
        one.record(latency);
        let of_deployment = self.current.as_ref().map(|deployment| &deployment.latency[track.index()]);
        one.flush([self.stats.latency(track), self.stats.latest(track)].into_iter().chain(of_deployment));
    }

    /// Holds a caller's idea of the state against the state.
    pub(super) fn check_match(&self, wanted: Option<&str>) -> Result<(), ControlError> {
        match wanted {
            Some(wanted) if wanted != "*" && wanted != self.tag() => Err(ControlError::Stale { now: self.tag() }),
            _ => Ok(()),
        }
    }

    /// What changes with the course of deployments, not with every request.
    pub(super) fn tag(&self) -> String {
        match (&self.current, self.history.front()) {
            (Some(current), _) => format!("{}.{}", current.id(), current.revision()),
            (None, Some(last)) => format!("{}.{}", last.id, last.revision),
            (None, None) => "none".to_owned(),
        }
    }

    /// Moves the deployment on as far as it goes; whether anything changed.
    pub(super) fn tick(&mut self, now: Moment) -> bool {
        let mut moved = false;
        if self.course.is_due(now) {
            self.note(now);
        }
        let stats = &self.stats;
        self.pace.look(now, || Track::BOTH.map(|track| outcomes(stats, track)));
        self.stable_by_minute.look(now, self.on_stable());
        while let Some(deployment) = &mut self.current {
            let effects = deployment.tick(now);
            if effects.is_empty() {
                break;
            }
            moved = true;
            self.carry_out(&effects);
        }
        moved
    }

    /// How the service, or its deployment, goes.
    fn note(&mut self, now: Moment) {
        let reading = match &self.current {
            Some(deployment) => deployment.reading(),
            None => Reading { share: Share::NOBODY, counts: [self.on_stable(), (0, 0)], standings: Vec::new() },
        };
        self.course.look(now, &reading, Track::BOTH.map(|track| self.stats.latest(track)));
    }

    /// Its course, or that of its newest deployment.
    pub(super) fn samples(&self, deployment: Option<&str>, after: Option<f64>) -> Result<Samples, ControlError> {
        let Some(id) = deployment else { return Ok(self.course.after(after)) };
        let kept = [Some(&self.course), self.last_course.as_ref()].into_iter().flatten();
        if id == LAST {
            let last = kept.into_iter().find(|course| course.is_of_a_deployment());
            return Ok(last.unwrap_or(&self.course).after(after));
        }
        let found = kept.into_iter().find(|course| course.is_of(id)).ok_or_else(|| course::unknown(id))?;
        Ok(found.after(after))
    }

    fn live(&self, now: Moment) -> ServiceLive {
        let live = |track: Track| {
            let latency =
                self.current.as_ref().map_or(self.stats.latency(track), |current| &current.latency[track.index()]);
            self.pace.live(track, latency)
        };
        ServiceLive {
            stable: live(Track::Stable),
            canary: self.current.as_ref().map(|_| live(Track::Canary)),
            stage: self.current.as_ref().and_then(|deployment| deployment.stage_live(now)),
        }
    }

    /// What remains to be done once the dial has been turned.
    pub(super) fn carry_out(&mut self, effects: &[Effect]) {
        if let Some(deployment) = &mut self.current {
            let id = deployment.id().to_owned();
            self.untold.extend(deployment.take_untold().into_iter().map(|event| (id.clone(), event)));
            if deployment.is_aa() {
                // Nothing was changed, so nothing is.
            } else if effects.contains(&Effect::SwapRoles) {
                self.stable = deployment.pool;
                self.stable_version = Some(deployment.version().to_owned());
            } else if effects.contains(&Effect::KeepRoles) {
                self.stable_version = Some(deployment.version().to_owned());
            }
        }
        if self.current.as_ref().is_some_and(Deployment::ended) {
            self.note(clock::now());
            let resting = Course::begin(None, [self.on_stable(), (0, 0)]);
            self.last_course = Some(std::mem::replace(&mut self.course, resting));
        }
        if let Some(ended) = self.current.take_if(|deployment| deployment.ended()) {
            let record = ended.record();
            if let Some(rule) = ended.rolled_back_by() {
                self.stats.count_rollback(rule);
            }
            self.remember(record);
        }
    }

    /// A new deployment takes the place of what ran.
    pub(super) fn begin(&mut self, mut deployment: Deployment) {
        let id = deployment.id().to_owned();
        self.untold.extend(deployment.take_untold().into_iter().map(|event| (id.clone(), event)));
        self.course = Course::begin(Some(&id), deployment.counts());
        self.current = Some(deployment);
        // What came before is not the deployment's.
        self.note(clock::now());
    }

    fn remember(&mut self, record: DeploymentRecord) {
        self.history.push_front(record);
        self.history.truncate(HISTORY);
    }

    /// When the deployment wants to be looked at again.
    pub(super) fn look_again(&self, now: Moment) -> Option<Moment> {
        self.current.as_ref()?.look_again(now)
    }

    pub(super) fn history(&self) -> Vec<DeploymentRecord> {
        self.history.iter().cloned().collect()
    }

    pub(super) fn current_record(&self) -> Option<DeploymentRecord> {
        self.current.as_ref().map(Deployment::record)
    }

    fn stable_record(&self) -> StableRecord {
        StableRecord { pool: self.config.pools[self.stable].name.clone(), version: self.stable_version.clone() }
    }

    pub(super) fn record(&self) -> ServiceRecord {
        ServiceRecord { stable: Some(self.stable_record()), current: self.current_record(), history: self.history() }
    }

    pub(super) fn overview(&self) -> ServiceOverview {
        ServiceOverview {
            name: self.config.name.clone(),
            stable: self.stable_record(),
            pools: self.config.pools.iter().map(|pool| pool.name.clone()).collect(),
            deployment: self.current_record(),
            last: self.history.front().map(LastDeployment::of),
            live: self.live(clock::now()),
        }
    }

    /// The counters of a pool in a role: the same ones for as long as it has it.
    pub(super) fn series(&mut self, track: Track, pool: usize, version: Option<&str>) -> Arc<PoolSeries> {
        let (pool, version) = (self.config.pools[pool].name.clone(), version.unwrap_or_default());
        let same = |s: &Arc<PoolSeries>| s.track == track && s.pool == pool && s.version == version;
        let series = match self.series.iter().position(same) {
            Some(index) => self.series.remove(index),
            None => Arc::new(PoolSeries::new(&self.config.name, track, &pool, version, self.recorders)),
        };
        self.series.push(Arc::clone(&series));
        let surplus = self.series.len().saturating_sub(SERIES);
        self.series.drain(..surplus);
        series
    }

    pub(super) fn all_series(&self) -> Vec<Arc<PoolSeries>> {
        self.series.clone()
    }
}

/// Requests and errors of a track since the start.
fn outcomes(stats: &ServiceStats, track: Track) -> (u64, u64) {
    let count = |kind: OutcomeKind| stats.outcomes(track, kind);
    // Each is read once: workers go on counting meanwhile.
    let errors: u64 = OutcomeKind::ALL.into_iter().filter(|kind| *kind != OutcomeKind::Success).map(count).sum();
    (count(OutcomeKind::Success) + errors, errors)
}
