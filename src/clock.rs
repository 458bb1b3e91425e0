//! The only place that asks what time it is.
//!
//! Owns: the monotonic clock of the process and the wall clock's text. The core
//! is handed moments; everything else asks here.
#![allow(clippy::disallowed_methods)] // This is where they are allowed.

use std::sync::LazyLock;
use std::time::Instant;

use crate::decide::time::Moment;

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now, in microseconds since the process first asked.
pub fn now() -> Moment {
    let micros = ORIGIN.elapsed().as_micros();
    // 64 bits of microseconds last for 584,000 years.
    Moment::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// A moment as the runtime's timers want it.
pub fn instant(moment: Moment) -> tokio::time::Instant {
    tokio::time::Instant::from_std(*ORIGIN + moment.since(Moment::ORIGIN))
}

/// Now as RFC 3339 in UTC with milliseconds: `2025-01-01T00:00:00.000Z`.
pub fn rfc3339() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// Now in milliseconds since 1970.
pub fn unix_millis() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// For how many milliseconds a time as [`rfc3339`] writes it is over; `None` for another text.
pub fn millis_since(rfc3339: &str) -> Option<i64> {
    Some(unix_millis() - rfc3339.parse::<jiff::Timestamp>().ok()?.as_millisecond())
}

/// Now in whole seconds since 1970.
pub fn unix_seconds() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
