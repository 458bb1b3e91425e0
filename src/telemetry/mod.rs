//! What is counted, and how it is told.
//!
//! Owns: counters, latency histograms, the metrics text. Touches: nothing but
//! memory. Units: base units in metrics (seconds), microseconds inside.
//! Counters have one writer each, a worker; the sums are made at scrape time.
//! Label values come from configuration and state, never from requests.

mod exposition;
mod latency;
mod loads;
mod outcome;
mod stats;

pub use exposition::{FlagGauge, Format, Scrape};
pub use latency::{LocalLatency, MergedLatency};
pub use loads::Loads;
pub use outcome::{ErrorKind, OutcomeKind};
pub use stats::{FlagCounters, PoolSeries, ProcessStats, Refusal, Rescue, ServiceStats};
