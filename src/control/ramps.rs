//! Ramps: flags whose percentage grows by itself, each with its own evidence.
//!
//! The flag file says which there are and how far they are; a dial, ledgers and a judge of
//! each are here. What the file says of a ramp that has ended here is written over: a flag
//! that was set back stays so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::Notify;

use super::controller::Controller;
use super::deployments::Action;
use super::error::ControlError;
use crate::clock;
use crate::decide::bucket::{Salt, Share};
use crate::decide::flags::{Flag, FlagName, Ramp, RampProgress, RampStatus};
use crate::decide::guard::{Enforcement, GuardPlan, Standing};
use crate::decide::rollout::{Active, Cause, Conduct, Effect, Event, Milestone, Pause, Phase, Plan, State};
use crate::decide::time::Moment;
use crate::rollout::{CheckpointRecord, RecentLatency, Rollout, Terms, Written};
use crate::snapshot::LiveRamp;
use crate::store::{Counts, DecisionRecord};
use crate::subject::Track;

/// What the counts of a ramp are called in `checkpoint.json`: an earlier one of the same flag
/// knows nothing of it.
fn checkpoint_name(flag: &FlagName, progress: &RampProgress) -> String {
    format!("{flag}@{}", progress.started_at)
}

/// All ramps.
pub(super) struct Ramps {
    running: BTreeMap<FlagName, Running>,
    /// Those that have ended since the process began: no file brings them back.
    ended: BTreeMap<FlagName, Ended>,
    /// What those that ran before had counted.
    remembered: BTreeMap<String, CheckpointRecord>,
    woken: Arc<Notify>,
    workers: usize,
    /// The file does not say yet how far they are.
    pub(super) unsaved: bool,
}

struct Running {
    run: Rollout,
    progress: RampProgress,
    service: Option<String>,
}

struct Ended {
    progress: RampProgress,
    share: Share,
    decision: Option<DecisionRecord>,
    counts: [Counts; 2],
}

/// A ramp for whoever asks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RampOverview {
    /// Its flag.
    pub flag: FlagName,
    /// How far it is.
    #[serde(flatten)]
    pub progress: RampProgress,
    /// The part of users that have the flag on now.
    pub rollout_percentage: Share,
    /// Requests of users that have it on by their bucket.
    pub on: Counts,
    /// Requests of users that have it off by their bucket.
    pub off: Counts,
    /// How its guards stand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Standing>,
    /// The verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionRecord>,
}

