//! Flags that hardly mean what they say.

use std::collections::BTreeMap;
use std::fmt;

use super::evaluate::EnvironmentRules;
use super::model::{Flag, FlagName, RuleKind, Target};
use crate::decide::bucket::Share;

/// What is strange about a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagWarning {
    /// It is switched on, and nobody has it.
    NeverOn,
    /// It is switched on for other environments than this one.
    Elsewhere,
    /// Everybody has it: its rules change nothing.
    RulesChangeNothing,
    /// A rule that nobody can match, as nobody is believed.
    NeverMatches(RuleKind),
    /// Another flag would be told by the same header.
    SameHeader(FlagName),
    /// Another flag would be forced by the same variable.
    SameVariable(FlagName),
}

impl fmt::Display for FlagWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverOn => f.write_str("is switched on, but nobody has it: its rollout is 0 % and no rule can match"),
            Self::Elsewhere => f.write_str("is off here: its environment rules name other environments"),
            Self::RulesChangeNothing => {
                f.write_str("is on for everybody: its user, group and percentage rules change nothing")
            }
            Self::NeverMatches(RuleKind::Group) => {
                f.write_str("has a group rule that never matches: no group is believed")
            }
            Self::NeverMatches(_) => f.write_str("has a user rule that never matches: no user is believed"),
            Self::SameHeader(other) => write!(f, "has the same header as `{other}`"),
            Self::SameVariable(other) => write!(f, "is forced by the same variable as `{other}`"),
        }
    }
}

/// What is strange about one flag in the environment called `home`.
pub fn lint(
    flag: &Flag,
    home: &str,
    reading: EnvironmentRules,
    believed: impl Fn(RuleKind) -> bool,
) -> Vec<FlagWarning> {
    let restricts = |target: &Target| reading == EnvironmentRules::Restrict && matches!(target, Target::Environment(_));
    let (environments, rules): (Vec<&Target>, Vec<&Target>) =
        flag.rules.iter().map(|rule| &rule.target).partition(|target| restricts(target));
    let mut warnings: Vec<FlagWarning> = [RuleKind::User, RuleKind::Group]
        .into_iter()
        .filter(|kind| !believed(*kind) && rules.iter().any(|target| target.kind() == *kind))
        .map(FlagWarning::NeverMatches)
        .collect();
    let names = |target: &&Target| match target {
        Target::Environment(names) => names.texts().iter().any(|name| name == home),
        _ => false,
    };
    let can_match = |target: &&Target| match target {
        Target::Percentage(share) => *share > Share::NOBODY,
        Target::User(texts) | Target::Group(texts) => !texts.texts().is_empty() && believed(target.kind()),
        Target::Environment(texts) => texts.texts().iter().any(|name| name == home),
    };
    if !flag.enabled {
        return warnings;
    }
    if !environments.is_empty() && !environments.iter().any(names) {
        warnings.push(FlagWarning::Elsewhere);
    } else if flag.rollout_percentage == Share::NOBODY && !rules.iter().any(can_match) {
        warnings.push(FlagWarning::NeverOn);
    } else if flag.rollout_percentage == Share::EVERYBODY && !rules.is_empty() {
        warnings.push(FlagWarning::RulesChangeNothing);
    }
    warnings
}

/// Flags that meet others as a header or as a variable; each but the first is named.
pub fn clashes<'a>(names: impl Iterator<Item = &'a FlagName>) -> Vec<(FlagName, FlagWarning)> {
    let (mut headers, mut variables) = (BTreeMap::new(), BTreeMap::new());
    let mut found = Vec::new();
    for name in names {
        if let Some(other) = headers.insert(name.as_header_part(), name) {
            found.push((name.clone(), FlagWarning::SameHeader(other.clone())));
        }
        if let Some(other) = variables.insert(name.as_variable_part(), name) {
            found.push((name.clone(), FlagWarning::SameVariable(other.clone())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(enabled: bool, rollout: u8, rules: &Value, believed: bool) -> Vec<FlagWarning> {
        let flag = json!({ "name": "f", "enabled": enabled, "rolloutPercentage": rollout, "rules": rules });
        let flag: Flag = serde_json::from_value(flag).unwrap();
        lint(&flag, "production", EnvironmentRules::Restrict, |_| believed)
    }

    #[test]
    fn flags_that_hardly_mean_what_they_say() {
        let user = json!([{ "type": "user", "value": ["u"] }]);
        let elsewhere = json!([{ "type": "environment", "value": "development" }]);
        let here = json!([{ "type": "environment", "value": ["development", "production"] }]);
        assert_eq!(found(true, 0, &json!([]), true), [FlagWarning::NeverOn]);
        assert_eq!(found(true, 0, &json!([{ "type": "user", "value": [] }]), true), [FlagWarning::NeverOn]);
        assert_eq!(found(true, 0, &json!([{ "type": "percentage", "value": 0 }]), true), [FlagWarning::NeverOn]);
        assert_eq!(found(true, 100, &elsewhere, true), [FlagWarning::Elsewhere]);
        assert_eq!(found(true, 0, &here, true), [FlagWarning::NeverOn], "the environment alone turns nothing on");
        assert_eq!(found(true, 100, &user, true), [FlagWarning::RulesChangeNothing]);
        let never = FlagWarning::NeverMatches(RuleKind::User);
        assert_eq!(found(true, 0, &user, false), [never.clone(), FlagWarning::NeverOn]);
        assert_eq!(found(true, 50, &user, false), [never]);
        for (rollout, rules) in [(1, &json!([])), (0, &user), (100, &here), (100, &json!([])), (50, &user)] {
            assert_eq!(found(true, rollout, rules, true), [], "{rollout} {rules}");
        }
        assert_eq!(found(false, 0, &json!([]), true), [], "switched off is meant so");
    }

    #[test]
    fn names_that_meet_as_a_header_or_a_variable_are_found() {
        let names = ["a-b", "a.b", "A_B", "c"].map(|name| FlagName::new(name).unwrap());
        let found = clashes(names.iter());
        let texts: Vec<String> = found.iter().map(|(name, warning)| format!("{name} {warning}")).collect();
        assert_eq!(texts.len(), 4, "{texts:?}");
        assert!(texts.contains(&"a.b has the same header as `a-b`".to_owned()), "{texts:?}");
        assert!(texts.contains(&"A_B is forced by the same variable as `a.b`".to_owned()), "{texts:?}");
    }
}
