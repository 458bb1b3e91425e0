//! One worker's view of a snapshot: the same services with this worker's own
//! connections, latencies and waiting requests. Nothing in it is shared.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::body::RequestBody;
use super::headers::Protected;
use super::waiting::{Ticket, Waiting};
use crate::config;
use crate::decide::time::Moment;
use crate::snapshot::{ServiceState, Snapshot};
use crate::subject::{NOTHING_WAITS, Subject, Track};
use crate::telemetry::{LocalLatency, ProcessStats};
use crate::upstream::{Endpoint, IdleLimits};

pub(super) type AppServer = Endpoint<RequestBody>;

/// Connections outlive views: an app server is known by its address and limits.
#[derive(Default)]
pub(super) struct AppServers(HashMap<config::Endpoint, (IdleLimits, Rc<AppServer>)>);

impl AppServers {
    fn take(&mut self, address: &config::Endpoint, limits: IdleLimits, stats: &Arc<ProcessStats>) -> Rc<AppServer> {
        match self.0.get(address) {
            Some((known, server)) if *known == limits => Rc::clone(server),
            _ => {
                let server = Rc::new(Endpoint::new(address.clone(), limits, Arc::clone(stats)));
                self.0.insert(address.clone(), (limits, Rc::clone(&server)));
                server
            }
        }
    }

    /// Closes what has been idle for too long, and forgets who is in no view any more.
    pub(super) fn sweep(&mut self, now: Moment) {
        self.0.retain(|_, (_, server)| {
            server.sweep(now);
            Rc::strong_count(server) > 1
        });
    }
}

pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) services: Box<[Rc<ServiceView>]>,
    pub(super) protected: Rc<Protected>,
}

impl View {
    pub(super) fn new(
        snapshot: Arc<Snapshot>,
        worker: usize,
        before: Option<&Self>,
        servers: &mut AppServers,
        stats: &Arc<ProcessStats>,
    ) -> Self {
        let service =
            |state: &Arc<ServiceState>| Rc::new(ServiceView::new(Arc::clone(state), worker, before, servers, stats));
        Self {
            services: snapshot.services.iter().map(service).collect(),
            protected: Rc::new(Protected::new(&snapshot.config.flags.prefix)),
            snapshot,
        }
    }

    pub(super) fn flush(&self) {
        self.services.iter().for_each(|service| service.flush());
    }
}

pub(super) struct ServiceView {
    pub(super) state: Arc<ServiceState>,
    worker: usize,
    /// By the pools' order in the configuration.
    pools: Box<[PoolView]>,
    latency: [RefCell<LocalLatency>; 2],
    /// Carried along for as long as the deployment runs: the ledger shows its oldest.
    waiting: Rc<RefCell<Waiting>>,
}

struct PoolView {
    servers: Box<[Rc<AppServer>]>,
    next: Cell<usize>,
}

impl ServiceView {
    fn new(
        state: Arc<ServiceState>,
        worker: usize,
        before: Option<&View>,
        servers: &mut AppServers,
        stats: &Arc<ProcessStats>,
    ) -> Self {
        let limits = IdleLimits { count: state.config.connections.idle, span: state.config.connections.idle_for };
        let mut pool = |pool: &config::Pool| PoolView {
            servers: pool.endpoints.iter().map(|address| servers.take(address, limits, stats)).collect(),
            // Workers begin at different servers.
            next: Cell::new(worker),
        };
        let same_subject = |view: &&Rc<Self>| match (view.subject(), state.canary.as_ref().map(|c| &c.subject)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let carried = before.and_then(|view| view.services.iter().find(same_subject));
        Self {
            pools: state.config.pools.iter().map(&mut pool).collect(),
            waiting: carried.map(|view| Rc::clone(&view.waiting)).unwrap_or_default(),
            latency: Default::default(),
            worker,
            state,
        }
    }

    fn subject(&self) -> Option<&Arc<Subject>> {
        self.state.canary.as_ref().map(|canary| &canary.subject)
    }

    /// The next app server of a pool, in turn. Pools are never empty.
    pub(super) fn server(&self, pool: usize) -> &Rc<AppServer> {
        let pool = &self.pools[pool];
        let turn = pool.next.get();
        pool.next.set(turn.wrapping_add(1));
        &pool.servers[turn % pool.servers.len()]
    }

    pub(super) fn record_latency(&self, track: Track, latency: std::time::Duration) {
        self.latency[track.index()].borrow_mut().record(latency);
    }

    /// A canary request waits for its answer from now on.
    pub(super) fn wait(&self, since: Moment) -> Ticket {
        let ticket = self.waiting.borrow_mut().enter(since);
        self.show_oldest();
        ticket
    }

    /// It waits no more.
    pub(super) fn wait_is_over(&self, ticket: Ticket) {
        self.waiting.borrow_mut().leave(ticket);
        self.show_oldest();
    }

    fn show_oldest(&self) {
        if let Some(subject) = self.subject() {
            let oldest = self.waiting.borrow().oldest();
            subject.ledger(self.worker).set_oldest(oldest.map_or(NOTHING_WAITS, Moment::as_micros));
        }
    }

    pub(super) fn flush(&self) {
        for track in Track::BOTH {
            let service = Some(self.state.stats.latency(track));
            let deployment = self.state.canary.as_ref().map(|canary| &canary.latency[track.index()]);
            self.latency[track.index()].borrow_mut().flush(service.into_iter().chain(deployment));
        }
    }
}

impl Drop for ServiceView {
    /// The last exchange of an old view takes its latencies along.
    fn drop(&mut self) {
        self.flush();
    }
}
