//! What a flag means for one context: on or off, or which variant, with the reason.
//!
//! A flag is compiled once per change; evaluating one of the guide's kind allocates nothing.

use std::sync::Arc;

use serde::Serialize;

use super::attribute::{Attribute, Attributes};
use super::compiled::{CompiledFlag, CompiledRule, Drawn, ForcedValue, Matcher};
use super::model::{Rule, RuleKind, Target};
use super::texts::Texts;
use crate::decide::bucket::Share;

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
    /// Whether a deployment has sent the request to its canary; `None`: nobody knows.
    pub canary: Option<bool>,
    /// What else is known.
    pub attributes: Option<&'a dyn Attributes>,
    /// Now, in milliseconds since 1970; of interest to [`CompiledFlag::asks_the_time`] alone.
    pub unix_millis: i64,
    /// How far each ramp is, in the order of their numbers.
    pub ramps: &'a [Share],
}

impl<'a> Context<'a> {
    /// The id that is drawn for, where there is one.
    pub(super) fn targeting_key(&self) -> Option<&'a str> {
        self.id.filter(|id| !id.is_empty())
    }

    /// An attribute; the id is one by OpenFeature's name for it.
    pub(super) fn attribute(&self, name: &str) -> Option<Attribute<'a>> {
        let own = || self.targeting_key().filter(|_| name == "targetingKey").map(|id| Attribute::Text(id.into()));
        self.attributes.and_then(|attributes| attributes.get(name)).or_else(own)
    }
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
    /// Its time has not come, or is over.
    Schedule,
    /// A flag that it rests on is off, or has another variant.
    Prerequisite,
    /// A rule decided.
    Rule,
    /// The rollout percentage decided.
    Percentage,
}

/// The answer for one flag and one context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// On or off; of a flag with boolean variants the value.
    pub enabled: bool,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, with [`Reason::Rule`].
    pub rule_matched: Option<RuleKind>,
    /// The variant's number; `None` for flags without variants, and where the app's own
    /// default holds.
    pub variant: Option<usize>,
    /// Whether an id was drawn for.
    pub drawn: bool,
    /// Whether an id would have been drawn for, and there is none.
    pub key_missing: bool,
}

impl Evaluation {
    /// What an unknown flag is: off, by default.
    pub const UNKNOWN: Self = Self::of(false, Reason::Default);

    const fn of(enabled: bool, reason: Reason) -> Self {
        Self { enabled, reason, rule_matched: None, variant: None, drawn: false, key_missing: false }
    }

