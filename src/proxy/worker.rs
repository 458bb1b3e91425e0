//! One worker: a thread, its runtime, its view of the snapshot.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use tokio::sync::mpsc::UnboundedReceiver;

use super::identity::CookieKey;
use super::listening::{Bound, Listening, Order, Orders};
use super::record::{Lines, Record};
use super::retired::Deployments;
use super::turn::Turnstile;
use super::view::{AppServers, View};
use crate::access_log::AccessLogWriter;
use crate::clock;
use crate::drain::Drain;
use crate::snapshot::Snapshot;
use crate::telemetry::{Loads, ProcessStats};

/// Who hangs is found to be slow at most this late, and lines of the access log are handed over.
const TICK: Duration = Duration::from_millis(50);
/// Latencies are at most this many ticks old in metrics.
const FLUSH: u32 = 5;

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
    /// How many descriptors there are for connections, where that is known.
    pub descriptors: Option<u64>,
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
    deployments: RefCell<Deployments>,
    ids: Cell<u64>,
    lines: Lines,
    pub(super) loads: Arc<Loads>,
    descriptors: Option<u64>,
    pub(super) orders: Orders,
    /// For what is much work at once.
    pub(super) turnstile: Rc<Turnstile>,
    /// Connections are cut: their requests end by nobody's fault.
    pub(super) cutting: Cell<bool>,
}

impl Worker {
    pub(super) fn new(index: usize, shared: Shared, orders: Orders) -> Self {
        let Shared { snapshot, stats, key, drain, access_log, loads, descriptors } = shared;
        let mut servers = AppServers::default();
        let mut deployments = Deployments::default();
        let view = View::new(snapshot.load_full(), index, None, &mut servers, &mut deployments, &stats);
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
            deployments: RefCell::new(deployments),
            ids: Cell::new(u64::from_le_bytes(seed) ^ index as u64),
            lines: Lines::new(access_log),
            loads,
            descriptors,
            orders,
            turnstile: Rc::default(),
            cutting: Cell::new(false),
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
        let mut deployments = self.deployments.borrow_mut();
        let new = View::new(Arc::clone(current), self.index, Some(&view), &mut servers, &mut deployments, &self.stats);
        let new = Rc::new(new);
        drop(view);
        *self.view.borrow_mut() = Rc::clone(&new);
        new
    }

    /// Client connections that may be open at once: a quarter of the descriptors is for app servers.
    pub(super) fn connections_max(&self) -> u64 {
        let configured = self.view().snapshot.config.limits.connections as u64;
        self.descriptors.map_or(configured, |descriptors| configured.min((descriptors - descriptors / 4).max(1)))
    }

    /// A connection that was counted for a worker is gone.
    pub(super) fn connection_left(&self, worker: usize) {
        self.stats.connection_closed();
        self.loads.left(worker);
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

/// Serves until it is told to end.
pub(super) async fn run(worker: Worker, listeners: Bound, mut orders: UnboundedReceiver<Order>) {
    let worker = Rc::new(worker);
    let turnstile = Rc::clone(&worker.turnstile);
    tokio::task::spawn_local(async move { turnstile.turn().await });
    let mut open = Listening::default();
    listeners.into_iter().for_each(|(socket, listener)| open.listen(socket, listener, &worker));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tick = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(order) = orders.recv() => {
                if matches!(order, Order::End) {
                    // What is left of connections ends with the runtime, which drops them next.
                    worker.cutting.set(true);
                    return;
                }
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
            worker.deployments.borrow_mut().sweep(now, view.snapshot.config.drain.timeout);
        }
    }
}
