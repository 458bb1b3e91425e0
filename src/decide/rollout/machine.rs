//! The state machine of one deployment.
//!
//! Every transition is in [`step`]; the leaves only compute.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conduct::{Conduct, OnComplete, OnFail, OnInsufficient};
use super::stage::{Stage, Stages};
use crate::decide::bucket::Share;
use crate::decide::guard::{Breach, StageCounts, StageRule};
use crate::decide::time::Moment;

/// What a deployment set out to do, fixed when it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its stages.
    pub stages: Stages,
    /// The watch after 100 %, with the old pool as the way back.
    pub bake: Duration,
    /// What it does where the stages alone do not say.
    pub conduct: Conduct,
}

impl Plan {
    /// The stage of a phase, from 0; the number of stages from the bake on.
    pub fn stage_of(&self, phase: Phase) -> usize {
        match phase {
            Phase::Stage(index) => index,
            Phase::Bake | Phase::Return => self.stages.as_slice().len(),
        }
    }
}

/// Where in its plan a deployment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// In the stage with this index.
    Stage(usize),
    /// All users are on the canary; the old pool is the way back.
    Bake,
    /// All users are on the canary until the old pool runs the new version too.
    Return,
}

/// How long a phase has lasted; a pause stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    elapsed: Duration,
    running_since: Option<Moment>,
}

impl Clock {
    /// A clock that starts now.
    pub const fn started(now: Moment) -> Self {
        Self { elapsed: Duration::ZERO, running_since: Some(now) }
    }

    /// A clock with this much on it, stopped.
    pub const fn stopped(elapsed: Duration) -> Self {
        Self { elapsed, running_since: None }
    }

    /// What it shows.
    pub fn elapsed(&self, now: Moment) -> Duration {
        self.elapsed + self.running_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Whether it runs.
    pub const fn runs(&self) -> bool {
        self.running_since.is_some()
    }

    /// The same time on it, running on from now.
    pub const fn resumed(self, now: Moment) -> Self {
        Self { elapsed: self.elapsed, running_since: Some(now) }
    }

    fn paused(self, now: Moment) -> Self {
        Self::stopped(self.elapsed(now))
    }
}

/// Why a deployment stands still.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pause {
    /// Somebody said so.
    Operator,
    /// The duration was over and `minRequests` were not there.
    Insufficient,
    /// The stage lasted `maxDuration`.
    TooLong,
    /// Proven bad, and `onFail` says to wait for a person.
    Failed(Breach),
}

impl Pause {
    /// One word for records and people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Insufficient => "insufficient",
            Self::TooLong => "tooLong",
            Self::Failed(_) => "failed",
        }
    }
}

/// A deployment under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Active {
    /// Where it is.
    pub phase: Phase,
    /// How long it has been there; it stands while there is a pause.
    pub clock: Clock,
    /// Why it stands still.
    pub pause: Option<Pause>,
    /// Somebody resumed it after it had paused by itself: in this phase it does not again.
    pub waived: bool,
}

impl Active {
    /// A phase that begins now.
    pub const fn begun(phase: Phase, now: Moment) -> Self {
        Self { phase, clock: Clock::started(now), pause: None, waived: false }
    }

    fn paused(self, why: Pause, now: Moment) -> Self {
        Self { clock: self.clock.paused(now), pause: Some(why), ..self }
    }

    fn resumed(self, now: Moment) -> Self {
        let waived = self.waived || matches!(self.pause, Some(Pause::Insufficient | Pause::TooLong));
        Self { clock: self.clock.resumed(now), pause: None, waived, ..self }
    }

    /// The next phase; an operator's pause lasts.
    fn moved(self, phase: Phase, now: Moment) -> Self {
        match self.pause {
            Some(Pause::Operator) => {
                Self { phase, clock: Clock::stopped(Duration::ZERO), pause: self.pause, waived: false }
            }
            _ => Self::begun(phase, now),
        }
    }
}

/// The state of a deployment.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Under way.
    Active(Active),
    /// The new version is stable.
    Completed,
    /// Everybody is back on stable.
    RolledBack {
        /// The phase it ended in.
        phase: Phase,
        /// Why.
        cause: Cause,
    },
}

