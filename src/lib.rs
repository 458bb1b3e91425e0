//! Serin: a reverse proxy for progressive delivery.
//!
//! The modules in the order a request meets them:
//!
//! - [`proxy`]: client connections, header rules, identity, assignment, outcomes;
//!   its header tells the life of a request, phase by phase.
//! - [`snapshot`]: what a request sees: routes, pools, flags, one immutable value.
//! - [`upstream`]: connections to app servers; [`tls`]: certificates on both sides.
//! - [`signed`]: identities that were signed.
//! - [`subject`]: where proxy and control meet: dial, ledgers, judge.
//! - [`decide`]: the pure core: buckets, flags, guard, rollout.
//! - [`telemetry`]: counters, histograms, the metrics text.
//! - [`access_log`]: a line for every request.
//! - [`rollout`]: machine, dial and judge of one rollout, driven by whoever says what time it is.
//! - [`simulate`]: rollouts in virtual time, on made-up traffic, logs, or live outcomes.
//! - [`control`]: deployments, flags, the only writer of snapshots.
//! - [`store`]: what survives a restart.
//! - [`admin`]: the JSON API; [`cli`]: words for people; [`config`]: the YAML.
//! - [`server`]: all of it, started in order, changed while it runs, handed over
//!   ([`handover`]), ended ([`drain`]); [`clock`]: what time it is.
//!
//! Arrows point one way: the shell uses the core, the core uses nothing of the
//! shell, and `proxy` never calls `control`. `tests/architecture.rs` holds this.
#![forbid(unsafe_code)]
// The API's schemas are one literal.
#![recursion_limit = "256"]

pub mod access_log;
pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod decide;
mod demo;
pub mod drain;
pub mod flagd;
#[doc(hidden)]
pub mod fuzzing;
pub mod handover;
pub mod log;
pub mod ofrep;
pub mod overrides;
pub mod proxy;
pub mod rollout;
pub mod server;
pub mod signed;
pub mod simulate;
pub mod snapshot;
pub mod store;
pub mod subject;
pub mod telemetry;
pub mod tls;
pub mod upstream;
