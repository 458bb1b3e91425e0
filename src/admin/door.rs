//! The admin API's sockets: as they come, or by TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::access::Gates;
use crate::tls::Stream;

/// A handshake takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes at once; who comes then waits in the socket's queue.
const HANDSHAKES: usize = 64;
/// Descriptors may be used up.
const PAUSE: Duration = Duration::from_millis(20);

/// A listening socket of the admin API. Nobody's handshake holds up anybody else's.
pub struct Door {
    socket: TcpListener,
    gates: Option<Arc<Gates>>,
    shaken: Receiver<(Stream, SocketAddr)>,
    shakes: Sender<(Stream, SocketAddr)>,
}

impl Door {
    /// A socket whose clients speak TLS where the gates of now say so; without gates as they come.
    pub fn new(socket: TcpListener, gates: Option<Arc<Gates>>) -> Self {
        let (shakes, shaken) = channel(HANDSHAKES);
        Self { socket, gates, shaken, shakes }
    }
}

impl Listener for Door {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Stream, SocketAddr) {
        loop {
            let accepted = tokio::select! {
                Some(ready) = self.shaken.recv() => return ready,
                // A place in the queue first: handshakes are bounded.
                accepted = async { (self.shakes.clone().reserve_owned().await, self.socket.accept().await) } => accepted,
            };
            let (Ok(place), Ok((socket, peer))) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let _ = socket.set_nodelay(true);
            let Some(tls) = self.gates.as_ref().and_then(|gates| gates.tls()) else {
                return (Stream::Plain(socket), peer);
            };
            tokio::spawn(async move {
                match tokio::time::timeout(PATIENCE, tls.accept(socket)).await {
                    Ok(Ok(stream)) => drop(place.send((Stream::Tls(Box::new(stream.into())), peer))),
                    Ok(Err(error)) => tracing::debug!(%error, %peer, "no handshake with the admin API"),
                    Err(_) => tracing::debug!(%peer, "a handshake with the admin API took too long"),
                }
            });
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
