//! The admin API: JSON for operators and programs, metrics for scrapes.
//!
//! Owns: HTTP on the admin and health addresses, on a runtime of its own, so that
//! nothing asked here ever holds a worker. Touches: `control`, reads of the rest.
//! All calls stand in one table, `operations`; router and description come from it.

mod access;
mod api;
mod dashboard;
mod deployments;
mod door;
mod evaluation;
mod events;
mod flags;
mod health;
mod log;
mod meanings;
mod ofrep;
mod openapi;
mod operations;
mod problem;
mod request;

pub use access::Gates;
pub use api::{Admin, health_router, router};
pub use door::{Door, TlsOfNow};
pub use openapi::document as description;
