//! An app server that keeps every byte that it is sent and answers with the
//! bytes of the request's own script. One thread serves all connections, so that
//! a marker is answered only after everything written before it has been read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::wire::{self, Message};
use crate::common::http::reset;

/// One thing that the app does once a request has come.
#[derive(Clone, Debug)]
pub enum Do {
    Send(Vec<u8>),
    /// Waits until the test opens this gate.
    Gate(String),
    /// Waits until all connections have been read once more.
    Turn,
    Close,
    Reset,
    /// Says nothing more on this connection.
    Hang,
}

pub fn send(text: &str) -> Do {
    Do::Send(wire::bytes(text))
}

/// What has come since the last look.
#[derive(Default)]
pub struct Seen {
    /// Whole requests.
    pub requests: Vec<Message>,
    /// Requests whose end has not come.
    pub unfinished: Vec<Message>,
    /// Bytes that are no request, or one in more than one way.
    pub oddities: Vec<String>,
}

#[derive(Default)]
struct Shared {
    scripts: HashMap<String, (When, Vec<Do>)>,
    gates: HashSet<String>,
    passed: HashSet<String>,
    seen: Seen,
    look: bool,
}

/// When a script begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// With the request's head.
    Head,
    /// With its end.
    Whole,
}

pub struct App {
    pub address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

impl App {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let app = Self { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let shared = Arc::downgrade(&app.shared);
        std::thread::spawn(move || {
            let mut connections = Vec::new();
            // It ends with the test that holds the other end.
            while let Some(shared) = shared.upgrade() {
                if !pass(&listener, &mut connections, &mut shared.lock().unwrap()) {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        });
        app
    }

    /// What a request with this target is answered, whenever it comes.
    pub fn plays(&self, target: &str, when: When, script: &[Do]) {
        self.shared.lock().unwrap().scripts.insert(target.to_owned(), (when, script.to_vec()));
    }

    pub fn open(&self, gate: &str) {
        self.shared.lock().unwrap().gates.insert(gate.to_owned());
    }

    /// Whether what follows a gate has been done.
    pub fn is_past(&self, gate: &str) -> bool {
        self.shared.lock().unwrap().passed.contains(gate)
    }

    /// What has come since the last look.
    pub fn look(&self) -> Seen {
        self.shared.lock().unwrap().look = true;
        crate::common::eventually("the app's look", || {
            let mut shared = self.shared.lock().unwrap();
            (!shared.look).then(|| std::mem::take(&mut shared.seen))
        })
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    script: VecDeque<Do>,
    /// The request at the front has begun its script already.
    begun: bool,
    /// Its unfinished request has been told.
    told: bool,
    open: bool,
}

/// Goes once through everything; whether anything happened.
fn pass(listener: &TcpListener, connections: &mut Vec<Connection>, shared: &mut Shared) -> bool {
    let mut busy = false;
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let (input, output, script) = <_>::default();
        connections.push(Connection { stream, input, output, script, begun: false, told: false, open: true });
        busy = true;
    }
    for connection in connections.iter_mut() {
        busy |= connection.read();
    }
    for connection in connections.iter_mut() {
        busy |= connection.serve(shared);
    }
    if shared.look {
        for connection in connections.iter_mut() {
            connection.tell(shared);
        }
        shared.look = false;
    }
    connections.retain(|connection| connection.open || !connection.told && !connection.input.is_empty());
    busy
}

impl Connection {
    fn read(&mut self) -> bool {
        let mut buffer = [0; 65536];
        let mut any = false;
        while self.open {
            match self.stream.read(&mut buffer) {
                Ok(n) if n > 0 => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => self.open = false,
            }
            any = true;
        }
        any
    }

    fn serve(&mut self, shared: &mut Shared) -> bool {
        let mut busy = self.begin(shared);
        while let Some(action) = self.script.front().cloned() {
            if !self.output.is_empty() || !self.open {
                break;
            }
            match action {
                Do::Send(bytes) => self.output = bytes,
                Do::Gate(gate) if !shared.gates.contains(&gate) => break,
                Do::Gate(gate) => {
                    // What follows is done before anybody else looks.
                    shared.passed.insert(gate);
                }
                Do::Turn => {
                    self.script.pop_front();
                    return true;
                }
                Do::Close => {
                    let _ = self.stream.shutdown(Shutdown::Both);
                    self.open = false;
                }
                Do::Reset => {
                    reset(&self.stream);
                    self.open = false;
                }
                Do::Hang => break,
            }
            self.script.pop_front();
            self.flush();
            busy = true;
        }
        busy | self.flush()
    }

    fn flush(&mut self) -> bool {
        let mut any = false;
        while self.open && !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => {
                    self.output.drain(..n);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.open = false,
            }
            any = true;
        }
        any
    }

    /// Takes the request at the front where it has come and its turn has.
    fn begin(&mut self, shared: &mut Shared) -> bool {
        if self.input.is_empty() || !self.script.is_empty() {
            return false;
        }
        let message = match wire::request(&self.input) {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(error) => {
                shared.seen.oddities.push(error);
                self.input.clear();
                let _ = self.stream.shutdown(Shutdown::Both);
                self.open = false;
                return true;
            }
        };
        let (when, script) =
            shared.scripts.get(message.second()).cloned().unwrap_or_else(|| (When::Whole, usual(&message)));
        let starts = !self.begun && (message.complete || when == When::Head);
        if starts {
            self.script = script.into();
            self.begun = true;
        }
        if message.complete {
            self.input.drain(..message.used);
            (self.begun, self.told) = (false, false);
            if !message.second().starts_with("/marker") {
                shared.seen.requests.push(message);
            }
            return true;
        }
        starts
    }

    fn tell(&mut self, shared: &mut Shared) {
        if self.told || self.input.is_empty() {
            return;
        }
        self.told = true;
        match wire::request(&self.input) {
            Ok(Some(message)) if message.complete => shared.seen.requests.push(message),
            Ok(Some(message)) => shared.seen.unfinished.push(message),
            Ok(None) => {
                let line = wire::text(&self.input);
                shared.seen.unfinished.push(Message { line, ..Message::default() });
            }
            Err(error) => shared.seen.oddities.push(error),
        }
    }
}

/// The answer of an app that does nothing special: it says what it saw.
fn usual(request: &Message) -> Vec<Do> {
    let body = format!("saw {}", request.line);
    let head = format!("HTTP/1.1 200 OK\r\nx-app: 1\r\ncontent-length: {}\r\n\r\n", body.chars().count());
    let whole = if request.line.starts_with("HEAD ") { head } else { head + &body };
    vec![Do::Turn, Do::Turn, send(&whole)]
}
