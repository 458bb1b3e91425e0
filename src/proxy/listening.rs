//! A worker's listeners: who is let in, and which worker serves them.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::connection::serve;
use super::worker::Worker;
use crate::config::Listener;

/// How often accepting looks whether it may go on.
const PAUSE: Duration = Duration::from_millis(20);

/// So many are let in before those who are in have their turn.
const ACCEPT_AT_ONCE: u32 = 4;

/// A worker's sockets.
pub(super) type Bound = Vec<(StdListener, Arc<Listener>)>;

/// How workers speak to each other, and are spoken to.
pub(super) type Orders = Arc<[UnboundedSender<Order>]>;

/// What a worker is told while it runs.
pub(super) enum Order {
    /// Clients connect there, too.
    Listen(StdListener, Arc<Listener>),
    /// What is known of a listener is this now.
    Change(Arc<Listener>),
    /// Nobody is accepted there any more.
    Close(SocketAddr),
    /// A fresh connection, accepted by a worker that has well more than this one.
    Serve(StdStream, SocketAddr, Arc<Listener>),
    /// Connections that are still open are cut, and the worker ends.
    End,
}

/// A worker's listeners.
#[derive(Default)]
pub(super) struct Listening(Vec<Rc<Ear>>);

/// One of them.
struct Ear {
    listener: RefCell<Arc<Listener>>,
    closing: Notify,
}

impl Listening {
    pub(super) fn listen(&mut self, socket: StdListener, listener: Arc<Listener>, worker: &Rc<Worker>) {
        match TcpListener::from_std(socket) {
            Ok(socket) => {
                let ear = Rc::new(Ear { listener: RefCell::new(listener), closing: Notify::new() });
                tokio::task::spawn_local(accept(socket, Rc::clone(&ear), Rc::clone(worker)));
                self.0.push(ear);
            }
            Err(error) => tracing::error!(%error, address = %listener.address, "a listener is lost"),
        }
    }

    pub(super) fn follow(&mut self, order: Order, worker: &Rc<Worker>) {
        match order {
            Order::Listen(socket, listener) => self.listen(socket, listener, worker),
            Order::Change(listener) => {
                // An address may have several sockets.
                let of_address = |ear: &&Rc<Ear>| ear.listener.borrow().address == listener.address;
                let ears: Vec<&Rc<Ear>> = self.0.iter().filter(of_address).collect();
                ears.into_iter().for_each(|ear| *ear.listener.borrow_mut() = Arc::clone(&listener));
            }
            Order::Close(address) => self.0.retain(|ear| {
                let stays = ear.listener.borrow().address != address;
                if !stays {
                    ear.closing.notify_one();
                }
                stays
            }),
            Order::Serve(stream, peer, listener) => match TcpStream::from_std(stream) {
                Ok(stream) => serve_here(stream, peer, listener, worker),
                Err(error) => {
                    worker.connection_left(worker.index);
                    tracing::warn!(%error, "a connection is lost between two workers");
                }
            },
            Order::End => {}
        }
    }
}

/// Accepts until nobody is to be accepted any more; who waits then is still let in: a
/// listener that closes resets what is queued at it.
async fn accept(socket: TcpListener, ear: Rc<Ear>, worker: Rc<Worker>) {
    tokio::select! {
        () = accept_all(&socket, &ear, &worker) => {}
        () = worker.drain.accepting_has_stopped() => {}
        () = ear.closing.notified() => {}
    }
    while let Poll::Ready(Ok((stream, peer))) = poll_fn(|cx| Poll::Ready(socket.poll_accept(cx))).await {
        open(stream, peer, &ear, &worker);
    }
}

async fn accept_all(socket: &TcpListener, ear: &Ear, worker: &Rc<Worker>) {
    let mut failing = false;
    let mut at_once = 0;
    loop {
        // Over the limit, accepting pauses: the kernel's queue holds what comes.
        while worker.stats.open() >= worker.connections_max() {
            tokio::time::sleep(PAUSE).await;
        }
        match socket.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                open(stream, peer, ear, worker);
                at_once += 1;
                if at_once == ACCEPT_AT_ONCE {
                    at_once = 0;
                    tokio::task::yield_now().await;
                }
            }
            Err(error) => {
                // Said once, until it goes well again.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, address = %ear.listener.borrow().address, "cannot accept");
                }
                // Descriptors may be used up: without a pause this would spin.
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn open(stream: TcpStream, peer: SocketAddr, ear: &Ear, worker: &Rc<Worker>) {
    // Small heads and bodies must not wait for each other's acknowledgements.
    let _ = stream.set_nodelay(true);
    let listener = Arc::clone(&ear.listener.borrow());
    // Counted from here on, wherever it is served.
    worker.stats.connection_opened();
    let place = worker.loads.place(worker.index);
    if place == worker.index {
        return serve_here(stream, peer, listener, worker);
    }
    let gone = |_| worker.connection_left(place);
    match stream.into_std() {
        Ok(stream) => worker.orders[place].send(Order::Serve(stream, peer, listener)).unwrap_or_else(gone),
        Err(error) => {
            worker.connection_left(place);
            tracing::warn!(%error, "a connection is lost between two workers");
        }
    }
}

/// Serves a connection that is counted already.
fn serve_here(stream: TcpStream, peer: SocketAddr, listener: Arc<Listener>, worker: &Rc<Worker>) {
    let open = Open(Rc::clone(worker));
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _open = open;
        serve(stream, peer, listener, worker).await;
    });
}

/// A connection that is counted as open, whichever way its task ends.
struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connection_left(self.0.index);
        if std::thread::panicking() {
            self.0.stats.panicked();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::worker::{Shared, Worker};
    use super::*;
    use crate::control::{Controller, Setup};
    use crate::proxy::CookieKey;
    use crate::store::{Folder, Writer};

    fn shared(folder: &std::path::Path) -> Shared {
        let text = "listen: 127.0.0.1:0\nstable: http://a";
        let controller = Controller::new(Setup {
            config: Arc::new(crate::config::from_text(text, std::path::Path::new("t")).unwrap()),
            workers: 1,
            variables: Default::default(),
            flags: None,
            deployments: None,
            checkpoint: Default::default(),
            writer: Writer::start(Folder::open(folder).unwrap()).unwrap(),
        });
        Shared {
            snapshot: controller.snapshot(),
            stats: Arc::default(),
            key: CookieKey::new([7; 16]),
            drain: Arc::default(),
            access_log: crate::access_log::AccessLogWriter::start().unwrap(),
            loads: Arc::new(crate::telemetry::Loads::new(1)),
            descriptors: None,
        }
    }

    /// No input is known that brings this about: it is made up.
    #[test]
    fn a_panic_ends_one_connection_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        let stats = Arc::clone(&shared.stats);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let worker = Rc::new(Worker::new(0, shared, Vec::new().into()));
        let open = || {
            worker.stats.connection_opened();
            worker.loads.place(0);
            Open(Rc::clone(&worker))
        };
        let (faulty, other) = (open(), open());
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let faulty = tokio::task::spawn_local(async move {
                let _open = faulty;
                panic!("made up");
            });
            let other = tokio::task::spawn_local(async move {
                tokio::task::yield_now().await;
                drop(other);
                "served"
            });
            assert!(faulty.await.unwrap_err().is_panic());
            assert_eq!(other.await.unwrap(), "served");
        });
        assert_eq!((stats.panics(), stats.open()), (1, 0));
    }
}
