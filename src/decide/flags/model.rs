//! A flag as the guide writes it. What Serin does not know is kept.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::decide::bucket::Share;

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

/// A feature flag, in the guide's shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Flag {
    /// Its name, also its key in the file.
    pub name: FlagName,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Off means off for everybody.
    pub enabled: bool,
    /// The part of users that have it on where no rule matches, in percent.
    pub rollout_percentage: Share,
    /// The first that matches turns it on; `environment` rules restrict it.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// RFC 3339, set by whoever stores it.
    #[serde(default)]
    pub created_at: String,
    /// RFC 3339, set by whoever stores it.
    #[serde(default)]
    pub updated_at: String,
    /// Fields that Serin does not know: kept as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One rule of a flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What it looks at, and for what.
    #[serde(flatten)]
    pub target: Target,
    /// Fields that Serin does not know: kept as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl From<Target> for Rule {
    fn from(target: Target) -> Self {
        Self { target, extra: Map::new() }
    }
}

impl Rule {
    /// A rule with nothing that Serin does not know.
    pub fn new(target: Target) -> Self {
        Self { target, extra: Map::new() }
    }
}

/// A rule's type and value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "lowercase")]
pub enum Target {
    /// This part of users, by the flag's own buckets.
    Percentage(Share),
    /// These user ids.
    User(OneOrMany),
    /// These groups.
    Group(OneOrMany),
    /// These environments.
    Environment(OneOrMany),
}

impl Target {
    /// Its type.
    pub const fn kind(&self) -> RuleKind {
        match self {
            Self::Percentage(_) => RuleKind::Percentage,
            Self::User(_) => RuleKind::User,
            Self::Group(_) => RuleKind::Group,
            Self::Environment(_) => RuleKind::Environment,
        }
    }
}

/// The types of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleKind {
    /// A part of users.
    Percentage,
    /// User ids.
    User,
    /// Groups.
    Group,
    /// Environments.
    Environment,
}

/// One text, or a list; written as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
pub enum OneOrMany {
    /// A text.
    One(String),
    /// A list of texts.
    Many(Vec<String>),
}

impl OneOrMany {
    /// Its texts.
    pub fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_flag_of_the_guide_is_written_as_it_was_read() {
        let text = json!({
            "name": "new-feature",
            "description": "New feature description",
            "enabled": true,
            "rolloutPercentage": 50,
            "rules": [
                { "type": "user", "value": ["admin-user"] },
                { "type": "group", "value": "beta-testers" },
                { "type": "percentage", "value": 12.5 },
                { "type": "environment", "value": ["production"], "note": "kept" }
            ],
            "createdAt": "2025-01-01T00:00:00.000Z",
            "updatedAt": "2025-01-15T12:00:00.000Z",
            "owner": { "team": "kept too" }
        });
        let flag: Flag = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&flag).unwrap(), text);
    }

    #[test]
    fn wrong_rules_are_refused_with_a_reason() {
        let read = |rule: Value| serde_json::from_value::<Rule>(rule).unwrap_err().to_string();
        assert!(read(json!({ "type": "planet", "value": "x" })).contains("planet"));
        assert!(read(json!({ "type": "percentage", "value": 130 })).contains("0 to 100"));
        assert!(read(json!({ "type": "user", "value": 7 })).contains("text"));
        assert!(read(json!({ "type": "user" })).contains("value"));
    }

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
