//! Requests of one track that wait for the head of their answer, oldest first.
//!
//! A list through a slab: entries come at the end and leave from anywhere, both
//! at a constant cost. A stage does not end while a canary request waits for too
//! long, and who waits for longer than the threshold is slow before it is answered.

use std::time::Duration;

use crate::decide::bucket::Bucket;
use crate::decide::time::Moment;
use crate::subject::Word;

/// Whose request waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
    /// The dial's word under which it was assigned.
    pub(super) word: Word,
    /// The user's drawn bucket.
    pub(super) bucket: Option<Bucket>,
}

/// The place of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket(usize);

const NONE: usize = usize::MAX;

#[derive(Debug)]
struct Entry {
    since: Moment,
    waiter: Waiter,
    /// It was found to be slow.
    slow: bool,
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
    pub(super) fn enter(&mut self, since: Moment, waiter: Waiter) -> Ticket {
        let entry = Entry { since, waiter, slow: false, before: self.newest, after: NONE };
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

    /// It waits no more; whether it was found to be slow. A ticket is given once and taken once.
    pub(super) fn leave(&mut self, Ticket(place): Ticket) -> bool {
        let Entry { before, after, slow, .. } = self.entries[place];
        match before {
            NONE => self.oldest = after,
            before => self.entries[before].after = after,
        }
        match after {
            NONE => self.newest = before,
            after => self.entries[after].before = before,
        }
        self.free.push(place);
        slow
    }

    /// Finds those that have waited for longer than that by now, each once.
    pub(super) fn find_slow(&mut self, now: Moment, after: Duration, mut found: impl FnMut(Waiter)) {
        let mut place = self.oldest;
        while let Some(entry) = self.entries.get_mut(place).filter(|entry| now.since(entry.since) > after) {
            if !std::mem::replace(&mut entry.slow, true) {
                found(entry.waiter);
            }
            place = entry.after;
        }
    }

    /// Since when the oldest one waits.
    pub(super) fn oldest(&self) -> Option<Moment> {
        self.entries.get(self.oldest).map(|entry| entry.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::bucket::Share;
    use crate::subject::Dial;
    use proptest::prelude::*;

    fn nobody() -> Waiter {
        Waiter { word: Dial::new(Share::NOBODY).load(), bucket: None }
    }

    #[test]
    fn who_waits_for_too_long_is_found_once() {
        let mut waiting = Waiting::default();
        let at = Moment::from_micros;
        let (first, second) = (waiting.enter(at(0), nobody()), waiting.enter(at(10), nobody()));
        let find = |waiting: &mut Waiting, now| {
            let mut count = 0;
            waiting.find_slow(at(now), Duration::from_micros(5), |_| count += 1);
            count
        };
        assert_eq!([5, 6, 6, 15, 16, 99].map(|now| find(&mut waiting, now)), [0, 1, 0, 0, 1, 0]);
        let third = waiting.enter(at(20), nobody());
        assert_eq!([first, second, third].map(|ticket| waiting.leave(ticket)), [true, true, false]);
    }

    proptest! {
        #[test]
        fn the_oldest_is_always_known(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200)) {
            let mut waiting = Waiting::default();
            let mut model: Vec<(u64, Ticket)> = Vec::new();
            for (now, (enter, which)) in steps.into_iter().enumerate() {
                let now = now as u64;
                if enter || model.is_empty() {
                    model.push((now, waiting.enter(Moment::from_micros(now), nobody())));
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
