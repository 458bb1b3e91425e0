//! What survives a restart.
//!
//! Owns: the state files and their writing. Touches: files, on a thread of its
//! own: traffic never waits for a disk. A file is written whole: beside it,
//! synced, renamed, the folder synced; the one before stays as `.bak`.

mod file;
mod records;
mod writer;

pub use file::{Folder, Loaded, StoreError};
pub use records::{
    Counts, DecisionRecord, DeployState, DeploymentRecord, EventRecord, FlagFile, MetricsRecord, RouteRecord,
    ServiceRecord, ShieldedRecord, StableRecord,
};
pub use writer::{HandEdit, SaveError, StateFile, Writer};
