//! Flags: set, changed, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::compiled::Terms;
use super::controller::Controller;
use super::error::ControlError;
use super::prerequisites;
use crate::clock;
use crate::config::Expose;
use crate::decide::bucket::Share;
use crate::decide::flags::{CompiledFlag, Flag, FlagName, field_text};

/// No more flags than this are kept.
const FLAGS_MAX: usize = 10_000;

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
        self.flags.flags.values().map(|flag| (**flag).clone()).collect()
    }

    /// One flag.
    ///
    /// # Errors
    /// Where there is none.
    pub fn flag(&self, name: &str) -> Result<Flag, ControlError> {
        self.flags.flags.get(name).map(|flag| (**flag).clone()).ok_or_else(|| unknown(name))
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
        let moved = patch.get("rolloutPercentage").is_some() && !patch.contains_key("ramp");
        if moved && self.ramps.names().iter().any(|name| name.as_str() == order.name) {
            let detail =
                "a ramp moves this flag's percentage: `serin flags ramp promote` or `rollback` ends it, `advance` and \
                 `pause` steer it"
                    .to_owned();
            return Err(ControlError::Conflict { code: "ramping", detail });
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
        if let Some(other) = prerequisites::resting_on(&self.flags.flags, &order.name).next() {
            let detail = format!("the flag `{}` rests on it", other.name);
            return Err(ControlError::Conflict { code: "neededBy", detail });
        }
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
        let now =
            self.flags.flags.get(order.name.as_str()).map_or_else(|| "none".to_owned(), |flag| Self::flag_tag(flag));
        match order.if_match.as_deref() {
            None => Ok(()),
            Some("*") if now != "none" => Ok(()),
            Some(wanted) if wanted == now => Ok(()),
            Some(_) => Err(ControlError::Stale { now }),
        }
    }

    /// The flags to change, in the file's next version.
    pub(super) fn flags_mut(&mut self) -> &mut BTreeMap<FlagName, Arc<Flag>> {
        let file = Arc::make_mut(&mut self.flags);
        file.version += 1;
        file.last_updated = clock::rfc3339();
        &mut file.flags
    }

    /// All flags, compiled for the configuration of now.
    pub(super) fn compile(&mut self) -> Arc<BTreeMap<FlagName, Arc<CompiledFlag>>> {
        let settings = &self.config.flags;
        let terms = Terms {
            home: self.config.environment.clone(),
            reading: settings.environment_rules,
            prefix: settings.environment_prefix.clone(),
            ramps: self.ramps.names(),
        };
        let variables = &self.variables;
        self.compiled.of(&self.flags, terms, |name| variables.get(name).map(String::as_str))
    }

    fn store(&mut self, flag: Flag, order: &FlagOrder) -> Result<Flag, ControlError> {
        self.check_limits(&flag)?;
        prerequisites::check(&self.flags.flags, &flag)?;
        self.check_match(order)?;
        let state = if flag.enabled { "on" } else { "off" };
        let text = format!("flag {} is {state}, {} of users", flag.name, flag.rollout_percentage);
        self.flags_mut().insert(flag.name.clone(), Arc::new(flag.clone()));
        self.flag_changed("flag", &order.by, Some(flag.name.as_str()), text);
        Ok(flag)
    }

    /// What headers cost is known when a flag is written: nothing is dropped at request time.
    fn check_limits(&self, written: &Flag) -> Result<(), ControlError> {
        let new = !self.flags.flags.contains_key(&written.name);
        Self::check_count(self.flags.flags.len() + usize::from(new), new)?;
        let header = written.name.as_header_part();
        let twin = |name: &&FlagName| **name != written.name && name.as_header_part() == header;
        if let Some(twin) = self.flags.flags.keys().find(twin) {
            return Err(same_header(&written.name, twin));
        }
        let others = self.exposed().filter(|flag| flag.name != written.name);
        self.check_headers(others.chain(Some(written).filter(|flag| self.is_exposed(&flag.name))))
    }

    /// The same of several flags that are among all flags by now, in one look at all of them.
    pub(super) fn check_limits_of(&self, written: &[&Flag]) -> Result<(), ControlError> {
        if written.is_empty() {
            return Ok(());
        }
        Self::check_count(self.flags.flags.len(), true)?;
        let mut headers: BTreeMap<String, Vec<&FlagName>> = BTreeMap::new();
        for name in self.flags.flags.keys() {
            headers.entry(name.as_header_part()).or_default().push(name);
        }
        for flag in written {
            let same = headers.get(&flag.name.as_header_part()).into_iter().flatten();
            if let Some(twin) = same.copied().find(|name| **name != flag.name) {
                return Err(same_header(&flag.name, twin));
            }
        }
        self.check_headers(self.exposed())
    }

    fn check_count(count: usize, more: bool) -> Result<(), ControlError> {
        if more && count > FLAGS_MAX {
            let detail = format!("at most {FLAGS_MAX} flags are kept");
            return Err(ControlError::TooMuch { code: "tooManyFlags", detail });
        }
        Ok(())
    }

    /// What the app would see of these.
    fn check_headers<'f>(&self, exposed: impl Iterator<Item = &'f Flag>) -> Result<(), ControlError> {
        let settings = &self.config.flags.headers;
        let (mut count, mut bytes) = (0, 0);
        for flag in exposed {
            count += 1;
            bytes += settings.prefix.len() + longest_field(flag);
        }
        if count > settings.max_count {
            let detail = format!("flags.headers.maxCount is {}: there would be {count}", settings.max_count);
            return Err(ControlError::TooMuch { code: "tooManyHeaders", detail });
        }
        if bytes > settings.max_bytes {
            let detail = format!("flags.headers.maxBytes is {}: they would have {bytes}", settings.max_bytes);
            return Err(ControlError::TooMuch { code: "headersTooLarge", detail });
        }
        Ok(())
    }

    /// The flags that the app sees, in the order of their names.
    pub(super) fn exposed_names(&self) -> impl Iterator<Item = &FlagName> {
        self.flags.flags.keys().filter(|name| self.is_exposed(name))
    }

    fn exposed(&self) -> impl Iterator<Item = &Flag> {
        self.flags.flags.values().map(|flag| &**flag).filter(|flag| self.is_exposed(&flag.name))
    }

    fn is_exposed(&self, name: &FlagName) -> bool {
        match &self.config.flags.headers.expose {
            Expose::All => true,
            Expose::Names(names) => names.contains(name),
        }
    }
}

fn same_header(name: &FlagName, twin: &FlagName) -> ControlError {
    let detail = format!("`{name}` and `{twin}` would be the same header");
    ControlError::TooMuch { code: "sameHeader", detail }
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
    let flag: Flag = serde_json::from_value(Value::Object(fields)).map_err(|error| {
        let text = error.to_string();
        // serde names a missing or wrong field in backticks.
        let field = text.split('`').nth(1).unwrap_or_default().to_owned();
        ControlError::Invalid { field, detail: text }
    })?;
    flag.check().map_err(|flaw| ControlError::Invalid { field: flaw.field, detail: flaw.detail })?;
    Ok(flag)
}

/// What the header of a flag may have, name and value.
fn longest_field(flag: &Flag) -> usize {
    let values = flag.variants.values().filter_map(|variant| field_text(&variant.value));
    let longest = values.map(|text| text.len()).max().unwrap_or("false".len());
    flag.name.as_str().len() + longest
}
