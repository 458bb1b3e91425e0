//! A gambler's capital: cash that moves slowly into a fixed set of bets.
//!
//! Starts at 1; under the null its expectation never grows. Money that flows in
//! late meets a fault that begins late with fresh stakes.

use serde::{Deserialize, Serialize};

/// The part of the capital that is bet from the start.
const UPFRONT: f64 = 0.5;
/// Event `n` moves `RATE / (n + DELAY)` of the cash into the bets.
const RATE: f64 = 0.5;
const DELAY: f64 = 8.0;
/// A stake below this has lost for good; subnormal numbers would be slow.
const LOST: f64 = 1e-290;

/// What bets have to remember over a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BetsMemory {
    events: u32,
    cash: f64,
    stakes: Vec<f64>,
}

#[derive(Clone, Debug)]
pub(super) struct Bets<const SIDES: usize> {
    events: u32,
    cash: f64,
    /// Only the first `sides` are played.
    stakes: [f64; SIDES],
    sides: usize,
}

impl<const SIDES: usize> Bets<SIDES> {
    /// Capital of 1, spread over this many sides (1 to `SIDES`).
    pub(super) fn new(sides: usize) -> Self {
        debug_assert!((1..=SIDES).contains(&sides), "one side at least, {SIDES} at most");
        let mut stakes = [0.0; SIDES];
        stakes[..sides].fill(UPFRONT / sides as f64);
        Self { events: 0, cash: 1.0 - UPFRONT, stakes, sides }
    }

    pub(super) fn memory(&self) -> BetsMemory {
        BetsMemory { events: self.events, cash: self.cash, stakes: self.stakes[..self.sides].to_vec() }
    }

    /// `None` where there are other sides than `sides`, or numbers that no bet has.
    pub(super) fn recall(sides: usize, memory: &BetsMemory) -> Option<Self> {
        let money = |amount: &f64| amount.is_finite() && *amount >= 0.0;
        let mut bets = Self { events: memory.events, cash: memory.cash, ..Self::new(sides) };
        let fits = memory.stakes.len() == sides && memory.stakes.iter().all(money) && money(&memory.cash);
        bets.stakes[..sides].copy_from_slice(memory.stakes.get(..sides)?);
        fits.then_some(bets)
    }

    /// One event: each stake is multiplied by what its bet pays.
    pub(super) fn play(&mut self, factor: impl Fn(usize) -> f64) {
        self.events += 1;
        let flow = self.cash * (RATE / (f64::from(self.events) + DELAY));
        self.cash -= flow;
        let inflow = flow / self.sides as f64;
        for (side, stake) in self.stakes[..self.sides].iter_mut().enumerate() {
            *stake = (*stake + inflow) * factor(side);
            if *stake < LOST {
                *stake = 0.0;
            }
        }
    }

    pub(super) fn capital(&self) -> f64 {
        self.cash + self.stakes[..self.sides].iter().sum::<f64>()
    }
}

/// What the `number`-th window may spend: 1/2, 1/6, 1/12, …, 1 in all.
pub(super) fn weight(number: u32) -> f64 {
    let number = f64::from(number);
    1.0 / (number * (number + 1.0))
}
