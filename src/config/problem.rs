//! What is wrong with a configuration, in words that mend it without the docs.

use std::fmt;
use std::path::PathBuf;

/// A place in a file, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub at: Position,
    /// What was found, and what is allowed.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read", .file.display())]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("{}", Listing(.file, .problems, ""))]
    Wrong {
        /// Which one.
        file: PathBuf,
        /// All that is wrong, in the order of the file.
        problems: Vec<Problem>,
    },
}

/// What works, but hardly as it is meant, for people.
pub struct Warnings<'a> {
    /// The file.
    pub file: &'a PathBuf,
    /// What was found.
    pub problems: &'a Vec<Problem>,
}

impl fmt::Display for Warnings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Listing(self.file, self.problems, "warning: ").fmt(f)
    }
}

/// Nobody mends more at once.
const SHOWN: usize = 200;

struct Listing<'a>(&'a PathBuf, &'a Vec<Problem>, &'static str);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.1.iter().take(SHOWN).enumerate() {
            let line_break = if index == 0 { "" } else { "\n" };
            let Problem { at, message, hint } = problem;
            write!(f, "{line_break}{}:{}:{}: {}{message}", self.0.display(), at.line, at.column, self.2)?;
            if let Some(hint) = hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        if let Some(more) = self.1.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            write!(f, "\n… and {more} more")?;
        }
        Ok(())
    }
}
