//! gRPC by tonic: client and app in Rust, with messages that are bytes as they are.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::client;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::Service;
use tonic::metadata::MetadataValue;
use tonic::server::Grpc;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

use super::programs::{Edge, authority};

#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(src.copy_to_bytes(src.remaining())))
    }
}

/// A function as one of tonic's methods.
struct Method<F>(F);

impl<F, Q, R, A> Service<Request<Q>> for Method<F>
where
    F: FnMut(Request<Q>) -> R,
    R: Future<Output = Result<Response<A>, Status>>,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = R;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> R {
        (self.0)(request)
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// The app.
#[derive(Clone)]
struct Talk {
    /// What `listen` sends, once it is there.
    news: Arc<Mutex<Option<mpsc::UnboundedReceiver<Bytes>>>>,
    /// Calls of `hang` that have begun, and that have ended.
    hanging: Arc<[AtomicUsize; 2]>,
}

impl Service<http::Request<Body>> for Talk {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let app = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw);
            Ok(match request.uri().path() {
                "/Talk/unary" => grpc.unary(Method(unary), request).await,
                "/Talk/fail" => grpc.unary(Method(fail), request).await,
                "/Talk/hang" => grpc.unary(Method(|_| hang(app.clone())), request).await,
                "/Talk/listen" => grpc.server_streaming(Method(|_| listen(app.clone())), request).await,
                "/Talk/fail_late" => grpc.server_streaming(Method(fail_late), request).await,
                "/Talk/total" => grpc.client_streaming(Method(total), request).await,
                _ => grpc.streaming(Method(talk), request).await,
            })
        })
    }
}

async fn unary(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    let asked = request.metadata().get("x-asked").cloned();
    let mut message = request.into_inner().to_vec();
    message.reverse();
    let mut response = Response::new(message.into());
    if let Some(asked) = asked {
        response.metadata_mut().insert("x-told", asked);
    }
    Ok(response)
}

fn status(message: &[u8]) -> Status {
    let code: i32 = std::str::from_utf8(message).unwrap().parse().unwrap();
    Status::new(Code::from(code), "as asked: 100% ü")
}

async fn fail(request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
    Err(status(request.get_ref()))
}

/// The status can only be in the trailers.
async fn fail_late(request: Request<Bytes>) -> Result<Response<Messages>, Status> {
    let all = [Ok(Bytes::from_static(b"first")), Err(status(request.get_ref()))];
    Ok(Response::new(Box::pin(tokio_stream::iter(all))))
}

async fn listen(app: Talk) -> Result<Response<Messages>, Status> {
    let news = app.news.lock().await.take().ok_or_else(|| Status::aborted("no news"))?;
    Ok(Response::new(Box::pin(UnboundedReceiverStream::new(news).map(Ok))))
}

async fn total(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let (mut messages, mut total) = (request.into_inner(), 0);
    while let Some(message) = messages.message().await? {
        total += message.len();
    }
    Ok(Response::new(total.to_string().into()))
}

async fn talk(request: Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
    Ok(Response::new(Box::pin(request.into_inner())))
}

/// A call that the client gives up is dropped.
async fn hang(app: Talk) -> Result<Response<Bytes>, Status> {
    struct Ended(Talk);
    impl Drop for Ended {
        fn drop(&mut self) {
            self.0.hanging[1].fetch_add(1, Ordering::SeqCst);
        }
    }
    app.hanging[0].fetch_add(1, Ordering::SeqCst);
    let _ended = Ended(app);
    std::future::pending().await
}

/// Serves on a thread of its own, for as long as the tests run.
fn serve(app: Talk) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            Server::builder().serve_with_incoming(app, incoming.with_nodelay(Some(true))).await.unwrap();
        });
    });
    port
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

type Client = client::Grpc<Channel>;

async fn client(edge: &Edge) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", edge.plain)).unwrap();
    let endpoint = endpoint.origin("http://talk.test".parse().unwrap()).timeout(Duration::from_secs(20));
    client::Grpc::new(endpoint.connect().await.unwrap())
}

const fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

async fn says(client: &mut Client, message: Bytes) -> Result<Response<Bytes>, Status> {
    client.ready().await.unwrap();
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-asked", MetadataValue::from_static("asked"));
    client.unary(request, path("/Talk/unary"), Raw).await
}

