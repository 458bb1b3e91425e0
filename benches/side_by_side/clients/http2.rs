//! HTTP/2: several streams at a time on each connection, as plain requests or as gRPC calls.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Clients, Outcome, Users};
use crate::certificate::HOST;
use crate::grpc;
use crate::workload::{Traffic, Workload};

/// What may come before the client says that it has room: no answer waits for it.
const WINDOW: u32 = 4 * 1024 * 1024;

/// One connection with all its streams; ends when the connection does.
pub(super) async fn streams(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    workload: &'static Workload,
    users: Users,
    clients: Rc<Clients>,
) -> Outcome<Infallible> {
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
    let (sender, connection) = builder.handshake(stream).await?;
    for users in users.split(workload.streams, workload.connections) {
        clients.spawn(ask_on(sender.clone(), workload, users, Rc::clone(&clients)));
    }
    connection.await?;
    Err("the proxy closed a connection".into())
}

/// One request after the other, each on a stream of its own.
async fn ask_on(
    mut sender: SendRequest<Bytes>,
    workload: &Workload,
    mut users: Users,
    clients: Rc<Clients>,
) -> Outcome<Infallible> {
    let call = workload.traffic == Traffic::Grpc;
    let message = grpc::message(grpc::CALL);
    loop {
        clients.turn().await;
        sender = sender.ready().await?;
        let request = if call { rpc(users.next()) } else { get(users.next()) };
        let (answer, mut body) = sender.send_request(request, !call)?;
        if call {
            body.send_data(message.clone(), true)?;
        }
        let answer = answer.await?;
        let status = answer.status();
        let (length, trailers) = read(answer.into_body()).await?;
        let expected = if call { grpc::PREFIX + workload.body } else { workload.body };
        if status != 200 || length != expected || (call && !grpc::is_ok(trailers.as_ref())) {
            return Err(format!("{status} with {length} bytes, trailers {trailers:?}").into());
        }
        clients.answered();
    }
}

fn get(user: usize) -> Request<()> {
    Request::get(format!("https://{HOST}/products/{user}"))
        .header("user-agent", "bench/1.0")
        .header("accept", "text/html")
        .header("accept-encoding", "gzip")
        .header("accept-language", "en")
        .header("cookie", format!("theme=dark; uid=user-{user}"))
        .body(())
        .unwrap()
}

fn rpc(user: usize) -> Request<()> {
    Request::post(format!("http://{HOST}/shop.Products/Get"))
        .header("content-type", grpc::CONTENT_TYPE)
        .header("te", "trailers")
        .header("user-agent", "grpc-bench/1.0")
        .header("grpc-timeout", "10S")
        .header("cookie", format!("uid=user-{user}"))
        .body(())
        .unwrap()
}

/// The length of the body, and what comes after it.
async fn read(mut body: RecvStream) -> Outcome<(usize, Option<HeaderMap>)> {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok((length, body.trailers().await?))
}
