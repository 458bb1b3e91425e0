//! The whole of what decides, in virtual time: one seed drives arrivals, users, latencies,
//! errors, crashes, clock jumps and commands, and after each step everything must hold
//! that always holds. `SERIN_SEED=17 cargo test --test whole_system` plays one seed alone.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::HashSet;
use std::time::Duration;

use serin::decide::bucket::{Bucket, Share};
use serin::decide::guard::{Enforcement, GuardPlan, Rate, RateRule};
use serin::decide::rollout::{Active, Cause, Conduct, Event, Milestone, OnFail, Pause, Plan, Stage, Stages, State};
use serin::decide::time::Moment;
use serin::simulate::{Activity, Random, Served, Users, World, WorldPlan};
use serin::subject::Track;

const SEEDS: u64 = 2_000;
/// No bad canary reaches more users than this before it is stopped, for each time that
/// the process has died and lost up to a second of what it knew.
const UNLUCKY: u64 = 150;
/// The same in answers, where no user asks much more often than others.
const BAD_ANSWERS: u64 = 200;
const STEP: Duration = Duration::from_millis(20);

/// What is wrong with the canary.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    /// This part of its answers are errors, from then on.
    Errors(f64, Duration),
    /// So many times slower, from then on.
    Slow(f64, Duration),
}

/// Everything that a seed says.
#[derive(Clone, Debug)]
struct Course {
    plan: Plan,
    guard: GuardPlan,
    fault: Fault,
    rate: f64,
    users: usize,
    activity: Activity,
    error_rate: f64,
    latency: Duration,
    /// The process dies once in so many seconds; 0: never.
    crash_every: f64,
    /// An operator does something once in so many seconds; 0: never.
    command_every: f64,
}

impl Course {
    fn of(random: &mut Random) -> Self {
        let count = 1 + random.below(3);
        let mut percent = 0.0;
        let stage = |percent: f64, random: &mut Random| Stage {
            share: Share::clamped(percent),
            duration: Duration::from_millis(1_000 + random.bits() % 7_000),
            min_requests: [0, 20, 100, 200][random.below(4)],
            max_error_rate: Rate::percent(5),
            hold: false,
        };
        let mut stages = Vec::new();
        for _ in 0..count {
            percent += 5.0 + 25.0 * random.unit();
            stages.push(stage(percent.floor(), random));
        }
        stages.push(Stage { duration: Duration::ZERO, min_requests: 0, ..stage(100.0, random) });
        let on_fail = if random.chance(0.2) { OnFail::Pause } else { OnFail::Rollback };
        let conduct = Conduct { on_fail, promote_early: random.chance(0.3), ..Conduct::default() };
        let bake = Duration::from_millis(random.bits() % 4_000);
        let plan = Plan { stages: Stages::new(stages).unwrap(), bake, conduct };
        let lasts = plan.stages.as_slice().iter().map(|stage| stage.duration).sum::<Duration>();
        let from = lasts.mul_f64(random.unit() * 0.7);
        let fault = match random.below(5) {
            0 | 1 => Fault::Errors(0.25 + 0.75 * random.unit(), from),
            2 => Fault::Slow(10.0, from),
            _ => Fault::Nothing,
        };
        let slow = matches!(fault, Fault::Slow(..));
        Self {
            guard: GuardPlan {
                latency: if slow || random.chance(0.3) { Enforcement::Enforce } else { Enforcement::Observe },
                rate: if random.chance(0.5) { RateRule::Evidence } else { RateRule::Plain },
                ..GuardPlan::default()
            },
            plan,
            fault,
            rate: 300.0 + 1_200.0 * random.unit(),
            users: 2_000 + random.below(20_000),
            activity: if random.chance(0.5) { Activity::HeavyTailed } else { Activity::Equal },
            error_rate: 0.004 * random.unit(),
            latency: Duration::from_millis(5 + random.bits() % 60),
            crash_every: if random.chance(0.5) { 2.0 + 8.0 * random.unit() } else { 0.0 },
            command_every: if random.chance(0.4) { 2.0 + 6.0 * random.unit() } else { 0.0 },
        }
    }

    fn total(&self) -> Duration {
        self.plan.stages.as_slice().iter().map(|stage| stage.duration).sum::<Duration>() + self.plan.bake
    }
}

/// A course under way, and what was seen of it.
struct Watched {
    course: Course,
    world: World,
    random: Random,
    /// How long the process has been up.
    up: Duration,
    /// How long it was down: the clock has jumped by that.
    down: Duration,
    sent: u64,
    lost: u64,
    crashes: u64,
    /// Bad answers of the canary, before there was a verdict.
    bad: u64,
    /// Users who got them, by bucket.
    unlucky: HashSet<Bucket>,
    told: usize,
    stage: usize,
    /// Up and not paused, in this stage.
    in_stage: Duration,
    on_canary_in_stage: u64,
    /// The last step to another stage was a command's.
    commanded: bool,
    share: Share,
}

