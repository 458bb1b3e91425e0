//! A subject: dial, ledgers and judge of one rollout, and the inline decision.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dial::{Dial, Word};
use super::first::FirstAnswers;
use super::ledger::{Counted, Ledger, NOTHING_WAITS, Tally, Track};
use super::set::SharedSet;
use super::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering, fence};
use super::witness::{Failed, RouteErrors, Witness};
use crate::decide::bucket::{Bucket, Share};
use crate::decide::guard::{Breach, Enforcement, GuardPlan, Judge, JudgeMemory, Report, StageCounts, StageRule};
use crate::decide::time::Moment;

/// What a subject is made of.
#[derive(Clone, Copy, Debug)]
pub struct SubjectPlan {
    /// The share of its first stage.
    pub share: Share,
    /// The rule of its first stage.
    pub rule: StageRule,
    /// The guard, for its whole life.
    pub guard: GuardPlan,
    /// How many times the dial can be turned, the first share included.
    pub epochs: usize,
    /// How many workers record.
    pub workers: usize,
    /// Whether a verdict closes the dial; else it only stands, and a person decides.
    pub closes: bool,
    /// Whether the first answer of each user is watched: for stages that end early.
    pub watches_first: bool,
}

/// What a subject has to remember over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    epoch: u32,
    /// Stable and canary in each epoch.
    counts: Vec<[Tally; 2]>,
    judge: JudgeMemory,
}

/// What an exchange said about its track.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// When.
    pub at: Moment,
    /// The dial's word under which the request was assigned.
    pub word: Word,
    /// The track it was assigned to.
    pub track: Track,
    /// The user's drawn bucket; `None` where the user has none.
    pub bucket: Option<Bucket>,
    /// What it said.
    pub verdict: Recorded,
}

/// What is recorded of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A request that went well.
    Success,
    /// A request that went wrong.
    Error,
    /// A long stream, recorded as a success before, broke off: an error, not a request.
    LateError,
}

/// Why the dial was not turned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NotTurned {
    /// A verdict came first.
    Breach(Breach),
    /// It is closed, or somebody turned it meanwhile.
    Changed(Word),
}

/// What a running rollout is about.
pub struct Subject {
    dial: Dial,
    ledgers: Box<[Ledger]>,
    judge: Mutex<Judge>,
    /// Buckets of which a further error on stable changes nothing.
    exhausted: SharedSet,
    /// Buckets whose successes the limit does not watch any more.
    unwatched: SharedSet,
    /// The last epoch in which a success can no longer be a breach.
    settled: AtomicU32,
    /// The plain rule's `minRequests` in this stage.
    min_requests: AtomicU64,
    slow: Option<Slow>,
    closes: bool,
    /// Canary errors that stable answered, and those of them that stable could not either.
    shielded: [AtomicU64; 2],
    witness: Witness,
    first: Option<FirstAnswers>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// What workers know of slow answers; the judge's knowledge is the truth.
struct Slow {
    /// What is slow, in microseconds; [`UNKNOWN`] before that is known.
    after: AtomicU64,
    /// Slow answers count from this moment on, in microseconds.
    warm_at: AtomicU64,
    /// Buckets of which a further slow answer changes nothing.
    exhausted: SharedSet,
}

const UNKNOWN: u64 = u64::MAX;

impl Slow {
    fn new() -> Self {
        Self { after: AtomicU64::new(UNKNOWN), warm_at: AtomicU64::new(0), exhausted: SharedSet::empty() }
    }

    fn copy(&self, judge: &Judge) {
        self.exhausted.copy(judge.exhausted_slow());
        self.copy_threshold(judge);
    }

