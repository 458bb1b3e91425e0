//! A flag's values beyond on and off.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A flag's values by name. Where nothing else decides, their weights do, in the order of
/// their names.
pub type Variants = BTreeMap<String, Variant>;

/// One value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The value: boolean, text, number or object, alike for all variants of a flag.
    pub value: Value,
    /// Its part of those who have the flag on, in parts of all weights: 0 to 1,000,000.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub weight: u32,
}

/// What kind of values a flag has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// On and off.
    Boolean,
    /// Texts.
    Text,
    /// Numbers.
    Number,
    /// Objects and lists.
    Object,
}

impl ValueKind {
    /// The kind of a value; `None` for null, which is none.
    pub const fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Bool(_) => Some(Self::Boolean),
            Value::Number(_) => Some(Self::Number),
            Value::String(_) => Some(Self::Text),
            Value::Array(_) | Value::Object(_) => Some(Self::Object),
        }
    }
}

const fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde wants it so.
const fn is_one(weight: &u32) -> bool {
    *weight == 1
}

/// A value as a field's text: visible ASCII with single spaces inside; objects as JSON with
/// all else escaped. `None` where that cannot be said.
pub fn field_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::String(text) => {
            let visible = text.bytes().all(|b| (b' '..=b'~').contains(&b));
            (visible && text.trim() == text && !text.is_empty()).then(|| text.clone())
        }
        Value::Array(_) | Value::Object(_) => Some(escaped(&value.to_string())),
    }
}

/// JSON in ASCII (RFC 8259 section 7).
fn escaped(json: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if (' '..='~').contains(&c) {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // A text takes what is written to it.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_as_texts_of_fields() {
        let rows = [
            (json!(true), Some("true")),
            (json!(5), Some("5")),
            (json!(5.0), Some("5.0")),
            (json!("a b"), Some("a b")),
            (json!({ "a": "ü😀" }), Some(r#"{"a":"\u00fc\ud83d\ude00"}"#)),
            (json!([1, "x"]), Some(r#"[1,"x"]"#)),
            (json!("ü"), None),
            (json!(" a"), None),
            (json!("a\nb"), None),
            (json!(""), None),
            (json!(null), None),
        ];
        for (value, text) in rows {
            assert_eq!(field_text(&value).as_deref(), text, "{value}");
        }
    }
}
