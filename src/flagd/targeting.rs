//! Targeting: from one expression with a result to rules of which the first decides.

use serde_json::Value;

use super::Source;
use super::logic::{Operation, number_text, operation};
use crate::decide::flags::{Flaw, Part, Rule, Split, Target};

/// Rules of a flag, and what could not be said.
struct Rules {
    rules: Vec<Rule>,
    flaws: Vec<Flaw>,
}

impl Source<'_> {
    pub(super) fn rules(&self, targeting: &Value) -> Result<Vec<Rule>, Vec<Flaw>> {
        if targeting.is_null() || targeting.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(Vec::new());
        }
        let resolved = self.resolved(targeting).map_err(|flaw| vec![flaw])?;
        let mut rules = Rules { rules: Vec::new(), flaws: Vec::new() };
        self.result(&resolved, "targeting", &[], &mut rules);
        if rules.flaws.is_empty() { Ok(rules.rules) } else { Err(rules.flaws) }
    }

    /// Adds rules for an expression's result under these conditions; whether it always has one.
    /// Where it is null the default holds, and what comes behind must not decide instead.
    fn result(&self, logic: &Value, place: &str, under: &[Target], rules: &mut Rules) -> bool {
        let variant = match logic {
            Value::Null => return false,
            Value::String(name) => Some(name.clone()),
            Value::Bool(name) => Some(name.to_string()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        if let Some(variant) = variant {
            rules.rules.push(Rule { variant: Some(variant), ..Rule::new(all(under)) });
            return true;
        }
        let Some(Operation { name, arguments }) = operation(logic) else {
            rules.flaws.push(self.flaw(place, "the result of targeting is a variant's name"));
            return true;
        };
        match name {
            "if" | "?:" => self.branches(&arguments, &format!("{place}.{name}"), under, rules),
            "fractional" => {
                match self.split(&arguments, &format!("{place}.{name}")) {
                    Ok(split) => rules.rules.push(Rule { split: Some(split), ..Rule::new(all(under)) }),
                    Err(flaw) => rules.flaws.push(flaw),
                }
                // Who is in no part has the default: the rule has decided that.
                true
            }
            _ => self.yes_or_no(logic, name, place, under, rules),
        }
    }

    fn branches(&self, arguments: &[&Value], place: &str, under: &[Target], rules: &mut Rules) -> bool {
        let mut under = under.to_vec();
        let mut always = true;
        for (index, pair) in arguments.chunks(2).enumerate() {
            let [asked, result] = pair else {
                // The last one alone: for everybody else.
                return self.result(pair[0], &format!("{place}[{}]", index * 2), &under, rules) && always;
            };
            match self.condition(asked, &format!("{place}[{}]", index * 2)) {
                Ok(condition) => {
                    let here = [&under[..], std::slice::from_ref(&condition)].concat();
                    if !self.result(result, &format!("{place}[{}]", index * 2 + 1), &here, rules) {
                        always = false;
                        under.push(Target::None(vec![condition]));
                    }
                }
                Err(flaw) => rules.flaws.push(flaw),
            }
        }
        false
    }

    /// A condition as a result: the variants `true` and `false`.
    fn yes_or_no(&self, logic: &Value, name: &str, place: &str, under: &[Target], rules: &mut Rules) -> bool {
        const NEVER_NULL: [&str; 11] = ["==", "!=", "===", "!==", "<", "<=", ">", ">=", "!", "!!", "in"];
        let made_of = |logic: &Value| operation(logic).is_some_and(|inner| NEVER_NULL.contains(&inner.name));
        let both = matches!(name, "and" | "or")
            && operation(logic)
                .is_some_and(|outer| !outer.arguments.is_empty() && outer.arguments.iter().all(|part| made_of(part)));
        if !both && !NEVER_NULL.contains(&name) {
            rules.flaws.push(self.flaw(place, format!("the operator `{name}` as a result cannot be expressed")));
            return true;
        }
        match self.condition(logic, place) {
            Ok(condition) => {
                let yes = [under, std::slice::from_ref(&condition)].concat();
                rules.rules.push(Rule { variant: Some("true".to_owned()), ..Rule::new(all(&yes)) });
                rules.rules.push(Rule { variant: Some("false".to_owned()), ..Rule::new(all(under)) });
            }
            Err(flaw) => rules.flaws.push(flaw),
        }
        true
    }

    fn split(&self, arguments: &[&Value], place: &str) -> Result<Split, Flaw> {
        let (by, parts) = match arguments.split_first() {
            Some((first, _)) if first.is_array() => (Vec::new(), arguments),
            Some((first, rest)) => (self.hashed(first, place)?, rest),
            None => return Err(self.flaw(place, "there is nothing to draw from")),
        };
        let weights = parts.iter().enumerate().map(|(index, part)| {
            let wrong = |detail: &str| self.flaw(&format!("{place}[{index}]"), detail);
            let part = part.as_array().filter(|part| (1..=2).contains(&part.len()));
            let part = part.ok_or_else(|| wrong("a part is [variant, weight]"))?;
            let variant = match &part[0] {
                Value::Null => None,
                Value::String(name) => Some(name.clone()),
                Value::Bool(name) => Some(name.to_string()),
                Value::Number(name) => Some(name.to_string()),
                _ => return Err(wrong("a variant that is an expression cannot be expressed")),
            };
            let weight = match part.get(1) {
                None => 1,
                Some(weight) if weight.is_i64() || weight.is_u64() => weight.as_i64().unwrap_or(i64::MAX).max(0),
                Some(_) => return Err(wrong("a weight is a whole number; an expression cannot be expressed")),
            };
            let weight = u32::try_from(weight).map_err(|_| wrong("the weight is too large"))?;
            Ok((variant, weight))
        });
        Ok(Split { hash: self.hash, by, weights: weights.collect::<Result<_, Flaw>>()? })
    }

    /// What is hashed: an attribute, or texts and attributes one after another.
    fn hashed(&self, logic: &Value, place: &str) -> Result<Vec<Part>, Flaw> {
        let wrong = || self.flaw(place, "what is hashed is an attribute, or `cat` of texts and attributes");
        let part = |logic: &Value| match (logic, operation(logic)) {
            (Value::String(text), _) => Ok(Part::Text(text.clone())),
            (Value::Number(number), _) => Ok(Part::Text(number_text(number))),
            (_, Some(Operation { name: "var", arguments })) => match arguments.as_slice() {
                [Value::String(name)] if name == "$flagd.flagKey" => Ok(Part::Text(self.key.to_owned())),
                [Value::String(name)] if !name.is_empty() && !name.starts_with('$') => {
                    Ok(Part::Attribute { attribute: name.clone() })
                }
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        };
        match operation(logic) {
            Some(Operation { name: "cat", arguments }) => {
                let mut parts = arguments.iter().map(|logic| part(logic)).collect::<Result<Vec<_>, Flaw>>()?;
                // Alone it would be hashed as the value that it is.
                if matches!(parts.as_slice(), [Part::Attribute { .. }]) {
                    parts.push(Part::Text(String::new()));
                }
                Ok(parts)
            }
            _ => Ok(vec![part(logic)?]),
        }
    }
}

/// One rule for all of these conditions.
fn all(under: &[Target]) -> Target {
    match under {
        [only] => only.clone(),
        several => Target::All(several.to_vec()),
    }
}
