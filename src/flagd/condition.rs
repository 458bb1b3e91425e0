//! Conditions: JsonLogic's comparisons as tests of attributes.
//!
//! An attribute that is not there is null, which counts as 0: where a comparison holds for
//! that, the rule says so. Texts become numbers where they meet one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Source;
use super::logic::{Operation, compare, compares, number, number_text, operation, truthy, versions};
use crate::decide::flags::{Flaw, Instant, Scalar, ScalarOrMany, Schedule, Target, Test};

const FLAG_KEY: &str = "$flagd.flagKey";
const TIMESTAMP: &str = "$flagd.timestamp";

/// One side of a comparison.
#[derive(Clone)]
enum Operand {
    Constant(Value),
    /// An attribute, and what it is where it is not there.
    Attribute(String, Value),
    Time,
}

impl Source<'_> {
    /// Whether something holds, as a rule.
    pub(super) fn condition(&self, logic: &Value, place: &str) -> Result<Target, Flaw> {
        self.spend(1, place)?;
        let Some(Operation { name, arguments }) = operation(logic) else { return Ok(constant(truthy(logic))) };
        let place = format!("{place}.{name}");
        let each = |arguments: &[&Value]| {
            let inner = arguments.iter().enumerate();
            inner.map(|(index, part)| self.condition(part, &format!("{place}[{index}]"))).collect::<Result<Vec<_>, _>>()
        };
        match (name, arguments.as_slice()) {
            // Nothing is null, which is not true.
            ("and" | "or", []) => Ok(constant(false)),
            ("and", parts) => Ok(Target::All(each(parts)?)),
            ("or", parts) => Ok(Target::Any(each(parts)?)),
            ("!", [part]) => Ok(Target::None(vec![self.condition(part, &place)?])),
            ("!!", [part]) => self.condition(part, &place),
            ("if" | "?:", parts) => self.choice(parts, &place),
            ("var", _) => match self.operand(logic, &place)? {
                Operand::Constant(value) => Ok(constant(truthy(&value))),
                Operand::Time => Ok(constant(true)),
                Operand::Attribute(name, default) => {
                    Ok(or_missing(attribute(&name, Test::Truthy(true)), &name, truthy(&default)))
                }
            },
            ("sem_ver", [found, sign, version]) => self.version(found, sign, version, &place),
            ("<" | "<=" | ">" | ">=", [a, b, c]) => self.between(name, a, b, c, &place),
            (name, [one, other]) if compares(name) => self.comparison(name, one, other, &place),
            (name, parts) if compares(name) || matches!(name, "!" | "!!" | "sem_ver") => {
                Err(self
                    .flaw(&place, format!("the operator `{name}` with {} operands cannot be expressed", parts.len())))
            }
            _ => Err(self.flaw(&place, format!("the operator `{name}` cannot be expressed"))),
        }
    }

    /// `if` within a condition: one of its branches, and none of those before. Flat, however
    /// many there are.
    fn choice(&self, parts: &[&Value], place: &str) -> Result<Target, Flaw> {
        let (mut any, mut others, mut all_others) = (Vec::new(), Vec::new(), 0);
        for (index, pair) in parts.chunks(2).enumerate() {
            let at = |more: usize| format!("{place}[{}]", index * 2 + more);
            let first = self.condition(pair[0], &at(0))?;
            self.spend(all_others + size(&first), place)?;
            let mut all: Vec<Target> = others.clone();
            if let [_, result] = pair {
                let result = self.condition(result, &at(1))?;
                all_others += 1 + size(&first);
                others.push(Target::None(vec![first.clone()]));
                all.extend([first, result]);
            } else {
                all.push(first);
            }
            any.push(Target::All(all));
        }
        Ok(Target::Any(any))
    }

    fn operand(&self, logic: &Value, place: &str) -> Result<Operand, Flaw> {
        let Some(Operation { name, arguments }) = operation(logic) else { return Ok(Operand::Constant(logic.clone())) };
        let (name, default) = match (name, arguments.as_slice()) {
            ("var", [Value::String(name)]) => (name, Value::Null),
            ("var", [Value::String(name), default]) if operation(default).is_none() => (name, (*default).clone()),
            ("var", _) => return Err(self.flaw(place, "`var` names an attribute, with a constant default or none")),
            _ => return Err(self.flaw(place, format!("the operator `{name}` in an operand cannot be expressed"))),
        };
        match name.as_str() {
            FLAG_KEY => Ok(Operand::Constant(Value::from(self.key))),
            TIMESTAMP => Ok(Operand::Time),
            "" => Err(self.flaw(place, "`var` of everything cannot be expressed")),
            name => Ok(Operand::Attribute(self.attribute_name(name, place)?.to_owned(), default)),
        }
    }

    /// An attribute that is one by JsonLogic's rules and by Serin's.
    pub(super) fn attribute_name<'n>(&self, name: &'n str, place: &str) -> Result<&'n str, Flaw> {
        let mut parts = name.split('.');
        if parts.next() == Some("$flagd") {
            let detail = format!("`{name}`: of flagd's own values {FLAG_KEY} and {TIMESTAMP} can be expressed");
            return Err(self.flaw(place, detail));
        }
        if parts.any(|part| part == "length") {
            return Err(self.flaw(place, format!("`{name}`: the length of a list or a text cannot be expressed")));
        }
        Ok(name)
    }

    /// Three operands; where the last one is null, the first two.
    fn between(&self, name: &str, a: &Value, b: &Value, c: &Value, place: &str) -> Result<Target, Flaw> {
        let first = self.comparison(name, a, b, place)?;
        let last = self.operand(c, place)?;
        if matches!(last, Operand::Constant(Value::Null)) {
            return Ok(first);
        }
        let second = self.comparison(name, b, c, place)?;
        let second = match last {
            Operand::Attribute(name, Value::Null) => or_missing(second, &name, true),
            _ => second,
        };
        Ok(Target::All(vec![first, second]))
    }

    fn comparison(&self, name: &str, one: &Value, other: &Value, place: &str) -> Result<Target, Flaw> {
        use Operand::{Attribute, Constant, Time};
        let constants = |one: &Value, other: &Value| {
            let cannot = || self.flaw(place, format!("`{name}` of {one} and {other} cannot be expressed"));
            compare(name, one, other).ok_or_else(cannot)
        };
        match (self.operand(one, place)?, self.operand(other, place)?) {
            (Constant(one), Constant(other)) => Ok(constant(constants(&one, &other)?)),
            (Time, Constant(than)) => self.time(name, &than, place),
            (Constant(than), Time) => self.time(mirrored(name), &than, place),
            (Attribute(attribute, default), Constant(than)) => {
                let there = self.attribute_first(name, &attribute, &than, place)?;
                Ok(or_missing(there, &attribute, constants(&default, &than)?))
            }
            (Constant(than), Attribute(attribute, default)) => {
                let there = match name {
                    "in" => self.contains(&attribute, &than, place)?,
                    "starts_with" | "ends_with" => {
                        return Err(self.flaw(place, format!("`{name}` with a constant first cannot be expressed")));
                    }
                    _ => self.attribute_first(mirrored(name), &attribute, &than, place)?,
                };
                Ok(or_missing(there, &attribute, constants(&than, &default)?))
            }
            _ => Err(self.flaw(place, "one side of a comparison is a constant: two attributes cannot be compared")),
        }
    }

    /// `$flagd.timestamp` is in whole seconds.
    fn time(&self, name: &str, than: &Value, place: &str) -> Result<Target, Flaw> {
        let wrong = || self.flaw(place, format!("`{TIMESTAMP}` is compared by <, <=, >, >= with whole seconds"));
        let seconds = than.as_i64().ok_or_else(wrong)?;
        let at = |later: i64| {
            let instant = seconds.checked_add(later).and_then(Instant::from_unix_seconds);
            instant.ok_or_else(wrong).map(Some)
        };
        let (from, until) = match name {
            "<" => (None, at(0)?),
            "<=" => (None, at(1)?),
            ">" => (at(1)?, None),
            ">=" => (at(0)?, None),
            _ => return Err(wrong()),
        };
        Ok(Target::Schedule(Schedule { from, until }))
    }

    fn version(&self, found: &Value, sign: &Value, version: &Value, place: &str) -> Result<Target, Flaw> {
        let wrong = |detail: &str| self.flaw(place, detail);
        let Operand::Attribute(name, default) = self.operand(found, place)? else {
            return Err(wrong("the first operand of `sem_ver` is an attribute"));
        };
        let (Some(sign), Some(version)) = (sign.as_str(), version.as_str()) else {
            return Err(wrong("`sem_ver` has an operator and a version"));
        };
        let unknown = || self.flaw(place, format!("`{sign}` and `{version}` are no operator and version of `sem_ver`"));
        let test = versions(sign, version).ok_or_else(unknown)?;
        let test = Test::Semver(test);
        let missing = test.passes(Some(&crate::decide::flags::Attribute::Json(&default)));
        Ok(or_missing(attribute(&name, test), &name, missing))
    }

    /// What holds where the attribute is there.
    fn attribute_first(&self, name: &str, of: &str, than: &Value, place: &str) -> Result<Target, Flaw> {
        let cannot = || self.flaw(place, format!("`{name}` with {than} cannot be expressed"));
        let test = |test: Test| Ok(attribute(of, test));
        match (name, than) {
            ("!=", _) => Ok(but_there(of, self.attribute_first("==", of, than, place)?)),
            ("!==", _) => Ok(but_there(of, self.attribute_first("===", of, than, place)?)),
            ("==", _) => equal(of, than).ok_or_else(cannot),
            ("===", _) => identical(of, than).ok_or_else(cannot),
            ("<" | "<=" | ">" | ">=", Value::Number(_) | Value::Bool(_)) => {
                let limit = number(than);
                test(match name {
                    "<" => Test::LessThan(limit),
                    "<=" => Test::AtMost(limit),
                    ">" => Test::MoreThan(limit),
                    _ => Test::AtLeast(limit),
                })
            }
            ("in", Value::Array(items)) => {
                let (texts, others): (Vec<&Value>, Vec<&Value>) =
                    items.iter().filter(|item| !item.is_null()).partition(|item| item.is_string());
                self.spend(others.len(), place)?;
                let texts = texts.iter().filter_map(|text| text.as_str()).map(|text| Scalar::Text(text.to_owned()));
                let texts = attribute(of, Test::In(texts.collect()));
                if others.is_empty() {
                    return Ok(texts);
                }
                let others = others.iter().map(|item| identical(of, item).ok_or_else(cannot));
                Ok(Target::Any(std::iter::once(Ok(texts)).chain(others).collect::<Result<_, Flaw>>()?))
            }
            ("starts_with", Value::String(part)) => test(Test::StartsWith(text(part))),
            ("ends_with", Value::String(part)) => test(Test::EndsWith(text(part))),
            _ => Err(cannot()),
        }
    }

    /// `in` with the attribute as the place to look: a text that has it, or a list.
    fn contains(&self, of: &str, part: &Value, place: &str) -> Result<Target, Flaw> {
        let cannot = || self.flaw(place, format!("`in` with {part} as what is looked for cannot be expressed"));
        let has = |part: Scalar| attribute(of, Test::Contains(ScalarOrMany::One(part)));
        match part {
            Value::String(part) => Ok(has(Scalar::Text(part.clone()))),
            Value::Number(number) => {
                // In a text it stands without a fraction that is none.
                let written = number_text(number).and_then(|text| text.parse().ok()).ok_or_else(cannot)?;
                let found = has(Scalar::Number(written));
                let as_boolean = match number.as_f64() {
                    Some(0.0) => false,
                    Some(1.0) => true,
                    _ => return Ok(found),
                };
                let boolean = Target::All(vec![no_text(of), has(Scalar::Bool(as_boolean))]);
                Ok(Target::Any(vec![found, boolean]))
            }
            _ => Err(cannot()),
        }
    }
}