    fn copy_threshold(&self, judge: &Judge) {
        let micros = judge.threshold().map_or(UNKNOWN, |after| u64::try_from(after.as_micros()).unwrap_or(UNKNOWN));
        self.after.store(micros, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("dial", &self.dial.load()).finish_non_exhaustive()
    }
}

impl Subject {
    /// A subject in its first stage. `wake` is called when a verdict has closed the
    /// dial, on the thread that recorded the last outcome: it must not block.
    pub fn new(plan: SubjectPlan, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let dial = Dial::new(plan.share);
        let judge = Judge::new(plan.guard, plan.rule, dial.load().epoch());
        let subject = Self {
            ledgers: (0..plan.workers.max(1)).map(|_| Ledger::new(plan.epochs)).collect(),
            exhausted: SharedSet::empty(),
            unwatched: SharedSet::empty(),
            settled: AtomicU32::new(0),
            min_requests: AtomicU64::new(plan.rule.min_requests),
            judge: Mutex::new(judge),
            slow: (plan.guard.latency != Enforcement::Off).then(Slow::new),
            dial,
            shielded: [AtomicU64::new(0), AtomicU64::new(0)],
            closes: plan.closes,
            witness: Witness::default(),
            first: plan.watches_first.then(FirstAnswers::new),
            wake: Box::new(wake),
        };
        subject.begin_with(&subject.judge());
        subject
    }

    /// A subject that goes on where another process left it; `None` where the memory is
    /// not of such a subject. First answers are watched anew.
    pub fn recall(plan: SubjectPlan, memory: Memory, wake: impl Fn() + Send + Sync + 'static) -> Option<Self> {
        let judge = Judge::recall(plan.guard, plan.rule, memory.judge)?;
        let mut subject = Self::new(plan, wake);
        subject.dial = Dial::in_epoch(memory.epoch, plan.share);
        for (epoch, counts) in (1..).zip(&memory.counts) {
            subject.ledgers[0].restore(epoch, *counts);
        }
        subject.settled = AtomicU32::new(0);
        subject.begin_with(&judge);
        subject.judge = Mutex::new(judge);
        Some(subject)
    }

    /// What has to be remembered; a few outcomes may be in the counts and not yet in
    /// the judge, or the other way round.
    pub fn memory(&self) -> Memory {
        let judge = self.judge().memory();
        let epoch = self.word().epoch();
        let tally = |epoch, track| self.sum(|ledger| ledger.tally(epoch, track));
        let counts = (1..=epoch).map(|epoch| Track::BOTH.map(|track| tally(epoch, track))).collect();
        Memory { epoch, counts, judge }
    }

    /// The dial, to read.
    pub fn word(&self) -> Word {
        self.dial.load()
    }

    /// The ledger of a worker.
    pub fn ledger(&self, worker: usize) -> &Ledger {
        &self.ledgers[worker % self.ledgers.len()]
    }

    /// Records an outcome; the one that proves a breach closes the dial before this
    /// returns. Only the worker with this number may call it.
    pub fn record(&self, worker: usize, outcome: Outcome) {
        let Outcome { word, track, bucket, verdict, .. } = outcome;
        let canary = track == Track::Canary;
        let error = verdict != Recorded::Success;
        let watched = canary && !error && bucket.is_none_or(|bucket| !self.unwatched.contains(bucket));
        let counts = Counted { request: verdict != Recorded::LateError, error, watched };
        self.ledger(worker).add(word.epoch(), track, counts);
        if let (true, Some(first), Some(bucket)) = (canary && counts.request, &self.first, bucket) {
            first.record(word.epoch(), bucket, error);
        }
        if error {
            if self.could_count(canary, bucket) {
                self.judge_error(outcome);
            }
        } else if canary && word.epoch() > self.settled.load(Ordering::Relaxed) {
            self.judge_success(outcome);
        }
    }

    /// Whether slow answers of both tracks are of interest.
    pub fn compares_latency(&self) -> bool {
        self.slow.is_some()
    }

    /// What is slow now; `None` while that is not known, of no interest, or not counted yet.
    pub fn slow_after(&self, now: Moment) -> Option<Duration> {
        let slow = self.slow.as_ref()?;
        let after = slow.after.load(Ordering::Relaxed);
        let warm = now.as_micros() >= slow.warm_at.load(Ordering::Relaxed);
        (after != UNKNOWN && warm).then(|| Duration::from_micros(after))
    }

