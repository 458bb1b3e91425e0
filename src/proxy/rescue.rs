//! What is tried once more, so that a bad answer is not the client's (SPEC 3).
//!
//! Order: another app server of the same track, then stable in the canary's place. Two
//! further attempts at the most, all before the deadline of the first. None of them is
//! an outcome: the first attempt was. Where they fail too, the client gets the first answer.

use http::{HeaderMap, Method, StatusCode};

use super::answer::Answer;
use super::attempt::{Answered, Role, Way, idempotent, safe};
use super::exchange::{Exchange, error_of};
use super::view::AppServer;
use crate::clock;
use crate::config::ShieldMethods;
use crate::subject::Track;
use crate::telemetry::{ErrorKind, Rescue};

const ATTEMPTS: u8 = 2;
const FALLBACK: &str = "fallback";

type Result = std::result::Result<Answered, Answer>;

/// Sends a request to where it was assigned, and settles what its track did with it.
///
/// # Errors
/// With Serin's own answer.
pub(super) async fn first(way: &Way<'_>, role: Role, headers: HeaderMap, exchange: &mut Exchange) -> Result {
    let server = match way.take(role.track, None, exchange).await {
        Ok(server) => server,
        Err(kind) => return Box::pin(without_server(way, role, kind, headers, exchange)).await,
    };
    let place = server.endpoint();
    let first = way.attempt(server, role, headers, exchange).await;
    match (exchange.judged(&first), &first) {
        (Some(kind), _) if may_go_again(way, kind) => {
            Box::pin(rescue(way, role, kind, Some(&place), first, exchange)).await
        }
        (None, Ok(answered)) if answered.response.status() == StatusCode::NOT_FOUND && may_be_skewed(way) => {
            Box::pin(skew(way, role, first, exchange)).await
        }
        _ => first,
    }
}

/// No app server of the track can take the request. It never left, so it may go elsewhere
/// whatever its method: to stable, where the canary has none.
async fn without_server(
    way: &Way<'_>,
    role: Role,
    kind: ErrorKind,
    headers: HeaderMap,
    exchange: &mut Exchange,
) -> Result {
    let nowhere = Err(Answer::Failed(kind));
    exchange.judged(&nowhere);
    match (role.track, kind) {
        (Track::Canary, ErrorKind::NoEndpoint) => {
            let role = Role { track: Track::Stable, reason: FALLBACK };
            let server = way.take(role.track, None, exchange).await.map_err(Answer::Failed)?;
            let answered = way.attempt(server, role, headers, exchange).await;
            if answered.is_ok() {
                exchange.note_rescue(FALLBACK);
            }
            answered
        }
        (Track::Canary, _) => rescue(way, role, kind, None, nowhere, exchange).await,
        (Track::Stable, _) => nowhere,
    }
}

/// Whether a request may have reached the app without harm, and its body is still there.
fn may_go_again(way: &Way<'_>, kind: ErrorKind) -> bool {
    let never_left = kind == ErrorKind::Connect;
    let in_time = kind != ErrorKind::Timeout;
    in_time && (never_left || idempotent(&way.parts.method)) && way.body_is_whole()
}

async fn rescue(
    way: &Way<'_>,
    role: Role,
    kind: ErrorKind,
    place: Option<&AppServer>,
    first: Result,
    exchange: &mut Exchange,
) -> Result {
    let retry = way.service.state.config.retry;
    let wanted = match kind {
        ErrorKind::Connect => retry.connect,
        ErrorKind::Reset => retry.reset,
        _ => false,
    };
    let retries = if wanted { retry.attempts.min(ATTEMPTS) } else { 0 };
    let mut left = ATTEMPTS;
    for _ in 0..retries {
        let Ok(server) = way.take(role.track, place, exchange).await else { break };
        left -= 1;
        let again = way.attempt(server, role, way.headers(), exchange).await;
        if count(way, Rescue::Retry, &again) {
            exchange.note_rescue(Rescue::Retry.name());
            return again;
        }
    }
    if left > 0
        && is_shielded(way, role, kind)
        && way.service.budget().spend(clock::now())
        && let Ok(server) = way.take(Track::Stable, None, exchange).await
    {
        let role = Role { track: Track::Stable, reason: "shield" };
        let again = way.attempt(server, role, way.headers(), exchange).await;
        let good = count(way, Rescue::Shield, &again);
        if let Some(canary) = &way.service.state.canary {
            canary.subject.count_shielded(!good);
        }
        if good {
            exchange.note_rescue(Rescue::Shield.name());
            return again;
        }
    }
    first
}

fn is_shielded(way: &Way<'_>, role: Role, kind: ErrorKind) -> bool {
    let method = &way.parts.method;
    let never_left = matches!(kind, ErrorKind::Connect | ErrorKind::Overflow);
    let chosen = match way.service.state.config.shield.methods {
        ShieldMethods::Safe => never_left || safe(method),
        ShieldMethods::Idempotent => never_left || idempotent(method),
        ShieldMethods::Off => false,
    };
    // Who forces a track wants to see what it does.
    chosen && role.track == Track::Canary && matches!(role.reason, "share" | "include")
}

fn may_be_skewed(way: &Way<'_>) -> bool {
    let paths = &way.service.state.config.skew;
    way.service.state.canary.is_some()
        && matches!(way.parts.method, Method::GET | Method::HEAD)
        && paths.iter().any(|prefix| way.target.path().starts_with(prefix.as_str()))
}

/// A page of one version asks the other one for its files.
async fn skew(way: &Way<'_>, role: Role, first: Result, exchange: &mut Exchange) -> Result {
    let other = match role.track {
        Track::Canary => Track::Stable,
        Track::Stable => Track::Canary,
    };
    let Ok(server) = way.take(other, None, exchange).await else { return first };
    let again = way.attempt(server, Role { track: other, reason: "skew" }, way.headers(), exchange).await;
    let found = |answered: &Answered| answered.response.status() != StatusCode::NOT_FOUND;
    if count(way, Rescue::Skew, &again) && again.as_ref().is_ok_and(found) {
        exchange.note_rescue(Rescue::Skew.name());
        return again;
    }
    first
}

/// Counts a further attempt; whether it was good.
fn count(way: &Way<'_>, rescue: Rescue, again: &Result) -> bool {
    let rules = &way.service.state.config.errors;
    let answered = |answered: &Answered| error_of(rules, answered.response.status(), answered.response.headers());
    let good = again.as_ref().is_ok_and(|again| answered(again).is_none());
    way.service.state.stats.count_rescue(way.client.worker.index, rescue, good);
    good
}
