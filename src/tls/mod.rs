//! TLS on both sides, by rustls with one crypto provider.
//!
//! Owns: certificates and the choice between them, whom a certificate is checked against,
//! session tickets, a socket that may be encrypted. Touches: the files it is told of, once.
//!
//! TLS 1.2 and 1.3 with rustls' own defaults (no static RSA, no CBC, no renegotiation, no
//! early data); ALPN offers `h2` and `http/1.1` (RFC 7301).

mod client;
mod files;
mod server;
mod stream;
mod tickets;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

pub use client::{ClientTls, TlsOptions};
pub use server::{CertificateFiles, ServerTls};
pub use stream::Stream;

const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What is wrong with a certificate, a key, or what they are for.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read.
    #[error("{file} cannot be read: {why}")]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// A file without what it is given for.
    #[error("{file} has no {what} in PEM form")]
    Empty {
        /// Which one.
        file: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// A certificate or key that rustls does not take.
    #[error("{file} cannot be used: {why}")]
    Unusable {
        /// Which one.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// A key of another certificate.
    #[error("{key} is not the key of {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's.
        key: PathBuf,
    },
    /// The system's store of certificate authorities is empty.
    #[error("the system knows no certificate authorities")]
    NoSystemRoots,
    /// Neither a name nor an address.
    #[error("`{0}` is no server name")]
    Name(String),
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}
