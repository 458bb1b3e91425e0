//! A timer that is armed once and looked at often.
//!
//! A deadline that moves later with every request would cost two turns of the
//! runtime's wheel each time. This one stays where it was armed, and where it
//! goes off too early it is armed again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Sleep, sleep_until};

use crate::clock;
use crate::decide::time::Moment;

/// Belongs to one task: it is polled by no other.
#[derive(Default)]
pub(super) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// The same for whichever task asks: the last one that did is woken.
    pub(super) fn poll_anew(&mut self, cx: &mut Context<'_>, deadline: Moment) -> Poll<()> {
        let polled = self.poll(cx, deadline);
        if let (Poll::Pending, Some(sleep)) = (&polled, &mut self.0) {
            // It has not gone off: this says whom to wake.
            let _ = sleep.as_mut().poll(cx);
        }
        polled
    }

    /// Ready once the deadline has passed; else the task is woken by then.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Moment) -> Poll<()> {
        let at = clock::instant(deadline);
        let fresh = self.0.is_none();
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        } else if !fresh && !sleep.is_elapsed() {
            // It knows this task already, and wakes it when it goes off.
            return Poll::Pending;
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if clock::now() >= deadline {
                // It has gone off: the next deadline arms it anew.
                self.0 = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}
