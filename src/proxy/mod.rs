//! The data plane: the way of a request from a client to an app server and back.
//!
//! Owns: client connections, header rules, identity, assignment, outcomes.
//! Touches: the network, `decide`, `upstream`, `subject`, the current snapshot.
//! It never calls `control`: it reads snapshots and reports to subjects.
//!
//! One thread a core with a runtime of its own; nothing on the request's way is
//! shared between them or locked. The phases of a request, and what may fail:
//!
//! 1. `arrival`: PROXY header, TLS, HTTP/1.1 or 2. `connection`, `http2`: bytes become
//!    a head. Too slow: 408. Not HTTP: 400, 431. A `flood` of frames ends the connection.
//! 2. `head`: what is ambiguous is refused (400, 413, 414).
//! 3. `handler`: the service by host and path (404), then `identity`, the
//!    bucket, the dial's word: an `Assignment`.
//! 4. `headers`: what passes, then what is injected.
//! 5. `attempt`: a connection, the request, the head of the answer (502, 503, 504);
//!    `rescue`: what is tried once more, so that a bad answer is not the client's.
//! 6. `body`: the answer as it comes; after 101 a `tunnel`.
//! 7. `exchange`: the outcome, whichever way it ended.

mod added;
mod answer;
pub(crate) mod arrival;
mod attempt;
mod body;
mod budget;
mod connection;
mod examine;
mod exchange;
mod flood;
mod force;
mod handler;
mod head;
mod headers;
mod http2;
mod identity;
mod interim;
mod io;
mod lines;
mod listening;
mod record;
mod rescue;
mod retired;
mod sockets;
mod timer;
mod tunnel;
mod turn;
mod upload;
mod view;
mod visitor;
mod waiting;
mod worker;
mod workers;

pub use examine::examine;
pub use identity::CookieKey;
pub use sockets::{HeldSockets, Inherited, ProxyError};
pub(crate) use visitor::{Visitor, VisitorIdentity};
pub use worker::Shared;
pub use workers::{NewListeners, Proxy, Workers};
