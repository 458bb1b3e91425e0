//! Is the canary's error rate above its limit? The guide's `maxErrorRate` with evidence.
//!
//! Each user (bucket) is watched until the first error in a window and no more
//! after it. Counting every response instead fails as soon as users come in
//! sessions. It rests on a model, as there is nothing to compare with: that
//! users come in mixed order.

use serde::{Deserialize, Serialize};

use super::bets::{Bets, BetsMemory, weight};
use super::plan::{Alpha, Rate};
use super::window::{BucketSet, Window, WindowMemory};
use crate::decide::bucket::Bucket;

/// The bets: error rates as multiples of the limit.
const WORSE: [f64; 6] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
/// No bet is on a higher rate.
const RATE_MAX: f64 = 0.95;

/// The limit with evidence, for one stage.
#[derive(Clone, Debug)]
pub struct Limit {
    limit: Rate,
    alpha: Alpha,
    /// The first `bets` are above the limit.
    rates: [f64; WORSE.len()],
    sides: usize,
    number: u32,
    window: Window,
    bets: Bets<{ WORSE.len() }>,
    successes: u64,
    fired: bool,
}

/// What a limit has to remember over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LimitMemory {
    number: u32,
    window: WindowMemory,
    bets: BetsMemory,
    successes: u64,
    fired: bool,
}

impl Limit {
    pub(super) fn memory(&self) -> LimitMemory {
        LimitMemory {
            number: self.number,
            window: self.window.memory(),
            bets: self.bets.memory(),
            successes: self.successes,
            fired: self.fired,
        }
    }

    pub(super) fn recall(limit: Rate, alpha: Alpha, memory: LimitMemory) -> Option<Self> {
        let new = Self::new(limit, alpha, memory.number.max(1));
        Some(Self {
            bets: Bets::recall(new.sides.max(1), &memory.bets)?,
            window: Window::recall(memory.window),
            successes: memory.successes,
            fired: memory.fired,
            ..new
        })
    }
}

impl Limit {
    /// No answer yet, in this window (from 1).
    pub fn new(limit: Rate, alpha: Alpha, number: u32) -> Self {
        let mut rates = [0.0; WORSE.len()];
        let above = WORSE.iter().map(|worse| (limit.get() * worse).min(RATE_MAX)).filter(|rate| *rate > limit.get());
        let sides = above.zip(&mut rates).map(|(rate, place)| *place = rate).count();
        Self {
            limit,
            alpha,
            rates,
            sides,
            number,
            window: Window::new(),
            bets: Bets::new(sides.max(1)),
            successes: 0,
            fired: false,
        }
    }

    /// Answers that were no errors, of this bucket or of users without one.
    pub fn success(&mut self, bucket: Option<Bucket>, times: u64) {
        if bucket.is_none_or(|bucket| !self.window.used().contains(bucket)) {
            self.successes += times;
        }
    }

    /// An answer that was an error; without a bucket it always counts. True when it counted.
    pub fn error(&mut self, bucket: Option<Bucket>) -> bool {
        if self.fired {
            return false;
        }
        let counted = bucket.is_none_or(|bucket| self.window.take(bucket));
        if counted {
            self.count();
        }
        if self.window.over() && !self.fired {
            *self = Self::new(self.limit, self.alpha, self.number + 1);
        }
        counted
    }

    fn count(&mut self) {
        if self.limit.get() == 0.0 {
            // Any error breaks a limit of nothing: no evidence is needed.
            self.fired = true;
            return;
        }
        if self.sides == 0 {
            return;
        }
        let (limit, successes) = (self.limit.get(), self.successes as f64);
        let rates = self.rates;
        self.bets.play(|side| {
            let rate = rates[side];
            ((rate / limit).ln() + successes * ((-rate).ln_1p() - (-limit).ln_1p())).exp()
        });
        self.successes = 0;
        self.fired = self.evidence() >= self.bound();
    }

    /// Proven, for good.
    pub fn fired(&self) -> bool {
        self.fired
    }

    /// What a bet of 1 has become, with this window's weight.
    pub fn evidence(&self) -> f64 {
        self.bets.capital() * weight(self.number)
    }

    /// The evidence at which it fires.
    pub fn bound(&self) -> f64 {
        self.alpha.bound()
    }

    /// The number of the window in this deployment.
    pub fn window(&self) -> u32 {
        self.number
    }

    /// Users (buckets) whose error counted in this window.
    pub fn counted(&self) -> u32 {
        self.window.count()
    }

    /// The limit itself.
    pub fn limit(&self) -> Rate {
        self.limit
    }

    /// The buckets that are not watched any more in this window.
    pub fn unwatched(&self) -> &BucketSet {
        self.window.used()
    }
}
