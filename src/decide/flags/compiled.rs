//! A flag ready to be evaluated: everything that can be known before somebody asks.

use std::sync::Arc;

use serde_json::Value;

use super::attribute::Test;
use super::evaluate::{CompiledPrerequisite, Context, EnvironmentRules, Evaluation};
use super::model::{Flag, OneOrMany, Prerequisite, Rule, RuleKind, Target, TrackName};
use super::name::FlagName;
use super::schedule::Schedule;
use super::split::Split;
use super::texts::Texts;
use super::variant::{ValueKind, Variants};
use crate::decide::bucket::{Salt, Share};

/// What a flag is compiled for.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The environment.
    pub home: &'a str,
    /// How `environment` rules are read.
    pub reading: EnvironmentRules,
    /// What a variable of the process says of it.
    pub forced: Option<&'a str>,
    /// The number of its ramp.
    pub ramp: Option<usize>,
}

/// A flag ready to be evaluated.
#[derive(Clone, Debug)]
pub struct CompiledFlag {
    pub(super) name: FlagName,
    pub(super) salt: Salt,
    pub(super) forced: Option<ForcedValue>,
    pub(super) enabled: bool,
    /// The environments that restrict it; `None`: any.
    pub(super) environments: Option<Texts>,
    /// Whether the configured environment is one of them.
    pub(super) at_home: bool,
    pub(super) home: Box<str>,
    pub(super) schedule: Option<Schedule>,
    pub(super) prerequisites: Box<[CompiledPrerequisite]>,
    pub(super) rules: Box<[CompiledRule]>,
    pub(super) rollout: Share,
    pub(super) ramp: Option<usize>,
    pub(super) typed: Option<Typed>,
    client: bool,
}

/// A variable's word on a flag; rules are skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForcedValue {
    On,
    Off,
    /// On for this part of users, by the flag's own buckets.
    Share(Share),
    /// This variant for everybody.
    Variant(usize),
}

impl ForcedValue {
    /// Reads a variant's name, `true`, `false` or a percentage; `None` for anything else.
    fn parse(text: &str, typed: Option<&Typed>) -> Option<Self> {
        let text = text.trim();
        let share = |number: f64| Share::from_percentage(number).ok().map(Self::Share);
        match (typed.and_then(|typed| typed.number(text)), text) {
            (Some(number), _) => Some(Self::Variant(number)),
            (None, "true") => Some(Self::On),
            (None, "false") => Some(Self::Off),
            (None, number) => number.parse().ok().and_then(share),
        }
    }
}

/// A rule, and what those have whom it matches.
#[derive(Clone, Debug)]
pub(super) struct CompiledRule {
    pub(super) kind: RuleKind,
    pub(super) matcher: Matcher,
    gives: Gives,
}

#[derive(Clone, Debug)]
enum Gives {
    /// By the variants' own weights.
    Weights,
    Variant(usize),
    /// By the split's weights: the numbers of its variants in its order.
    Split(Split, Box<[Option<usize>]>),
}

/// Whom a rule matches.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    Percentage(Share),
    User(Texts),
    Group(Texts),
    Environment(Texts),
    Canary(bool),
    Attribute(Box<[(Box<str>, Test)]>),
    Schedule(Schedule),
    All(Box<[Matcher]>),
    Any(Box<[Matcher]>),
    None(Box<[Matcher]>),
}

/// A flag's variants.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    kind: ValueKind,
    variants: Box<[(Box<str>, Value)]>,
    /// Weights added up, in the variants' order.
    ends: Box<[u64]>,
    /// The only variant with a weight: nobody has to be drawn for.
    only: Option<usize>,
    salt: Salt,
    pub(super) default: Option<usize>,
}

/// Which variant somebody has.
pub(super) enum Drawn {
    /// The one that is named.
    Named(usize),
    /// The one that an id has drawn.
    Variant(usize),
    /// None of its own.
    Default,
    /// Nobody to draw for.
    KeyMissing,
}

