//! Certificates for a test, by an authority of its own, in files.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority, with its certificate in `ca.pem` of a folder.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub file: PathBuf,
    folder: PathBuf,
}

/// The files of a certificate.
#[derive(Clone, Debug)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new(folder: &Path) -> Self {
        Self::named(folder, "ca")
    }

    /// One beside others.
    pub fn named(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for self-signed whose subject is its issuer.
        params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file, folder: folder.to_owned() }
    }

    /// A certificate for these names, in files of this name: put in place as a renewal does it.
    pub fn issue(&self, file: &str, names: &[&str]) -> Files {
        self.issue_until(file, names, 4096)
    }

    /// The same, valid until the first day of a year.
    pub fn issue_until(&self, file: &str, names: &[&str], year: i32) -> Files {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let place = |end: &str, text: String| {
            let (path, beside) = (self.folder.join(format!("{file}.{end}")), self.folder.join(format!("{file}.new")));
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, &path).unwrap();
            path
        };
        Files { cert: place("pem", certificate.pem()), key: place("key", key.serialize_pem()) }
    }
}

impl Files {
    /// As an element of `certificates`.
    pub fn yaml(&self) -> String {
        format!("{{ cert: '{}', key: '{}' }}", self.cert.display(), self.key.display())
    }
}
