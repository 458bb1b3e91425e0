//! Whose turn it is on a worker: who has much to do does it a piece at a time.
//!
//! A worker looks at its sockets when no task is ready any more, or after a number of tasks. A
//! task that wakes itself comes back before that: those whose bytes have come meanwhile are not
//! known to be ready, and it would be alone with itself. So it comes back behind that look; and
//! where a piece may be as much work as several requests, as one of all that wait.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;

/// Has this task polled again once others have had their turn.
pub(super) fn after_others(cx: &mut Context<'_>) {
    // What it leaves with the runtime at its first look is all there is to it.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

/// Lets one piece of work through after each look at the sockets, in order: however many
/// clients make work, others wait for one piece of it.
#[derive(Default)]
pub(super) struct Turnstile {
    waiting: RefCell<VecDeque<Waker>>,
    come: Notify,
}

impl Turnstile {
    /// Has this task polled again when it is its turn.
    pub(super) fn queue(&self, cx: &mut Context<'_>) {
        self.waiting.borrow_mut().push_back(cx.waker().clone());
        self.come.notify_one();
    }

    /// Lets through, for as long as it is polled.
    pub(super) async fn turn(&self) {
        loop {
            if self.waiting.borrow().is_empty() {
                self.come.notified().await;
            }
            tokio::task::yield_now().await;
            let next = self.waiting.borrow_mut().pop_front();
            next.into_iter().for_each(Waker::wake);
        }
    }

    /// Runs what costs much at each step.
    pub(super) async fn step_by_step<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            woken(|cx| self.queue(cx)).await;
            if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
                return done;
            }
            woken(|_| {}).await;
        }
    }
}

/// Ends when this task is polled again after `first`.
async fn woken(first: impl FnOnce(&mut Context<'_>)) {
    let mut first = Some(first);
    poll_fn(|cx| {
        first.take().map_or(Poll::Ready(()), |first| {
            first(cx);
            Poll::Pending
        })
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::Write;
    use std::rc::Rc;

    use tokio::io::AsyncReadExt;

    use super::*;

    /// As a task of a worker: the future that a runtime is given itself is polled otherwise.
    fn run(test: impl Future<Output = ()> + 'static) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default()).unwrap();
        runtime.block_on(async { tokio::task::spawn_local(test).await.unwrap() });
    }

    #[test]
    fn whoever_gives_way_gives_way_to_bytes_that_have_come() {
        run(async {
            let (mut client, server) = std::os::unix::net::UnixStream::pair().unwrap();
            server.set_nonblocking(true).unwrap();
            let mut server = tokio::net::UnixStream::from_std(server).unwrap();
            let waits = tokio::task::spawn_local(async move { server.read_u8().await.unwrap() });
            // It waits by now.
            tokio::task::yield_now().await;
            let mut turns = 0;
            poll_fn(|cx| {
                if turns == 0 {
                    client.write_all(&[7]).unwrap();
                }
                if waits.is_finished() {
                    return Poll::Ready(());
                }
                turns += 1;
                after_others(cx);
                Poll::Pending
            })
            .await;
            assert!(turns <= 2, "{turns}");
        });
    }

    #[test]
    fn steps_are_taken_one_by_one_and_in_order() {
        run(async {
            let (turnstile, taken) = (Rc::new(Turnstile::default()), Rc::new(RefCell::new(Vec::new())));
            let turning = Rc::clone(&turnstile);
            tokio::task::spawn_local(async move { turning.turn().await });
            let busy = |who: char| {
                let (turnstile, taken) = (Rc::clone(&turnstile), Rc::clone(&taken));
                tokio::task::spawn_local(async move {
                    let mut left = 3;
                    let work = poll_fn(|cx| {
                        taken.borrow_mut().push(who);
                        left -= 1;
                        cx.waker().wake_by_ref();
                        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
                    });
                    turnstile.step_by_step(work).await;
                })
            };
            for task in ['a', 'b', 'c'].map(busy) {
                task.await.unwrap();
            }
            assert_eq!(taken.borrow().iter().collect::<String>(), "abcabcabc");
        });
    }
}
