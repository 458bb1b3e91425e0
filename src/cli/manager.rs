//! What a service manager hears of this process (sd_notify(3)); without one it is said to nobody.

use sd_notify::NotifyState;

/// Clients are served, or served again.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Another configuration is read; `ready` follows.
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    tell(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
}

/// Another process is the service from now on.
pub(super) fn is_another(process: u32) {
    tell(&[NotifyState::MainPid(process), NotifyState::Ready]);
}

/// The process is ending.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
