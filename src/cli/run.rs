//! `run` and `check`.

use std::path::Path;
use std::time::Duration;

use super::CliError;
use super::output::{error_text, line};
use crate::config::{self, Config, DrainTimes, Problem, Warnings, Watch};
use crate::control::flag_warnings;
use crate::log;
use crate::server::Server;
use crate::store::{FlagFile, StateFile};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(file: &Path) -> Result<(), CliError> {
    let config = config::load(file)?;
    log::begin(config.log);
    warn(&config);
    let server = Server::start(config)?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    tracing::info!(address = %server.admin(), "admin API");
    if let Some(address) = server.health() {
        tracing::info!(%address, "health and metrics");
    }
    supervise(&server, file)
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
/// SIGTERM ends in peace, SIGINT without the delay, as a person waits; a second one ends
/// at once.
fn supervise(server: &Server, file: &Path) -> Result<(), CliError> {
    runtime()?.block_on(async {
        let (mut signals, mut watch) = (Signals::new()?, Watch::new(file));
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let mut looks = tokio::time::interval(LOOK);
        let end = loop {
            let reload = tokio::select! {
                end = signals.end() => break end,
                _ = hangup.recv() => {
                    watch.was_read();
                    true
                }
                _ = looks.tick() => watch.has_changed(),
            };
            if reload {
                let good = reload_from(server, file).await;
                server.reloaded(good);
            }
        };
        let drain = server.control().snapshot().config.drain;
        let drain = match end {
            End::Terminate => drain,
            End::Interrupt => DrainTimes { delay: Duration::ZERO, ..drain },
        };
        tokio::select! {
            () = server.drain(drain) => {}
            _ = signals.end() => tracing::warn!("ending at once"),
        }
        Ok(())
    })
}

/// Reads the file again; whether it is in force.
async fn reload_from(server: &Server, file: &Path) -> bool {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("the configuration stays as it was, the file is wrong:\n{error}");
            return false;
        }
    };
    warn(&config);
    match server.reload(config).await {
        Ok(()) => {
            tracing::info!(file = %file.display(), "another configuration is in force");
            true
        }
        Err(error) => {
            tracing::error!(%error, "the configuration stays as it was");
            false
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
