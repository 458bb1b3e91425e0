//! What all workers and the health checks know together of a pool's app servers.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;

use crate::config::{self, Ejection};
use crate::decide::time::Moment;

/// Longest queue for a slot is the deadline of its request; it looks again at least this often.
const LEAST_SHARE: f64 = 0.1;

/// One app server.
#[derive(Debug)]
pub struct ServerState {
    address: config::Endpoint,
    /// Health checks say so.
    unhealthy: AtomicBool,
    /// Left out until this moment, in microseconds.
    ejected_until: AtomicU64,
    ejections: AtomicU64,
    errors_in_row: AtomicU32,
    /// It came back at this moment, in microseconds; 0: it was never away.
    back_since: AtomicU64,
    /// Requests under way; only counted where there is a limit.
    in_use: AtomicUsize,
    /// What its name stands for, once that was asked.
    resolved: ArcSwapOption<Vec<SocketAddr>>,
}

impl ServerState {
    fn new(address: config::Endpoint) -> Self {
        let literal = address.host.parse::<IpAddr>().ok();
        let resolved = literal.map(|ip| Arc::new(vec![SocketAddr::new(ip, address.port)]));
        Self {
            address,
            unhealthy: AtomicBool::new(false),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            errors_in_row: AtomicU32::new(0),
            back_since: AtomicU64::new(0),
            in_use: AtomicUsize::new(0),
            resolved: ArcSwapOption::new(resolved),
        }
    }

    /// Its address, as configured.
    pub fn address(&self) -> &config::Endpoint {
        &self.address
    }

    /// Whether its name has to be asked for.
    pub(super) fn is_named(&self) -> bool {
        self.address.host.parse::<IpAddr>().is_err()
    }

    /// What its name stands for, where that is known.
    pub(super) fn resolved(&self) -> Option<Arc<Vec<SocketAddr>>> {
        self.resolved.load_full()
    }

    pub(super) fn set_resolved(&self, addresses: Vec<SocketAddr>) {
        if !addresses.is_empty() {
            self.resolved.store(Some(Arc::new(addresses)));
        }
    }

    /// Whether health checks find it well.
    pub fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    /// Whether it is left out for its errors.
    pub fn is_ejected(&self, now: Moment) -> bool {
        self.ejected_until.load(Ordering::Relaxed) > now.as_micros()
    }

    /// How often it was left out.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// Whether requests go to it.
    pub fn is_available(&self, now: Moment) -> bool {
        self.is_healthy() && !self.is_ejected(now)
    }

    /// Says what health checks find; true where that is news.
    pub(super) fn set_healthy(&self, healthy: bool, now: Moment) -> bool {
        let news = self.unhealthy.swap(!healthy, Ordering::Relaxed) == healthy;
        if news && healthy {
            self.back_since.store(now.as_micros().max(1), Ordering::Relaxed);
        }
        news
    }

    /// The part of its share that it gets: less than 1 for a while after it came back.
    pub(super) fn warmth(&self, now: Moment, slow_start: Duration) -> f64 {
        let since = self.back_since.load(Ordering::Relaxed).max(self.ejected_until.load(Ordering::Relaxed));
        if since == 0 || slow_start.is_zero() {
            return 1.0;
        }
        let back = now.since(Moment::from_micros(since));
        (back.as_secs_f64() / slow_start.as_secs_f64()).clamp(LEAST_SHARE, 1.0)
    }

    /// A slot for one more request.
    fn enter(&self, limit: usize) -> bool {
        let one_more = |in_use| (in_use < limit).then_some(in_use + 1);
        self.in_use.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok()
    }
}

/// A pool.
#[derive(Debug)]
pub struct PoolState {
    servers: Box<[Arc<ServerState>]>,
    ejection: Ejection,
    /// Who leaves one out has looked at all of them.
    ejecting: Mutex<()>,
    limit: Option<usize>,
    queue: usize,
    queued: AtomicUsize,
    freed: Notify,
}

