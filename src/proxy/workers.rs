//! All workers: started, told of other listeners.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::unbounded_channel;

use super::listening::{Bound, Order, Orders};
use super::sockets::{HeldSockets, Inherited, ProxyError, claim, sockets};
use super::worker::{Shared, Worker, run};
use crate::config::{Config, Listener};

/// Bound listeners, a set for each worker, ready to run.
pub struct Proxy {
    shared: Shared,
    bound: BoundAll,
}

/// Workers that run, and how they hear of other listeners.
pub struct Workers {
    orders: Orders,
    /// Duplicates of their sockets, for the next process.
    held: Mutex<Vec<HeldSockets>>,
    threads: Vec<JoinHandle<()>>,
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
        for listener in &config.listeners {
            claim(listener.address, inherited)?;
        }
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
        let mut threads = Vec::new();
        for ((index, listeners), told) in self.bound.sets.into_iter().enumerate().zip(told) {
            let (shared, orders) = (self.shared.clone(), Arc::clone(&orders));
            let (started, outcome) = std::sync::mpsc::sync_channel(1);
            let thread = std::thread::Builder::new()
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
            threads.push(thread);
        }
        Ok(Workers { orders, held: Mutex::new(self.bound.held), threads })
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

    /// Cuts the connections that are still open and ends the workers.
    pub fn end(&self) {
        self.orders.iter().for_each(|order| drop(order.send(Order::End)));
    }

    /// Whether all of them have ended.
    pub fn have_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
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
