//! A YAML document with the places of its parts.
//!
//! `serde_yaml` stops at its first error and knows no place after parsing, so the
//! places come from an event parser that keeps marks. A test holds that both read alike.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use saphyr_parser::{Event, Parser, Span};
use serde_yaml::Value;

use super::problem::{ConfigError, Position, Problem};
use super::variables;

/// Deeper than any configuration.
const DEPTH_MAX: usize = 64;

pub(super) struct Document {
    pub(super) file: PathBuf,
    pub(super) root: Value,
    places: HashMap<String, Position>,
    /// Values that variables of the environment are part of, as they are written: errors
    /// show them so, as the variable may be a secret.
    filled: HashMap<String, String>,
}

impl Document {
    pub(super) fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let wrong = |problems| ConfigError::Wrong { file: file.to_path_buf(), problems };
        let unreadable = |at, message: String| {
            let message = format!("this is no YAML that can be read: {message}");
            wrong(vec![Problem { at, message, hint: Some(SYNTAX_HINT.to_owned()) }])
        };
        let Places { places, twice } = Places::of(text).map_err(|(at, message)| unreadable(at, message))?;
        if !twice.is_empty() {
            return Err(wrong(twice));
        }
        let root = serde_yaml::from_str(text).map_err(|error| {
            let at = error.location().map(|l| Position { line: l.line(), column: l.column() });
            unreadable(at.unwrap_or(Position { line: 1, column: 1 }), error.to_string())
        })?;
        let mut document = Self { file: file.to_path_buf(), root, places, filled: HashMap::new() };
        let mut root = std::mem::take(&mut document.root);
        let problems = variables::fill(&mut root, &mut document.filled);
        document.root = root;
        if problems.is_empty() {
            return Ok(document);
        }
        let problem = |(path, message): (String, String)| Problem { at: document.place(&path), message, hint: None };
        let problems = problems.into_iter().map(problem).collect();
        Err(wrong(problems))
    }

    /// A value as it is written, where a variable is part of it.
    pub(super) fn as_written(&self, path: &str) -> Option<&str> {
        self.filled.get(path).map(String::as_str)
    }

    /// Where a path stands, or the nearest part around it that stands somewhere
    /// (what comes from an alias has no place of its own).
    pub(super) fn place(&self, path: &str) -> Position {
        let mut path = path;
        loop {
            if let Some(at) = self.places.get(path) {
                return *at;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return Position { line: 1, column: 1 },
            }
        }
    }
}

/// A key as a name; `None` where it is none.
pub(super) fn key_text(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The path of an entry: `services.shop.pools`.
pub(super) fn key_path(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// The path of an element: `stages[2]`.
pub(super) fn index_path(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

const SYNTAX_HINT: &str = "look at indentation and brackets up to here; texts with `:`, `#` or `{` want quotes, `${NAME}` between braces as well";

enum Frame {
    Map { path: String, keys: HashMap<String, Position>, key: Option<String> },
    List { path: String, next: usize },
}

/// The places of all keys and elements; a key's place is that of its value's key.
struct Places {
    places: HashMap<String, Position>,
    /// Keys that stand twice in one mapping.
    twice: Vec<Problem>,
}

impl Places {
    fn of(text: &str) -> Result<Self, (Position, String)> {
        let mut found = Self { places: HashMap::new(), twice: Vec::new() };
        found.read(text)?;
        Ok(found)
    }

    fn read(&mut self, text: &str) -> Result<(), (Position, String)> {
        let Self { places, twice } = self;
        let mut stack: Vec<Frame> = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| (position(error.marker()), error.info().to_owned()))?;
            match event {
                Event::Scalar(value, ..) => {
                    if let Some(Frame::Map { path, keys, key: key @ None }) = stack.last_mut() {
                        let at = start(span);
                        places.insert(key_path(path, &value), at);
                        if let Some(first) = keys.insert(value.clone().into_owned(), at) {
                            let message =
                                format!("the key `{value}` stands here twice: line {} has it already", first.line);
                            twice.push(Problem { at, message, hint: None });
                        }
                        *key = Some(value.into_owned());
                    } else {
                        place_value(&mut stack, places, span);
                    }
                }
                Event::Alias(_) => drop(place_value(&mut stack, places, span)),
                Event::MappingStart(..) | Event::SequenceStart(..) => {
                    let path = place_value(&mut stack, places, span);
                    if stack.len() == DEPTH_MAX {
                        return Err((start(span), format!("nested deeper than {DEPTH_MAX} levels")));
                    }
                    stack.push(match event {
                        Event::MappingStart(..) => Frame::Map { path, keys: HashMap::new(), key: None },
                        _ => Frame::List { path, next: 0 },
                    });
                }
                Event::MappingEnd | Event::SequenceEnd => drop(stack.pop()),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The path of a value that begins here. Keys have their place already.
fn place_value(stack: &mut [Frame], places: &mut HashMap<String, Position>, span: Span) -> String {
    match stack.last_mut() {
        None => String::new(),
        // A key that is no scalar names no path; serde_yaml's document says what is wrong with it.
        Some(Frame::Map { path, key, .. }) => key.take().map_or_else(|| path.clone(), |key| key_path(path, &key)),
        Some(Frame::List { path, next }) => {
            let element = index_path(path, *next);
            *next += 1;
            places.insert(element.clone(), start(span));
            element
        }
    }
}

fn start(span: Span) -> Position {
    position(&span.start)
}

fn position(mark: &saphyr_parser::Marker) -> Position {
    Position { line: mark.line(), column: mark.col() + 1 }
}