    /// Records that a request has taken longer than that; once a request, when it happens.
    pub fn record_slow(&self, outcome: Outcome) {
        let (Some(slow), Some(bucket)) = (&self.slow, outcome.bucket) else { return };
        if slow.exhausted.contains(bucket) {
            return;
        }
        let mut judge = self.judge();
        let window = judge.latency().window();
        let before = Alarms::of(&judge);
        judge.slow(report(outcome));
        self.carry_out(&before, &judge);
        if judge.latency().window() == window {
            slow.exhausted.copy_word(judge.exhausted_slow(), bucket);
        } else {
            slow.copy(&judge);
        }
    }

    /// Slow answers count from this moment on: a new version may need to get warm.
    pub fn warm_at(&self, moment: Moment) {
        if let Some(slow) = &self.slow {
            slow.warm_at.store(moment.as_micros(), Ordering::Relaxed);
        }
    }

    /// Says what is slow in a window of the latency guard (see [`Judge::wants_threshold`]).
    pub fn set_threshold(&self, window: u32, threshold: Duration) {
        if let Some(slow) = &self.slow {
            let mut judge = self.judge();
            judge.set_threshold(window, threshold);
            slow.copy_threshold(&judge);
        }
    }

    /// An error of stable is only of interest to the comparison, and there once a bucket.
    fn could_count(&self, canary: bool, bucket: Option<Bucket>) -> bool {
        canary || bucket.is_some_and(|bucket| !self.exhausted.contains(bucket))
    }

    fn judge_error(&self, outcome: Outcome) {
        let report = report(outcome);
        let mut judge = self.judge();
        let windows = (judge.comparison().window(), judge.limit().window());
        let before = Alarms::of(&judge);
        judge.error(report, self.stage_counts(report.epoch));
        self.carry_out(&before, &judge);
        match report.bucket {
            _ if windows != (judge.comparison().window(), judge.limit().window()) => self.copy_sets(&judge),
            Some(bucket) => {
                self.exhausted.copy_word(judge.exhausted(), bucket);
                self.unwatched.copy_word(judge.unwatched(), bucket);
            }
            None => {}
        }
    }

    /// Until `minRequests` is reached: the success that reaches it may show too many
    /// errors before it.
    fn judge_success(&self, outcome: Outcome) {
        let epoch = outcome.word.epoch();
        // Two workers may each record the last missing success: with the fence one of
        // them at least sees both.
        fence(Ordering::SeqCst);
        let counts = self.stage_counts(epoch);
        if counts.requests < self.min_requests.load(Ordering::Relaxed) {
            return;
        }
        let mut judge = self.judge();
        if judge.epoch() == epoch && counts.requests >= judge.rule().min_requests {
            let before = Alarms::of(&judge);
            judge.success(report(outcome), counts);
            self.settled.store(epoch, Ordering::Relaxed);
            self.carry_out(&before, &judge);
        }
    }

    fn carry_out(&self, before: &Alarms, judge: &Judge) {
        let now = Alarms::of(judge);
        if now == *before || self.dial.load().closed() {
            return;
        }
        if now.verdict && self.closes {
            self.dial.close();
        }
        (self.wake)();
    }

    /// Turns the dial and begins a stage. The lock makes a verdict come first.
    ///
    /// # Errors
    /// A verdict, or a dial that is no longer at `from`.
    pub fn turn(&self, from: Word, share: Share, rule: StageRule) -> Result<Word, NotTurned> {
        let mut judge = self.judge();
        if let Some(breach) = judge.verdict() {
            return Err(NotTurned::Breach(breach));
        }
        // Before the turn: the first outcomes of the new epoch find it in place.
        self.min_requests.store(rule.min_requests, Ordering::Relaxed);
        let word = self.dial.turn(from, share).map_err(NotTurned::Changed)?;
        judge.begin_stage(rule, word.epoch());
        self.begin_with(&judge);
        if let Some(first) = &self.first {
            first.begin(word.epoch());
        }
        Ok(word)
    }

    /// Turns the dial to everybody whatever the verdict says: a person has overruled it.
    ///
    /// # Errors
    /// Where the dial is closed.
    pub fn overrule(&self) -> Result<Word, NotTurned> {
        // With the lock no other turn comes between the look and the swap.
        let _judge = self.judge();
        self.dial.turn(self.dial.load(), Share::EVERYBODY).map_err(NotTurned::Changed)
    }

