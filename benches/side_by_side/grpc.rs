//! As much of gRPC as a unary call needs: a prefixed message each way, and the status after it.

use bytes::Bytes;
use http::HeaderMap;

pub(crate) const CONTENT_TYPE: &str = "application/grpc";
/// Bytes before each message: whether it is compressed, and its length.
pub(crate) const PREFIX: usize = 5;
/// Bytes of the message with which a procedure is called.
pub(crate) const CALL: usize = 128;

pub(crate) fn message(length: usize) -> Bytes {
    let mut message = vec![0];
    message.extend(u32::try_from(length).unwrap().to_be_bytes());
    message.resize(PREFIX + length, b'x');
    message.into()
}

pub(crate) fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())])
}

pub(crate) fn is_ok(trailers: Option<&HeaderMap>) -> bool {
    trailers.and_then(|trailers| trailers.get("grpc-status")).is_some_and(|status| status == "0")
}
