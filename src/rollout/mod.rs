//! A rollout under way: the machine with its dial, ledgers and judge, and the verdict explained.
//!
//! Owns: how effects reach the subject, what is slow, what a verdict says. Touches:
//! `decide`, `subject`, the shapes of `store`. Asks nobody for the time and writes
//! nothing: control holds it for real, simulations and rehearsals in their own time.

mod decision;
mod resume;
mod run;
mod threshold;

pub(crate) use decision::{number, span};
pub use resume::CheckpointRecord;
pub(crate) use resume::Written;
pub(crate) use run::{Rollout, Terms};
pub(crate) use threshold::RecentLatency;
