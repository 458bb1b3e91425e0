//! A pool as one worker sees it: which app server is next.

use std::cell::Cell;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body::Body;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::endpoint::Endpoint;
use super::state::{PoolState, QueueFull};
use crate::clock;
use crate::config::Balance;
use crate::decide::time::Moment;

/// A pool, for one worker.
pub struct Pool<B: Body + 'static> {
    state: Arc<PoolState>,
    /// In the order of the state's.
    servers: Box<[Rc<Endpoint<B>>]>,
    balance: Balance,
    slow_start: Duration,
    next: Cell<usize>,
}

/// What a choice rests on.
pub struct Choice<'a, B: Body + 'static> {
    /// Now.
    pub now: Moment,
    /// A random number.
    pub random: u64,
    /// The id that `hash` keeps at one server.
    pub id: Option<&'a str>,
    /// Another one than this.
    pub not: Option<&'a Endpoint<B>>,
}

impl<B: Body + 'static> Clone for Choice<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Body + 'static> Copy for Choice<'_, B> {}

/// Why there is no app server for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoServer {
    /// None is healthy.
    NoneHealthy,
    /// All are at their limit.
    Busy,
}

impl<B: Body + 'static> Pool<B> {
    /// A pool with these servers; `first` spreads where workers begin.
    pub fn new(
        state: Arc<PoolState>,
        servers: Box<[Rc<Endpoint<B>>]>,
        balance: Balance,
        slow_start: Duration,
        first: usize,
    ) -> Self {
        Self { state, servers, balance, slow_start, next: Cell::new(first) }
    }

    /// An app server with room for one more request.
    ///
    /// # Errors
    /// None is healthy, or all are at their limit: then [`Self::in_turn`] waits.
    pub fn take(&self, choice: Choice<'_, B>) -> Result<InUse<B>, NoServer> {
        let chosen = self.choose(choice).ok_or(NoServer::NoneHealthy)?;
        self.enter(chosen).or_else(|| self.any_with_room(choice)).ok_or(NoServer::Busy)
    }

    /// Waits for a server with room, at most until `deadline`.
    ///
    /// # Errors
    /// The queue is full, or the deadline came first.
    pub async fn in_turn(&self, choice: Choice<'_, B>, deadline: Moment) -> Result<InUse<B>, NoServer> {
        let take = || self.any_with_room(choice);
        self.state.in_turn(clock::instant(deadline), take).await.map_err(|QueueFull| NoServer::Busy)
    }

    fn enter(&self, index: usize) -> Option<InUse<B>> {
        let server = &self.servers[index];
        self.state.enter(server.state()).then(|| InUse::new(&self.state, server))
    }

    fn any_with_room(&self, choice: Choice<'_, B>) -> Option<InUse<B>> {
        (0..self.servers.len()).filter(|index| self.fits(*index, choice)).find_map(|index| self.enter(index))
    }

    fn fits(&self, index: usize, choice: Choice<'_, B>) -> bool {
        let server = &*self.servers[index];
        server.state().is_available(choice.now) && choice.not.is_none_or(|not| !std::ptr::eq(not, server))
    }

    fn choose(&self, choice: Choice<'_, B>) -> Option<usize> {
        if let [_] = &*self.servers {
            return self.fits(0, choice).then_some(0);
        }
        match (self.balance, choice.id) {
            (Balance::RoundRobin, _) => self.in_rotation(choice),
            (Balance::Hash, Some(id)) => self.by_hash(id, choice),
            _ => self.less_loaded_of_two(choice),
        }
    }

    /// Each in turn; one that is getting warm is left out of some rounds.
    fn in_rotation(&self, choice: Choice<'_, B>) -> Option<usize> {
        let count = self.servers.len();
        let mut cold = None;
        for _ in 0..count {
            let index = self.next.get() % count;
            self.next.set(index + 1);
            if !self.fits(index, choice) {
                continue;
            }
            let warmth = self.warmth(index, choice.now);
            if warmth >= 1.0 || (choice.random >> 11) as f64 / (1_u64 << 53) as f64 <= warmth {
                return Some(index);
            }
            cold = Some(index);
        }
        cold
    }

    /// The highest of a hash over id and server (rendezvous hashing, Thaler and Ravishankar
    /// 1996): who goes takes only its own ids along.
    fn by_hash(&self, id: &str, choice: Choice<'_, B>) -> Option<usize> {
        let seed = xxhash_rust::xxh3::xxh3_64(id.as_bytes());
        let rank = |index: &usize| xxh3_64_with_seed(self.servers[*index].name().as_bytes(), seed);
        (0..self.servers.len()).filter(|index| self.fits(*index, choice)).max_by_key(rank)
    }

    /// Power of two choices (Mitzenmacher 1996).
    fn less_loaded_of_two(&self, choice: Choice<'_, B>) -> Option<usize> {
        let fitting = (0..self.servers.len()).filter(|index| self.fits(*index, choice)).count();
        if fitting == 0 {
            return None;
        }
        let nth = |n: usize| (0..self.servers.len()).filter(|index| self.fits(*index, choice)).nth(n);
        let first = (choice.random as u32) as usize % fitting;
        if fitting == 1 {
            return nth(0);
        }
        let second = (first + 1 + (choice.random >> 32) as usize % (fitting - 1)) % fitting;
        let load = |index: &usize| (self.servers[*index].under_way() + 1) as f64 / self.warmth(*index, choice.now);
        let (one, other) = (nth(first)?, nth(second)?);
        Some(if load(&other) < load(&one) { other } else { one })
    }

    fn warmth(&self, index: usize, now: Moment) -> f64 {
        self.servers[index].state().warmth(now, self.slow_start)
    }
}

