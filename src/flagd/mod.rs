//! flagd's flag files, said in Serin's words.
//!
//! Owns: the translation of flagd's flags and their JsonLogic. Touches: `decide::flags`. What
//! cannot be said is an error that names it: nothing is left out in silence. Lists and objects
//! are compared with nothing but by `in`.

mod condition;
mod logic;
mod targeting;

use serde_json::{Map, Value, json};

use crate::decide::bucket::Share;
use crate::decide::flags::{Flag, FlagName, Flaw, SplitHash, Variant};

/// Whether a document is flagd's: its flags have a `state` and `variants`.
pub fn is_flagd(document: &Value) -> bool {
    let flags = entries(&document["flags"]);
    document.get("$evaluators").is_some() || flags.iter().any(|(_, flag)| flag.get("state").is_some())
}

/// The flags of a document; `hash` is how its `fractional` was drawn: flagd hashed texts until
/// 2026, and their CBOR since.
///
/// # Errors
/// Everything that cannot be said, each with its place.
pub fn import(document: &Value, hash: SplitHash) -> Result<Vec<Flag>, Vec<Flaw>> {
    let (mut flags, mut flaws) = (Vec::new(), Vec::new());
    for (key, flag) in entries(&document["flags"]) {
        let source = Source { key: &key, hash, document };
        match source.flag(flag) {
            Ok(flag) => flags.push(flag),
            Err(mut found) => flaws.append(&mut found),
        }
    }
    if flaws.is_empty() { Ok(flags) } else { Err(flaws) }
}

/// Flags by key, from either of flagd's two forms.
fn entries(flags: &Value) -> Vec<(String, &Value)> {
    match flags {
        Value::Object(flags) => flags.iter().map(|(key, flag)| (key.clone(), flag)).collect(),
        Value::Array(flags) => {
            flags.iter().map(|flag| (flag["key"].as_str().unwrap_or_default().to_owned(), flag)).collect()
        }
        _ => Vec::new(),
    }
}

/// What a flag's parts are translated under.
struct Source<'a> {
    key: &'a str,
    hash: SplitHash,
    document: &'a Value,
}

impl Source<'_> {
    fn flaw(&self, place: &str, detail: impl Into<String>) -> Flaw {
        let field =
            if place.is_empty() { format!("flags.{}", self.key) } else { format!("flags.{}.{place}", self.key) };
        Flaw { field, detail: detail.into() }
    }

    fn flag(&self, flag: &Value) -> Result<Flag, Vec<Flaw>> {
        let one = |flaw: Flaw| vec![flaw];
        let name = FlagName::new(self.key).map_err(|error| one(self.flaw("", error.to_string())))?;
        let enabled = match flag["state"].as_str() {
            Some("ENABLED") => true,
            Some("DISABLED") => false,
            _ => return Err(one(self.flaw("state", format!("ENABLED or DISABLED, not {}", flag["state"])))),
        };
        let variants = flag["variants"].as_object().filter(|variants| !variants.is_empty());
        let variants = variants.ok_or_else(|| one(self.flaw("variants", "one variant at least is expected")))?;
        let variants = variants.iter().map(|(name, value)| (name.clone(), Variant { value: value.clone(), weight: 1 }));
        let default_variant = match &flag["defaultVariant"] {
            Value::Null => None,
            Value::String(name) if name.is_empty() => None,
            Value::String(name) => Some(name.clone()),
            Value::Bool(name) => Some(name.to_string()),
            other => return Err(one(self.flaw("defaultVariant", format!("a variant's name, not {other}")))),
        };
        let mut translated = Flag {
            name,
            description: None,
            enabled,
            rollout_percentage: Share::NOBODY,
            rules: Vec::new(),
            variants: variants.collect(),
            default_variant,
            schedule: None,
            prerequisites: Vec::new(),
            client: false,
            ramp: None,
            created_at: String::new(),
            updated_at: String::new(),
            extra: Map::new(),
        };
        let metadata = self.metadata(flag);
        if !metadata.is_empty() {
            translated.extra.insert("metadata".to_owned(), Value::Object(metadata));
        }
        translated.rules = self.rules(&flag["targeting"])?;
        translated.check().map_err(|flaw| one(self.flaw(&flaw.field, flaw.detail)))?;
        Ok(translated)
    }

    /// The set's, and the flag's own over it.
    fn metadata(&self, flag: &Value) -> Map<String, Value> {
        let [set, own] = [&self.document["metadata"], &flag["metadata"]].map(|metadata| metadata.as_object().cloned());
        set.into_iter().chain(own).flatten().collect()
    }

    /// Targeting with its references filled in.
    fn resolved(&self, logic: &Value) -> Result<Value, Flaw> {
        match logic {
            Value::Object(fields) => match fields.get("$ref").and_then(Value::as_str) {
                Some(name) if fields.len() == 1 => {
                    let found = self.document["$evaluators"].get(name);
                    found
                        .cloned()
                        .ok_or_else(|| self.flaw("targeting", format!("`$ref`: there is no evaluator `{name}`")))
                }
                _ => {
                    let resolved = fields.iter().map(|(name, value)| Ok((name.clone(), self.resolved(value)?)));
                    Ok(Value::Object(resolved.collect::<Result<_, Flaw>>()?))
                }
            },
            Value::Array(items) => Ok(items.iter().map(|item| self.resolved(item)).collect::<Result<_, Flaw>>()?),
            other => Ok(json!(other)),
        }
    }
}
