//! Id to bucket: the promise that must never change.
//!
//! Owns: the hash, the bucket, the share. Touches: its arguments.
//! Units: buckets and shares in basis points, hundredths of a percent, 0 to 10,000.
//! A user is exposed while `bucket < share`, so raising a share only adds users.
//! The salt holds a kind and a name, so that two flags at 50 % reach independent
//! halves and each deployment draws other first users.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

/// How many buckets there are.
pub const BUCKETS: u16 = 10_000;

/// A user's place from the hash: 0 to 9,999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket with this number; `None` from 10,000 on.
    pub const fn new(number: u16) -> Option<Self> {
        if number < BUCKETS { Some(Self(number)) } else { None }
    }

    /// The bucket of a hash, or of a number drawn at random.
    pub const fn of_hash(hash: u64) -> Self {
        Self(((hash as u128 * BUCKETS as u128) >> 64) as u16)
    }

    /// Its number, 0 to 9,999.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Its number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Tells ids apart where the id itself must not be kept: `xxh3_64` of its text.
pub fn fingerprint(id: &str) -> u64 {
    xxh3_64(id.as_bytes())
}

/// The part of users that something reaches, in basis points: 0 to 10,000.
///
/// In files and in the API it is a percentage with at most two decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

/// Why a number is no share.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ShareError {
    /// Outside of 0 to 100, or not a number.
    #[error("a percentage is from 0 to 100")]
    OutOfRange(f64),
    /// More than two decimals.
    #[error("a percentage has at most two decimals")]
    TooFine(f64),
}

impl Share {
    /// Reaches nobody.
    pub const NOBODY: Self = Self(0);
    /// Reaches everybody.
    pub const EVERYBODY: Self = Self(BUCKETS);
    /// A hundredth.
    pub const ONE_PERCENT: Self = Self(100);

    /// A share of this many basis points; `None` above 10,000.
    pub const fn from_basis_points(points: u16) -> Option<Self> {
        if points <= BUCKETS { Some(Self(points)) } else { None }
    }

    /// A share of this many percent.
    ///
    /// # Errors
    /// Outside of 0 to 100, or with more than two decimals.
    pub fn from_percentage(percent: f64) -> Result<Self, ShareError> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(ShareError::OutOfRange(percent));
        }
        let points = percent * 100.0;
        let whole = points.round();
        // The tolerance is what decimal text loses in binary, far below a digit.
        if (points - whole).abs() > 1e-6 {
            return Err(ShareError::TooFine(percent));
        }
        // In range by the check above.
        Ok(Self(whole as u16))
    }

    /// The nearest share to this percentage: clamped to 0 to 100, rounded to two decimals.
    pub fn clamped(percent: f64) -> Self {
        let points = (percent * 100.0).round().clamp(0.0, f64::from(BUCKETS));
        // NaN casts to 0: nobody, the safe end.
        Self(points as u16)
    }

    /// In basis points, 0 to 10,000.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// In percent, 0 to 100.
    pub fn percentage(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Whether a user of this bucket is reached.
    pub const fn reaches(self, bucket: Bucket) -> bool {
        bucket.0 < self.0
    }

    /// Whether it splits users: neither nobody nor everybody.
    pub const fn splits(self) -> bool {
        self.0 > 0 && self.0 < BUCKETS
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.percentage())
    }
}

