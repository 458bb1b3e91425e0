//! The commands and their options: one definition for parser and help.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::demo::DemoOptions;

/// A reverse proxy for progressive delivery.
#[derive(Debug, Parser)]
#[command(name = "serin", version, about, disable_help_subcommand = true)]
pub(super) struct Cli {
    /// Where the admin API is
    #[arg(long, global = true, env = "SERIN_ADMIN", default_value = "http://127.0.0.1:9900")]
    pub(super) admin: String,
    /// How answers are printed
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// As the API has it
    Json,
    /// The same as YAML
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the proxy
    Run {
        /// The configuration file
        #[arg(long, default_value = "serin.yaml")]
        config: PathBuf,
    },
    /// Check a configuration without starting anything
    Check {
        /// The configuration file
        #[arg(long, default_value = "serin.yaml")]
        config: PathBuf,
    },
    /// A good and a bad rollout with sample apps, in one process
    Demo(DemoOptions),
    /// What runs where
    Status {
        /// One service
        #[arg(long)]
        service: Option<String>,
    },
    /// Start and steer deployments
    Deploy {
        /// Which service; not needed where there is one
        #[arg(long, global = true)]
        service: Option<String>,
        #[command(subcommand)]
        command: Deploy,
    },
    /// Read and change feature flags
    Flags {
        #[command(subcommand)]
        command: Flags,
    },
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
pub(super) enum Deploy {
    /// Start a deployment of a version
    Start {
        /// What it brings, for example v2.1.0
        version: String,
        /// The pool that runs it; by default the one of two that is not stable
        #[arg(long)]
        pool: Option<String>,
        /// The watch after 100 %, for example 10m
        #[arg(long)]
        bake: Option<String>,
    },
    /// Move everybody to a version at once, without stages
    Instant {
        /// What it brings
        version: String,
        /// The pool that runs it
        #[arg(long)]
        pool: Option<String>,
    },
    /// Go to the next stage now
    Advance,
    /// Stop advancing; users keep their track
    Pause,
    /// Go on after a pause
    Resume,
    /// Complete now
    Promote,
    /// Send everybody back to stable
    Rollback {
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// The last ten that ended
    History,
}

#[derive(Debug, Subcommand)]
pub(super) enum Flags {
    /// All flags
    List,
    /// One flag
    Get {
        /// Its name
        name: String,
    },
    /// Create or replace a flag
    Set {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Switch it off for everybody
        #[arg(long)]
        disabled: bool,
        /// The part of users that have it on, 0 to 100
        #[arg(long, default_value_t = 0.0)]
        rollout: f64,
        /// Rules as JSON: '[{"type": "group", "value": "beta-testers"}]'
        #[arg(long, default_value = "[]")]
        rules: String,
    },
    /// Change the part of users that have it on
    Rollout {
        /// Its name
        name: String,
        /// 0 to 100
        percentage: f64,
    },
    /// Delete a flag
    Delete {
        /// Its name
        name: String,
    },
    /// Is it on for somebody, and why
    Eval {
        /// Its name
        name: String,
        /// The user's id
        #[arg(long)]
        user: Option<String>,
        /// The session's id
        #[arg(long)]
        session: Option<String>,
        /// Groups, comma separated
        #[arg(long)]
        group: Option<String>,
        /// Another environment than the configured one
        #[arg(long)]
        environment: Option<String>,
    },
}
