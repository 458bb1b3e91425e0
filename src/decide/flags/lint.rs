//! Flags that hardly mean what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::evaluate::EnvironmentRules;
use super::model::{Flag, RuleKind, Target};
use super::name::FlagName;
use crate::decide::bucket::Share;

/// A flag that everybody has had for so long is code without a question.
const STALE_DAYS: i64 = 30;
const DAY_MILLIS: i64 = 86_400_000;

/// What is strange about a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagWarning {
    /// It is switched on, and nobody has it.
    NeverOn,
    /// It is switched on for other environments than this one.
    Elsewhere,
    /// Its schedule is over.
    Over,
    /// A flag that it rests on is off for everybody, or there is none.
    RestsOnNothing(FlagName),
    /// Everybody has it: its rules change nothing.
    RulesChangeNothing,
    /// A rule that nobody can match, as nobody is believed.
    NeverMatches(RuleKind),
    /// The rule with this index can match nobody by what it says.
    RuleMatchesNobody(usize),
    /// The rule with this index comes behind one that matches everybody.
    RuleNeverReached(usize),
    /// Everybody has had it for so many days.
    Stale(i64),
    /// Its numbers are written as integers and as decimals, which some clients tell apart.
    MixedNumbers,
    /// Another flag would be told by the same header.
    SameHeader(FlagName),
    /// Another flag would be forced by the same variable.
    SameVariable(FlagName),
}

impl FlagWarning {
    /// A word for it, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NeverOn => "neverOn",
            Self::Elsewhere => "elsewhere",
            Self::Over => "over",
            Self::RestsOnNothing(_) => "restsOnNothing",
            Self::RulesChangeNothing => "rulesChangeNothing",
            Self::NeverMatches(_) => "neverBelieved",
            Self::RuleMatchesNobody(_) => "ruleMatchesNobody",
            Self::RuleNeverReached(_) => "ruleNeverReached",
            Self::Stale(_) => "stale",
            Self::MixedNumbers => "mixedNumbers",
            Self::SameHeader(_) => "sameHeader",
            Self::SameVariable(_) => "sameVariable",
        }
    }
}

impl fmt::Display for FlagWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverOn => f.write_str("is switched on, but nobody has it: its rollout is 0 % and no rule can match"),
            Self::Elsewhere => f.write_str("is off here: its environment rules name other environments"),
            Self::Over => f.write_str("is off for good: its schedule is over"),
            Self::RestsOnNothing(other) => write!(f, "is off: it rests on `{other}`, which nobody has"),
            Self::RulesChangeNothing => {
                f.write_str("is on for everybody: its user, group and percentage rules change nothing")
            }
            Self::NeverMatches(kind) => {
                let kind = kind.name();
                write!(f, "has a {kind} rule that never matches: no {kind} is believed")
            }
            Self::RuleMatchesNobody(index) => write!(f, "has a rule that never matches: rules[{index}]"),
            Self::RuleNeverReached(index) => {
                write!(f, "has a rule behind one that matches everybody: rules[{index}] is never reached")
            }
            Self::Stale(days) => {
                write!(f, "is stale: everybody has had it for {days} days; the code can do without it")
            }
            Self::MixedNumbers => {
                f.write_str("has numbers written both as 5 and as 5.0: some clients take them for different types")
            }
            Self::SameHeader(other) => write!(f, "has the same header as `{other}`"),
            Self::SameVariable(other) => write!(f, "is forced by the same variable as `{other}`"),
        }
    }
}

/// Where flags live: what decides whether they can ever be on.
#[derive(Clone, Copy)]
pub struct Habitat<'a> {
    /// The environment.
    pub home: &'a str,
    /// How `environment` rules are read.
    pub reading: EnvironmentRules,
    /// Whether somebody's user id or group is believed.
    pub believes: &'a dyn Fn(RuleKind) -> bool,
    /// All flags.
    pub flags: &'a BTreeMap<FlagName, Arc<Flag>>,
    /// Now, in milliseconds since 1970.
    pub unix_millis: i64,
}

/// What is strange about one flag.
pub fn lint(flag: &Flag, habitat: &Habitat<'_>) -> Vec<FlagWarning> {
    let mut warnings = strange_rules(flag, habitat);
    let numbers = flag.variants.values().filter(|variant| variant.value.is_number());
    let forms: BTreeSet<bool> = numbers.map(|variant| variant.value.is_f64()).collect();
    if forms.len() > 1 {
        warnings.push(FlagWarning::MixedNumbers);
    }
    if flag.enabled {
        warnings.extend(habitat.strange_as_a_whole(flag));
    }
    warnings
}

