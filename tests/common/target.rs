//! The app behind a proxy that is attacked.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::http::find;

pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// An app: `/big` is a long answer, `/hang` none; a body is read to its end before the answer.
pub struct App {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl App {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self { address: listener.local_addr().unwrap(), requests: Arc::default() };
        let requests = Arc::clone(&app.requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let requests = Arc::clone(&requests);
                let serve = move || drop(serve(stream, &requests));
                std::thread::Builder::new().stack_size(256 << 10).spawn(serve).unwrap();
            }
        });
        app
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn config(&self) -> String {
        format!("stable: 'http://{}'\n", self.address)
    }
}

fn serve(mut stream: TcpStream, requests: &AtomicUsize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let Some(end) = find(&bytes, b"\r\n\r\n") else {
            more(&mut stream, &mut bytes)?;
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        bytes.drain(..end + 4);
        requests.fetch_add(1, Ordering::Relaxed);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        while bytes.len() < length.unwrap_or(0) {
            more(&mut stream, &mut bytes)?;
        }
        bytes.drain(..length.unwrap_or(0));
        while head.contains("transfer-encoding: chunked") && !bytes.ends_with(b"0\r\n\r\n") {
            more(&mut stream, &mut bytes)?;
        }
        if head.contains(" /hang ") {
            let mut scrap = [0; 4096];
            while stream.read(&mut scrap)? > 0 {}
            return Ok(());
        }
        if head.contains(" /big ") {
            write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            let chunk = [b"10000\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat();
            for _ in 0..1024 {
                stream.write_all(&chunk)?;
            }
            stream.write_all(b"0\r\n\r\n")?;
        } else {
            stream.write_all(OK.as_bytes())?;
        }
        if head.contains("transfer-encoding: chunked") {
            bytes.clear();
        }
    }
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; 65536];
    match stream.read(&mut buffer)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        n => {
            bytes.extend_from_slice(&buffer[..n]);
            Ok(())
        }
    }
}
