//! The proxies under test: each starts on the proxies' core with the same job.

mod haproxy;
mod nginx;
mod process;
mod serin;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use process::Proxy;

use crate::certificate::Certificate;
use crate::workload::{Traffic, Workload};

/// The name of the one that the others are compared to.
pub(crate) const MEASURE: &str = "nginx";

/// What every proxy is asked to do: pass a workload on, 10 % of the users to `canary`.
pub(crate) struct Job {
    pub(crate) workload: &'static Workload,
    pub(crate) stable: SocketAddr,
    pub(crate) canary: SocketAddr,
    pub(crate) certificate: Arc<Certificate>,
    /// A directory of its own for each proxy is made here.
    pub(crate) dir: PathBuf,
}

/// Each one by its name, running or with the reason why it is not.
pub(crate) fn start(job: &Job) -> Vec<(&'static str, Result<Proxy, String>)> {
    let ten = "nginx, ten fields";
    vec![
        (MEASURE, nginx::start(job, MEASURE, &nginx::THREE)),
        ("serin", serin::start(job)),
        (ten, nginx::start(job, ten, &nginx::TEN)),
        ("haproxy", haproxy::start(job)),
    ]
}

impl Job {
    fn traffic(&self) -> Traffic {
        self.workload.traffic
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(name.replace([' ', ','], "-"));
        fs::create_dir_all(&dir).unwrap();
        dir
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
