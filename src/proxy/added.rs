//! What the app is told: track, flags, and where the request came from (SPEC 2.5).
//!
//! The client's fields lose what is not for the app; what Serin says comes behind them.

use std::rc::Rc;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use super::attempt::Role;
use super::connection::Client;
use super::exchange::Exposure;
use super::force;
use super::head::Head;
use super::headers::{
    self, FEATURE_FLAGS, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REQUEST_ID, X_SERIN_REASON,
    X_SERIN_TRACK, X_SERIN_VERSION,
};
use super::identity::{Identity, RequestAttributes};
use super::view::{ServiceView, View};
use crate::clock;
use crate::config::HeaderStyle;
use crate::decide::bucket::Share;
use crate::decide::flags::{Context, Reason};
use crate::snapshot::LiveRamp;
use crate::subject::{Track, Word};
use crate::upstream::HeadFields;

static HTTP: HeaderValue = HeaderValue::from_static("http");
static HTTPS: HeaderValue = HeaderValue::from_static("https");

/// What tells a request from all others; the same for each of its attempts.
enum RequestId<'a> {
    /// The client's.
    Given(&'a HeaderValue),
    Own(u128),
}

/// What is added to a request; the same for each of its attempts.
pub(super) struct Added<'a> {
    client: &'a Rc<Client>,
    view: &'a View,
    service: &'a Rc<ServiceView>,
    parts: &'a Parts,
    head: &'a Head<'a>,
    identity: Identity<'a>,
    request_id: RequestId<'a>,
    /// Ramps as this request has seen them: headers and evidence are of the same moment.
    words: Vec<Word>,
    shares: Vec<Share>,
}

impl<'a> Added<'a> {
    pub(super) fn new(
        client: &'a Rc<Client>,
        view: &'a View,
        service: &'a Rc<ServiceView>,
        parts: &'a Parts,
        head: &'a Head<'a>,
        identity: Identity<'a>,
    ) -> Self {
        let given = head.request_id.filter(|id| headers::is_request_id(id));
        let request_id = given.map_or_else(|| RequestId::Own(client.worker.request_id()), RequestId::Given);
        let ramps = &view.snapshot.flags.ramps;
        let words: Vec<Word> = ramps.iter().map(|ramp| ramp.subject.word()).collect();
        let shares = ramps.iter().zip(&words).map(|(ramp, word)| LiveRamp::share_of(*word, ramp.from)).collect();
        Self { client, view, service, parts, head, identity, request_id, words, shares }
    }

    /// The client's fields without what is not for the app.
    pub(super) fn headers(&self, mut headers: HeaderMap) -> HeaderMap {
        for name in &self.head.gone {
            headers.remove(name);
        }
        if self.service.state.config.override_secret.is_some() {
            force::remove_cookie(&mut headers);
        }
        if self.client.trusted {
            // Written anew, with the peer behind it.
            headers.remove(&X_FORWARDED_FOR);
        }
        headers
    }

