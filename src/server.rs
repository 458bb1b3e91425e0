//! Serin assembled: configuration in, a running proxy out.
//!
//! Owns: the order of starting. State is loaded before anything listens, control
//! publishes its first snapshot before a worker takes one, and the addresses are
//! known before the first request can come.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::admin::{Admin, router};
use crate::config::Config;
use crate::control::{Control, Controller, Setup};
use crate::proxy::{CookieKey, Proxy, ProxyError, Shared};
use crate::store::{DeployState, FlagFile, Folder, Loaded, StateFile, StoreError, Writer};
use crate::telemetry::ProcessStats;

const KEY_FILE: &str = "serin-id.key";

/// Why Serin does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state cannot be read.
    #[error("the state cannot be read")]
    State(#[from] StoreError),
    /// A listener or worker.
    #[error("the proxy cannot start")]
    Proxy(#[from] ProxyError),
    /// The admin API.
    #[error("the admin API cannot listen on {address}")]
    Admin {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A thread.
    #[error("a thread cannot start")]
    Thread(#[source] std::io::Error),
}

/// A running Serin. Dropped, its control plane and admin API end; workers end with the process.
pub struct Server {
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    control: Control,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// An address in use, or state that cannot be read.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let workers = config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let config = Arc::new(config);
        let folder = Folder::open(&config.state_directory)?;
        let key = CookieKey::new(folder.secret(KEY_FILE)?);
        let flags: Option<FlagFile> = good(folder.load(StateFile::Flags.name())?);
        let deployments: Option<DeployState> = good(folder.load(StateFile::Deployments.name())?);
        let writer = Writer::start(folder).map_err(StartError::Thread)?;
        let process = Arc::new(ProcessStats::default());
        let controller = Controller::new(Setup {
            config: Arc::clone(&config),
            workers,
            variables: variables(&config.flags.environment_prefix),
            flags: flags.unwrap_or_default(),
            deployments,
            writer: writer.clone(),
        });
        let shared = Shared { snapshot: controller.snapshot(), stats: Arc::clone(&process), key };
        let proxy = Proxy::bind(&config, workers, shared)?;
        let addresses = proxy.addresses().to_vec();
        let control_plane = ControlPlane { controller, process, writer, address: config.admin };
        let (control, admin, stop, thread) = control_plane.start()?;
        proxy.start()?;
        Ok(Self { addresses, admin, control, stop: Some(stop), thread: Some(thread) })
    }

    /// Where clients connect, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The control plane.
    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn good<T>(loaded: Loaded<T>) -> Option<T> {
    match loaded {
        Loaded::Good(value) => Some(value),
        Loaded::Recovered(before) => before,
        Loaded::Missing => None,
    }
}

/// The variables that may force flags.
fn variables(prefix: &str) -> HashMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).filter(|(name, _)| name.starts_with(prefix)).collect()
}

/// Control and the admin API, on a thread and runtime of their own.
struct ControlPlane {
    controller: Controller,
    process: Arc<ProcessStats>,
    writer: Writer,
    address: SocketAddr,
}

type Running = (Control, SocketAddr, oneshot::Sender<()>, thread::JoinHandle<()>);

impl ControlPlane {
    fn start(self) -> Result<Running, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let address = self.address;
        let failed = move |source| StartError::Admin { address, source };
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
        let admin = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let run = move || {
            runtime.block_on(async move {
                let control = Control::start(self.controller);
                let api = Admin { control: control.clone(), process: self.process, writer: self.writer };
                let _ = tell.send(control);
                let serve = axum::serve(listener, router(api));
                tokio::select! {
                    result = serve => if let Err(error) = result {
                        tracing::error!(%error, "the admin API has ended");
                    },
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("serin-control".into()).spawn(run).map_err(StartError::Thread)?;
        let control = told.recv().map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
        Ok((control, admin, stop, thread))
    }
}
