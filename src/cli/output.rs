//! Where texts for people leave the program.
#![allow(clippy::print_stdout, clippy::print_stderr)] // This is where they are allowed.

use std::error::Error;
use std::io::Write;

use serde_json::Value;

use super::commands::Output;

/// A line on standard output; a reader that has gone away is no error of ours.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// An answer as it is asked for: for people, or for programs.
pub(super) fn answer(output: Output, value: &Value, words: impl FnOnce() -> String) {
    let text = match output {
        Output::Table => words(),
        Output::Json => serde_json::to_string_pretty(value).unwrap_or_default(),
        Output::Yaml => serde_yaml::to_string(value).unwrap_or_default(),
    };
    line(text.trim_end());
}

/// A text on standard error.
pub(crate) fn error_text(text: &str) {
    // A reader that has gone away is no error of ours.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error with its causes on standard error.
pub(crate) fn error(error: &dyn Error) {
    let mut text = format!("serin: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because {error}"));
        cause = error.source();
    }
    error_text(&text);
}

/// What to do about it.
pub(crate) fn hint(next: &str) {
    error_text(&format!("  next: {next}"));
}
