//! A worker's ledger: counts that only one thread writes and anybody reads.
//!
//! Each epoch of the dial has cells of its own, so an outcome is charged to the
//! stage under which its request was assigned, however late it comes, and a new
//! stage begins with zeros without anybody resetting anything.

use serde::{Deserialize, Serialize};

use super::sync::{AtomicU64, Ordering};

/// The role of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Track {
    /// The version that everybody had.
    Stable,
    /// The version that is tried.
    Canary,
}

impl Track {
    /// Both, in the order of their indices.
    pub const BOTH: [Self; 2] = [Self::Stable, Self::Canary];

    /// Its name in headers, labels and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }

    /// 0 or 1.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Sums of cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Outcomes of either kind.
    pub requests: u64,
    /// Those that were errors.
    pub errors: u64,
    /// Successes that the limit watched.
    pub watched: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.watched += other.watched;
    }
}

/// What one outcome adds.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// A request.
    pub request: bool,
    /// An error.
    pub error: bool,
    /// A success that the limit watched.
    pub watched: bool,
}

#[derive(Debug)]
struct Cell {
    requests: AtomicU64,
    errors: AtomicU64,
    watched: AtomicU64,
}

/// No canary request waits for its answer.
pub const NOTHING_WAITS: u64 = u64::MAX;

/// The counts of one worker. On cache lines of its own: a neighbour's writes would slow its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct Ledger {
    /// One pair a epoch, stable then canary.
    epochs: Box<[[Cell; 2]]>,
    /// Since when the canary request that waits longest for its answer waits, in
    /// microseconds; [`NOTHING_WAITS`] without one.
    oldest: AtomicU64,
}

impl Ledger {
    /// An empty ledger for this many epochs; later ones share the last one's cells.
    pub fn new(epochs: usize) -> Self {
        let cell = || Cell { requests: AtomicU64::new(0), errors: AtomicU64::new(0), watched: AtomicU64::new(0) };
        Self { epochs: (0..epochs.max(1)).map(|_| [cell(), cell()]).collect(), oldest: AtomicU64::new(NOTHING_WAITS) }
    }

    /// Counts an outcome. Only the ledger's own worker may call it.
    pub fn add(&self, epoch: u32, track: Track, counted: Counted) {
        let cell = self.cell(epoch, track);
        if counted.request {
            bump(&cell.requests);
        }
        if counted.error {
            bump(&cell.errors);
        }
        if counted.watched {
            bump(&cell.watched);
        }
    }

    /// Takes over what was counted before a restart, stable then canary. Before any worker counts.
    pub fn restore(&self, epoch: u32, counts: [Tally; 2]) {
        for (track, tally) in Track::BOTH.into_iter().zip(counts) {
            let cell = self.cell(epoch, track);
            cell.requests.store(tally.requests, Ordering::Relaxed);
            cell.errors.store(tally.errors, Ordering::Relaxed);
            cell.watched.store(tally.watched, Ordering::Relaxed);
        }
    }

    /// The sums of an epoch and track.
    pub fn tally(&self, epoch: u32, track: Track) -> Tally {
        self.cell(epoch, track).read()
    }

    /// The sums of a track over all epochs.
    pub fn total(&self, track: Track) -> Tally {
        let mut total = Tally::default();
        for pair in &self.epochs {
            total += pair[track.index()].read();
        }
        total
    }

    /// Says since when the oldest waiting canary request waits.
    pub fn set_oldest(&self, micros: u64) {
        self.oldest.store(micros, Ordering::Relaxed);
    }

    /// Since when it waits.
    pub fn oldest(&self) -> u64 {
        self.oldest.load(Ordering::Relaxed)
    }

    fn cell(&self, epoch: u32, track: Track) -> &Cell {
        // The first epoch is 1. Closing counts one too: nothing is assigned under it.
        let index = (epoch as usize).saturating_sub(1).min(self.epochs.len() - 1);
        &self.epochs[index][track.index()]
    }
}

impl Cell {
    fn read(&self) -> Tally {
        // Errors first: a reader may miss the newest error, never see more errors than requests.
        let errors = self.errors.load(Ordering::Acquire);
        let watched = self.watched.load(Ordering::Acquire);
        Tally { requests: self.requests.load(Ordering::Acquire), errors, watched }
    }
}

/// One writer: a load, an add and a store need no locked instruction.
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
}