fn mirrored(name: &str) -> &str {
    match name {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        same => same,
    }
}

fn constant(holds: bool) -> Target {
    if holds { Target::All(Vec::new()) } else { Target::Any(Vec::new()) }
}

fn attribute(name: &str, test: Test) -> Target {
    Target::Attribute(BTreeMap::from([(name.to_owned(), test)]))
}

fn or_missing(there: Target, name: &str, missing: bool) -> Target {
    if missing { Target::Any(vec![there, attribute(name, Test::Exists(false))]) } else { there }
}

/// What is there and is not this.
fn but_there(name: &str, not: Target) -> Target {
    Target::All(vec![attribute(name, Test::Exists(true)), Target::None(vec![not])])
}

fn text(part: &str) -> ScalarOrMany {
    ScalarOrMany::One(Scalar::Text(part.to_owned()))
}

/// A number, or a text or boolean that is one.
fn counts_as(name: &str, number: f64) -> Target {
    Target::All(vec![attribute(name, Test::AtLeast(number)), attribute(name, Test::AtMost(number))])
}

/// A number or boolean of this value; no text.
fn is_number(name: &str, number: f64) -> Target {
    Target::All(vec![counts_as(name, number), no_text(name)])
}

/// Every text begins with nothing.
fn no_text(name: &str) -> Target {
    Target::None(vec![attribute(name, Test::StartsWith(text("")))])
}

/// Itself and every rule in it.
pub(super) fn size(target: &Target) -> usize {
    let mut count = 0;
    target.walk(&mut |_| count += 1);
    count
}

/// `==` with a constant.
fn equal(name: &str, than: &Value) -> Option<Target> {
    match than {
        Value::Number(_) | Value::Bool(_) => Some(counts_as(name, number(than))),
        Value::String(own) => {
            let same = attribute(name, Test::Equals(Scalar::Text(own.clone())));
            let number = number(than);
            Some(if number.is_nan() { same } else { Target::Any(vec![same, is_number(name, number)]) })
        }
        Value::Null => Some(is_number(name, 0.0)),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// `===` with a constant.
fn identical(name: &str, than: &Value) -> Option<Target> {
    match than {
        Value::Number(_) | Value::Bool(_) => Some(is_number(name, number(than))),
        Value::String(own) => Some(attribute(name, Test::Equals(Scalar::Text(own.clone())))),
        Value::Null => Some(constant(false)),
        Value::Array(_) | Value::Object(_) => None,
    }
}
