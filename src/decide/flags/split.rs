//! Shares as flagd draws them (its `fractional`), so that users keep their variant after a move.
//!
//! murmur3 x86-32 with seed 0 (Austin Appleby's MurmurHash3) of a text, scaled to the sum of
//! the weights. flagd hashed the text itself until 2026 and hashes its canonical CBOR since
//! (RFC 8949 section 4.2.1): a split says which.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attribute::Attribute;
use super::evaluate::Context;

/// Weights of one split have no larger sum.
pub(super) const WEIGHTS_MAX: u64 = i32::MAX as u64;

/// Who of those that a rule matches gets which variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// How ids are hashed.
    pub hash: SplitHash,
    /// What is hashed, one after another; without it the flag's name and the targeting key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by: Vec<Part>,
    /// Variants in their order, each with its weight; null is the default.
    pub weights: Vec<(Option<String>, u32)>,
}

/// What is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SplitHash {
    /// The text.
    #[serde(rename = "murmur3")]
    Text,
    /// Its canonical CBOR.
    #[serde(rename = "murmur3-cbor")]
    Cbor,
}

/// A part of what is hashed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a text, or { attribute: name }")]
pub enum Part {
    /// This text.
    Text(String),
    /// An attribute's value.
    Attribute {
        /// Its name.
        attribute: String,
    },
}

impl Split {
    /// Which of the weights is drawn; `None` where there is nothing to draw for.
    pub(super) fn draw(&self, flag: &str, context: &Context<'_>) -> Option<usize> {
        let hash = match self.by.as_slice() {
            [] => {
                let id = context.targeting_key()?;
                match self.hash {
                    SplitHash::Text => murmur3(&[flag.as_bytes(), id.as_bytes()].concat()),
                    SplitHash::Cbor => hash_cbor(&Value::from(vec![flag, id]))?,
                }
            }
            [Part::Attribute { attribute }] => self.hash_value(&context.attribute(attribute)?)?,
            parts => self.hash_value(&Attribute::Text(joined(parts, context).into()))?,
        };
        let sum: u64 = self.weights.iter().map(|(_, weight)| u64::from(*weight)).sum();
        if sum == 0 || sum > WEIGHTS_MAX {
            return None;
        }
        let bucket = (u64::from(hash) * sum) >> 32;
        let mut end = 0;
        self.weights.iter().position(|(_, weight)| {
            end += u64::from(*weight);
            bucket < end
        })
    }

    fn hash_value(&self, value: &Attribute<'_>) -> Option<u32> {
        match (self.hash, value) {
            (SplitHash::Text, value) => {
                value.as_text().filter(|text| !text.is_empty()).map(|text| murmur3(text.as_bytes()))
            }
            (SplitHash::Cbor, Attribute::Text(text)) => hash_cbor(&Value::from(&**text)),
            // flagd takes a list for the first of the weights, and draws nothing.
            (SplitHash::Cbor, Attribute::Json(Value::Array(_))) => None,
            (SplitHash::Cbor, Attribute::Json(value)) => hash_cbor(value),
        }
    }
}

/// Parts as one text; an attribute that is not there is `null`, as JsonLogic joins it.
fn joined(parts: &[Part], context: &Context<'_>) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Text(own) => text.push_str(own),
            Part::Attribute { attribute } => match context.attribute(attribute) {
                Some(Attribute::Text(own)) => text.push_str(&own),
                Some(Attribute::Json(value)) => text.push_str(&cat(value)),
                None => text.push_str("null"),
            },
        }
    }
    text
}

/// A value as JsonLogic's `cat` writes it.
fn cat(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cat).collect::<Vec<_>>().join(","),
        Value::Object(_) => "[object Object]".to_owned(),
        other => normalized(other).to_string(),
    }
}

/// `None` for null, which nothing is drawn for.
fn hash_cbor(value: &Value) -> Option<u32> {
    if value.is_null() {
        return None;
    }
    let mut bytes = Vec::new();
    ciborium::into_writer(&normalized(value), &mut bytes).ok()?;
    Some(murmur3(&bytes))
}

/// A number without a fraction is an integer, however it was written.
fn normalized(value: &Value) -> Value {
    match value {
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) if float.fract() == 0.0 && (-9_223_372_036_854_775_808.0..0.0).contains(&float) => {
                Value::from(float as i64)
            }
            Some(float) if float.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&float) => {
                Value::from(float as u64)
            }
            _ => value.clone(),
        },
        Value::Array(items) => items.iter().map(normalized).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), normalized(value))).collect(),
        _ => value.clone(),
    }
}