impl Watched {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let course = Course::of(&mut random);
        let id = format!("whole-{seed}");
        let world = World::new(WorldPlan { plan: course.plan.clone(), guard: course.guard, id, in_flight: true });
        Self {
            share: world.share(),
            course,
            world,
            random,
            up: Duration::ZERO,
            down: Duration::ZERO,
            sent: 0,
            lost: 0,
            crashes: 0,
            bad: 0,
            unlucky: HashSet::new(),
            told: 0,
            stage: 0,
            in_stage: Duration::ZERO,
            on_canary_in_stage: 0,
            commanded: false,
        }
    }

    fn pass(&mut self, until: Duration) {
        let paused = self.pause().is_some();
        let passed = until - self.up;
        self.world.pass(Moment::ORIGIN + until + self.down);
        if !paused {
            self.in_stage += passed;
        }
        self.up = until;
        self.look();
    }

    fn pause(&self) -> Option<Pause> {
        match self.world.state() {
            State::Active(Active { pause, .. }) => *pause,
            _ => None,
        }
    }

    fn requests(&mut self, users: &Users, buckets: &[Bucket]) {
        let end = self.up + STEP;
        let mut at = self.up;
        loop {
            at += Duration::from_micros((self.random.exponential() / self.course.rate * 1e6) as u64);
            if at >= end || self.world.state().ended() {
                break;
            }
            self.pass(at);
            let user = users.draw(&mut self.random);
            self.request(buckets[user]);
        }
        self.pass(end);
    }

    fn request(&mut self, bucket: Bucket) {
        let (up, course) = (self.up, &self.course);
        let random = &mut self.random;
        let decided = self.world.subject().judge().verdict().is_some();
        let expected = self.world.share().reaches(bucket);
        let compares = self.world.share().splits();
        let mut bad = false;
        let track = self.world.request(bucket, |track| {
            let (mut error_rate, mut times) = (course.error_rate, 1.0);
            match course.fault {
                Fault::Errors(rate, from) if track == Track::Canary && up >= from => error_rate = rate,
                Fault::Slow(slower, from) if track == Track::Canary && up >= from => times = slower,
                _ => {}
            }
            let error = random.chance(error_rate);
            // At 100 % there is nothing to compare with: slow is what everybody is.
            bad = track == Track::Canary && (error || (times > 1.0 && compares));
            Served { error, latency: course.latency.mul_f64(times * (0.5 * random.normal()).exp().min(50.0)) }
        });
        assert_eq!(track == Track::Canary, expected, "a user is where the dial says");
        let closes = self.course.plan.conduct.on_fail == OnFail::Rollback;
        assert!(!(decided && closes && track == Track::Canary), "the verdict was known and the canary still asked");
        self.sent += 1;
        self.on_canary_in_stage += u64::from(track == Track::Canary);
        if bad && !decided {
            self.bad += 1;
            self.unlucky.insert(bucket);
        }
    }

    /// Everything that always holds.
    fn look(&mut self) {
        let news: Vec<(Moment, Milestone)> = self.world.told()[self.told..].to_vec();
        self.told += news.len();
        for (at, milestone) in news {
            self.happened(milestone, self.world.now().since(at));
        }
        let share = self.world.share();
        match self.world.state() {
            State::RolledBack { .. } => {
                assert_eq!(share, Share::NOBODY);
                assert!(self.world.subject().word().closed());
            }
            State::Completed | State::Active(_) => assert!(share >= self.share, "nobody is taken off the canary"),
        }
        self.share = share;
        let counted = Track::BOTH.map(|track| self.world.total(track).requests).iter().sum::<u64>();
        let under_way = self.world.under_way() as u64;
        assert_eq!(counted + under_way + self.lost, self.sent, "each request is counted once");
    }

    fn happened(&mut self, milestone: Milestone, ago: Duration) {
        let stages = self.course.plan.stages.as_slice();
        let next = match milestone {
            Milestone::Stage(index) => index,
            Milestone::Baking => stages.len(),
            Milestone::Completed | Milestone::RolledBack | Milestone::Returning => return,
            Milestone::Paused(_) | Milestone::Resumed => return,
        };
        assert_eq!(next, self.stage + 1, "stages come in order");
        let left = stages[self.stage];
        let early = self.course.plan.conduct.promote_early;
        if !self.commanded {
            let lasted = self.in_stage.saturating_sub(ago);
            assert!(early || lasted >= left.duration, "{lasted:?} of {:?}", left.duration);
            assert!(self.on_canary_in_stage >= left.min_requests, "too few requests");
        }
        (self.stage, self.in_stage, self.on_canary_in_stage, self.commanded) = (next, ago, 0, false);
    }

    /// The process dies and comes back; the clock may be anywhere by then.
    fn crash(&mut self) {
        let counted = |world: &World| Track::BOTH.map(|track| world.total(track).requests).iter().sum::<u64>();
        let (before, under_way) = (counted(&self.world), self.world.under_way() as u64);
        let jump = Duration::from_millis(self.random.bits() % 3_600_000);
        let (stage, verdict) = (self.stage, self.world.subject().judge().verdict());
        self.down += jump;
        if !self.world.restart(jump) {
            self.down -= jump;
            return;
        }
        self.crashes += 1;
        self.lost += under_way + before - counted(&self.world);
        // The counts of the stage since the last checkpoint are gone, the stage is not.
        self.look();
        assert_eq!(self.stage, stage, "a restart moves nothing");
        assert!(verdict.is_none() || self.world.subject().judge().verdict().is_some(), "a verdict stays");
    }

    fn command(&mut self) {
        let event = match self.random.below(4) {
            0 => Event::Pause,
            1 => Event::Advance,
            _ => Event::Resume,
        };
        let advances = matches!(event, Event::Advance);
        let done = self.world.command(event).is_ok();
        self.commanded = done && advances;
        self.look();
        self.commanded = false;
    }

    /// Plays it to its end, or until it waits for a person.
    fn play(&mut self) {
        let users = Users::new(self.course.users, self.course.activity, 0.0, &mut self.random);
        let buckets: Vec<Bucket> = (0..users.count()).map(|user| self.world.bucket(&format!("user-{user}"))).collect();
        // Stages wait for requests; each crash takes back up to a second; pauses take time.
        let end = self.course.total() * 4 + Duration::from_secs(120);
        let mut checkpoint = Duration::ZERO;
        while self.up < end && !self.world.state().ended() && !matches!(self.pause(), Some(Pause::Failed(_))) {
            self.requests(&users, &buckets);
            if self.up >= checkpoint {
                self.world.write_checkpoint();
                checkpoint = self.up + Duration::from_secs(1);
            }
            let chance = |every: f64| if every > 0.0 { STEP.as_secs_f64() / every } else { 0.0 };
            if self.random.chance(chance(self.course.crash_every)) && !self.world.state().ended() {
                self.crash();
            }
            if self.random.chance(chance(self.course.command_every)) && !self.world.state().ended() {
                self.command();
            }
        }
    }
}