impl State {
    /// The first stage begins.
    pub const fn started(now: Moment) -> Self {
        Self::Active(Active::begun(Phase::Stage(0), now))
    }

    /// Whether nothing will happen any more.
    pub const fn ended(&self) -> bool {
        !matches!(self, Self::Active(_))
    }

    /// Its name in the guide's words.
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Active(Active { pause: Some(_), .. }) => "paused",
            Self::Active(_) => "in_progress",
            Self::Completed => "completed",
            Self::RolledBack { .. } => "rolled_back",
        }
    }
}

/// Why a deployment was rolled back.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// A rule or guard proved it bad.
    Breach(Breach),
    /// A stage was over without enough requests, and `onInsufficient` says so.
    Insufficient {
        /// What came.
        requests: u64,
        /// What was asked.
        needed: u64,
    },
    /// Somebody said so.
    Operator(String),
    /// Another version was started.
    Superseded,
    /// The configuration has no such pool any more.
    PoolRemoved,
}

impl Cause {
    /// The rule's name in records, logs and metrics.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Breach(breach) => breach.rule(),
            Self::Insufficient { .. } => "insufficient",
            Self::Operator(_) => "operator",
            Self::Superseded => "superseded",
            Self::PoolRemoved => "poolRemoved",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Breach(breach) => breach.fmt(f),
            Self::Insufficient { requests, needed } => {
                write!(f, "{requests} canary requests came in the stage's time, {needed} are needed")
            }
            Self::Operator(reason) => f.write_str(reason),
            Self::Superseded => f.write_str("Superseded by new deployment"),
            Self::PoolRemoved => f.write_str("pool removed"),
        }
    }
}

/// What the shell reads before it lets time pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// The canary's counts in this phase.
    pub counts: StageCounts,
    /// A canary request has waited longer than a user would.
    pub overdue: bool,
    /// The canary's error rate is shown to be below the stage's limit, and nothing speaks against it.
    pub safe: bool,
}

/// What may happen to a deployment.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time has passed.
    Tick(Readings),
    /// The judge has a verdict.
    Breach(Breach),
    /// The next stage now.
    Advance,
    /// No advancing; the share stays, the rules stay alive.
    Pause,
    /// The stage's clock goes on.
    Resume,
    /// Complete now; by force also what has failed.
    Promote {
        /// Against a verdict.
        force: bool,
    },
    /// Everybody back to stable.
    Rollback(Cause),
    /// The old pool runs the new version: traffic goes back there.
    Return,
}

/// The verbs of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// The next stage now.
    Advance,
    /// Stop advancing.
    Pause,
    /// Go on.
    Resume,
    /// Complete now.
    Promote,
    /// Back to stable.
    Rollback,
    /// Back to the old pool, with the new version.
    Return,
}

impl Verb {
    /// Its name in the API and CLI.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Advance => "advance",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Return => "return",
        }
    }
}

/// What the shell has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Turn the dial to this share, and let the judge begin with this rule.
    /// May fail: a verdict that came first is then the machine's next event.
    Turn {
        /// The share of the phase.
        share: Share,
        /// What it asks of the canary.
        rule: StageRule,
    },
    /// Turn the dial to everybody whatever the verdict: a person has overruled it.
    Overrule,
    /// Close the dial: share 0 for good.
    Close,
    /// The pools swap roles.
    SwapRoles,
    /// The pools keep their roles: the old one runs the new version.
    KeepRoles,
    /// Write the state.
    Persist,
    /// Tell those who listen, and the deployment's own timeline.
    Tell(Milestone),
}

/// What a timeline tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Milestone {
    /// A stage began.
    Stage(usize),
    /// The bake began.
    Baking,
    /// Waiting for the old pool.
    Returning,
    /// The clock was stopped.
    Paused(Pause),
    /// The clock goes on.
    Resumed,
    /// The new version is stable.
    Completed,
    /// Everybody is back on stable.
    RolledBack,
}

