//! Long answers of a canary that was rolled back: they may go on for a while, then they end.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::decide::time::Moment;
use crate::subject::Subject;

/// Whether the canary of a deployment has had its time; one a worker and deployment.
#[derive(Debug, Default)]
pub(super) struct Retired {
    over: Cell<bool>,
    told: Arc<Notify>,
}

/// A long answer of the canary, as far as it hears of the canary's end.
#[derive(Default)]
pub(super) struct Hearing(Option<Pin<Box<OwnedNotified>>>);

impl Hearing {
    /// Ready once the canary has had its time; the task is woken by then.
    pub(super) fn poll(&mut self, retired: &Retired, cx: &mut Context<'_>) -> Poll<()> {
        if retired.over.get() {
            return Poll::Ready(());
        }
        self.0.get_or_insert_with(|| Box::pin(Arc::clone(&retired.told).notified_owned())).as_mut().poll(cx)
    }
}

/// The deployments whose answers a worker may have under way.
#[derive(Default)]
pub(super) struct Deployments(Vec<Deployment>);

struct Deployment {
    subject: Arc<Subject>,
    retired: Weak<Retired>,
    closed_at: Option<Moment>,
}

impl Deployments {
    /// A deployment's canary gets answers under way from now on.
    pub(super) fn begin(&mut self, subject: &Arc<Subject>) -> Rc<Retired> {
        let retired = Rc::default();
        self.0.push(Deployment { subject: Arc::clone(subject), retired: Rc::downgrade(&retired), closed_at: None });
        retired
    }

    /// Ends what was rolled back this long ago, and forgets what nobody asks for any more.
    pub(super) fn sweep(&mut self, now: Moment, patience: Duration) {
        self.0.retain_mut(|deployment| {
            let Some(retired) = deployment.retired.upgrade() else { return false };
            if !deployment.subject.word().closed() {
                return true;
            }
            let closed_at = *deployment.closed_at.get_or_insert(now);
            let over = now.since(closed_at) >= patience;
            if over {
                retired.over.set(true);
                retired.told.notify_waiters();
            }
            !over
        });
    }
}
