//! What a configuration's keys are made of: one definition, read by the parser, its error
//! texts, the schema and the tests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_yaml::Value;

/// A mapping with known keys.
pub(super) struct Section {
    /// What it is about, for the schema.
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
    /// Of each of these groups exactly one key is given.
    pub(super) one_of: &'static [&'static [&'static str]],
}

impl Section {
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    pub(super) fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

/// A key of a section.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) presence: Presence,
    pub(super) about: &'static str,
}

/// What it means that a key is not given.
pub(super) enum Presence {
    /// Something is missing.
    Required,
    /// There is none.
    Optional,
    /// The same as this YAML.
    Default(&'static str),
}

impl Key {
    /// The value where it is not given.
    pub(super) fn default(&self) -> Option<&'static Value> {
        match self.presence {
            Presence::Default(text) => Some(read(text)),
            Presence::Required | Presence::Optional => None,
        }
    }
}

/// A default, read once for all services: there are as many as the table has.
fn read(text: &'static str) -> &'static Value {
    static KNOWN: Mutex<Option<HashMap<&'static str, &'static Value>>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.get_or_insert_default().entry(text).or_insert_with(|| {
        // A default that is no YAML would be found by the test that reads them all.
        Box::leak(Box::new(serde_yaml::from_str(text).unwrap_or(Value::Null)))
    })
}

/// What a value has to be.
pub(super) enum Kind {
    /// A mapping with these keys.
    Section(&'static Section),
    /// A mapping with names as keys.
    Names(&'static Kind),
    /// A list.
    List(&'static Kind),
    /// A list, or one value in its place.
    OneOrMany(&'static Kind),
    /// One of several kinds.
    Either(&'static [Kind]),
    /// A text of this form.
    Text(&'static Form),
    /// One of these words.
    Word(&'static [&'static str]),
    /// true or false.
    Bool,
    /// A whole number from the first to the last.
    Number(u64, u64),
    /// A number from the first to the last.
    Decimal(f64, f64),
    /// A duration from the first to the last.
    Span(Duration, Duration),
    /// Bytes from the first to the last.
    Size(u64, u64),
}

/// The form of a text.
pub(super) struct Form {
    /// What it is, for people.
    pub(super) what: &'static str,
    /// A regular expression that all of them match; empty: any text.
    pub(super) pattern: &'static str,
}

pub(super) const fn section(about: &'static str, keys: &'static [Key]) -> Section {
    Section { about, keys, one_of: &[] }
}

/// A key with its default in YAML.
pub(super) const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, presence: Presence::Default(default), about }
}

/// A key that has to be there.
pub(super) const fn required(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, presence: Presence::Required, about }
}

/// A key without which there is none of it.
pub(super) const fn optional(name: &'static str, kind: Kind, about: &'static str) -> Key {
    Key { name, kind, presence: Presence::Optional, about }
}

/// The words of a table of words and what they mean.
pub(super) const fn words<T, const N: usize>(table: &[(&'static str, T); N]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut index = 0;
    while index < N {
        words[index] = table[index].0;
        index += 1;
    }
    words
}