#[test]
fn a_rust_client_talks_to_a_rust_app() {
    let (_folder, authority) = authority();
    let (news, told) = mpsc::unbounded_channel();
    let app = Talk { news: Arc::new(Mutex::new(Some(told))), hanging: Arc::default() };
    let edge = Edge::start(&authority, &[("talk", format!("h2c://127.0.0.1:{}", serve(app.clone())), "")]);
    let mut good = 0;
    runtime().block_on(async {
        let mut client = client(&edge).await;
        for size in [0, 1, 16_384, 3 << 20] {
            let message: Bytes = (0..size).map(|n| n as u8).collect();
            let answer = says(&mut client, message.clone()).await.unwrap();
            assert_eq!(answer.metadata().get("x-told").unwrap(), "asked");
            assert!(answer.into_inner().iter().eq(message.iter().rev()));
            good += 1;
        }
        good += one_by_one(&mut client, news).await;
        good += streams(&mut client).await;
        good += gives_up(&mut client, &app).await;
        good += statuses(&mut client).await;
    });
    edge.has_counted("talk", "success", good);
    edge.has_counted("talk", "grpc", 10);
    edge.has_counted("talk", "reset", 0);
    edge.has_counted("talk", "truncated", 0);
}

/// The next message is written once the one before was read.
async fn one_by_one(client: &mut Client, news: mpsc::UnboundedSender<Bytes>) -> u32 {
    client.ready().await.unwrap();
    let mut heard =
        client.server_streaming(Request::new(Bytes::new()), path("/Talk/listen"), Raw).await.unwrap().into_inner();
    for n in 0..20_u8 {
        news.send(vec![n].into()).unwrap();
        assert_eq!(heard.message().await.unwrap().unwrap(), [n][..]);
    }
    drop(news);
    assert_eq!(heard.message().await.unwrap(), None);
    1
}

async fn streams(client: &mut Client) -> u32 {
    client.ready().await.unwrap();
    let pieces = tokio_stream::iter((0..64).map(|_| Bytes::from(vec![0; 65_536])));
    let total = client.client_streaming(Request::new(pieces), path("/Talk/total"), Raw).await.unwrap();
    assert_eq!(total.into_inner(), (64 << 16).to_string());
    client.ready().await.unwrap();
    let (say, said) = mpsc::unbounded_channel();
    let saying = Request::new(UnboundedReceiverStream::new(said));
    let mut heard = client.streaming(saying, path("/Talk/talk"), Raw).await.unwrap().into_inner();
    for n in 0..20_u8 {
        say.send(Bytes::from(vec![n])).unwrap();
        assert_eq!(heard.message().await.unwrap().unwrap(), [n][..]);
    }
    drop(say);
    assert_eq!(heard.message().await.unwrap(), None);
    2
}

/// The app hears that nobody waits any longer, whether a call was dropped or its time was over;
/// the connection goes on.
async fn gives_up(client: &mut Client, app: &Talk) -> u32 {
    let mut other = client.clone();
    let hanging = tokio::spawn(async move {
        other.ready().await.unwrap();
        other.unary(Request::new(Bytes::new()), path("/Talk/hang"), Raw).await.map(|_: Response<Bytes>| ())
    });
    until(&app.hanging[0]).await;
    hanging.abort();
    until(&app.hanging[1]).await;
    says(client, Bytes::new()).await.unwrap();
    1
}

async fn until(counter: &AtomicUsize) {
    let counted = async {
        while counter.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("the app hears of it");
}

/// Each code in the head and in trailers.
async fn statuses(client: &mut Client) -> u32 {
    let mut good = 0;
    for code in 1..=16 {
        let asked = || Request::new(Bytes::from(code.to_string()));
        client.ready().await.unwrap();
        let early = client.unary(asked(), path("/Talk/fail"), Raw).await.map(|_: Response<Bytes>| ()).unwrap_err();
        client.ready().await.unwrap();
        let mut late = client.server_streaming(asked(), path("/Talk/fail_late"), Raw).await.unwrap().into_inner();
        let first: Option<Bytes> = late.message().await.unwrap();
        assert_eq!(first.unwrap(), "first");
        let late = late.message().await.unwrap_err();
        for status in [early, late] {
            assert_eq!((status.code(), status.message()), (Code::from(code), "as asked: 100% ü"));
            good += u32::from(!matches!(code, 2 | 4 | 13 | 14 | 15));
        }
    }
    good
}
