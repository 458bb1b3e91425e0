//! When something holds.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span of time: from its first moment until just before its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its first moment; without one it has always been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// Its end, the first moment outside; without one it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
}

impl Schedule {
    /// Whether a time, in milliseconds since 1970, is in it.
    pub fn has(&self, unix_millis: i64) -> bool {
        let millis = |instant: Instant| instant.0.as_millisecond();
        self.from.is_none_or(|from| millis(from) <= unix_millis)
            && self.until.is_none_or(|until| unix_millis < millis(until))
    }

    /// Whether it has a moment at all.
    pub fn is_possible(&self) -> bool {
        !matches!((self.from, self.until), (Some(from), Some(until)) if until <= from)
    }

    /// Whether it has ended by this time.
    pub fn is_over(&self, unix_millis: i64) -> bool {
        self.until.is_some_and(|until| until.0.as_millisecond() <= unix_millis)
    }
}

/// A moment of the calendar; RFC 3339 in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(Timestamp);

impl Instant {
    /// The moment of so many seconds since 1970; `None` where no calendar reaches.
    pub fn from_unix_seconds(seconds: i64) -> Option<Self> {
        Timestamp::from_second(seconds).ok().map(Self)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            serde::de::Error::custom(format!("{text:?} is no time: write it as in 2026-12-01T08:00:00Z (RFC 3339)"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_schedule_has_its_first_moment_and_not_its_last() {
        let read = |value: Value| serde_json::from_value::<Schedule>(value).unwrap();
        let january = read(json!({ "from": "2026-01-01T00:00:00Z", "until": "2026-02-01T01:00:00+01:00" }));
        let (from, until) = (1_767_225_600_000, 1_769_904_000_000);
        assert_eq!([from - 1, from, until - 1, until].map(|now| january.has(now)), [false, true, true, false]);
        assert!(january.is_over(until) && !january.is_over(until - 1));
        assert!(read(json!({})).has(0) && read(json!({})).is_possible());
        assert!(!read(json!({ "from": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z" })).is_possible());
        assert!(serde_json::from_value::<Schedule>(json!({ "from": "tomorrow" })).is_err());
    }
}
