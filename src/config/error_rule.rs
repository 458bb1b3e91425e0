//! Which statuses count as errors.

/// A set of HTTP statuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Box<[std::ops::RangeInclusive<u16>]>);

/// A text that is no range of statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a status is from 100 to 599, a range like 500-599")]
pub struct StatusError;

impl StatusSet {
    /// 500 to 599.
    pub fn server_errors() -> Self {
        Self(Box::new([500..=599]))
    }

    /// A set of ranges.
    pub fn new(ranges: Vec<std::ops::RangeInclusive<u16>>) -> Self {
        Self(ranges.into())
    }

    /// Reads `503` or `500-599`.
    ///
    /// # Errors
    /// Where it is neither, or outside of 100 to 599.
    pub fn parse_range(text: &str) -> Result<std::ops::RangeInclusive<u16>, StatusError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |part: &str| part.trim().parse::<u16>().ok().filter(|n| (100..600).contains(n));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(first..=last),
            _ => Err(StatusError),
        }
    }

    /// Whether a status is in it.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}
