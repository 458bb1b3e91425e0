//! What a flag means for one context: on or off, with the reason.
//!
//! A flag is compiled once per change; evaluating it allocates nothing.

use serde::Serialize;

use super::model::{Flag, FlagName, OneOrMany, Rule, RuleKind, Target};
use crate::decide::bucket::{Salt, Share};

/// Who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The id whose bucket decides about percentages: the user's, else the
    /// session's, else an anonymous one. `None`: percentages cannot decide.
    pub id: Option<&'a str>,
    /// The user's id where it is believed: what `user` rules look at.
    pub user: Option<&'a str>,
    /// The groups where they are believed, comma separated: what `group` rules look at.
    pub groups: Option<&'a str>,
    /// Another environment than the configured one.
    pub environment: Option<&'a str>,
}

/// Why a flag is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Unknown flag, nothing that could turn it on, or nobody to ask for.
    Default,
    /// A variable of the process decided.
    Override,
    /// The flag is switched off.
    Disabled,
    /// A rule decided.
    Rule,
    /// The rollout percentage decided.
    Percentage,
}

/// The answer for one flag and one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// On or off.
    pub enabled: bool,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, with [`Reason::Rule`].
    pub rule_matched: Option<RuleKind>,
}

impl Evaluation {
    /// What an unknown flag is: off, by default.
    pub const UNKNOWN: Self = Self::of(false, Reason::Default);

    const fn of(enabled: bool, reason: Reason) -> Self {
        Self { enabled, reason, rule_matched: None }
    }

    const fn by(enabled: bool, rule: RuleKind) -> Self {
        Self { enabled, reason: Reason::Rule, rule_matched: Some(rule) }
    }
}

/// How `environment` rules are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnvironmentRules {
    /// In another environment the flag is off; in one of these the other rules decide.
    #[default]
    Restrict,
    /// One of these environments turns it on by itself.
    Match,
}

/// A variable's word on a flag; rules are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForcedValue {
    /// On for everybody.
    On,
    /// Off for everybody.
    Off,
    /// On for this part of users, by the flag's own buckets.
    Share(Share),
}

impl ForcedValue {
    /// Reads `true`, `false` or a percentage; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "true" => Some(Self::On),
            "false" => Some(Self::Off),
            number => number.parse().ok().and_then(|p| Share::from_percentage(p).ok()).map(Self::Share),
        }
    }
}

/// A flag ready to be evaluated.
#[derive(Clone, Debug)]
pub struct CompiledFlag {
    name: FlagName,
    salt: Salt,
    forced: Option<ForcedValue>,
    enabled: bool,
    /// The environments that restrict it; `None`: any.
    environments: Option<Texts>,
    /// Whether the configured environment is one of them.
    at_home: bool,
    home: Box<str>,
    rules: Box<[CompiledRule]>,
    rollout: Share,
}

#[derive(Clone, Debug)]
enum CompiledRule {
    Percentage(Share),
    User(Texts),
    Group(Texts),
    Environment(Texts),
}

impl CompiledFlag {
    /// Compiles a flag for the environment called `home`.
    pub fn new(flag: &Flag, home: &str, reading: EnvironmentRules, forced: Option<ForcedValue>) -> Self {
        let restricting = |target: &Target| match (target, reading) {
            (Target::Environment(names), EnvironmentRules::Restrict) => Some(names.clone()),
            _ => None,
        };
        let mut named = flag.rules.iter().filter_map(|rule| restricting(&rule.target)).peekable();
        let environments = named.peek().is_some().then(|| Texts::of(named.by_ref()));
        let rules = flag.rules.iter().filter(|rule| restricting(&rule.target).is_none());
        Self {
            name: flag.name.clone(),
            salt: Salt::flag(flag.name.as_str()),
            forced,
            enabled: flag.enabled,
            at_home: environments.as_ref().is_none_or(|names| names.contain(home)),
            environments,
            home: home.into(),
            rules: rules.map(|rule| CompiledRule::new(&rule.target)).collect(),
            rollout: flag.rollout_percentage,
        }
    }

    /// Its name.
    pub fn name(&self) -> &FlagName {
        &self.name
    }

    /// Whether some answer depends on the bucket of an id.
    pub fn splits(&self) -> bool {
        match self.forced {
            Some(ForcedValue::Share(share)) => share.splits(),
            Some(_) => false,
            None => {
                let by_rule = |rule: &CompiledRule| matches!(rule, CompiledRule::Percentage(share) if share.splits());
                self.enabled && (self.rollout.splits() || self.rules.iter().any(by_rule))
            }
        }
    }

    /// On or off for this context, and why. The order is SPEC 4's.
    pub fn evaluate(&self, context: &Context<'_>) -> Evaluation {
        if let Some(forced) = self.forced {
            return Evaluation::of(self.forced_on(forced, context), Reason::Override);
        }
        if !self.enabled {
            return Evaluation::of(false, Reason::Disabled);
        }
        if !self.allowed_in(context.environment) {
            return Evaluation::by(false, RuleKind::Environment);
        }
        match self.rules.iter().find_map(|rule| self.matching(rule, context)) {
            Some(rule) => Evaluation::by(true, rule),
            None => self.by_rollout(context),
        }
    }

