//! `run` and `check`.

use std::io::IsTerminal;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::CliError;
use super::output::line;
use crate::config;
use crate::server::Server;

pub(super) fn run(file: &Path) -> Result<(), CliError> {
    log_to_stderr();
    let config = config::load(file)?;
    let server = Server::start(config)?;
    for address in server.addresses() {
        tracing::info!(%address, "listening");
    }
    tracing::info!(address = %server.admin(), "admin API");
    if let Some(address) = server.health() {
        tracing::info!(%address, "health and metrics");
    }
    wait_for_the_end()?;
    tracing::info!("ending");
    Ok(())
}

pub(super) fn check(file: &Path) -> Result<(), CliError> {
    let config = config::load(file)?;
    let services = config.services.len();
    let word = if services == 1 { "service" } else { "services" };
    line(&format!("{}: fine, {services} {word}", file.display()));
    Ok(())
}

/// Errors and events; `SERIN_LOG=debug` says more.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("SERIN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
}

pub(crate) fn wait_for_the_end() -> Result<(), CliError> {
    let failed = |source| CliError::System { doing: "cannot wait for signals", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}