    /// The request's id, as the app sees it.
    pub(super) fn request_id(&self) -> String {
        match self.request_id {
            RequestId::Given(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            RequestId::Own(id) => format!("{id:032x}"),
        }
    }

    /// The id that the user's bucket is drawn for.
    pub(super) fn sticky(&self) -> Option<&str> {
        self.identity.sticky.as_deref()
    }

    /// Writes Serin's own.
    pub(super) fn write(&self, role: Role, fields: &mut HeadFields<'_>) {
        self.write_track(role, fields);
        self.write_flags(role.track, fields);
        self.write_origin(fields);
        match self.request_id {
            RequestId::Given(value) => fields.add(&X_REQUEST_ID, value),
            RequestId::Own(id) => fields.add_hex(&X_REQUEST_ID, id),
        }
    }

    fn write_track(&self, role: Role, fields: &mut HeadFields<'_>) {
        let Role { track, reason } = role;
        fields.add(&X_SERIN_TRACK, &HeaderValue::from_static(track.name()));
        fields.add(&X_SERIN_REASON, &HeaderValue::from_static(reason));
        if let Some(version) = &self.service.state.role(track).version {
            fields.add(&X_SERIN_VERSION, version);
        }
    }

    /// What flags are asked for on a track.
    fn context<'c>(&'c self, track: Track, attributes: &'c RequestAttributes<'c>) -> Context<'c> {
        let asks_the_time = self.view.snapshot.flags.asks_the_time || !self.shares.is_empty();
        Context {
            id: self.identity.id.as_deref(),
            user: self.identity.user.as_deref(),
            groups: self.identity.groups.as_deref(),
            environment: None,
            canary: Some(track == Track::Canary),
            attributes: Some(attributes),
            unix_millis: if asks_the_time { clock::unix_millis() } else { 0 },
            ramps: &self.shares,
        }
    }

    /// The ramps that this request is evidence of: those where the user's bucket decides.
    pub(super) fn exposures(&self, track: Track) -> Vec<Exposure> {
        if self.shares.is_empty() {
            return Vec::new();
        }
        let attributes = self.attributes();
        let context = self.context(track, &attributes);
        let flags = &self.view.snapshot.flags;
        let own = &self.service.state.config.name;
        let evidence = flags.ramps.iter().zip(&self.words).zip(&self.shares).filter_map(|((ramp, word), share)| {
            let counts = ramp.service.as_ref().is_none_or(|service| service == own);
            let evaluation = flags.all.get(&ramp.flag).filter(|_| counts)?.evaluate(&context);
            let by_bucket = evaluation.drawn && evaluation.reason == Reason::Percentage && !word.closed();
            let bucket = ramp.salt.bucket(context.id.filter(|_| by_bucket)?);
            let track = if share.reaches(bucket) { Track::Canary } else { Track::Stable };
            Some(Exposure { subject: Arc::clone(&ramp.subject), word: *word, bucket, track })
        });
        evidence.collect()
    }

    fn write_flags(&self, track: Track, fields: &mut HeadFields<'_>) {
        let snapshot = &self.view.snapshot;
        let attributes = self.attributes();
        let context = self.context(track, &attributes);
        let list = snapshot.config.flags.headers.style == HeaderStyle::List;
        let mut enabled = String::new();
        for exposed in &snapshot.flags.exposed {
            let evaluation = exposed.flag.evaluate(&context);
            exposed.count(self.client.worker.index, &evaluation);
            if !list {
                if let Some(value) = exposed.value(&evaluation) {
                    fields.add(&exposed.header, value);
                }
            } else if evaluation.enabled {
                let comma = if enabled.is_empty() { "" } else { ", " };
                enabled.push_str(comma);
                enabled.push_str(exposed.flag.name().as_str());
            }
        }
        if list && let Ok(value) = HeaderValue::try_from(enabled) {
            fields.add(&FEATURE_FLAGS, &value);
        }
    }

    fn attributes(&self) -> RequestAttributes<'_> {
        RequestAttributes {
            sources: &self.view.snapshot.config.identity.attributes,
            headers: &self.parts.headers,
            trusted: self.client.trusted,
        }
    }

    /// From strangers the forwarding fields are gone by now; a trusted peer's go on.
    fn write_origin(&self, fields: &mut HeadFields<'_>) {
        let peer = &self.client.peer_text;
        let before = if self.passes(&X_FORWARDED_FOR) { forwarded_for(&self.parts.headers) } else { None };
        match before
            .and_then(|before| HeaderValue::from_bytes(&[before.as_bytes(), b", ", peer.as_bytes()].concat()).ok())
        {
            Some(path) => fields.add(&X_FORWARDED_FOR, &path),
            None => fields.add(&X_FORWARDED_FOR, peer),
        }
        if !self.passes(&X_FORWARDED_PROTO) {
            fields.add(&X_FORWARDED_PROTO, if self.client.encrypted { &HTTPS } else { &HTTP });
        }
        if !self.passes(&X_FORWARDED_HOST) {
            fields.add(&X_FORWARDED_HOST, self.head.host);
        }
    }

    /// Whether the client's own field of this name goes to the app.
    fn passes(&self, name: &HeaderName) -> bool {
        self.client.trusted && !self.head.gone.contains(name) && self.parts.headers.contains_key(name)
    }
}

/// All X-Forwarded-For fields as one list.
pub(super) fn forwarded_for(headers: &HeaderMap) -> Option<String> {
    let parts: Vec<&str> = headers.get_all(&X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