/// A verb that makes no sense now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} makes no sense: the deployment is {why}", .verb.name())]
pub struct Refused {
    /// What was asked.
    pub verb: Verb,
    /// What stands against it.
    pub why: &'static str,
}

/// The next state, and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The next state.
    pub state: State,
    /// What to do, in this order; empty where nothing changed.
    pub effects: Vec<Effect>,
}

/// Moves a deployment on.
///
/// # Errors
/// A verb that makes no sense in this state.
pub fn step(plan: &Plan, state: &State, event: Event, now: Moment) -> Result<Step, Refused> {
    let active = match state {
        State::Active(active) => *active,
        ended => return after_the_end(ended, &event),
    };
    let failed = matches!(active.pause, Some(Pause::Failed(_)));
    Ok(match event {
        Event::Breach(breach) => breached(plan, active, breach, now),
        Event::Rollback(cause) => rolled_back(active.phase, cause),
        Event::Tick(readings) => tick(plan, active, readings, now),
        Event::Advance if failed => return Err(refused(Verb::Advance, FAILED)),
        Event::Advance if active.phase == Phase::Bake => {
            return Err(refused(Verb::Advance, "in its bake, which ends by itself; promote completes it now"));
        }
        Event::Advance if active.phase == Phase::Return => {
            return Err(refused(Verb::Advance, "waiting for its old pool; return or promote completes it now"));
        }
        Event::Advance => next(plan, active, now),
        Event::Promote { force: false } if failed => return Err(refused(Verb::Promote, FAILED)),
        Event::Promote { .. } => promoted(plan, active, now),
        Event::Pause if active.phase == Phase::Return => {
            return Err(refused(Verb::Pause, "complete and waits for its old pool: nothing is left to pause"));
        }
        Event::Pause if active.pause.is_some() => return Err(refused(Verb::Pause, "paused already")),
        Event::Pause => told(active.paused(Pause::Operator, now), Milestone::Paused(Pause::Operator)),
        Event::Resume if failed => return Err(refused(Verb::Resume, FAILED)),
        Event::Resume if active.pause.is_none() => return Err(refused(Verb::Resume, "not paused")),
        Event::Resume => told(active.resumed(now), Milestone::Resumed),
        Event::Return if active.phase == Phase::Return => returned(),
        Event::Return => return Err(refused(Verb::Return, "not waiting for its old pool (onComplete: return)")),
    })
}

const FAILED: &str = "paused because it failed: roll it back, retry it, or promote it by force";

/// When time alone could change something; `None` where no time can.
pub fn due(plan: &Plan, state: &State, now: Moment) -> Option<Moment> {
    let State::Active(active) = state else { return None };
    if active.pause.is_some() || active.phase == Phase::Return {
        return None;
    }
    let left = |until: Duration| now + until.saturating_sub(active.clock.elapsed(now));
    match stage(plan, active.phase) {
        Some(stage) if stage.hold => None,
        Some(stage) if plan.conduct.promote_early && stage.share.splits() => Some(now),
        Some(stage) => Some(left(stage.duration)),
        None => Some(left(plan.bake)),
    }
}

fn after_the_end(state: &State, event: &Event) -> Result<Step, Refused> {
    let why = if matches!(state, State::Completed) { "completed" } else { "rolled back" };
    let unchanged = Ok(Step { state: state.clone(), effects: Vec::new() });
    match event {
        Event::Tick(_) | Event::Breach(_) => unchanged,
        Event::Rollback(_) if matches!(state, State::RolledBack { .. }) => unchanged,
        Event::Rollback(_) => Err(refused(Verb::Rollback, why)),
        Event::Advance => Err(refused(Verb::Advance, why)),
        Event::Pause => Err(refused(Verb::Pause, why)),
        Event::Resume => Err(refused(Verb::Resume, why)),
        Event::Promote { .. } => Err(refused(Verb::Promote, why)),
        Event::Return => Err(refused(Verb::Return, why)),
    }
}

fn refused(verb: Verb, why: &'static str) -> Refused {
    Refused { verb, why }
}

fn unchanged(active: Active) -> Step {
    Step { state: State::Active(active), effects: Vec::new() }
}