    #[cfg(test)]
    const fn by(enabled: bool, rule: RuleKind) -> Self {
        Self { rule_matched: Some(rule), ..Self::of(enabled, Reason::Rule) }
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

impl CompiledFlag {
    /// On or off for this context, and why. The order is SPEC 4's.
    pub fn evaluate(&self, context: &Context<'_>) -> Evaluation {
        if let Some(forced) = self.forced {
            return self.forced_to(forced, context);
        }
        if !self.enabled {
            return Evaluation::of(false, Reason::Disabled);
        }
        if !self.schedule.is_none_or(|schedule| schedule.has(context.unix_millis)) {
            return self.off(Reason::Schedule);
        }
        if !self.prerequisites.iter().all(|needed| needed.is_met(context)) {
            return self.off(Reason::Prerequisite);
        }
        if !self.allowed_in(context.environment) {
            return Evaluation { rule_matched: Some(RuleKind::Environment), ..self.off(Reason::Rule) };
        }
        match self.rules.iter().find(|rule| self.matches(&rule.matcher, context)) {
            Some(rule) => self.on(Reason::Rule, Some(rule), context),
            None => self.by_rollout(context),
        }
    }

    fn forced_to(&self, forced: ForcedValue, context: &Context<'_>) -> Evaluation {
        match forced {
            ForcedValue::On => self.on(Reason::Override, None, context),
            ForcedValue::Off => self.off(Reason::Override),
            ForcedValue::Variant(number) => self.with(number, Reason::Override),
            ForcedValue::Share(share) => self.by_share(share, Reason::Override, context),
        }
    }

    fn by_rollout(&self, context: &Context<'_>) -> Evaluation {
        let ramp = self.ramp.and_then(|number| context.ramps.get(number));
        let rollout = *ramp.unwrap_or(&self.rollout);
        if rollout == Share::NOBODY || (rollout.splits() && context.id.is_none()) {
            let key_missing = context.id.is_none() && self.draws();
            return Evaluation { key_missing, ..self.off(Reason::Default) };
        }
        self.by_share(rollout, Reason::Percentage, context)
    }

    fn by_share(&self, share: Share, reason: Reason, context: &Context<'_>) -> Evaluation {
        let evaluation = if self.reached(share, context) { self.on(reason, None, context) } else { self.off(reason) };
        match context.id {
            Some(_) => Evaluation { drawn: evaluation.drawn || share.splits(), ..evaluation },
            None => Evaluation { key_missing: evaluation.key_missing || share.splits(), ..evaluation },
        }
    }

    /// Off: the default variant, where there are variants.
    fn off(&self, reason: Reason) -> Evaluation {
        match self.typed.as_ref().and_then(|typed| typed.default) {
            Some(number) => {
                let enabled = self.typed.as_ref().is_some_and(|typed| typed.says_yes(number) == Some(true));
                Evaluation { enabled, variant: Some(number), ..Evaluation::of(false, reason) }
            }
            None => Evaluation::of(false, reason),
        }
    }

    /// On: the variant that the rule names, or the one that is drawn.
    fn on(&self, reason: Reason, rule: Option<&CompiledRule>, context: &Context<'_>) -> Evaluation {
        let rule_matched = rule.map(|rule| rule.kind);
        let drawn = matches!(rule.map(|rule| &rule.matcher), Some(Matcher::Percentage(share)) if share.splits());
        let Some(typed) = &self.typed else {
            return Evaluation { rule_matched, drawn, ..Evaluation::of(true, reason) };
        };
        match typed.draw(rule, self.name.as_str(), context) {
            Drawn::Named(number) => Evaluation { rule_matched, drawn, ..self.with(number, reason) },
            Drawn::Variant(number) => Evaluation { rule_matched, drawn: true, ..self.with(number, reason) },
            Drawn::Default => self.off(Reason::Default),
            Drawn::KeyMissing => Evaluation { key_missing: true, ..self.off(Reason::Default) },
        }
    }

    fn with(&self, number: usize, reason: Reason) -> Evaluation {
        let says = self.typed.as_ref().and_then(|typed| typed.says_yes(number));
        Evaluation { variant: Some(number), ..Evaluation::of(says.unwrap_or(true), reason) }
    }

    fn allowed_in(&self, environment: Option<&str>) -> bool {
        match (environment, &self.environments) {
            (Some(name), Some(names)) => names.contain(name),
            _ => self.at_home,
        }
    }

    fn matches(&self, matcher: &Matcher, context: &Context<'_>) -> bool {
        let all = |parts: &[Matcher]| parts.iter().all(|part| self.matches(part, context));
        let any = |parts: &[Matcher]| parts.iter().any(|part| self.matches(part, context));
        match matcher {
            Matcher::Percentage(share) => self.reached(*share, context),
            Matcher::User(ids) => context.user.is_some_and(|id| ids.contain(id)),
            Matcher::Group(names) => context.groups.is_some_and(|groups| names.contain_one_of(groups)),
            Matcher::Environment(names) => names.contain(context.environment.unwrap_or(&self.home)),
            Matcher::Canary(wanted) => context.canary == Some(*wanted),
            Matcher::Attribute(tests) => tests.iter().all(|(name, test)| test.passes(context.attribute(name).as_ref())),
            Matcher::Schedule(schedule) => schedule.has(context.unix_millis),
            Matcher::All(parts) => all(parts),
            Matcher::Any(parts) => any(parts),
            Matcher::None(parts) => !any(parts),
        }
    }

    fn reached(&self, share: Share, context: &Context<'_>) -> bool {
        match share {
            Share::EVERYBODY => true,
            Share::NOBODY => false,
            _ => context.id.is_some_and(|id| share.reaches(self.salt.bucket(id))),
        }
    }
}

/// A flag that another one rests on.
#[derive(Clone, Debug)]
pub(super) struct CompiledPrerequisite {
    /// The flag; `None` where there is none: it is off.
    pub(super) flag: Option<Arc<CompiledFlag>>,
    /// The variant that it has to have; `None` within for one that it lacks.
    pub(super) variant: Option<Option<usize>>,
}

impl CompiledPrerequisite {
    fn is_met(&self, context: &Context<'_>) -> bool {
        let Some(flag) = &self.flag else { return false };
        let evaluation = flag.evaluate(context);
        match self.variant {
            None => evaluation.enabled,
            Some(wanted) => wanted.is_some() && evaluation.variant == wanted,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::flags::{Flag, JsonAttributes, Surroundings};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[allow(clippy::needless_pass_by_value)] // Reads better where it is called.
    fn flag(enabled: bool, percentage: f64, rules: serde_json::Value) -> Flag {
        serde_json::from_value(
            json!({ "name": "f", "enabled": enabled, "rolloutPercentage": percentage, "rules": rules }),
        )
        .unwrap()
    }

    fn compiled(flag: &Flag) -> CompiledFlag {
        compiled_for(flag, EnvironmentRules::Restrict, None)
    }

    fn compiled_for(flag: &Flag, reading: EnvironmentRules, forced: Option<&str>) -> CompiledFlag {
        CompiledFlag::new(flag, &Surroundings { home: "production", reading, forced, ramp: None }, |_| None)
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
        let flag = compiled_for(&flag, EnvironmentRules::Match, None);
        assert_eq!(flag.evaluate(&Context::default()), Evaluation::by(true, RuleKind::Environment));
        let elsewhere = Context { environment: Some("test"), ..Context::default() };
        assert_eq!(flag.evaluate(&elsewhere), off(Reason::Default));
    }

    #[test]
    fn a_variable_overrides_even_a_disabled_flag() {
        let flag = flag(false, 0.0, json!([]));
        let forced = |text| compiled_for(&flag, EnvironmentRules::Restrict, Some(text));
        assert_eq!(forced("true").evaluate(&Context::default()), on(Reason::Override));
        assert_eq!(forced("false").evaluate(&user("u")), off(Reason::Override));
        assert_eq!(forced("100").evaluate(&Context::default()), on(Reason::Override));
        assert!(!forced("25").evaluate(&Context::default()).enabled);
        assert_eq!(forced("maybe").evaluate(&user("u")), off(Reason::Disabled));
    }

    #[test]
    fn without_an_identity_only_a_full_rollout_is_on() {
        let everybody = compiled(&flag(true, 100.0, json!([])));
        let half = compiled(&flag(true, 50.0, json!([])));
        assert_eq!(everybody.evaluate(&Context::default()), on(Reason::Percentage));
        let nobody = half.evaluate(&Context::default());
        assert_eq!((nobody.enabled, nobody.reason), (false, Reason::Default));
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

    fn typed(more: &Value) -> CompiledFlag {
        let mut flag = json!({ "name": "color", "enabled": true, "rolloutPercentage": 100, "variants": {
            "red": { "value": "#f00", "weight": 1 }, "green": { "value": "#0f0", "weight": 3 }, "blue": { "value": "#00f", "weight": 0 } } });
        flag.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let flag: Flag = serde_json::from_value(flag).unwrap();
        flag.check().unwrap();
        compiled(&flag)
    }

    fn variant(flag: &CompiledFlag, context: &Context<'_>) -> Option<String> {
        flag.variant(&flag.evaluate(context)).map(|(name, _)| name.to_owned())
    }

    #[test]
    fn variants_have_the_shares_of_their_weights_and_stay_with_their_users() {
        let flag = typed(&json!({}));
        let ids: Vec<String> = (0..20_000).map(|n| format!("u{n}")).collect();
        let of = |flag: &CompiledFlag, id: &str| variant(flag, &user(id)).unwrap();
        let count = |name: &str| ids.iter().filter(|id| of(&flag, id) == name).count();
        assert!((4_800..5_200).contains(&count("red")), "{}", count("red"));
        assert_eq!((count("blue"), count("red") + count("green")), (0, 20_000));
        // Who has the flag at 10 % is spread over all variants, and keeps its own as it grows.
        let tenth = typed(&json!({ "rolloutPercentage": 10, "defaultVariant": "blue" }));
        let having = ids.iter().filter(|id| of(&tenth, id) != "blue");
        assert!(having.clone().all(|id| of(&tenth, id) == of(&flag, id)));
        let red = having.clone().filter(|id| of(&tenth, id) == "red").count() as f64 / having.count() as f64;
        assert!((0.2..0.3).contains(&red), "{red}");
    }

    #[test]
    fn a_rule_names_its_variant_and_who_has_it_off_gets_the_default() {
        let rule = json!([{ "type": "user", "value": "u", "variant": "blue" }]);
        let flag = typed(&json!({ "rolloutPercentage": 0, "rules": rule, "defaultVariant": "red" }));
        let found = flag.evaluate(&user("u"));
        assert_eq!((found.reason, variant(&flag, &user("u")).as_deref()), (Reason::Rule, Some("blue")));
        let other = flag.evaluate(&user("other"));
        assert_eq!(
            (other.enabled, other.reason, variant(&flag, &user("other")).as_deref()),
            (false, Reason::Default, Some("red"))
        );
        let without = typed(&json!({ "rolloutPercentage": 0 }));
        assert_eq!(variant(&without, &user("u")), None, "the app's own default holds");
        let disabled = typed(&json!({ "enabled": false, "defaultVariant": "red" }));
        assert_eq!(variant(&disabled, &user("u")), None);
    }

    #[test]
    fn of_boolean_variants_the_value_says_whether_it_is_on() {
        let booleans = json!({ "on": { "value": true }, "off": { "value": false } });
        let rules = json!([{ "type": "user", "value": "u", "variant": "off" }, { "type": "user", "value": "v", "variant": "on" }]);
        let flag =
            typed(&json!({ "variants": booleans, "rules": rules, "rolloutPercentage": 0, "defaultVariant": "on" }));
        assert_eq!(["u", "v", "w"].map(|id| flag.evaluate(&user(id)).enabled), [false, true, true]);
    }

    #[test]
    fn without_an_id_nothing_is_drawn_and_it_is_said_that_one_is_missing() {
        let nobody = Context::default();
        let half = compiled(&flag(true, 50.0, json!([])));
        assert!(half.evaluate(&nobody).key_missing && !half.evaluate(&user("u")).key_missing);
        assert!(half.evaluate(&user("u")).drawn);
        let by_rule = compiled(&flag(true, 0.0, json!([{ "type": "percentage", "value": 1 }])));
        assert!(by_rule.evaluate(&nobody).key_missing);
        assert!(!compiled(&flag(true, 0.0, json!([{ "type": "user", "value": "u" }]))).evaluate(&nobody).key_missing);
        let weights = typed(&json!({})).evaluate(&nobody);
        assert!(weights.key_missing && weights.variant.is_none());
        let only = typed(&json!({ "variants": { "red": { "value": 1 }, "blue": { "value": 2, "weight": 0 } } }));
        assert_eq!(variant(&only, &nobody).as_deref(), Some("red"), "nobody has to be drawn for");
    }

    #[test]
    fn rules_about_attributes_tracks_and_times() {
        let rules = json!([
            { "type": "track", "value": "canary" },
            { "type": "all", "value": [
                { "type": "attribute", "value": { "plan": { "in": ["gold"] }, "age": { "atLeast": 18 } } },
                { "type": "none", "value": [{ "type": "attribute", "value": { "country": { "equals": "at" } } }] }
            ] },
            { "type": "schedule", "value": { "from": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z" } }
        ]);
        let flag = compiled(&flag(true, 0.0, rules));
        assert!(flag.asks_the_time());
        let kind = |context: &Context<'_>| flag.evaluate(context).rule_matched;
        assert_eq!(kind(&Context { canary: Some(true), ..user("u") }), Some(RuleKind::Track));
        assert_eq!(kind(&Context { canary: Some(false), ..user("u") }), None);
        let with = |attributes: Value| {
            let map = attributes.as_object().unwrap().clone();
            kind(&Context { attributes: Some(&JsonAttributes(&map)), ..user("u") })
        };
        assert_eq!(with(json!({ "plan": "gold", "age": 18 })), Some(RuleKind::All));
        assert_eq!(with(json!({ "plan": "gold", "age": 17 })), None);
        assert_eq!(with(json!({ "plan": "gold", "age": 18, "country": "at" })), None);
        assert_eq!(kind(&Context { unix_millis: 1_767_225_600_000, ..user("u") }), Some(RuleKind::Schedule));
    }

    #[test]
    fn a_schedule_and_prerequisites_come_before_rules() {
        let mut later = flag(true, 100.0, json!([{ "type": "user", "value": "u" }]));
        later.schedule = serde_json::from_value(json!({ "from": "2026-01-01T00:00:00Z" })).unwrap();
        assert_eq!(compiled(&later).evaluate(&user("u")), off(Reason::Schedule));
        let now = Context { unix_millis: 1_767_225_600_000, ..user("u") };
        assert_eq!(compiled(&later).evaluate(&now), Evaluation::by(true, RuleKind::User));
        let color =
            std::sync::Arc::new(typed(&json!({ "rules": [{ "type": "user", "value": "u", "variant": "blue" }] })));
        let resting = |needs: Value| {
            let mut resting = flag(true, 100.0, json!([]));
            resting.prerequisites = serde_json::from_value(needs).unwrap();
            let surroundings =
                Surroundings { home: "p", reading: EnvironmentRules::Restrict, forced: None, ramp: None };
            let known = |name: &crate::decide::flags::FlagName| (name.as_str() == "color").then(|| color.clone());
            CompiledFlag::new(&resting, &surroundings, known)
        };
        let reasons = |needs: Value| ["u", "v"].map(|id| resting(needs.clone()).evaluate(&user(id)).reason);
        use Reason::{Percentage, Prerequisite};
        assert_eq!(reasons(json!([{ "flag": "color" }])), [Percentage, Percentage]);
        assert_eq!(reasons(json!([{ "flag": "color", "variant": "blue" }])), [Percentage, Prerequisite]);
        assert_eq!(reasons(json!([{ "flag": "color", "variant": "pink" }])), [Prerequisite, Prerequisite]);
        assert_eq!(reasons(json!([{ "flag": "unknown" }])), [Prerequisite, Prerequisite]);
    }

    #[test]
    fn a_variable_names_a_variant() {
        let color: Flag = serde_json::from_value(json!({ "name": "color", "enabled": false, "rolloutPercentage": 0,
            "variants": { "red": { "value": 1 }, "25": { "value": 2 } } }))
        .unwrap();
        let of = |text| variant(&compiled_for(&color, EnvironmentRules::Restrict, Some(text)), &user("u"));
        assert_eq!(of("red").as_deref(), Some("red"));
        assert_eq!(of("25").as_deref(), Some("25"), "a variant's name comes first");
        assert_eq!(of("pink"), None);
    }

    proptest! {
        #[test]
        fn raising_a_rollout_never_takes_a_flag_from_a_user(id in ".{0,40}", low in 0_u16..=10_000, high in 0_u16..=10_000) {
            let at = |points| compiled(&flag(true, f64::from(points) / 100.0, json!([]))).evaluate(&user(&id)).enabled;
            prop_assert!(!at(low.min(high)) || at(low.max(high)));
        }
    }
}
