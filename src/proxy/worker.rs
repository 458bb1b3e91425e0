//! One worker: a thread, its runtime, its listeners, its view of the snapshot.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection::serve;
use super::identity::CookieKey;
use super::record::{Lines, Record};
use super::sockets::{HeldSockets, Inherited, sockets};
use super::view::{AppServers, View};
use crate::access_log::AccessLogWriter;
use crate::clock;
use crate::config::{Config, Listener};
use crate::drain::Drain;
use crate::snapshot::Snapshot;
use crate::telemetry::{Loads, ProcessStats};

/// Who hangs is found to be slow at most this late, and lines of the access log are handed over.
pub const TICK: Duration = Duration::from_millis(50);
/// Latencies are at most this many ticks old in metrics.
const FLUSH: u32 = 5;
/// How often accepting looks whether it may go on.
const PAUSE: Duration = Duration::from_millis(20);

/// What all workers share.
#[derive(Clone)]
pub struct Shared {
    /// The current snapshot.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Counts of the process.
    pub stats: Arc<ProcessStats>,
    /// The secret of the anonymous cookie.
    pub key: CookieKey,
    /// Whether the process is ending.
    pub drain: Arc<Drain>,
    /// Who writes the access log.
    pub access_log: AccessLogWriter,
    /// How many connections each worker has.
    pub loads: Arc<Loads>,
}

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

/// Bound listeners, a set for each worker, ready to run.
pub struct Proxy {
    shared: Shared,
    bound: BoundAll,
}

/// A worker's sockets.
type Bound = Vec<(StdListener, Arc<Listener>)>;

/// Workers that run, and how they hear of other listeners.
pub struct Workers {
    orders: Orders,
    /// Duplicates of their sockets, for the next process.
    held: Mutex<Vec<HeldSockets>>,
}

type Orders = Arc<[UnboundedSender<Order>]>;

/// What a worker is told while it runs.
enum Order {
    /// Clients connect there, too.
    Listen(StdListener, Arc<Listener>),
    /// What is known of a listener is this now.
    Change(Arc<Listener>),
    /// Nobody is accepted there any more.
    Close(SocketAddr),
    /// A fresh connection, accepted by a worker that has well more than this one.
    Serve(StdStream, SocketAddr, Arc<Listener>),
}

/// Sockets for addresses that were not listened on, before anything has changed.
pub struct NewListeners(BoundAll);

impl Proxy {
    /// Binds all listeners, for this many workers.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn bind(
        config: &Config,
        workers: usize,
        shared: Shared,
        inherited: &mut Inherited,
    ) -> Result<Self, ProxyError> {
        Ok(Self { shared, bound: BoundAll::bind(&config.listeners, workers, inherited)? })
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.bound.addresses
    }

    /// Starts a thread for each worker; they run as long as the process.
    ///
    /// # Errors
    /// Where the system gives no more threads.
    pub fn start(self) -> Result<Workers, ProxyError> {
        let (orders, told): (Vec<_>, Vec<_>) = self.bound.sets.iter().map(|_| unbounded_channel()).unzip();
        let orders: Orders = orders.into();
        for ((index, listeners), told) in self.bound.sets.into_iter().enumerate().zip(told) {
            let (shared, orders) = (self.shared.clone(), Arc::clone(&orders));
            let (started, outcome) = std::sync::mpsc::sync_channel(1);
            std::thread::Builder::new()
                .name(format!("serin-worker-{index}"))
                .spawn(move || {
                    // Tasks stay on this thread, so it has to be made here.
                    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                    match runtime {
                        Ok(runtime) => {
                            let _ = started.send(Ok(()));
                            runtime.block_on(run(Worker::new(index, shared, orders), listeners, told));
                        }
                        Err(error) => drop(started.send(Err(error))),
                    }
                })
                .map_err(ProxyError::Worker)?;
            let ended = || Err(io::Error::other("the worker's thread ended"));
            outcome.recv().unwrap_or_else(|_| ended()).map_err(ProxyError::Worker)?;
        }
        Ok(Workers { orders, held: Mutex::new(self.bound.held) })
    }
}

impl Workers {
    /// Duplicates of all sockets, to be handed over.
    ///
    /// # Errors
    /// Where the system gives no more descriptors.
    pub fn duplicates(&self) -> io::Result<Vec<HeldSockets>> {
        let held = self.held();
        let duplicate = |held: &HeldSockets| {
            let sockets = held.sockets.iter().map(StdListener::try_clone).collect::<io::Result<_>>()?;
            Ok(HeldSockets { address: held.address, sockets })
        };
        held.iter().map(duplicate).collect()
    }

