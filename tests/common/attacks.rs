//! Clients that mean no good: floods of frames, crowds of slow ones.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::frames::{self, Http2, frame};
use super::http::drain;

/// What a client sends again and again; the number of the turn makes new streams.
pub type Flood = Box<dyn Fn(u32) -> Vec<u8> + Send + Sync>;

/// Frames of a stream of their own, so many a turn.
fn streams(count: u32, of: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Flood {
    Box::new(move |turn| (0..count).flat_map(|n| of(1 + 2 * (turn * count + n))).collect())
}

/// The same bytes every turn, behind a beginning.
fn same(first: Vec<u8>, again: &[u8], times: usize) -> Flood {
    let again = again.repeat(times);
    Box::new(move |turn| if turn == 0 { [first.clone(), again.clone()].concat() } else { again.clone() })
}

/// Each of these costs the server and brings nobody an answer.
pub fn floods() -> Vec<(&'static str, Flood)> {
    let hang = |stream| frames::get(stream, "/hang");
    let reset = |stream| frame(frames::RST_STREAM, 0, stream, &frames::CANCEL.to_be_bytes());
    let large = frames::field("a", &"b".repeat(100)).repeat(150);
    let update = |stream, by: u32| frame(frames::WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let unfinished = || frame(frames::HEADERS, frames::END_STREAM, 1, &frames::fields("GET", "/"));
    // A field of 4,000 bytes that the table keeps, and 16,000 references to it.
    let kept = [&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e], [b'b'; 4_000].as_slice()].concat();
    let bomb = [frames::fields("GET", "/"), kept].concat();
    let head = |stream, head: &[u8]| frame(frames::HEADERS, frames::END_STREAM | frames::END_HEADERS, stream, head);
    let with = |more: Vec<u8>| [frames::fields("GET", "/"), more].concat();
    let (referring, nameless) = (with(vec![0xbe; 16_000]), with([0, 0, 0].repeat(4_000)));
    let wrong_length = with(frames::field("content-length", "5"));
    let (first, trailers) = (post_hang(), frame(frames::HEADERS, frames::END_HEADERS, 1, &frames::field("x-t", "y")));
    vec![
        ("rapid reset", streams(50, move |stream| [hang(stream), reset(stream)].concat())),
        ("rapid reset after an answer", streams(50, move |stream| [frames::get(stream, "/"), reset(stream)].concat())),
        ("resets made by the server: updates of 0", streams(20, move |s| [post(s), update(s, 0)].concat())),
        ("resets made by the server: overflow", streams(20, move |s| [post(s), update(s, 0x7fff_ffff)].concat())),
        (
            "resets made by the server: bodies after their end",
            streams(20, move |s| [hang(s), frame(frames::DATA, 0, s, b"x")].concat()),
        ),
        (
            "resets made by the server: streams that depend on themselves",
            streams(20, move |s| {
                [hang(s), frame(frames::PRIORITY, 0, s, &[&s.to_be_bytes()[..], &[16]].concat())].concat()
            }),
        ),
        ("lengths that are none", streams(20, move |s| head(s, &wrong_length))),
        ("more streams than allowed", streams(50, hang)),
        ("CONTINUATION without end", same(unfinished(), &frame(frames::CONTINUATION, 0, 1, &large), 1)),
        ("empty CONTINUATION", same(unfinished(), &frame(frames::CONTINUATION, 0, 1, b""), 500)),
        ("SETTINGS", same(vec![], &frame(frames::SETTINGS, 0, 0, b""), 100)),
        (
            "SETTINGS of the table",
            same(vec![], &frame(frames::SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 16, 0]), 100),
        ),
        ("PING", same(vec![], &frame(frames::PING, 0, 0, b"12345678"), 100)),
        ("answers to no PING", same(vec![], &frame(frames::PING, frames::ACK, 0, b"12345678"), 100)),
        ("PRIORITY", same(vec![], &frame(frames::PRIORITY, 0, 7, &[0, 0, 0, 0, 16]), 100)),
        ("GOAWAY", same(vec![], &frame(frames::GOAWAY, 0, 0, &[0; 8]), 100)),
        ("frames of no kind", same(vec![], &frame(77, 0, 0, &[0; 100]), 100)),
        ("a push by the client", same(vec![], &frame(frames::PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x82]), 10)),
        ("empty DATA", same(post_hang(), &frame(frames::DATA, 0, 1, b""), 100)),
        ("DATA of padding only", same(post_hang(), &frame(frames::DATA, 8, 1, &[&[16][..], &[0; 16]].concat()), 20)),
        ("WINDOW_UPDATE of 1, connection", same(vec![], &update(0, 1), 100)),
        ("WINDOW_UPDATE of 1, stream", same(hang(1), &update(1, 1), 100)),
        ("RST_STREAM of unknown streams", same(vec![], &reset(99), 100)),
        (
            "a bomb of references",
            Box::new(move |turn| match turn {
                0 => head(1, &bomb),
                _ => (0..4).flat_map(|n| head(1 + 2 * (4 * turn + n), &referring)).collect(),
            }),
        ),
        ("names without a letter", streams(4, move |s| head(s, &nameless))),
        ("trailers without end", same(first, &trailers, 100)),
    ]
}

pub fn post(stream: u32) -> Vec<u8> {
    frames::post(stream, "/hang")
}

pub fn post_hang() -> Vec<u8> {
    post(1)
}

/// Sends a flood until its connection ends, reading what comes, as whoever fills the
/// server's buffers on purpose would not. Whether it ended in time.
pub fn pour(address: SocketAddr, flood: &Flood, end: Instant) -> bool {
    let mut client = Http2::connect(address);
    // What the other side has not taken when it ends the connection is thrown away by whoever
    // brings the news: on one machine that is the other side itself, once more for each byte.
    let _ = socket2::SockRef::from(&client.stream).set_send_buffer_size(64 << 10);
    let mut reader = client.stream.try_clone().unwrap();
    let gone = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&gone);
    let reading = std::thread::spawn(move || {
        let _ = drain(&mut reader);
        ended.store(true, Ordering::Relaxed);
    });
    let mut turn = 0;
    while Instant::now() < end && !gone.load(Ordering::Relaxed) && client.send(&flood(turn)) {
        turn += 1;
    }
    let over = Instant::now() >= end && !gone.load(Ordering::Relaxed);
    let _ = client.stream.shutdown(std::net::Shutdown::Both);
    reading.join().unwrap();
    !over
}

/// Clients that one thread moves a little at a time, until this is dropped.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Crowd {
    pub fn of(count: usize, join: impl Fn() -> TcpStream, step: impl Fn(&mut TcpStream) + Send + 'static) -> Self {
        let mut clients: Vec<TcpStream> = (0..count).map(|_| join()).collect();
        clients.iter().for_each(|client| client.set_nonblocking(true).unwrap());
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // Spread over the time: together they would be a burst, which is another load.
                clients.iter_mut().for_each(|client| {
                    step(client);
                    std::thread::sleep(Duration::from_micros(500));
                });
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

pub fn raise_descriptors(wanted: u64) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    assert!(limit.maximum.is_none_or(|most| most >= wanted), "{limit:?}: the test needs {wanted} descriptors");
}
