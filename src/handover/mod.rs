//! From one process to the next, without a moment in which nobody listens.
//!
//! Owns: what is handed over and the talk about it. Touches: a socket pair between the two
//! processes; descriptors pass through it. The next process is a child of the one before,
//! with the pair's other end as its standard input. The talk:
//!
//! 1. the next one has read its configuration: *ready* (or it ends, and nothing has changed);
//! 2. the one before has written its state and rests: sockets, the folder's lock, *take*;
//! 3. the next one serves: *serving*, and the one before drains. Where that does not come,
//!    the one before goes on as if nothing had happened.
//!
//! What systemd hands over (socket activation) is taken up here, too.

mod channel;
mod heir;
mod successor;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};

pub use heir::{ActivationError, Heir, activated};
pub use successor::{Early, HandoverError, Successor};

use crate::proxy::Inherited;

/// What another process hands over.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// Where clients connect.
    pub listeners: Inherited,
    /// The admin API's socket, and the address that it is for.
    pub admin: Option<(SocketAddr, TcpListener)>,
    /// The same of probes and scrapes.
    pub health: Option<(SocketAddr, TcpListener)>,
    /// The same of apps that ask for flags.
    pub ofrep: Option<(SocketAddr, TcpListener)>,
    /// The lock of the state's folder.
    pub lock: Option<File>,
}

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum For {
    Clients,
    Admin,
    Health,
    Ofrep,
}

/// What the two processes say to each other.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Message {
    /// The next one could start.
    Ready,
    /// Sockets of an address go with it.
    Sockets(For, SocketAddr),
    /// The folder's lock goes with it.
    Lock,
    /// That was all, and the state is yours.
    Take,
    /// The next one serves.
    Serving,
}