    fn forced_on(&self, forced: ForcedValue, context: &Context<'_>) -> bool {
        match forced {
            ForcedValue::On => true,
            ForcedValue::Off => false,
            ForcedValue::Share(share) => self.reached(share, context),
        }
    }

    fn allowed_in(&self, environment: Option<&str>) -> bool {
        match (environment, &self.environments) {
            (Some(name), Some(names)) => names.contain(name),
            _ => self.at_home,
        }
    }

    fn matching(&self, rule: &CompiledRule, context: &Context<'_>) -> Option<RuleKind> {
        let (matched, kind) = match rule {
            CompiledRule::Percentage(share) => (self.reached(*share, context), RuleKind::Percentage),
            CompiledRule::User(ids) => (context.user.is_some_and(|id| ids.contain(id)), RuleKind::User),
            CompiledRule::Group(names) => {
                (context.groups.is_some_and(|groups| names.contain_one_of(groups)), RuleKind::Group)
            }
            CompiledRule::Environment(names) => {
                (names.contain(context.environment.unwrap_or(&self.home)), RuleKind::Environment)
            }
        };
        matched.then_some(kind)
    }

    fn by_rollout(&self, context: &Context<'_>) -> Evaluation {
        let nobody_to_ask_for = context.id.is_none() && self.rollout != Share::EVERYBODY;
        if self.rollout == Share::NOBODY || nobody_to_ask_for {
            return Evaluation::of(false, Reason::Default);
        }
        Evaluation::of(self.reached(self.rollout, context), Reason::Percentage)
    }

    fn reached(&self, share: Share, context: &Context<'_>) -> bool {
        match share {
            Share::EVERYBODY => true,
            Share::NOBODY => false,
            _ => context.id.is_some_and(|id| share.reaches(self.salt.bucket(id))),
        }
    }
}

impl CompiledRule {
    fn new(target: &Target) -> Self {
        let texts = |value: &OneOrMany| Texts::of(std::iter::once(value.clone()));
        match target {
            Target::Percentage(share) => Self::Percentage(*share),
            Target::User(ids) => Self::User(texts(ids)),
            Target::Group(names) => Self::Group(texts(names)),
            Target::Environment(names) => Self::Environment(texts(names)),
        }
    }
}

/// Users that are named one by one or by group: `include` and `exclude` of a deployment.
#[derive(Clone, Debug)]
pub struct Chosen {
    users: Texts,
    groups: Texts,
}

impl Chosen {
    /// Compiles `user` and `group` rules; others choose nobody.
    pub fn new(rules: &[Rule]) -> Self {
        let users = rules.iter().filter_map(|rule| match &rule.target {
            Target::User(ids) => Some(ids.clone()),
            _ => None,
        });
        let groups = rules.iter().filter_map(|rule| match &rule.target {
            Target::Group(names) => Some(names.clone()),
            _ => None,
        });
        Self { users: Texts::of(users), groups: Texts::of(groups) }
    }

    /// Whether somebody is one of them.
    pub fn has(&self, user: Option<&str>, groups: Option<&str>) -> bool {
        user.is_some_and(|id| self.users.contain(id)) || groups.is_some_and(|groups| self.groups.contain_one_of(groups))
    }
}

/// A sorted set of texts: small ones are searched faster than hashed.
#[derive(Clone, Debug)]
struct Texts(Box<[Box<str>]>);

impl Texts {
    fn of(values: impl Iterator<Item = OneOrMany>) -> Self {
        let mut texts: Vec<Box<str>> =
            values.flat_map(|value| value.texts().to_vec()).map(String::into_boxed_str).collect();
        texts.sort_unstable();
        texts.dedup();
        Self(texts.into_boxed_slice())
    }

    /// Whether one of these, comma separated, is in it.
    fn contain_one_of(&self, texts: &str) -> bool {
        !self.0.is_empty() && texts.split(',').any(|text| self.contain(text.trim()))
    }

    fn contain(&self, text: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(text)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[allow(clippy::needless_pass_by_value)] // Reads better where it is called.
    fn flag(enabled: bool, percentage: f64, rules: serde_json::Value) -> Flag {
        serde_json::from_value(
            json!({ "name": "f", "enabled": enabled, "rolloutPercentage": percentage, "rules": rules }),
        )
        .unwrap()
    }

    fn compiled(flag: &Flag) -> CompiledFlag {
        CompiledFlag::new(flag, "production", EnvironmentRules::Restrict, None)
    }

    fn user(id: &str) -> Context<'_> {
        Context { id: Some(id), user: Some(id), ..Context::default() }
    }

    fn on(reason: Reason) -> Evaluation {
        Evaluation::of(true, reason)
    }

    fn off(reason: Reason) -> Evaluation {
        Evaluation::of(false, reason)
    }

