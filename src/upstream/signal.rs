//! Who is woken when something happens on a connection.
//!
//! hyper's two halves of a connection wake each other while a request goes from
//! one to the other, and a connection remembers the waker of the request before.
//! Passed on as they come, these wake-ups would run the task of the current
//! client, or of an earlier one, once more for nothing with every request. So a
//! connection is always driven with a waker of its own: while it is looked at a
//! wake-up is only noted (the next look settles it, or the sleep passes it on),
//! while nobody uses it nobody is woken.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// Looked at, or idle.
const LOOKING: u8 = 0;
/// A wake-up came meanwhile.
const WOKEN: u8 = 1;
/// The task waits for the next wake-up.
const SLEEPING: u8 = 2;

#[derive(Debug, Default)]
pub(super) struct Signal {
    state: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl Signal {
    /// A look begins: what was noted is settled by it.
    pub(super) fn look(&self) {
        self.state.store(LOOKING, Ordering::Release);
    }

    /// The task will wait: it is woken by the next wake-up, or by one that was noted.
    pub(super) fn sleep(&self, cx: &Context<'_>) {
        {
            let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
            if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
        }
        if self.state.swap(SLEEPING, Ordering::AcqRel) == WOKEN {
            cx.waker().wake_by_ref();
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == SLEEPING
            && let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner)
        {
            task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_wake_up_is_noted_while_looking_passed_on_while_sleeping_and_never_lost() {
        let count = Arc::new(Count::default());
        let task = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&task);
        let signal = Arc::new(Signal::default());
        let own = Waker::from(Arc::clone(&signal));
        let woken = || count.0.load(Ordering::Relaxed);
        own.wake_by_ref();
        assert_eq!(woken(), 0, "idle: nobody waits");
        signal.look();
        signal.sleep(&cx);
        assert_eq!(woken(), 0, "the look settled it");
        own.wake_by_ref();
        own.wake_by_ref();
        assert_eq!(woken(), 1, "once until the next look");
        signal.look();
        own.wake_by_ref();
        assert_eq!(woken(), 1);
        signal.sleep(&cx);
        assert_eq!(woken(), 2, "what came during the look is passed on");
    }
}
