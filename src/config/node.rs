//! Reading typed values out of a document, collecting what is wrong.
//!
//! Every reader answers `None` after it has noted a problem, so that one run
//! finds them all.

use std::cell::RefCell;
use std::time::Duration;

use serde_yaml::Value;

use super::document::{Document, index_path, key_path};
use super::problem::Problem;
use crate::decide::bucket::Share;
use crate::decide::guard::Rate;
use crate::decide::time::parse_span;

/// A name this close to a known one is taken for a slip.
const SIMILAR: f64 = 0.75;

/// What is wrong so far.
#[derive(Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| problem.at);
        problems
    }
}

/// A value in the document.
#[derive(Clone)]
pub(super) struct Node<'a> {
    document: &'a Document,
    problems: &'a Problems,
    pub(super) path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    pub(super) fn root(document: &'a Document, problems: &'a Problems) -> Self {
        Self { document, problems, path: String::new(), value: &document.root }
    }

    /// Notes a problem here.
    pub(super) fn wrong(&self, message: impl Into<String>, hint: Option<String>) {
        let at = self.document.place(&self.path);
        self.problems.0.borrow_mut().push(Problem { at, message: message.into(), hint });
    }

    /// Notes that something else is allowed here.
    pub(super) fn expected<T>(&self, allowed: &str) -> Option<T> {
        self.wrong(format!("{} is {}; {allowed}", self.name(), self.found()), None);
        None
    }

    fn name(&self) -> &str {
        if self.path.is_empty() { "the document" } else { &self.path }
    }

    /// The value for an error text: short, and on one line.
    fn found(&self) -> String {
        match self.value {
            Value::Null => "empty".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Sequence(_) => "a list".to_owned(),
            Value::String(text) => format!("{:?}", text.chars().take(60).collect::<String>()),
            other => serde_yaml::to_string(other).unwrap_or_default().trim().to_owned(),
        }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.value, Value::Mapping(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, Value::Sequence(_))
    }

    /// A mapping with these keys and no others.
    pub(super) fn keys(&self, known: &[&str]) -> Option<Map<'a>> {
        let map = self.any_keys()?;
        for (key, child) in map.entries() {
            if !known.contains(&key.as_str()) {
                let near = nearest(&key, known).map(|name| format!("did you mean `{name}`? "));
                let hint = format!("{}keys here: {}", near.unwrap_or_default(), known.join(", "));
                child.wrong(format!("unknown key `{key}`"), Some(hint));
            }
        }
        Some(map)
    }

    /// A mapping with names as keys.
    pub(super) fn any_keys(&self) -> Option<Map<'a>> {
        match self.value {
            Value::Mapping(mapping) => {
                for key in mapping.keys().filter(|key| key_text(key).is_none()) {
                    self.wrong(format!("{} has a key that is no name: {key:?}", self.name()), None);
                }
                Some(Map { node: self.clone(), mapping })
            }
            _ => self.expected("a mapping is expected here"),
        }
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        match self.value {
            Value::Sequence(values) => {
                let element = |(index, value)| Self { path: index_path(&self.path, index), value, ..self.clone() };
                Some(values.iter().enumerate().map(element).collect())
            }
            _ => self.expected("a list is expected here"),
        }
    }

    /// The elements of a list, or a value that stands for a list of one.
    pub(super) fn one_or_list(&self) -> Vec<Self> {
        match self.value {
            Value::Sequence(_) => self.list().unwrap_or_default(),
            _ => vec![self.clone()],
        }
    }

    /// A text; numbers and booleans are their text.
    pub(super) fn text(&self) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            _ => self.expected("a text is expected here"),
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(*value),
            _ => self.expected("true or false is expected here"),
        }
    }

    /// A whole number in a range.
    pub(super) fn number(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        match self.value.as_u64().filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => {
                self.expected(&format!("a whole number from {} to {} is expected here", range.start(), range.end()))
            }
        }
    }

    pub(super) fn float(&self) -> Option<f64> {
        match self.value.as_f64() {
            Some(number) => Some(number),
            None => self.expected("a number is expected here"),
        }
    }

    pub(super) fn percentage(&self) -> Option<Share> {
        self.checked(self.float()?, Share::from_percentage)
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        self.checked(self.float()?, Rate::new)
    }

    /// Seconds, or a text like `10m`, in a range.
    pub(super) fn span(&self, range: std::ops::RangeInclusive<Duration>) -> Option<Duration> {
        let text = self.text()?;
        let span = self.checked(text.as_str(), parse_span)?;
        if range.contains(&span) {
            return Some(span);
        }
        self.expected(&format!("a duration from {:?} to {:?} is expected here", range.start(), range.end()))
    }

    /// Bytes, or a text like `64KiB`, in a range.
    pub(super) fn size(&self, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let text = self.text()?;
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit = match text[digits..].trim() {
            "" | "B" => Some(1),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        let size = text[..digits].parse().ok().zip(unit).and_then(|(n, unit): (u64, u64)| n.checked_mul(unit));
        match size.filter(|size| range.contains(size)) {
            Some(size) => Some(size),
            None => self.expected(&format!(
                "a size from {} to {} bytes is expected here, as a number or like 64KiB",
                range.start(),
                range.end()
            )),
        }
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = nearest(&text, &names).map(|name| format!("did you mean `{name}`?"));
        self.wrong(format!("{} is {}; allowed: {}", self.name(), self.found(), names.join(", ")), hint);
        None
    }

    /// A value that its own type checks.
    pub(super) fn checked<I, T, E: std::fmt::Display>(
        &self,
        input: I,
        check: impl FnOnce(I) -> Result<T, E>,
    ) -> Option<T> {
        check(input).map_err(|error| self.wrong(format!("{} is {}; {error}", self.name(), self.found()), None)).ok()
    }
}

/// A mapping in the document.
pub(super) struct Map<'a> {
    pub(super) node: Node<'a>,
    mapping: &'a serde_yaml::Mapping,
}

impl<'a> Map<'a> {
    /// The value of a key; `null` is as good as none.
    pub(super) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.mapping.get(key).filter(|value| !value.is_null())?;
        Some(Node { path: key_path(&self.node.path, key), value, ..self.node.clone() })
    }

    /// The value of a key that has to be there.
    pub(super) fn require(&self, key: &str, what: &str) -> Option<Node<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.node.wrong(format!("{} has no `{key}`: {what}", self.node.name()), None);
        }
        value
    }

    pub(super) fn entries(&self) -> Vec<(String, Node<'a>)> {
        let entry = |(key, value)| {
            let key = key_text(key)?;
            Some((key.clone(), Node { path: key_path(&self.node.path, &key), value, ..self.node.clone() }))
        };
        self.mapping.iter().filter_map(entry).collect()
    }
}

fn key_text(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn nearest<'n>(found: &str, known: &[&'n str]) -> Option<&'n str> {
    let likeness = |name: &&str| strsim::jaro_winkler(found, name);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= SIMILAR).then_some(best)
}
