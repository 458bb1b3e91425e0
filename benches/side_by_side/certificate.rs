//! The one certificate (ECDSA P-256) that every proxy shows, and clients that trust it.
//!
//! Version, cipher and key exchange are the client's to choose: it offers one of each,
//! so that no proxy's own preference makes its work cheaper or dearer.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, version};

/// The name in the certificate, and the host that is asked for.
pub(crate) const HOST: &str = "shop.example.com";

pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Both in one file, as HAProxy reads them.
    pub(crate) both: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn write(dir: &Path) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let cert = CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        Self {
            cert: file("cert.pem", cert.pem()),
            key: file("key.pem", key.serialize_pem()),
            both: file("both.pem", cert.pem() + &key.serialize_pem()),
            der: cert.der().clone(),
        }
    }

    /// A client that speaks `protocol`, and never resumes: every handshake is a full one.
    pub(crate) fn connector(&self, protocol: &str) -> TlsConnector {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        Arc::new(config).into()
    }
}