    #[test]
    fn a_disabled_flag_is_off_whatever_its_rules_say() {
        let flag = compiled(&flag(false, 100.0, json!([{ "type": "user", "value": "u" }])));
        assert_eq!(flag.evaluate(&user("u")), off(Reason::Disabled));
    }

    #[test]
    fn beta_testing_of_the_guide_reaches_its_users_and_groups_only() {
        let flag = compiled(&flag(
            true,
            0.0,
            json!([{ "type": "user", "value": ["user-123", "user-456"] }, { "type": "group", "value": "beta-testers" }]),
        ));
        assert_eq!(flag.evaluate(&user("user-456")), Evaluation::by(true, RuleKind::User));
        let tester = Context { groups: Some("staff, beta-testers"), ..user("someone") };
        assert_eq!(flag.evaluate(&tester), Evaluation::by(true, RuleKind::Group));
        assert_eq!(flag.evaluate(&user("someone")), off(Reason::Default));
    }

    #[test]
    fn debug_mode_of_the_guide_stays_off_in_production() {
        let debug = flag(true, 100.0, json!([{ "type": "environment", "value": "development" }]));
        assert_eq!(compiled(&debug).evaluate(&user("u")), Evaluation::by(false, RuleKind::Environment));
        let elsewhere = Context { environment: Some("development"), ..user("u") };
        assert_eq!(compiled(&debug).evaluate(&elsewhere), on(Reason::Percentage));
    }

    #[test]
    fn new_feature_of_the_guide_reaches_half_of_production() {
        let flag = compiled(&flag(
            true,
            50.0,
            json!([{ "type": "user", "value": ["admin-user"] }, { "type": "environment", "value": ["production"] }]),
        ));
        assert_eq!(flag.evaluate(&user("admin-user")), Evaluation::by(true, RuleKind::User));
        let reached = (0..10_000).filter(|n| flag.evaluate(&user(&format!("u{n}"))).enabled).count();
        assert!((4_800..5_200).contains(&reached), "{reached}");
    }

    #[test]
    fn in_match_mode_an_environment_turns_a_flag_on_by_itself() {
        let flag = flag(true, 0.0, json!([{ "type": "environment", "value": "production" }]));
        let flag = CompiledFlag::new(&flag, "production", EnvironmentRules::Match, None);
        assert_eq!(flag.evaluate(&Context::default()), Evaluation::by(true, RuleKind::Environment));
        let elsewhere = Context { environment: Some("test"), ..Context::default() };
        assert_eq!(flag.evaluate(&elsewhere), off(Reason::Default));
    }

    #[test]
    fn a_variable_overrides_even_a_disabled_flag() {
        let flag = flag(false, 0.0, json!([]));
        let forced = |text| CompiledFlag::new(&flag, "p", EnvironmentRules::Restrict, ForcedValue::parse(text));
        assert_eq!(forced("true").evaluate(&Context::default()), on(Reason::Override));
        assert_eq!(forced("false").evaluate(&user("u")), off(Reason::Override));
        assert_eq!(forced("100").evaluate(&Context::default()), on(Reason::Override));
        assert_eq!(forced("25").evaluate(&Context::default()), off(Reason::Override));
        assert_eq!(forced("maybe").evaluate(&user("u")), off(Reason::Disabled));
    }

    #[test]
    fn without_an_identity_only_a_full_rollout_is_on() {
        let everybody = compiled(&flag(true, 100.0, json!([])));
        let half = compiled(&flag(true, 50.0, json!([])));
        assert_eq!(everybody.evaluate(&Context::default()), on(Reason::Percentage));
        assert_eq!(half.evaluate(&Context::default()), off(Reason::Default));
    }

    #[test]
    fn a_percentage_rule_draws_the_same_users_as_the_rollout() {
        let rule = compiled(&flag(true, 0.0, json!([{ "type": "percentage", "value": 30 }])));
        let rollout = compiled(&flag(true, 30.0, json!([])));
        for id in (0..1_000).map(|n| format!("u{n}")) {
            assert_eq!(rule.evaluate(&user(&id)).enabled, rollout.evaluate(&user(&id)).enabled);
        }
        assert_eq!(rule.evaluate(&user("user-1")).rule_matched.is_some(), rule.evaluate(&user("user-1")).enabled);
    }

    #[test]
    fn only_a_partial_percentage_splits_users() {
        assert!(compiled(&flag(true, 50.0, json!([]))).splits());
        assert!(compiled(&flag(true, 0.0, json!([{ "type": "percentage", "value": 1 }]))).splits());
        assert!(!compiled(&flag(true, 100.0, json!([{ "type": "user", "value": "u" }]))).splits());
        assert!(!compiled(&flag(false, 50.0, json!([]))).splits());
    }

    proptest! {
        #[test]
        fn raising_a_rollout_never_takes_a_flag_from_a_user(id in ".{0,40}", low in 0_u16..=10_000, high in 0_u16..=10_000) {
            let at = |points| compiled(&flag(true, f64::from(points) / 100.0, json!([]))).evaluate(&user(&id)).enabled;
            prop_assert!(!at(low.min(high)) || at(low.max(high)));
        }
    }
}
