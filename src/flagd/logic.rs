//! JsonLogic's own rules: what an operation is, and what constants come to.

use serde_json::{Number, Value};

use crate::decide::flags::{Attribute, Test};

/// An operation: an object with one field. What is no list is a list of one.
pub(super) struct Operation<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: Vec<&'a Value>,
}

pub(super) fn operation(logic: &Value) -> Option<Operation<'_>> {
    let fields = logic.as_object().filter(|fields| fields.len() == 1)?;
    let (name, arguments) = fields.iter().next()?;
    let arguments = match arguments {
        Value::Array(arguments) => arguments.iter().collect(),
        one => vec![one],
    };
    Some(Operation { name, arguments })
}

/// As JsonLogic counts; not a number where there is none.
pub(super) fn number(value: &Value) -> f64 {
    match value {
        Value::Null => 0.0,
        Value::Bool(on) => f64::from(u8::from(*on)),
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()).unwrap_or(f64::NAN),
        Value::Array(_) | Value::Object(_) => f64::NAN,
    }
}

/// A number as a text: 5.0 is `5`.
pub(super) fn number_text(number: &Number) -> String {
    match number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15) {
        Some(float) => format!("{float:.0}"),
        None => number.to_string(),
    }
}

pub(super) fn truthy(value: &Value) -> bool {
    Test::Truthy(true).passes(Some(&Attribute::Json(value)))
}

fn counts(value: &Value) -> bool {
    matches!(value, Value::Number(_) | Value::Bool(_))
}

/// `==`: numbers and booleans make numbers of texts and of null.
pub(super) fn equals(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (one, other) if counts(one) || counts(other) => number(one) == number(other),
        (one, other) => one == other,
    }
}

/// `===`: but true is 1.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    if counts(one) && counts(other) { number(one) == number(other) } else { one == other }
}

/// What a comparison of constants says; `None` for operators that are none.
pub(super) fn compare(name: &str, one: &Value, other: &Value) -> Option<bool> {
    let (a, b) = (number(one), number(other));
    Some(match name {
        "==" => equals(one, other),
        "!=" => !equals(one, other),
        "===" => same(one, other),
        "!==" => !same(one, other),
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        ">=" => a >= b,
        "in" => match other {
            Value::Array(items) => items.iter().any(|item| same(one, item)),
            Value::String(text) => one.as_str().is_some_and(|part| text.contains(part)),
            _ => false,
        },
        "starts_with" => one.as_str().zip(other.as_str()).is_some_and(|(text, part)| text.starts_with(part)),
        "ends_with" => one.as_str().zip(other.as_str()).is_some_and(|(text, part)| text.ends_with(part)),
        _ => return None,
    })
}
