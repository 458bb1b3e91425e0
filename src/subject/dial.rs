//! The dial: the share of users on the canary, as one word that a request loads once.
//!
//! Epoch (32 bits), share in basis points (16) and closed (1) are one atomic
//! number, so nobody ever sees half a change. Every change is a compare-and-swap
//! from the word that the decision rests on. `closed` is terminal: no advance,
//! reload or republished snapshot can revive a rolled back canary.

use super::sync::{AtomicU64, Ordering};
use crate::decide::bucket::{Bucket, Share};

const CLOSED: u64 = 1;
const SHARE_SHIFT: u32 = 16;
const EPOCH_SHIFT: u32 = 32;

/// What a dial said at one moment; a request carries it to its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    fn new(epoch: u32, share: Share) -> Self {
        Self((u64::from(epoch) << EPOCH_SHIFT) | (u64::from(share.basis_points()) << SHARE_SHIFT))
    }

    /// Grows by one with each change; the first is 1.
    pub fn epoch(self) -> u32 {
        (self.0 >> EPOCH_SHIFT) as u32
    }

    /// The share: nobody once it is closed.
    pub fn share(self) -> Share {
        // Only made from shares: the fallback is never taken.
        Share::from_basis_points((self.0 >> SHARE_SHIFT) as u16).unwrap_or(Share::NOBODY)
    }

    /// Whether it was rolled back, for good.
    pub fn closed(self) -> bool {
        self.0 & CLOSED != 0
    }

    /// Whether a user of this bucket is on the canary.
    pub fn reaches(self, bucket: Bucket) -> bool {
        self.share().reaches(bucket)
    }
}

/// The dial of one deployment, carried by identity through all snapshots.
///
/// Not `Clone` on purpose: a copy would not be closed by a rollback.
#[derive(Debug)]
pub struct Dial(AtomicU64);

impl Dial {
    /// A dial at this share, in epoch 1.
    pub fn new(share: Share) -> Self {
        Self(AtomicU64::new(Word::new(1, share).0))
    }

    /// What it says now.
    pub fn load(&self) -> Word {
        Word(self.0.load(Ordering::Acquire))
    }

    /// A dial that goes on in this epoch.
    pub fn in_epoch(epoch: u32, share: Share) -> Self {
        Self(AtomicU64::new(Word::new(epoch.max(1), share).0))
    }

    /// Turns it to another share, in the next epoch.
    ///
    /// # Errors
    /// With what it says now, where that is not `from`, or where it is closed.
    pub fn turn(&self, from: Word, share: Share) -> Result<Word, Word> {
        if from.closed() {
            return Err(from);
        }
        self.swap(from, Word::new(from.epoch().wrapping_add(1), share))
    }

    /// Closes it: share 0 for good, whatever it said. The epoch grows too, so that
    /// what was assigned before is told from what comes after.
    pub fn close(&self) -> Word {
        let mut from = self.load();
        loop {
            if from.closed() {
                return from;
            }
            let closed = Word(Word::new(from.epoch().wrapping_add(1), Share::NOBODY).0 | CLOSED);
            match self.swap(from, closed) {
                Ok(word) => return word,
                Err(now) => from = now,
            }
        }
    }

    fn swap(&self, from: Word, to: Word) -> Result<Word, Word> {
        match self.0.compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(to),
            Err(now) => Err(Word(now)),
        }
    }
}
