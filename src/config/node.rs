//! Reading typed values out of a document by the table of keys, collecting what is wrong.
//!
//! Every reader answers `None` after it has noted a problem, so that one run
//! finds them all. A key that is not given is read as its default.

use std::borrow::Cow;
use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use serde_yaml::Value;

use super::definition::{Key, Kind, Presence, Section};
use super::document::{Document, index_path, key_path, key_text};
use super::problem::Problem;
use crate::decide::bucket::Share;
use crate::decide::guard::Rate;
use crate::decide::time::parse_span;

/// A name this close to a known one is taken for a slip.
const SIMILAR: f64 = 0.75;

/// What is wrong so far, and what is strange.
#[derive(Default)]
pub(super) struct Problems {
    wrong: RefCell<Vec<Problem>>,
    strange: RefCell<Vec<Problem>>,
    /// Files that the document names, and that are read with it.
    files: RefCell<Vec<PathBuf>>,
}

impl Problems {
    /// The files that were read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.borrow().clone()
    }

    /// What is wrong, and what is strange, in the order of the file.
    pub(super) fn into_sorted(self) -> (Vec<Problem>, Vec<Problem>) {
        let sorted = |problems: RefCell<Vec<Problem>>| {
            let mut problems = problems.into_inner();
            problems.sort_by_key(|problem| problem.at);
            problems
        };
        (sorted(self.wrong), sorted(self.strange))
    }
}

/// A value in the document, or a default.
#[derive(Clone)]
pub(super) struct Node<'a> {
    document: &'a Document,
    problems: &'a Problems,
    pub(super) path: String,
    value: &'a Value,
    /// What it has to be.
    kind: &'static Kind,
}

impl<'a> Node<'a> {
    /// The document's own value.
    pub(super) fn root(document: &'a Document, problems: &'a Problems, kind: &'static Kind) -> Self {
        Self { document, problems, path: String::new(), value: &document.root, kind }
    }

    /// Notes a problem here.
    pub(super) fn wrong(&self, message: impl Into<String>, hint: Option<String>) {
        self.problems.wrong.borrow_mut().push(self.problem(message.into(), hint));
    }

    /// Notes something that works, but hardly as it is meant.
    pub(super) fn strange(&self, message: impl Into<String>, hint: Option<String>) {
        self.problems.strange.borrow_mut().push(self.problem(message.into(), hint));
    }

    /// Another place of the document, to note something there.
    pub(super) fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    fn problem(&self, message: String, hint: Option<String>) -> Problem {
        Problem { at: self.document.place(&self.path), message, hint }
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
        let quoted = |text: &str| format!("{:?}", text.chars().take(60).collect::<String>());
        match self.value {
            Value::Null => "empty".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Sequence(_) => "a list".to_owned(),
            Value::String(text) => quoted(self.document.as_written(&self.path).unwrap_or(text)),
            other => serde_yaml::to_string(other).unwrap_or_default().trim().to_owned(),
        }
    }

