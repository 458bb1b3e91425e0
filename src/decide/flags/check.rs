//! What a flag must not say: found when it is written, so that nothing is wrong at request time.

use super::model::{Flag, Rule, Target};
use super::split::WEIGHTS_MAX;
use super::variant::{ValueKind, field_text};

/// Rules in rules in rules.
const DEPTH_MAX: usize = 16;
/// Flags that one rests on.
const PREREQUISITES_MAX: usize = 10;
const WEIGHT_MAX: u32 = 1_000_000;
const VARIANT_NAME_MAX: usize = 128;

/// What is wrong with a flag, and in which field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {detail}")]
pub struct Flaw {
    /// The field.
    pub field: String,
    /// What was found, and what is allowed.
    pub detail: String,
}

fn flaw(field: impl Into<String>, detail: impl Into<String>) -> Flaw {
    Flaw { field: field.into(), detail: detail.into() }
}

impl Flag {
    /// Whether it can be evaluated, each value be told to the app, and each name in it be found.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), Flaw> {
        self.check_variants()?;
        for (index, rule) in self.rules.iter().enumerate() {
            self.check_rule(rule, &format!("rules[{index}]"))?;
        }
        self.check_ramp()?;
        if self.schedule.is_some_and(|schedule| !schedule.is_possible()) {
            return Err(flaw("schedule", "`until` is not after `from`"));
        }
        if self.prerequisites.len() > PREREQUISITES_MAX {
            return Err(flaw(
                "prerequisites",
                format!("at most {PREREQUISITES_MAX} flags, not {}", self.prerequisites.len()),
            ));
        }
        match self.prerequisites.iter().position(|needed| needed.flag == self.name) {
            Some(index) => Err(flaw(format!("prerequisites[{index}]"), "a flag cannot rest on itself")),
            None => Ok(()),
        }
    }

    fn check_variants(&self) -> Result<(), Flaw> {
        let mut kind = None;
        for (name, variant) in &self.variants {
            let field = format!("variants.{name}");
            if name.is_empty() || name.len() > VARIANT_NAME_MAX || !name.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
                let detail = format!("a variant's name is 1 to {VARIANT_NAME_MAX} visible ASCII characters");
                return Err(flaw(field, detail));
            }
            let own = ValueKind::of(&variant.value);
            if own.is_none() || *kind.get_or_insert(own) != own {
                let detail = "all values of a flag are booleans, texts, numbers, or objects and lists";
                return Err(flaw(field, detail));
            }
            if field_text(&variant.value).is_none() {
                let detail =
                    "the app gets it as a header: one line of visible ASCII, neither empty nor with spaces at its ends";
                return Err(flaw(field, detail));
            }
            if variant.weight > WEIGHT_MAX {
                return Err(flaw(field, format!("a weight is 0 to {WEIGHT_MAX}, not {}", variant.weight)));
            }
        }
        match &self.default_variant {
            Some(name) => self.check_variant(name, "defaultVariant"),
            None => Ok(()),
        }
    }

    /// A ramp that begins takes the flag from nobody.
    fn check_ramp(&self) -> Result<(), Flaw> {
        let Some(ramp) = self.ramp.as_ref().filter(|ramp| ramp.progress.is_none()) else { return Ok(()) };
        let first = ramp.stages.as_slice()[0].share;
        if first < self.rollout_percentage {
            let now = self.rollout_percentage;
            return Err(flaw(
                "ramp.stages[0].percentage",
                format!("it begins at {first}, and {now} of users have the flag"),
            ));
        }
        Ok(())
    }

    fn check_variant(&self, name: &str, field: &str) -> Result<(), Flaw> {
        if self.variants.contains_key(name) {
            return Ok(());
        }
        let known: Vec<&str> = self.variants.keys().map(String::as_str).collect();
        let detail = match known.as_slice() {
            [] => format!("{name:?} is no variant: the flag has none"),
            _ => format!("{name:?} is no variant; there are {}", known.join(", ")),
        };
        Err(flaw(field, detail))
    }

    fn check_rule(&self, rule: &Rule, field: &str) -> Result<(), Flaw> {
        check_target(&rule.target, field, DEPTH_MAX)?;
        if let Some(variant) = &rule.variant {
            self.check_variant(variant, &format!("{field}.variant"))?;
        }
        let Some(split) = &rule.split else { return Ok(()) };
        let field = format!("{field}.split");
        if rule.variant.is_some() {
            return Err(flaw(field, "`variant` says already what those have whom the rule matches"));
        }
        if self.variants.is_empty() {
            return Err(flaw(field, "there are no variants to split users among"));
        }
        let named = split.weights.iter().filter_map(|(variant, _)| variant.as_deref());
        named.into_iter().try_for_each(|variant| self.check_variant(variant, &format!("{field}.weights")))?;
        let sum: u64 = split.weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if sum > WEIGHTS_MAX {
            return Err(flaw(format!("{field}.weights"), format!("their sum is at most {WEIGHTS_MAX}, not {sum}")));
        }
        Ok(())
    }
}

