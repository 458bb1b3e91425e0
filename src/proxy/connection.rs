//! One client's connection: requests one after another, each in its time.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::handler::handle;
use super::io::{ClientIo, Phase, Progress};
use super::record::Record;
use super::timer::LazyTimer;
use super::worker::Worker;
use crate::clock;
use crate::config::{Limits, Listener};
use crate::decide::time::Moment;
use crate::telemetry::Refusal;

const HEADER_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nserin-error: headerTimeout\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 55\r\nconnection: close\r\n\r\n\
    408 Request Timeout: the request's head took too long.\n";
/// A peer that does not read is not waited for.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is known of a client's connection.
pub(super) struct Client {
    pub(super) worker: Rc<Worker>,
    pub(super) listener: Arc<Listener>,
    pub(super) peer: IpAddr,
    /// The peer's address as a field's value.
    pub(super) peer_text: HeaderValue,
    /// Whether what it says of others is believed.
    pub(super) trusted: bool,
    pub(super) progress: Arc<Progress>,
    /// The deadline of the exchange under way; there is one at a time.
    pub(super) timer: RefCell<LazyTimer>,
}

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, peer: IpAddr, listener: Arc<Listener>, worker: Rc<Worker>) {
    let progress = Arc::new(Progress::default());
    let peer = peer.to_canonical();
    let client = Rc::new(Client {
        trusted: listener.trusted.contain(peer),
        // An address is visible ASCII.
        peer_text: HeaderValue::try_from(peer.to_string()).unwrap_or(HeaderValue::from_static("unknown")),
        peer,
        listener,
        worker: Rc::clone(&worker),
        progress: Arc::clone(&progress),
        timer: RefCell::default(),
    });
    let limits = worker.view().snapshot.config.limits;
    let known = Rc::clone(&client);
    let service = service_fn(move |request| handle(Rc::clone(&client), request));
    let io = TokioIo::new(ClientIo::new(stream, Arc::clone(&progress)));
    let mut connection = builder(&limits).serve_connection(io, service);
    let mut wait = Wait::default();
    let late = {
        let mut connection = pin!(&mut connection);
        poll_fn(|cx| match connection.as_mut().poll(cx) {
            Poll::Ready(result) => {
                if let Err(error) = result {
                    note(&known, &error);
                }
                Poll::Ready(None)
            }
            Poll::Pending => wait.overdue(&progress, &limits, cx).map(Some),
        })
        .await
    };
    if late == Some(Phase::Head) {
        worker.stats.refuse(Refusal::HeaderTimeout);
        Record::refused(&known, StatusCode::REQUEST_TIMEOUT, Refusal::HeaderTimeout.name());
        let mut io = connection.into_parts().io.into_inner();
        let farewell = async {
            let _ = io.write_all(HEADER_TIMEOUT).await;
            let _ = io.shutdown().await;
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .keep_alive(true)
        .half_close(false)
        .header_read_timeout(None)
        .writev(false)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        // Also the buffer for bodies on their way: a slow reader holds no more than this.
        .max_buf_size(limits.header_bytes.max(64 << 10));
    builder
}

/// How long the client has let the connection wait.
#[derive(Default)]
struct Wait {
    timer: LazyTimer,
    /// The change that is waited on, and since when.
    since: Option<(u64, Moment)>,
}

impl Wait {
    /// Whether it was too long, and in which phase.
    fn overdue(&mut self, progress: &Progress, limits: &Limits, cx: &mut Context<'_>) -> Poll<Phase> {
        let phase = progress.phase();
        let patience = match phase {
            Phase::Busy => return Poll::Pending,
            Phase::Idle => limits.keep_alive,
            Phase::Head => limits.header_timeout,
        };
        let since = match self.since {
            Some((change, since)) if change == progress.changes() => since,
            _ => {
                let now = clock::now();
                self.since = Some((progress.changes(), now));
                now
            }
        };
        self.timer.poll(cx, since + patience).map(|()| phase)
    }
}

fn note(client: &Client, error: &hyper::Error) {
    if error.is_parse() && client.progress.phase() != Phase::Busy {
        client.worker.stats.refuse(Refusal::Parser);
        let too_large = error.is_parse_too_large();
        let status = if too_large { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE } else { StatusCode::BAD_REQUEST };
        Record::refused(client, status, Refusal::Parser.name());
    }
    tracing::debug!(error = error as &dyn std::error::Error, "a client's connection ended");
}