fn breached(plan: &Plan, active: Active, breach: Breach, now: Moment) -> Step {
    if plan.conduct.on_fail == OnFail::Rollback {
        return rolled_back(active.phase, Cause::Breach(breach));
    }
    // What a person has overruled is not paused once more.
    if matches!(active.pause, Some(Pause::Failed(_))) || active.phase == Phase::Return {
        return unchanged(active);
    }
    let why = Pause::Failed(breach);
    let active = if active.pause.is_some() { Active { pause: Some(why), ..active } } else { active.paused(why, now) };
    told(active, Milestone::Paused(why))
}

fn tick(plan: &Plan, active: Active, readings: Readings, now: Moment) -> Step {
    if active.pause.is_some() || active.phase == Phase::Return {
        return unchanged(active);
    }
    let elapsed = active.clock.elapsed(now);
    if ends_well(plan, active.phase, elapsed, readings) {
        return next(plan, active, now);
    }
    let Some(stage) = stage(plan, active.phase).filter(|stage| !stage.hold && !active.waived) else {
        return unchanged(active);
    };
    let insufficient = elapsed >= stage.duration && readings.counts.requests < stage.min_requests;
    let why = match plan.conduct.on_insufficient {
        OnInsufficient::Rollback if insufficient => {
            let cause = Cause::Insufficient { requests: readings.counts.requests, needed: stage.min_requests };
            return rolled_back(active.phase, cause);
        }
        OnInsufficient::Pause if insufficient => Pause::Insufficient,
        _ if elapsed >= plan.conduct.max_duration => Pause::TooLong,
        _ => return unchanged(active),
    };
    told(active.paused(why, now), Milestone::Paused(why))
}

/// The bake is the watch after the last stage: only a verdict or time ends it.
fn ends_well(plan: &Plan, phase: Phase, elapsed: Duration, readings: Readings) -> bool {
    let Some(stage) = stage(plan, phase) else {
        return elapsed >= plan.bake && !readings.overdue;
    };
    let early = plan.conduct.promote_early && readings.safe;
    let counts = readings.counts;
    !stage.hold
        && (elapsed >= stage.duration || early)
        && !readings.overdue
        && counts.requests >= stage.min_requests
        && counts.errors as f64 <= stage.max_error_rate.get() * counts.requests as f64
}

fn stage(plan: &Plan, phase: Phase) -> Option<&Stage> {
    match phase {
        Phase::Stage(index) => plan.stages.as_slice().get(index),
        Phase::Bake | Phase::Return => None,
    }
}

fn next(plan: &Plan, active: Active, now: Moment) -> Step {
    let following = match active.phase {
        Phase::Stage(index) if index + 1 < plan.stages.as_slice().len() => Phase::Stage(index + 1),
        Phase::Stage(_) if !plan.bake.is_zero() => Phase::Bake,
        _ => return completed(plan, now),
    };
    let (share, rule, milestone) = match (following, stage(plan, following)) {
        (Phase::Stage(index), Some(stage)) => (stage.share, stage.rule(), Milestone::Stage(index)),
        _ => (Share::EVERYBODY, bake_rule(plan), Milestone::Baking),
    };
    Step {
        state: State::Active(active.moved(following, now)),
        effects: vec![Effect::Turn { share, rule }, Effect::Persist, Effect::Tell(milestone)],
    }
}

/// The bake is judged as the last stage, with evidence: one early error is no verdict.
fn bake_rule(plan: &Plan) -> StageRule {
    StageRule { min_requests: 0, ..plan.stages.last().rule() }
}

/// Users reach the new pool before the roles change, so that nobody changes pools twice.
fn promoted(plan: &Plan, active: Active, now: Moment) -> Step {
    if active.phase == Phase::Return {
        // It stays where it is: the old pool is not waited for.
        return swapped();
    }
    let mut step = completed(plan, now);
    if matches!(active.pause, Some(Pause::Failed(_))) {
        step.effects.insert(0, Effect::Overrule);
    } else if active.phase != Phase::Bake {
        step.effects.insert(0, Effect::Turn { share: Share::EVERYBODY, rule: bake_rule(plan) });
    }
    step
}

