//! The public listener: for apps on their users' devices, which are not believed.
//!
//! What the request itself says by the sources of `identity` comes before what its body says,
//! and a body matches no `user` or `group` rule.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::answer::{Audience, Failure};
use super::asked::Asked;
use super::rate::Rate;
use super::signal::signals;
use super::tokens;
use crate::config::Ofrep;
use crate::control::Control;
use crate::decide::flags::{Attribute, Attributes, Context, JsonAttributes};
use crate::proxy::{CookieKey, Visitor};
use crate::snapshot::Snapshot;
use crate::subject::Track;
use crate::{clock, ofrep};

const BODY_MAX: usize = 64 << 10;
const EVENTS: &str = "/ofrep/v1/events";
/// Streams at once; clients without one fetch as they did before there were any.
const STREAMS_MAX: usize = 10_000;

/// A rate, and what configuration says of it.
type RateOfNow = ((u32, u32), Arc<Rate>);

/// What the public listener speaks for.
#[derive(Clone)]
pub struct PublicState {
    control: Control,
    key: CookieKey,
    rate: Arc<Mutex<Option<RateOfNow>>>,
    streams: Arc<AtomicUsize>,
}

impl PublicState {
    /// For this control plane; `key` is the one of Serin's own cookie.
    pub fn new(control: Control, key: CookieKey) -> Self {
        Self { control, key, rate: Arc::default(), streams: Arc::default() }
    }

    /// The rate of now: a reload may bring another one.
    fn rate(&self, settings: &Ofrep) -> Arc<Rate> {
        let wanted = (settings.requests_per_second, settings.burst);
        let mut known = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((of, rate)) if *of == wanted => Arc::clone(rate),
            _ => {
                let number = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
                let rate = Arc::new(Rate::new(number(wanted.0), number(wanted.1)));
                *known = Some((wanted, Arc::clone(&rate)));
                rate
            }
        }
    }
}

/// The public listener's calls.
pub fn public_router(state: PublicState) -> Router {
    Router::new().fallback(call).with_state(state)
}

async fn call(
    State(state): State<PublicState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let snapshot = state.control.snapshot();
    let Some(settings) = &snapshot.config.ofrep else {
        return Failure::new(StatusCode::NOT_FOUND, "GENERAL", "OFREP is not served any more").into_response();
    };
    let origin = request.headers().get(ORIGIN).filter(|origin| settings.origins.allow(origin)).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        preflight()
    } else {
        let key = request.uri().path().strip_prefix(&*settings.path).and_then(ofrep::key);
        let answered = answer(&state, &snapshot, settings, peer.ip().to_canonical(), request, key.as_deref()).await;
        answered.unwrap_or_else(|failure| failure.about(key.as_deref()).into_response())
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag, Retry-After"));
        if !settings.origins.any {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
    response
}

/// What browsers ask before they ask (Fetch, section 3.2).
fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let allowed = HeaderValue::from_static("content-type, authorization, x-api-key, if-none-match");
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
    response
}

