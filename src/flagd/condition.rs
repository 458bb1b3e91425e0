//! Conditions: JsonLogic's comparisons as tests of attributes.
//!
//! An attribute that is not there is null, which counts as 0: where a comparison holds for
//! that, the rule says so. Texts become numbers where they meet one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Source;
use super::logic::{Operation, compare, number, number_text, operation, truthy};
use crate::decide::flags::{Flaw, Instant, Scalar, ScalarOrMany, Schedule, Target, Test, VersionTest};

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
        let Some(Operation { name, arguments }) = operation(logic) else { return Ok(constant(truthy(logic))) };
        let place = format!("{place}.{name}");
        let each = |arguments: &[&Value]| {
            let inner = arguments.iter().enumerate();
            inner.map(|(index, part)| self.condition(part, &format!("{place}[{index}]"))).collect::<Result<Vec<_>, _>>()
        };
        match (name, arguments.as_slice()) {
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
            ("<" | "<=" | ">" | ">=", [a, b, c]) => {
                let [first, second] = [(a, b), (b, c)].map(|(one, other)| self.comparison(name, one, other, &place));
                Ok(Target::All(vec![first?, second?]))
            }
            (_, [one, other]) if compare(name, &Value::Null, &Value::Null).is_some() => {
                self.comparison(name, one, other, &place)
            }
            _ => Err(self
                .flaw(&place, format!("the operator `{name}` with {} operands cannot be expressed", arguments.len()))),
        }
    }

    /// `if` within a condition.
    fn choice(&self, parts: &[&Value], place: &str) -> Result<Target, Flaw> {
        match parts {
            [] => Ok(constant(false)),
            [only] => self.condition(only, place),
            [asked, yes, rest @ ..] => {
                let asked = self.condition(asked, place)?;
                let yes = Target::All(vec![asked.clone(), self.condition(yes, place)?]);
                let no = Target::All(vec![Target::None(vec![asked]), self.choice(rest, place)?]);
                Ok(Target::Any(vec![yes, no]))
            }
        }
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
            name => Ok(Operand::Attribute(name.to_owned(), default)),
        }
    }

    fn comparison(&self, name: &str, one: &Value, other: &Value, place: &str) -> Result<Target, Flaw> {
        use Operand::{Attribute, Constant, Time};
        match (self.operand(one, place)?, self.operand(other, place)?) {
            (Constant(one), Constant(other)) => Ok(constant(compare(name, &one, &other).unwrap_or(false))),
            (Time, Constant(than)) => self.time(name, &than, place),
            (Constant(than), Time) => self.time(mirrored(name), &than, place),
            (Attribute(attribute, default), Constant(than)) => {
                let missing = compare(name, &default, &than).unwrap_or(false);
                Ok(or_missing(self.attribute_first(name, &attribute, &than, place)?, &attribute, missing))
            }
            (Constant(than), Attribute(attribute, default)) => {
                let missing = compare(name, &than, &default).unwrap_or(false);
                let there = match name {
                    "in" => self.contains(&attribute, &than, place)?,
                    "starts_with" | "ends_with" => {
                        return Err(self.flaw(place, format!("`{name}` with a constant first cannot be expressed")));
                    }
                    _ => self.attribute_first(mirrored(name), &attribute, &than, place)?,
                };
                Ok(or_missing(there, &attribute, missing))
            }
            _ => Err(self.flaw(place, "one side of a comparison is a constant: two attributes cannot be compared")),
        }
    }

    /// `$flagd.timestamp` is in whole seconds.
    fn time(&self, name: &str, than: &Value, place: &str) -> Result<Target, Flaw> {
        let wrong = || self.flaw(place, format!("`{TIMESTAMP}` is compared by <, <=, >, >= with whole seconds"));
        let seconds = than.as_i64().ok_or_else(wrong)?;
        let at = |seconds: i64| Instant::from_unix_seconds(seconds).ok_or_else(wrong).map(Some);
        let schedule = match name {
            "<" => Schedule { from: None, until: at(seconds)? },
            "<=" => Schedule { from: None, until: at(seconds + 1)? },
            ">" => Schedule { from: at(seconds + 1)?, until: None },
            ">=" => Schedule { from: at(seconds)?, until: None },
            _ => return Err(wrong()),
        };
        Ok(Target::Schedule(schedule))
    }

    fn version(&self, found: &Value, sign: &Value, version: &Value, place: &str) -> Result<Target, Flaw> {
        let wrong = |detail: &str| self.flaw(place, detail);
        let Operand::Attribute(name, default) = self.operand(found, place)? else {
            return Err(wrong("the first operand of `sem_ver` is an attribute"));
        };
        let (Some(sign), Some(version)) = (sign.as_str(), version.as_str()) else {
            return Err(wrong("`sem_ver` has an operator and a version"));
        };
        let test = VersionTest::parse(&format!("{sign}{version}"))
            .ok_or_else(|| wrong("no operator and version that are known"))?;
        let missing = default.as_str().is_some_and(|default| test.has(default));
        Ok(or_missing(attribute(&name, Test::Semver(test)), &name, missing))
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
                let items = items.iter().filter(|item| !item.is_null());
                let any = items.map(|item| identical(of, item).ok_or_else(cannot)).collect::<Result<Vec<_>, Flaw>>()?;
                Ok(Target::Any(any))
            }
            ("starts_with", Value::String(part)) => test(Test::StartsWith(text(part))),
            ("ends_with", Value::String(part)) => test(Test::EndsWith(text(part))),
            _ => Err(cannot()),
        }
    }

    /// `in` with the attribute as the place to look: a text that has it, or a list.
    fn contains(&self, of: &str, part: &Value, place: &str) -> Result<Target, Flaw> {
        let scalar = match part {
            Value::String(part) => Scalar::Text(part.clone()),
            Value::Number(part) => {
                number_text(part).parse().map(Scalar::Number).unwrap_or(Scalar::Number(part.clone()))
            }
            _ => return Err(self.flaw(place, format!("`in` with {part} as what is looked for cannot be expressed"))),
        };
        Ok(attribute(of, Test::Contains(ScalarOrMany::One(scalar))))
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
    let no_text = Target::None(vec![attribute(name, Test::StartsWith(text("")))]);
    Target::All(vec![counts_as(name, number), no_text])
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
