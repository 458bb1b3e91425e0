//! One worker's view of a snapshot: the same services with this worker's own
//! connections, latencies and waiting requests. Nothing in it is shared.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::body::RequestBody;
use super::budget::Budget;
use super::headers::Protected;
use super::retired::{Deployments, Retired};
use super::waiting::{Ticket, Waiter, Waiting};
use crate::clock;
use crate::decide::time::Moment;
use crate::snapshot::{ServiceState, Snapshot};
use crate::subject::{NOTHING_WAITS, Outcome, Recorded, Subject, Track};
use crate::telemetry::{LocalLatency, ProcessStats};
use crate::upstream::{Endpoint, IdleLimits, InUse, Pool, PoolState, ServerState};

pub(super) type AppServer = Endpoint<RequestBody>;
pub(super) type InUseServer = InUse<RequestBody>;

/// Connections outlive views: an app server is known by the state that all workers share.
#[derive(Default)]
pub(super) struct AppServers(HashMap<*const ServerState, Rc<AppServer>>);

impl AppServers {
    fn take(&mut self, state: &Arc<ServerState>, limits: IdleLimits, stats: &Arc<ProcessStats>) -> Rc<AppServer> {
        // The server holds its state, so nothing else comes to be at this address meanwhile.
        let server = self.0.entry(Arc::as_ptr(state));
        Rc::clone(server.or_insert_with(|| Rc::new(Endpoint::new(Arc::clone(state), limits, Arc::clone(stats)))))
    }

    /// Closes what has been idle for too long, and forgets who is in no view any more.
    pub(super) fn sweep(&mut self, now: Moment) {
        self.0.retain(|_, server| {
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
        deployments: &mut Deployments,
        stats: &Arc<ProcessStats>,
    ) -> Self {
        let known: HashMap<&str, &Rc<ServiceView>> = before
            .iter()
            .flat_map(|view| view.services.iter())
            .map(|service| (service.state.config.name.as_str(), service))
            .collect();
        let mut service = |state: &Arc<ServiceState>| match known.get(state.config.name.as_str()) {
            Some(known) if Arc::ptr_eq(&known.state, state) => Rc::clone(known),
            known => {
                let known = known.copied();
                Rc::new(ServiceView::new(Arc::clone(state), worker, known, servers, deployments, stats))
            }
        };
        Self {
            services: snapshot.services.iter().map(&mut service).collect(),
            protected: Rc::new(Protected::new(&snapshot.config.flags.headers.prefix)),
            snapshot,
        }
    }

    pub(super) fn flush(&self) {
        self.services.iter().for_each(|service| service.flush());
    }

    pub(super) fn find_slow(&self, now: Moment) {
        self.services.iter().for_each(|service| service.find_slow(now));
    }
}

pub(super) struct ServiceView {
    pub(super) state: Arc<ServiceState>,
    worker: usize,
    /// In the order of the configuration.
    pools: Box<[Pool<RequestBody>]>,
    budget: Budget,
    latency: [RefCell<LocalLatency>; 2],
    /// Carried along for as long as the deployment runs: the ledger shows its oldest.
    waiting: Rc<RefCell<[Waiting; 2]>>,
    /// Whether the canary has had its time; carried along like them.
    pub(super) retired: Rc<Retired>,
}

impl ServiceView {
    fn new(
        state: Arc<ServiceState>,
        worker: usize,
        before: Option<&Rc<Self>>,
        servers: &mut AppServers,
        deployments: &mut Deployments,
        stats: &Arc<ProcessStats>,
    ) -> Self {
        let limits = IdleLimits { count: state.config.connections.idle, span: state.config.connections.idle_for };
        let mut pool = |pool: &Arc<PoolState>| {
            let servers = pool.servers().iter().map(|state| servers.take(state, limits, stats)).collect();
            // Workers begin at different servers.
            Pool::new(Arc::clone(pool), servers, state.config.balance, state.config.slow_start, worker)
        };
        let same_subject = |view: &&Rc<Self>| match (view.subject(), state.canary.as_ref().map(|c| &c.subject)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let carried = before.filter(same_subject);
        let retired = match (carried, &state.canary) {
            (Some(view), _) => Rc::clone(&view.retired),
            (None, Some(canary)) => deployments.begin(&canary.subject),
            (None, None) => Rc::default(),
        };
        Self {
            pools: state.pools.iter().map(&mut pool).collect(),
            budget: carried.map_or_else(|| Budget::new(state.config.shield, clock::now()), |view| view.budget.clone()),
            waiting: carried.map(|view| Rc::clone(&view.waiting)).unwrap_or_default(),
            retired,
            latency: Default::default(),
            worker,
            state,
        }
    }

    fn subject(&self) -> Option<&Arc<Subject>> {
        self.state.canary.as_ref().map(|canary| &canary.subject)
    }

    /// The pool that has a role now.
    pub(super) fn pool(&self, track: Track) -> &Pool<RequestBody> {
        &self.pools[self.state.role(track).pool]
    }

    /// What the shield may still spend.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(super) fn record_latency(&self, track: Track, latency: std::time::Duration) {
        self.latency[track.index()].borrow_mut().record(latency);
    }

    /// Whether requests of a track are seen to wait.
    pub(super) fn watches(&self, track: Track) -> bool {
        self.subject().is_some_and(|subject| track == Track::Canary || subject.compares_latency())
    }

    /// A request waits for its answer from now on.
    pub(super) fn wait(&self, track: Track, since: Moment, waiter: Waiter) -> Ticket {
        let ticket = self.waiting.borrow_mut()[track.index()].enter(since, waiter);
        self.show_oldest(track);
        ticket
    }

    /// It waits no more; whether it was found to be slow.
    pub(super) fn wait_is_over(&self, track: Track, ticket: Ticket) -> bool {
        let slow = self.waiting.borrow_mut()[track.index()].leave(ticket);
        self.show_oldest(track);
        slow
    }

    fn show_oldest(&self, track: Track) {
        if let (Track::Canary, Some(subject)) = (track, self.subject()) {
            let oldest = self.waiting.borrow()[track.index()].oldest();
            subject.ledger(self.worker).set_oldest(oldest.map_or(NOTHING_WAITS, Moment::as_micros));
        }
    }

    /// Requests that wait for longer than the threshold are slow: who hangs is seen to.
    pub(super) fn find_slow(&self, now: Moment) {
        let Some(subject) = self.subject() else { return };
        let Some(after) = subject.slow_after(now) else { return };
        for track in Track::BOTH {
            self.waiting.borrow_mut()[track.index()].find_slow(now, after, |Waiter { word, bucket }| {
                subject.record_slow(Outcome { at: now, word, track, bucket, verdict: Recorded::Success });
            });
        }
    }

    pub(super) fn flush(&self) {
        for track in Track::BOTH {
            let stats = &self.state.stats;
            let service = [stats.latency(track), stats.latest(track)];
            let canary = self.state.canary.as_ref();
            let deployment = canary.map(|canary| &canary.latency[track.index()]);
            let window = canary.filter(|_| track == Track::Stable).map(|canary| &*canary.stable_window);
            let recent = Some(&*self.state.stable_recent).filter(|_| track == Track::Stable);
            let all = service.into_iter().chain(deployment).chain(window).chain(recent);
            self.latency[track.index()].borrow_mut().flush(all);
        }
    }
}

impl Drop for ServiceView {
    /// The last exchange of an old view takes its latencies along.
    fn drop(&mut self) {
        self.flush();
    }
}
