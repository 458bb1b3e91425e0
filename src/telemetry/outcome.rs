//! The words for what an exchange said about its track (SPEC 3).

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A status that counts as an error.
    Status,
    /// The app said so in its outcome header.
    App,
    /// A gRPC status that counts as an error.
    Grpc,
    /// No connection.
    Connect,
    /// Closed before the head of the answer.
    Reset,
    /// An answer that is no HTTP.
    Protocol,
    /// No head in time.
    Timeout,
    /// A body that broke off.
    Truncated,
    /// The client waited long for the head and left.
    Abandoned,
    /// No app server of the track was healthy.
    NoEndpoint,
    /// All app servers were at their limit, and the queue was full.
    Overflow,
}

/// What an exchange said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeKind {
    /// A good answer.
    Success,
    /// A bad one.
    Error(ErrorKind),
}

impl OutcomeKind {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 12] = [
        Self::Success,
        Self::Error(ErrorKind::Status),
        Self::Error(ErrorKind::App),
        Self::Error(ErrorKind::Grpc),
        Self::Error(ErrorKind::Connect),
        Self::Error(ErrorKind::Reset),
        Self::Error(ErrorKind::Protocol),
        Self::Error(ErrorKind::Timeout),
        Self::Error(ErrorKind::Truncated),
        Self::Error(ErrorKind::Abandoned),
        Self::Error(ErrorKind::NoEndpoint),
        Self::Error(ErrorKind::Overflow),
    ];

    /// Its place in [`Self::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Success => 0,
            Self::Error(kind) => kind as usize + 1,
        }
    }

    /// Its name in labels and texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error(ErrorKind::Status) => "status",
            Self::Error(ErrorKind::App) => "app",
            Self::Error(ErrorKind::Grpc) => "grpc",
            Self::Error(ErrorKind::Connect) => "connect",
            Self::Error(ErrorKind::Reset) => "reset",
            Self::Error(ErrorKind::Protocol) => "protocol",
            Self::Error(ErrorKind::Timeout) => "timeout",
            Self::Error(ErrorKind::Truncated) => "truncated",
            Self::Error(ErrorKind::Abandoned) => "abandoned",
            Self::Error(ErrorKind::NoEndpoint) => "noEndpoint",
            Self::Error(ErrorKind::Overflow) => "overflow",
        }
    }

    /// Whether it counts against its track.
    pub const fn is_error(self) -> bool {
        matches!(self, Self::Error(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_at_its_index() {
        for (index, kind) in OutcomeKind::ALL.iter().enumerate() {
            assert_eq!(kind.index(), index, "{}", kind.name());
        }
    }
}