impl CompiledFlag {
    /// Compiles a flag; `known` finds the flags that it rests on.
    pub fn new(flag: &Flag, surroundings: &Surroundings<'_>, known: impl Fn(&FlagName) -> Option<Arc<Self>>) -> Self {
        let Surroundings { home, reading, forced, ramp } = *surroundings;
        let restricting = |target: &Target| match (target, reading) {
            (Target::Environment(names), EnvironmentRules::Restrict) => Some(names.clone()),
            _ => None,
        };
        let mut named = flag.rules.iter().filter_map(|rule| restricting(&rule.target)).peekable();
        let environments = named.peek().is_some().then(|| Texts::of(named.by_ref()));
        let rules = flag.rules.iter().filter(|rule| restricting(&rule.target).is_none());
        let typed = Typed::of(flag);
        let prerequisite = |needed: &Prerequisite| {
            let found = known(&needed.flag);
            let variant = needed.variant.as_ref();
            let number = |name: &String| found.as_ref().and_then(|flag| flag.typed.as_ref()?.number(name));
            CompiledPrerequisite { variant: variant.map(number), flag: found.clone() }
        };
        Self {
            name: flag.name.clone(),
            salt: Salt::flag(flag.name.as_str()),
            forced: forced.and_then(|text| ForcedValue::parse(text, typed.as_ref())),
            enabled: flag.enabled,
            at_home: environments.as_ref().is_none_or(|names| names.contain(home)),
            environments,
            home: home.into(),
            schedule: flag.schedule,
            prerequisites: flag.prerequisites.iter().map(prerequisite).collect(),
            rules: rules.map(|rule| CompiledRule::new(rule, typed.as_ref())).collect(),
            rollout: flag.rollout_percentage,
            ramp,
            typed,
            client: flag.client,
        }
    }

    /// Its name.
    pub fn name(&self) -> &FlagName {
        &self.name
    }

    /// Whether apps on their users' devices may ask for it.
    pub fn is_for_clients(&self) -> bool {
        self.client
    }

    /// What kind of values it has.
    pub fn kind(&self) -> ValueKind {
        self.typed.as_ref().map_or(ValueKind::Boolean, |typed| typed.kind)
    }

    /// Whether something could decide beyond the switch and the percentage.
    pub fn has_rules(&self) -> bool {
        self.schedule.is_some()
            || self.environments.is_some()
            || !self.rules.is_empty()
            || !self.prerequisites.is_empty()
    }

    /// Its variants, in the order of their numbers; empty where it is on or off.
    pub fn variants(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.typed.iter().flat_map(|typed| typed.variants.iter().map(|(name, value)| (&**name, value)))
    }

    /// The name and value of the variant that an evaluation found.
    pub fn variant(&self, evaluation: &Evaluation) -> Option<(&str, &Value)> {
        let (name, value) = self.typed.as_ref()?.variants.get(evaluation.variant?)?;
        Some((name, value))
    }

    /// Whether some answer depends on the bucket of an id.
    pub fn splits(&self) -> bool {
        match self.forced {
            Some(ForcedValue::Share(share)) => share.splits() || self.draws_variants(),
            Some(ForcedValue::On) => self.draws_variants(),
            Some(_) => false,
            None => {
                let rests = |needed: &CompiledPrerequisite| needed.flag.as_ref().is_some_and(|flag| flag.splits());
                self.enabled && (self.draws() || self.draws_variants() || self.prerequisites.iter().any(rests))
            }
        }
    }

    /// Whether the rollout or a percentage rule draws.
    pub(super) fn draws(&self) -> bool {
        self.ramp.is_some() || self.rollout.splits() || self.rules.iter().any(|rule| rule.matcher.draws())
    }

    fn draws_variants(&self) -> bool {
        let by_rule = |rule: &CompiledRule| matches!(rule.gives, Gives::Split(..));
        self.typed.as_ref().is_some_and(|typed| typed.only.is_none()) || self.rules.iter().any(by_rule)
    }

    /// Whether it has to be told the time.
    pub fn asks_the_time(&self) -> bool {
        let rests = |needed: &CompiledPrerequisite| needed.flag.as_ref().is_some_and(|flag| flag.asks_the_time());
        self.schedule.is_some()
            || self.rules.iter().any(|rule| rule.matcher.asks_the_time())
            || self.prerequisites.iter().any(rests)
    }
}

