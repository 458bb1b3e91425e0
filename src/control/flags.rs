//! Flags: set, changed, deleted, evaluated.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::controller::Controller;
use super::error::ControlError;
use crate::clock;
use crate::config::Expose;
use crate::decide::bucket::Share;
use crate::decide::flags::{CompiledFlag, Context, Evaluation, Flag, FlagName, ForcedValue, Reason, RuleKind};

/// No more flags than this are kept.
const FLAGS_MAX: usize = 10_000;

/// Who a flag is evaluated for, by an API call.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EvaluationContext {
    /// The user's id.
    pub user_id: Option<String>,
    /// The session's id, where there is no user.
    pub session_id: Option<String>,
    /// Groups, comma separated.
    pub group_id: Option<String>,
    /// Another environment than the configured one.
    pub environment: Option<String>,
}

/// The guide's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlagEvaluation {
    /// Which flag.
    pub flag_name: String,
    /// On or off.
    pub enabled: bool,
    /// Why.
    pub reason: Reason,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_matched: Option<RuleKind>,
}

/// Who changes a flag, and what of.
#[derive(Clone, Debug)]
pub struct FlagOrder {
    /// The flag.
    pub name: String,
    /// The name of the token, or `operator`.
    pub by: String,
    /// The version that the change rests on, where the caller says so.
    pub if_match: Option<String>,
}

/// What changes of a flag; the rest stays.
pub type FlagPatch = Map<String, Value>;

impl Controller {
    /// All flags.
    pub fn all_flags(&self) -> Vec<Flag> {
        self.flags.flags.values().cloned().collect()
    }

    /// One flag.
    ///
    /// # Errors
    /// Where there is none.
    pub fn flag(&self, name: &str) -> Result<Flag, ControlError> {
        self.flags.flags.get(name).cloned().ok_or_else(|| unknown(name))
    }

    /// Sets a flag: its fields as the guide has them, without name and times.
    ///
    /// # Errors
    /// A field that is wrong, or a flag that goes past a limit.
    pub fn set_flag(&mut self, order: &FlagOrder, mut fields: FlagPatch) -> Result<Flag, ControlError> {
        self.check_flag_file()?;
        let name = FlagName::new(&order.name).map_err(|error| ControlError::invalid("name", error.to_string()))?;
        if let Some(other) = fields.get("name").filter(|given| given.as_str() != Some(name.as_str())) {
            return Err(ControlError::invalid("name", format!("the path names `{name}`, the body {other}")));
        }
        let created = self.flags.flags.get(name.as_str()).map(|flag| flag.created_at.clone());
        let now = clock::rfc3339();
        fields.insert("name".to_owned(), Value::from(name.as_str()));
        fields.insert("createdAt".to_owned(), Value::from(created.unwrap_or_else(|| now.clone())));
        fields.insert("updatedAt".to_owned(), Value::from(now));
        self.store(parse(fields)?, order)
    }

    /// Changes some fields of a flag. A rollout percentage out of range is clamped, as in the guide.
    ///
    /// # Errors
    /// No such flag, or a field that is wrong.
    pub fn patch_flag(&mut self, order: &FlagOrder, patch: FlagPatch) -> Result<Flag, ControlError> {
        self.check_flag_file()?;
        let flag = self.flag(&order.name)?;
        let Ok(Value::Object(mut fields)) = serde_json::to_value(flag) else {
            return Err(ControlError::invalid("", "the flag cannot be read"));
        };
        for fixed in ["name", "createdAt", "updatedAt"] {
            if patch.contains_key(fixed) {
                return Err(ControlError::invalid(fixed, format!("`{fixed}` cannot be changed")));
            }
        }
        for (key, mut value) in patch {
            if let ("rolloutPercentage", Some(percent)) = (key.as_str(), value.as_f64()) {
                value = serde_json::to_value(Share::clamped(percent)).unwrap_or(value);
            }
            fields.insert(key, value);
        }
        fields.insert("updatedAt".to_owned(), Value::from(clock::rfc3339()));
        self.store(parse(fields)?, order)
    }

    /// Deletes a flag.
    ///
    /// # Errors
    /// Where there is none.
    pub fn delete_flag(&mut self, order: &FlagOrder) -> Result<Flag, ControlError> {
        self.check_flag_file()?;
        let flag = self.flag(&order.name)?;
        self.check_match(order)?;
        self.flags_mut().remove(order.name.as_str());
        self.flag_changed("flagDeleted", &order.by, Some(&order.name), format!("flag {} is deleted", order.name));
        Ok(flag)
    }

