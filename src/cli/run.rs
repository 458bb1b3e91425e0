//! `run` and `check`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::CliError;
use super::manager;
use super::output::{error_text, line};
use crate::config::{self, Config, DrainTimes, Problem, Warnings, Watch};
use crate::control::flag_warnings;
use crate::handover::{Early, Heir, activated};
use crate::log;
use crate::server::Server;
use crate::store::{FlagFile, StateFile};
use rustix::process::Resource;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(file: &Path) -> Result<(), CliError> {
    // Before anything else: a signal that comes early waits, an edit from here on is seen.
    let runtime = runtime()?;
    let mut watching = {
        let _in_runtime = runtime.enter();
        Watching::new(file)?
    };
    let config = config::load(file)?;
    watching.file.names(&config.files);
    log::begin(config.log);
    warn(&config);
    raise_descriptors(&config);
    let heir = Heir::of_this_process().map_err(taking_over)?;
    let inheritance = match &heir {
        Some(heir) => heir.take().map_err(taking_over)?,
        None => activated(&config)?,
    };
    let server = Server::start(config, inheritance)?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    tracing::info!(address = %server.admin(), "admin API and dashboard");
    if let Some(address) = server.ofrep() {
        tracing::info!(%address, "flags for apps (OFREP)");
    }
    if let Some(address) = server.health() {
        tracing::info!(%address, "health and metrics");
    }
    match heir {
        Some(heir) => {
            match heir.serves() {
                Ok(()) => tracing::info!("took over from the process before"),
                // One that goes on would have ended this process.
                Err(error) => tracing::warn!(%error, "the process before has ended already"),
            }
        }
        // The process before says it in the other's stead.
        None => manager::ready(),
    }
    runtime.block_on(supervise(&server, file, watching));
    Ok(())
}

fn taking_over(source: std::io::Error) -> CliError {
    CliError::System { doing: "cannot take over from the process before", source }
}

/// As many descriptors as the system allows: a connection takes two, its own and an app server's.
fn raise_descriptors(config: &Config) {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of descriptors cannot be raised");
    }
    let allowed = rustix::process::getrlimit(Resource::Nofile).current;
    let wanted = config.limits.connections as u64 * 2;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        tracing::warn!(allowed, wanted, "limits.connections may need more descriptors than this process may have");
    }
}

pub(super) fn check(file: &Path) -> Result<(), CliError> {
    let config = config::load(file)?;
    if !config.warnings.is_empty() {
        error_text(&Warnings { file: &config.file, problems: &config.warnings }.to_string());
    }
    let flag_file = config.state_directory.join(StateFile::Flags.name());
    let flags = std::fs::read(&flag_file).ok().map(|bytes| serde_json::from_slice::<FlagFile>(&bytes));
    match flags {
        Some(Ok(flags)) => {
            let flag_file = flag_file.display();
            flag_warnings(&config, &flags).iter().for_each(|text| error_text(&format!("{flag_file}: warning: {text}")));
        }
        Some(Err(error)) => {
            let detail = format!("{}: {error}", flag_file.display());
            return Err(CliError::refused(detail));
        }
        None => {}
    }
    let services = config.services.len();
    let word = if services == 1 { "service" } else { "services" };
    line(&format!("{}: fine, {services} {word}", file.display()));
    Ok(())
}

/// What is strange about a configuration that is taken up.
fn warn(config: &Config) {
    for Problem { at, message, hint } in &config.warnings {
        let hint = hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        tracing::warn!("{}:{}:{}: {message}{hint}", config.file.display(), at.line, at.column);
    }
}