    /// From now on the sockets close where the workers close theirs.
    pub fn release(&self) {
        self.held().clear();
    }

    fn held(&self) -> MutexGuard<'_, Vec<HeldSockets>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Binds what was not listened on before: the first part of a change, which may fail.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn bind_new(&self, before: &[Listener], now: &[Listener]) -> Result<NewListeners, ProxyError> {
        let fresh = |listener: &&Listener| !before.iter().any(|known| known.address == listener.address);
        let fresh: Vec<Listener> = now.iter().filter(fresh).cloned().collect();
        Ok(NewListeners(BoundAll::bind(&fresh, self.orders.len(), &mut Inherited::default())?))
    }

    /// The second part: new ones are listened on, others change or close. Connections that
    /// are open stay.
    pub fn change(&self, before: &[Listener], now: &[Listener], new: NewListeners) {
        let order = |worker: usize, order: Order| {
            // A worker lives as long as the process.
            let _ = self.orders[worker].send(order);
        };
        let mut held = self.held();
        held.extend(new.0.held);
        // The workers' own are to be the last ones: who waits at them is let in before they close.
        held.retain(|held| now.iter().any(|listener| listener.address == held.address));
        drop(held);
        for (worker, bound) in new.0.sets.into_iter().enumerate() {
            bound.into_iter().for_each(|(socket, listener)| order(worker, Order::Listen(socket, listener)));
        }
        for listener in before {
            let stays = now.iter().find(|known| known.address == listener.address);
            for worker in 0..self.orders.len() {
                order(
                    worker,
                    match stays {
                        Some(now) => Order::Change(Arc::new(now.clone())),
                        None => Order::Close(listener.address),
                    },
                );
            }
        }
    }
}

/// Sockets for all listeners, a set for each worker.
struct BoundAll {
    sets: Vec<Bound>,
    addresses: Vec<SocketAddr>,
    held: Vec<HeldSockets>,
}

impl BoundAll {
    fn bind(listeners: &[Listener], workers: usize, inherited: &mut Inherited) -> Result<Self, ProxyError> {
        let sets = (0..workers).map(|_| Vec::new()).collect();
        let mut all = Self { sets, addresses: Vec::new(), held: Vec::new() };
        for listener in listeners {
            let bound = sockets(listener.address, workers, inherited)?;
            let listener = Arc::new(listener.clone());
            for (set, sockets) in all.sets.iter_mut().zip(bound.per_worker) {
                set.extend(sockets.into_iter().map(|socket| (socket, Arc::clone(&listener))));
            }
            all.addresses.push(bound.local);
            all.held.push(bound.held);
        }
        Ok(all)
    }
}

async fn run(worker: Worker, listeners: Bound, mut orders: UnboundedReceiver<Order>) {
    let worker = Rc::new(worker);
    let mut open = Listening(Vec::new());
    listeners.into_iter().for_each(|(socket, listener)| open.listen(socket, listener, &worker));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tick = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(order) = orders.recv() => {
                open.follow(order, &worker);
                continue;
            }
        }
        tick = (tick + 1) % FLUSH;
        let (view, now) = (worker.view(), clock::now());
        view.find_slow(now);
        worker.lines.hand_over();
        if tick == 0 {
            view.flush();
            worker.servers.borrow_mut().sweep(now);
        }
    }
}

/// A worker's listeners.
struct Listening(Vec<Rc<Ear>>);

/// One of them.
struct Ear {
    listener: RefCell<Arc<Listener>>,
    closing: Notify,
}

impl Listening {
    fn listen(&mut self, socket: StdListener, listener: Arc<Listener>, worker: &Rc<Worker>) {
        match TcpListener::from_std(socket) {
            Ok(socket) => {
                let ear = Rc::new(Ear { listener: RefCell::new(listener), closing: Notify::new() });
                tokio::task::spawn_local(accept(socket, Rc::clone(&ear), Rc::clone(worker)));
                self.0.push(ear);
            }
            Err(error) => tracing::error!(%error, address = %listener.address, "a listener is lost"),
        }
    }