impl CompiledRule {
    fn new(rule: &Rule, typed: Option<&Typed>) -> Self {
        let number = |name: &String| typed.and_then(|typed| typed.number(name));
        let gives = match (&rule.variant, &rule.split) {
            (Some(name), _) => number(name).map_or(Gives::Weights, Gives::Variant),
            (None, Some(split)) => {
                let variants = split.weights.iter().map(|(name, _)| name.as_ref().and_then(number));
                Gives::Split(split.clone(), variants.collect())
            }
            (None, None) => Gives::Weights,
        };
        Self { kind: rule.target.kind(), matcher: Matcher::new(&rule.target), gives }
    }
}

impl Matcher {
    fn new(target: &Target) -> Self {
        let texts = |value: &OneOrMany| Texts::of(std::iter::once(value.clone()));
        let all = |parts: &[Target]| parts.iter().map(Self::new).collect();
        match target {
            Target::Percentage(share) => Self::Percentage(*share),
            Target::User(ids) => Self::User(texts(ids)),
            Target::Group(names) => Self::Group(texts(names)),
            Target::Environment(names) => Self::Environment(texts(names)),
            Target::Track(track) => Self::Canary(*track == TrackName::Canary),
            Target::Attribute(tests) => {
                Self::Attribute(tests.iter().map(|(name, test)| (name.as_str().into(), test.clone())).collect())
            }
            Target::Schedule(schedule) => Self::Schedule(*schedule),
            Target::All(parts) => Self::All(all(parts)),
            Target::Any(parts) => Self::Any(all(parts)),
            Target::None(parts) => Self::None(all(parts)),
        }
    }

    fn parts(&self) -> &[Self] {
        match self {
            Self::All(parts) | Self::Any(parts) | Self::None(parts) => parts,
            _ => &[],
        }
    }

    fn draws(&self) -> bool {
        matches!(self, Self::Percentage(share) if share.splits()) || self.parts().iter().any(Self::draws)
    }

    fn asks_the_time(&self) -> bool {
        matches!(self, Self::Schedule(_)) || self.parts().iter().any(Self::asks_the_time)
    }
}

impl Typed {
    fn of(flag: &Flag) -> Option<Self> {
        let variants: &Variants = &flag.variants;
        let kind = variants.values().find_map(|variant| ValueKind::of(&variant.value))?;
        let mut end = 0;
        let ends = variants.values().map(|variant| {
            end += u64::from(variant.weight);
            end
        });
        let ends: Box<[u64]> = ends.collect();
        let with_weight = variants.values().enumerate().filter(|(_, variant)| variant.weight > 0);
        let with_weight: Vec<usize> = with_weight.map(|(number, _)| number).collect();
        let default = flag.default_variant.as_ref();
        Some(Self {
            kind,
            ends,
            only: if let [only] = with_weight[..] { Some(only) } else { None },
            salt: Salt::variant(flag.name.as_str()),
            default: default.and_then(|default| variants.keys().position(|name| name == default)),
            variants: variants.iter().map(|(name, variant)| (name.as_str().into(), variant.value.clone())).collect(),
        })
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.variants.iter().position(|(own, _)| **own == *name)
    }

    /// The value of a boolean variant.
    pub(super) fn says_yes(&self, number: usize) -> Option<bool> {
        self.variants.get(number)?.1.as_bool()
    }

    pub(super) fn draw(&self, rule: Option<&CompiledRule>, flag: &str, context: &Context<'_>) -> Drawn {
        match rule.map_or(&Gives::Weights, |rule| &rule.gives) {
            Gives::Variant(number) => Drawn::Named(*number),
            Gives::Weights => self.by_weight(context),
            Gives::Split(split, variants) => match split.draw(flag, context).and_then(|index| variants[index]) {
                Some(number) => Drawn::Variant(number),
                None => Drawn::Default,
            },
        }
    }

    /// Buckets of their own: those who have a flag at 10 % are spread over all variants.
    fn by_weight(&self, context: &Context<'_>) -> Drawn {
        let sum = self.ends.last().copied().unwrap_or(0);
        match (self.only, context.id) {
            (Some(only), _) => Drawn::Named(only),
            (None, _) if sum == 0 => Drawn::Default,
            (None, None) => Drawn::KeyMissing,
            (None, Some(id)) => {
                let point = (u128::from(self.salt.hash(id)) * u128::from(sum)) >> 64;
                let drawn = self.ends.iter().position(|end| point < u128::from(*end));
                drawn.map_or(Drawn::Default, Drawn::Variant)
            }
        }
    }
}
