//! Towards app servers: whose certificates are believed.

use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{H2, HTTP1, Stream, TlsError, files, provider};

/// What is known of servers beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Authorities that are believed in place of the system's.
    pub ca: Option<PathBuf>,
    /// The name that is asked for and checked, in place of the address's.
    pub server_name: Option<String>,
    /// Nothing is checked: whoever answers is believed.
    pub skip_verification: bool,
}

/// TLS towards servers, ready to be used. Equal where the same servers are believed.
#[derive(Clone)]
pub struct ClientTls {
    /// ALPN offers HTTP/2 and HTTP/1.1.
    any: Arc<ClientConfig>,
    /// ALPN offers HTTP/1.1.
    http1: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    /// What was read, as a hash.
    identity: [u8; 32],
}

impl ClientTls {
    /// Reads whom to believe.
    ///
    /// # Errors
    /// What is wrong with the file, the name, or the system's store.
    pub fn new(options: &TlsOptions) -> Result<Self, TlsError> {
        let name = |name: &String| ServerName::try_from(name.clone()).map_err(|_| TlsError::Name(name.clone()));
        let server_name = options.server_name.as_ref().map(name).transpose()?;
        let roots = match &options.ca {
            Some(file) => Arc::new(files::authorities(file, &files::certificates(file)?)?),
            None if options.skip_verification => Arc::new(RootCertStore::empty()),
            None => system_roots()?,
        };
        let mut hash = Sha256::new();
        for root in &roots.roots {
            hash.update(root.subject_public_key_info.as_ref());
            hash.update(root.subject.as_ref());
        }
        hash.update(format!("{:?} {}", options.server_name, options.skip_verification));
        let config = |protocols: &[&[u8]]| config(&roots, options, protocols);
        Ok(Self { any: config(&[H2, HTTP1])?, http1: config(&[HTTP1])?, server_name, identity: hash.finalize().into() })
    }

    /// Shakes hands with the server at `host`; whether it speaks HTTP/2. `upgradable`:
    /// HTTP/1.1 only, as a connection of HTTP/2 becomes no other protocol.
    ///
    /// # Errors
    /// A server that is not believed, or does not speak TLS.
    pub async fn connect(&self, host: &str, socket: TcpStream, upgradable: bool) -> io::Result<(Stream, bool)> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        let config = if upgradable { &self.http1 } else { &self.any };
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, socket).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        Ok((Stream::Tls(Box::new(stream.into())), http2))
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientTls(…)")
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Eq for ClientTls {}

impl Hash for ClientTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity.hash(state);
    }
}

fn config(
    roots: &Arc<RootCertStore>,
    options: &TlsOptions,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let unusable = |error: rustls::Error| TlsError::Unusable {
        file: options.ca.as_deref().unwrap_or(Path::new("the system's store")).to_owned(),
        why: error.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
    let builder = builder.map_err(unusable)?;
    let builder = if options.skip_verification {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider())))
    } else {
        builder.with_root_certificates(Arc::clone(roots))
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// The system's authorities, read once.
fn system_roots() -> Result<Arc<RootCertStore>, TlsError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // A store may hold what cannot be read beside what can.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(Arc::clone(roots)) }
}

/// Believes every server, where configuration says so.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