async fn answer(
    state: &PublicState,
    snapshot: &Snapshot,
    settings: &Ofrep,
    peer: IpAddr,
    request: Request,
    key: Option<&str>,
) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    let client = Visitor { config: &snapshot.config.identity, key: &state.key, trusted: &settings.trusted, peer };
    if let Err(seconds) = state.rate(settings).take(client.address(&parts.headers)) {
        let failure = Failure::new(StatusCode::TOO_MANY_REQUESTS, "GENERAL", "too many evaluations from this address");
        return Err(Failure { retry_after: Some(seconds), ..failure });
    }
    let path = parts.uri.path().strip_prefix(&*settings.path);
    let token = tokens::check(&settings.tokens, &parts.headers)
        .map_err(|details| Failure::new(StatusCode::UNAUTHORIZED, "GENERAL", details));
    if path == Some(EVENTS) && settings.events {
        if !tokens::passes(&settings.tokens, parts.uri.query().unwrap_or_default()) {
            token?;
        }
        return events(state, &parts);
    }
    let token = token?;
    if key.is_none() && path.map(|path| path.trim_end_matches('/')) != Some(ofrep::BASE) {
        return Err(Failure::new(StatusCode::NOT_FOUND, "GENERAL", "there is no such path"));
    }
    if parts.method != Method::POST {
        return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "GENERAL", "flags are evaluated by POST"));
    }
    let asked = read(body).await?;
    let identity = client.identify(&parts.headers);
    let own = Own { client: &client, headers: &parts.headers, asked: &asked, targeting_key: identity.id.as_deref() };
    let sticky = identity.sticky.as_deref().or(asked.id());
    let context = Context {
        id: identity.id.as_deref().or(asked.id()),
        user: identity.user.as_deref(),
        groups: identity.groups.as_deref(),
        environment: None,
        canary: only_service(snapshot, sticky, &identity),
        attributes: Some(&own),
        unix_millis: clock::unix_millis(),
        ramps: &snapshot.flags.shares(),
    };
    Ok(match key {
        Some(key) => ofrep::evaluate(snapshot, key, &context, Audience::Clients),
        None => {
            let pass = token.map(|token| format!("?pass={}", tokens::pass(token))).unwrap_or_default();
            let stream = settings.events.then(|| format!("{}{EVENTS}{pass}", settings.path));
            ofrep::evaluate_all(snapshot, &context, Audience::Clients, &parts.headers, stream.as_deref())
        }
    })
}

/// The track that a deployment has sent this visitor to, where there is one service.
fn only_service(snapshot: &Snapshot, id: Option<&str>, identity: &crate::proxy::VisitorIdentity<'_>) -> Option<bool> {
    let [service] = snapshot.services.as_slice() else { return None };
    let place = service.place(id, identity.user.as_deref(), identity.groups.as_deref());
    Some(place.track == Track::Canary)
}

async fn read(body: Body) -> Result<Asked, Failure> {
    let too_large = |_| {
        let details = format!("a body has at most {BODY_MAX} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID_CONTEXT", details)
    };
    let bytes = to_bytes(body, BODY_MAX).await.map_err(too_large)?;
    Asked::read(&bytes).map_err(|bad| Failure::new(StatusCode::BAD_REQUEST, "INVALID_CONTEXT", bad.to_string()))
}

fn events(state: &PublicState, asked: &Parts) -> Result<Response, Failure> {
    if asked.method != Method::GET {
        return Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "GENERAL", "the signal is asked for by GET"));
    }
    if state.streams.fetch_add(1, Ordering::Relaxed) >= STREAMS_MAX {
        state.streams.fetch_sub(1, Ordering::Relaxed);
        let failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, "GENERAL", "too many streams: fetch without one");
        return Err(Failure { retry_after: Some(60), ..failure });
    }
    let place = StreamPlace(Arc::clone(&state.streams));
    let last = asked.headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let response = signals(state.control.events(), last).into_response();
    let (parts, body) = response.into_parts();
    let body = Body::new(http_body_util::BodyExt::map_frame(body, move |frame| {
        let _held = &place;
        frame
    }));
    Ok(Response::from_parts(parts, body))
}

/// Given back when the stream ends.
struct StreamPlace(Arc<AtomicUsize>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is known of a visitor: what `identity.attributes` says of the request, and of what
/// that does not name, what the body says.
#[derive(Debug)]
struct Own<'a> {
    client: &'a Visitor<'a>,
    headers: &'a HeaderMap,
    asked: &'a Asked,
    targeting_key: Option<&'a str>,
}

impl Attributes for Own<'_> {
    fn get(&self, name: &str) -> Option<Attribute<'_>> {
        let first = name.split('.').next().unwrap_or(name);
        if let (Some(id), "targetingKey") = (self.targeting_key, name) {
            return Some(Attribute::Text(id.into()));
        }
        if self.client.knows_attribute(first) {
            return self.client.attribute(self.headers, name);
        }
        JsonAttributes(&self.asked.0).find(name)
    }
}