/// Serves until it is told to end: a changed file and SIGHUP bring another configuration,
/// SIGUSR2 brings the program that stands at this one's place by now, SIGTERM ends in peace,
/// SIGINT without the delay, as a person waits; a second one ends at once.
async fn supervise(server: &Server, file: &Path, mut watching: Watching) {
    let mut looks = tokio::time::interval(LOOK);
    let end = loop {
        let reload = tokio::select! {
            end = watching.signals.end() => break end,
            _ = watching.hangup.recv() => {
                let there = watching.file.was_read();
                if !there {
                    tracing::error!(file = %file.display(), "there is no such file: the configuration stays as it was");
                    server.reloaded(false);
                }
                there
            }
            _ = watching.upgrade.recv() => match hand_over(server, &mut watching.signals).await {
                Some(end) => break end,
                None => continue,
            },
            _ = looks.tick() => watching.file.has_changed(),
        };
        if reload {
            manager::reloading();
            let named = reload_from(server, file).await;
            server.reloaded(named.is_some());
            if let Some(named) = named {
                watching.file.names(&named);
            }
            manager::ready();
        }
    };
    let drain = server.control().snapshot().config.drain;
    let drain = match end {
        End::Terminate => drain,
        // A person waits, or nobody new comes.
        End::Interrupt | End::HandedOver => DrainTimes { delay: Duration::ZERO, ..drain },
    };
    let signals = &mut watching.signals;
    let at_once = async {
        if matches!(end, End::HandedOver) {
            // It drains already; who ends the service means the next process as well.
            signals.end().await;
        }
        signals.end().await
    };
    if !matches!(end, End::HandedOver) {
        manager::stopping();
    }
    tokio::select! {
        () = server.drain(drain) => {}
        _ = at_once => tracing::warn!("ending at once"),
    }
}

/// What a running Serin listens to, beside its clients.
struct Watching {
    signals: Signals,
    hangup: Signal,
    upgrade: Signal,
    file: Watch,
}

impl Watching {
    fn new(file: &Path) -> Result<Self, CliError> {
        Ok(Self {
            signals: Signals::new()?,
            hangup: signal(SignalKind::hangup()).map_err(failed)?,
            upgrade: signal(SignalKind::user_defined2()).map_err(failed)?,
            file: Watch::new(file, &[]),
        })
    }
}

/// Hands over to the program that stands at this one's place by now; how this process ends,
/// where it does. Who ends the service meanwhile means both: a next process that is not
/// ready is called off, one that serves is told.
async fn hand_over(server: &Server, signals: &mut Signals) -> Option<End> {
    tracing::info!("handing over to the next process");
    let early = Arc::new(Early::default());
    let mut handing = std::pin::pin!(server.hand_over(&early));
    let mut asked_to_end = None;
    let handed = loop {
        tokio::select! {
            handed = &mut handing => break handed,
            end = signals.end(), if asked_to_end.is_none() => {
                early.call_off();
                asked_to_end = Some(end);
            }
        }
    };
    match handed {
        Ok(process) => {
            tracing::info!(process, "the next process serves: this one ends");
            manager::is_another(process);
            let next = i32::try_from(process).ok().and_then(rustix::process::Pid::from_raw);
            if let (Some(_), Some(next)) = (asked_to_end, next) {
                let _ = rustix::process::kill_process(next, rustix::process::Signal::TERM);
            }
            Some(End::HandedOver)
        }
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "this process goes on");
            asked_to_end
        }
    }
}

/// Reads the file again; where it is in force, the files that it names.
async fn reload_from(server: &Server, file: &Path) -> Option<Vec<PathBuf>> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("the configuration stays as it was, the file is wrong:\n{error}");
            return None;
        }
    };
    warn(&config);
    let named = config.files.clone();
    match server.reload(config).await {
        Ok(()) => {
            tracing::info!(file = %file.display(), "another configuration is in force");
            Some(named)
        }
        Err(error) => {
            tracing::error!(%error, "the configuration stays as it was");
            None
        }
    }
}

/// Waits until the process is told to end.
pub(crate) fn wait_for_the_end() -> Result<(), CliError> {
    runtime()?.block_on(async {
        Signals::new()?.end().await;
        Ok(())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)
}

fn failed(source: std::io::Error) -> CliError {
    CliError::System { doing: "cannot wait for signals", source }
}

/// What tells the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

enum End {
    Terminate,
    Interrupt,
    HandedOver,
}

impl Signals {
    fn new() -> Result<Self, CliError> {
        let signal = |kind| signal(kind).map_err(failed);
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn end(&mut self) -> End {
        tokio::select! {
            _ = self.terminate.recv() => End::Terminate,
            _ = self.interrupt.recv() => End::Interrupt,
        }
    }
}
