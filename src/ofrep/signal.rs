//! The signal that flags have changed: server-sent events without any values. Clients fetch
//! anew what they may see.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use serde_json::json;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};

use crate::clock;
use crate::control::{Change, Events};

/// Proxies between close what is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Nobody takes longer from the answer that names the stream to the stream.
const OPENING_MILLIS: i64 = 30_000;

/// A signal for each change that an answer may depend on, and one at once for whoever may have
/// missed some: a client that comes back names the `last` id that it saw, and does not fetch by
/// itself; one that is new has fetched a moment ago.
pub(crate) fn signals(
    events: &Events,
    last: Option<&str>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let newest = events.newest();
    let (missed, coming) = events.after(last.or(Some(&newest)));
    let missed = missed.is_none_or(|missed| missed.iter().any(|change| matters(change)))
        || (last.is_none() && has_just_changed(events));
    let first = missed.then(|| signal(Some(newest.clone())));
    let own = events.clone();
    let coming = BroadcastStream::new(coming).filter_map(move |change| match change {
        Ok(change) if matters(&change) => Some(signal(Some(own.id(&change)))),
        Ok(_) => None,
        Err(BroadcastStreamRecvError::Lagged(_)) => Some(signal(None)),
    });
    // An id without data is no event, but clients name it when they come back.
    let hello = Event::default().comment("signals follow").id(newest);
    let all = tokio_stream::iter([hello].into_iter().chain(first)).chain(coming).map(Ok);
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Rules may ask for a deployment's track.
fn matters(change: &Change) -> bool {
    change.flag.is_some() || change.kind == "flags" || change.deployment.is_some()
}

fn has_just_changed(events: &Events) -> bool {
    let just = |change: &Change| clock::millis_since(&change.at).is_none_or(|millis| millis < OPENING_MILLIS);
    events.recent().iter().rev().take_while(|change| just(change)).any(|change| matters(change))
}

fn signal(id: Option<String>) -> Event {
    let data = json!({ "type": "refetchEvaluation", "lastModified": clock::unix_seconds() });
    let event = Event::default().event("message").data(data.to_string());
    match id {
        Some(id) => event.id(id),
        None => event,
    }
}
