//! What rules ask of attributes: facts about whoever asks, beyond who it is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Number, Value};

/// Where attributes are found by name. A name with dots leads into objects where nothing
/// has it whole.
pub trait Attributes: std::fmt::Debug {
    /// An attribute; `None` where there is none, or null.
    fn get(&self, name: &str) -> Option<Attribute<'_>>;
}

/// An attribute's value.
#[derive(Clone, Debug)]
pub enum Attribute<'a> {
    /// A text that says nothing of its type, as fields of a request are.
    Text(Cow<'a, str>),
    /// A value with a type.
    Json(&'a Value),
}

impl Attribute<'_> {
    /// The text; `None` for what is another type by itself.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Json(Value::String(text)) => Some(text),
            Self::Json(_) => None,
        }
    }

    fn as_number(&self) -> Option<f64> {
        match self {
            Self::Text(text) => number_of(text),
            Self::Json(Value::String(text)) => number_of(text),
            Self::Json(Value::Number(number)) => number.as_f64(),
            Self::Json(Value::Bool(on)) => Some(f64::from(u8::from(*on))),
            Self::Json(_) => None,
        }
    }
}

fn number_of(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// Values of JSON by name.
#[derive(Clone, Copy, Debug)]
pub struct JsonAttributes<'a>(pub &'a serde_json::Map<String, Value>);

impl<'a> JsonAttributes<'a> {
    /// The value of this name.
    pub fn find(self, name: &str) -> Option<Attribute<'a>> {
        let found = self.0.get(name).or_else(|| {
            let (first, rest) = name.split_once('.')?;
            rest.split('.').try_fold(self.0.get(first)?, |value, part| match value {
                Value::Object(fields) => fields.get(part),
                Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                _ => None,
            })
        });
        found.filter(|value| !value.is_null()).map(Attribute::Json)
    }
}

impl Attributes for JsonAttributes<'_> {
    fn get(&self, name: &str) -> Option<Attribute<'_>> {
        self.find(name)
    }
}

/// Tests by the name of the attribute; all have to pass.
pub type Tests = BTreeMap<String, Test>;

/// What an attribute has to be. One that is not there passes `exists: false`,
/// `truthy: false` and `not` alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Test {
    /// This value. A number is no text and a text no number, but for attributes without types.
    Equals(Scalar),
    /// One of these values.
    In(Vec<Scalar>),
    /// A text that begins with one of these.
    StartsWith(ScalarOrMany),
    /// A text that ends with one of these.
    EndsWith(ScalarOrMany),
    /// A text with one of these in it, or a list that has one of these.
    Contains(ScalarOrMany),
    /// A number, or a text that is one, below this.
    LessThan(f64),
    /// At most this.
    AtMost(f64),
    /// Above this.
    MoreThan(f64),
    /// At least this.
    AtLeast(f64),
    /// A semantic version (semver.org) in this range.
    Semver(VersionTest),
    /// Whether it is there.
    Exists(bool),
    /// Whether it is there and neither false, 0, an empty text nor an empty list.
    Truthy(bool),
    /// What does not pass this test.
    Not(Box<Test>),
}

/// A value to compare with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a text, a number, or true or false")]
pub enum Scalar {
    /// On or off.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(String),
}

/// One value or several, written as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "a text or a list of them")]
pub enum ScalarOrMany {
    /// One.
    One(Scalar),
    /// Several.
    Many(Vec<Scalar>),
}

impl ScalarOrMany {
    fn all(&self) -> &[Scalar] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    fn texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.all().iter().map(Scalar::text)
    }
}

impl Scalar {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    fn is(&self, value: &Attribute<'_>) -> bool {
        match value {
            Attribute::Json(value) => self.is_json(value),
            Attribute::Text(text) => match self {
                Self::Text(own) => own == text,
                Self::Number(own) => own.as_f64() == number_of(text),
                Self::Bool(own) => (if *own { "true" } else { "false" }) == text,
            },
        }
    }

    fn is_json(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(own), Value::String(text)) => own == text,
            (Self::Number(own), Value::Number(number)) => own.as_f64() == number.as_f64(),
            (Self::Bool(own), Value::Bool(on)) => own == on,
            _ => false,
        }
    }
}

impl Test {
    /// Whether an attribute passes.
    pub fn passes(&self, value: Option<&Attribute<'_>>) -> bool {
        match (self, value) {
            (Self::Not(inner), value) => !inner.passes(value),
            (Self::Exists(wanted), value) => value.is_some() == *wanted,
            (Self::Truthy(wanted), value) => value.is_some_and(is_truthy) == *wanted,
            (_, None) => false,
            (test, Some(value)) => test.passes_value(value),
        }
    }