fn check_target(target: &Target, field: &str, depth: usize) -> Result<(), Flaw> {
    if depth == 0 {
        return Err(flaw(field, format!("rules in rules are at most {DEPTH_MAX} deep")));
    }
    match target {
        Target::Schedule(schedule) if !schedule.is_possible() => Err(flaw(field, "`until` is not after `from`")),
        Target::All(parts) | Target::Any(parts) | Target::None(parts) => parts
            .iter()
            .enumerate()
            .try_for_each(|(index, part)| check_target(part, &format!("{field}.value[{index}]"), depth - 1)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn found(more: &Value) -> Option<String> {
        let mut flag = json!({ "name": "f", "enabled": true, "rolloutPercentage": 0, "rules": [],
            "variants": { "red": { "value": "#f00" }, "blue": { "value": "#00f" } } });
        let fields = more.as_object().unwrap().clone();
        flag.as_object_mut().unwrap().extend(fields);
        let flag: Flag = serde_json::from_value(flag).unwrap();
        flag.check().err().map(|flaw| flaw.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        let deep =
            (0..20).fold(json!({ "type": "user", "value": "u" }), |rule, _| json!({ "type": "all", "value": [rule] }));
        let rows = [
            (json!({ "variants": { "a": { "value": 1 }, "b": { "value": "x" } } }), "variants.b"),
            (json!({ "variants": { "a": { "value": null } } }), "variants.a"),
            (json!({ "variants": { "a": { "value": "ü" } } }), "variants.a"),
            (json!({ "variants": { "a b": { "value": 1 } } }), "variants.a b"),
            (json!({ "variants": { "a": { "value": 1, "weight": 2_000_000 } } }), "variants.a"),
            (json!({ "defaultVariant": "green" }), "there are blue, red"),
            (json!({ "rules": [{ "type": "user", "value": "u", "variant": "green" }] }), "rules[0].variant"),
            (
                json!({ "rules": [{ "type": "user", "value": "u", "split": { "hash": "murmur3", "weights": [["green", 1]] } }] }),
                "rules[0].split.weights",
            ),
            (
                json!({ "rules": [{ "type": "user", "value": "u", "variant": "red", "split": { "hash": "murmur3", "weights": [] } }] }),
                "rules[0].split",
            ),
            (json!({ "schedule": { "from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z" } }), "schedule"),
            (json!({ "prerequisites": [{ "flag": "f" }] }), "prerequisites[0]"),
            (json!({ "rules": [deep] }), "16 deep"),
        ];
        for (more, part) in rows {
            let text = found(&more).unwrap_or_default();
            assert!(text.contains(part), "{more}: {text:?}");
        }
        assert_eq!(found(&json!({ "defaultVariant": "red" })), None);
    }
}