/// An app server with a request under way.
pub struct InUse<B: Body + 'static> {
    pool: Arc<PoolState>,
    server: Rc<Endpoint<B>>,
}

impl<B: Body + 'static> InUse<B> {
    fn new(pool: &Arc<PoolState>, server: &Rc<Endpoint<B>>) -> Self {
        server.enter();
        Self { pool: Arc::clone(pool), server: Rc::clone(server) }
    }

    /// The app server, beyond this request.
    pub fn endpoint(&self) -> Rc<Endpoint<B>> {
        Rc::clone(&self.server)
    }

    /// Says whether it answered well: errors in a row leave it out for a while.
    pub fn report(&self, bad: bool, now: Moment) {
        self.pool.report(self.server.state(), bad, now);
    }
}

impl<B: Body + 'static> Deref for InUse<B> {
    type Target = Endpoint<B>;

    fn deref(&self) -> &Endpoint<B> {
        &self.server
    }
}

impl<B: Body + 'static> Drop for InUse<B> {
    fn drop(&mut self) {
        self.server.leave();
        self.pool.leave(self.server.state());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::telemetry::ProcessStats;
    use crate::upstream::IdleLimits;

    type Empty = http_body_util::Empty<bytes::Bytes>;

    fn pool(servers: usize, balance: &str) -> Pool<Empty> {
        let endpoints: Vec<String> = (1..=servers).map(|n| format!("http://10.0.0.{n}:80")).collect();
        let text = format!(
            "listen: 127.0.0.1:0\nservices: {{ s: {{ pools: {{ a: {{ endpoints: [{}] }} }}, stable: a, balance: {balance} }} }}",
            endpoints.join(", ")
        );
        let config = config::from_text(&text, std::path::Path::new("t")).unwrap();
        let service = &config.services[0];
        let state = Arc::new(PoolState::new(&service.pools[0], service, None));
        let limits = IdleLimits { count: 1, span: Duration::from_secs(1) };
        let stats = Arc::new(ProcessStats::default());
        let server = |state| Rc::new(Endpoint::new(Arc::clone(state), limits, Arc::clone(&stats)));
        let servers = state.servers().iter().map(server).collect();
        Pool::new(state, servers, service.balance, service.slow_start, 0)
    }

    fn choice(random: u64) -> Choice<'static, Empty> {
        Choice { now: Moment::ORIGIN, random: random.wrapping_mul(0x9E37_79B9_7F4A_7C15), id: None, not: None }
    }

    #[test]
    fn least_request_evens_out_what_is_under_way() {
        let pool = pool(4, "leastRequest");
        let taken: Vec<_> = (0..400).map(|n| pool.take(choice(n)).unwrap()).collect();
        for server in &pool.servers {
            assert!((80..=120).contains(&server.under_way()), "{}", server.under_way());
        }
        drop(taken);
        assert!(pool.servers.iter().all(|server| server.under_way() == 0));
    }

    #[test]
    fn round_robin_takes_each_in_turn() {
        let pool = pool(3, "roundRobin");
        let taken: Vec<_> = (0..300).map(|n| pool.take(choice(n)).unwrap()).collect();
        assert!(pool.servers.iter().all(|server| server.under_way() == 100));
        drop(taken);
    }

    #[test]
    fn hash_keeps_an_id_and_moves_only_those_of_a_server_that_goes() {
        let pool = pool(4, "hash");
        let ids: Vec<String> = (0..1_000).map(|n| format!("user-{n}")).collect();
        let place = |id: &String| {
            let taken = pool.take(Choice { id: Some(id), ..choice(1) }).unwrap();
            taken.name().to_owned()
        };
        let before: Vec<String> = ids.iter().map(place).collect();
        assert_eq!(before, ids.iter().map(place).collect::<Vec<_>>());
        let gone = pool.servers[2].name().to_owned();
        pool.servers[2].state().set_healthy(false, Moment::ORIGIN);
        for (id, before) in ids.iter().zip(&before) {
            let now = place(id);
            assert!(now == *before || (*before == gone && now != gone), "{id}");
        }
    }

    #[test]
    fn who_is_unwell_gets_nothing_and_another_one_is_another_one() {
        for balance in ["leastRequest", "roundRobin", "hash"] {
            let pool = pool(2, balance);
            let other = &*pool.servers[0];
            for n in 0..50 {
                let taken = pool.take(Choice { not: Some(other), ..choice(n) }).unwrap();
                assert!(!std::ptr::eq(&*taken, other));
            }
            for server in &pool.servers {
                server.state().set_healthy(false, Moment::ORIGIN);
            }
            assert_eq!(pool.take(choice(0)).err(), Some(NoServer::NoneHealthy));
        }
    }
}