    fn follow(&mut self, order: Order, worker: &Rc<Worker>) {
        match order {
            Order::Listen(socket, listener) => self.listen(socket, listener, worker),
            Order::Change(listener) => {
                let same = self.0.iter().find(|ear| ear.listener.borrow().address == listener.address);
                same.into_iter().for_each(|ear| *ear.listener.borrow_mut() = Arc::clone(&listener));
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
                    worker.loads.left(worker.index);
                    tracing::warn!(%error, "a connection is lost between two workers");
                }
            },
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
    loop {
        // Over the limit, accepting pauses: the kernel's queue holds what comes.
        while worker.stats.open() >= worker.view().snapshot.config.limits.connections as u64 {
            tokio::time::sleep(PAUSE).await;
        }
        match socket.accept().await {
            Ok((stream, peer)) => open(stream, peer, ear, worker),
            Err(error) => {
                // Descriptors may be used up: without a pause this would spin.
                tracing::warn!(%error, address = %ear.listener.borrow().address, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn open(stream: TcpStream, peer: SocketAddr, ear: &Ear, worker: &Rc<Worker>) {
    // Small heads and bodies must not wait for each other's acknowledgements.
    let _ = stream.set_nodelay(true);
    let listener = Arc::clone(&ear.listener.borrow());
    let place = worker.loads.place(worker.index);
    if place == worker.index {
        return serve_here(stream, peer, listener, worker);
    }
    let gone = |_| worker.loads.left(place);
    match stream.into_std() {
        Ok(stream) => worker.orders[place].send(Order::Serve(stream, peer, listener)).unwrap_or_else(gone),
        Err(error) => {
            worker.loads.left(place);
            tracing::warn!(%error, "a connection is lost between two workers");
        }
    }
}

/// Serves a connection that is counted already.
fn serve_here(stream: TcpStream, peer: SocketAddr, listener: Arc<Listener>, worker: &Rc<Worker>) {
    let open = Open::new(Rc::clone(worker));
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _open = open;
        serve(stream, peer.ip(), listener, worker).await;
    });
}

/// A connection that is counted as open, whichever way its task ends.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: Rc<Worker>) -> Self {
        worker.stats.connection_opened();
        Self(worker)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.stats.connection_closed();
        self.0.loads.left(self.0.index);
    }
}

/// What a worker has of its own.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) stats: Arc<ProcessStats>,
    pub(super) key: CookieKey,
    pub(super) drain: Arc<Drain>,
    snapshots: RefCell<Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>>,
    view: RefCell<Rc<View>>,
    servers: RefCell<AppServers>,
    ids: Cell<u64>,
    lines: Lines,
    loads: Arc<Loads>,
    orders: Orders,
}

impl Worker {
    fn new(index: usize, shared: Shared, orders: Orders) -> Self {
        let Shared { snapshot, stats, key, drain, access_log, loads } = shared;
        let mut servers = AppServers::default();
        let view = View::new(snapshot.load_full(), index, None, &mut servers, &stats);
        let mut seed = [0_u8; 8];
        // Ids need to differ, not to be secret: without a source the index tells workers apart.
        let _ = getrandom::fill(&mut seed);
        Self {
            index,
            stats,
            key,
            drain,
            snapshots: RefCell::new(Cache::new(snapshot)),
            view: RefCell::new(Rc::new(view)),
            servers: RefCell::new(servers),
            ids: Cell::new(u64::from_le_bytes(seed) ^ index as u64),
            lines: Lines::new(access_log),
            loads,
            orders,
        }
    }

    /// The view of the current snapshot.
    pub(super) fn view(&self) -> Rc<View> {
        let mut snapshots = self.snapshots.borrow_mut();
        let current = snapshots.load();
        let view = self.view.borrow();
        if Arc::ptr_eq(&view.snapshot, current) {
            return Rc::clone(&view);
        }
        let mut servers = self.servers.borrow_mut();
        let new = Rc::new(View::new(Arc::clone(current), self.index, Some(&view), &mut servers, &self.stats));
        drop(view);
        *self.view.borrow_mut() = Rc::clone(&new);
        new
    }

    /// Writes what is known of a request, where an access log is kept by now.
    pub(super) fn log(&self, record: Box<Record>) {
        if let Some(log) = &self.view().snapshot.config.access_log {
            self.lines.add(record, log);
        }
    }

    /// A number that no other request has.
    pub(super) fn request_id(&self) -> u128 {
        (u128::from(self.random()) << 64) | u128::from(self.random())
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    pub(super) fn random(&self) -> u64 {
        let state = self.ids.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.ids.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
