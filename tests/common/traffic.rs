//! Users who ask at a rate, whatever the answers: an open loop on real sockets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serin::simulate::Random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::http::find;

/// How users ask.
#[derive(Clone, Copy)]
pub struct Traffic {
    pub proxy: SocketAddr,
    /// Requests a second.
    pub rate: u32,
    pub users: usize,
    /// They leave after so long.
    pub patience: Duration,
    pub seed: u64,
}

/// How many got which status; 0: they left, or the connection broke.
pub type Statuses = BTreeMap<u16, u64>;

impl Traffic {
    /// Asks until it is stopped, on the calling thread.
    pub fn flows(self, stop: &AtomicBool) -> Statuses {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        runtime.block_on(local.run_until(self.ask(stop)))
    }

    async fn ask(self, stop: &AtomicBool) -> Statuses {
        let (idle, statuses) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Statuses::new())));
        let mut random = Random::new(self.seed);
        let mut tick = interval(Duration::from_secs(1) / self.rate);
        tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut under_way = tokio::task::JoinSet::new();
        while !stop.load(Ordering::Relaxed) {
            tick.tick().await;
            let user = random.below(self.users);
            let (idle, statuses) = (Rc::clone(&idle), Rc::clone(&statuses));
            under_way.spawn_local(async move {
                let kept = idle.borrow_mut().pop();
                let status = match timeout(self.patience, request(self.proxy, kept, user)).await {
                    Ok(Ok((status, stream))) => {
                        idle.borrow_mut().push(stream);
                        status
                    }
                    _ => 0,
                };
                *statuses.borrow_mut().entry(status).or_default() += 1;
            });
        }
        while under_way.join_next().await.is_some() {}
        statuses.take()
    }
}

async fn request(proxy: SocketAddr, kept: Option<TcpStream>, user: usize) -> std::io::Result<(u16, TcpStream)> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect(proxy).await?,
    };
    stream.set_nodelay(true)?;
    let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx-user-id: user-{user}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = Vec::new();
    // Answers of these tests have an empty body.
    while find(&bytes, b"\r\n\r\n").is_none() {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let status = std::str::from_utf8(&bytes).ok().and_then(|head| head.get(9..12)?.parse().ok());
    status.map(|status| (status, stream)).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}
