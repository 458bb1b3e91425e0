//! Made-up users: each with a session, each asking now and then.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const USERS: u64 = 2_000;
const CONNECTIONS: u64 = 16;
/// With all connections about 1,000 requests a second.
const PAUSE: Duration = Duration::from_millis(15);
const AGAIN: Duration = Duration::from_millis(100);

/// The users; they ask as long as the process lives.
#[derive(Default)]
pub(super) struct Users {
    errors: AtomicU64,
}

impl Users {
    pub(super) fn start(proxy: SocketAddr) -> io::Result<Arc<Self>> {
        let users = Arc::new(Self::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::clone(&users);
        std::thread::Builder::new().name("demo-users".into()).spawn(move || {
            runtime.block_on(async move {
                let mut tasks: Vec<_> = (0..CONNECTIONS)
                    .map(|first| tokio::spawn(ask_for_ever(proxy, first, Arc::clone(&shared))))
                    .collect();
                while let Some(task) = tasks.pop() {
                    let _ = task.await;
                }
            });
        })?;
        Ok(users)
    }

    /// Answers of 500 and above that users have seen.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }
}

async fn ask_for_ever(proxy: SocketAddr, first: u64, users: Arc<Users>) {
    let mut user = first;
    loop {
        if let Ok(mut sender) = connect(proxy).await {
            loop {
                user = (user + CONNECTIONS) % USERS;
                match ask(&mut sender, user).await {
                    Ok(status) if status >= 500 => drop(users.errors.fetch_add(1, Ordering::Relaxed)),
                    Ok(_) => {}
                    Err(_) => break,
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn connect(proxy: SocketAddr) -> io::Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(sender: &mut SendRequest<Empty<Bytes>>, user: u64) -> io::Result<u16> {
    let request = Request::builder()
        .uri("/")
        .header("host", "shop.example.com")
        .header("cookie", format!("session_id=session-{user}"))
        .body(Empty::new())
        .map_err(io::Error::other)?;
    sender.ready().await.map_err(io::Error::other)?;
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    response.into_body().collect().await.map_err(io::Error::other)?;
    Ok(status)
}
