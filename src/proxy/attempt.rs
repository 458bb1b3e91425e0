//! One attempt: a connection to an app server, the request, the head of the answer.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::added::Added;
use super::answer::Answer;
use super::body::RequestBody;
use super::connection::Client;
use super::exchange::Exchange;
use super::headers;
use super::interim;
use super::upload::{Gate, Upload, UploadFailure};
use super::view::{AppServer, ServiceView};
use crate::clock;
use crate::decide::time::Moment;
use crate::subject::Track;
use crate::telemetry::{ErrorKind, Refusal};
use crate::upstream::{Between, Choice, ConnectError, HeadFields, InUse, Lease, Need, NoServer, SendError};

/// A client that never hears "100 Continue" sends its body after a while; so do we.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);
/// How often a request goes out again that servers of HTTP/2 did not look at.
const PASSED_OVER: usize = 5;

const UPGRADE_TOKEN: HeaderValue = HeaderValue::from_static("upgrade");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");

/// The head of an answer, and the connection that brings its body.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease<RequestBody>,
    pub(super) server: InUse<RequestBody>,
    /// Whose answer it is.
    pub(super) track: Track,
}

/// As what an attempt goes to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) track: Track,
    /// In the words of `x-serin-reason`.
    pub(super) reason: &'static str,
}

/// Everything that the attempts of a request have in common.
pub(super) struct Way<'a> {
    pub(super) client: &'a Rc<Client>,
    pub(super) service: &'a ServiceView,
    pub(super) parts: &'a Parts,
    pub(super) target: &'a Uri,
    pub(super) added: &'a Added<'a>,
    pub(super) upload: Option<&'a Rc<Upload>>,
    /// The protocol that the connection is to become one of.
    pub(super) upgrade: Option<&'a HeaderValue>,
    /// Whether the client takes trailers.
    pub(super) trailers: bool,
}

