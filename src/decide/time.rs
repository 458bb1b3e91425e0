//! Time as the core knows it: a moment is handed in, never asked for.
//!
//! Units: microseconds since an origin that the shell chose once. Spans between
//! moments are [`std::time::Duration`].

use std::time::Duration;

/// A point in monotonic time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The origin of the clock.
    pub const ORIGIN: Self = Self(0);

    /// The moment this many microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    /// Saturates at the end of time (584,000 years after the origin).
    fn add(self, span: Duration) -> Self {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// Reads a span: seconds (`600`, `0.5`) or numbers with units (`10m`, `1h30m`, `250ms`).
///
/// # Errors
/// With the text that says what is allowed.
pub fn parse_span(text: &str) -> Result<Duration, SpanError> {
    let wrong = || SpanError { found: text.chars().take(40).collect() };
    let text_trimmed = text.trim();
    if let Ok(seconds) = text_trimmed.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let mut rest = text_trimmed;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let millis: u64 = match &rest[..unit_end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        rest = &rest[unit_end..];
        let part = number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    if text_trimmed.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// A text that is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a duration is seconds (600) or numbers with ms, s, m, h, d (10m, 1h30m)")]
pub struct SpanError {
    found: String,
}

/// Spans in files and in the API: written as seconds, read as seconds or text.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::parse_span;

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "seconds, or a text like 10m")]
    enum NumberOrText {
        Number(f64),
        Text(String),
    }

    /// Writes whole seconds as the guide does: `300`, not `300.0`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        if span.subsec_nanos() == 0 {
            serializer.serialize_u64(span.as_secs())
        } else {
            serializer.serialize_f64(span.as_secs_f64())
        }
    }

    /// Reads seconds or text.
    ///
    /// # Errors
    /// With what a duration looks like.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        match NumberOrText::deserialize(deserializer)? {
            NumberOrText::Number(number) => Duration::try_from_secs_f64(number)
                .map_err(|_| serde::de::Error::custom(format!("a duration is not negative, found {number}"))),
            NumberOrText::Text(text) => parse_span(&text).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spans_are_seconds_or_text() {
        assert_eq!(parse_span("600").unwrap(), Duration::from_secs(600));
        assert_eq!(parse_span("1h30m").unwrap(), Duration::from_secs(5_400));
        assert_eq!(parse_span("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_span("0.5").unwrap(), Duration::from_millis(500));
        for wrong in ["", "m", "10 minutes", "1x", "-5", "ten", "5mm", "NaN", "99999999999999999999s"] {
            assert!(parse_span(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_span(&text);
        }
    }
}