impl Serialize for Share {
    /// Whole percentages are written as the guide writes them: `50`, not `50.0`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            serializer.serialize_u16(self.0 / 100)
        } else {
            serializer.serialize_f64(self.percentage())
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_percentage(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What is hashed before the id: `<kind>/<name>:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salt(Box<[u8]>);

/// Ids up to about this length are hashed on the stack.
const STACK: usize = 256;

impl Salt {
    /// The salt of a flag's buckets.
    pub fn flag(name: &str) -> Self {
        Self::of("flag", name)
    }

    /// The salt that draws a flag's variant for those who have it on.
    pub fn variant(flag: &str) -> Self {
        Self::of("variant", flag)
    }

    /// The salt of a deployment's buckets: other first users every time.
    pub fn deployment(id: &str) -> Self {
        Self::of("deployment", id)
    }

    /// The salt of a service's buckets: always the same first users.
    pub fn service(name: &str) -> Self {
        Self::of("service", name)
    }

    fn of(kind: &str, name: &str) -> Self {
        Self(format!("{kind}/{name}:").into_bytes().into_boxed_slice())
    }

    /// The bucket of an id: its hash scaled to 10,000.
    pub fn bucket(&self, id: &str) -> Bucket {
        Bucket::of_hash(self.hash(id))
    }

    /// xxh3-64 with seed 0 over salt and id.
    pub fn hash(&self, id: &str) -> u64 {
        let (salt, id) = (&self.0[..], id.as_bytes());
        let length = salt.len() + id.len();
        if length <= STACK {
            let mut text = [0_u8; STACK];
            text[..salt.len()].copy_from_slice(salt);
            text[salt.len()..length].copy_from_slice(id);
            xxh3_64(&text[..length])
        } else {
            xxh3_64(&[salt, id].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_the_promised_ones() {
        let deployment = Salt::deployment("d-1");
        assert_eq!(Salt::flag("new-feature").bucket("user-123").number(), 8889);
        assert_eq!(Salt::flag("new-feature").bucket("user-456").number(), 685);
        assert_eq!(deployment.bucket("user-123").number(), 3592);
        assert_eq!(deployment.bucket("ü").number(), 500);
        assert_eq!(Salt::service("shop").bucket("user-123").number(), 5549);
        assert_eq!(xxh3_64(b"flag/new-feature:user-123"), 16_399_080_331_635_004_237);
    }

    #[test]
    fn percentages_are_written_as_the_guide_writes_them() {
        let text = |percent| serde_json::to_string(&Share::clamped(percent)).unwrap();
        assert_eq!(text(50.0), "50");
        assert_eq!(text(12.5), "12.5");
        assert_eq!(text(0.07), "0.07");
    }

    #[test]
    fn a_percentage_outside_its_range_is_refused() {
        for wrong in [-0.01, 100.01, f64::NAN, f64::INFINITY] {
            assert!(matches!(Share::from_percentage(wrong), Err(ShareError::OutOfRange(_))));
        }
        assert_eq!(Share::from_percentage(33.333), Err(ShareError::TooFine(33.333)));
        assert_eq!(Share::clamped(130.0), Share::EVERYBODY);
        assert_eq!(Share::clamped(f64::NAN), Share::NOBODY);
    }

    proptest! {
        #[test]
        fn every_percentage_with_two_decimals_survives_a_file(points in 0..=BUCKETS) {
            let share = Share::from_basis_points(points).unwrap();
            let text = serde_json::to_string(&share).unwrap();
            prop_assert_eq!(serde_json::from_str::<Share>(&text).unwrap(), share);
        }

        #[test]
        fn raising_a_share_never_takes_anybody_out(id in ".{0,300}", low in 0..=BUCKETS, more in 0..=BUCKETS) {
            let bucket = Salt::deployment("d").bucket(&id);
            let low = Share::from_basis_points(low).unwrap();
            let high = Share::from_basis_points(low.basis_points().saturating_add(more).min(BUCKETS)).unwrap();
            prop_assert!(!low.reaches(bucket) || high.reaches(bucket));
            prop_assert!(!Share::NOBODY.reaches(bucket) && Share::EVERYBODY.reaches(bucket));
        }

        #[test]
        fn long_ids_hash_like_short_ones(id in "[a-z]{200,400}") {
            let salt = Salt::flag("f");
            let whole = format!("flag/f:{id}");
            let expected = (u128::from(xxh3_64(whole.as_bytes())) * 10_000) >> 64;
            prop_assert_eq!(u128::from(salt.bucket(&id).number()), expected);
        }
    }
}
