//! Words for people: the command line.
//!
//! Owns: commands, their output, exit codes. Touches: the admin API for all but
//! `run`, `demo` and `check`, which work without a running Serin.
//! Exit codes: 0 fine, 1 wrong, 2 usage, 3 rolled back, 4 timeout.

mod client;
mod commands;
mod deploy;
mod flags;
mod log;
mod manager;
pub(crate) mod output;
mod plan;
mod rehearse;
pub(crate) mod run;
mod screen;
mod simulate;
mod status;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

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
    /// What another process hands over is not what the configuration wants.
    #[error(transparent)]
    Activation(#[from] crate::handover::ActivationError),
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
        /// What to do next; empty where nobody knows.
        next: String,
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

impl CliError {
    /// A refusal where nobody knows what to do next.
    pub(crate) fn refused(detail: String) -> Self {
        Self::Refused { detail, next: String::new() }
    }
}

/// All commands with their options, as the parser has them.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match run_command(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            if let CliError::Refused { next, .. } = &error
                && !next.is_empty()
            {
                output::hint(next);
            }
            ExitCode::from(if matches!(error, CliError::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn run_command(cli: Cli) -> Result<ExitCode, CliError> {
    let Cli { admin, admin_ca, token, output, command } = cli;
    let api = || client::Api::new(admin, admin_ca, token, output);
    match command {
        Command::Run { config } => run::run(&config)?,
        Command::Check { config } => run::check(&config)?,
        Command::Ready => drop(api()?.get("/readyz")?),
        Command::Schema => {
            output::line(&serde_json::to_string_pretty(&crate::config::schema()).unwrap_or_default());
        }
        Command::Log { level } => log::run(&api()?, level.as_deref())?,
        Command::Demo(options) => crate::demo::run(&options)?,
        Command::Version => output::line(&format!("serin {}", env!("CARGO_PKG_VERSION"))),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "serin", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end());
        }
        Command::Status { service, watch } => status::run(&api()?, service.as_deref(), watch)?,
        Command::Explain { user, session, group, url } => status::explain(&api()?, [&user, &session, &group, &url])?,
        Command::Plan(options) => plan::run(&options, output, api)?,
        Command::Simulate(options) => simulate::run(&options, output)?,
        Command::Events => status::events(&api()?)?,
        Command::Deploy { service, command } => return deploy::run(&api()?, service.as_deref(), *command),
        Command::Flags { command } => flags::run(&api()?, command)?,
    }
    Ok(ExitCode::SUCCESS)
}