    /// The value; what a variable says may be a number or a boolean.
    fn scalar(&self) -> Cow<'a, Value> {
        match self.value {
            Value::String(text) if self.document.as_written(&self.path).is_some() => {
                let read = serde_yaml::from_str(text).ok();
                let plain = |value: &Value| matches!(value, Value::Number(_) | Value::Bool(_));
                read.filter(plain).map_or(Cow::Borrowed(self.value), Cow::Owned)
            }
            value => Cow::Borrowed(value),
        }
    }

    /// The kind among those allowed here that `fits`.
    fn kind(&self, fits: impl Fn(&Kind) -> bool) -> Option<&'static Kind> {
        match self.kind {
            Kind::Either(kinds) => kinds.iter().find(|kind| fits(kind)),
            kind => fits(kind).then_some(kind),
        }
    }

    fn with(&self, path: String, value: &'a Value, kind: &'static Kind) -> Self {
        Self { path, value, kind, ..self.clone() }
    }

    pub(super) fn is_map(&self) -> bool {
        matches!(self.value, Value::Mapping(_))
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.value, Value::Sequence(_))
    }

    /// The mapping that the table has here, with its keys and no others.
    pub(super) fn map(&self) -> Option<Map<'a>> {
        let section = match self.kind(|kind| matches!(kind, Kind::Section(_))) {
            Some(Kind::Section(section)) => *section,
            _ => return self.expected("no mapping is expected here"),
        };
        let mapping = self.mapping()?;
        for (key, value) in mapping.iter().filter_map(|(key, value)| Some((key_text(key)?, value))) {
            if section.key(&key).is_none() {
                let names = section.names();
                let near = nearest(&key, &names).map(|name| format!("did you mean `{name}`? "));
                let hint = match key.as_str() {
                    "<<" => "mappings are not merged: an anchor stands for a whole value (`deploy: *usual`)".to_owned(),
                    _ => format!("{}keys here: {}", near.unwrap_or_default(), names.join(", ")),
                };
                let child = self.with(key_path(&self.path, &key), value, self.kind);
                child.wrong(format!("unknown key `{key}`"), Some(hint));
            }
        }
        Some(Map { node: self.clone(), mapping, section })
    }

    /// The entries of a mapping with names as keys.
    pub(super) fn entries(&self) -> Option<Vec<(String, Self)>> {
        let kind = match self.kind(|kind| matches!(kind, Kind::Names(_))) {
            Some(Kind::Names(kind)) => *kind,
            _ => self.kind,
        };
        let entry = |(key, value)| {
            let key = key_text(key)?;
            Some((key.clone(), self.with(key_path(&self.path, &key), value, kind)))
        };
        Some(self.mapping()?.iter().filter_map(entry).collect())
    }

    fn mapping(&self) -> Option<&'a serde_yaml::Mapping> {
        match self.value {
            Value::Mapping(mapping) => {
                for key in mapping.keys().filter(|key| key_text(key).is_none()) {
                    self.wrong(format!("{} has a key that is no name: {key:?}", self.name()), None);
                }
                Some(mapping)
            }
            _ => self.expected("a mapping is expected here"),
        }
    }

    /// The elements of a list.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        match self.value {
            Value::Sequence(values) => {
                let kind = self.element();
                let element = |(index, value)| self.with(index_path(&self.path, index), value, kind);
                Some(values.iter().enumerate().map(element).collect())
            }
            _ => self.expected("a list is expected here"),
        }
    }

    /// The elements of a list, or a value that stands for a list of one.
    pub(super) fn one_or_list(&self) -> Vec<Self> {
        match self.value {
            Value::Sequence(_) => self.list().unwrap_or_default(),
            _ => vec![self.with(self.path.clone(), self.value, self.element())],
        }
    }

    fn element(&self) -> &'static Kind {
        match self.kind(|kind| matches!(kind, Kind::List(_) | Kind::OneOrMany(_))) {
            Some(Kind::List(kind) | Kind::OneOrMany(kind)) => kind,
            _ => self.kind,
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

    /// A file that is read with the document, and looked after with it.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let file = PathBuf::from(self.text()?);
        self.problems.files.borrow_mut().push(file.clone());
        Some(file)
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match *self.scalar() {
            Value::Bool(value) => Some(value),
            _ => self.expected("true or false is expected here"),
        }
    }

    /// A whole number in the table's range.
    pub(super) fn number<T: TryFrom<u64>>(&self) -> Option<T> {
        let (first, last) = match self.kind(|kind| matches!(kind, Kind::Number(..))) {
            Some(Kind::Number(first, last)) => (*first, *last),
            _ => (0, u64::MAX),
        };
        let number = self.scalar().as_u64().filter(|number| (first..=last).contains(number));
        match number.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Some(number),
            None => self.expected(&format!("a whole number from {first} to {last} is expected here")),
        }
    }

    pub(super) fn float(&self) -> Option<f64> {
        match self.scalar().as_f64() {
            Some(number) => Some(number),
            None => self.expected("a number is expected here"),
        }
    }

    /// A number in the table's range.
    pub(super) fn decimal(&self) -> Option<f64> {
        let number = self.float()?;
        match self.kind(|kind| matches!(kind, Kind::Decimal(..))) {
            Some(Kind::Decimal(first, last)) if !(*first..=*last).contains(&number) => {
                let first = if *first == f64::MIN_POSITIVE { "above 0".to_owned() } else { format!("from {first}") };
                self.expected(&format!("a number {first} to {last} is expected here"))
            }
            _ => Some(number),
        }
    }

    pub(super) fn percentage(&self) -> Option<Share> {
        self.checked(self.float()?, Share::from_percentage)
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        self.checked(self.float()?, Rate::new)
    }

    /// Seconds, or a text like `10m`, in the table's range.
    pub(super) fn span(&self) -> Option<Duration> {
        let text = self.text()?;
        let span = self.checked(text.as_str(), parse_span)?;
        match self.kind(|kind| matches!(kind, Kind::Span(..))) {
            Some(Kind::Span(first, last)) if !(*first..=*last).contains(&span) => {
                self.expected(&format!("a duration from {first:?} to {} is expected here", spelled(*last)))
            }
            _ => Some(span),
        }
    }

    /// A duration of which 0 means that there is none.
    pub(super) fn span_or_none(&self) -> Option<Option<Duration>> {
        self.span().map(|span| (!span.is_zero()).then_some(span))
    }

    /// Bytes, or a text like `64KiB`, in the table's range.
    pub(super) fn size<T: TryFrom<u64>>(&self) -> Option<T> {
        let (first, last) = match self.kind(|kind| matches!(kind, Kind::Size(..))) {
            Some(Kind::Size(first, last)) => (*first, *last),
            _ => (0, u64::MAX),
        };
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
        match size.filter(|size| (first..=last).contains(size)).and_then(|size| T::try_from(size).ok()) {
            Some(size) => Some(size),
            None => self.expected(&format!(
                "a size from {first} to {last} bytes is expected here, as a number or like 64KiB (KiB, MiB, GiB)"
            )),
        }
    }

    /// Whether it is this text.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.value.as_str() == Some(word)
    }

    /// What the word stands for that is here.
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
        let noted = |error: E| {
            let mut error = error.to_string();
            // What a variable says is shown nowhere, whoever forms the text.
            if let (Value::String(text), Some(written)) = (self.value, self.document.as_written(&self.path)) {
                error = error.replace(text.as_str(), written);
            }
            self.wrong(format!("{} is {}; {error}", self.name(), self.found()), None);
        };
        check(input).map_err(noted).ok()
    }
}