/// How it ended: whether a guard was right, wrong, or silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed,
    Stopped,
}

fn play(seed: u64) -> (End, Fault) {
    let mut watched = Watched::new(seed);
    watched.play();
    let fault = watched.course.fault;
    let end = match (watched.world.state(), watched.pause()) {
        (State::Completed, _) => End::Completed,
        (State::RolledBack { cause: Cause::Breach(_), .. }, _) | (_, Some(Pause::Failed(_))) => End::Stopped,
        (state, _) => panic!("it came to no end: {state:?}"),
    };
    let (bad, unlucky, times) = (watched.bad, watched.unlucky.len() as u64, 1 + watched.crashes);
    assert!(unlucky <= UNLUCKY * times, "{unlucky} users had bad answers before the verdict, lives: {times}");
    if watched.course.activity == Activity::Equal {
        assert!(bad <= BAD_ANSWERS * times, "{bad} bad answers before the verdict, lives: {times}");
    }
    (end, fault)
}

/// Plays a seed; says which one it was where something does not hold.
fn told(seed: u64) -> (End, Fault) {
    std::panic::catch_unwind(|| play(seed)).unwrap_or_else(|panic| {
        let why = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let (why, course) = (why.unwrap_or_default(), Watched::new(seed).course);
        panic!("{why}\nagain: SERIN_SEED={seed} cargo test --test whole_system\n{course:?}")
    })
}

#[test]
fn whatever_happens_everything_holds_and_bad_canaries_are_stopped() {
    if let Some(seed) = std::env::var("SERIN_SEED").ok().and_then(|seed| seed.parse().ok()) {
        println!("seed {seed}: {:?}", told(seed));
        return;
    }
    let halves = [0..SEEDS / 2, SEEDS / 2..SEEDS];
    let ends: Vec<(u64, End, Fault)> = std::thread::scope(|scope| {
        let parts = halves.map(|seeds| {
            scope.spawn(|| {
                let one = |seed| {
                    let (end, fault) = told(seed);
                    (seed, end, fault)
                };
                seeds.map(one).collect::<Vec<_>>()
            })
        });
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let seeds = |wanted: End, is: fn(&Fault) -> bool| -> Vec<u64> {
        ends.iter().filter(|(_, end, fault)| *end == wanted && is(fault)).map(|(seed, ..)| *seed).collect()
    };
    let (healthy, bad) = (|fault: &Fault| *fault == Fault::Nothing, |fault: &Fault| *fault != Fault::Nothing);
    let (completed, false_alarms) = (seeds(End::Completed, healthy), seeds(End::Stopped, healthy));
    // A fault may begin when it is over: an operator has advanced, or the canary looked good.
    let (late, found) = (seeds(End::Completed, bad), seeds(End::Stopped, bad));
    println!(
        "healthy: {} completed, {false_alarms:?} stopped; bad: {} stopped, {} began too late to be met",
        completed.len(),
        found.len(),
        late.len()
    );
    assert!(false_alarms.len() * 50 <= completed.len(), "false alarms: seeds {false_alarms:?}");
    assert!(found.len() as u64 > SEEDS / 3 && completed.len() as u64 > SEEDS / 4, "the seeds try both");
}