impl PoolState {
    /// A pool; servers that are known already go on as they are, new ones are well.
    pub fn new(pool: &config::Pool, service: &config::Service, known: Option<&[Arc<ServerState>]>) -> Self {
        let server = |address: &config::Endpoint| {
            let same = known.and_then(|known| known.iter().find(|server| server.address == *address));
            same.map_or_else(|| Arc::new(ServerState::new(address.clone())), Arc::clone)
        };
        Self {
            servers: pool.endpoints.iter().map(server).collect(),
            ejection: service.ejection,
            ejecting: Mutex::new(()),
            limit: service.connections.per_endpoint,
            queue: service.connections.queue,
            queued: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Its app servers, in the order of the configuration.
    pub fn servers(&self) -> &[Arc<ServerState>] {
        &self.servers
    }

    /// Whether health checks find one of them well at least.
    pub fn has_healthy(&self) -> bool {
        self.servers.iter().any(|server| server.is_healthy())
    }

    /// An app server has answered well, or has not; false where that leaves it out.
    pub(super) fn report(&self, server: &ServerState, bad: bool, now: Moment) {
        if !bad {
            if server.errors_in_row.load(Ordering::Relaxed) != 0 {
                server.errors_in_row.store(0, Ordering::Relaxed);
            }
            return;
        }
        let after = self.ejection.consecutive_errors;
        if after == 0 || self.servers.len() == 1 {
            return;
        }
        if server.errors_in_row.fetch_add(1, Ordering::Relaxed) + 1 >= after {
            self.eject(server, now);
        }
    }

    fn eject(&self, server: &ServerState, now: Moment) {
        let _alone = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let ejected = self.servers.iter().filter(|server| server.is_ejected(now)).count();
        let others = self.servers.iter().any(|other| !std::ptr::eq(&**other, server) && other.is_available(now));
        let allowed = (ejected + 1) * 100 <= self.servers.len() * usize::from(self.ejection.max_share);
        if server.is_ejected(now) || !others || !allowed {
            return;
        }
        let until = now + self.ejection.span;
        server.ejected_until.store(until.as_micros(), Ordering::Relaxed);
        server.errors_in_row.store(0, Ordering::Relaxed);
        server.ejections.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(server = %server.address, "an app server is left out for {:?}: errors in a row", self.ejection.span);
    }

    /// A slot at a server, where there is one.
    pub(super) fn enter(&self, server: &ServerState) -> bool {
        self.limit.is_none_or(|limit| server.enter(limit))
    }

    /// A slot is free again.
    pub(super) fn leave(&self, server: &ServerState) {
        if self.limit.is_some() {
            server.in_use.fetch_sub(1, Ordering::AcqRel);
            self.freed.notify_one();
        }
    }

    /// Waits until `take` finds a slot, in a queue of bounded length.
    ///
    /// # Errors
    /// Where the queue is full, or the deadline comes first.
    pub(super) async fn in_turn<T>(
        &self,
        deadline: tokio::time::Instant,
        mut take: impl FnMut() -> Option<T>,
    ) -> Result<T, QueueFull> {
        let one_more = |queued| (queued < self.queue).then_some(queued + 1);
        self.queued.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).map_err(|_| QueueFull)?;
        let _place = Place(&self.queued);
        loop {
            let freed = self.freed.notified();
            if let Some(taken) = take() {
                return Ok(taken);
            }
            tokio::time::timeout_at(deadline, freed).await.map_err(|_| QueueFull)?;
        }
    }
}

/// No slot at any app server, and no room to wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

/// A place in the queue, left whichever way the waiting ends.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn pool(servers: usize, more: &str) -> PoolState {
        let endpoints: Vec<String> = (1..=servers).map(|n| format!("http://10.0.0.{n}:80")).collect();
        let text = format!(
            "listen: 127.0.0.1:0\nservices: {{ s: {{ pools: {{ a: {{ endpoints: [{}] }} }}, stable: a, {more} }} }}",
            endpoints.join(", ")
        );
        let config = config::from_text(&text, std::path::Path::new("t")).unwrap();
        PoolState::new(&config.services[0].pools[0], &config.services[0], None)
    }

    const NOW: Moment = Moment::from_micros(1_000_000);

    fn fail(pool: &PoolState, server: usize, times: usize) {
        (0..times).for_each(|_| pool.report(&pool.servers[server], true, NOW));
    }

    #[test]
    fn errors_in_a_row_leave_a_server_out_for_a_while() {
        let pool = pool(2, "ejection: { consecutiveErrors: 3, for: 10s }");
        fail(&pool, 0, 2);
        pool.report(&pool.servers[0], false, NOW);
        fail(&pool, 0, 2);
        assert!(pool.servers[0].is_available(NOW), "not in a row");
        fail(&pool, 0, 1);
        assert!(!pool.servers[0].is_available(NOW));
        assert!(pool.servers[0].is_available(NOW + Duration::from_secs(10)));
    }

    #[test]
    fn the_last_server_is_never_left_out_nor_more_than_the_share() {
        let alone = pool(1, "ejection: { consecutiveErrors: 1 }");
        fail(&alone, 0, 100);
        assert!(alone.servers[0].is_available(NOW));
        let pool = pool(5, "ejection: { consecutiveErrors: 1 }");
        (0..5).for_each(|server| fail(&pool, server, 10));
        let left = pool.servers.iter().filter(|server| server.is_available(NOW)).count();
        assert_eq!(left, 3, "half of five, rounded down, is left out");
    }

    #[test]
    fn who_comes_back_gets_its_share_bit_by_bit() {
        let pool = pool(1, "slowStart: 10s");
        let (server, span) = (&pool.servers[0], Duration::from_secs(10));
        assert!((server.warmth(NOW, span) - 1.0).abs() < 1e-9, "it was never away");
        assert!(server.set_healthy(false, NOW) && !server.set_healthy(false, NOW));
        assert!(server.set_healthy(true, NOW));
        let warmth = |seconds| server.warmth(NOW + Duration::from_secs(seconds), span);
        assert_eq!([0, 5, 10, 20].map(warmth), [0.1, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn the_queue_is_bounded_and_keeps_its_turn() {
        let pool = pool(1, "connections: { perEndpoint: 1, queue: 1 }");
        let server = Arc::clone(&pool.servers[0]);
        assert!(pool.enter(&server) && !pool.enter(&server));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let deadline = clock::instant(clock::now() + Duration::from_secs(1));
            let take = || pool.enter(&server).then_some(());
            let first = pool.in_turn(deadline, take);
            let second = async {
                tokio::task::yield_now().await;
                let refused = pool.in_turn(deadline, take).await;
                pool.leave(&server);
                refused
            };
            let (first, second) = tokio::join!(first, second);
            assert_eq!((first, second), (Ok(()), Err(QueueFull)));
            assert_eq!(pool.in_turn(deadline, take).await, Err(QueueFull), "the deadline");
            assert_eq!(pool.queued.load(Ordering::Relaxed), 0);
        });
    }
}