/// Rules that nobody can match, and rules that nobody comes to.
fn strange_rules(flag: &Flag, habitat: &Habitat<'_>) -> Vec<FlagWarning> {
    let mut kinds = Vec::new();
    for rule in &flag.rules {
        rule.target.walk(&mut |target| kinds.push(target.kind()));
    }
    let unbelieved = |kind: &RuleKind| !(habitat.believes)(*kind) && kinds.contains(kind);
    let unbelieved = [RuleKind::User, RuleKind::Group].into_iter().filter(unbelieved).map(FlagWarning::NeverMatches);
    let mut warnings: Vec<FlagWarning> = unbelieved.collect();
    let mut everybody = false;
    for (index, rule) in flag.rules.iter().enumerate() {
        if habitat.restricts(&rule.target) {
            continue;
        }
        if everybody {
            warnings.push(FlagWarning::RuleNeverReached(index));
        } else if !habitat.says_somebody(&rule.target) {
            warnings.push(FlagWarning::RuleMatchesNobody(index));
        }
        everybody |= matches!(rule.target, Target::Percentage(Share::EVERYBODY));
    }
    warnings
}

impl Habitat<'_> {
    /// Whether a rule restricts its flag to environments.
    fn restricts(&self, target: &Target) -> bool {
        self.reading == EnvironmentRules::Restrict && matches!(target, Target::Environment(_))
    }

    fn strange_as_a_whole(&self, flag: &Flag) -> Option<FlagWarning> {
        let here = |names: &[String]| names.iter().any(|name| name == self.home);
        let (environments, rules): (Vec<&Target>, Vec<&Target>) =
            flag.rules.iter().map(|rule| &rule.target).partition(|target| self.restricts(target));
        let at_home = |target: &&Target| matches!(target, Target::Environment(names) if here(names.texts()));
        if flag.schedule.is_some_and(|schedule| schedule.is_over(self.unix_millis)) {
            Some(FlagWarning::Over)
        } else if !environments.is_empty() && !environments.iter().any(at_home) {
            Some(FlagWarning::Elsewhere)
        } else if let Some(needed) = flag.prerequisites.iter().find(|needed| !self.is_ever_on(&needed.flag)) {
            Some(FlagWarning::RestsOnNothing(needed.flag.clone()))
        } else if !self.somebody_has(flag) {
            Some(FlagWarning::NeverOn)
        } else if flag.rollout_percentage == Share::EVERYBODY && !rules.is_empty() && flag.variants.is_empty() {
            Some(FlagWarning::RulesChangeNothing)
        } else {
            self.stale(flag)
        }
    }

    /// A flag with variants says something to those who have it off, too.
    fn somebody_has(&self, flag: &Flag) -> bool {
        let rules = flag.rules.iter().map(|rule| &rule.target).filter(|target| !self.restricts(target));
        flag.rollout_percentage > Share::NOBODY
            || flag.default_variant.is_some()
            || rules.into_iter().any(|target| self.can_match(target))
    }

    /// Flags that rest on each other in a ring are looked at no deeper than their number.
    fn is_ever_on(&self, name: &FlagName) -> bool {
        self.flags.get(name).is_some_and(|flag| flag.enabled && self.somebody_has(flag))
    }

    /// Whether a rule names anybody at all.
    fn says_somebody(&self, target: &Target) -> bool {
        match target {
            Target::Percentage(share) => *share > Share::NOBODY,
            Target::User(texts) | Target::Group(texts) | Target::Environment(texts) => !texts.texts().is_empty(),
            Target::Attribute(tests) => tests.values().all(super::attribute::Test::is_possible),
            Target::Schedule(schedule) => !schedule.is_over(self.unix_millis),
            Target::Any(parts) => parts.iter().any(|part| self.says_somebody(part)),
            Target::All(parts) => parts.iter().all(|part| self.says_somebody(part)),
            Target::Track(_) | Target::None(_) => true,
        }
    }

    fn can_match(&self, target: &Target) -> bool {
        let believed = |kind| (self.believes)(kind);
        self.says_somebody(target)
            && match target {
                Target::User(_) | Target::Group(_) => believed(target.kind()),
                Target::Environment(texts) => texts.texts().iter().any(|name| name == self.home),
                Target::Any(parts) => parts.iter().any(|part| self.can_match(part)),
                Target::All(parts) => parts.iter().all(|part| self.can_match(part)),
                _ => true,
            }
    }

    fn stale(&self, flag: &Flag) -> Option<FlagWarning> {
        let says_one_thing = flag.variants.is_empty() && flag.prerequisites.is_empty() && flag.schedule.is_none();
        let updated: Timestamp = flag.updated_at.parse().ok()?;
        let days = (self.unix_millis - updated.as_millisecond()) / DAY_MILLIS;
        (flag.rollout_percentage == Share::EVERYBODY && says_one_thing && days >= STALE_DAYS)
            .then_some(FlagWarning::Stale(days))
    }
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

    const NOW: i64 = 1_800_000_000_000;

    fn habitat<'a>(flags: &'a BTreeMap<FlagName, Arc<Flag>>, believes: &'a dyn Fn(RuleKind) -> bool) -> Habitat<'a> {
        Habitat { home: "production", reading: EnvironmentRules::Restrict, believes, flags, unix_millis: NOW }
    }

    fn found(enabled: bool, rollout: u8, rules: &Value, believed: bool) -> Vec<FlagWarning> {
        let flag = json!({ "name": "f", "enabled": enabled, "rolloutPercentage": rollout, "rules": rules });
        let flag: Flag = serde_json::from_value(flag).unwrap();
        let flags = BTreeMap::new();
        lint(&flag, &habitat(&flags, &|_| believed))
    }

    #[test]
    fn flags_that_hardly_mean_what_they_say() {
        let user = json!([{ "type": "user", "value": ["u"] }]);
        let elsewhere = json!([{ "type": "environment", "value": "development" }]);
        let here = json!([{ "type": "environment", "value": ["development", "production"] }]);
        assert_eq!(found(true, 0, &json!([]), true), [FlagWarning::NeverOn]);
        let nobody = [FlagWarning::RuleMatchesNobody(0), FlagWarning::NeverOn];
        assert_eq!(found(true, 0, &json!([{ "type": "user", "value": [] }]), true), nobody);
        assert_eq!(found(true, 0, &json!([{ "type": "percentage", "value": 0 }]), true), nobody);
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

    #[test]
    fn rules_that_never_match_and_rules_that_nobody_comes_to() {
        let rules = json!([
            { "type": "attribute", "value": { "plan": { "in": [] } } },
            { "type": "schedule", "value": { "until": "2026-01-01T00:00:00Z" } },
            { "type": "any", "value": [] },
            { "type": "percentage", "value": 100 },
            { "type": "user", "value": "u" }
        ]);
        let nobody = [0, 1, 2].map(FlagWarning::RuleMatchesNobody);
        assert_eq!(found(true, 1, &rules, true), [&nobody[..], &[FlagWarning::RuleNeverReached(4)]].concat());
    }

    #[test]
    fn flags_of_another_time_and_flags_that_rest_on_nothing() {
        let flag = |more: &Value| {
            let mut flag = json!({ "name": "f", "enabled": true, "rolloutPercentage": 100 });
            flag.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Flag>(flag).unwrap()
        };
        let off = json!({ "name": "off", "enabled": false, "rolloutPercentage": 100 });
        let off: Flag = serde_json::from_value(off).unwrap();
        let flags = BTreeMap::from([(off.name.clone(), Arc::new(off))]);
        let found = |more: Value| lint(&flag(&more), &habitat(&flags, &|_| true));
        assert_eq!(found(json!({ "schedule": { "until": "2027-01-15T07:59:59Z" } })), [FlagWarning::Over]);
        assert_eq!(found(json!({ "schedule": { "until": "2027-01-15T08:00:01Z" } })), []);
        for name in ["off", "unknown"] {
            let rests = FlagWarning::RestsOnNothing(FlagName::new(name).unwrap());
            assert_eq!(found(json!({ "prerequisites": [{ "flag": name }] })), [rests]);
        }
        // 30 days before NOW, and a second later.
        assert_eq!(found(json!({ "updatedAt": "2026-12-16T08:00:00Z" })), [FlagWarning::Stale(30)]);
        assert_eq!(found(json!({ "updatedAt": "2026-12-16T08:00:01Z" })), []);
        let numbers = json!({ "variants": { "a": { "value": 5 }, "b": { "value": 5.0 } } });
        assert_eq!(found(numbers), [FlagWarning::MixedNumbers]);
    }
}
