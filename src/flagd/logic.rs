//! JsonLogic's own rules: what an operation is, and what constants come to.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use crate::decide::flags::{Attribute, Test, VersionTest};

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
        Value::Array(items) => match items.as_slice() {
            [] => 0.0,
            [only] => number(only),
            _ => f64::NAN,
        },
        Value::Object(_) => f64::NAN,
    }
}

/// A number as a text: 5.0 is `5`. `None` where languages write it in different ways.
pub(super) fn number_text(number: &Number) -> Option<String> {
    const DIGITS_MAX: usize = 15;
    let text = match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) if float.fract() == 0.0 => format!("{float:.0}"),
        _ => number.to_string(),
    };
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (!number.is_f64() || (digits <= DIGITS_MAX && !text.contains('e'))).then_some(text)
}

/// A constant as a text. `None` for booleans, which are `True` to Python's flagd and `true` to
/// others, and for numbers that have no text of their own.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("null".to_owned()),
        Value::Bool(_) => None,
        Value::Number(number) => number_text(number),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => Some(items.iter().map(text).collect::<Option<Vec<_>>>()?.join(",")),
        Value::Object(_) => Some("[object Object]".to_owned()),
    }
}

pub(super) fn truthy(value: &Value) -> bool {
    Test::Truthy(true).passes(Some(&Attribute::Json(value)))
}

fn counts(value: &Value) -> bool {
    matches!(value, Value::Number(_) | Value::Bool(_))
}

/// `==`: numbers and booleans make numbers of all else; two lists are never the same one.
fn equals(one: &Value, other: &Value) -> Option<bool> {
    use Value::{Array, Null, Object};
    Some(match (one, other) {
        (one, other) if counts(one) || counts(other) => number(one) == number(other),
        (Null, Null) => true,
        (Null, _) | (_, Null) | (Array(_) | Object(_), Array(_) | Object(_)) => false,
        (one, other) => text(one)? == text(other)?,
    })
}

/// `===`: but true is 1.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (one, other) if counts(one) && counts(other) => number(one) == number(other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (one, other) => one == other,
    }
}

/// What is more: two texts by their letters, all else by their numbers.
fn order(one: &Value, other: &Value) -> Option<Option<Ordering>> {
    let as_texts = !counts(one) && !counts(other) && (one.is_string() || other.is_string());
    Some(if as_texts { Some(text(one)?.cmp(&text(other)?)) } else { number(one).partial_cmp(&number(other)) })
}

/// Whether an operator compares two values, with what is true or false.
pub(super) fn compares(name: &str) -> bool {
    matches!(name, "==" | "!=" | "===" | "!==" | "<" | "<=" | ">" | ">=" | "in" | "starts_with" | "ends_with")
}

/// What a comparison of constants says; `None` where that cannot be told.
pub(super) fn compare(name: &str, one: &Value, other: &Value) -> Option<bool> {
    let is = |wanted: fn(Ordering) -> bool| order(one, other).map(|order| order.is_some_and(wanted));
    let texts = |holds: fn(&str, &str) -> bool| {
        Some(one.as_str().zip(other.as_str()).is_some_and(|(text, part)| holds(text, part)))
    };
    match name {
        "==" => equals(one, other),
        "!=" => equals(one, other).map(|equal| !equal),
        "===" => Some(same(one, other)),
        "!==" => Some(!same(one, other)),
        "<" => is(Ordering::is_lt),
        "<=" => is(Ordering::is_le),
        ">" => is(Ordering::is_gt),
        ">=" => is(Ordering::is_ge),
        "in" => match other {
            Value::Array(items) => Some(items.iter().any(|item| same(one, item))),
            Value::String(place) => Some(place.contains(&text(one)?)),
            _ => Some(false),
        },
        "starts_with" => texts(|text, part| text.starts_with(part)),
        "ends_with" => texts(|text, part| text.ends_with(part)),
        _ => None,
    }
}

