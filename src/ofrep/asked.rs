//! What a call brings: the evaluation context.

use serde_json::{Map, Value};

/// What a call says of whoever it asks for.
#[derive(Debug, Default)]
pub(crate) struct Asked(pub(crate) Map<String, Value>);

/// Why a body is no context.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadContext {
    #[error("the body is no JSON: {0}")]
    Unreadable(String),
    #[error("the body is a JSON object with a `context`, which is an object")]
    Shape,
    #[error("`targetingKey` is a text")]
    TargetingKey,
}

impl Asked {
    /// Reads a body. None, `{}` and one without a context are an empty context: clients in
    /// dynamic mode often send no more.
    ///
    /// # Errors
    /// What is no JSON, no object, or has a targeting key that is no text.
    pub(crate) fn read(body: &[u8]) -> Result<Self, BadContext> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let body: Value = serde_json::from_slice(body).map_err(|error| BadContext::Unreadable(error.to_string()))?;
        let Value::Object(mut body) = body else { return Err(BadContext::Shape) };
        match body.remove("context") {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::Object(context)) => match context.get("targetingKey") {
                None | Some(Value::Null | Value::String(_)) => Ok(Self(context)),
                Some(_) => Err(BadContext::TargetingKey),
            },
            Some(_) => Err(BadContext::Shape),
        }
    }

    /// A text of the context that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// The id that is drawn for: OpenFeature's name for it, else the guide's.
    pub(crate) fn id(&self) -> Option<&str> {
        ["targetingKey", "userId", "sessionId"].into_iter().find_map(|name| self.text(name))
    }

    /// The user, where the caller is believed.
    pub(crate) fn user(&self) -> Option<&str> {
        ["userId", "targetingKey"].into_iter().find_map(|name| self.text(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_context_is_empty_and_what_is_wrong_is_said() {
        for empty in ["", " ", "{}", r#"{"context":null}"#, r#"{"context":{}}"#, r#"{"other":1}"#] {
            assert!(Asked::read(empty.as_bytes()).unwrap().0.is_empty(), "{empty}");
        }
        let read = |text: &str| Asked::read(text.as_bytes()).unwrap_err();
        assert!(matches!(read("{"), BadContext::Unreadable(_)));
        for wrong in ["[]", "1", "null", r#"{"context":[]}"#, r#"{"context":"u"}"#] {
            assert_eq!(read(wrong), BadContext::Shape, "{wrong}");
        }
        assert_eq!(read(r#"{"context":{"targetingKey":7}}"#), BadContext::TargetingKey);
    }

    #[test]
    fn an_id_has_several_names() {
        let id = |text: &str| Asked::read(text.as_bytes()).unwrap().id().map(str::to_owned);
        assert_eq!(id(r#"{"context":{"targetingKey":"t","userId":"u"}}"#).as_deref(), Some("t"));
        assert_eq!(id(r#"{"context":{"targetingKey":"","userId":"u"}}"#).as_deref(), Some("u"));
        assert_eq!(id(r#"{"context":{"sessionId":"s"}}"#).as_deref(), Some("s"));
        assert_eq!(id(r#"{"context":{}}"#), None);
    }
}
