//! Targeting: from one expression with a result to rules of which the first decides.

use serde_json::Value;

use super::Source;
use super::condition::size;
use super::logic::{Operation, compares, number_text, operation};
use crate::decide::flags::{Flaw, Part, Rule, Split, Target};

/// Rules of a flag, and what could not be said.
struct Rules {
    rules: Vec<Rule>,
    flaws: Vec<Flaw>,
}

impl Rules {
    /// A rule, or why there is none; whether there is one.
    fn add(&mut self, rule: Result<Rule, Flaw>) -> bool {
        let good = rule.is_ok();
        match rule {
            Ok(rule) => self.rules.push(rule),
            Err(flaw) => self.flaws.push(flaw),
        }
        good
    }
}

impl Source<'_> {
    pub(super) fn rules(&self, targeting: &Value) -> Result<Vec<Rule>, Vec<Flaw>> {
        if targeting.is_null() || targeting.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok(Vec::new());
        }
        if !targeting.is_object() {
            return Err(vec![self.flaw("targeting", "targeting is an object: JsonLogic")]);
        }
        let resolved = self.resolved(targeting).map_err(|flaw| vec![flaw])?;
        let mut rules = Rules { rules: Vec::new(), flaws: Vec::new() };
        self.result(&resolved, "targeting", &mut Vec::new(), &mut rules);
        if rules.flaws.is_empty() { Ok(rules.rules) } else { Err(rules.flaws) }
    }

    /// Adds rules for an expression's result under these conditions; whether it always has one.
    /// Where it is null the default holds, and what comes behind must not decide instead.
    fn result(&self, logic: &Value, place: &str, under: &mut Vec<Target>, rules: &mut Rules) -> bool {
        let variant = match logic {
            Value::Null => return false,
            Value::String(name) => Some(name.clone()),
            Value::Bool(name) => Some(name.to_string()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        if let Some(variant) = variant {
            let known = self.known(&variant, place);
            rules.add(known.and_then(|()| Ok(Rule { variant: Some(variant), ..self.rule(under, place)? })));
            return true;
        }
        let Some(Operation { name, arguments }) = operation(logic) else {
            rules.flaws.push(self.flaw(place, "the result of targeting is a variant's name"));
            return true;
        };
        match name {
            "if" | "?:" => self.branches(&arguments, &format!("{place}.{name}"), under, rules),
            "fractional" => {
                let split = self.split(&arguments, &format!("{place}.{name}"));
                rules.add(split.and_then(|split| Ok(Rule { split: Some(split), ..self.rule(under, place)? })));
                // Who is in no part has the default: the rule has decided that.
                true
            }
            _ => self.yes_or_no(logic, name, place, under, rules),
        }
    }

    fn branches(&self, arguments: &[&Value], place: &str, under: &mut Vec<Target>, rules: &mut Rules) -> bool {
        let outside = under.len();
        let mut always = true;
        let mut has_last = false;
        for (index, pair) in arguments.chunks(2).enumerate() {
            let at = |more: usize| format!("{place}[{}]", index * 2 + more);
            let [asked, result] = pair else {
                // The last one alone: for everybody else.
                always &= self.result(pair[0], &at(0), under, rules);
                has_last = true;
                break;
            };
            match self.condition(asked, &at(0)) {
                Ok(condition) => {
                    under.push(condition);
                    if !self.result(result, &at(1), under, rules) {
                        always = false;
                        let condition = under.pop();
                        under.push(Target::None(condition.into_iter().collect()));
                    } else {
                        under.pop();
                    }
                }
                Err(flaw) => {
                    rules.flaws.push(flaw);
                    // Nothing comes of it but what else is wrong.
                    self.result(result, &at(1), under, rules);
                }
            }
        }
        under.truncate(outside);
        always && has_last
    }

    /// A condition as a result: the variants `true` and `false`.
    fn yes_or_no(&self, logic: &Value, name: &str, place: &str, under: &[Target], rules: &mut Rules) -> bool {
        if !is_yes_or_no(logic) {
            rules.flaws.push(self.flaw(place, format!("the operator `{name}` as a result cannot be expressed")));
            return true;
        }
        let yes = self.condition(logic, place).and_then(|condition| {
            self.known("true", place)?;
            let yes = [under, std::slice::from_ref(&condition)].concat();
            Ok(Rule { variant: Some("true".to_owned()), ..self.rule(&yes, place)? })
        });
        if rules.add(yes) {
            let no = self.known("false", place);
            rules.add(no.and_then(|()| Ok(Rule { variant: Some("false".to_owned()), ..self.rule(under, place)? })));
        }
        true
    }

    /// One rule for all of these conditions.
    fn rule(&self, under: &[Target], place: &str) -> Result<Rule, Flaw> {
        self.spend(1 + under.iter().map(size).sum::<usize>(), place)?;
        Ok(Rule::new(match under {
            [only] => only.clone(),
            several => Target::All(several.to_vec()),
        }))
    }

    fn known(&self, variant: &str, place: &str) -> Result<(), Flaw> {
        if self.variants.get(variant).is_some() {
            return Ok(());
        }
        let names: Vec<&str> = self.variants.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        Err(self.flaw(place, format!("{variant:?} is no variant; there are {}", names.join(", "))))
    }

    fn split(&self, arguments: &[&Value], place: &str) -> Result<Split, Flaw> {
        let (by, parts) = match arguments.split_first() {
            Some((first, _)) if first.is_array() => (Vec::new(), arguments),
            Some((first, rest)) => (self.hashed(first, place)?, rest),
            None => return Err(self.flaw(place, "there is nothing to draw from")),
        };
        let first = arguments.len() - parts.len();
        let weights = parts.iter().enumerate().map(|(index, part)| {
            let place = format!("{place}[{}]", first + index);
            let wrong = |detail: &str| self.flaw(&place, detail);
            let part = part.as_array().filter(|part| (1..=2).contains(&part.len()));
            let part = part.ok_or_else(|| wrong("a part is [variant, weight]"))?;
            let variant = match &part[0] {
                Value::Null => None,
                Value::String(name) => Some(name.clone()),
                Value::Bool(name) => Some(name.to_string()),
                Value::Number(name) => Some(name.to_string()),
                _ => return Err(wrong("a variant that is an expression cannot be expressed")),
            };
            variant.iter().try_for_each(|variant| self.known(variant, &place))?;
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
            (Value::Number(number), _) => number_text(number).map(Part::Text).ok_or_else(wrong),
            (_, Some(Operation { name: "var", arguments })) => match arguments.as_slice() {
                [Value::String(name)] if name == "$flagd.flagKey" => Ok(Part::Text(self.key.to_owned())),
                [Value::String(name)] if !name.is_empty() => {
                    Ok(Part::Attribute { attribute: self.attribute_name(name, place)?.to_owned() })
                }
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        };
        match operation(logic) {
            Some(Operation { name: "cat", arguments }) => {
                let mut parts = arguments.iter().map(|logic| part(logic)).collect::<Result<Vec<_>, Flaw>>()?;
                // Alone it would be hashed as the value that it is, and nothing as the key.
                if matches!(parts.as_slice(), [] | [Part::Attribute { .. }]) {
                    parts.push(Part::Text(String::new()));
                }
                Ok(parts)
            }
            None if !logic.is_string() => Err(wrong()),
            _ => Ok(vec![part(logic)?]),
        }
    }
}

/// Whether an expression is true or false, and never null or another value.
fn is_yes_or_no(logic: &Value) -> bool {
    let Some(Operation { name, arguments }) = operation(logic) else { return false };
    match name {
        "and" | "or" => !arguments.is_empty() && arguments.iter().all(|part| is_yes_or_no(part)),
        "!" | "!!" => true,
        name => compares(name) && !matches!(name, "starts_with" | "ends_with"),
    }
}
