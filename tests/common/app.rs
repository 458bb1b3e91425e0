//! App servers that do what a test tells them, on real sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::http::{find, reset};

/// One thing an app does after the head of a request.
#[derive(Clone, Debug)]
pub enum Do {
    /// Writes these bytes.
    Send(&'static str),
    /// Reads until these bytes have come (the end of a request's body).
    Await(&'static str),
    /// Does nothing for so many milliseconds.
    Pause(u64),
    /// Closes the connection.
    Close,
    /// Closes it with a reset.
    Reset,
    /// Says nothing until the other side closes.
    Hang,
}

/// What an app has seen.
#[derive(Default)]
pub struct Seen {
    /// The heads of all requests, and what came after them.
    pub requests: Vec<String>,
    /// How many connections were accepted.
    pub connections: usize,
}

/// An app that plays a script for every request.
pub struct Scripted {
    pub address: SocketAddr,
    script: Arc<Mutex<Vec<Do>>>,
    pub seen: Arc<Mutex<Seen>>,
}

impl Scripted {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let app = Self { address: listener.local_addr().unwrap(), script: Arc::default(), seen: Arc::default() };
        let (script, seen) = (Arc::clone(&app.script), Arc::clone(&app.seen));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                seen.lock().unwrap().connections += 1;
                std::thread::spawn(move || serve(stream, &script, &seen));
            }
        });
        app
    }

    pub fn plays(&self, script: &[Do]) {
        *self.script.lock().unwrap() = script.to_vec();
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().unwrap().requests.clone()
    }
}

fn serve(mut stream: TcpStream, script: &Mutex<Vec<Do>>, seen: &Mutex<Seen>) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    loop {
        while find(&bytes, b"\r\n\r\n").is_none() {
            if !read(&mut stream, &mut bytes) {
                return;
            }
        }
        let index = {
            let mut seen = seen.lock().unwrap();
            seen.requests.push(String::from_utf8_lossy(&bytes).into_owned());
            seen.requests.len() - 1
        };
        let script = script.lock().unwrap().clone();
        for action in script {
            match action {
                Do::Send(text) => {
                    if stream.write_all(text.as_bytes()).is_err() {
                        return;
                    }
                }
                Do::Await(text) => {
                    while find(&bytes, text.as_bytes()).is_none() {
                        if !read(&mut stream, &mut bytes) {
                            return;
                        }
                    }
                    seen.lock().unwrap().requests[index] = String::from_utf8_lossy(&bytes).into_owned();
                }
                Do::Pause(millis) => std::thread::sleep(Duration::from_millis(millis)),
                Do::Close => {
                    let _ = stream.shutdown(Shutdown::Both);
                    return;
                }
                Do::Reset => {
                    reset(&stream);
                    return;
                }
                Do::Hang => {
                    while read(&mut stream, &mut bytes) {}
                    return;
                }
            }
        }
        bytes.clear();
    }
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 65536];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(n) => {
            bytes.extend_from_slice(&buffer[..n]);
            true
        }
    }
}

/// An app that answers every request with its name and the head it was sent.
pub fn echo(name: &'static str) -> SocketAddr {
    answering(move |head| {
        let body = format!("{name}\n{head}");
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    })
}

/// An app that answers every request without a body by this function of its head.
pub fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let mut bytes = Vec::new();
                loop {
                    let Some(end) = find(&bytes, b"\r\n\r\n") else {
                        if !read(&mut stream, &mut bytes) {
                            return;
                        }
                        continue;
                    };
                    let head = String::from_utf8_lossy(&bytes[..end + 2]).into_owned();
                    bytes.drain(..end + 4);
                    if stream.write_all(answer(&head).as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