    fn passes_value(&self, value: &Attribute<'_>) -> bool {
        let text = |holds: &dyn Fn(&str) -> bool| value.as_text().is_some_and(holds);
        let number = |holds: &dyn Fn(f64) -> bool| value.as_number().is_some_and(holds);
        match self {
            Self::Equals(wanted) => wanted.is(value),
            Self::In(wanted) => wanted.iter().any(|wanted| wanted.is(value)),
            Self::StartsWith(parts) => text(&|text| parts.texts().any(|part| text.starts_with(&*part))),
            Self::EndsWith(parts) => text(&|text| parts.texts().any(|part| text.ends_with(&*part))),
            Self::Contains(parts) => match value {
                Attribute::Json(Value::Array(items)) => {
                    items.iter().any(|item| parts.all().iter().any(|part| part.is_json(item)))
                }
                _ => text(&|text| parts.texts().any(|part| text.contains(&*part))),
            },
            Self::LessThan(limit) => number(&|number| number < *limit),
            Self::AtMost(limit) => number(&|number| number <= *limit),
            Self::MoreThan(limit) => number(&|number| number > *limit),
            Self::AtLeast(limit) => number(&|number| number >= *limit),
            Self::Semver(range) => match value {
                Attribute::Json(Value::Number(number)) => range.has(&number.to_string()),
                _ => text(&|text| range.has(text)),
            },
            Self::Exists(_) | Self::Truthy(_) | Self::Not(_) => self.passes(Some(value)),
        }
    }

    /// Whether anything could pass it.
    pub fn is_possible(&self) -> bool {
        match self {
            Self::In(wanted) => !wanted.is_empty(),
            Self::StartsWith(parts) | Self::EndsWith(parts) | Self::Contains(parts) => !parts.all().is_empty(),
            _ => true,
        }
    }
}

fn is_truthy(value: &Attribute<'_>) -> bool {
    match value {
        Attribute::Text(text) => !text.is_empty(),
        Attribute::Json(value) => match value {
            Value::Null => false,
            Value::Bool(on) => *on,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(_) => true,
        },
    }
}

/// A range of versions: an operator and a version, as in `>= 1.4.0`. `~` is the same major
/// and minor number, `^` the same major one; build metadata counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionTest {
    operator: VersionOperator,
    version: Version,
    /// As it was written.
    text: String,
}

/// How versions are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VersionOperator {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
    SameMinor,
    SameMajor,
}

/// Longer ones first: `<=` begins with `<`.
const OPERATORS: [(&str, VersionOperator); 8] = [
    ("!=", VersionOperator::NotEqual),
    ("<=", VersionOperator::AtMost),
    (">=", VersionOperator::AtLeast),
    ("=", VersionOperator::Equal),
    ("<", VersionOperator::Less),
    (">", VersionOperator::More),
    ("~", VersionOperator::SameMinor),
    ("^", VersionOperator::SameMajor),
];

impl VersionTest {
    /// Reads a range; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (operator, rest) = OPERATORS
            .into_iter()
            .find_map(|(sign, operator)| Some((operator, text.trim().strip_prefix(sign)?)))
            .unwrap_or((VersionOperator::Equal, text));
        Some(Self { operator, version: version(rest.trim())?, text: text.to_owned() })
    }

    /// Whether a version is in it; what is no version is in none.
    pub fn has(&self, text: &str) -> bool {
        let Some(found) = version(text) else { return false };
        let order = found.cmp_precedence(&self.version);
        match self.operator {
            VersionOperator::Equal => order.is_eq(),
            VersionOperator::NotEqual => order.is_ne(),
            VersionOperator::Less => order.is_lt(),
            VersionOperator::AtMost => order.is_le(),
            VersionOperator::More => order.is_gt(),
            VersionOperator::AtLeast => order.is_ge(),
            VersionOperator::SameMajor => found.major == self.version.major,
            VersionOperator::SameMinor => (found.major, found.minor) == (self.version.major, self.version.minor),
        }
    }
}

/// A version, with a leading `v` and without its last numbers as well.
fn version(text: &str) -> Option<Version> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let numbers = text.split(['-', '+']).next()?;
    match numbers.matches('.').count() {
        2.. => Version::parse(text).ok(),
        dots => Version::parse(&format!("{numbers}{}{}", ".0".repeat(2 - dots), &text[numbers.len()..])).ok(),
    }
}

