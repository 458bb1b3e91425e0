//! Connecting to an app server.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::state::ServerState;
use crate::config::{Endpoint, Transport};
use crate::tls::Stream;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable, a name without an address, or a server that is not believed.
    #[error("cannot connect")]
    Failed(#[from] io::Error),
    /// Not in time.
    #[error("not connected in time")]
    Timeout,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Requests, by whichever version of HTTP the app server speaks.
    Any,
    /// A request that may turn it into another protocol: that is HTTP/1.1's.
    Upgrade,
}

/// The version of HTTP that a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

/// Opens a connection; of several addresses the one at `turn` is tried first.
pub(super) async fn connect(
    server: &ServerState,
    within: Duration,
    turn: usize,
    need: Need,
) -> Result<(Stream, Protocol), ConnectError> {
    let connecting = async {
        let socket = match server.resolved() {
            Some(known) if known.len() == 1 => TcpStream::connect(known[0]).await,
            Some(known) => {
                let (before, from) = known.split_at(turn % known.len());
                TcpStream::connect(&*[from, before].concat()).await
            }
            // Nobody has asked for the name yet.
            None => TcpStream::connect((server.address().host.as_str(), server.address().port)).await,
        }?;
        speak(server.address(), socket, need).await
    };
    Ok(tokio::time::timeout(within, connecting).await.map_err(|_| ConnectError::Timeout)??)
}

/// Begins to speak as the address says.
pub(super) async fn speak(address: &Endpoint, socket: TcpStream, need: Need) -> io::Result<(Stream, Protocol)> {
    // Small heads and bodies must not wait for each other's acknowledgements.
    socket.set_nodelay(true)?;
    match &address.transport {
        Transport::Http1 => Ok((Stream::Plain(socket), Protocol::Http1)),
        Transport::Http2 => Ok((Stream::Plain(socket), Protocol::Http2)),
        Transport::Tls(tls) => {
            let (stream, http2) = tls.connect(&address.host, socket, need == Need::Upgrade).await?;
            Ok((stream, if http2 { Protocol::Http2 } else { Protocol::Http1 }))
        }
    }
}
