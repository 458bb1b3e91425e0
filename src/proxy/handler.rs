//! The way of one request, top to bottom.

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderValue, SET_COOKIE, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::request::Parts;
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;

use super::added::Added;
use super::answer::Answer;
use super::attempt::{Answered, Role, Way};
use super::body::{ResponseBody, Rules, Streaming};
use super::connection::Client;
use super::exchange::{About, Assignment, CLIENT_LEFT, Exchange};
use super::force;
use super::head::{self, Head};
use super::headers;
use super::identity::{COOKIE_NAME, Identifier, Identity};
use super::io::Phase;
use super::record::Record;
use super::rescue;
use super::tunnel::Tunnel;
use super::upload::{Gate, Upload};
use super::view::{ServiceView, View};
use super::visitor::nearest_stranger;
use crate::clock;
use crate::config::Ignore;
use crate::decide::bucket::fingerprint;
use crate::snapshot::Place;
use crate::subject::Track;
use crate::telemetry::{ErrorKind, Refusal};

/// The reason of a request that says itself where it goes: no outcome of any track.
const OVERRIDE: &str = "override";
/// Answers a request: by an app server, or by Serin itself.
///
/// hyper moves the future once for every request, and what a future has taken in keeps
/// its place in it to the end: so it takes in no more than what has to last.
pub(super) fn handle(
    client: Rc<Client>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> {
    client.progress.enter(Phase::Busy);
    let strange = client.progress.strange();
    let (mut parts, body) = request.into_parts();
    // The app gets the client's own fields; a copy stays for another attempt.
    let copy = parts.headers.clone();
    let mut own = Some((std::mem::replace(&mut parts.headers, copy), body));
    async move {
        let mut record = None;
        // The parser has cut it off.
        let fragment = strange.fragment && parts.version != Version::HTTP_2;
        let forwarded = forward(&client, &parts, fragment, &mut own, &mut record).await;
        let mut closes = client.worker.drain.begun();
        let mut answer = match forwarded {
            Ok(response) => response,
            Err(answer) => {
                if let Answer::Refused(refusal, _) = answer {
                    client.worker.stats.refuse(refusal);
                }
                client.progress.enter(Phase::Idle);
                // Its body may still be under way, or be what nobody can tell the end of.
                client.end.unread.set(true);
                closes |= matches!(answer, Answer::Refused(Refusal::BadRequest, _));
                let response = answer.respond(&parts.headers);
                if let Some(mut record) = record {
                    let bytes = response.body().size_hint().exact().unwrap_or(0);
                    match answer {
                        Answer::ClientBody => record.client_broke_off(CLIENT_LEFT, answer.code()),
                        _ => record.answered_by_serin(response.status(), answer.code(), bytes),
                    }
                    client.worker.log(record);
                }
                response
            }
        };
        // What was read in one way might have been meant in another.
        closes |= strange.bare_lf || strange.both_lengths && parts.headers.contains_key(TRANSFER_ENCODING);
        if closes && parts.version != Version::HTTP_2 {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(answer)
    }
}

/// The client's own fields and body, until they go out.
type Own = Option<(HeaderMap, Incoming)>;

async fn forward(
    client: &Rc<Client>,
    parts: &Parts,
    fragment: bool,
    own: &mut Own,
    record: &mut Option<Box<Record>>,
) -> Result<Response<ResponseBody>, Answer> {
    let view = client.worker.view();
    *record = Record::begin(client, &view, parts);
    if fragment {
        return Err(Answer::Refused(Refusal::BadRequest, "the request's target has a fragment"));
    }
    let head = head::admit(parts, &view.snapshot.config.limits, &view.protected, client.trusted)?;
    let service = route(&view, &head)?;
    let (identity, minted) = identify(client, &view, &service, parts);
    let assignment = assign(&service, &identity, &parts.headers);
    let tapped = service.state.rehearsal.as_ref().and(identity.sticky.as_deref()).map(fingerprint);
    let added = Added::new(client, &view, &service, parts, &head, identity);

    let ignored =
        assignment.reason == OVERRIDE || is_ignored(&service.state.config.errors.ignore, &head, &parts.headers);
    let (headers, upload) = match own.take() {
        Some((headers, body)) => (headers, upload(client, &view, parts, body)),
        None => (parts.headers.clone(), None),
    };
    let about = || About {
        method: parts.method.clone(),
        target: head.target.clone(),
        request_id: added.request_id(),
        status: None,
    };
    let exposures = added.exposures(assignment.track);
    let (exchanging, served) = (Rc::clone(client), Rc::clone(&service));
    let mut exchange = Exchange::new(exchanging, served, assignment, ignored, upload.clone(), exposures, about);
    exchange.tapped = tapped;
    exchange.record = record.take();
    exchange.note_request(&added);
    let role = Role { track: assignment.track, reason: assignment.reason };
    if assignment.word.is_some() && role.track == Track::Stable {
        service.budget().earn();
    }
    let way = Way {
        client,
        service: &service,
        parts,
        target: &head.target,
        added: &added,
        upload: upload.as_ref(),
        upgrade: head.upgrade,
        trailers: head.trailers,
    };
    match rescue::first(&way, role, added.headers(headers), &mut exchange).await {
        Ok(answered) if answered.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            switch(client, &service, answered, exchange)
        }
        Ok(answered) => Ok(answer(&service, answered, exchange, parts.version, minted)),
        Err(answer) => {
            exchange.answers(
                role.track,
                match answer {
                    Answer::ClientBody => CLIENT_LEFT,
                    other => other.status().as_u16(),
                },
            );
            *record = exchange.record.take();
            Err(answer)
        }
    }
}

fn route(view: &View, head: &Head<'_>) -> Result<Rc<ServiceView>, Answer> {
    let routes = &view.snapshot.routes;
    let found = routes
        .only()
        .or_else(|| routes.find(&head::host_name(head.authority), &head::routing_path(head.target.path())));
    let nowhere = Answer::Refused(Refusal::NoService, "no service has this host and path");
    found.map(|index| Rc::clone(&view.services[index])).ok_or(nowhere)
}

/// Who a request is from, and the cookie that was made for it.
fn identify<'a>(
    client: &'a Client,
    view: &'a View,
    service: &ServiceView,
    parts: &'a Parts,
) -> (Identity<'a>, Option<String>) {
    let identifier = Identifier {
        config: &view.snapshot.config.identity,
        key: &client.worker.key,
        trusted: client.trusted,
        client: client_address(client, &parts.headers),
        mints: true,
        needed: service.state.canary.is_some() || service.state.rehearsal.is_some() || view.snapshot.flags.splits,
    };
    let mut identity = identifier.identify(&parts.headers);
    let minted = identity.minted.take();
    (identity, minted)
}

