//! What rescues may cost stable: a part of its own requests, and a little at least.
//!
//! A canary that fails everything must not double what stable has to bear.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use crate::config::Shield;
use crate::decide::time::Moment;

/// In hundredths of a request: what a rescue costs.
const ONE: u64 = 100;
/// Ten requests a second, for a service with few of them: in hundredths, one a millisecond.
const LEAST: u64 = 10 * ONE;
/// No more is saved up.
const SAVED: u64 = 100 * ONE;

/// One worker's budget for a service, in hundredths of a request; copies share it.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    /// Of each request on stable.
    part: u64,
    left: Rc<Cell<u64>>,
    filled: Rc<Cell<Moment>>,
}

impl Budget {
    pub(super) fn new(shield: Shield, now: Moment) -> Self {
        let part = u64::from(shield.budget);
        Self { part, left: Rc::new(Cell::new(LEAST)), filled: Rc::new(Cell::new(now)) }
    }

    /// Stable has one request more of its own.
    pub(super) fn earn(&self) {
        self.left.set((self.left.get() + self.part).min(SAVED));
    }

    /// Whether one more may go to stable.
    pub(super) fn spend(&self, now: Moment) -> bool {
        let millis = now.since(self.filled.get()).as_millis() as u64;
        // What is left of a millisecond counts next time.
        self.filled.set(self.filled.get() + Duration::from_millis(millis));
        let left = self.left.get().saturating_add(millis).min(SAVED);
        let may = left >= ONE;
        self.left.set(if may { left - ONE } else { left });
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ShieldMethods;

    fn spent(budget: &Budget, now: Moment) -> usize {
        (0..1_000).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn a_part_of_stables_requests_and_ten_a_second_at_least() {
        let start = Moment::ORIGIN;
        let budget = Budget::new(Shield { methods: ShieldMethods::Safe, budget: 20 }, start);
        assert_eq!(spent(&budget, start), 10);
        assert_eq!(spent(&budget, start + Duration::from_secs(3)), 30);
        (0..100).for_each(|_| budget.earn());
        assert_eq!(spent(&budget.clone(), start + Duration::from_secs(3)), 20);
        assert_eq!(spent(&budget, start + Duration::from_secs(3_600)), 100, "no more is saved up");
    }
}
