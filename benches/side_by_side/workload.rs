//! What is asked of the proxies, one entry for each row group of the table.

/// How a client, the proxy and an app server talk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// HTTP/1.1 throughout, one request after the other on each connection.
    KeepAlive,
    /// The same with TLS 1.3 between client and proxy.
    Tls,
    /// HTTP/2 over TLS 1.3 (by ALPN) between client and proxy, HTTP/1.1 to the app server.
    Http2,
    /// Unary gRPC calls: HTTP/2 without TLS (prior knowledge) throughout.
    Grpc,
    /// HTTP/1.1 with `connection: close`: each request on a connection of its own.
    Closing,
}

impl Traffic {
    pub(crate) fn tls(self) -> bool {
        matches!(self, Self::Tls | Self::Http2)
    }
}

/// One workload: a closed loop of `connections` times `streams` clients.
pub(crate) struct Workload {
    /// The name for `--only` and in the table.
    pub(crate) name: &'static str,
    pub(crate) traffic: Traffic,
    pub(crate) connections: usize,
    /// Requests under way at a time on each connection.
    pub(crate) streams: usize,
    /// Bytes of each answer's body.
    pub(crate) body: usize,
}

const KIB: usize = 1024;

/// The first one is the measure that has been there from the beginning.
pub(crate) const ALL: [Workload; 6] = [
    Workload { name: "keep-alive", traffic: Traffic::KeepAlive, connections: 64, streams: 1, body: KIB },
    Workload { name: "tls", traffic: Traffic::Tls, connections: 64, streams: 1, body: KIB },
    Workload { name: "http2", traffic: Traffic::Http2, connections: 16, streams: 8, body: KIB },
    Workload { name: "grpc", traffic: Traffic::Grpc, connections: 16, streams: 8, body: KIB },
    Workload { name: "new-connections", traffic: Traffic::Closing, connections: 64, streams: 1, body: KIB },
    Workload { name: "64-kib", traffic: Traffic::KeepAlive, connections: 64, streams: 1, body: 64 * KIB },
];