pub(super) fn client_address(client: &Client, headers: &HeaderMap) -> IpAddr {
    nearest_stranger(client.peer, &client.listener.trusted, headers)
}

/// An override, else what the deployment says.
fn assign(service: &ServiceView, identity: &Identity<'_>, headers: &HeaderMap) -> Assignment {
    let Some(canary) = &service.state.canary else {
        return Assignment { word: None, bucket: None, track: Track::Stable, reason: "none" };
    };
    let word = canary.subject.word();
    if let Some(secret) = &service.state.config.override_secret
        && !word.closed()
        && let Some(track) = force::forced(secret, &service.state.config.name, headers, clock::unix_seconds())
    {
        return Assignment { word: Some(word), bucket: None, track, reason: OVERRIDE };
    }
    let (user, groups) = (identity.user.as_deref(), identity.groups.as_deref());
    let Place { track, bucket, reason } = canary.place(word, identity.sticky.as_deref(), user, groups);
    Assignment { word: Some(word), bucket, track, reason }
}

fn is_ignored(ignore: &Ignore, head: &Head<'_>, headers: &HeaderMap) -> bool {
    ignore.paths.iter().any(|path| path == head.target.path())
        || (!ignore.user_agents.is_empty() && {
            let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            ignore.user_agents.iter().any(|text| agent.contains(text.as_str()))
        })
}

