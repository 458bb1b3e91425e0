//! Connections of each worker: a fresh one goes to the emptiest where its own has well more
//! than the mean. The kernel spreads few connections unevenly (16 on 4 listeners: 7, 5, 3, 1),
//! and a connection stays where it is for as long as it lives.

use std::sync::atomic::{AtomicU64, Ordering};

/// Open connections by worker, and how many were moved.
#[derive(Debug)]
pub struct Loads {
    open: Box<[AtomicU64]>,
    moved: AtomicU64,
}

impl Loads {
    /// Nobody yet, on so many workers.
    pub fn new(workers: usize) -> Self {
        Self { open: (0..workers).map(|_| AtomicU64::new(0)).collect(), moved: AtomicU64::new(0) }
    }

    /// Connections open on each worker.
    pub fn open(&self) -> Vec<u64> {
        self.open.iter().map(|open| open.load(Ordering::Relaxed)).collect()
    }

    /// Connections that were accepted by one worker and went to another.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Where a fresh connection that `own` accepted should live; it is counted there.
    pub fn place(&self, own: usize) -> usize {
        let place = self.emptier(own);
        self.open[place].fetch_add(1, Ordering::Relaxed);
        if place != own {
            self.moved.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    /// A connection has ended.
    pub fn left(&self, worker: usize) {
        self.open[worker].fetch_sub(1, Ordering::Relaxed);
    }

    fn emptier(&self, own: usize) -> usize {
        let (mut total, mut emptiest) = (0, (own, u64::MAX));
        for (worker, open) in self.open.iter().enumerate() {
            let open = open.load(Ordering::Relaxed);
            total += open;
            if open < emptiest.1 {
                emptiest = (worker, open);
            }
        }
        // Well above: by a quarter, and by more than one. Moving costs two wake-ups.
        let (mine, workers) = (self.open[own].load(Ordering::Relaxed) + 1, self.open.len() as u64);
        if mine * workers > total + 1 + workers.max(total / 4) { emptiest.0 } else { own }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_well_more_than_the_mean_however_they_come() {
        for workers in [1, 2, 4, 16] {
            let loads = Loads::new(workers);
            // All of them come to the first one.
            for _ in 0..workers * 25 {
                loads.place(0);
            }
            let open = loads.open();
            assert_eq!(open.iter().sum::<u64>(), workers as u64 * 25);
            assert!(open.iter().all(|open| (18..=33).contains(open)), "{open:?}");
        }
        let even = Loads::new(4);
        (0..100).for_each(|connection| assert_eq!(even.place(connection % 4), connection % 4));
        assert_eq!(even.moved(), 0);
    }
}
