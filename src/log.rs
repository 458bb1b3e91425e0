//! What Serin says of itself: its form from the start on, its level at any time.
//!
//! Owns: the process's only subscriber. Touches: standard error.

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// The filter in force; there is one subscriber a process, as `tracing` has it.
static FILTER: OnceLock<Filter> = OnceLock::new();

struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    /// As it was last set.
    words: Mutex<String>,
}

/// Begins to log; `SERIN_LOG` is stronger than the configuration. Once a process.
pub fn begin(log: Log) {
    let from_environment = std::env::var("SERIN_LOG").ok().filter(|words| EnvFilter::try_new(words).is_ok());
    let filter = from_environment.as_ref().map_or_else(|| filter(log.level), EnvFilter::new);
    let words = from_environment.unwrap_or_else(|| log.level.name().to_owned());
    let (filter, handle) = reload::Layer::new(filter);
    let ansi = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(filter);
    let begun = match log.format {
        LogFormat::Text => registry.with(lines.with_ansi(ansi)).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    if begun.is_ok() {
        let _ = FILTER.set(Filter { handle, words: Mutex::new(words) });
    }
}

/// Serin's own words at this level. But for `trace`, libraries say only errors: some warn of every
/// frame that a client should not have sent, and a flood of those would be one of lines, each a
/// write that its worker waits for.
fn filter(level: LogLevel) -> EnvFilter {
    match level {
        LogLevel::Trace => EnvFilter::new(level.name()),
        _ => EnvFilter::new(format!("error,serin={0},audit={0}", level.name())),
    }
}

/// Changes the level while everything runs; whether there is a log to change.
pub fn change(level: LogLevel) -> bool {
    let Some(filter) = FILTER.get() else { return false };
    let changed = filter.handle.reload(self::filter(level)).is_ok();
    if changed {
        level.name().clone_into(&mut filter.words.lock().unwrap_or_else(PoisonError::into_inner));
    }
    changed
}

/// The level in force, or the filter that `SERIN_LOG` said; `None` where nothing is logged.
pub fn level() -> Option<String> {
    FILTER.get().map(|filter| filter.words.lock().unwrap_or_else(PoisonError::into_inner).clone())
}
