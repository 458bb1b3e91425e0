//! The table of keys as a JSON Schema (draft 7), for editors and linters.
//!
//! It knows forms and ranges; what rests on several keys at once (stages that grow, pools
//! that exist) is for `serin check` alone.

use serde_json::{Map, Value, json};

use super::definition::{Key, Kind, Presence, Section};
use super::keys;

const VARIABLE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}";
const SPAN: &str = r"^([0-9]+(\.[0-9]+)?|([0-9]+(ms|s|m|h|d))+)$";
const SIZE: &str = "^[0-9]+ ?(B|KiB|MiB|GiB)?$";

/// The schema of a configuration.
pub fn schema() -> Value {
    let mut schema = section(&keys::TOP);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("Serin");
    schema
}

fn section(section: &Section) -> Value {
    let properties: Map<String, Value> = section.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let needed = |key: &&Key| matches!(key.presence, Presence::Required);
    let required: Vec<&str> = section.keys.iter().filter(needed).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object",
        "description": section.about,
        "properties": properties,
        "additionalProperties": false
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !section.one_of.is_empty() {
        let one_of = |group: &&[&str]| {
            let alternatives: Vec<Value> = group.iter().map(|name| json!({ "required": [name] })).collect();
            json!({ "oneOf": alternatives })
        };
        schema["allOf"] = section.one_of.iter().map(one_of).collect();
    }
    schema
}

fn property(key: &'static Key) -> Value {
    let mut schema = kind(&key.kind);
    schema["description"] = json!(key.about);
    // Sections that are given as they are by default say nothing new.
    if let Some(default) = key.default().filter(|default| default.as_mapping().is_none()) {
        schema["default"] = serde_json::to_value(default).unwrap_or_default();
    }
    // An empty key is as good as none.
    if let Presence::Default(_) | Presence::Optional = key.presence {
        match &mut schema["anyOf"] {
            Value::Array(alternatives) => alternatives.push(json!({ "type": "null" })),
            _ => {
                let own = schema["type"].take();
                let own = if let Value::Array(kinds) = own { kinds } else { vec![own] };
                schema["type"] = own.into_iter().chain([json!("null")]).collect();
            }
        }
        if schema["anyOf"].is_null() {
            schema.as_object_mut().map(|fields| fields.remove("anyOf"));
        }
    }
    schema
}

fn kind(kind: &'static Kind) -> Value {
    match kind {
        Kind::Section(inner) => section(inner),
        Kind::Names(inner) => json!({
            "type": "object",
            "minProperties": 1,
            "propertyNames": { "pattern": "^[A-Za-z0-9._-]{1,64}$" },
            "additionalProperties": self::kind(inner)
        }),
        Kind::List(inner) => json!({ "type": "array", "items": self::kind(inner) }),
        Kind::OneOrMany(inner) => {
            let inner = self::kind(inner);
            json!({ "anyOf": [inner, { "type": "array", "items": inner }] })
        }
        Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(self::kind).collect::<Vec<_>>() }),
        Kind::Text(form) => {
            let scalar = json!(["string", "number", "boolean"]);
            match form.pattern {
                "" => json!({ "type": scalar, "title": form.what }),
                pattern => or_variable(&json!({ "type": scalar, "pattern": pattern, "title": form.what })),
            }
        }
        Kind::Word(words) => or_variable(&json!({ "enum": words })),
        Kind::Bool => or_variable(&json!({ "type": "boolean" })),
        Kind::Number(first, last) => or_variable(&json!({ "type": "integer", "minimum": first, "maximum": last })),
        Kind::Decimal(first, last) => or_variable(&json!({ "type": "number", "minimum": first, "maximum": last })),
        Kind::Span(first, last) => json!({ "anyOf": [
            { "type": "number", "minimum": first.as_secs_f64(), "maximum": last.as_secs_f64() },
            { "type": "string", "pattern": SPAN, "title": "a duration like 10m or 1h30m" },
            { "type": "string", "pattern": VARIABLE }
        ] }),
        Kind::Size(first, last) => json!({ "anyOf": [
            { "type": "integer", "minimum": first, "maximum": last },
            { "type": "string", "pattern": SIZE, "title": "a size like 64KiB" },
            { "type": "string", "pattern": VARIABLE }
        ] }),
    }
}

fn or_variable(schema: &Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": VARIABLE }] })
}
