//! Connecting to an app server.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::config;

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

/// Opens a connection, by name or address.
pub(super) async fn connect(endpoint: &config::Endpoint, within: Duration) -> Result<TcpStream, ConnectError> {
    let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let stream = tokio::time::timeout(within, connecting).await.map_err(|_| ConnectError::Timeout)??;
    // Small heads and bodies must not wait for each other's acknowledgements.
    stream.set_nodelay(true)?;
    Ok(stream)
}
