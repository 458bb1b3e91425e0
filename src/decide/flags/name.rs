//! What flags are called.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name of a flag.
const NAME_MAX: usize = 128;

/// A flag's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FlagName(Box<str>);

/// Why a text is no flag name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a flag's name is a letter or digit and up to 127 more of letters, digits, `.`, `_`, `-`; found {found:?}")]
pub struct FlagNameError {
    found: String,
}

impl FlagName {
    /// The name, checked.
    ///
    /// # Errors
    /// Where it is empty, too long, or has other characters.
    pub fn new(name: &str) -> Result<Self, FlagNameError> {
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if first && rest && name.len() <= NAME_MAX {
            Ok(Self(name.into()))
        } else {
            // A name from outside may be of any length; an error text is not.
            Err(FlagNameError { found: name.chars().take(NAME_MAX).collect() })
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a part of a header's name: lower case, with `_` and `.` as `-`.
    pub fn as_header_part(&self) -> String {
        self.0.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
    }

    /// As a part of a variable's name: upper case, all else as `_`.
    pub fn as_variable_part(&self) -> String {
        self.0.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
    }
}

impl fmt::Display for FlagName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for FlagName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FlagName {
    type Error = FlagNameError;
    fn try_from(name: String) -> Result<Self, FlagNameError> {
        Self::new(&name)
    }
}

impl From<FlagName> for String {
    fn from(name: FlagName) -> Self {
        name.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_have_their_headers_and_variables() {
        let name = FlagName::new("New_Feature.v2").unwrap();
        assert_eq!(name.as_header_part(), "new-feature-v2");
        assert_eq!(name.as_variable_part(), "NEW_FEATURE_V2");
        for wrong in ["", "-a", ".a", "a b", "a/b", "ü", &"a".repeat(129)] {
            assert!(FlagName::new(wrong).is_err(), "{wrong:?}");
        }
        assert!(FlagName::new(&"a".repeat(128)).is_ok());
    }

    proptest! {
        #[test]
        fn no_name_panics(name in ".*") {
            let _ = FlagName::new(&name);
        }
    }
}
