//! Serin: a reverse proxy for progressive delivery.
#![forbid(unsafe_code)]
pub mod config;
pub mod decide;
pub mod subject;
