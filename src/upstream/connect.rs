//! Connecting to an app server.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use super::state::ServerState;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable, or a name without an address.
    #[error("cannot connect")]
    Failed(#[from] io::Error),
    /// Not in time.
    #[error("not connected in time")]
    Timeout,
}

/// Opens a connection; of several addresses the one at `turn` is tried first.
pub(super) async fn connect(server: &ServerState, within: Duration, turn: usize) -> Result<TcpStream, ConnectError> {
    let connecting = async {
        match server.resolved() {
            Some(known) if known.len() == 1 => TcpStream::connect(known[0]).await,
            Some(known) => {
                let (before, from) = known.split_at(turn % known.len());
                TcpStream::connect(&*[from, before].concat()).await
            }
            // Nobody has asked for the name yet.
            None => TcpStream::connect((server.address().host.as_str(), server.address().port)).await,
        }
    };
    let stream = tokio::time::timeout(within, connecting).await.map_err(|_| ConnectError::Timeout)??;
    // Small heads and bodies must not wait for each other's acknowledgements.
    stream.set_nodelay(true)?;
    Ok(stream)
}
