//! Why control says no.

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("{what} `{name}` does not exist")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The command itself is wrong.
    #[error("{detail}")]
    Invalid {
        /// Which part of it; empty: the whole.
        field: String,
        /// What was found, and what is allowed.
        detail: String,
    },
    /// It makes no sense now.
    #[error("{detail}")]
    Conflict {
        /// For programs.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// It goes past a limit of the configuration.
    #[error("{detail}")]
    TooMuch {
        /// For programs.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// It rests on a state that is gone.
    #[error("it has changed meanwhile: its version is {now} now")]
    Stale {
        /// Its version now.
        now: String,
    },
    /// It could not be made durable, and so was not carried out.
    #[error("the change was not carried out, as it could not be written: {0}")]
    NotDurable(String),
    /// Another process has the state by now.
    #[error("another process takes over at this moment: try again")]
    HandedOver,
    /// Control has ended.
    #[error("the process is ending")]
    Ended,
}

impl ControlError {
    pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Self {
        Self::Invalid { field: field.to_owned(), detail: detail.into() }
    }
}
