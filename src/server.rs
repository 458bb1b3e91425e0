//! Serin assembled: configuration in, a running proxy out.
//!
//! Owns: the order of starting. State is loaded before anything listens, control
//! publishes its first snapshot before a worker takes one, and the addresses are
//! known before the first request can come.

use std::collections::HashMap;
use std::fs::File;
use std::future::IntoFuture;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::access_log::AccessLogWriter;
use crate::admin::{Admin, Door, Gates, TlsOfNow, health_router, router};
use crate::clock;
use crate::config::{Config, DrainTimes};
use crate::control::{Checkpoint, Control, ControlError, Controller, Setup, flag_warnings};
use crate::drain::Drain;
use crate::handover::{Early, HandoverError, Inheritance, Successor};
use crate::log;
use crate::ofrep::{PublicState, public_router};
use crate::proxy::{CookieKey, Proxy, ProxyError, Shared, Workers};
use crate::store::{DeployState, FlagFile, Folder, Loaded, StateFile, StoreError, Writer};
use crate::telemetry::{Loads, ProcessStats};

const KEY_FILE: &str = "serin-id.key";
/// How often it is looked whether all connections have ended.
const LOOK: Duration = Duration::from_millis(20);
/// A reader of the access log that does not read holds nobody up for longer.
const FLUSH: Duration = Duration::from_secs(1);

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

/// Why another configuration is not taken up: the one before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Something in use is missing.
    #[error(transparent)]
    InUse(#[from] ControlError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ProxyError),
}

/// A running Serin. Dropped, its control plane and admin API end; workers end with the process.
pub struct Server {
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
    health: Option<SocketAddr>,
    ofrep: Option<SocketAddr>,
    control: Control,
    process: Arc<ProcessStats>,
    drain: Arc<Drain>,
    gates: Arc<Gates>,
    workers: Workers,
    access_log: AccessLogWriter,
    /// The lock of the state's folder.
    lock: File,
    doors: Doors,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The sockets of the admin API and of probes, and whether somebody is let in there.
struct Doors {
    open: watch::Sender<bool>,
    admin: (SocketAddr, StdListener),
    health: Option<(SocketAddr, StdListener)>,
    ofrep: Option<(SocketAddr, StdListener)>,
}

impl Server {
    /// Starts it, on what another process hands over where it does.
    ///
    /// # Errors
    /// An address in use, or state that cannot be read.
    pub fn start(config: Config, inheritance: Inheritance) -> Result<Self, StartError> {
        let Inheritance { mut listeners, admin: admin_socket, health: health_socket, ofrep: ofrep_socket, lock } =
            inheritance;
        let workers = config.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let config = Arc::new(config);
        let folder = match lock {
            Some(lock) => Folder::inherit(&config.state_directory, lock)?,
            None => Folder::open(&config.state_directory)?,
        };
        let lock = folder.lock().map_err(StartError::Thread)?;
        let key = CookieKey::new(folder.secret(KEY_FILE)?);
        let mut recovered = 0;
        let flags: Option<FlagFile> = good(folder.load(StateFile::Flags.name())?, &mut recovered);
        let deployments: Option<DeployState> = good(folder.load(StateFile::Deployments.name())?, &mut recovered);
        let checkpoint: Option<Checkpoint> = good(folder.load(StateFile::Checkpoint.name())?, &mut recovered);
        flags.iter().flat_map(|flags| flag_warnings(&config, flags)).for_each(|text| tracing::warn!("{text}"));
        let writer = Writer::start(folder).map_err(StartError::Thread)?;
        let process = Arc::new(ProcessStats::default());
        let controller = Controller::new(Setup {
            config: Arc::clone(&config),
            workers,
            variables: variables(&config.flags.environment_prefix),
            flags,
            deployments,
            checkpoint: checkpoint.unwrap_or_default(),
            writer: writer.clone(),
        });
        let drain = Arc::new(Drain::default());
        let loads = Arc::new(Loads::new(workers));
        let access_log = AccessLogWriter::start().map_err(StartError::Thread)?;
        let shared = Shared {
            snapshot: controller.snapshot(),
            stats: Arc::clone(&process),
            key,
            drain: Arc::clone(&drain),
            access_log: access_log.clone(),
            loads: Arc::clone(&loads),
            descriptors: descriptors_left(),
        };
        let proxy = Proxy::bind(&config, workers, shared, &mut listeners)?;
        let addresses = proxy.addresses().to_vec();
        let control_plane = ControlPlane {
            controller,
            process: Arc::clone(&process),
            writer,
            recovered,
            key,
            config: Arc::clone(&config),
            drain: Arc::clone(&drain),
            access_log: access_log.clone(),
            loads,
        };
        let (open, is_open) = watch::channel(true);
        let doors = Doors {
            open,
            admin: door(config.admin.address, admin_socket)?,
            health: config.health.map(|address| door(address, health_socket)).transpose()?,
            ofrep: config.ofrep.as_ref().map(|ofrep| door(ofrep.address, ofrep_socket)).transpose()?,
        };
        let local = |(address, socket): &(SocketAddr, StdListener)| socket.local_addr().unwrap_or(*address);
        let (admin, health) = (local(&doors.admin), doors.health.as_ref().map(local));
        let ofrep = doors.ofrep.as_ref().map(local);
        let Running { control, gates, stop, thread } = control_plane.start(&doors, is_open)?;
        let (workers, stop, thread) = (proxy.start()?, Some(stop), Some(thread));
        Ok(Self {
            addresses,
            admin,
            health,
            ofrep,
            control,
            process,
            drain,
            gates,
            workers,
            access_log,
            lock,
            doors,
            stop,
            thread,
        })
    }

