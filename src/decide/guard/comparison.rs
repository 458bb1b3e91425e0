//! Does an event fall on canary users more often than the draw of the buckets explains?

use serde::{Deserialize, Serialize};

use super::bets::{Bets, BetsMemory, weight};
use super::plan::Alpha;
use super::safety::SAFE;
use super::window::{BucketSet, Window, WindowMemory};
use crate::decide::bucket::{Bucket, Share};

/// The bets: the canary's odds of an event, as multiples of stable's.
pub const ODDS: [f64; 8] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];
/// The grid of the statement "at most this many times stable".
pub const RATIOS: [f64; 10] = [0.125, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0];
/// Beyond this an exponential is not computed: it proves anything.
const EXPONENT_MAX: f64 = 700.0;

/// The sequential comparison of canary and stable.
///
/// A grid of odds rather than a beta mixture: the chance `q` differs from event
/// to event, so no mixture has a closed form; the grid is exact and one-sided.
#[derive(Clone, Debug)]
pub struct Comparison {
    alpha: Alpha,
    number: u32,
    window: Window,
    bets: Bets<{ ODDS.len() }>,
    canary: u32,
    norms: [f64; RATIOS.len()],
    fired: bool,
    /// Over all windows.
    highest: f64,
}

/// What a comparison has to remember over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ComparisonMemory {
    number: u32,
    window: WindowMemory,
    bets: BetsMemory,
    canary: u32,
    norms: Vec<f64>,
    fired: bool,
    #[serde(default)]
    highest: f64,
}

impl Comparison {
    pub(super) fn memory(&self) -> ComparisonMemory {
        ComparisonMemory {
            number: self.number,
            window: self.window.memory(),
            bets: self.bets.memory(),
            canary: self.canary,
            norms: self.norms.to_vec(),
            fired: self.fired,
            highest: self.highest,
        }
    }

    pub(super) fn recall(alpha: Alpha, memory: ComparisonMemory) -> Option<Self> {
        Some(Self {
            alpha,
            number: memory.number.max(1),
            bets: Bets::recall(ODDS.len(), &memory.bets)?,
            window: Window::recall(memory.window),
            canary: memory.canary,
            norms: memory.norms.try_into().ok()?,
            fired: memory.fired,
            highest: memory.highest,
        })
    }
}

impl Comparison {
    /// No event yet, in window 1.
    pub fn new(alpha: Alpha) -> Self {
        Self::in_window(alpha, 1)
    }

    /// No event yet, in this window (from 1).
    pub(super) fn in_window(alpha: Alpha, number: u32) -> Self {
        Self {
            alpha,
            number,
            window: Window::new(),
            bets: Bets::new(ODDS.len()),
            canary: 0,
            norms: [0.0; RATIOS.len()],
            fired: false,
            highest: 0.0,
        }
    }

    /// A new window begins: with each stage, and when one is over.
    pub fn roll(&mut self) {
        let (fired, highest) = (self.fired, self.highest);
        *self = Self { fired, highest, ..Self::in_window(self.alpha, self.number + 1) };
    }

    /// An event of a user whose request was assigned under `share`. True when it
    /// counted: the first one of its bucket in this window, under a share that
    /// splits users (else there is nothing to learn).
    pub fn event(&mut self, bucket: Bucket, share: Share) -> bool {
        if self.fired || !share.splits() {
            return false;
        }
        let (below, free) = (self.window.free_below(share), self.window.free());
        let counted = self.window.take(bucket);
        if counted {
            self.count(share.reaches(bucket), f64::from(below) / f64::from(free));
        }
        if self.window.over() && !self.fired {
            self.roll();
        }
        counted
    }

    /// `chance`: that the event of a user not seen before falls on the canary.
    fn count(&mut self, on_canary: bool, chance: f64) {
        self.bets.play(|side| {
            let odds = ODDS[side];
            (if on_canary { odds } else { 1.0 }) / (1.0 - chance + chance * odds)
        });
        self.canary += u32::from(on_canary);
        for (norm, ratio) in self.norms.iter_mut().zip(RATIOS) {
            *norm += (chance * (ratio - 1.0)).ln_1p();
        }
        self.highest = self.highest.max(self.evidence());
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

    /// The highest evidence since the deployment began.
    pub fn highest(&self) -> f64 {
        self.highest
    }

    /// The evidence at which it fires.
    pub fn bound(&self) -> f64 {
        self.alpha.bound()
    }

    /// The number of the window in this deployment, from 1.
    pub fn window(&self) -> u32 {
        self.number
    }

    /// Users (buckets) that counted in this window.
    pub fn counted(&self) -> u32 {
        self.window.count()
    }

    /// Those of them on the canary.
    pub fn counted_on_canary(&self) -> u32 {
        self.canary
    }

    /// The buckets whose further events in this window change nothing at all.
    pub fn exhausted(&self) -> &BucketSet {
        self.window.again()
    }

    /// Evidence that the canary's odds of an event are below `RATIOS[index]`
    /// times stable's; 0 for the first.
    pub fn evidence_below(&self, index: usize) -> f64 {
        let canary = f64::from(self.canary);
        let likelihood = |i: usize| canary * RATIOS[i].ln() - self.norms[i];
        let base = likelihood(index);
        let sum: f64 = (0..index).map(|i| (likelihood(i) - base).min(EXPONENT_MAX).exp()).sum();
        if index == 0 { 0.0 } else { sum / index as f64 }
    }

    /// The smallest ratio that the canary is shown to stay below, with all
    /// larger ones shown too (wrong in at most 1 of 20).
    pub fn at_most(&self) -> Option<f64> {
        let shown = |index: &usize| self.evidence_below(*index) >= SAFE;
        (1..RATIOS.len()).rev().take_while(shown).last().map(|index| RATIOS[index])
    }
}