/// MurmurHash3 x86-32 with seed 0.
fn murmur3(bytes: &[u8]) -> u32 {
    let scramble = |word: u32| word.wrapping_mul(0xCC9E_2D51).rotate_left(15).wrapping_mul(0x1B87_3593);
    let words = bytes.chunks_exact(4);
    let tail = words.remainder().iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    let mut hash = words.fold(0_u32, |hash, word| {
        let word = word.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        (hash ^ scramble(word)).rotate_left(13).wrapping_mul(5).wrapping_add(0xE654_6B64)
    });
    hash ^= scramble(tail);
    // Its length modulo 2^32, as the algorithm has it.
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85EB_CA6B);
    hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLORS: [&str; 4] = ["red", "blue", "green", "yellow"];

    /// flagd's own vectors: what is hashed, the hash, the bucket of a hundred, the variant.
    #[test]
    fn flagds_vectors() {
        let rows = [
            ("headerColorrachel@faas.com", 1_805_633_606, "blue"),
            ("headerColormonica@faas.com", 3_314_683_759, "yellow"),
            ("headerColorjoey@faas.com", 309_582_631, "red"),
            ("headerColorross@faas.com", 1_595_699_981, "blue"),
            ("my-seedrachel@faas.com", 2_931_187_178, "green"),
            ("my-seedmonica@faas.com", 309_002_457, "red"),
            ("my-seedjoey@faas.com", 1_300_152_927, "blue"),
            ("my-seedross@faas.com", 3_030_988_938, "green"),
        ];
        for (text, hash, color) in rows {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
            let (flag, id) = text.split_at(if text.starts_with('h') { 11 } else { 7 });
            let by = if flag == "my-seed" {
                vec![Part::Text(flag.to_owned()), Part::Attribute { attribute: "targetingKey".to_owned() }]
            } else {
                Vec::new()
            };
            let weights = COLORS.map(|color| (Some(color.to_owned()), 25)).to_vec();
            let split = Split { hash: SplitHash::Text, by, weights };
            let context = Context { id: Some(id), ..Context::default() };
            assert_eq!(split.draw(flag, &context).map(|index| COLORS[index]), Some(color), "{text}");
        }
    }

    #[test]
    fn nothing_is_drawn_for_nobody_nor_of_nothing() {
        let split = |hash, weights: &[u32]| Split {
            hash,
            by: Vec::new(),
            weights: weights.iter().map(|weight| (None, *weight)).collect(),
        };
        let somebody = Context { id: Some("u"), ..Context::default() };
        for hash in [SplitHash::Text, SplitHash::Cbor] {
            assert_eq!(split(hash, &[1]).draw("f", &Context::default()), None);
            assert_eq!(split(hash, &[]).draw("f", &somebody), None);
            assert_eq!(split(hash, &[0, 0]).draw("f", &somebody), None);
            assert_eq!(split(hash, &[u32::MAX, 1]).draw("f", &somebody), None);
            assert_eq!(split(hash, &[0, 1, 0]).draw("f", &somebody), Some(1));
        }
    }

    #[test]
    fn what_is_joined_is_written_as_jsonlogic_does() {
        let fields = serde_json::json!({ "text": "ü", "whole": 7.0, "part": 0.5, "on": true, "list": ["a", [1, null]],
            "object": { "a": 1 }, "null": null });
        let attributes = super::super::attribute::JsonAttributes(fields.as_object().unwrap());
        let context = Context { attributes: Some(&attributes), ..Context::default() };
        for (name, text) in [
            ("text", "ü"),
            ("whole", "7"),
            ("part", "0.5"),
            ("on", "true"),
            ("list", "a,1,null"),
            ("object", "[object Object]"),
            ("null", "null"),
            ("nothing", "null"),
        ] {
            let parts = [Part::Text("<".to_owned()), Part::Attribute { attribute: name.to_owned() }];
            assert_eq!(joined(&parts, &context), format!("<{text}"), "{name}");
        }
    }

    #[test]
    fn nothing_is_drawn_for_a_list() {
        let fields = serde_json::json!({ "list": ["a"], "text": "a" });
        let attributes = super::super::attribute::JsonAttributes(fields.as_object().unwrap());
        let context = Context { attributes: Some(&attributes), ..Context::default() };
        for hash in [SplitHash::Text, SplitHash::Cbor] {
            let by = |attribute: &str| vec![Part::Attribute { attribute: attribute.to_owned() }];
            let split = |attribute| Split { hash, by: by(attribute), weights: vec![(None, 1)] };
            assert_eq!(["list", "text", "nothing"].map(|by| split(by).draw("f", &context)), [None, Some(0), None]);
        }
    }

    #[test]
    fn every_length_is_hashed_as_the_algorithm_says() {
        // Vectors of the algorithm's own tests.
        for (text, hash) in [("", 0), ("a", 0x3C25_69B2), ("abc", 0xB3DD_93FA), ("Hello, world!", 0xC036_3E43)] {
            assert_eq!(murmur3(text.as_bytes()), hash, "{text}");
        }
    }
}
