//! The first answer of each user in a stage, for stages that end early.
//!
//! Workers write without a lock. An answer that is recorded while a stage begins may
//! be counted in either: one answer proves nothing.

use super::set::SharedSet;
use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::decide::bucket::Bucket;
use crate::decide::guard::{SAFE, safety};

#[derive(Debug)]
pub(super) struct FirstAnswers {
    epoch: AtomicU32,
    seen: SharedSet,
    first: Counts,
    all: Counts,
}

#[derive(Debug)]
struct Counts {
    errors: AtomicU64,
    successes: AtomicU64,
}

impl Counts {
    fn new() -> Self {
        Self { errors: AtomicU64::new(0), successes: AtomicU64::new(0) }
    }

    fn add(&self, error: bool) {
        let counter = if error { &self.errors } else { &self.successes };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn clear(&self) {
        self.errors.store(0, Ordering::Relaxed);
        self.successes.store(0, Ordering::Relaxed);
    }

    fn shows(&self, limit: f64) -> bool {
        let (errors, successes) = (self.errors.load(Ordering::Relaxed), self.successes.load(Ordering::Relaxed));
        safety(limit, errors, successes) >= SAFE
    }
}

impl FirstAnswers {
    pub(super) fn new() -> Self {
        Self { epoch: AtomicU32::new(1), seen: SharedSet::empty(), first: Counts::new(), all: Counts::new() }
    }

    pub(super) fn begin(&self, epoch: u32) {
        self.seen.clear();
        self.first.clear();
        self.all.clear();
        self.epoch.store(epoch, Ordering::Relaxed);
    }

    pub(super) fn record(&self, epoch: u32, bucket: Bucket, error: bool) {
        if epoch != self.epoch.load(Ordering::Relaxed) {
            return;
        }
        self.all.add(error);
        if self.seen.insert(bucket) {
            self.first.add(error);
        }
    }

    /// `limit` is above 0 and below 1 where anything can be shown.
    pub(super) fn is_safe(&self, limit: f64) -> bool {
        limit > 0.0 && limit < 1.0 && self.all.shows(limit) && self.first.shows(limit)
    }
}
