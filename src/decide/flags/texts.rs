//! Sets of texts.

use super::model::OneOrMany;

/// A sorted set of texts: small ones are searched faster than hashed.
#[derive(Clone, Debug)]
pub(super) struct Texts(Box<[Box<str>]>);

impl Texts {
    pub(super) fn of(values: impl Iterator<Item = OneOrMany>) -> Self {
        let mut texts: Vec<Box<str>> =
            values.flat_map(|value| value.texts().to_vec()).map(String::into_boxed_str).collect();
        texts.sort_unstable();
        texts.dedup();
        Self(texts.into_boxed_slice())
    }

    /// Whether one of these, comma separated, is in it.
    pub(super) fn contain_one_of(&self, texts: &str) -> bool {
        !self.0.is_empty() && texts.split(',').any(|text| self.contain(text.trim()))
    }

    pub(super) fn contain(&self, text: &str) -> bool {
        self.0.binary_search_by(|own| (**own).cmp(text)).is_ok()
    }
}
