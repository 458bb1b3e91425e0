//! One rollout in virtual time: who asks, what the tracks answer, what is decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::decide::bucket::{Bucket, Salt, Share};
use crate::decide::guard::GuardPlan;
use crate::decide::rollout::{Cause, Effect, Event, Milestone, Plan, Refused, State};
use crate::decide::time::Moment;
use crate::rollout::{CheckpointRecord, RecentLatency, Rollout, Terms, Written};
use crate::store::DecisionRecord;
use crate::subject::{Outcome, Recorded, Tally, Track, Word};
use crate::telemetry::LocalLatency;

/// How often latencies reach the merged histogram, as in the proxy.
const FLUSH: Duration = Duration::from_millis(250);

/// The longest that users wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a world begins with.
#[derive(Clone, Debug)]
pub struct WorldPlan {
    /// The rollout.
    pub plan: Plan,
    /// Its guard.
    pub guard: GuardPlan,
    /// Its id: the users' buckets are drawn for it.
    pub id: String,
    /// Whether answers take their time: what is decided then rests on what has ended.
    pub in_flight: bool,
}

/// How a request was served.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// It was an error.
    pub error: bool,
    /// To the head of the answer.
    pub latency: Duration,
}

/// Something in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Moment,
    /// Tells apart what happens at the same moment: first come, first served.
    number: u64,
    slow: bool,
    error: bool,
    bucket: u16,
    canary: bool,
}

/// A rollout in virtual time.
pub struct World {
    run: Rollout,
    terms: Terms,
    /// What is on disk.
    written: Option<Written>,
    checkpoint: Option<CheckpointRecord>,
    salt: Salt,
    now: Moment,
    /// When the machine wants to look.
    look: Option<Moment>,
    woken: Arc<AtomicBool>,
    due: BinaryHeap<Reverse<(Due, WordOf)>>,
    number: u64,
    in_flight: bool,
    latency: LocalLatency,
    flush: Moment,
    told: Vec<(Moment, Milestone)>,
}

fn wake(woken: &Arc<AtomicBool>) -> impl Fn() + Clone + Send + Sync + 'static {
    let woken = Arc::clone(woken);
    move || woken.store(true, Ordering::Relaxed)
}

/// A word in the heap; its order says nothing.
#[derive(Clone, Copy, Debug)]
struct WordOf(Word);

impl PartialEq for WordOf {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for WordOf {}

impl PartialOrd for WordOf {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for WordOf {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl World {
    /// A rollout that starts now, at the origin of its time.
    pub fn new(plan: WorldPlan) -> Self {
        let woken = Arc::new(AtomicBool::new(false));
        let wake = wake(&woken);
        let recent = RecentLatency::default();
        let now = Moment::ORIGIN;
        let terms = Terms { plan: plan.plan, guard: plan.guard, workers: 1, abandon_after: PATIENCE };
        let run = Rollout::start(terms.clone(), &recent, now, wake);
        let look = run.look_again(now);
        Self {
            written: run.written(),
            terms,
            checkpoint: None,
            run,
            salt: Salt::deployment(&plan.id),
            now,
            look,
            woken,
            due: BinaryHeap::new(),
            number: 0,
            in_flight: plan.in_flight,
            latency: LocalLatency::default(),
            flush: now + FLUSH,
            told: Vec::new(),
        }
    }

    /// What time it is.
    pub fn now(&self) -> Moment {
        self.now
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.run.state
    }

    /// The share of users on the canary now.
    pub fn share(&self) -> Share {
        self.run.subject.word().share()
    }

    /// The bucket of an id in this rollout.
    pub fn bucket(&self, id: &str) -> Bucket {
        self.salt.bucket(id)
    }

    /// The counts of a track.
    pub fn total(&self, track: Track) -> Tally {
        self.run.subject.total(track)
    }

