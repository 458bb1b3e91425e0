//! The way out: said once by whoever ends the process, heard by workers and probes.
//!
//! Owns: nothing but the word. From its beginning every answer closes its connection and
//! `/readyz` fails; accepting goes on until that is ended, too, so that nobody who has
//! not heard of it yet is turned away.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// Whether the process is on its way out.
#[derive(Debug)]
pub struct Drain {
    begun: AtomicBool,
    told: watch::Sender<bool>,
    accepting: watch::Sender<bool>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { begun: AtomicBool::new(false), told: watch::Sender::new(false), accepting: watch::Sender::new(true) }
    }
}

impl Drain {
    /// Answers close their connections from now on.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
        self.told.send_replace(true);
    }

    /// Whether it has begun.
    pub fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Ready once it has begun.
    pub async fn has_begun(&self) {
        // The sender is ours: it is not gone while this waits.
        let _ = self.told.subscribe().wait_for(|begun| *begun).await;
    }

    /// Nobody is accepted any more, after those who wait already.
    pub fn stop_accepting(&self) {
        self.accepting.send_replace(false);
    }

    /// Ready once nobody is accepted any more.
    pub async fn accepting_has_stopped(&self) {
        // The sender is ours: it is not gone while this waits.
        let _ = self.accepting.subscribe().wait_for(|accepting| !accepting).await;
    }
}