impl Ramps {
    pub(super) fn new(remembered: BTreeMap<String, CheckpointRecord>, workers: usize, woken: &Arc<Notify>) -> Self {
        let (running, ended) = (BTreeMap::new(), BTreeMap::new());
        Self { running, ended, remembered, woken: Arc::clone(woken), workers, unsaved: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The names of those that run, in the order of their numbers.
    pub(super) fn names(&self) -> Vec<FlagName> {
        self.running.keys().cloned().collect()
    }

    /// What requests see of them, in the same order.
    pub(super) fn live(&self) -> Vec<LiveRamp> {
        let live = self.running.iter().map(|(name, running)| LiveRamp {
            flag: name.clone(),
            subject: Arc::clone(&running.run.subject),
            salt: Salt::flag(name.as_str()),
            from: running.progress.from,
            service: running.service.clone(),
        });
        live.collect()
    }

    /// What they have counted.
    pub(super) fn checkpoints(&self) -> impl Iterator<Item = (String, CheckpointRecord)> {
        let now = clock::now();
        self.running.iter().filter_map(move |(name, running)| {
            Some((checkpoint_name(name, &running.progress), running.run.checkpoint(now)?))
        })
    }

    pub(super) fn look_again(&self, now: Moment) -> Option<Moment> {
        self.running.values().filter_map(|running| running.run.look_again(now)).min()
    }

    fn plan(ramp: &Ramp) -> Plan {
        let conduct = Conduct {
            on_fail: ramp.on_fail,
            on_insufficient: ramp.on_insufficient,
            max_duration: ramp.max_duration,
            ..Conduct::default()
        };
        Plan { stages: ramp.stages.clone(), bake: std::time::Duration::ZERO, conduct }
    }

    fn terms(&self, ramp: &Ramp) -> Terms {
        let guard = GuardPlan {
            false_rollback: ramp.guard.false_rollback,
            errors: ramp.guard.errors,
            latency: Enforcement::Off,
            rate: ramp.guard.rate,
            ..GuardPlan::default()
        };
        let abandon_after = std::time::Duration::MAX;
        Terms { plan: Self::plan(ramp), guard, workers: self.workers, abandon_after }
    }

    fn wake(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let woken = Arc::clone(&self.woken);
        move || woken.notify_one()
    }

    fn begin(&mut self, name: &FlagName, ramp: &Ramp, from: Share) {
        let wake = self.wake();
        let run = Rollout::start(self.terms(ramp), &RecentLatency::default(), clock::now(), wake);
        let progress = RampProgress {
            status: RampStatus::InProgress,
            from,
            stage: 0,
            started_at: clock::rfc3339(),
            ended_at: None,
            pause: None,
            waived: false,
            text: Some("the ramp begins".to_owned()),
        };
        self.ended.remove(name);
        self.running.insert(name.clone(), Running { run, progress, service: ramp.service.clone() });
    }

    /// A ramp of another process goes on at its stage.
    fn resume(&mut self, name: &FlagName, ramp: &Ramp, progress: &RampProgress) {
        let stages = ramp.stages.as_slice().len();
        let phase = if progress.stage < stages { Phase::Stage(progress.stage) } else { Phase::Bake };
        let paused = (progress.status == RampStatus::Paused).then_some(Pause::Operator);
        let written = Written { phase, pause: progress.pause.or(paused), waived: progress.waived };
        let wake = self.wake();
        let checkpoint = self.remembered.remove(&checkpoint_name(name, progress));
        let recent = RecentLatency::default();
        let run = Rollout::resume(self.terms(ramp), &recent, written, checkpoint.as_ref(), clock::now(), wake);
        self.running.insert(name.clone(), Running { run, progress: progress.clone(), service: ramp.service.clone() });
    }

    /// Follows what the file says; the value is how flags have to be other than there.
    fn follow(&mut self, flags: &BTreeMap<FlagName, Arc<Flag>>) -> Vec<(FlagName, RampProgress, Share)> {
        let with_ramp = |name: &FlagName| flags.get(name).is_some_and(|flag| flag.ramp.is_some());
        self.running.retain(|name, _| with_ramp(name));
        self.ended.retain(|name, _| with_ramp(name));
        let mut other = Vec::new();
        for (name, flag) in flags {
            let Some(ramp) = &flag.ramp else { continue };
            let known = |known: &RampProgress| ramp.progress.as_ref().is_some_and(|p| p.started_at == known.started_at);
            if let Some(ended) = self.ended.get(name).filter(|ended| known(&ended.progress)) {
                if ramp.progress.as_ref() != Some(&ended.progress) {
                    other.push((name.clone(), ended.progress.clone(), ended.share));
                }
                continue;
            }
            match &ramp.progress {
                Some(progress) if progress.status.ended() => {
                    self.running.remove(name);
                    continue;
                }
                Some(progress) => {
                    if !self.running.get(name).is_some_and(|running| known(&running.progress)) {
                        self.resume(name, ramp, progress);
                    }
                }
                None => self.begin(name, ramp, flag.rollout_percentage),
            }
            if let Some(running) = self.running.get(name)
                && (ramp.progress.as_ref() != Some(&running.progress) || flag.rollout_percentage != running.share())
            {
                other.push((name.clone(), running.progress.clone(), running.share()));
            }
        }
        other
    }

    /// Lets time pass; the value is what happened to whom.
    fn tick(&mut self, now: Moment) -> Vec<(FlagName, String)> {
        let mut told = Vec::new();
        for (name, running) in &mut self.running {
            loop {
                let effects = running.run.tick(now);
                if effects.is_empty() {
                    break;
                }
                told.extend(running.follow(&effects).into_iter().map(|text| (name.clone(), text)));
            }
        }
        self.sort_out_the_ended();
        told
    }

    fn sort_out_the_ended(&mut self) {
        let over: BTreeSet<FlagName> = self
            .running
            .iter()
            .filter(|(_, running)| running.run.state.ended())
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            let Some(running) = self.running.remove(&name) else { continue };
            let ended = Ended {
                share: running.share(),
                counts: running.counts(),
                decision: running.run.decision.clone(),
                progress: running.progress,
            };
            self.ended.insert(name, ended);
        }
    }
}

impl Running {
    fn share(&self) -> Share {
        match &self.run.state {
            State::RolledBack { .. } => self.progress.from,
            State::Completed => Share::EVERYBODY,
            State::Active(_) => LiveRamp::share_of(self.run.subject.word(), self.progress.from),
        }
    }

