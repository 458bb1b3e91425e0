//! Rehearsals on live outcomes: beside everything, on a thread of their own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::controller::Controller;
use super::deployments::GuardChanges;
use super::error::ControlError;
use crate::clock;
use crate::decide::guard::Rate;
use crate::decide::rollout::{Plan, Stages};
use crate::decide::time::{Moment, seconds};
use crate::simulate::{Rehearsal, RehearsalPlan, RehearsalReport};
use crate::subject::{Heard, Tap};

/// Rollouts at once at the most.
const TIMES_MAX: usize = 100;
/// No rehearsal lasts longer.
const LONGEST: Duration = Duration::from_secs(86_400);
/// The report is at most this old.
const FRESH: Duration = Duration::from_millis(200);

/// What to rehearse; what is not said comes from the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RehearsalRequest {
    /// Canary requests that become errors, a fraction of 1.
    pub error_rate: Rate,
    /// How many rollouts at once, 1 to 100.
    #[serde(default = "twenty")]
    pub times: usize,
    /// The longest it lasts: seconds, or a text like `10m`; a day at the most.
    #[serde(default = "ten_minutes", rename = "for", with = "seconds")]
    pub lasts: Duration,
    /// The stages.
    #[serde(default)]
    pub stages: Option<Stages>,
    /// The guard.
    #[serde(default)]
    pub guard: GuardChanges,
}

fn twenty() -> usize {
    20
}

fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

/// A rehearsal for whoever asks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RehearsalOverview {
    /// The service whose outcomes are heard.
    pub service: String,
    /// Who asked for it.
    pub by: String,
    /// When it began.
    pub started_at: String,
    /// How it goes.
    #[serde(flatten)]
    pub report: RehearsalReport,
}