impl Way<'_> {
    /// An app server of a track, another one than `not`, with room for one more request.
    ///
    /// # Errors
    /// [`ErrorKind::NoEndpoint`] or [`ErrorKind::Overflow`].
    pub(super) async fn take(
        &self,
        track: Track,
        not: Option<&AppServer>,
        exchange: &Exchange,
    ) -> Result<InUse<RequestBody>, ErrorKind> {
        let random = self.client.worker.random();
        let choice = Choice { now: exchange.started(), random, id: self.added.sticky(), not };
        let pool = self.service.pool(track);
        let taken = match pool.take(choice) {
            // Boxed, as all that is rare: the way of every request stays small.
            Err(NoServer::Busy) => Box::pin(pool.in_turn(choice, self.deadline(exchange))).await,
            taken => taken,
        };
        taken.map_err(|none| match none {
            NoServer::NoneHealthy => ErrorKind::NoEndpoint,
            NoServer::Busy => ErrorKind::Overflow,
        })
    }

    /// Until when there has to be an answer; later while the request's body is under way.
    fn deadline(&self, exchange: &Exchange) -> Moment {
        exchange.asked_at().unwrap_or_else(clock::now) + self.service.state.config.timeouts.response
    }

    /// Asks an app server. An idle connection that closed before any byte of an
    /// answer is no attempt: the request goes out once more where that is safe.
    ///
    /// # Errors
    /// With Serin's own answer.
    pub(super) async fn attempt(
        &self,
        server: InUse<RequestBody>,
        role: Role,
        headers: HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Answered, Answer> {
        let answered = self.ask(server, role, headers, exchange).await;
        if let Err((Answer::Failed(_), server)) = &answered {
            server.report(true, clock::now());
        }
        let answered = answered.map_err(|(answer, _)| answer)?;
        answered.server.report(answered.response.status().is_server_error(), exchange.started());
        Ok(answered)
    }

    async fn ask(
        &self,
        server: InUse<RequestBody>,
        role: Role,
        headers: HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Answered, (Answer, InUse<RequestBody>)> {
        let lease = match server.idle(exchange.started(), self.need(&server)) {
            Some(lease) => lease,
            None => match Box::pin(self.connect(&server, exchange)).await {
                Ok(lease) => lease,
                Err(answer) => return Err((answer, server)),
            },
        };
        match self.send(lease, role, headers, exchange).await {
            Ok(Some((response, lease))) => Ok(Answered { response, lease, server, track: role.track }),
            Ok(None) => {
                self.client.worker.stats.idle_was_dead();
                Box::pin(self.anew(server, role, exchange)).await
            }
            Err(answer) => Err((answer, server)),
        }
    }

    /// The same once more, over a new connection.
    async fn anew(
        &self,
        server: InUse<RequestBody>,
        role: Role,
        exchange: &mut Exchange,
    ) -> Result<Answered, (Answer, InUse<RequestBody>)> {
        // A new connection is no idle one, but one of HTTP/2 is others' too: it may end before
        // the app has looked at this request.
        for _ in 0..PASSED_OVER {
            let sent = match self.connect(&server, exchange).await {
                Ok(lease) => self.send(lease, role, self.headers(), exchange).await,
                Err(answer) => Err(answer),
            };
            match sent {
                Ok(Some((response, lease))) => return Ok(Answered { response, lease, server, track: role.track }),
                Ok(None) => {}
                Err(answer) => return Err((answer, server)),
            }
        }
        Err((Answer::Failed(ErrorKind::Reset), server))
    }

    /// The client's fields for one more attempt.
    pub(super) fn headers(&self) -> HeaderMap {
        self.added.headers(self.parts.headers.clone())
    }

    /// What the connection is for.
    fn need(&self, server: &AppServer) -> Need {
        if self.upgrade.is_some() && server.can_upgrade() { Need::Upgrade } else { Need::Any }
    }

    async fn connect(&self, server: &AppServer, exchange: &Exchange) -> Result<Lease<RequestBody>, Answer> {
        let left = self.deadline(exchange).since(clock::now());
        let within = self.service.state.config.timeouts.connect.min(left);
        server.connect(within, self.need(server)).await.map_err(|error| {
            tracing::debug!(server = server.name(), error = &error as &dyn std::error::Error, "no connection");
            match error {
                ConnectError::Failed(source) if is_our_want(&source) => {
                    Answer::Refused(Refusal::Descriptors, "Serin has no descriptors left")
                }
                ConnectError::Failed(_) | ConnectError::Timeout => Answer::Failed(ErrorKind::Connect),
            }
        })
    }

    async fn send(
        &self,
        mut lease: Lease<RequestBody>,
        role: Role,
        headers: HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Sent, Answer> {
        let request = self.request(headers, &lease)?;
        let mut was_open = false;
        let fields = |fields: &mut HeadFields<'_>| self.added.write(role, fields);
        let waited = lease.send(request, fields, |cx| self.between(exchange, &mut was_open, cx)).await;
        let answer = match waited {
            Ok(answer) => answer,
            Err(kind) => return Err(Answer::Failed(kind)),
        };
        match answer {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                // Where nobody asked for it the client would take the rest for another protocol.
                let as_asked = self.upgrade.is_some_and(|protocol| switches_to(&response, protocol));
                if as_asked { Ok(Some((response, lease))) } else { Err(Answer::Failed(ErrorKind::Protocol)) }
            }
            Ok(mut response) => {
                if !headers::has_one_length(&mut response) {
                    return Err(Answer::Failed(ErrorKind::Protocol));
                }
                if self.upload.is_some_and(|upload| upload.ended_at().is_none()) {
                    lease.detach();
                }
                Ok(Some((response, lease)))
            }
            Err(failed) => self.judge(&lease, &failed),
        }
    }

    fn request(&self, headers: HeaderMap, lease: &Lease<RequestBody>) -> Result<Request<RequestBody>, Answer> {
        let body = match self.upload {
            None => RequestBody::Empty,
            Some(upload) => upload.body().ok_or(Answer::Failed(ErrorKind::Reset))?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        if !lease.shape(&mut request) {
            return Err(Answer::Refused(Refusal::BadRequest, "the Host is not a host"));
        }
        let http2 = lease.is_http2();
        let gate = self.upload.and_then(|upload| upload.gate());
        if let (Some(protocol), false) = (self.upgrade, http2) {
            request.headers_mut().insert(CONNECTION, UPGRADE_TOKEN);
            request.headers_mut().insert(UPGRADE, protocol.clone());
        }
        if http2 {
            if self.trailers {
                request.headers_mut().insert(TE, TRAILERS);
            }
            // Interim answers are not heard there: the app's word is not waited for.
            gate.into_iter().for_each(Gate::open);
        } else {
            self.frame(&mut request);
            interim::pass(&mut request, self.client, self.parts.version, gate);
        }
        Ok(request)
    }

    /// hyper sends no body with a GET unless its length is told (RFC 9112 section 6.1).
    fn frame(&self, request: &mut Request<RequestBody>) {
        if self.upload.is_some() && !request.headers().contains_key(CONTENT_LENGTH) {
            request.headers_mut().insert(TRANSFER_ENCODING, CHUNKED);
        }
    }

    /// While no head has come: deadlines, and the body's gate.
    fn between(&self, exchange: &mut Exchange, was_open: &mut bool, cx: &mut Context<'_>) -> Poll<Between<ErrorKind>> {
        exchange.note_wait();
        let mut timer = self.client.timer.borrow_mut();
        if let Some(asked) = exchange.asked_at() {
            let deadline = asked + self.service.state.config.timeouts.response;
            return timer.poll(cx, deadline).map(|()| Between::End(ErrorKind::Timeout));
        }
        match self.upload.and_then(|upload| upload.gate()) {
            Some(gate) if !gate.is_open() => {
                let patience: Moment = exchange.started() + CONTINUE_PATIENCE;
                timer.poll(cx, patience).map(|()| {
                    gate.open();
                    *was_open = true;
                    Between::LookAgain
                })
            }
            Some(_) if !std::mem::replace(was_open, true) => Poll::Ready(Between::LookAgain),
            _ => match self.upload.and_then(|upload| upload.not_taken_since()) {
                // An app that does not even take the body will not answer.
                Some(since) => {
                    let deadline = since + self.service.state.config.timeouts.response;
                    timer.poll(cx, deadline).map(|()| Between::End(ErrorKind::Timeout))
                }
                None => Poll::Pending,
            },
        }
    }

    /// Whose fault was it, and may it go out again?
    fn judge(&self, lease: &Lease<RequestBody>, failed: &SendError) -> Result<Sent, Answer> {
        match self.upload.and_then(|upload| upload.failure()) {
            Some(UploadFailure::Client) => return Err(Answer::ClientBody),
            Some(UploadFailure::TooLarge) => {
                return Err(Answer::Refused(Refusal::BodyTooLarge, "the request's body is too large"));
            }
            Some(UploadFailure::TooSlow) => {
                return Err(Answer::Refused(Refusal::BodyIdle, "the request's body took too long"));
            }
            None => {}
        }
        // What an app says on an idle connection is no answer to what was never sent.
        let harmless = failed.untouched || (!failed.heard && idempotent(&self.parts.method));
        let idle_was_dead = lease.reused() && harmless;
        // A server of HTTP/2 says so where it did nothing with a request.
        let passed_over = lease.is_http2() && failed.untouched;
        if (idle_was_dead || passed_over) && self.body_is_whole() {
            return Ok(None);
        }
        tracing::debug!(error = &failed.error as &dyn std::error::Error, "no answer");
        Err(Answer::Failed(if failed.malformed { ErrorKind::Protocol } else { ErrorKind::Reset }))
    }

    /// Whether the request's body can be sent once more.
    pub(super) fn body_is_whole(&self) -> bool {
        self.upload.is_none_or(|upload| upload.is_untouched())
    }
}

/// The head of an answer with its connection; `None`: the idle connection was dead.
type Sent = Option<(Response<Incoming>, Lease<RequestBody>)>;

/// Whether it is Serin that cannot connect, to whomever.
fn is_our_want(error: &std::io::Error) -> bool {
    let codes = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].map(rustix::io::Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| codes.contains(&code))
}

/// Whether an app says that it speaks the protocol that was asked for (RFC 9110 section 7.8).
fn switches_to(response: &Response<Incoming>, protocol: &HeaderValue) -> bool {
    let mut said = response.headers().get_all(UPGRADE).iter();
    let same = said.next().is_some_and(|said| said.as_bytes().eq_ignore_ascii_case(protocol.as_bytes()));
    same && said.next().is_none()
}

/// RFC 9110 section 9.2.1.
pub(super) fn safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// RFC 9110 section 9.2.2.
pub(super) fn idempotent(method: &Method) -> bool {
    safe(method) || matches!(*method, Method::PUT | Method::DELETE)
}
