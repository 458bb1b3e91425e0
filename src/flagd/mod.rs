//! flagd's flag files, said in Serin's words.
//!
//! Owns: the translation of flagd's flags and their JsonLogic. Touches: `decide::flags`. What
//! cannot be said is an error that names it: nothing is left out in silence.
//!
//! What is said answers as flagd's evaluator for Python does, but for three things that depend on
//! who asks: a list or an object is compared with nothing but by `in` (JsonLogic takes `[30]` for
//! 30), `a.0` of a text is not its first letter, and a boolean in `cat` is `true` (`True` in Python).

mod condition;
mod logic;
mod targeting;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::decide::bucket::Share;
use crate::decide::flags::{Flag, FlagName, Flaw, SplitHash, Variant};

/// What a file may come to, in conditions and copies of evaluators: an `if` within a condition
/// says its condition twice, so that a few nested ones would be more than any memory holds.
const ROOM: usize = 500_000;

/// Whether a document is flagd's: its flags have a `state`, and not the guide's percentage.
pub fn is_flagd(document: &Value) -> bool {
    let flags = entries(&document["flags"]);
    let any = |field: &str| flags.iter().any(|(_, flag)| flag.get(field).is_some());
    document["flags"].is_array() || document.get("$evaluators").is_some() || (any("state") && !any("rolloutPercentage"))
}

/// The flags of a document; `hash` is how its `fractional` was drawn: flagd hashed texts until
/// 2026, and their CBOR since.
///
/// # Errors
/// Everything that cannot be said, each with its place.
pub fn import(document: &Value, hash: SplitHash) -> Result<Vec<Flag>, Vec<Flaw>> {
    let flaw = |field: String, detail: &str| Flaw { field, detail: detail.to_owned() };
    let (mut flags, mut flaws) = (Vec::new(), Vec::new());
    if !document["flags"].is_object() && !document["flags"].is_array() {
        flaws.push(flaw("flags".to_owned(), "flags by their keys, or a list of them"));
    }
    if !is_metadata(&document["metadata"]) {
        flaws.push(flaw("metadata".to_owned(), METADATA));
    }
    let (room, mut seen) = (Cell::new(ROOM), BTreeSet::new());
    for (key, flag) in entries(&document["flags"]) {
        let source = Source { key: &key, hash, document, variants: &flag["variants"], room: &room };
        match source.flag(flag) {
            Ok(_) if !seen.insert(key.clone()) => flaws.push(source.flaw("", "the key stands there twice")),
            Ok(flag) => flags.push(flag),
            Err(mut found) => flaws.append(&mut found),
        }
    }
    if flaws.is_empty() { Ok(flags) } else { Err(flaws) }
}

const METADATA: &str = "an object of texts, numbers and booleans";

fn is_metadata(metadata: &Value) -> bool {
    let flat = |fields: &Map<String, Value>| fields.values().all(|value| !value.is_null() && !is_structure(value));
    metadata.is_null() || metadata.as_object().is_some_and(flat)
}

fn is_structure(value: &Value) -> bool {
    value.is_array() || value.is_object()
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
    variants: &'a Value,
    /// What the file may still come to.
    room: &'a Cell<usize>,
}