/// What `sem_ver` asks: one of its operators, and a version that needs no trimming.
pub(super) fn versions(sign: &str, version: &str) -> Option<VersionTest> {
    let known = matches!(sign, "=" | "!=" | "<" | "<=" | ">" | ">=" | "~" | "^");
    let bare = version.starts_with(|first: char| first.is_ascii_digit() || first == 'v' || first == 'V');
    let test = (known && bare && version.trim() == version).then(|| VersionTest::parse(&format!("{sign}{version}")));
    test.flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Each row was asked of json_logic for Python, which flagd's evaluator is made with.
    #[test]
    fn constants_are_compared_as_jsonlogic_does() {
        let rows = [
            (json!(30), "==", json!("30"), Some(true)),
            (json!(" 30 "), "==", json!(30.0), Some(true)),
            (json!(null), "==", json!(0), Some(true)),
            (json!(null), "==", json!(false), Some(true)),
            (json!(null), "==", json!(""), Some(false)),
            (json!(null), "==", json!(null), Some(true)),
            (json!(""), "==", json!(0), Some(false)),
            (json!(true), "==", json!("1"), Some(true)),
            (json!([30]), "==", json!(30), Some(true)),
            (json!([]), "==", json!(0), Some(true)),
            (json!([1]), "==", json!([1]), Some(false)),
            (json!(["a", 1]), "==", json!("a,1"), Some(true)),
            (json!([true]), "==", json!("true"), None),
            (json!({ "a": 1, "b": 2 }), "==", json!("[object Object]"), Some(true)),
            (json!("a"), "!=", json!("b"), Some(true)),
            (json!(1), "===", json!(true), Some(true)),
            (json!(1), "===", json!(1.0), Some(true)),
            (json!(1), "===", json!("1"), Some(false)),
            (json!([1]), "===", json!([1.0]), Some(true)),
            (json!(0), "!==", json!(null), Some(true)),
            (json!("gold"), ">", json!("0"), Some(true)),
            (json!("10"), "<", json!("9"), Some(true)),
            (json!("10"), "<", json!(9), Some(false)),
            (json!("x"), "<", json!(9), Some(false)),
            (json!("x"), ">=", json!(9), Some(false)),
            (json!(null), "<=", json!([]), Some(true)),
            (json!("gold"), ">=", json!([]), Some(true)),
            (json!("n"), "<", json!(null), Some(true)),
            (json!(7), "in", json!("7 of 9"), Some(true)),
            (json!(null), "in", json!("a null"), Some(true)),
            (json!(true), "in", json!("true"), None),
            (json!(true), "in", json!([1]), Some(true)),
            (json!("1"), "in", json!([1]), Some(false)),
            (json!("a"), "in", json!({}), Some(false)),
            (json!("abc"), "starts_with", json!("ab"), Some(true)),
            (json!("abc"), "ends_with", json!("ab"), Some(false)),
            (json!(1), "starts_with", json!("1"), Some(false)),
            (json!(5), "%", json!(2), None),
        ];
        for (one, name, other, says) in rows {
            assert_eq!(compare(name, &one, &other), says, "{one} {name} {other}");
        }
    }

    #[test]
    fn numbers_have_the_text_that_all_languages_write_or_none() {
        let rows = [
            (json!(7), Some("7")),
            (json!(5.0), Some("5")),
            (json!(-0.5), Some("-0.5")),
            (json!(9_007_199_254_740_993_u64), Some("9007199254740993")),
            (json!(0.1 + 0.2), None),
            (json!(1e300), None),
            (json!(1e-7), None),
        ];
        for (value, text) in rows {
            assert_eq!(number_text(value.as_number().unwrap()).as_deref(), text, "{value}");
        }
    }

    #[test]
    fn versions_have_one_of_flagds_operators() {
        assert!(versions(">=", "1.2").is_some() && versions("^", "v1").is_some());
        for (sign, version) in
            [("", "1.2"), ("==", "1.2"), (">", "=1.2"), ("> ", "1.2"), ("=", " 1.2"), ("=", "latest")]
        {
            assert!(versions(sign, version).is_none(), "{sign}{version}");
        }
    }
}
