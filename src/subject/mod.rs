//! Where the data plane and control meet: what a running rollout is about.
//!
//! Owns: the dial, the ledgers (one a worker), the judge behind its lock.
//! Touches: `decide`. Only `proxy` and `control` use it: the proxy reads the
//! dial and records outcomes, control turns the dial and reads the counts.
//! Units: counts of exchanges, shares in basis points.
//!
//! A success costs a few adds that nobody else writes. An error that counts
//! takes the lock, asks the judge, and closes the dial at once where the answer
//! is rollback, so a verdict always comes before the next change of stage.

mod dial;
mod first;
mod ledger;
mod set;
#[allow(clippy::module_inception)]
mod subject;
mod tap;
#[cfg(test)]
mod tests;
mod witness;
/// What the model test replaces by its own.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
    pub(super) use std::sync::{Mutex, MutexGuard};
}

pub use dial::{Dial, Word};
pub use ledger::{Counted, Ledger, NOTHING_WAITS, Tally, Track};
pub use subject::{Memory, NotTurned, Outcome, Recorded, Subject, SubjectPlan};
pub use tap::{Heard, Tap};
pub use witness::{Failed, RouteErrors};
