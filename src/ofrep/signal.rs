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

/// A signal for each change that an answer may depend on.
pub(crate) fn signals(events: &Events) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<>> {
    let (_, coming) = events.after(None);
    let own = events.clone();
    let coming = BroadcastStream::new(coming).filter_map(move |change| match change {
        Ok(change) if matters(&change) => Some(signal(Some(own.id(&change)))),
        Ok(_) => None,
        Err(BroadcastStreamRecvError::Lagged(_)) => Some(signal(None)),
    });
    let hello = Event::default().comment("signals follow");
    let all = tokio_stream::iter([hello]).chain(coming).map(Ok);
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// Rules may ask for a deployment's track.
fn matters(change: &Change) -> bool {
    change.flag.is_some() || change.kind == "flags" || change.deployment.is_some()
}

fn signal(id: Option<String>) -> Event {
    let data = json!({ "type": "refetchEvaluation", "lastModified": clock::unix_seconds() });
    let event = Event::default().event("message").data(data.to_string());
    match id {
        Some(id) => event.id(id),
        None => event,
    }
}