impl Serialize for VersionTest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for VersionTest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is no range of versions: write it as in `>= 1.4.0`"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[allow(clippy::needless_pass_by_value)] // Reads better where it is called.
    fn test(value: Value) -> Test {
        serde_json::from_value(value).unwrap()
    }

    fn typed(test: &Test, value: &Value) -> bool {
        test.passes(Some(&Attribute::Json(value)))
    }

    fn untyped(test: &Test, text: &str) -> bool {
        test.passes(Some(&Attribute::Text(text.into())))
    }

    #[test]
    fn tests_and_what_passes_them() {
        // A test, values that pass, values that do not.
        let rows = [
            (json!({ "equals": "a" }), vec![json!("a")], vec![json!("b"), json!(1), json!(["a"]), json!("A")]),
            (json!({ "equals": 5 }), vec![json!(5), json!(5.0)], vec![json!("5"), json!(6), json!(true)]),
            (json!({ "equals": true }), vec![json!(true)], vec![json!("true"), json!(1), json!(false)]),
            (json!({ "in": ["a", 2] }), vec![json!("a"), json!(2)], vec![json!("2"), json!("b")]),
            (json!({ "startsWith": ["ab", "x"] }), vec![json!("abc"), json!("x")], vec![json!("cab"), json!(7)]),
            (json!({ "endsWith": "@faas.com" }), vec![json!("a@faas.com")], vec![json!("a@faas.co"), json!("")]),
            (json!({ "contains": "b" }), vec![json!("abc"), json!(["b"])], vec![json!("ac"), json!(["abc"]), json!(0)]),
            (json!({ "lessThan": 18 }), vec![json!(17.5), json!("3")], vec![json!(18), json!("x"), json!("")]),
            (json!({ "atMost": 18 }), vec![json!(18), json!(true)], vec![json!(18.1), json!([1])]),
            (json!({ "moreThan": 18 }), vec![json!(19)], vec![json!(18)]),
            (json!({ "atLeast": 18 }), vec![json!(18)], vec![json!(17)]),
            (json!({ "truthy": true }), vec![json!("0"), json!(1), json!({})], vec![json!(""), json!(0), json!([])]),
            (json!({ "not": { "equals": "a" } }), vec![json!("b"), json!(1)], vec![json!("a")]),
        ];
        for (text, pass, fail) in rows {
            let test = test(text.clone());
            pass.iter().for_each(|value| assert!(typed(&test, value), "{text} takes {value}"));
            fail.iter().for_each(|value| assert!(!typed(&test, value), "{text} does not take {value}"));
        }
    }

    #[test]
    fn what_is_not_there_passes_only_tests_for_that() {
        for (text, passes) in [
            (json!({ "exists": false }), true),
            (json!({ "exists": true }), false),
            (json!({ "truthy": false }), true),
            (json!({ "not": { "equals": "a" } }), true),
            (json!({ "equals": "" }), false),
            (json!({ "lessThan": 1 }), false),
        ] {
            assert_eq!(test(text.clone()).passes(None), passes, "{text}");
        }
    }

    #[test]
    fn fields_of_a_request_have_no_types() {
        assert!(untyped(&test(json!({ "equals": 5 })), "5.0"));
        assert!(untyped(&test(json!({ "equals": "5" })), "5"));
        assert!(untyped(&test(json!({ "equals": true })), "true"));
        assert!(!untyped(&test(json!({ "equals": true })), "1"));
        assert!(untyped(&test(json!({ "atLeast": 18 })), " 20 "));
    }

    #[test]
    fn versions_are_compared_as_semver_org_says() {
        let rows = [
            (">= 1.2.0", "1.10.0", true),
            (">= 1.2.0", "1.2.0-rc.1", false),
            ("> 1.2.0-rc.1", "1.2.0", true),
            ("= 1.2", "v1.2.0+build.7", true),
            ("1.2.3", "1.2.3", true),
            ("!= 1.2.3", "1.2.4", true),
            ("~1.2.0", "1.2.9", true),
            ("~1.2.0", "1.3.0", false),
            ("^1.2.0", "1.0.0", true),
            ("^1.2.0", "2.0.0", false),
            ("< 2", "1.99.99", true),
            ("<= 2", "2.0.1", false),
            (">= 1", "one", false),
            (">= 1", "1.2.3.4", false),
            (">= 1", "01.0.0", false),
        ];
        for (range, version, has) in rows {
            assert_eq!(VersionTest::parse(range).unwrap().has(version), has, "{version} {range}");
        }
        for wrong in ["", ">=", "=> 1.0.0", "latest", ">= 1.2.x"] {
            assert!(VersionTest::parse(wrong).is_none(), "{wrong}");
        }
        assert!(typed(&test(json!({ "semver": ">= 1.2" })), &json!(1.3)));
    }

    #[test]
    fn a_name_with_dots_leads_into_objects() {
        let context = json!({ "a": { "b": [{ "c": 1 }], "n": null }, "a.x": "whole" });
        let attributes = JsonAttributes(context.as_object().unwrap());
        assert!(matches!(attributes.get("a.b.0.c"), Some(Attribute::Json(value)) if *value == 1));
        assert!(matches!(attributes.get("a.x"), Some(Attribute::Json(value)) if *value == "whole"));
        for missing in ["a.n", "b", "a.b.1", "a.b.c", "a.b.0.c.d", ""] {
            assert!(attributes.get(missing).is_none(), "{missing}");
        }
    }
}
