//! Session tickets (RFC 8446 section 4.6.1) that outlive a renewed certificate.
//!
//! A ticket lets its bearer in without being asked for a certificate again, so listeners
//! that ask for client certificates share a ticketer only where they trust the same
//! authorities: else a ticket of an open door would open a guarded one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::server::ProducesTickets;
use sha2::{Digest, Sha256};

/// Who may use each other's tickets.
pub(super) type Circle = [u8; 32];

/// The circle of listeners that believe these authorities; of those that ask for none.
pub(super) fn circle(authorities: Option<&[impl AsRef<[u8]>]>) -> Circle {
    let mut hash = Sha256::new();
    for certificate in authorities.unwrap_or_default() {
        hash.update((certificate.as_ref().len() as u64).to_le_bytes());
        hash.update(certificate);
    }
    hash.update([u8::from(authorities.is_some())]);
    hash.finalize().into()
}

/// The ticketer of a circle: the same one for as long as the process lives, with keys of
/// its own that it changes by itself. `None` without a source of randomness.
pub(super) fn ticketer(circle: Circle) -> Option<Arc<dyn ProducesTickets>> {
    static KNOWN: OnceLock<Mutex<HashMap<Circle, Arc<dyn ProducesTickets>>>> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(ticketer) = known.get(&circle) {
        return Some(Arc::clone(ticketer));
    }
    let ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().ok()?;
    known.insert(circle, Arc::clone(&ticketer));
    Some(ticketer)
}