    /// What `If-Match` compares: another one for every other content.
    pub fn flag_tag(flag: &Flag) -> String {
        // A flag is plain data: it always has a text.
        let text = serde_json::to_vec(flag).unwrap_or_default();
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&text))
    }

    /// After all else is fine (RFC 9110 section 13.2.1).
    fn check_match(&self, order: &FlagOrder) -> Result<(), ControlError> {
        let now = self.flags.flags.get(order.name.as_str()).map_or_else(|| "none".to_owned(), Self::flag_tag);
        match order.if_match.as_deref() {
            None => Ok(()),
            Some("*") if now != "none" => Ok(()),
            Some(wanted) if wanted == now => Ok(()),
            Some(_) => Err(ControlError::Stale { now }),
        }
    }

    /// The flags to change, in the file's next version.
    fn flags_mut(&mut self) -> &mut std::collections::BTreeMap<FlagName, Flag> {
        let file = std::sync::Arc::make_mut(&mut self.flags);
        file.version += 1;
        file.last_updated = clock::rfc3339();
        &mut file.flags
    }

    /// Evaluates a flag for somebody.
    pub fn evaluate_flag(&self, name: &str, context: &EvaluationContext) -> FlagEvaluation {
        let id = context.user_id.as_deref().or(context.session_id.as_deref()).filter(|id| !id.is_empty());
        let context = Context {
            id,
            user: context.user_id.as_deref(),
            groups: context.group_id.as_deref(),
            environment: context.environment.as_deref(),
        };
        let flag = self.flags.flags.get(name);
        let result = flag.map_or(Evaluation::UNKNOWN, |flag| self.compile(flag).evaluate(&context));
        FlagEvaluation {
            flag_name: name.to_owned(),
            enabled: result.enabled,
            reason: result.reason,
            rule_matched: result.rule_matched,
        }
    }

    pub(super) fn compile(&self, flag: &Flag) -> CompiledFlag {
        let settings = &self.config.flags;
        let variable = format!("{}{}", settings.environment_prefix, flag.name.as_variable_part());
        let forced = self.variables.get(&variable).and_then(|text| ForcedValue::parse(text));
        CompiledFlag::new(flag, &self.config.environment, settings.environment_rules, forced)
    }

    fn store(&mut self, flag: Flag, order: &FlagOrder) -> Result<Flag, ControlError> {
        self.check_limits(&flag)?;
        self.check_match(order)?;
        let state = if flag.enabled { "on" } else { "off" };
        let text = format!("flag {} is {state}, {} of users", flag.name, flag.rollout_percentage);
        self.flags_mut().insert(flag.name.clone(), flag.clone());
        self.flag_changed("flag", &order.by, Some(flag.name.as_str()), text);
        Ok(flag)
    }

    /// What headers cost is known when a flag is written: nothing is dropped at request time.
    fn check_limits(&self, written: &Flag) -> Result<(), ControlError> {
        let too_much = |code, detail| Err(ControlError::TooMuch { code, detail });
        let new = !self.flags.flags.contains_key(written.name.as_str());
        if new && self.flags.flags.len() >= FLAGS_MAX {
            return too_much("tooManyFlags", format!("at most {FLAGS_MAX} flags are kept"));
        }
        let header = written.name.as_header_part();
        let twin = |name: &&FlagName| **name != written.name && name.as_header_part() == header;
        if let Some(twin) = self.flags.flags.keys().find(twin) {
            return too_much("sameHeader", format!("`{}` and `{twin}` would be the same header", written.name));
        }
        let settings = &self.config.flags.headers;
        let one_more = Some(&written.name).filter(|name| new && self.is_exposed(name));
        let exposed: Vec<&FlagName> = self.exposed_names().chain(one_more).collect();
        let bytes: usize = exposed.iter().map(|name| settings.prefix.len() + name.as_str().len() + "false".len()).sum();
        if exposed.len() > settings.max_count {
            let detail = format!("flags.headers.maxCount is {}: this flag would be one more", settings.max_count);
            return too_much("tooManyHeaders", detail);
        }
        if bytes > settings.max_bytes {
            let limit = settings.max_bytes;
            return too_much("headersTooLarge", format!("flags.headers.maxBytes is {limit}: they would have {bytes}"));
        }
        Ok(())
    }

    /// The flags that the app sees, in the order of their names.
    pub(super) fn exposed_names(&self) -> impl Iterator<Item = &FlagName> {
        self.flags.flags.keys().filter(|name| self.is_exposed(name))
    }

    fn is_exposed(&self, name: &FlagName) -> bool {
        match &self.config.flags.headers.expose {
            Expose::All => true,
            Expose::Names(names) => names.contains(name),
        }
    }
}

fn unknown(name: &str) -> ControlError {
    ControlError::NotFound { what: "flag", name: name.to_owned() }
}

/// A flag out of its fields; the field that is wrong is named.
fn parse(fields: FlagPatch) -> Result<Flag, ControlError> {
    if let Some(value) = fields.get("rolloutPercentage") {
        let share = serde_json::from_value::<Share>(value.clone());
        share.map_err(|error| ControlError::invalid("rolloutPercentage", error.to_string()))?;
    }
    for (index, rule) in fields.get("rules").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let rule = serde_json::from_value::<crate::decide::flags::Rule>(rule.clone());
        rule.map_err(|error| ControlError::invalid(&format!("rules[{index}]"), error.to_string()))?;
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        let text = error.to_string();
        // serde names a missing or wrong field in backticks.
        let field = text.split('`').nth(1).unwrap_or_default().to_owned();
        ControlError::Invalid { field, detail: text }
    })
}
