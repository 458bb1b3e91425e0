//! Rollouts in virtual time, on the code that decides in the proxy.
//!
//! Owns: made-up users and answers, access logs, virtual time. Touches: `rollout`,
//! `subject`, `decide`; the files it is given. Nothing waits: a day passes
//! in seconds, and a seed says everything that happens.

mod log;
mod random;
mod rehearsal;
mod scenario;
mod users;
mod world;

pub use log::{LogError, LogLine, Logged};
pub use random::Random;
pub use rehearsal::{Rehearsal, RehearsalPlan, RehearsalReport, RunReport};
pub use scenario::{Ended, Report, TimelineEntry, run};
pub use users::{Activity, Users};
pub use world::{Served, World, WorldPlan};
