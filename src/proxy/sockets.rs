//! Listening sockets: bound here, or handed over by whoever started this process.
//!
//! A duplicate of each is held beside the workers, so that the next process can have them:
//! a socket is closed for good only once its last duplicate is.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

const BACKLOG: i32 = 4096;

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A worker's thread cannot start.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
}

/// Sockets that listen already.
#[derive(Debug, Default)]
pub struct Inherited(Vec<HeldSockets>);

/// The sockets of one address.
#[derive(Debug)]
pub struct HeldSockets {
    /// As the configuration has it; port 0: the system has chosen.
    pub address: SocketAddr,
    /// One or more.
    pub sockets: Vec<TcpListener>,
}

impl From<Vec<HeldSockets>> for Inherited {
    fn from(held: Vec<HeldSockets>) -> Self {
        Self(held)
    }
}

impl Inherited {
    /// Adds a socket for an address.
    pub fn add(&mut self, address: SocketAddr, socket: TcpListener) {
        match self.0.iter_mut().find(|held| held.address == address) {
            Some(held) => held.sockets.push(socket),
            None => self.0.push(HeldSockets { address, sockets: vec![socket] }),
        }
    }

    /// The sockets of an address.
    pub fn take(&mut self, address: SocketAddr) -> Option<Vec<TcpListener>> {
        let index = self.0.iter().position(|held| held.address == address)?;
        Some(self.0.swap_remove(index).sockets)
    }

    /// All of them.
    pub fn all(&self) -> &[HeldSockets] {
        &self.0
    }
}

/// A socket for each worker and one to hold, all of one address.
pub(super) struct BoundAddress {
    /// As the system has it.
    pub(super) local: SocketAddr,
    /// At least one a worker; surplus ones of an earlier process are shared out.
    pub(super) per_worker: Vec<Vec<TcpListener>>,
    pub(super) held: HeldSockets,
}

/// The sockets of an address for so many workers: those that listen already, and new ones.
///
/// # Errors
/// An address that cannot be listened on.
pub(super) fn sockets(
    address: SocketAddr,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<BoundAddress, ProxyError> {
    let failed = |address: SocketAddr| move |source| ProxyError::Listen { address, source };
    let mut sockets = inherited.take(address).unwrap_or_default();
    if sockets.is_empty() {
        sockets.push(bind(address).map_err(failed(address))?);
    }
    // The first one may let the system choose a port; the others join it there.
    let local = sockets[0].local_addr().map_err(failed(address))?;
    while sockets.len() < workers {
        // A socket that somebody else has bound may share its address with nobody: then it
        // is shared itself.
        let shared = || sockets[0].try_clone();
        sockets.push(bind(local).or_else(|_| shared()).map_err(failed(local))?);
    }
    let mut per_worker: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut held = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        socket.set_nonblocking(true).map_err(failed(local))?;
        held.push(socket.try_clone().map_err(failed(local))?);
        per_worker[index % workers].push(socket);
    }
    Ok(BoundAddress { local, per_worker, held: HeldSockets { address, sockets: held } })
}

/// Makes sure that nobody listens there: sockets that share their address join those of another
/// process, too, and two Serins would halve the traffic without a word.
///
/// # Errors
/// Where somebody does, and has not handed the address over.
pub(super) fn claim(address: SocketAddr, inherited: &Inherited) -> Result<(), ProxyError> {
    if address.port() == 0 || inherited.all().iter().any(|held| held.address == address) {
        return Ok(());
    }
    open(address, false).map(drop).map_err(|source| ProxyError::Listen { address, source })
}

/// A socket that shares its address with the other workers': the kernel spreads connections.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, true)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
