//! Connections to app servers.
//!
//! Owns: idle connections per endpoint and worker, connecting, sending one
//! request over a connection. Touches: the network.
//!
//! A connection is driven by the request that uses it: no task of its own, no
//! switch between tasks on the request's way. An idle one is looked at when it
//! is taken out, which is when it matters whether it still lives.

mod connect;
mod endpoint;
mod lease;

pub use connect::ConnectError;
pub use endpoint::{Endpoint, IdleLimits};
pub use lease::{Between, Lease, SendError};
