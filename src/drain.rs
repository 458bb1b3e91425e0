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
    accepting: watch::Sender<bool>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { begun: AtomicBool::new(false), accepting: watch::Sender::new(true) }
    }
}

impl Drain {
    /// Answers close their connections from now on.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Whether it has begun.
    pub fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
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
