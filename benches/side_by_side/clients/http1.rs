//! HTTP/1.1 by hand: as cheap as it goes, and every answer is checked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Clients, Outcome, Users, connect};
use crate::certificate::HOST;
use crate::workload::Workload;

/// Room for a head beside the body.
const HEAD: usize = 8 * 1024;

/// One connection, one request after the other.
pub(super) async fn keep_alive(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    workload: &Workload,
    mut users: Users,
    clients: Rc<Clients>,
) -> Outcome<Infallible> {
    let mut buffer = vec![0; HEAD + workload.body];
    loop {
        clients.turn().await;
        ask(&mut stream, users.next(), "").await?;
        answer(&mut stream, &mut buffer, workload.body).await?;
        clients.answered();
    }
}

/// A connection for each request, which the proxy closes after its answer.
pub(super) async fn closing(
    address: SocketAddr,
    workload: &Workload,
    mut users: Users,
    clients: Rc<Clients>,
) -> Outcome<Infallible> {
    let mut buffer = vec![0; HEAD + workload.body];
    loop {
        clients.turn().await;
        let mut stream = connect(address).await?;
        ask(&mut stream, users.next(), "connection: close\r\n").await?;
        answer(&mut stream, &mut buffer, workload.body).await?;
        if stream.read(&mut buffer).await? > 0 {
            return Err("more than the answer came".into());
        }
        clients.answered();
    }
}

async fn ask(stream: &mut (impl AsyncWrite + Unpin), user: usize, more: &str) -> Outcome<()> {
    let request = format!(
        "GET /products/{user} HTTP/1.1\r\nhost: {HOST}\r\nuser-agent: bench/1.0\r\naccept: text/html\r\n\
         accept-encoding: gzip\r\naccept-language: en\r\ncookie: theme=dark; uid=user-{user}\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream.flush().await?)
}

/// Reads a whole answer with `body` bytes of body.
async fn answer(stream: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], body: usize) -> Outcome<()> {
    let (mut filled, mut whole) = (0, None);
    while whole.is_none_or(|whole| filled < whole) {
        let n = stream.read(&mut buffer[filled..]).await?;
        if n == 0 {
            return Err("the proxy closed a connection within an answer".into());
        }
        filled += n;
        if whole.is_none() {
            whole = find(&buffer[..filled], b"\r\n\r\n").map(|head| head + 4 + body);
        }
    }
    if !buffer.starts_with(b"HTTP/1.1 200") || whole != Some(filled) {
        return Err(String::from_utf8_lossy(&buffer[..filled.min(200)]).into());
    }
    Ok(())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