fn completed(plan: &Plan, now: Moment) -> Step {
    match plan.conduct.on_complete {
        OnComplete::Promote => swapped(),
        OnComplete::Return => told(Active::begun(Phase::Return, now), Milestone::Returning),
    }
}

fn swapped() -> Step {
    let effects = vec![Effect::SwapRoles, Effect::Persist, Effect::Tell(Milestone::Completed)];
    Step { state: State::Completed, effects }
}

fn returned() -> Step {
    let effects = vec![Effect::Close, Effect::KeepRoles, Effect::Persist, Effect::Tell(Milestone::Completed)];
    Step { state: State::Completed, effects }
}

fn rolled_back(phase: Phase, cause: Cause) -> Step {
    let effects = vec![Effect::Close, Effect::Persist, Effect::Tell(Milestone::RolledBack)];
    Step { state: State::RolledBack { phase, cause }, effects }
}

fn told(active: Active, milestone: Milestone) -> Step {
    Step { state: State::Active(active), effects: vec![Effect::Persist, Effect::Tell(milestone)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::guard::Rate;
    use proptest::prelude::*;

    const NOW: Moment = Moment::from_micros(1_000_000);

    fn plan() -> Plan {
        Plan { stages: Stages::of_the_guide(), bake: Duration::from_secs(600), conduct: Conduct::default() }
    }

    fn at(phase: Phase) -> State {
        State::Active(Active::begun(phase, NOW))
    }

    fn after(seconds: u64) -> Moment {
        NOW + Duration::from_secs(seconds)
    }

    fn counts(requests: u64, errors: u64) -> Readings {
        Readings { counts: StageCounts { requests, errors, watched: 0 }, ..Readings::default() }
    }

    fn tick(state: &State, seconds: u64, readings: Readings) -> State {
        step(&plan(), state, Event::Tick(readings), after(seconds)).unwrap().state
    }

    fn phase(state: &State) -> Option<Phase> {
        match state {
            State::Active(active) => Some(active.phase),
            _ => None,
        }
    }

    #[test]
    fn a_stage_ends_when_time_requests_and_error_rate_allow_it() {
        let first = at(Phase::Stage(0));
        assert_eq!(phase(&tick(&first, 299, counts(1_000, 0))), Some(Phase::Stage(0)), "time");
        assert_eq!(phase(&tick(&first, 300, counts(99, 0))), Some(Phase::Stage(0)), "requests");
        assert_eq!(phase(&tick(&first, 300, counts(100, 6))), Some(Phase::Stage(0)), "error rate");
        let hanging = Readings { overdue: true, ..counts(100, 0) };
        assert_eq!(phase(&tick(&first, 300, hanging)), Some(Phase::Stage(0)), "a canary that hangs");
        assert_eq!(phase(&tick(&first, 300, counts(100, 5))), Some(Phase::Stage(1)));
    }

    #[test]
    fn the_default_rollout_goes_to_completion() {
        let mut state = State::started(NOW);
        let mut shares = Vec::new();
        let mut seconds = 0;
        while !state.ended() {
            let step = step(&plan(), &state, Event::Tick(counts(1_000, 0)), after(seconds)).unwrap();
            shares.extend(step.effects.iter().filter_map(|effect| match effect {
                Effect::Turn { share, .. } => Some(share.percentage()),
                _ => None,
            }));
            state = step.state;
            seconds += 1;
        }
        assert_eq!(shares, [50.0, 100.0, 100.0]);
        assert!((1_500..1_510).contains(&seconds), "300 s, 600 s, bake of 600 s: {seconds}");
        assert_eq!(state, State::Completed);
    }

    #[test]
    fn a_breach_rolls_back_from_every_phase() {
        let breach = breach();
        for phase in [Phase::Stage(0), Phase::Stage(2), Phase::Bake] {
            let step = step(&plan(), &at(phase), Event::Breach(breach), NOW).unwrap();
            assert_eq!(step.effects[0], Effect::Close);
            assert_eq!(step.state, State::RolledBack { phase, cause: Cause::Breach(breach) });
        }
    }

    #[test]
    fn a_pause_stops_the_clock_and_a_resume_goes_on_where_it_was() {
        let plan = plan();
        let paused = step(&plan, &at(Phase::Stage(0)), Event::Pause, after(200)).unwrap().state;
        assert_eq!(paused.status(), "paused");
        assert_eq!(tick(&paused, 10_000, counts(1_000, 0)), paused);
        assert!(step(&plan, &paused, Event::Pause, after(201)).is_err());
        let resumed = step(&plan, &paused, Event::Resume, after(1_000)).unwrap().state;
        assert_eq!(due(&plan, &resumed, after(1_000)), Some(after(1_100)));
        assert_eq!(phase(&tick(&resumed, 1_099, counts(1_000, 0))), Some(Phase::Stage(0)));
        assert_eq!(phase(&tick(&resumed, 1_100, counts(1_000, 0))), Some(Phase::Stage(1)));
    }

    #[test]
    fn a_paused_deployment_still_rolls_back() {
        let paused = State::Active(Active::begun(Phase::Stage(1), NOW).paused(Pause::Operator, after(5)));
        let rollback = Event::Rollback(Cause::Operator("slow".into()));
        assert_eq!(step(&plan(), &paused, rollback, NOW).unwrap().state.status(), "rolled_back");
    }

    #[test]
    fn advance_goes_stage_by_stage_into_the_bake_and_no_further() {
        let plan = plan();
        let mut state = State::started(NOW);
        for expected in [Phase::Stage(1), Phase::Stage(2), Phase::Bake] {
            state = step(&plan, &state, Event::Advance, NOW).unwrap().state;
            assert_eq!(phase(&state), Some(expected));
        }
        assert!(step(&plan, &state, Event::Advance, NOW).is_err());
        assert_eq!(step(&plan, &state, Event::Promote { force: false }, NOW).unwrap().state, State::Completed);
    }

    #[test]
    fn without_a_bake_the_last_stage_completes() {
        let plan = Plan { bake: Duration::ZERO, ..plan() };
        let step = step(&plan, &at(Phase::Stage(2)), Event::Tick(counts(0, 0)), NOW).unwrap();
        assert_eq!(step.state, State::Completed);
        assert_eq!(step.effects[0], Effect::SwapRoles);
    }

    #[test]
    fn the_bake_is_judged_with_evidence() {
        let step = step(&plan(), &at(Phase::Stage(2)), Event::Advance, NOW).unwrap();
        let Effect::Turn { share, rule } = step.effects[0] else { panic!("{:?}", step.effects) };
        assert_eq!((share, rule.min_requests), (Share::EVERYBODY, 0));
    }

    #[test]
    fn an_ended_deployment_stays_ended() {
        let gone = State::RolledBack { phase: Phase::Bake, cause: Cause::Superseded };
        let again = step(&plan(), &gone, Event::Rollback(Cause::Operator(String::new())), NOW).unwrap();
        assert_eq!((again.state, again.effects.len()), (gone.clone(), 0), "repeated: fine, nothing to do");
        for verb in [Event::Advance, Event::Pause, Event::Resume, Event::Promote { force: false }] {
            assert!(step(&plan(), &gone, verb.clone(), NOW).is_err());
            assert!(step(&plan(), &State::Completed, verb, NOW).is_err());
        }
    }

    fn with(conduct: Conduct) -> Plan {
        Plan { conduct, ..plan() }
    }

    fn breach() -> Breach {
        Breach::ErrorRate { errors: 6, requests: 100, limit: Rate::percent(5) }
    }

    fn then(plan: &Plan, state: &State, event: Event, seconds: u64) -> State {
        step(plan, state, event, after(seconds)).unwrap().state
    }

    #[test]
    fn a_failure_may_wait_for_a_person() {
        let plan = with(Conduct { on_fail: OnFail::Pause, ..Conduct::default() });
        let failed = step(&plan, &at(Phase::Stage(1)), Event::Breach(breach()), NOW).unwrap();
        assert_eq!(failed.effects, [Effect::Persist, Effect::Tell(Milestone::Paused(Pause::Failed(breach())))]);
        let failed = failed.state;
        assert_eq!(failed.status(), "paused");
        for verb in [Event::Advance, Event::Resume, Event::Pause, Event::Promote { force: false }] {
            assert!(step(&plan, &failed, verb.clone(), NOW).is_err(), "{verb:?}");
        }
        for nothing in [Event::Breach(breach()), Event::Tick(counts(1_000, 0))] {
            assert_eq!(step(&plan, &failed, nothing, after(90_000)).unwrap().effects, []);
        }
        let promoted = step(&plan, &failed, Event::Promote { force: true }, NOW).unwrap();
        assert_eq!((&promoted.effects[0], promoted.state), (&Effect::Overrule, State::Completed));
        let rolled_back = then(&plan, &failed, Event::Rollback(Cause::Operator("x".into())), 0);
        assert_eq!(rolled_back.status(), "rolled_back");
    }

    #[test]
    fn a_verdict_on_a_paused_deployment_is_a_failure() {
        let plan = with(Conduct { on_fail: OnFail::Pause, ..Conduct::default() });
        let paused = then(&plan, &at(Phase::Stage(0)), Event::Pause, 10);
        let failed = then(&plan, &paused, Event::Breach(breach()), 20);
        assert!(step(&plan, &failed, Event::Resume, after(30)).is_err());
    }

    #[test]
    fn too_few_requests_extend_pause_or_roll_back() {
        let few = |on_insufficient| {
            let plan = with(Conduct { on_insufficient, ..Conduct::default() });
            let before = then(&plan, &at(Phase::Stage(0)), Event::Tick(counts(99, 0)), 299);
            assert_eq!(before, at(Phase::Stage(0)));
            (then(&plan, &before, Event::Tick(counts(99, 0)), 300), plan)
        };
        assert_eq!(few(OnInsufficient::Extend).0, at(Phase::Stage(0)));
        let (rolled_back, _) = few(OnInsufficient::Rollback);
        let cause = Cause::Insufficient { requests: 99, needed: 100 };
        assert_eq!(rolled_back, State::RolledBack { phase: Phase::Stage(0), cause });
        let (paused, plan) = few(OnInsufficient::Pause);
        assert_eq!(paused.status(), "paused");
        // Resumed, it waits: a person has said so.
        let resumed = then(&plan, &paused, Event::Resume, 400);
        assert_eq!(then(&plan, &resumed, Event::Tick(counts(99, 0)), 500).status(), "in_progress");
        assert_eq!(phase(&then(&plan, &resumed, Event::Tick(counts(100, 0)), 500)), Some(Phase::Stage(1)));
        let advanced = then(&plan, &paused, Event::Advance, 400);
        assert_eq!((phase(&advanced), advanced.status()), (Some(Phase::Stage(1)), "in_progress"));
    }

    #[test]
    fn a_stage_that_lasts_too_long_pauses_once() {
        let plan = with(Conduct { max_duration: Duration::from_secs(1_000), ..Conduct::default() });
        let paused = then(&plan, &at(Phase::Stage(0)), Event::Tick(counts(1, 0)), 1_000);
        let State::Active(active) = &paused else { panic!() };
        assert_eq!(active.pause, Some(Pause::TooLong));
        let resumed = then(&plan, &paused, Event::Resume, 2_000);
        assert_eq!(then(&plan, &resumed, Event::Tick(counts(1, 0)), 9_000).status(), "in_progress");
    }

    #[test]
    fn a_stage_ends_early_only_where_asked_and_shown() {
        let safe = Readings { safe: true, ..counts(100, 0) };
        let early = with(Conduct { promote_early: true, ..Conduct::default() });
        assert_eq!(phase(&tick(&at(Phase::Stage(0)), 5, safe)), Some(Phase::Stage(0)), "not asked");
        assert_eq!(phase(&then(&early, &at(Phase::Stage(0)), Event::Tick(counts(100, 0)), 5)), Some(Phase::Stage(0)));
        assert_eq!(phase(&then(&early, &at(Phase::Stage(0)), Event::Tick(safe), 5)), Some(Phase::Stage(1)));
        assert_eq!(due(&early, &at(Phase::Stage(0)), NOW), Some(NOW), "looked at all the time");
    }

    #[test]
    fn a_held_stage_ends_by_advance_only() {
        let stages =
            Stages::of_the_guide().for_strategy(super::super::Strategy::BlueGreen, super::super::Steps::default());
        let plan = Plan { stages, ..plan() };
        let begun = at(Phase::Stage(0));
        assert_eq!(due(&plan, &begun, NOW), None);
        assert_eq!(then(&plan, &begun, Event::Tick(counts(0, 0)), 1_000_000), begun);
        let step = step(&plan, &begun, Event::Advance, after(5)).unwrap();
        assert!(matches!(step.effects[0], Effect::Turn { share: Share::EVERYBODY, .. }));
        assert_eq!(phase(&then(&plan, &step.state, Event::Tick(counts(0, 0)), 6)), Some(Phase::Bake));
    }

    #[test]
    fn traffic_may_go_back_once_the_old_pool_runs_the_new_version() {
        let plan = with(Conduct { on_complete: OnComplete::Return, ..Conduct::default() });
        assert!(step(&plan, &at(Phase::Bake), Event::Return, NOW).is_err());
        let waiting = then(&plan, &at(Phase::Bake), Event::Tick(counts(0, 0)), 600);
        assert_eq!((phase(&waiting), due(&plan, &waiting, NOW)), (Some(Phase::Return), None));
        assert!(step(&plan, &waiting, Event::Advance, NOW).is_err());
        let returned = step(&plan, &waiting, Event::Return, NOW).unwrap();
        assert_eq!(returned.effects[..2], [Effect::Close, Effect::KeepRoles]);
        let stays = step(&plan, &waiting, Event::Promote { force: false }, NOW).unwrap();
        assert_eq!(stays.effects[0], Effect::SwapRoles);
        let rolled_back = then(&plan, &waiting, Event::Breach(breach()), 0);
        assert_eq!(rolled_back.status(), "rolled_back");
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0_u64..2_000, 0_u64..20, any::<bool>())
                .prop_map(|(r, e, overdue)| Event::Tick(Readings { overdue, ..counts(r, e.min(r)) })),
            Just(Event::Advance),
            Just(Event::Pause),
            Just(Event::Resume),
            any::<bool>().prop_map(|force| Event::Promote { force }),
            Just(Event::Return),
            Just(Event::Rollback(Cause::Operator("by hand".into()))),
        ]
    }

    proptest! {
        /// Whatever happens: the share only grows until the end, the end is final,
        /// and a refusal changes nothing.
        #[test]
        fn a_share_only_grows_and_an_end_is_final(events in prop::collection::vec((any_event(), 0_u64..400), 1..60)) {
            let plan = plan();
            let (mut state, mut share, mut seconds) = (State::started(NOW), Share::clamped(10.0), 0);
            for (event, wait) in events {
                seconds += wait;
                let Ok(step) = step(&plan, &state, event, after(seconds)) else { continue };
                prop_assert!(!state.ended() || step.effects.is_empty());
                for effect in &step.effects {
                    if let Effect::Turn { share: turned, .. } = effect {
                        prop_assert!(*turned >= share);
                        share = *turned;
                    }
                }
                state = step.state;
            }
        }

        #[test]
        fn a_clock_never_shows_more_than_has_passed(pauses in prop::collection::vec(0_u64..500, 1..20)) {
            let mut state = State::started(NOW);
            let mut seconds = 0;
            for (index, wait) in pauses.iter().enumerate() {
                seconds += wait;
                let event = if index % 2 == 0 { Event::Pause } else { Event::Resume };
                state = step(&plan(), &state, event, after(seconds)).unwrap().state;
            }
            let State::Active(Active { clock, .. }) = state else { panic!() };
            let ran: u64 = pauses.iter().step_by(2).sum();
            prop_assert_eq!(clock.elapsed(after(seconds)), Duration::from_secs(ran));
        }
    }
}
