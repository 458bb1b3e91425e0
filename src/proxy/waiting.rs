//! Canary requests that wait for the head of their answer, oldest first.
//!
//! A list through a slab: entries come at the end and leave from anywhere, both
//! at a constant cost. A stage does not end while one waits for too long.

use crate::decide::time::Moment;

/// The place of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket(usize);

const NONE: usize = usize::MAX;

#[derive(Debug)]
struct Entry {
    since: Moment,
    before: usize,
    after: usize,
}

#[derive(Debug)]
pub(super) struct Waiting {
    entries: Vec<Entry>,
    free: Vec<usize>,
    oldest: usize,
    newest: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), oldest: NONE, newest: NONE }
    }
}

impl Waiting {
    /// Somebody waits since `since`, which is not before anybody else's.
    pub(super) fn enter(&mut self, since: Moment) -> Ticket {
        let entry = Entry { since, before: self.newest, after: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        match self.newest {
            NONE => self.oldest = place,
            newest => self.entries[newest].after = place,
        }
        self.newest = place;
        Ticket(place)
    }

    /// It waits no more. A ticket is given once and taken once.
    pub(super) fn leave(&mut self, Ticket(place): Ticket) {
        let Entry { before, after, .. } = self.entries[place];
        match before {
            NONE => self.oldest = after,
            before => self.entries[before].after = after,
        }
        match after {
            NONE => self.newest = before,
            after => self.entries[after].before = before,
        }
        self.free.push(place);
    }

    /// Since when the oldest one waits.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.entries.get(self.oldest).map(|entry| entry.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_oldest_is_always_known(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200)) {
            let mut waiting = Waiting::default();
            let mut model: Vec<(u64, Ticket)> = Vec::new();
            for (now, (enter, which)) in steps.into_iter().enumerate() {
                let now = now as u64;
                if enter || model.is_empty() {
                    model.push((now, waiting.enter(Moment::from_micros(now))));
                } else {
                    let (_, ticket) = model.remove(which.index(model.len()));
                    waiting.leave(ticket);
                }
                let oldest = model.first().map(|(since, _)| Moment::from_micros(*since));
                prop_assert_eq!(waiting.oldest(), oldest);
                prop_assert!(waiting.entries.len() <= 200);
            }
        }
    }
}