impl Source<'_> {
    fn flaw(&self, place: &str, detail: impl Into<String>) -> Flaw {
        let field =
            if place.is_empty() { format!("flags.{}", self.key) } else { format!("flags.{}.{place}", self.key) };
        Flaw { field, detail: detail.into() }
    }

    fn spend(&self, count: usize, place: &str) -> Result<(), Flaw> {
        let too_much = || self.flaw(place, format!("the file comes to more than {ROOM} conditions"));
        self.room.set(self.room.get().checked_sub(count).ok_or_else(too_much)?);
        Ok(())
    }

    fn flag(&self, flag: &Value) -> Result<Flag, Vec<Flaw>> {
        const FIELDS: [&str; 9] = [
            "key",
            "state",
            "variants",
            "defaultVariant",
            "targeting",
            "metadata",
            "description",
            "source",
            "selector",
        ];
        let mut flaws = Vec::new();
        let unknown = flag.as_object().into_iter().flatten().filter(|(name, _)| !FIELDS.contains(&name.as_str()));
        flaws.extend(unknown.map(|(name, _)| self.flaw(name, "no field of flagd's flags")));
        let enabled = flag["state"] == "ENABLED";
        if !enabled && flag["state"] != "DISABLED" {
            flaws.push(self.flaw("state", format!("ENABLED or DISABLED, not {}", flag["state"])));
        }
        if self.variants.as_object().is_none_or(Map::is_empty) {
            flaws.push(self.flaw("variants", "one variant at least is expected"));
        }
        if !is_metadata(&flag["metadata"]) {
            flaws.push(self.flaw("metadata", METADATA));
        }
        let description = flag["description"].as_str().map(str::to_owned);
        if description.is_none() && !flag["description"].is_null() {
            flaws.push(self.flaw("description", "a text"));
        }
        let default_variant = match &flag["defaultVariant"] {
            Value::Null => None,
            Value::String(name) if name.is_empty() => None,
            Value::String(name) => Some(name.clone()),
            Value::Bool(name) => Some(name.to_string()),
            other => {
                flaws.push(self.flaw("defaultVariant", format!("a variant's name, not {other}")));
                None
            }
        };
        let rules = self.rules(&flag["targeting"]).map_err(|mut found| flaws.append(&mut found)).unwrap_or_default();
        let name = FlagName::new(self.key).map_err(|error| flaws.push(self.flaw("", error.to_string())));
        let (Ok(name), []) = (name, flaws.as_slice()) else { return Err(flaws) };
        let value = |(name, value): (&String, &Value)| (name.clone(), Variant { value: value.clone(), weight: 1 });
        let metadata = self.metadata(flag);
        let translated = Flag {
            name,
            description,
            enabled,
            rollout_percentage: Share::NOBODY,
            rules,
            variants: self.variants.as_object().into_iter().flatten().map(value).collect(),
            default_variant,
            schedule: None,
            prerequisites: Vec::new(),
            client: false,
            ramp: None,
            created_at: String::new(),
            updated_at: String::new(),
            extra: (!metadata.is_empty()).then(|| ("metadata".to_owned(), metadata.into())).into_iter().collect(),
        };
        translated.check().map_err(|flaw| vec![self.flaw(&flaw.field, flaw.detail)])?;
        Ok(translated)
    }

    /// The set's, and the flag's own over it.
    fn metadata(&self, flag: &Value) -> Map<String, Value> {
        let [set, own] = [&self.document["metadata"], &flag["metadata"]].map(|metadata| metadata.as_object().cloned());
        set.into_iter().chain(own).flatten().collect()
    }

    /// Targeting with its references filled in, once: evaluators do not refer to others.
    fn resolved(&self, logic: &Value) -> Result<Value, Flaw> {
        match logic {
            Value::Object(fields) => match fields.get("$ref").and_then(Value::as_str) {
                Some(name) if fields.len() == 1 => {
                    let found = self.document["$evaluators"].get(name);
                    let found = found
                        .ok_or_else(|| self.flaw("targeting", format!("`$ref`: there is no evaluator `{name}`")))?;
                    self.spend(weight(found), "targeting")?;
                    Ok(found.clone())
                }
                _ => {
                    let resolved = fields.iter().map(|(name, value)| Ok((name.clone(), self.resolved(value)?)));
                    Ok(Value::Object(resolved.collect::<Result<_, Flaw>>()?))
                }
            },
            Value::Array(items) => Ok(items.iter().map(|item| self.resolved(item)).collect::<Result<_, Flaw>>()?),
            other => Ok(other.clone()),
        }
    }
}

/// What a copy of a value takes, in values; long texts count as several.
fn weight(value: &Value) -> usize {
    const TEXT: usize = 64;
    match value {
        Value::Object(fields) => {
            1 + fields.iter().map(|(name, value)| name.len() / TEXT + weight(value)).sum::<usize>()
        }
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::String(text) => 1 + text.len() / TEXT,
        _ => 1,
    }
}
