//! Changes as server-sent events (HTML, section 9.2): each with an id to go on from.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_stream::{Stream, StreamExt};

use super::access::Admission;
use super::api::Admin;
use crate::control::{Change, Events};

/// Proxies between close what is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn stream(
    State(admin): State<Admin>,
    Extension(admission): Extension<Admission>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = admin.control.events().clone();
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let (missed, coming) = events.after(last);
    // Who missed more than is kept has to read everything anew.
    let first: Vec<Event> = match missed {
        Some(missed) => missed.iter().map(|change| event(&events, change)).collect(),
        None => vec![reset()],
    };
    let coming = BroadcastStream::new(coming).map(move |change| match change {
        Ok(change) => event(&events, &change),
        Err(BroadcastStreamRecvError::Lagged(_)) => reset(),
    });
    let hello = Event::default().comment("changes follow");
    let all = tokio_stream::iter([hello].into_iter().chain(first)).chain(coming);
    // Tokens have changed: who still has one comes again, and goes on behind the last event.
    let all = all.take_while(move |_| admission.holds()).map(Ok);
    Sse::new(all).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn event(events: &Events, change: &Arc<Change>) -> Event {
    // Plain texts: they always have a JSON form.
    let data = serde_json::to_string(&**change).unwrap_or_default();
    Event::default().id(events.id(change)).event("change").data(data)
}

fn reset() -> Event {
    Event::default().event("reset").data("{}")
}