    /// Whether the canary is shown to be good in this stage: the error rate of its answers,
    /// and of users' first answers, is below the stage's limit, and the comparison has
    /// nothing against it (guard/README.md 4).
    pub fn is_safe(&self) -> bool {
        let Some(first) = &self.first else { return false };
        let judge = self.judge();
        let limit = judge.rule().max_error_rate.get();
        first.is_safe(limit) && judge.comparison().evidence() < 1.0
    }

    fn begin_with(&self, judge: &Judge) {
        self.copy_sets(judge);
        if let Some(slow) = &self.slow {
            slow.copy(judge);
        }
        if judge.limit_rules() {
            self.settled.store(judge.epoch(), Ordering::Relaxed);
        }
    }

    fn copy_sets(&self, judge: &Judge) {
        self.exhausted.copy(judge.exhausted());
        self.unwatched.copy(judge.unwatched());
    }

    /// A canary error was tried on stable, and perhaps failed there too.
    pub fn count_shielded(&self, failed_too: bool) {
        self.shielded[0].fetch_add(1, Ordering::Relaxed);
        self.shielded[1].fetch_add(u64::from(failed_too), Ordering::Relaxed);
    }

    /// How many canary errors were tried on stable, and how many of them failed there too.
    pub fn shielded(&self) -> (u64, u64) {
        (self.shielded[0].load(Ordering::Relaxed), self.shielded[1].load(Ordering::Relaxed))
    }

    /// Closes the dial: a rollback. Needs no lock and cannot fail.
    pub fn close(&self) -> Word {
        self.dial.close()
    }

    /// The canary's counts of an epoch, over all workers.
    pub fn stage_counts(&self, epoch: u32) -> StageCounts {
        let tally = self.sum(|ledger| ledger.tally(epoch, Track::Canary));
        StageCounts { requests: tally.requests, errors: tally.errors, watched: tally.watched }
    }

    /// A track's counts of an epoch.
    pub fn tally(&self, epoch: u32, track: Track) -> Tally {
        self.sum(|ledger| ledger.tally(epoch, track))
    }

    /// Remembers where the canary has failed.
    pub fn saw(&self, failed: Failed<'_>) {
        self.witness.saw(failed);
    }

    /// The routes on which the canary failed most, and the ids of some requests.
    pub fn failures(&self, most: usize) -> (Vec<RouteErrors>, Vec<String>) {
        self.witness.tells(most)
    }

    /// A track's counts over the whole deployment.
    pub fn total(&self, track: Track) -> Tally {
        self.sum(|ledger| ledger.total(track))
    }

    fn sum(&self, of: impl Fn(&Ledger) -> Tally) -> Tally {
        let mut sum = Tally::default();
        for ledger in &self.ledgers {
            sum += of(ledger);
        }
        sum
    }

    /// Since when the canary request that waits longest for its answer waits, in
    /// microseconds of the shell's clock.
    pub fn oldest_waiting(&self) -> Option<u64> {
        self.ledgers.iter().map(Ledger::oldest).min().filter(|oldest| *oldest != NOTHING_WAITS)
    }

    /// The judge, locked. Workers wait for it: look and let go.
    pub fn judge(&self) -> MutexGuard<'_, Judge> {
        // A thread that panicked while it held the lock left a judge that was whole
        // before its call; going on with it beats losing the guard.
        self.judge.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What somebody has to be woken for.
#[derive(PartialEq, Eq)]
struct Alarms {
    verdict: bool,
    observed: [bool; 2],
}

impl Alarms {
    fn of(judge: &Judge) -> Self {
        Self { verdict: judge.verdict().is_some(), observed: judge.observed().map(|found| found.is_some()) }
    }
}

fn report(outcome: Outcome) -> Report {
    Report {
        at: outcome.at,
        canary: outcome.track == Track::Canary,
        bucket: outcome.bucket,
        share: outcome.word.share(),
        epoch: outcome.word.epoch(),
    }
}
