//! HAProxy: the users divided by a hash of the cookie, three fields by `set-header`.
//!
//! The hash has 32 bits: numbers are signed here, and half of all hashes of 64 bits
//! would be below any share.

use std::fs;

use super::{Job, Proxy, free_address};
use crate::workload::Traffic;

pub(super) fn start(job: &Job) -> Result<Proxy, String> {
    let listen = free_address();
    let path = job.dir("haproxy").join("haproxy.cfg");
    let proto = if job.traffic() == Traffic::Grpc { " proto h2" } else { "" };
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode http\n  timeout client 1h\n  timeout server 1h\n  \
         timeout connect 2s\n  http-reuse always\nfrontend f\n  bind {listen}{tls}{proto}\n  \
         http-request set-var(txn.bucket) req.cook(uid),xxh32,mod(100)\n  \
         http-request set-header X-Feature-A true\n  http-request set-header X-Forwarded-For %[src]\n  \
         use_backend green if {{ var(txn.bucket) -m int lt 10 }}\n  default_backend blue\n\
         backend blue\n  http-request set-header X-Track blue\n  server s {stable}{proto}\n\
         backend green\n  http-request set-header X-Track green\n  server s {canary}{proto}\n",
        tls = tls(job),
        stable = job.stable,
        canary = job.canary,
    );
    fs::write(&path, text).unwrap();
    Proxy::start(listen, "haproxy", &["-f"], &path)
}

fn tls(job: &Job) -> String {
    let alpn = match job.traffic() {
        Traffic::Tls => "http/1.1",
        Traffic::Http2 => "h2,http/1.1",
        _ => return String::new(),
    };
    format!(" ssl crt {} alpn {alpn} ssl-min-ver TLSv1.3", job.certificate.both.display())
}