/// Longest durations are whole days.
fn spelled(span: Duration) -> String {
    let days = span.as_secs() / 86_400;
    if days > 1 { format!("{days}d") } else { format!("{}h", span.as_secs() / 3_600) }
}

/// A mapping in the document, with its keys.
pub(super) struct Map<'a> {
    pub(super) node: Node<'a>,
    mapping: &'a serde_yaml::Mapping,
    section: &'static Section,
}

impl<'a> Map<'a> {
    /// The value of a key, where it is given; `null` is as good as none.
    pub(super) fn given(&self, key: &str) -> Option<Node<'a>> {
        let value = self.mapping.get(key).filter(|value| !value.is_null())?;
        Some(self.node.with(key_path(&self.node.path, key), value, &self.section.key(key)?.kind))
    }

    /// The value of a key, or its default; a missing one is noted where it is needed.
    fn get(&self, name: &str) -> Option<Node<'a>> {
        if let Some(given) = self.given(name) {
            return Some(given);
        }
        let key: &'static Key = self.section.key(name)?;
        if let Presence::Required = key.presence {
            self.node.wrong(format!("{} has no `{name}`: {}", self.node.name(), key.about), None);
        }
        Some(self.node.with(key_path(&self.node.path, name), key.default()?, &key.kind))
    }

    /// What a key says, or its default; `None` only after a problem was noted.
    pub(super) fn read<T>(&self, key: &str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
        self.get(key).and_then(|node| read(&node))
    }

    /// What an optional key says; `Some(None)` where it is not given.
    pub(super) fn maybe<T>(&self, key: &str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<Option<T>> {
        match self.given(key) {
            Some(node) => read(&node).map(Some),
            None => Some(None),
        }
    }

    /// Another mapping of this document, all of whose keys have their defaults.
    pub(super) fn defaults(&self, section: &'static Section) -> Self {
        static NOTHING: std::sync::LazyLock<serde_yaml::Mapping> = std::sync::LazyLock::new(Default::default);
        Map { node: self.node.clone(), mapping: &NOTHING, section }
    }
}

fn nearest<'n>(found: &str, known: &[&'n str]) -> Option<&'n str> {
    let likeness = |name: &&str| strsim::jaro_winkler(found, name);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= SIMILAR).then_some(best)
}
