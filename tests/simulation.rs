//! The deciding core in virtual time: rollouts of many deployments in seconds.
//!
//! Drives the real dial, ledgers, judge and state machine with made-up users. A
//! seed drives everything; a failing one is printed.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use serin::decide::bucket::{Salt, Share};
use serin::decide::guard::GuardPlan;
use serin::decide::rollout::{Cause, Conduct, Effect, Event, Plan, Readings, Stages, State, step};
use serin::decide::time::Moment;
use serin::subject::{NotTurned, Outcome, Recorded, Subject, SubjectPlan, Track};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn chance(&mut self, probability: f64) -> bool {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64 <= probability
    }
}

struct World {
    subject: Subject,
    plan: Plan,
    state: State,
    salt: Salt,
    now: Moment,
    canary_requests: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let plan = Plan { stages: Stages::of_the_guide(), bake: Duration::from_secs(600), conduct: Conduct::default() };
        let first = plan.stages.as_slice()[0];
        let subject = SubjectPlan {
            share: first.share,
            rule: first.rule(),
            guard: GuardPlan::default(),
            epochs: plan.stages.as_slice().len() + 2,
            workers: 2,
            closes: true,
            watches_first: false,
        };
        Self {
            subject: Subject::new(subject, || ()),
            state: State::started(Moment::ORIGIN),
            plan,
            salt: Salt::deployment(&format!("sim-{seed}")),
            now: Moment::ORIGIN,
            canary_requests: 0,
        }
    }

    fn request(&mut self, user: u64, fails: impl FnOnce(Track) -> bool) {
        let word = self.subject.word();
        let bucket = self.salt.bucket(&format!("user-{user}"));
        let track = if word.reaches(bucket) { Track::Canary } else { Track::Stable };
        self.canary_requests += u64::from(track == Track::Canary);
        let verdict = if fails(track) { Recorded::Error } else { Recorded::Success };
        let outcome = Outcome { at: self.now, word, track, bucket: Some(bucket), verdict };
        self.subject.record(user as usize, outcome);
    }

    /// Lets time pass and the machine decide; what control does, without threads.
    fn tick(&mut self) {
        loop {
            let verdict = self.subject.judge().verdict();
            let counts = self.subject.stage_counts(self.subject.word().epoch());
            let event = verdict.map_or(Event::Tick(Readings { counts, ..Readings::default() }), Event::Breach);
            let next = step(&self.plan, &self.state, event, self.now).unwrap();
            for effect in &next.effects {
                match effect {
                    Effect::Turn { share, rule } => match self.subject.turn(self.subject.word(), *share, *rule) {
                        Ok(_) => {}
                        Err(NotTurned::Breach(_)) => break,
                        Err(NotTurned::Changed(word)) => panic!("nobody else turns: {word:?}"),
                    },
                    Effect::Close => drop(self.subject.close()),
                    _ => {}
                }
            }
            let moved = !next.effects.is_empty();
            self.state = next.state;
            if !moved || self.state.ended() {
                return;
            }
        }
    }

    /// A rollout to its end, at this many requests a second.
    fn run(&mut self, random: &mut Random, rate: u64, users: u64, fails: impl Fn(&mut Random, Track) -> bool) {
        for second in 1..=4_000 {
            for _ in 0..rate {
                let user = random.next() % users;
                self.request(user, |track| fails(random, track));
                if self.subject.word().closed() {
                    break;
                }
            }
            self.now = Moment::from_micros(second * 1_000_000);
            self.tick();
            if self.state.ended() {
                return;
            }
        }
        panic!("the rollout did not end: {:?}", self.state);
    }

    fn rolled_back(&self) -> Option<&Cause> {
        match &self.state {
            State::RolledBack { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

#[test]
fn an_unchanged_version_is_rolled_back_in_at_most_one_of_a_hundred_rollouts() {
    const ROLLOUTS: u64 = 300;
    let mut false_alarms = Vec::new();
    for seed in 0..ROLLOUTS {
        let (mut world, mut random) = (World::new(seed), Random(seed));
        world.run(&mut random, 100, 50_000, |random, _| random.chance(0.005));
        false_alarms.extend(world.rolled_back().map(|cause| (seed, cause.clone())));
    }
    assert!(false_alarms.len() as u64 * 100 <= ROLLOUTS, "{false_alarms:?}");
}

#[test]
fn a_canary_that_fails_everything_costs_four_users_an_answer() {
    for seed in 0..100 {
        let (mut world, mut random) = (World::new(seed), Random(seed ^ 0xBAD));
        world.run(&mut random, 1_000, 1_000_000, |random, track| track == Track::Canary || random.chance(0.001));
        assert!(world.rolled_back().is_some(), "seed {seed}");
        assert!(world.canary_requests <= 5, "seed {seed}: {} canary requests", world.canary_requests);
    }
}

#[test]
fn a_canary_ten_times_worse_is_caught_early() {
    let mut costs: Vec<u64> = (0..60)
        .map(|seed| {
            let (mut world, mut random) = (World::new(seed), Random(seed ^ 0x10));
            world.run(&mut random, 1_000, 1_000_000, |random, track| {
                random.chance(if track == Track::Canary { 0.1 } else { 0.01 })
            });
            assert!(world.rolled_back().is_some(), "seed {seed}");
            world.canary_requests
        })
        .collect();
    costs.sort_unstable();
    // The definition's own simulation: a median of 65 with the comparison alone.
    assert!((40..=95).contains(&costs[costs.len() / 2]), "{costs:?}");
}

#[test]
fn users_on_the_canary_stay_there_until_the_end() {
    let mut world = World::new(7);
    let bucket = |user: u64| world.salt.bucket(&format!("user-{user}"));
    let buckets: Vec<_> = (0..2_000).map(bucket).collect();
    let mut before = vec![false; buckets.len()];
    let mut share = Share::NOBODY;
    let mut random = Random(7);
    while !world.state.ended() {
        for _ in 0..1_000 {
            let user = random.next() % 50_000;
            world.request(user, |_| false);
        }
        world.now = world.now + Duration::from_secs(10);
        world.tick();
        let word = world.subject.word();
        assert!(word.share() >= share);
        share = word.share();
        for (place, bucket) in before.iter_mut().zip(&buckets) {
            assert!(!*place || word.reaches(*bucket));
            *place = word.reaches(*bucket);
        }
    }
    assert_eq!((&world.state, share), (&State::Completed, Share::EVERYBODY));
}
