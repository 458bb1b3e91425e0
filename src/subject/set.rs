//! A set of buckets that workers read without a lock; the judge's copy is the truth.

use super::sync::{AtomicU64, Ordering};
use crate::decide::bucket::Bucket;
use crate::decide::guard::BucketSet;

#[derive(Debug)]
pub(super) struct SharedSet(Box<[AtomicU64]>);

impl SharedSet {
    pub(super) fn empty() -> Self {
        Self((0..BucketSet::WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    pub(super) fn contains(&self, bucket: Bucket) -> bool {
        let (word, bit) = BucketSet::place(bucket);
        self.0[word].load(Ordering::Relaxed) & bit != 0
    }

    /// Adds a bucket; false where it was in it already. For sets without a judge's copy.
    pub(super) fn insert(&self, bucket: Bucket) -> bool {
        let (word, bit) = BucketSet::place(bucket);
        self.0[word].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    pub(super) fn clear(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Takes over the word that holds a bucket.
    pub(super) fn copy_word(&self, from: &BucketSet, bucket: Bucket) {
        let (word, _) = BucketSet::place(bucket);
        self.0[word].store(from.word(word), Ordering::Relaxed);
    }

    /// Takes over everything: a new window.
    pub(super) fn copy(&self, from: &BucketSet) {
        for (index, word) in self.0.iter().enumerate() {
            word.store(from.word(index), Ordering::Relaxed);
        }
    }
}
