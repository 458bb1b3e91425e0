//! Raw HTTP/1.1 over a socket: what is written is what was meant, to the byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than anything a test waits for.
const READ: Duration = Duration::from_secs(20);

/// What a client saw.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// 0: no head came.
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
    /// Whether the body ended as its head promised.
    pub complete: bool,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(READ)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A socket that takes little before its reader does.
pub fn narrow(address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(READ)).unwrap();
    socket.into()
}

/// Reads to the end: how many bytes there were, and whether it was an orderly one.
pub fn drain(stream: &mut TcpStream) -> (usize, bool) {
    let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (total, true),
            Ok(n) => total += n,
            Err(_) => return (total, false),
        }
    }
}

/// One request on a connection of its own.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    // The other side may answer and close before it has read everything.
    let _ = stream.write_all(request);
    read_answer(&mut stream, request.starts_with(b"HEAD"))
}

/// `GET path` with these further fields.
pub fn get(address: SocketAddr, path: &str, fields: &str) -> Answer {
    exchange(address, format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}connection: close\r\n\r\n").as_bytes())
}

/// The bytes of a `GET path` with these further fields.
pub fn request(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n")
}

/// Reads one answer, to its end or the connection's.
pub fn read_answer(stream: &mut TcpStream, to_head: bool) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let Some(head_end) = find(&bytes, b"\r\n\r\n") else {
            if !read_more(stream, &mut bytes) {
                return Answer::default();
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
        let status: u16 = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        bytes.drain(..head_end + 4);
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let mut answer = Answer { status, head, ..Answer::default() };
        if to_head || matches!(status, 101 | 204 | 304) {
            answer.complete = true;
            return answer;
        }
        read_body(stream, bytes, &mut answer);
        return answer;
    }
}

fn read_body(stream: &mut TcpStream, mut bytes: Vec<u8>, answer: &mut Answer) {
    if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let Some(line_end) = find(&bytes, b"\r\n") else {
                if !read_more(stream, &mut bytes) {
                    return;
                }
                continue;
            };
            let size = usize::from_str_radix(String::from_utf8_lossy(&bytes[..line_end]).trim(), 16).unwrap();
            let end = if size == 0 { None } else { Some(line_end + 2 + size + 2) };
            match end {
                Some(end) if bytes.len() >= end => {
                    answer.body.extend_from_slice(&bytes[line_end + 2..end - 2]);
                    bytes.drain(..end);
                }
                // The last chunk: trailers, if any, up to an empty line.
                None if find(&bytes[line_end..], b"\r\n\r\n").is_some() => {
                    answer.head.push_str(&String::from_utf8_lossy(&bytes[line_end..]));
                    answer.complete = true;
                    return;
                }
                _ => {
                    if !read_more(stream, &mut bytes) {
                        answer.body.extend_from_slice(&bytes);
                        return;
                    }
                }
            }
        }
    }
    let length = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    while length.is_none_or(|length| bytes.len() < length) {
        if !read_more(stream, &mut bytes) {
            break;
        }
    }
    answer.complete = length.is_none_or(|length| bytes.len() >= length);
    answer.body = bytes;
}

fn read_more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 65536];
    match stream.read(&mut buffer) {
        Ok(0) | Err(_) => false,
        Ok(n) => {
            bytes.extend_from_slice(&buffer[..n]);
            true
        }
    }
}

pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

/// Closes with a reset: what is in flight is lost.
pub fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
    let _ = stream.shutdown(Shutdown::Read);
}
