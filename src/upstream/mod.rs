//! Connections to app servers.
//!
//! Owns: idle connections per endpoint and worker, connecting, sending one
//! request over a connection. Touches: the network.
//!
//! A connection is driven by the request that uses it: no task of its own, no
//! switch between tasks on the request's way. Whether an idle one still lives
//! shows when a request wants to use it, which is when it matters.

mod connect;
mod endpoint;
mod lease;
mod signal;
mod wire;

pub use connect::ConnectError;
pub use endpoint::{Endpoint, IdleLimits};
pub use lease::{Between, Lease, SendError};
pub use wire::HeadFields;
