//! One attempt: a connection to an app server, the request, the head of the answer.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;

use super::added::Added;
use super::answer::Answer;
use super::body::RequestBody;
use super::connection::Client;
use super::exchange::Exchange;
use super::upload::{Upload, UploadFailure};
use super::view::{AppServer, ServiceView};
use crate::decide::time::Moment;
use crate::telemetry::{ErrorKind, Refusal};
use crate::upstream::{Between, ConnectError, Lease, SendError};

/// A client that never hears "100 Continue" sends its body after a while; so do we.
const CONTINUE_PATIENCE: Duration = Duration::from_secs(1);

/// The head of an answer, and the connection that brings its body.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Lease<RequestBody>,
    pub(super) server: Rc<AppServer>,
}

/// Everything that one attempt needs.
pub(super) struct Attempt<'a> {
    pub(super) client: &'a Rc<Client>,
    pub(super) service: &'a ServiceView,
    pub(super) pool: usize,
    pub(super) parts: &'a Parts,
    pub(super) target: &'a Uri,
    pub(super) added: &'a Added<'a>,
    pub(super) upload: Option<&'a Rc<Upload>>,
}

impl Attempt<'_> {
    /// Asks an app server. An idle connection that closed before any byte of an
    /// answer is no attempt: the request goes out once more where that is safe.
    ///
    /// # Errors
    /// With Serin's own answer.
    pub(super) async fn run(
        &self,
        mut headers: impl FnMut() -> HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Answered, Answer> {
        let server = Rc::clone(self.service.server(self.pool));
        let lease = match server.idle(exchange.started()) {
            Some(lease) => lease,
            // Boxed, as all that is rare: the way of every request stays small.
            None => Box::pin(self.connect(&server)).await?,
        };

        match self.send(lease, headers(), exchange).await? {
            Some((response, lease)) => Ok(Answered { response, lease, server }),
            None => {
                self.client.worker.stats.idle_was_dead();
                Box::pin(self.anew(server, headers(), exchange)).await
            }
        }
    }

    /// The same once more, over a new connection.
    async fn anew(
        &self,
        server: Rc<AppServer>,
        headers: HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Answered, Answer> {
        let lease = self.connect(&server).await?;
        match self.send(lease, headers, exchange).await? {
            Some((response, lease)) => Ok(Answered { response, lease, server }),
            // A new connection is no idle one.
            None => Err(Answer::Failed(ErrorKind::Reset)),
        }
    }

    async fn connect(&self, server: &AppServer) -> Result<Lease<RequestBody>, Answer> {
        server.connect(self.service.state.config.timeouts.connect).await.map_err(|error| {
            tracing::debug!(server = %server.address(), error = &error as &dyn std::error::Error, "no connection");
            match error {
                ConnectError::Failed(_) | ConnectError::Timeout => Answer::Failed(ErrorKind::Connect),
            }
        })
    }

    async fn send(
        &self,
        mut lease: Lease<RequestBody>,
        headers: HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Sent, Answer> {
        let request = self.request(headers)?;
        let mut was_open = false;
        let waited = lease
            .send(request, |fields| self.added.write(fields), |cx| self.between(exchange, &mut was_open, cx))
            .await;
        let answer = match waited {
            Ok(answer) => answer,
            Err(kind) => return Err(Answer::Failed(kind)),
        };
        match answer {
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                // Nobody asked for it: the client would take the rest for another protocol.
                Err(Answer::Failed(ErrorKind::Protocol))
            }
            Ok(response) => {
                if self.upload.is_some_and(|upload| upload.ended_at().is_none()) {
                    lease.detach();
                }
                Ok(Some((response, lease)))
            }
            Err(failed) => self.judge(&lease, &failed),
        }
    }

    fn request(&self, headers: HeaderMap) -> Result<Request<RequestBody>, Answer> {
        let body = match self.upload {
            None => RequestBody::Empty,
            Some(upload) => upload.body().ok_or(Answer::Failed(ErrorKind::Reset))?,
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = headers;
        if let Some(gate) = self.upload.and_then(|upload| upload.gate()) {
            let gate = gate.clone();
            hyper::ext::on_informational(&mut request, move |interim| {
                if interim.status() == StatusCode::CONTINUE {
                    gate.open();
                }
            });
        }
        Ok(request)
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
            _ => Poll::Pending,
        }
    }

    /// Whose fault was it, and may it go out again?
    fn judge(&self, lease: &Lease<RequestBody>, failed: &SendError<RequestBody>) -> Result<Sent, Answer> {
        match self.upload.and_then(|upload| upload.failure()) {
            Some(UploadFailure::Client) => return Err(Answer::ClientBody),
            Some(UploadFailure::TooLarge) => {
                return Err(Answer::Refused(Refusal::BodyTooLarge, "the request's body is too large"));
            }
            None => {}
        }
        let unsent = failed.unsent.is_some() || idempotent(&self.parts.method);
        if lease.reused() && !lease.heard() && unsent && self.upload.is_none_or(|upload| upload.is_untouched()) {
            return Ok(None);
        }
        tracing::debug!(error = &failed.error as &dyn std::error::Error, "no answer");
        Err(Answer::Failed(if failed.error.is_parse() { ErrorKind::Protocol } else { ErrorKind::Reset }))
    }
}

/// The head of an answer with its connection; `None`: the idle connection was dead.
type Sent = Option<(Response<Incoming>, Lease<RequestBody>)>;

/// RFC 9110 section 9.2.2.
fn idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}
