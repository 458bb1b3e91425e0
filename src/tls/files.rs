//! Certificates and keys out of PEM files (RFC 7468).

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(file, &error))?;
    let found = read.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(file, &error))?;
    if found.is_empty() {
        return Err(TlsError::Empty { file: file.to_owned(), what: "certificate" });
    }
    Ok(found)
}

pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        Error::NoItemsFound => TlsError::Empty { file: file.to_owned(), what: "private key" },
        other => unreadable(file, &other),
    })
}

/// The authorities whose certificates these are.
pub(super) fn authorities(file: &Path, certificates: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates.iter().cloned() {
        roots.add(certificate).map_err(|error| TlsError::Unusable { file: file.to_owned(), why: error.to_string() })?;
    }
    Ok(roots)
}

fn unreadable(file: &Path, error: &Error) -> TlsError {
    let why = match error {
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    TlsError::Unreadable { file: file.to_owned(), why }
}
