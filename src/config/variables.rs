//! `${NAME}` in a value: a variable of the environment. `$$` before a brace is one `$`.

use std::collections::HashMap;

use serde_yaml::Value;

use super::document::{index_path, key_path, key_text};

/// Fills the variables in; what was written is noted by path. The value is what is wrong,
/// each with its path.
pub(super) fn fill(root: &mut Value, filled: &mut HashMap<String, String>) -> Vec<(String, String)> {
    let mut filling = Filling { filled, problems: Vec::new() };
    filling.value(root, String::new());
    filling.problems
}

struct Filling<'a> {
    filled: &'a mut HashMap<String, String>,
    problems: Vec<(String, String)>,
}

impl Filling<'_> {
    fn value(&mut self, value: &mut Value, path: String) {
        match value {
            Value::String(text) if text.contains("${") => match filled(text) {
                Ok(full) => drop(self.filled.insert(path, std::mem::replace(text, full))),
                Err(message) => self.problems.push((path.clone(), format!("{path} is {text:?}; {message}"))),
            },
            Value::Sequence(values) => {
                values.iter_mut().enumerate().for_each(|(index, value)| self.value(value, index_path(&path, index)));
            }
            Value::Mapping(mapping) => {
                for (key, value) in mapping.iter_mut() {
                    // A key that is no name is found wrong later.
                    let key = key_text(key).unwrap_or_default();
                    self.value(value, key_path(&path, &key));
                }
            }
            _ => {}
        }
    }
}

fn filled(text: &str) -> Result<String, String> {
    let mut full = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            full.push_str(before);
            full.push_str("${");
            rest = &from[2..];
            continue;
        }
        full.push_str(before);
        let (name, after) = from[2..].split_once('}').ok_or("a variable is `${NAME}`: there is no `}`")?;
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(format!(
                "a variable is `${{NAME}}` of letters, digits and `_`: `{name}` is none (`$${{` stands for `${{` itself)"
            ));
        }
        full.push_str(&std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => format!("the variable {name} is not set"),
            std::env::VarError::NotUnicode(_) => format!("the variable {name} is no UTF-8"),
        })?);
        rest = after;
    }
    full.push_str(rest);
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_wrong_ones_are_named() {
        // Cargo sets it for every test.
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(filled("a${CARGO_PKG_VERSION}b").unwrap(), format!("a{version}b"));
        assert_eq!(filled("$${CARGO_PKG_VERSION} $x $").unwrap(), "${CARGO_PKG_VERSION} $x $");
        assert!(filled("${SERIN_NO_SUCH_VARIABLE}").unwrap_err().contains("SERIN_NO_SUCH_VARIABLE is not set"));
        for wrong in ["${", "${a", "${}", "${a-b}", "${1}"] {
            assert!(filled(wrong).is_err(), "{wrong}");
        }
    }
}