    /// Where clients connect, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin API listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where probes and scrapes ask without a token, where that is configured.
    pub fn health(&self) -> Option<SocketAddr> {
        self.health
    }

    /// Where apps on their users' devices ask for flags, where that is configured.
    pub fn ofrep(&self) -> Option<SocketAddr> {
        self.ofrep
    }

    /// Takes up another configuration as a whole, or not at all: new requests see it, no
    /// connection is dropped. What cannot change while running stays and is named in the log.
    ///
    /// # Errors
    /// A pool in use that it lacks, or an address that cannot be listened on.
    pub async fn reload(&self, mut config: Config) -> Result<(), ReloadError> {
        let before = Arc::clone(&self.control.snapshot().config);
        for kept in keep_what_cannot_change(&mut config, &before) {
            tracing::warn!("{kept} cannot change while running: it stays as it is until the next start");
        }
        let config = Arc::new(config);
        let new = self.workers.bind_new(&before.listeners, &config.listeners)?;
        let (taken, variables) = (Arc::clone(&config), variables(&config.flags.environment_prefix));
        self.control.ask(move |control| control.reconfigure(taken, variables)).await?;
        self.workers.change(&before.listeners, &config.listeners, new);
        self.gates.renew(&config.admin);
        if config.log.level != before.log.level {
            log::change(config.log.level);
        }
        Ok(())
    }

    /// Notes what became of a reload, for metrics.
    pub fn reloaded(&self, good: bool) {
        self.process.config_reloaded(good);
    }

    /// Hands over to the next process: it has everything and serves once this is answered,
    /// and this process is to drain. The value is its id.
    ///
    /// # Errors
    /// Where the next one does not start or serve: then this one goes on as before.
    pub async fn hand_over(&self, early: &Arc<Early>) -> Result<u32, HandoverError> {
        let failed = |error: tokio::task::JoinError| HandoverError::NotServing(io::Error::other(error));
        let early = Arc::clone(early);
        let start = move || Successor::start(&early);
        let successor = tokio::task::spawn_blocking(start).await.map_err(failed)??;
        // Who comes to the admin API from now on waits for the next process.
        self.doors.open.send_replace(false);
        let handed = async {
            let resting = self.control.rest().await.map_err(|_| HandoverError::State)?;
            let inheritance = self.inheritance().map_err(HandoverError::NotServing)?;
            let hand_over = move || successor.hand_over(&inheritance);
            let next = tokio::task::spawn_blocking(hand_over).await.map_err(failed)??;
            resting.for_good();
            Ok(next)
        };
        let handed = handed.await;
        if handed.is_err() {
            self.doors.open.send_replace(true);
        }
        handed
    }