    fn counts(&self) -> [Counts; 2] {
        [Track::Canary, Track::Stable].map(|track| {
            let total = self.run.subject.total(track);
            Counts { requests: total.requests, errors: total.errors, users: 0 }
        })
    }

    /// Notes what has happened; the value is the sentences about it.
    fn follow(&mut self, effects: &[Effect]) -> Vec<String> {
        let told: Vec<String> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Tell(milestone) => Some(self.in_words(*milestone)),
                _ => None,
            })
            .collect();
        let (pause, waived) = match &self.run.state {
            State::Active(Active { pause, waived, .. }) => (*pause, *waived),
            _ => (None, false),
        };
        self.progress.status = match &self.run.state {
            State::Active(_) if pause.is_some() => RampStatus::Paused,
            State::Active(_) => RampStatus::InProgress,
            State::Completed => RampStatus::Completed,
            State::RolledBack { .. } => RampStatus::RolledBack,
        };
        if self.run.state.ended() && self.progress.ended_at.is_none() {
            self.progress.ended_at = Some(clock::rfc3339());
        }
        (self.progress.stage, self.progress.pause, self.progress.waived) = (self.run.stage_index(), pause, waived);
        if let Some(last) = told.last() {
            self.progress.text = Some(last.clone());
        }
        told
    }

    fn in_words(&self, milestone: Milestone) -> String {
        let decided = || self.run.decision.as_ref().map(|decision| decision.text.clone());
        match milestone {
            Milestone::Stage(index) => {
                let share = self.run.plan.stages.as_slice()[index].share;
                format!("stage {} began: {share} of users have it", index + 1)
            }
            Milestone::Baking | Milestone::Returning => "everybody has it".to_owned(),
            Milestone::Paused(Pause::Operator) => "paused; users keep what they have".to_owned(),
            Milestone::Paused(Pause::Insufficient) => {
                "paused: the stage's time is over and too few requests came".to_owned()
            }
            Milestone::Paused(Pause::TooLong) => "paused: the stage has lasted for maxDuration".to_owned(),
            Milestone::Paused(Pause::Failed(breach)) => decided().unwrap_or_else(|| breach.to_string()),
            Milestone::Resumed => "the stage's clock goes on".to_owned(),
            Milestone::Completed => "complete: everybody has it".to_owned(),
            Milestone::RolledBack => {
                let cause = match &self.run.state {
                    State::RolledBack { cause, .. } => cause.to_string(),
                    _ => String::new(),
                };
                format!("set back to {}: {}", self.progress.from, decided().unwrap_or(cause))
            }
        }
    }
}

