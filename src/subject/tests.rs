//! Behaviour of dial and ledger on one thread; `tests/model_subject.rs` has their interleavings.

use super::*;
use crate::decide::bucket::{Bucket, Share};

fn share(points: u16) -> Share {
    Share::from_basis_points(points).unwrap()
}

#[test]
fn a_word_holds_epoch_and_share() {
    let word = Dial::new(share(1_000)).load();
    assert_eq!((word.epoch(), word.share(), word.closed()), (1, share(1_000), false));
    assert!(word.reaches(Bucket::new(999).unwrap()) && !word.reaches(Bucket::new(1_000).unwrap()));
}

#[test]
fn a_change_that_rests_on_an_old_word_fails() {
    let dial = Dial::new(share(1_000));
    let old = dial.load();
    let new = dial.turn(old, share(5_000)).unwrap();
    assert_eq!(dial.turn(old, share(9_000)), Err(new));
}

#[test]
fn closed_is_closed_for_good() {
    let dial = Dial::new(share(1_000));
    let before = dial.load();
    let closed = dial.close();
    assert_eq!((closed.closed(), closed.share()), (true, Share::NOBODY));
    assert_eq!(dial.turn(before, share(5_000)), Err(closed));
    assert_eq!(dial.turn(closed, share(5_000)), Err(closed));
    assert_eq!(dial.close(), closed);
}

#[test]
fn a_late_outcome_is_charged_to_its_own_epoch() {
    let ledger = Ledger::new(3);
    ledger.add(2, Track::Canary, Counted { request: true, error: false, watched: true });
    ledger.add(1, Track::Canary, Counted { request: true, error: true, watched: false });
    ledger.add(1, Track::Stable, Counted { request: true, error: false, watched: false });
    assert_eq!(ledger.tally(1, Track::Canary), Tally { requests: 1, errors: 1, watched: 0 });
    assert_eq!(ledger.tally(2, Track::Canary), Tally { requests: 1, errors: 0, watched: 1 });
    assert_eq!(ledger.total(Track::Canary).requests, 2);
    assert_eq!(ledger.total(Track::Stable).requests, 1);
}

#[test]
fn an_epoch_beyond_the_last_loses_nothing() {
    let ledger = Ledger::new(2);
    ledger.add(9, Track::Canary, Counted { request: true, error: false, watched: false });
    ledger.add(0, Track::Canary, Counted { request: true, error: false, watched: false });
    assert_eq!(ledger.total(Track::Canary).requests, 2);
}