    fn inheritance(&self) -> io::Result<Inheritance> {
        let duplicate =
            |(address, socket): &(SocketAddr, StdListener)| Ok::<_, io::Error>((*address, socket.try_clone()?));
        Ok(Inheritance {
            listeners: self.workers.duplicates()?.into(),
            admin: Some(duplicate(&self.doors.admin)?),
            health: self.doors.health.as_ref().map(duplicate).transpose()?,
            ofrep: self.doors.ofrep.as_ref().map(duplicate).transpose()?,
            lock: Some(self.lock.try_clone()?),
        })
    }

    /// Ends in peace: probes fail and answers close their connections, accepting goes on
    /// for a while, then connections may come to their end. Dropped early it ends at once.
    pub async fn drain(&self, times: DrainTimes) {
        self.drain.begin();
        tracing::info!(open = self.process.open(), "ending: answers close their connections");
        tokio::time::sleep(times.delay).await;
        self.workers.release();
        self.drain.stop_accepting();
        // Workers let in who waits before they look at anything else.
        tokio::time::sleep(LOOK).await;
        let end = clock::now() + times.timeout;
        while self.process.open() > 0 && clock::now() < end {
            tokio::time::sleep(LOOK).await;
        }
        match self.process.open() {
            0 => tracing::info!("all connections have ended"),
            open => tracing::warn!(open, "connections are cut: they lived past drain.timeout"),
        }
        self.control.settle().await;
        // Their last lines are handed over with that.
        self.workers.end();
        let end = clock::now() + FLUSH;
        while !self.workers.have_ended() && clock::now() < end {
            tokio::time::sleep(LOOK).await;
        }
        self.access_log.flush(FLUSH);
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

/// Whether two configurations differ in a key.
type Differ = fn(&Config, &Config) -> bool;

/// What is made once, at the start.
const MADE_ONCE: [(&str, Differ); 6] = [
    ("workers", |one, other| one.workers != other.workers),
    ("admin.address", |one, other| one.admin.address != other.admin.address),
    ("health.address", |one, other| one.health != other.health),
    ("ofrep.address", |one, other| {
        one.ofrep.as_ref().map(|ofrep| ofrep.address) != other.ofrep.as_ref().map(|ofrep| ofrep.address)
    }),
    ("log.format", |one, other| one.log.format != other.log.format),
    ("state.directory", |one, other| one.state_directory != other.state_directory),
];

/// Keys that a reload does not take: they wait for the next start.
pub fn keys_of_the_start() -> [&'static str; MADE_ONCE.len()] {
    MADE_ONCE.map(|(key, _)| key)
}

/// What is made once stays as it is: another wish is named and waits.
fn keep_what_cannot_change(config: &mut Config, before: &Config) -> Vec<&'static str> {
    let kept = MADE_ONCE.iter().filter(|(_, differ)| differ(config, before)).map(|(key, _)| *key).collect();
    (config.workers, config.admin.address, config.health) = (before.workers, before.admin.address, before.health);
    match (&mut config.ofrep, &before.ofrep) {
        (Some(ofrep), Some(before)) => ofrep.address = before.address,
        (ofrep, before) => ofrep.clone_from(before),
    }
    config.log.format = before.log.format;
    config.state_directory.clone_from(&before.state_directory);
    kept
}

fn good<T>(loaded: Loaded<T>, recovered: &mut u64) -> Option<T> {
    match loaded {
        Loaded::Good(value) => Some(value),
        Loaded::Recovered(before) => {
            *recovered += 1;
            before
        }
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
    recovered: u64,
    key: CookieKey,
    config: Arc<Config>,
    drain: Arc<Drain>,
    access_log: AccessLogWriter,
    loads: Arc<Loads>,
}

struct Running {
    control: Control,
    gates: Arc<Gates>,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl ControlPlane {
    fn start(self, doors: &Doors, is_open: watch::Receiver<bool>) -> Result<Running, StartError> {
        let Self { controller, process, writer, recovered, key, config, drain, access_log, loads } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        if config.admin.tokens.is_empty() {
            tracing::info!("no admin.tokens: whoever is on this machine may change everything");
        }
        let gates = Arc::new(Gates::new(&config.admin));
        let own_gates = Arc::clone(&gates);
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let duplicate = |(_, socket): &(SocketAddr, StdListener)| socket.try_clone().map_err(StartError::Thread);
        let admin = duplicate(&doors.admin)?;
        let health = doors.health.as_ref().map(duplicate).transpose()?;
        let ofrep = doors.ofrep.as_ref().map(duplicate).transpose()?;
        let run = move || {
            runtime.block_on(async move {
                let control = Control::start(controller);
                let api = Admin { control: control.clone(), process, writer, recovered, drain, access_log, loads };
                let _ = tell.send(control);
                if let Some(health) = health {
                    tokio::spawn(serve_while_open(health, is_open.clone(), health_router(api.clone()), no_tls()));
                }
                if let Some(ofrep) = ofrep {
                    let known = api.control.clone();
                    let tls: TlsOfNow = Arc::new(move || known.snapshot().config.ofrep.as_ref()?.tls.clone());
                    let public = public_router(PublicState::new(api.control.clone(), key));
                    tokio::spawn(serve_while_open(ofrep, is_open.clone(), public, tls));
                }
                let routes = router(api, &own_gates);
                tokio::select! {
                    () = serve_while_open(admin, is_open, routes, Arc::new(move || own_gates.tls())) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = thread::Builder::new().name("serin-control".into()).spawn(run).map_err(StartError::Thread)?;
        let control = told.recv().map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
        Ok(Running { control, gates, stop, thread })
    }
}

fn no_tls() -> TlsOfNow {
    Arc::new(|| None)
}

/// How many descriptors this process may have beside those it has and a few for files.
fn descriptors_left() -> Option<u64> {
    const FOR_FILES: u64 = 16;
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    Some(allowed.saturating_sub(open + FOR_FILES))
}

/// A socket for an address: the one that was handed over for it, or a new one.
fn door(
    address: SocketAddr,
    given: Option<(SocketAddr, StdListener)>,
) -> Result<(SocketAddr, StdListener), StartError> {
    let failed = |source| StartError::Admin { address, source };
    let socket = match given {
        Some((known, socket)) if known == address => socket,
        _ => StdListener::bind(address).map_err(failed)?,
    };
    socket.set_nonblocking(true).map_err(failed)?;
    Ok((address, socket))
}

/// Serves a socket while its door is open: who comes to a closed one waits for whoever has
/// the socket, too, or until it opens again.
async fn serve_while_open(socket: StdListener, mut is_open: watch::Receiver<bool>, router: Router, tls: TlsOfNow) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    while is_open.wait_for(|open| *open).await.is_ok() {
        let listener = match socket.try_clone().and_then(TcpListener::from_std) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the admin API has ended"),
        };
        let (close, closed) = oneshot::channel::<()>();
        let closed = async move { drop(closed.await) };
        // What is under way goes on beside whatever is served next.
        let door = Door::new(listener, Arc::clone(&tls)).tap_io(|_| {});
        tokio::spawn(axum::serve(door, service.clone()).with_graceful_shutdown(closed).into_future());
        if is_open.wait_for(|open| !*open).await.is_err() {
            return;
        }
        drop(close);
    }
}
