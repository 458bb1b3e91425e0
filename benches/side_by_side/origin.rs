//! The app servers behind the proxies: every request gets the same answer, as cheaply as it goes.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::grpc;
use crate::workload::{Traffic, Workload};

/// Starts an app server for `workload`.
pub(crate) async fn start(workload: &'static Workload) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let answer = answer(workload.body);
        let message = grpc::message(workload.body);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            if workload.traffic == Traffic::Grpc {
                tokio::task::spawn_local(http2(stream, message.clone()));
            } else {
                tokio::task::spawn_local(http1(stream, Rc::clone(&answer)));
            }
        }
    });
    address
}

/// A whole HTTP/1.1 answer.
fn answer(body: usize) -> Rc<[u8]> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + body, b'x');
    answer.into()
}

/// Answers every request head.
async fn http1(mut stream: TcpStream, answer: Rc<[u8]>) {
    let mut buffer = vec![0; 8192];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await {
            Ok(0) | Err(_) => return,
            Ok(n) => filled += n,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// Answers every call on every stream.
async fn http2(stream: TcpStream, message: Bytes) {
    let Ok(mut connection) = Builder::new().handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let message = message.clone();
        tokio::task::spawn_local(async move {
            // A call that is cut has nobody to tell.
            let _ = call(request, respond, message).await;
        });
    }
}

async fn call(
    request: Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    message: Bytes,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let length = data?.len();
        body.flow_control().release_capacity(length)?;
    }
    let head = Response::builder().header("content-type", grpc::CONTENT_TYPE).body(()).unwrap();
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(message, false)?;
    stream.send_trailers(grpc::trailers())
}
