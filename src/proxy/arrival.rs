//! How a connection begins: who the peer is, in which cipher, and which version of HTTP.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ppp::v2::Command;
use ppp::{HeaderResult, PartialResult, v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::turn::Turnstile;
use crate::config::{Limits, Listener};
use crate::telemetry::Refusal;
use crate::tls::Stream;

/// What a client with prior knowledge of HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Most requests have less.
const FIRST_READ: usize = 2 << 10;

/// The signature of version 2 of the PROXY protocol, and the length of what every header has.
const PROXY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY_V2_FIXED: usize = 16;
/// Version 1 never has more.
const PROXY_V1_MAX: usize = 107;
/// Addresses, and what balancers say beside them.
const PROXY_V2_MAX: usize = 4 << 10;

/// A connection that is ready for requests.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) stream: Stream,
    /// What has been read of it already.
    pub(super) early: Bytes,
    pub(super) peer: IpAddr,
    pub(super) http2: bool,
}

/// Why a connection ends before its first request.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client has left, or never said anything.
    Left,
    /// It did not begin as this listener asks.
    Refused(Refusal, io::Error),
}

/// Brings a connection that has said something to its first request.
pub(super) async fn arrive(
    mut socket: TcpStream,
    peer: IpAddr,
    listener: &Listener,
    limits: &Limits,
    turnstile: &Turnstile,
) -> Result<Arrived, Ended> {
    let mut peer = peer;
    if listener.proxy_protocol {
        let header = patient(limits.header_timeout, proxied(&mut socket)).await;
        peer = header.map_err(|error| Ended::Refused(Refusal::ProxyProtocol, error))?.unwrap_or(peer);
    }
    let peer = peer.to_canonical();
    if let Some(tls) = &listener.tls {
        let shaken = patient(limits.header_timeout, turnstile.step_by_step(tls.accept(socket))).await;
        let stream = Stream::Tls(Box::new(shaken.map_err(|error| Ended::Refused(Refusal::Tls, error))?.into()));
        let http2 = stream.is_http2();
        return Ok(Arrived { stream, early: Bytes::new(), peer, http2 });
    }
    let (early, http2) = patient(limits.header_timeout, preface(&mut socket)).await.map_err(|_| Ended::Left)?;
    Ok(Arrived { stream: Stream::Plain(socket), early, peer, http2 })
}

/// Waits for a byte without a buffer for it; false where none comes.
pub(super) async fn first_byte(socket: &TcpStream, within: Duration) -> bool {
    matches!(tokio::time::timeout(within, socket.peek(&mut [0])).await, Ok(Ok(1)))
}

async fn patient<T>(within: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(within, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Reads as much as tells HTTP/2 from everything else.
async fn preface(socket: &mut TcpStream) -> io::Result<(Bytes, bool)> {
    let mut early = BytesMut::with_capacity(FIRST_READ);
    loop {
        let more = socket.read_buf(&mut early).await?;
        let known = early.len().min(PREFACE.len());
        let alike = early[..known] == PREFACE[..known];
        if more == 0 || !alike || known == PREFACE.len() {
            return Ok((early.freeze(), alike && known == PREFACE.len()));
        }
    }
}

/// Reads a PROXY header, and not a byte more. `None`: the balancer speaks for itself.
async fn proxied(socket: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; PROXY_SIGNATURE.len()];
    socket.read_exact(&mut header).await?;
    if header == PROXY_SIGNATURE {
        header.resize(PROXY_V2_FIXED, 0);
        socket.read_exact(&mut header[PROXY_SIGNATURE.len()..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > PROXY_V2_MAX {
            return Err(io::Error::other("a PROXY header of more than 4 KiB"));
        }
        header.resize(PROXY_V2_FIXED + rest, 0);
        socket.read_exact(&mut header[PROXY_V2_FIXED..]).await?;
    } else {
        line(socket, &mut header).await?;
    }
    source(&header).map_err(io::Error::other)
}

/// Reads on to the end of a line.
async fn line(socket: &mut TcpStream, header: &mut Vec<u8>) -> io::Result<()> {
    let mut waiting = [0; PROXY_V1_MAX];
    while header.len() < PROXY_V1_MAX && header.starts_with(b"PROXY ") {
        let room = PROXY_V1_MAX - header.len();
        let there = socket.peek(&mut waiting[..room]).await?;
        let end = memchr::memchr(b'\n', &waiting[..there]);
        let take = end.map_or(there, |end| end + 1);
        if take == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        socket.read_exact(&mut waiting[..take]).await?;
        header.extend_from_slice(&waiting[..take]);
        if end.is_some() {
            break;
        }
    }
    Ok(())
}

/// The source address in a PROXY header; `None`: the peer speaks for itself, or the balancer
/// does not know.
pub(crate) fn source(header: &[u8]) -> Result<Option<IpAddr>, &'static str> {
    match HeaderResult::parse(header) {
        result if result.is_incomplete() => Err("a PROXY header without its end"),
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (Command::Proxy, v2::Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
            (Command::Proxy, v2::Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
            _ => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => Err("no PROXY header"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_header_names_the_source() {
        let v1 = |text: &str| source(text.as_bytes());
        assert_eq!(v1("PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n"), Ok(Some("192.0.2.7".parse().unwrap())));
        assert_eq!(v1("PROXY TCP6 2001:db8::7 2001:db8::1 5000 443\r\n"), Ok(Some("2001:db8::7".parse().unwrap())));
        assert_eq!(v1("PROXY UNKNOWN\r\n"), Ok(None));
        assert_eq!(v1("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n"), Ok(None));
        for wrong in
            ["", "GET / HTTP/1.1\r\n", "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1", "PROXY \r\n"]
        {
            assert!(v1(wrong).is_err(), "{wrong:?}");
        }
        let mut v2 = [PROXY_SIGNATURE, &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 192, 0, 2, 1, 0, 80, 1, 187]].concat();
        assert_eq!(source(&v2), Ok(Some("192.0.2.7".parse().unwrap())));
        v2[12] = 0x20;
        assert_eq!(source(&v2), Ok(None), "LOCAL: the balancer's own health check");
        v2[12] = 0x31;
        assert!(source(&v2).is_err(), "version 3");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), signed: bool) {
            let bytes = if signed { [PROXY_SIGNATURE, &bytes].concat() } else { bytes };
            let _ = source(&bytes);
        }
    }
}
