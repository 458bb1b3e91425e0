//! Outcomes as they come, for whoever tries something on live traffic without touching it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::decide::time::Moment;

/// Outcomes that wait; more are lost, whatever they are.
const QUEUE: usize = 65_536;

/// How an exchange went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When it was settled.
    pub at: Moment,
    /// Whose it was: [`fingerprint`](crate::decide::bucket::fingerprint) of the id.
    pub identity: u64,
    /// Whether it was an error.
    pub error: bool,
    /// To the head of the answer.
    pub latency: Duration,
}

/// Where outcomes are told.
#[derive(Debug)]
pub struct Tap {
    queue: SyncSender<Heard>,
    lost: AtomicU64,
}

impl Tap {
    /// A tap, and where it leads.
    pub fn new() -> (Self, Receiver<Heard>) {
        let (queue, heard) = sync_channel(QUEUE);
        (Self { queue, lost: AtomicU64::new(0) }, heard)
    }

    /// Tells an outcome; never waits.
    pub fn tell(&self, heard: Heard) {
        if self.queue.try_send(heard).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were told while too many waited.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
