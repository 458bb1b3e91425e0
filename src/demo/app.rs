//! A sample app: says its version, and fails or slows down when told.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A running sample app; it lives as long as the process.
pub(super) struct App {
    address: SocketAddr,
    mood: Arc<Mood>,
}

/// How it answers.
struct Mood {
    version: RwLock<String>,
    /// How many of a hundred requests fail.
    failing: AtomicU64,
    slow_millis: AtomicU64,
    served: AtomicU64,
}

impl App {
    pub(super) fn start(version: &str) -> io::Result<Self> {
        let mood = Arc::new(Mood {
            version: RwLock::new(version.to_owned()),
            failing: AtomicU64::new(0),
            slow_millis: AtomicU64::new(0),
            served: AtomicU64::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let app = Self { address: listener.local_addr()?, mood: Arc::clone(&mood) };
        std::thread::Builder::new().name(format!("demo-app-{version}")).spawn(move || {
            runtime.block_on(serve(listener, mood));
        })?;
        Ok(app)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn become_version(&self, version: &str, failing: u64) {
        self.mood.become_version(version);
        self.mood.failing.store(failing, Ordering::Relaxed);
    }
}

impl Mood {
    fn become_version(&self, version: &str) {
        version.clone_into(&mut self.version.write().unwrap_or_else(PoisonError::into_inner));
        self.failing.store(0, Ordering::Relaxed);
        self.slow_millis.store(0, Ordering::Relaxed);
    }

    /// Evenly spread, so that a demo tells the same story every time.
    fn fails_now(&self) -> bool {
        let failing = self.failing.load(Ordering::Relaxed);
        let turn = self.served.fetch_add(1, Ordering::Relaxed);
        (turn + 1) * failing / 100 > turn * failing / 100
    }
}

async fn serve(listener: TcpListener, mood: Arc<Mood>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let mood = Arc::clone(&mood);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let mood = Arc::clone(&mood);
                async move { Ok::<_, Infallible>(answer(&mood, &request).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(mood: &Mood, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if let Some(told) = request.uri().path().strip_prefix("/demo/") {
        return if *request.method() == Method::POST {
            listen(mood, told)
        } else {
            of(StatusCode::NOT_FOUND, "POST\n")
        };
    }
    let slow = mood.slow_millis.load(Ordering::Relaxed);
    if slow > 0 {
        tokio::time::sleep(Duration::from_millis(slow)).await;
    }
    if mood.fails_now() {
        return of(StatusCode::INTERNAL_SERVER_ERROR, "something broke\n");
    }
    let version = mood.version.read().unwrap_or_else(PoisonError::into_inner).clone();
    let mut text = format!("hello from {version}\n\nwhat Serin told this app:\n");
    for (name, value) in request.headers() {
        if name.as_str().starts_with("x-") {
            text.push_str(&format!("  {name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
        }
    }
    of(StatusCode::OK, &text)
}

fn listen(mood: &Mood, told: &str) -> Response<Full<Bytes>> {
    let number = |text: &str| text.parse::<u64>().ok();
    match told.split_once('/') {
        Some(("version", version)) => mood.become_version(version),
        Some(("fail", percent)) if number(percent).is_some_and(|p| p <= 100) => {
            mood.failing.store(number(percent).unwrap_or(0), Ordering::Relaxed);
        }
        Some(("slow", millis)) if number(millis).is_some_and(|ms| ms <= 60_000) => {
            mood.slow_millis.store(number(millis).unwrap_or(0), Ordering::Relaxed);
        }
        _ => return of(StatusCode::NOT_FOUND, "version/NAME, fail/PERCENT or slow/MILLISECONDS\n"),
    }
    of(StatusCode::OK, "so be it\n")
}

fn of(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = status;
    response
}
