//! What connections cost that do nothing, and readers that are slow: resident memory of the
//! real binary.
//!
//! `cargo bench --bench idle`
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::disallowed_methods)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::certificates::Authority;
use common::frames::{self, Http2};
use common::http::{connect, find, read_answer};
use common::{Serin, eventually};
use serin::tls::{ClientTls, TlsOptions};

const CONNECTIONS: usize = 10_000;
const READERS: usize = 100;
/// The goal for an idle connection of HTTP/1.1 that has asked once.
const GOAL: u64 = 16 << 10;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";

fn main() {
    raise_descriptors();
    let app = app();
    let config = format!("limits: {{ connections: 20000, keepAlive: 10m }}\nstable: 'http://{app}'\n");
    println!("bytes of resident memory for each of {CONNECTIONS} connections:");
    let plain = || Serin::start(&config);
    measure("never spoke", &plain(), CONNECTIONS, |serin| connect(serin.proxy));
    let http1 = measure("HTTP/1.1, idle", &plain(), CONNECTIONS, |serin| {
        let mut client = connect(serin.proxy);
        client.write_all(REQUEST).unwrap();
        assert_eq!(read_answer(&mut client, false).status, 200);
        client
    });
    measure("HTTP/2, idle", &plain(), CONNECTIONS, |serin| {
        let mut client = Http2::connect(serin.proxy);
        client.send(&frames::get(1, "/"));
        assert_eq!(client.status(1), 200);
        client
    });
    over_tls(&config);
    println!("bytes of resident memory for each of {READERS} readers of 64 MiB who do not read:");
    measure("HTTP/1.1", &plain(), READERS, |serin| {
        let mut client = connect(serin.proxy);
        client.write_all(&[b"GET /big", &REQUEST[5..]].concat()).unwrap();
        client.peek(&mut [0]).unwrap();
        client
    });
    assert!(http1 <= GOAL, "{http1} bytes for an idle connection of HTTP/1.1; the goal is {GOAL}");
}

/// Opens so many, prints and returns what each of them costs.
fn measure<T>(name: &str, serin: &Serin, count: usize, open: impl Fn(&Serin) -> T) -> u64 {
    // What is made once is there before.
    (0..20).for_each(|_| drop(open(serin)));
    let before = serin.resident();
    let held: Vec<T> = (0..count).map(|_| open(serin)).collect();
    let all = || serin.metrics().sum("serin_connections_open", &[]) >= count as f64;
    eventually("all of them", || all().then_some(()));
    // Buffers are given back a second after the last answer.
    std::thread::sleep(Duration::from_millis(2_500));
    let each = serin.resident().saturating_sub(before) * 1024 / count as u64;
    println!("  {name:20} {each}");
    drop(held);
    each
}

fn over_tls(config: &str) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let files = authority.issue("shop", &["shop.test"]);
    let serin = Serin::start_with(config, &format!(", tls: {{ certificates: [ {} ] }}", files.yaml()), &[]);
    let options = TlsOptions { ca: Some(authority.file.clone()), ..TlsOptions::default() };
    let tls = ClientTls::new(&options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    measure("TLS, HTTP/1.1, idle", &serin, CONNECTIONS, |serin| {
        runtime.block_on(async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let socket = tokio::net::TcpStream::connect(serin.proxy).await.unwrap();
            let (mut stream, _) = tls.connect("shop.test", socket, true).await.unwrap();
            stream.write_all(REQUEST).await.unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            stream
        })
    });
}

fn raise_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

/// An app: `/big` is an answer of 64 MiB, everything else a short one.
fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || drop(serve(stream)));
        }
    });
    address
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    // Head and body must not wait for each other's acknowledgements.
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        while find(&bytes, b"\r\n\r\n").is_none() {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                n => bytes.extend_from_slice(&buffer[..n]),
            }
        }
        let size = if bytes.starts_with(b"GET /big ") { 64 << 20 } else { 2 };
        bytes.clear();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")?;
        stream.write_all(&vec![b'x'; size])?;
    }
}
