//! A line for every request (SPEC 1, `accessLog`).
//!
//! Owns: the form of a line, and the thread that writes them. Touches: standard output,
//! standard error or one file, on that thread alone. A worker gathers its lines and hands
//! them over in batches, by a queue with a bound: a reader that does not read costs lines,
//! which are counted, never a request.
//! Units: seconds in lines, times of the wall clock when a request had ended.

mod line;
mod writer;

pub use line::{End, Line, Served, seconds};
pub use writer::{AccessLogCounts, AccessLogWriter, Batch};
