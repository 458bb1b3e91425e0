//! Connections to app servers.
//!
//! Owns: which app server is next, whether one is well, idle connections per
//! endpoint and worker, connecting, sending one request over a connection.
//! Touches: the network.
//!
//! A connection is driven by the request that uses it: no task of its own, no
//! switch between tasks on the request's way. Whether an idle one still lives
//! shows when a request wants to use it, which is when it matters.

mod connect;
mod endpoint;
mod http2;
mod lease;
mod pool;
mod probe;
mod signal;
mod state;
mod wire;

pub use connect::{ConnectError, Need};
pub use endpoint::{Endpoint, IdleLimits};
pub use lease::{Between, Lease, SendError};
pub use pool::{Choice, InUse, NoServer, Pool};
pub use probe::{get, watch};
pub use state::{PoolState, ServerState};
pub use wire::HeadFields;
