//! The commands and their options: one definition for parser and help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::demo::DemoOptions;

/// A reverse proxy for progressive delivery.
#[derive(Debug, Parser)]
#[command(name = "serin", version, about)]
#[command(after_help = "Exit codes: 0 fine, 1 wrong, 2 usage; following a deployment: 3 rolled back, 4 timeout.")]
pub(super) struct Cli {
    /// Where the admin API is
    #[arg(long, global = true, env = "SERIN_ADMIN", default_value = "http://127.0.0.1:9900")]
    pub(super) admin: String,
    /// A PEM file with the authority of the admin API's certificate, in place of the system's
    #[arg(long = "admin-ca", global = true, env = "SERIN_ADMIN_CA", value_name = "FILE")]
    pub(super) admin_ca: Option<PathBuf>,
    /// The token for the admin API
    #[arg(long = "token", global = true, env = "SERIN_ADMIN_TOKEN", hide_env_values = true, hide = true)]
    pub(super) token: Option<String>,
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

#[derive(Debug, Args)]
pub(super) struct PlanOptions {
    /// One service
    #[arg(long)]
    pub(super) service: Option<String>,
    /// A configuration file: nothing has to run, traffic is as expected
    #[arg(long, requires = "requests_per_second")]
    pub(super) config: Option<PathBuf>,
    /// Expected requests a second, where the measured ones do not count
    #[arg(long)]
    pub(super) requests_per_second: Option<f64>,
    /// Expected error rate of stable: 0.001 or 0.1%
    #[arg(long, value_parser = fraction)]
    pub(super) error_rate: Option<f64>,
}

#[derive(Debug, Args)]
pub(super) struct SimulateOptions {
    /// A scenario file
    #[arg(required_unless_present_any = ["log", "replay"])]
    pub(super) scenario: Option<PathBuf>,
    /// An access log: the combined format, or JSON lines with time, user, status, latency
    #[arg(long, conflicts_with_all = ["scenario", "replay"])]
    pub(super) log: Option<PathBuf>,
    /// A deployment as the API or `deploy history --output json` has it: its decision once more
    #[arg(long, conflicts_with = "scenario")]
    pub(super) replay: Option<PathBuf>,
    /// The configuration whose deploy section is played with a log
    #[arg(long, requires = "log")]
    pub(super) config: Option<PathBuf>,
    /// Its service
    #[arg(long, requires = "config")]
    pub(super) service: Option<String>,
    /// Errors that the canary has beside those of the log: 0.05 or 5%
    #[arg(long, requires = "log", value_parser = fraction, default_value = "0")]
    pub(super) canary_errors: f64,
    /// The canary's latencies as multiples of the log's
    #[arg(long, requires = "log", default_value_t = 1.0)]
    pub(super) canary_slower: f64,
    /// Other draws than those of seed 1, or of the scenario's
    #[arg(long)]
    pub(super) seed: Option<u64>,
    /// Another budget for false rollbacks in a replay: 0.001 or 0.1%
    #[arg(long, requires = "replay", value_parser = fraction)]
    pub(super) false_rollback: Option<f64>,
    /// Another limit in a replay: 0.05 or 5%
    #[arg(long, requires = "replay", value_parser = fraction)]
    pub(super) max_error_rate: Option<f64>,
    /// Another number of requests before the plain rule looks, in a replay
    #[arg(long, requires = "replay")]
    pub(super) min_requests: Option<u64>,
}

/// `0.05` or `5%`
/// A typing error is not to be everybody.
fn percentage(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(number) if (0.0..=100.0).contains(&number) => Ok(number),
        _ => Err("a percentage is from 0 to 100".to_owned()),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    let (number, of) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 100.0));
    match number.trim().parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&(number / of)) => Ok(number / of),
        _ => Err("a fraction from 0 to 1, or a percentage like 5%".to_owned()),
    }
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
    /// Whether the running Serin serves: for probes, by the exit code
    Ready,
    /// The JSON Schema of configurations, for editors
    Schema,
    /// The level of the running Serin's log; with a level it is changed
    Log {
        /// error, warn, info, debug or trace
        level: Option<String>,
    },
    /// A good and a bad rollout with sample apps, in one process
    Demo(DemoOptions),
    /// What each stage of a deployment can see at the measured or expected traffic
    Plan(PlanOptions),
    /// A rollout in virtual time: a made-up scenario, an access log, or a decision once more
    Simulate(SimulateOptions),
    /// What runs where
    Status {
        /// One service
        #[arg(long)]
        service: Option<String>,
        /// Draw it anew every second
        #[arg(long)]
        watch: bool,
    },
    /// Where a user is and which flags are on, each with its reason
    Explain {
        /// The user's id
        #[arg(long)]
        user: Option<String>,
        /// The session's id
        #[arg(long)]
        session: Option<String>,
        /// Groups, comma separated
        #[arg(long)]
        group: Option<String>,
        /// What is asked for, for example `http://shop.example.com/cart`; not needed with one service
        url: Option<String>,
    },
    /// Changes as they happen
    Events,
    /// A completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Start and steer deployments
    Deploy {
        /// Which service; not needed where there is one
        #[arg(long, global = true)]
        service: Option<String>,
        #[command(subcommand)]
        command: Box<Deploy>,
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
    Start(Box<Start>),
    /// Move everybody to a version at once, without stages
    Instant {
        /// What it brings
        version: String,
        /// The pool that runs it
        #[arg(long)]
        pool: Option<String>,
        /// Start although something speaks against it
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Follow the running deployment to its end: exit code 0 completed, 3 rolled back, 4 timeout
    Wait {
        /// Longest to wait, for example 1h
        #[arg(long)]
        timeout: Option<String>,
    },
    /// Go to the next stage now
    Advance,
    /// Stop advancing; users keep their track
    Pause,
    /// Go on after a pause
    Resume,
    /// Complete now
    Promote {
        /// Although it has failed
        #[arg(long)]
        force: bool,
    },
    /// Send everybody back to stable
    Rollback {
        /// Why, for the record
        #[arg(long)]
        reason: Option<String>,
    },
    /// Back to the version before the last completed one, at once
    Undo {
        /// Although its pool answers another version
        #[arg(long)]
        force: bool,
    },
    /// The last one that was rolled back once more
    Retry,
    /// Back to the old pool, which runs the new version by now
    Return,
    /// Sign an override: who holds it is on that track, also at 0 %
    Override {
        /// Which track
        #[arg(long, value_enum, default_value_t = TrackName::Canary)]
        track: TrackName,
        /// How long it is good
        #[arg(long = "for", default_value = "1h")]
        span: String,
    },
    /// Record an outcome of work that the proxy does not see
    Record {
        /// Its track
        #[arg(long, value_enum)]
        track: TrackName,
        /// It went wrong
        #[arg(long)]
        error: bool,
        /// How long it took, in milliseconds
        #[arg(long)]
        latency: Option<f64>,
        /// Whose it was; without a user only the rate rule hears of it
        #[arg(long)]
        user: Option<String>,
    },
    /// The last ten that ended
    History,
    /// Invent errors beside live outcomes: when would they be found? Nobody is hurt
    Rehearse(Rehearse),
}

/// A rehearsal.
#[derive(Debug, Args)]
pub(super) struct Rehearse {
    /// Canary requests that become errors: 0.05 or 5%; 0 tests that nothing is found
    #[arg(long, value_parser = fraction, required_unless_present_any = ["last", "stop"])]
    pub(super) error_rate: Option<f64>,
    /// How many rollouts at once, each with users drawn anew: 1 to 100
    #[arg(long, default_value_t = 20)]
    pub(super) times: u32,
    /// The longest it lasts
    #[arg(long = "for", default_value = "10m")]
    pub(super) span: String,
    /// Other stages than configured, as JSON
    #[arg(long)]
    pub(super) stages: Option<String>,
    /// What of the guard is other than configured, as JSON
    #[arg(long)]
    pub(super) guard: Option<String>,
    /// Only begin it
    #[arg(long)]
    pub(super) detach: bool,
    /// What the one that runs has found, or the last one
    #[arg(long, conflicts_with = "stop")]
    pub(super) last: bool,
    /// End the one that runs
    #[arg(long)]
    pub(super) stop: bool,
}

/// What a deployment is started with; what is not said comes from the configuration.
#[derive(Clone, Debug, Args)]
pub(super) struct Start {
    /// What it brings, for example v2.1.0
    #[arg(required_unless_present = "aa")]
    pub(super) version: Option<String>,
    /// An A/A test: a release of what is stable already, to see that nothing is found
    #[arg(long)]
    pub(super) aa: bool,
    /// The pool that runs it; by default the one of two that is not stable
    #[arg(long)]
    pub(super) pool: Option<String>,
    /// canary, rolling, blue-green or instant
    #[arg(long)]
    pub(super) strategy: Option<String>,
    /// Stages as JSON: '[{"percentage": 5, "duration": "10m", "minRequests": 50, "maxErrorRate": 0.05}, …]'
    #[arg(long)]
    pub(super) stages: Option<String>,
    /// The step of a rolling one, in percent
    #[arg(long)]
    pub(super) step: Option<f64>,
    /// How long each step lasts, for example 1m
    #[arg(long)]
    pub(super) interval: Option<String>,
    /// The watch after 100 %, for example 10m
    #[arg(long)]
    pub(super) bake: Option<String>,
    /// What of the guard is other than configured, as JSON: '{"latency": "enforce"}'
    #[arg(long)]
    pub(super) guard: Option<String>,
    /// After the start and each stage slow answers do not count for so long, for example 30s
    #[arg(long)]
    pub(super) warmup: Option<String>,
    /// After a verdict: rollback or pause
    #[arg(long)]
    pub(super) on_fail: Option<String>,
    /// Without enough requests: extend, pause or rollback
    #[arg(long)]
    pub(super) on_insufficient: Option<String>,
    /// Longest a stage lasts before it pauses, for example 24h
    #[arg(long)]
    pub(super) max_duration: Option<String>,
    /// End stages as soon as the canary is shown to be good
    #[arg(long)]
    pub(super) promote_early: bool,
    /// After the bake: promote, or return to the old pool
    #[arg(long)]
    pub(super) on_complete: Option<String>,
    /// Who is always on the canary, as JSON rules: '[{"type": "group", "value": "staff"}]'
    #[arg(long)]
    pub(super) include: Option<String>,
    /// Who is never
    #[arg(long)]
    pub(super) exclude: Option<String>,
    /// Begin again where this version is running already
    #[arg(long)]
    pub(super) restart: bool,
    /// Start although something speaks against it
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Following a deployment to its end.
#[derive(Clone, Debug, Args)]
pub(super) struct Wait {
    /// Follow it to its end: exit code 0 completed, 3 rolled back, 4 timeout
    #[arg(long)]
    pub(super) wait: bool,
    /// Longest to wait, for example 1h
    #[arg(long, requires = "wait")]
    pub(super) timeout: Option<String>,
}

/// A track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TrackName {
    /// The version that everybody had
    Stable,
    /// The version that is tried
    Canary,
}

impl TrackName {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Ramp {
    /// Begin
    Start {
        /// The flag
        name: String,
        /// Its stages as JSON, as a deployment has them; the last one is at 100. Without it 10 %
        /// for 5 minutes, 50 % for 10, then everybody
        #[arg(long)]
        stages: Option<String>,
        /// The service whose requests count; without it all of them do
        #[arg(long)]
        service: Option<String>,
    },
    /// How far it is, with its evidence
    Status {
        /// The flag
        name: String,
    },
    /// The next stage now
    Advance {
        /// The flag
        name: String,
    },
    /// No advancing; users keep what they have
    Pause {
        /// The flag
        name: String,
    },
    /// The stage's clock goes on
    Resume {
        /// The flag
        name: String,
    },
    /// Everybody now
    Promote {
        /// The flag
        name: String,
        /// Against a verdict
        #[arg(long)]
        force: bool,
    },
    /// Back to the percentage before it, now
    Rollback {
        /// The flag
        name: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
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
    /// Create a flag, or change what is given of one
    Set {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Switch it off for everybody
        #[arg(long)]
        disabled: bool,
        /// The part of users that have it on, 0 to 100; 0 unless given
        #[arg(long, value_parser = percentage)]
        rollout: Option<f64>,
        /// Rules as JSON: '[{"type": "group", "value": "beta-testers"}]'
        #[arg(long)]
        rules: Option<String>,
        /// Further fields as JSON: '{"variants": {"red": {"value": "#f00"}}, "defaultVariant": "red"}'
        #[arg(long, default_value = "{}")]
        fields: String,
    },
    /// Change the part of users that have it on
    Rollout {
        /// Its name
        name: String,
        /// 0 to 100
        #[arg(value_parser = percentage)]
        percentage: f64,
    },
    /// Switch a flag on
    Enable {
        /// Its name
        name: String,
    },
    /// Switch a flag off for everybody
    Disable {
        /// Its name
        name: String,
    },
    /// A flag's percentage that grows by itself, and is set back where it does harm
    #[command(subcommand)]
    Ramp(Ramp),
    /// Bring in flagd's flags, or the guide's file
    Import {
        /// The file; `-` is standard input
        file: std::path::PathBuf,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Delete flags that the file lacks
        #[arg(long)]
        replace: bool,
        /// How flagd drew its fractions: text until 2026, cbor since
        #[arg(long, default_value = "text", value_parser = ["text", "cbor"])]
        hash: String,
    },
    /// Flags that can never be on, rules that never match, flags that everybody has had for long
    Lint,
    /// Read the flag file again
    Reload {
        /// Write over what somebody broke in it; the broken file is put aside
        #[arg(long)]
        discard: bool,
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
        /// An attribute, as often as needed: plan=gold, age=42 (what is JSON is taken as such)
        #[arg(long = "attribute", value_name = "NAME=VALUE")]
        attributes: Vec<String>,
    },
}