impl Controller {
    /// Takes up ramps that the flag file begins or goes on with, and lets go of those it lacks.
    pub(super) fn follow_ramps(&mut self) {
        for (name, progress, share) in self.ramps.follow(&self.flags.flags) {
            let Some(flag) = self.flags.flags.get(&name) else { continue };
            let mut flag = (**flag).clone();
            flag.rollout_percentage = share;
            flag.updated_at = clock::rfc3339();
            if let Some(ramp) = &mut flag.ramp {
                ramp.progress = Some(progress);
            }
            self.flags_mut().insert(name, Arc::new(flag));
            self.ramps.unsaved = true;
        }
    }

    /// Moves ramps on as far as they go; whether anything changed.
    pub(super) fn tick_ramps(&mut self, now: Moment) -> bool {
        let told = self.ramps.tick(now);
        let moved = !told.is_empty();
        for (name, text) in told {
            tracing::info!(flag = %name, "{text}");
            self.flag_changed("flagRamp", "serin", Some(name.as_str()), format!("flag {name}: {text}"));
        }
        moved
    }

    /// Steers a ramp.
    ///
    /// # Errors
    /// Where none runs, or the verb makes no sense now.
    pub fn act_on_ramp(&mut self, name: &str, action: Action, by: &str) -> Result<RampOverview, ControlError> {
        let none = || ControlError::NotFound { what: "running ramp of the flag", name: name.to_owned() };
        let running = self.ramps.running.get_mut(name);
        let event = match action {
            Action::Advance => Event::Advance,
            Action::Pause => Event::Pause,
            Action::Resume => Event::Resume,
            Action::Promote { force } => Event::Promote { force },
            Action::Rollback(reason) => {
                // Repeated it is what it was.
                if running.is_none() && self.ramps.ended.contains_key(name) {
                    return self.ramp(name);
                }
                Event::Rollback(Cause::Operator(reason))
            }
            Action::Return => {
                let detail = "a flag has no old pool to return to".to_owned();
                return Err(ControlError::Conflict { code: "wrongState", detail });
            }
        };
        let running = running.ok_or_else(none)?;
        let refused = |refused: crate::decide::rollout::Refused| ControlError::Conflict {
            code: "wrongState",
            detail: refused.to_string(),
        };
        let effects = running.run.happen(event, clock::now()).map_err(refused)?;
        for text in running.follow(&effects) {
            tracing::info!(flag = name, by, "{text}");
            self.flag_changed("flagRamp", by, Some(name), format!("flag {name}: {text}"));
        }
        self.ramps.sort_out_the_ended();
        self.publish();
        self.ramp(name)
    }

    /// A ramp that runs, or the one that ended last.
    ///
    /// # Errors
    /// Where the flag has none.
    pub fn ramp(&self, name: &str) -> Result<RampOverview, ControlError> {
        let none = || ControlError::NotFound { what: "ramp of the flag", name: name.to_owned() };
        let (flag, _) = self.flags.flags.get_key_value(name).ok_or_else(none)?;
        let flag = flag.clone();
        if let Some(running) = self.ramps.running.get(name) {
            let [on, off] = running.counts();
            let evidence = running.run.subject.judge().standings();
            let (progress, decision) = (running.progress.clone(), running.run.decision.clone());
            return Ok(RampOverview {
                flag,
                progress,
                rollout_percentage: running.share(),
                on,
                off,
                evidence,
                decision,
            });
        }
        if let Some(ended) = self.ramps.ended.get(name) {
            let [on, off] = ended.counts.clone();
            let (progress, decision) = (ended.progress.clone(), ended.decision.clone());
            let share = ended.share;
            return Ok(RampOverview {
                flag,
                progress,
                rollout_percentage: share,
                on,
                off,
                evidence: Vec::new(),
                decision,
            });
        }
        let stored = self.flags.flags.get(name);
        let progress = stored.and_then(|flag| flag.ramp.as_ref()?.progress.clone()).ok_or_else(none)?;
        let rollout_percentage = stored.map(|flag| flag.rollout_percentage).unwrap_or_default();
        let (on, off) = (Counts::default(), Counts::default());
        Ok(RampOverview { flag, progress, rollout_percentage, on, off, evidence: Vec::new(), decision: None })
    }
}
