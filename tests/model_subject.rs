//! A loom model of dial, ledgers and judge: every interleaving of a few threads
//! (at most three forced switches each), with the real source of `src/subject`.

#![allow(clippy::unwrap_used, missing_docs)]

mod decide {
    pub(crate) use serin::decide::*;
}

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

#[allow(dead_code, unreachable_pub)]
#[path = "../src/subject/dial.rs"]
mod dial;
#[path = "../src/subject/first.rs"]
mod first;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/subject/ledger.rs"]
mod ledger;
#[path = "../src/subject/set.rs"]
mod set;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/subject/subject.rs"]
mod subject;
#[allow(dead_code, unreachable_pub)]
#[path = "../src/subject/witness.rs"]
mod witness;

use std::sync::atomic::{AtomicUsize, Ordering};

use ledger::Track;
use loom::sync::Arc;
use loom::thread;
use serin::decide::bucket::{Bucket, Share};
use serin::decide::guard::{Enforcement, GuardPlan, Rate, StageRule};
use serin::decide::time::Moment;
use subject::{Outcome, Recorded, Subject, SubjectPlan};

fn share(points: u16) -> Share {
    Share::from_basis_points(points).unwrap()
}

fn rule(min_requests: u64) -> StageRule {
    StageRule { min_requests, max_error_rate: Rate::percent(50) }
}

/// Two workers; the comparison rests, so that the rate rule alone decides.
fn new_subject(min_requests: u64) -> Subject {
    let guard = GuardPlan { errors: Enforcement::Off, latency: Enforcement::Off, ..GuardPlan::default() };
    Subject::new(
        SubjectPlan {
            share: share(1_000),
            rule: rule(min_requests),
            guard,
            epochs: 3,
            workers: 2,
            closes: true,
            watches_first: false,
        },
        || (),
    )
}

fn canary(subject: &Subject, error: bool) -> Outcome {
    let verdict = if error { Recorded::Error } else { Recorded::Success };
    Outcome { at: Moment::ORIGIN, word: subject.word(), track: Track::Canary, bucket: Bucket::new(7), verdict }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(model);
}

#[test]
fn two_errors_at_once_are_both_counted_and_close_the_dial() {
    check(|| {
        let subject = Arc::new(new_subject(2));
        let other = Arc::clone(&subject);
        let outcome = canary(&subject, true);
        let thread = thread::spawn(move || other.record(1, outcome));
        subject.record(0, outcome);
        thread.join().unwrap();
        assert_eq!(subject.total(Track::Canary).errors, 2);
        assert!(subject.word().closed(), "two errors of two requests");
        assert!(subject.judge().verdict().is_some());
    });
}

#[test]
fn the_success_that_reaches_min_requests_is_seen_by_one_worker_at_least() {
    check(|| {
        let subject = Arc::new(new_subject(5));
        let outcome = |error| canary(&subject, error);
        (0..3).for_each(|_| subject.record(0, outcome(true)));
        assert!(!subject.word().closed(), "3 requests of 5");
        let (success, other) = (outcome(false), Arc::clone(&subject));
        let thread = thread::spawn(move || other.record(1, success));
        subject.record(0, success);
        thread.join().unwrap();
        assert!(subject.word().closed(), "3 errors of 5 requests are above half");
    });
}

#[test]
fn an_advance_that_races_a_rollback_loses() {
    check(|| {
        let subject = Arc::new(new_subject(100));
        let (before, other) = (subject.word(), Arc::clone(&subject));
        let thread = thread::spawn(move || other.close());
        let turned = subject.turn(before, share(5_000), rule(100));
        thread.join().unwrap();
        let now = subject.word();
        assert!(now.closed() && now.share() == Share::NOBODY, "{turned:?}");
        assert!(subject.turn(now, share(5_000), rule(100)).is_err());
    });
}

#[test]
fn an_advance_that_races_a_verdict_never_revives_the_canary() {
    check(|| {
        let subject = Arc::new(new_subject(1));
        let (before, other) = (subject.word(), Arc::clone(&subject));
        let outcome = canary(&subject, true);
        let thread = thread::spawn(move || other.record(1, outcome));
        let turned = subject.turn(before, share(5_000), rule(1));
        thread.join().unwrap();
        let tally = subject.stage_counts(1);
        assert_eq!((tally.requests, tally.errors), (1, 1), "charged to the epoch of its request");
        // Either the verdict came first, or the stage did, and the late error is no
        // evidence against the new one.
        assert_eq!(turned.is_err(), subject.word().closed());
        assert_eq!(turned.is_err(), subject.judge().verdict().is_some());
    });
}

#[test]
fn no_request_is_assigned_to_the_canary_after_the_rollback_is_published() {
    check(|| {
        let subject = Arc::new(new_subject(1));
        // What a client knows that was told of the rollback.
        let told = Arc::new(loom::sync::atomic::AtomicBool::new(false));
        let (other, tell) = (Arc::clone(&subject), Arc::clone(&told));
        let outcome = canary(&subject, true);
        let thread = thread::spawn(move || {
            other.record(1, outcome);
            tell.store(true, loom::sync::atomic::Ordering::Release);
        });
        if told.load(loom::sync::atomic::Ordering::Acquire) {
            assert!(!subject.word().reaches(Bucket::new(7).unwrap()));
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_verdict_wakes_control_once() {
    static WOKEN: AtomicUsize = AtomicUsize::new(0);
    check(|| {
        WOKEN.store(0, Ordering::SeqCst);
        let guard = GuardPlan { errors: Enforcement::Off, latency: Enforcement::Off, ..GuardPlan::default() };
        let plan = SubjectPlan {
            share: share(1_000),
            rule: rule(1),
            guard,
            epochs: 3,
            workers: 2,
            closes: true,
            watches_first: false,
        };
        let subject = Arc::new(Subject::new(plan, || {
            WOKEN.fetch_add(1, Ordering::SeqCst);
        }));
        let (outcome, other) = (canary(&subject, true), Arc::clone(&subject));
        let thread = thread::spawn(move || other.record(1, outcome));
        subject.record(0, outcome);
        thread.join().unwrap();
        assert_eq!(WOKEN.load(Ordering::SeqCst), 1);
    });
}
