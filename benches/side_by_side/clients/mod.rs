//! The clients of one proxy: connected all the time, busy when it is their proxy's turn.

mod http1;
mod http2;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::certificate::{Certificate, HOST};
use crate::workload::{Traffic, Workload};

const USERS: usize = 10_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Default)]
pub(crate) struct Clients {
    busy: Cell<bool>,
    go: Notify,
    answers: Cell<u64>,
    failure: RefCell<Option<String>>,
}

impl Clients {
    /// Starts the clients that `workload` wants for the proxy at `address`.
    pub(crate) fn start(address: SocketAddr, workload: &'static Workload, certificate: &Certificate) -> Rc<Self> {
        let clients = Rc::new(Self::default());
        let protocol = if workload.traffic == Traffic::Http2 { "h2" } else { "http/1.1" };
        let connector = certificate.connector(protocol);
        for connection in 0..workload.connections {
            let users = Users::from(connection, workload.connections);
            let (gate, connector) = (Rc::clone(&clients), connector.clone());
            clients.spawn(async move {
                let tls = async |stream| -> io::Result<TlsStream<TcpStream>> {
                    connector.connect(ServerName::try_from(HOST).unwrap(), stream).await
                };
                match workload.traffic {
                    Traffic::KeepAlive => http1::keep_alive(connect(address).await?, workload, users, gate).await,
                    Traffic::Tls => http1::keep_alive(tls(connect(address).await?).await?, workload, users, gate).await,
                    Traffic::Closing => http1::closing(address, workload, users, gate).await,
                    Traffic::Http2 => http2::streams(tls(connect(address).await?).await?, workload, users, gate).await,
                    Traffic::Grpc => http2::streams(connect(address).await?, workload, users, gate).await,
                }
            });
        }
        clients
    }

    /// Runs a client until it fails; the first failure is kept.
    fn spawn(self: &Rc<Self>, client: impl Future<Output = Outcome<Infallible>> + 'static) {
        let clients = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let Err(error) = client.await;
            clients.failure.borrow_mut().get_or_insert_with(|| error.to_string());
        });
    }

    pub(crate) fn begin(&self) {
        self.busy.set(true);
        self.go.notify_waiters();
    }

    pub(crate) fn pause(&self) {
        self.busy.set(false);
    }

    /// Whole and right answers so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.get()
    }

    /// Why what is measured says nothing any more.
    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    async fn turn(&self) {
        while !self.busy.get() {
            self.go.notified().await;
        }
    }

    fn answered(&self) {
        self.answers.set(self.answers.get() + 1);
    }
}

/// Each client asks for all users in a circle, from a place of its own on.
struct Users {
    last: usize,
}

impl Users {
    fn from(part: usize, parts: usize) -> Self {
        Self { last: part * USERS / parts }
    }

    /// As many circles as there are streams, evenly apart on this one's part.
    fn split(&self, streams: usize, parts: usize) -> Vec<Self> {
        (0..streams).map(|stream| Self { last: self.last + stream * USERS / parts / streams }).collect()
    }

    fn next(&mut self) -> usize {
        self.last = (self.last + 1) % USERS;
        self.last
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
