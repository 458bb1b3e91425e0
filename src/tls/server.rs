//! Towards clients: which certificate is shown, and whether one is asked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::{H2, HTTP1, TlsError, files, provider, tickets};

/// A certificate chain and its key, in PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// TLS towards clients, ready to be used.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls(…)")
    }
}

impl ServerTls {
    /// Reads certificates: the first one is shown to whoever names no known server. With
    /// `client_ca` clients have to show a certificate of one of its authorities.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn new(certificates: &[CertificateFiles], client_ca: Option<&Path>) -> Result<Self, TlsError> {
        Self::speaking(certificates, client_ca, &[H2, HTTP1])
    }

    /// The same for a server that speaks HTTP/1.1 only.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn http1(certificates: &[CertificateFiles], client_ca: Option<&Path>) -> Result<Self, TlsError> {
        Self::speaking(certificates, client_ca, &[HTTP1])
    }

    fn speaking(
        certificates: &[CertificateFiles],
        client_ca: Option<&Path>,
        protocols: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let mut shown = Shown::default();
        for files in certificates {
            shown.add(certified(files)?, &files.cert)?;
        }
        let trusted = client_ca.map(files::certificates).transpose()?;
        let authorities = client_ca.zip(trusted.as_deref()).map(|(file, read)| files::authorities(file, read));
        let authorities = authorities.transpose()?;
        let circle = tickets::circle(trusted.as_deref());
        let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
        let unusable = |file: Option<&Path>, why: String| TlsError::Unusable {
            file: file.or(certificates.first().map(|files| &*files.cert)).unwrap_or(Path::new("")).to_owned(),
            why,
        };
        let builder = builder.map_err(|error| unusable(None, error.to_string()))?;
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some(roots) => builder.with_client_cert_verifier(verifier(roots).map_err(|why| unusable(client_ca, why))?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // Tickets hold the session: nothing is kept here for clients who may never come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if let Some(ticketer) = tickets::ticketer(circle) {
            config.ticketer = ticketer;
        }
        Ok(Self { config: Arc::new(config) })
    }

    /// Begins a handshake.
    pub fn accept(&self, socket: TcpStream) -> Accept<TcpStream> {
        TlsAcceptor::from(Arc::clone(&self.config)).accept(socket)
    }
}

fn verifier(roots: RootCertStore) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    builder.build().map_err(|error| error.to_string())
}

fn certified(files: &CertificateFiles) -> Result<CertifiedKey, TlsError> {
    let chain = files::certificates(&files.cert)?;
    let key = files::private_key(&files.key)?;
    let unusable =
        |file: &PathBuf, error: &rustls::Error| TlsError::Unusable { file: file.clone(), why: error.to_string() };
    let key = provider().key_provider.load_private_key(key).map_err(|error| unusable(&files.key, &error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { cert: files.cert.clone(), key: files.key.clone() })
        }
        Err(error) => Err(unusable(&files.cert, &error)),
    }
}

/// Certificates by the names in them (RFC 6125 section 6.4: `*` stands for one label).
#[derive(Debug, Default)]
struct Shown {
    all: Vec<Arc<CertifiedKey>>,
    /// Names in lower case; `*.example.com` as `.example.com`.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Shown {
    fn add(&mut self, certified: CertifiedKey, file: &Path) -> Result<(), TlsError> {
        let certified = Arc::new(certified);
        let unusable = |error: webpki::Error| TlsError::Unusable { file: file.to_owned(), why: error.to_string() };
        let own = webpki::EndEntityCert::try_from(&certified.cert[0]).map_err(unusable)?;
        for name in own.valid_dns_names() {
            let name = name.to_ascii_lowercase();
            let known = self.by_name.entry(name.strip_prefix('*').map_or(name.clone(), str::to_owned)).or_default();
            known.push(Arc::clone(&certified));
        }
        self.all.push(certified);
        Ok(())
    }

    fn named(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let name = name.to_ascii_lowercase();
        let above = || name.find('.').and_then(|dot| self.by_name.get(&name[dot..]));
        self.by_name.get(&name).or_else(above).unwrap_or(&self.all)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fitting = hello.server_name().map_or(&*self.all, |name| self.named(name));
        // Of several for a name, one whose key the client can check.
        let checked = |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(hello.signature_schemes()).is_some();
        fitting.iter().find(checked).or(fitting.first()).map(Arc::clone)
    }
}
