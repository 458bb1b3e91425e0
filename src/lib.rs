//! Serin: a reverse proxy for progressive delivery.
#![forbid(unsafe_code)]
pub mod clock;
pub mod config;
pub mod decide;
pub mod proxy;
pub mod snapshot;
pub mod subject;
pub mod telemetry;
pub mod upstream;