fn upload(client: &Client, view: &View, parts: &Parts, body: Incoming) -> Option<Rc<Upload>> {
    if body.is_end_stream() {
        return None;
    }
    let expects = parts.headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let gate = expects.then(Gate::default);
    let limits = &view.snapshot.config.limits;
    Some(Rc::new(Upload::new(body, limits, gate, Rc::clone(&view.protected), client)))
}

/// The app's answer, made fit for the client.
fn answer(
    service: &Rc<ServiceView>,
    answered: Answered,
    mut exchange: Exchange,
    version: Version,
    minted: Option<String>,
) -> Response<ResponseBody> {
    let Answered { response, lease, server, track } = answered;
    if exchange.asked_at().is_none() {
        // The app has answered before it had the whole body: nobody may read the rest.
        exchange.client().end.unread.set(true);
    }
    let (mut parts, incoming) = response.into_parts();
    exchange.answers(track, parts.status.as_u16());
    exchange.note_server(track, server.name());
    // hyper writes what the client speaks; an app's own version says nothing to it.
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let kept_for = headers::clean_answer(&mut parts.headers);
    keep_from_shared_caches(exchange.client(), service, &mut parts.headers, minted);
    let body = if incoming.is_end_stream() {
        let at = exchange.heard_at();
        exchange.finished();
        server.give_back(lease, kept_for, at);
        ResponseBody::Own(None)
    } else {
        let silence = service.state.config.timeouts.stream;
        if version == Version::HTTP_2 {
            // Until hyper asks for the body the client's window has no room.
            exchange.client().progress.stall(true);
        }
        let rules = Rules { silence, grpc: grpc_rules(service, &parts.headers), version };
        ResponseBody::Streaming(Streaming::new(incoming, lease, server, kept_for, exchange, rules))
    };
    Response::from_parts(parts, body)
}

/// Which gRPC statuses are errors, where the status is still to come.
fn grpc_rules(service: &ServiceView, headers: &HeaderMap) -> Option<u32> {
    let to_come = headers::is_grpc(headers) && !headers.contains_key(&headers::GRPC_STATUS);
    to_come.then_some(service.state.config.errors.grpc_status)
}

/// The app speaks another protocol from now on, and so does the client.
fn switch(
    client: &Client,
    service: &ServiceView,
    answered: Answered,
    mut exchange: Exchange,
) -> Result<Response<ResponseBody>, Answer> {
    let Answered { response, lease, server, track } = answered;
    let (mut parts, _) = response.into_parts();
    let protocol = parts.headers.get(UPGRADE).cloned();
    let Some((stream, protocol)) = lease.into_stream().zip(protocol) else {
        exchange.truncated();
        return Err(Answer::Failed(ErrorKind::Protocol));
    };
    exchange.answers(track, parts.status.as_u16());
    exchange.note_server(track, server.name());
    exchange.lasts();
    parts.extensions.clear();
    headers::clean_answer(&mut parts.headers);
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, protocol);
    let silence = service.state.config.timeouts.stream;
    *client.end.tunnel.borrow_mut() = Some(Box::new(Tunnel::new(stream, exchange, silence, server)));
    Ok(Response::from_parts(parts, ResponseBody::Own(None)))
}

/// One user's answer, and one user's cookie, are not for others.
fn keep_from_shared_caches(client: &Client, service: &ServiceView, headers: &mut HeaderMap, minted: Option<String>) {
    let splits = service.state.canary.as_ref().is_some_and(|canary| canary.subject.word().share().splits());
    if let Some(minted) = minted
        && !headers::shared_cacheable(headers)
    {
        let secure = if client.encrypted { "; Secure" } else { "" };
        let cookie = format!("{COOKIE_NAME}={minted}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax{secure}");
        if let Ok(value) = HeaderValue::try_from(cookie) {
            headers.append(SET_COOKIE, value);
        }
    }
    if splits {
        headers::make_private(headers);
    }
}
