//! The guard: when is a canary proven bad.
//!
//! Owns: evidence. The guide's rate rule, the sequential comparison of canary
//! with stable, the limit with evidence, and the [`Judge`] that holds them for
//! one deployment with its latched verdict. Touches: its arguments.
//! Units: shares in basis points, rates as fractions of 1, evidence as what a
//! bet of 1 against "the version changes nothing" has become.
//!
//! The idea: the only randomness relied on is the one Serin makes itself, the
//! hash. If a version changes nothing, the first event (error) of a user not
//! yet seen falls on the canary with a probability known exactly, so a gambler
//! who bets on "more often" cannot expect to win; Ville's inequality bounds how
//! rarely the stake grows a hundredfold, however often one looks. Each bucket
//! counts once a window, so one user's retries are one piece of evidence.
//! Sources: sequential tests by betting (Waudby-Smith and Ramdas; Howard et
//! al.), tests among error events only (Lindon, Sanden, Shirikian, arXiv
//! 2205.14762), evidence from the randomisation alone (Zampieri, arXiv
//! 2512.04366). Golden vectors: `tests/guard_vectors.rs`.

mod bets;
mod comparison;
mod judge;
mod limit;
mod outlook;
mod plan;
mod record;
mod safety;
mod window;

pub use comparison::{Comparison, ODDS, RATIOS};
pub use judge::{Breach, Judge, JudgeMemory, Report, Sign, StageCounts, StageRule, Standing};
pub use limit::Limit;
pub use outlook::{Found, Outlook, Traffic, outlook};
pub use plan::{Alpha, Enforcement, GuardPlan, Rate, RateError, RateRule, SlowerThan, SlowerThanError};
pub use record::{Event, Kind, StageRecord};
pub use safety::{SAFE, safety, upper_rate};
pub use window::BucketSet;
