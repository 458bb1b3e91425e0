//! A window: a span in which each bucket counts at most once.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::decide::bucket::{BUCKETS, Bucket, Share};

const WORDS: usize = (BUCKETS as usize).div_ceil(64);
/// A window is over when this many buckets are used.
const FULL: u32 = 5_000;
/// Or when this many came again and they are at least half of the used ones:
/// the active users have been used up.
const AGAIN: u32 = 32;

/// A set of buckets, one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSet(Box<[u64; WORDS]>);

impl BucketSet {
    /// How many words of 64 buckets a set has.
    pub const WORDS: usize = WORDS;

    /// No bucket.
    pub fn empty() -> Self {
        Self(Box::new([0; WORDS]))
    }

    /// The word that holds a bucket, and its bit in there.
    pub const fn place(bucket: Bucket) -> (usize, u64) {
        (bucket.index() / 64, 1 << (bucket.index() % 64))
    }

    /// The word with this index, below [`Self::WORDS`].
    pub fn word(&self, index: usize) -> u64 {
        self.0[index]
    }

    /// Whether a bucket is in it.
    pub fn contains(&self, bucket: Bucket) -> bool {
        let (word, bit) = Self::place(bucket);
        self.0[word] & bit != 0
    }

    /// Adds a bucket; false where it was in it already.
    fn insert(&mut self, bucket: Bucket) -> bool {
        let (word, bit) = Self::place(bucket);
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    fn count_below(&self, share: Share) -> u32 {
        let below = usize::from(share.basis_points());
        let whole: u32 = self.0[..below / 64].iter().map(|word| word.count_ones()).sum();
        match below % 64 {
            0 => whole,
            rest => whole + (self.0[below / 64] & ((1 << rest) - 1)).count_ones(),
        }
    }
}

/// As hexadecimal digits, 16 a word.
impl Serialize for BucketSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(WORDS * 16);
        for word in self.0.iter() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{word:016x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for BucketSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut set = Self::empty();
        if text.len() != WORDS * 16 || !text.is_ascii() {
            return Err(serde::de::Error::custom("a set of buckets has 16 digits a word"));
        }
        for (index, word) in set.0.iter_mut().enumerate() {
            let digits = &text[index * 16..(index + 1) * 16];
            *word = u64::from_str_radix(digits, 16).map_err(serde::de::Error::custom)?;
        }
        Ok(set)
    }
}

/// What a window has to remember over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WindowMemory {
    used: BucketSet,
    again: BucketSet,
}

/// Which buckets have had an event, and which came again.
#[derive(Clone, Debug)]
pub(super) struct Window {
    used: BucketSet,
    again: BucketSet,
    count: u32,
    repeats: u32,
    /// How many used buckets lie below this share: recounted when another one arrives.
    below: (Share, u32),
}

impl Window {
    pub(super) fn new() -> Self {
        Self { used: BucketSet::empty(), again: BucketSet::empty(), count: 0, repeats: 0, below: (Share::NOBODY, 0) }
    }

    pub(super) fn memory(&self) -> WindowMemory {
        WindowMemory { used: self.used.clone(), again: self.again.clone() }
    }

    pub(super) fn recall(memory: WindowMemory) -> Self {
        let WindowMemory { used, again } = memory;
        Self { count: used.count(), repeats: again.count(), used, again, below: (Share::NOBODY, 0) }
    }

    /// True for the first event of a bucket.
    pub(super) fn take(&mut self, bucket: Bucket) -> bool {
        if self.used.insert(bucket) {
            self.count += 1;
            self.below.1 += u32::from(self.below.0.reaches(bucket));
            return true;
        }
        if self.again.insert(bucket) {
            self.repeats += 1;
        }
        false
    }

    pub(super) fn over(&self) -> bool {
        self.count >= FULL || (self.repeats >= AGAIN && 2 * self.repeats >= self.count)
    }

    /// Unused buckets below a share.
    pub(super) fn free_below(&mut self, share: Share) -> u32 {
        if self.below.0 != share {
            self.below = (share, self.used.count_below(share));
        }
        u32::from(share.basis_points()) - self.below.1
    }

    /// All unused buckets.
    pub(super) fn free(&self) -> u32 {
        u32::from(BUCKETS) - self.count
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn used(&self) -> &BucketSet {
        &self.used
    }

    pub(super) fn again(&self) -> &BucketSet {
        &self.again
    }
}