    /// Why it was rolled back.
    pub fn cause(&self) -> Option<&Cause> {
        match &self.run.state {
            State::RolledBack { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// The verdict, explained.
    pub fn decision(&self) -> Option<&DecisionRecord> {
        self.run.decision.as_ref()
    }

    /// What happened, and when.
    pub fn told(&self) -> &[(Moment, Milestone)] {
        &self.told
    }

    /// How many requests wait for their answers.
    pub fn under_way(&self) -> usize {
        self.due.iter().filter(|Reverse((due, _))| !due.slow).count()
    }

    /// The subject, to look at.
    pub fn subject(&self) -> &crate::subject::Subject {
        &self.run.subject
    }

    /// Lets time pass until then: answers end, stages end. Earlier moments change nothing.
    pub fn pass(&mut self, until: Moment) {
        while let Some(at) = self.next_event().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            while let Some(Reverse((due, WordOf(word)))) = self.due.peek().copied()
                && due.at <= self.now
            {
                self.due.pop();
                self.ends(due, word);
            }
            if self.now >= self.flush {
                self.latency.flush([&**self.run.stable_window()]);
                self.run.look_at_latencies();
                self.flush = self.now + FLUSH;
            }
            if self.look.is_some_and(|look| look <= self.now) {
                self.tick();
            }
        }
        self.now = self.now.max(until);
    }

    /// What is under way ends; nobody asks any more.
    pub fn settle(&mut self) {
        while let Some(Reverse((due, _))) = self.due.peek()
            && !self.run.state.ended()
        {
            let until = due.at;
            self.pass(until);
        }
    }

    fn next_event(&self) -> Option<Moment> {
        let due = self.due.peek().map(|Reverse((due, _))| due.at);
        [due, Some(self.flush), self.look].into_iter().flatten().min()
    }

    fn ends(&mut self, due: Due, word: Word) {
        let track = if due.canary { Track::Canary } else { Track::Stable };
        let verdict = if due.error { Recorded::Error } else { Recorded::Success };
        // Buckets in the heap come from buckets.
        let outcome = Outcome { at: self.now, word, track, bucket: Bucket::new(due.bucket), verdict };
        if due.slow {
            self.run.subject.record_slow(outcome);
        } else {
            self.run.subject.record(0, outcome);
        }
        if self.woken.swap(false, Ordering::Relaxed) {
            self.tick();
        }
    }

    fn tick(&mut self) {
        loop {
            let effects = self.run.tick(self.now);
            if self.follow(&effects) {
                break;
            }
        }
        self.look = self.run.look_again(self.now);
    }

    /// Whether nothing more will happen at this moment.
    fn follow(&mut self, effects: &[Effect]) -> bool {
        self.told.extend(effects.iter().filter_map(|effect| match effect {
            Effect::Tell(milestone) => Some((self.now, *milestone)),
            _ => None,
        }));
        if effects.contains(&Effect::Persist) {
            self.written = self.run.written();
        }
        effects.is_empty() || self.run.state.ended()
    }

    /// Counts and evidence are written down, as the proxy does each second.
    pub fn write_checkpoint(&mut self) {
        self.checkpoint = self.run.checkpoint(self.now);
    }

    /// The process dies, with all that is under way, and another one goes on with what
    /// is on disk, after a while; whether there was something to go on with.
    pub fn restart(&mut self, after: Duration) -> bool {
        self.due.clear();
        self.latency = LocalLatency::default();
        self.now = self.now + after;
        let Some(written) = self.written else { return false };
        let wake = wake(&self.woken);
        let (terms, recent) = (self.terms.clone(), RecentLatency::default());
        self.run = Rollout::resume(terms, &recent, written, self.checkpoint.as_ref(), self.now, wake);
        self.flush = self.now + FLUSH;
        // A verdict that was remembered is carried out before the first request.
        self.tick();
        true
    }

    /// Somebody asks something of the rollout now.
    ///
    /// # Errors
    /// A verb that makes no sense now.
    pub fn command(&mut self, event: Event) -> Result<(), Refused> {
        let effects = self.run.happen(event, self.now)?;
        if !self.follow(&effects) {
            self.tick();
        }
        Ok(())
    }

    /// A request of a user with this bucket comes now; `serve` says how its track serves it.
    pub fn request(&mut self, bucket: Bucket, serve: impl FnOnce(Track) -> Served) -> Track {
        let word = self.run.subject.word();
        let track = if word.reaches(bucket) { Track::Canary } else { Track::Stable };
        let Served { error, latency } = serve(track);
        if track == Track::Stable {
            self.latency.record(latency);
        }
        self.number += 1;
        let ended = Due {
            at: if self.in_flight { self.now + latency } else { self.now },
            number: self.number,
            slow: false,
            error,
            bucket: bucket.number(),
            canary: track == Track::Canary,
        };
        // It is slow the moment it passes the threshold; an error that comes first is not slow, too.
        if let Some(after) = self.run.subject.slow_after(self.now).filter(|after| latency > *after && !error) {
            let at = if self.in_flight { self.now + after } else { self.now };
            self.later(Due { at, slow: true, ..ended }, word);
        }
        self.later(ended, word);
        track
    }

    fn later(&mut self, due: Due, word: Word) {
        if due.at <= self.now {
            self.ends(due, word);
        } else {
            self.due.push(Reverse((due, WordOf(word))));
        }
    }
}
