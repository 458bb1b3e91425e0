//! Serin between programs that others have written: curl, h2load, gRPC in two languages,
//! WebSockets, OpenSSL, nginx, HAProxy, Node and uvicorn.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

mod clients {
    mod curl;
    mod grpc;
    mod handshakes;
    mod load;
    mod programs;
    mod rust_grpc;
    mod servers;
    mod websocket;
}
