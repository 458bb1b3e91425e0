//! Words for people: the command line.
//!
//! Owns: commands, their output, exit codes. Touches: the admin API for all but
//! `run`, `demo` and `check`, which work without a running Serin.
//! Exit codes: 0 fine, 1 wrong, 2 usage.

mod client;
mod commands;
pub(crate) mod output;
pub(crate) mod run;

use std::process::ExitCode;

use clap::Parser;

use commands::{Cli, Command};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// Serin does not start.
    #[error(transparent)]
    Start(#[from] crate::server::StartError),
    /// The admin API cannot be reached.
    #[error("cannot reach Serin's admin API at {address}: is it running? (serin run, or --admin for another address)")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The admin API says no.
    #[error("{detail}")]
    Refused {
        /// Why.
        detail: String,
    },
    /// What was said makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Something of the system's.
    #[error("{doing}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let api = client::Api::new(cli.admin, cli.output);
    let result = match cli.command {
        Command::Run { config } => run::run(&config),
        Command::Check { config } => run::check(&config),
        Command::Demo(options) => crate::demo::run(&options),
        Command::Version => {
            output::line(&format!("serin {}", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Command::Status { service } => api.status(service.as_deref()),
        Command::Deploy { service, command } => api.deploy(service.as_deref(), command),
        Command::Flags { command } => api.flags(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::error(&error);
            ExitCode::from(if matches!(error, CliError::Usage(_)) { 2 } else { 1 })
        }
    }
}
