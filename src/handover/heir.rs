//! The next process: what it takes over, and from whom.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use listenfd::ListenFd;

use super::channel::Channel;
use super::successor::VARIABLE;
use super::{For, Inheritance, Message};
use crate::config::Config;

/// The one before writes its state meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// This process as the next one of another.
#[derive(Debug)]
pub struct Heir(Channel);

impl Heir {
    /// Whether another process hands over to this one.
    ///
    /// # Errors
    /// Where the environment says so and standard input does not.
    pub fn of_this_process() -> io::Result<Option<Self>> {
        match std::env::var_os(VARIABLE) {
            Some(_) => Ok(Some(Self(Channel::of_stdin()?))),
            None => Ok(None),
        }
    }

    /// Takes everything over: this process could start, so the one before rests.
    ///
    /// # Errors
    /// Where the one before does not hand over.
    pub fn take(&self) -> io::Result<Inheritance> {
        self.0.send(&Message::Ready, &[])?;
        let mut inheritance = Inheritance::default();
        loop {
            let (message, descriptors) = self.0.receive(PATIENCE)?;
            match message {
                Message::Sockets(purpose, address) => {
                    for socket in descriptors.into_iter().map(TcpListener::from) {
                        inheritance.add(purpose, address, socket);
                    }
                }
                Message::Lock => inheritance.lock = descriptors.into_iter().next().map(File::from),
                Message::Take => return Ok(inheritance),
                other => return Err(io::Error::other(format!("it says {other:?}"))),
            }
        }
    }

    /// This process serves: the one before may go.
    ///
    /// # Errors
    /// Where the one before has gone on instead.
    pub fn serves(self) -> io::Result<()> {
        self.0.send(&Message::Serving, &[])
    }
}

impl Inheritance {
    fn add(&mut self, purpose: For, address: SocketAddr, socket: TcpListener) {
        match purpose {
            For::Clients => self.listeners.add(address, socket),
            For::Admin => self.admin = Some((address, socket)),
            For::Health => self.health = Some((address, socket)),
            For::Ofrep => self.ofrep = Some((address, socket)),
        }
    }
}

/// A socket of systemd's that is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// Nobody listens there.
    #[error("a socket for {address} was handed over, but the configuration listens on {configured}")]
    Unknown {
        /// Its address.
        address: SocketAddr,
        /// What the configuration has.
        configured: String,
    },
    /// It is no TCP socket.
    #[error("what was handed over is no listening TCP socket")]
    Socket(#[from] io::Error),
}

/// What systemd hands over (sd_listen_fds(3)): each socket belongs to the address of the
/// configuration that it is bound to.
///
/// # Errors
/// A socket that no address of the configuration is for.
pub fn activated(config: &Config) -> Result<Inheritance, ActivationError> {
    let mut given = ListenFd::from_env();
    let mut inheritance = Inheritance::default();
    for index in 0..given.len() {
        let ofrep = config.ofrep.as_ref().map(|ofrep| ofrep.address);
        let Some(socket) = given.take_tcp_listener(index)? else { continue };
        let address = socket.local_addr()?;
        let purpose = if config.listeners.iter().any(|listener| listener.address == address) {
            For::Clients
        } else if config.admin.address == address {
            For::Admin
        } else if config.health == Some(address) {
            For::Health
        } else if ofrep == Some(address) {
            For::Ofrep
        } else {
            let clients = config.listeners.iter().map(|listener| listener.address);
            let all: Vec<String> = clients
                .chain([config.admin.address])
                .chain(config.health)
                .chain(ofrep)
                .map(|address| address.to_string())
                .collect();
            return Err(ActivationError::Unknown { address, configured: all.join(", ") });
        };
        inheritance.add(purpose, address, socket);
    }
    Ok(inheritance)
}
