//! The pure core: everything that decides.
//!
//! Owns: buckets, flags, the guard's statistics, the rollout's state machine.
//! Touches: its arguments. No IO, no clock, no randomness, no async: time and
//! randomness are arguments, so the same code runs in the proxy, in
//! simulations and in tests. `tests/architecture.rs` holds this.

pub mod bucket;
pub mod flags;
pub mod guard;
pub mod rollout;

pub mod time;