/// A service's rehearsal: the one that runs, or the last one.
pub(super) struct Rehearsing {
    tap: Arc<Tap>,
    shared: Arc<Shared>,
    by: String,
    started_at: String,
    /// The data plane does not know its tap any more.
    ended: bool,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    report: Mutex<RehearsalReport>,
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, RehearsalReport> {
        // A report is replaced as a whole: there is no half of one.
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rehearsing {
    fn start(plan: &RehearsalPlan, lasts: Duration, by: String, woken: Arc<Notify>) -> std::io::Result<Self> {
        let (tap, heard) = Tap::new();
        let rehearsal = Rehearsal::new(plan);
        let shared = Arc::new(Shared::default());
        *shared.report() = rehearsal.report(true, 0);
        let (tap, began) = (Arc::new(tap), clock::now());
        let player = Player { rehearsal, tap: Arc::clone(&tap), shared: Arc::clone(&shared), began, lasts };
        let play = move || {
            player.play(&heard);
            woken.notify_one();
        };
        std::thread::Builder::new().name("serin-rehearsal".to_owned()).spawn(play)?;
        Ok(Self { tap, shared, by, started_at: clock::rfc3339(), ended: false })
    }

    /// Where outcomes are told, while it runs.
    pub(super) fn tap(&self) -> Option<Arc<Tap>> {
        self.running().then(|| Arc::clone(&self.tap))
    }

    fn running(&self) -> bool {
        self.shared.report().running
    }

    /// True once, after its end: its tap is in the snapshot until then.
    pub(super) fn has_just_ended(&mut self) -> bool {
        !self.running() && !std::mem::replace(&mut self.ended, true)
    }

    fn overview(&self, service: &str) -> RehearsalOverview {
        let report = self.shared.report().clone();
        RehearsalOverview {
            service: service.to_owned(),
            by: self.by.clone(),
            started_at: self.started_at.clone(),
            report,
        }
    }
}

impl Drop for Rehearsing {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// What the thread holds.
struct Player {
    rehearsal: Rehearsal,
    tap: Arc<Tap>,
    shared: Arc<Shared>,
    began: Moment,
    lasts: Duration,
}

impl Player {
    fn play(mut self, heard: &Receiver<Heard>) {
        let mut told = self.began;
        loop {
            let next = heard.recv_timeout(FRESH);
            let now = clock::now();
            match next {
                Ok(heard) => {
                    let at = self.time_of(heard.at);
                    self.rehearsal.hear(Heard { at, ..heard });
                }
                Err(RecvTimeoutError::Timeout) => self.rehearsal.pass(self.time_of(now)),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let over = now.since(self.began) >= self.lasts || self.rehearsal.over();
            if over || self.shared.stop.load(Ordering::Relaxed) {
                break;
            }
            if now.since(told) >= FRESH {
                told = now;
                self.tell(true);
            }
        }
        self.tell(false);
    }

    /// In the rehearsal's own time.
    fn time_of(&self, at: Moment) -> Moment {
        Moment::ORIGIN + at.since(self.began)
    }

    fn tell(&self, running: bool) {
        *self.shared.report() = self.rehearsal.report(running, self.tap.lost());
    }
}

impl Controller {
    /// Begins a rehearsal; it ends by itself.
    ///
    /// # Errors
    /// Numbers that are out of range, one that runs already, or no thread to be had.
    pub fn rehearse(
        &mut self,
        name: &str,
        request: RehearsalRequest,
        by: &str,
    ) -> Result<RehearsalOverview, ControlError> {
        let woken = self.woken();
        let service = self.service(name)?;
        if !(1..=TIMES_MAX).contains(&request.times) {
            return Err(ControlError::invalid("times", format!("1 to {TIMES_MAX}, found {}", request.times)));
        }
        if request.lasts.is_zero() || request.lasts > LONGEST {
            return Err(ControlError::invalid("for", "a rehearsal lasts 1 second to a day"));
        }
        if service.rehearsing.as_ref().is_some_and(Rehearsing::running) {
            let detail = "a rehearsal is running: wait for its end, or stop it".to_owned();
            return Err(ControlError::Conflict { code: "rehearsing", detail });
        }
        let defaults = &service.config.deploy;
        let stages = request.stages.unwrap_or_else(|| defaults.stages.clone());
        let plan = RehearsalPlan {
            plan: Plan {
                stages: stages.for_strategy(defaults.strategy, defaults.steps),
                bake: defaults.bake,
                conduct: defaults.conduct,
            },
            guard: request.guard.apply(defaults.guard),
            error_rate: request.error_rate.get(),
            times: request.times,
            seed: clock::unix_millis() as u64,
        };
        let rehearsing = Rehearsing::start(&plan, request.lasts, by.to_owned(), woken)
            .map_err(|error| ControlError::NotDurable(format!("no thread for the rehearsal: {error}")))?;
        tracing::info!(service = name, by, error_rate = plan.error_rate, times = plan.times, "a rehearsal began");
        let overview = rehearsing.overview(name);
        service.rehearsing = Some(rehearsing);
        self.publish();
        Ok(overview)
    }

    /// The rehearsal that runs, or the last one since the start.
    ///
    /// # Errors
    /// An unknown service.
    pub fn rehearsal(&mut self, name: &str) -> Result<Option<RehearsalOverview>, ControlError> {
        Ok(self.service(name)?.rehearsing.as_ref().map(|rehearsing| rehearsing.overview(name)))
    }

    /// Ends the rehearsal; what it has found stays.
    ///
    /// # Errors
    /// An unknown service, or none that runs.
    pub fn stop_rehearsal(&mut self, name: &str) -> Result<RehearsalOverview, ControlError> {
        let service = self.service(name)?;
        match service.rehearsing.as_ref().filter(|rehearsing| rehearsing.running()) {
            None => Err(ControlError::NotFound { what: "running rehearsal of", name: name.to_owned() }),
            Some(rehearsing) => {
                rehearsing.shared.stop.store(true, Ordering::Relaxed);
                Ok(rehearsing.overview(name))
            }
        }
    }
}
