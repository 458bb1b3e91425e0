//! `tls`: certificates towards clients, trust towards app servers.

use std::path::Path;

use super::all;
use crate::config::node::Node;
use crate::tls::{CertificateFiles, ClientTls, ServerTls, TlsError, TlsOptions};

/// TLS towards clients, made by `make` from its files.
pub(super) fn server(
    node: &Node<'_>,
    make: impl FnOnce(&[CertificateFiles], Option<&Path>) -> Result<ServerTls, TlsError>,
) -> Option<ServerTls> {
    let map = node.map()?;
    let certificates = map.read("certificates", |node| {
        let certificates = all(node.list()?.iter().map(certificate))?;
        if certificates.is_empty() {
            node.expected("one certificate at least is expected here")
        } else {
            Some(certificates)
        }
    });
    let client_ca = map.maybe("clientCa", Node::file);
    let (certificates, client_ca) = (certificates?, client_ca?);
    made(node, make(&certificates, client_ca.as_deref()))
}

fn certificate(node: &Node<'_>) -> Option<CertificateFiles> {
    let map = node.map()?;
    let (cert, key) = (map.read("cert", Node::file), map.read("key", Node::file));
    Some(CertificateFiles { cert: cert?, key: key? })
}

/// What is known of app servers beforehand.
pub(super) fn options(node: &Node<'_>) -> Option<TlsOptions> {
    let map = node.map()?;
    let (ca, server_name) = (map.maybe("ca", Node::file), map.maybe("serverName", Node::text));
    let skip_verification = map.read("skipVerification", Node::boolean);
    let options = TlsOptions { ca: ca?, server_name: server_name?, skip_verification: skip_verification? };
    if options.skip_verification {
        if options.ca.is_some() {
            node.wrong(format!("{}.ca does nothing beside skipVerification", node.path), None);
        }
        let hint = "`ca` names an authority of your own".to_owned();
        node.strange("skipVerification: whoever answers in the app server's place is believed", Some(hint));
    }
    Some(options)
}

/// TLS towards app servers.
pub(super) fn client(node: &Node<'_>, options: Option<&TlsOptions>) -> Option<ClientTls> {
    made(node, ClientTls::new(options.unwrap_or(&TlsOptions::default())))
}

fn made<T>(node: &Node<'_>, made: Result<T, TlsError>) -> Option<T> {
    let hint = |error: &TlsError| match error {
        TlsError::NoSystemRoots => Some("`tls: { ca: FILE }` of a pool names an authority".to_owned()),
        TlsError::Unreadable { .. } => Some("paths begin at the folder that Serin is started in".to_owned()),
        _ => None,
    };
    made.map_err(|error| node.wrong(error.to_string(), hint(&error))).ok()
}
