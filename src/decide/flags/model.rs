//! A flag as the guide writes it, and what Serin adds. What Serin does not know is kept.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::attribute::Tests;
use super::name::FlagName;
use super::ramp::Ramp;
use super::schedule::Schedule;
use super::split::Split;
use super::variant::Variants;
use crate::decide::bucket::Share;

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
    /// Its values, where they are more than on and off.
    #[serde(default, skip_serializing_if = "Variants::is_empty")]
    pub variants: Variants,
    /// The variant of whoever has it off; without one the app's own default holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_variant: Option<String>,
    /// When it is on at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Flags that have to be on, else it is off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prerequisites: Vec<Prerequisite>,
    /// Whether apps on their users' devices may ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client: bool,
    /// How its percentage grows by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramp: Option<Ramp>,
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

/// A flag that another one rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prerequisite {
    /// Which one.
    pub flag: FlagName,
    /// The variant that it has to have; without one it has to be on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// One rule of a flag.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What it looks at, and for what.
    #[serde(flatten)]
    pub target: Target,
    /// The variant of whom it matches; without one the variants' weights decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Shares of its own among whom it matches, in the place of `variant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Fields that Serin does not know: kept as they came.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl From<Target> for Rule {
    fn from(target: Target) -> Self {
        Self::new(target)
    }
}

impl Rule {
    /// A rule with nothing that Serin does not know.
    pub fn new(target: Target) -> Self {
        Self { target, variant: None, split: None, extra: Map::new() }
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
    /// Whoever a deployment has sent to this track.
    Track(TrackName),
    /// Whose attributes pass all of these tests.
    Attribute(Tests),
    /// A time.
    Schedule(Schedule),
    /// Whom all of these match.
    All(Vec<Target>),
    /// Whom one of these matches.
    Any(Vec<Target>),
    /// Whom none of these matches.
    None(Vec<Target>),
}

/// The tracks of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackName {
    /// The version that is being released.
    Canary,
    /// The one before.
    Stable,
}

impl Target {
    /// Its type.
    pub const fn kind(&self) -> RuleKind {
        match self {
            Self::Percentage(_) => RuleKind::Percentage,
            Self::User(_) => RuleKind::User,
            Self::Group(_) => RuleKind::Group,
            Self::Environment(_) => RuleKind::Environment,
            Self::Track(_) => RuleKind::Track,
            Self::Attribute(_) => RuleKind::Attribute,
            Self::Schedule(_) => RuleKind::Schedule,
            Self::All(_) => RuleKind::All,
            Self::Any(_) => RuleKind::Any,
            Self::None(_) => RuleKind::None,
        }
    }

    /// The rules in it, where it is made of others.
    pub fn parts(&self) -> &[Self] {
        match self {
            Self::All(parts) | Self::Any(parts) | Self::None(parts) => parts,
            _ => &[],
        }
    }

    /// Itself and every rule in it.
    pub fn walk(&self, seen: &mut impl FnMut(&Self)) {
        seen(self);
        self.parts().iter().for_each(|part| part.walk(seen));
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
    /// A deployment's track.
    Track,
    /// Attributes.
    Attribute,
    /// A time.
    Schedule,
    /// All of several.
    All,
    /// One of several.
    Any,
    /// None of several.
    None,
}

impl RuleKind {
    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Percentage => "percentage",
            Self::User => "user",
            Self::Group => "group",
            Self::Environment => "environment",
            Self::Track => "track",
            Self::Attribute => "attribute",
            Self::Schedule => "schedule",
            Self::All => "all",
            Self::Any => "any",
            Self::None => "none",
        }
    }
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
    use serde_json::json;

    fn stays(text: &Value) {
        let flag: Flag = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&flag).unwrap(), *text);
    }

    #[test]
    fn a_flag_of_the_guide_is_written_as_it_was_read() {
        stays(&json!({
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
        }));
    }

    #[test]
    fn a_flag_with_everything_is_written_as_it_was_read() {
        stays(&json!({
            "name": "color",
            "enabled": true,
            "rolloutPercentage": 50,
            "rules": [
                { "type": "track", "value": "canary" },
                { "type": "attribute", "value": { "plan": { "in": ["gold", 3, true] }, "age": { "atLeast": 18.5 } }, "variant": "red" },
                { "type": "any", "value": [
                    { "type": "none", "value": [{ "type": "attribute", "value": { "app": { "not": { "semver": ">= 1.2.0" } } } }] },
                    { "type": "all", "value": [{ "type": "schedule", "value": { "from": "2026-01-01T00:00:00Z" } }] }
                ] },
                { "type": "user", "value": "u", "split": { "hash": "murmur3", "by": [{ "attribute": "email" }, "seed"], "weights": [["red", 25], ["blue", 75], [null, 1]] } }
            ],
            "variants": { "red": { "value": 5.0 }, "blue": { "value": 5, "weight": 0 } },
            "defaultVariant": "blue",
            "schedule": { "from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00.5Z" },
            "prerequisites": [{ "flag": "other", "variant": "on" }, { "flag": "third" }],
            "client": true,
            "createdAt": "2025-01-01T00:00:00.000Z",
            "updatedAt": "2025-01-15T12:00:00.000Z"
        }));
    }

    #[test]
    fn wrong_rules_are_refused_with_a_reason() {
        let read = |rule: Value| serde_json::from_value::<Rule>(rule).unwrap_err().to_string();
        assert!(read(json!({ "type": "planet", "value": "x" })).contains("planet"));
        assert!(read(json!({ "type": "percentage", "value": 130 })).contains("0 to 100"));
        assert!(read(json!({ "type": "user", "value": 7 })).contains("text"));
        assert!(read(json!({ "type": "user" })).contains("value"));
        assert!(read(json!({ "type": "track", "value": "blue" })).contains("canary"));
        assert!(read(json!({ "type": "attribute", "value": { "a": { "like": "x" } } })).contains("like"));
    }
}
