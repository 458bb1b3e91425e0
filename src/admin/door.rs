//! Sockets of the admin API and of other routers: as they come, or by TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::tls::{ServerTls, Stream};

/// A handshake takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Handshakes at once; who comes then waits in the socket's queue.
const HANDSHAKES: usize = 64;
/// Descriptors may be used up.
const PAUSE: Duration = Duration::from_millis(20);

/// What a door's clients speak now, where that is TLS: a reload may bring another one.
pub type TlsOfNow = Arc<dyn Fn() -> Option<ServerTls> + Send + Sync>;

/// A listening socket of a router. Nobody's handshake holds up anybody else's.
pub struct Door {
    socket: TcpListener,
    tls: TlsOfNow,
    shaken: Receiver<(Stream, SocketAddr)>,
    shakes: Sender<(Stream, SocketAddr)>,
}

impl Door {
    /// A socket whose clients speak what `tls` says.
    pub fn new(socket: TcpListener, tls: TlsOfNow) -> Self {
        let (shakes, shaken) = channel(HANDSHAKES);
        Self { socket, tls, shaken, shakes }
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
            let Some(tls) = (self.tls)() else {
                return (Stream::Plain(socket), peer);
            };
            tokio::spawn(async move {
                match tokio::time::timeout(PATIENCE, tls.accept(socket)).await {
                    Ok(Ok(stream)) => drop(place.send((Stream::Tls(Box::new(stream.into())), peer))),
                    Ok(Err(error)) => tracing::debug!(%error, %peer, "no handshake"),
                    Err(_) => tracing::debug!(%peer, "a handshake took too long"),
                }
            });
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}
