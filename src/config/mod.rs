//! Configuration: YAML to one validated, typed [`Config`].
//!
//! Owns: reading the file, and errors that name file, line, column, what was
//! found and what is allowed. Touches: one file. `serde_yaml` reads the
//! document, an event parser says where things stand; neither is seen outside.
//! Two shapes, one function between them: past [`load`] nobody checks again.

mod checked;
mod cidr;
mod definition;
mod document;
mod error_rule;
mod keys;
mod node;
mod parse;
mod problem;
mod reference;
mod scenario;
mod schema;
mod variables;
mod watch;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use checked::{
    AccessLog, AccessLogFormat, AccessLogTarget, Admin, Anonymous, Balance, Belief, Config, Connections,
    DeployDefaults, DrainTimes, Ejection, Endpoint, ErrorRules, Expose, FlagHeaders, FlagSettings, HeaderStyle,
    HealthCheck, Host, Identity, Ignore, Limits, Listener, Log, LogFormat, LogLevel, Ofrep, Origins, Place, Pool,
    PoolVersion, Retry, RetryCause, SaltKind, Secret, Service, Shield, ShieldMethods, Source, Stick, Timeouts, Token,
    TokenRole, Transport,
};
pub use cidr::{Cidr, Networks};
pub use error_rule::StatusSet;
pub use problem::{ConfigError, Position, Problem, Warnings};
pub use reference::{KeyReference, SectionReference, reference, scenario_reference};
pub use scenario::{Answers, Crowd, Scenario, Series};
pub use schema::schema;
pub use watch::Watch;

/// A hundred thousand services have less.
const BYTES_MAX: u64 = 64 << 20;

/// Reads and checks a file.
///
/// # Errors
/// Where it cannot be read, or with everything that is wrong in it.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { file: file.to_path_buf(), source };
    let mut text = String::new();
    File::open(file).and_then(|open| open.take(BYTES_MAX + 1).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(unreadable(std::io::Error::other(format!("it has more than {} MiB", BYTES_MAX >> 20))));
    }
    // Some editors begin a file with a mark that says nothing.
    from_text(text.strip_prefix('\u{feff}').unwrap_or(&text), file)
}

/// Checks a text; `file` is named in errors.
///
/// # Errors
/// With everything that is wrong in it.
pub fn from_text(text: &str, file: &Path) -> Result<Config, ConfigError> {
    let document = document::Document::parse(text, file)?;
    parse::config(&document)
}

/// Reads a scenario for `serin simulate`.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn scenario_from_text(text: &str, file: &Path) -> Result<Scenario, ConfigError> {
    parse::scenario::scenario(&document::Document::parse(text, file)?)
}

#[cfg(test)]
mod tests;
