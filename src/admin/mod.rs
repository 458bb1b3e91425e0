//! The admin API: JSON for operators and programs, metrics for scrapes.
//!
//! Owns: HTTP on the admin address, on a runtime of its own, so that nothing
//! asked here ever holds a worker. Touches: `control`, reads of the rest. It
//! listens on loopback; writes need JSON and no foreign origin, and the Host has
//! to be this machine's, so that no web page in a browser here can steer it.

mod api;
mod guard;
mod problem;

pub use api::{Admin, router};
