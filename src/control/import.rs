//! Flags of other files, brought in together or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::controller::Controller;
use super::error::ControlError;
use super::prerequisites;
use crate::clock;
use crate::decide::flags::{Flag, FlagName, Flaw, SplitHash};
use crate::flagd;

/// What is to be brought in, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImportRequest {
    /// flagd's file, or the guide's.
    pub document: Value,
    /// How flagd drew its fractions: `text` until 2026, `cbor` since.
    #[serde(default)]
    pub hash: ImportHash,
    /// Say what would change, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Delete flags that the document lacks.
    #[serde(default)]
    pub replace: bool,
}

/// Flags that are to be brought in: read, and each right by itself.
#[derive(Clone, Debug)]
pub struct Import {
    flags: Vec<Flag>,
    dry_run: bool,
    replace: bool,
}

impl ImportRequest {
    /// Reads the flags: work for whoever asks, so that control does nothing else meanwhile.
    ///
    /// # Errors
    /// Everything that cannot be said, or is wrong with one of the flags.
    pub fn read(self) -> Result<Import, ControlError> {
        let hash = match self.hash {
            ImportHash::Text => SplitHash::Text,
            ImportHash::Cbor => SplitHash::Cbor,
        };
        let read =
            if flagd::is_flagd(&self.document) { flagd::import(&self.document, hash) } else { guides(&self.document) };
        let flags = read.map_err(|flaws| wrong(&flaws))?;
        Ok(Import { flags, dry_run: self.dry_run, replace: self.replace })
    }
}

/// How flagd drew its fractions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportHash {
    /// From the text.
    #[default]
    Text,
    /// From its canonical CBOR.
    Cbor,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportReport {
    /// Each flag of the document, and each that is deleted.
    pub changes: Vec<ImportChange>,
    /// Nothing was changed.
    pub dry_run: bool,
    /// The version of the flags that is in force.
    pub version: u64,
}

/// What becomes of a flag.
#[derive(Clone, Debug, Serialize)]
pub struct ImportChange {
    /// Which one.
    pub flag: FlagName,
    /// `created`, `changed`, `unchanged` or `deleted`.
    pub change: &'static str,
    /// Its fields that are other than before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// What becomes of a field; null where there is none.
#[derive(Clone, Debug, Serialize)]
pub struct FieldChange {
    /// Which one.
    pub field: String,
    /// What it was.
    pub before: Value,
    /// What it is.
    pub after: Value,
}

impl Controller {
    /// Brings flags in, or says what that would change.
    ///
    /// # Errors
    /// Flags that are wrong together, or too many: then nothing changes.
    pub fn import_flags(&mut self, import: Import, by: &str) -> Result<ImportReport, ControlError> {
        self.check_flag_file()?;
        let Import { flags, dry_run, replace } = import;
        let before = Arc::clone(&self.flags);
        let changes = self.put(flags, replace);
        let checked = self.check_all(&changes);
        if checked.is_err() || dry_run {
            self.flags = before;
        } else {
            for change in changes.iter().filter(|change| change.change != "unchanged") {
                let kind = if change.change == "deleted" { "flagDeleted" } else { "flag" };
                let text = format!("flag {} is {} by an import", change.flag, change.change);
                self.flag_changed(kind, by, Some(change.flag.as_str()), text);
            }
        }
        checked.map(|()| ImportReport { changes, dry_run, version: self.flags.version })
    }

    fn put(&mut self, flags: Vec<Flag>, replace: bool) -> Vec<ImportChange> {
        let now = clock::rfc3339();
        let known = self.flags.flags.clone();
        let named: BTreeSet<FlagName> = flags.iter().map(|flag| flag.name.clone()).collect();
        let mut changes = Vec::new();
        let mut put = Vec::new();
        for mut flag in flags {
            let old = known.get(&flag.name);
            let created = old.map(|old| old.created_at.clone()).filter(|created| !created.is_empty());
            flag.created_at =
                created.or(Some(flag.created_at).filter(|own| !own.is_empty())).unwrap_or_else(|| now.clone());
            let fields = differences(old.map(|old| &**old), &flag);
            let change = match (old, fields.is_empty()) {
                (None, _) => "created",
                (Some(_), true) => "unchanged",
                (Some(_), false) => "changed",
            };
            changes.push(ImportChange { flag: flag.name.clone(), change, fields });
            if change != "unchanged" {
                flag.updated_at.clone_from(&now);
                put.push(flag);
            }
        }
        let gone: Vec<FlagName> = known.keys().filter(|name| replace && !named.contains(*name)).cloned().collect();
        if !put.is_empty() || !gone.is_empty() {
            let all = self.flags_mut();
            put.into_iter().for_each(|flag| drop(all.insert(flag.name.clone(), Arc::new(flag))));
            gone.iter().for_each(|name| drop(all.remove(name)));
        }
        changes.extend(gone.into_iter().map(|flag| ImportChange { flag, change: "deleted", fields: Vec::new() }));
        changes
    }

    /// All that is asked of a single write, of the state after all of them.
    fn check_all(&self, changes: &[ImportChange]) -> Result<(), ControlError> {
        let flags = &self.flags.flags;
        let (gone, there): (Vec<&ImportChange>, Vec<&ImportChange>) =
            changes.iter().filter(|change| change.change != "unchanged").partition(|change| change.change == "deleted");
        let written: Vec<&Flag> =
            there.iter().filter_map(|change| flags.get(&change.flag)).map(|flag| &**flag).collect();
        self.check_limits_of(&written)?;
        prerequisites::check_all(flags, &written).map_err(|(name, error)| match error {
            ControlError::Invalid { field, detail } => {
                ControlError::Invalid { field: format!("flags.{name}.{field}"), detail }
            }
            other => other,
        })?;
        let gone: BTreeSet<&FlagName> = gone.iter().map(|change| &change.flag).collect();
        let mut needs =
            flags.values().flat_map(|flag| flag.prerequisites.iter().map(move |needed| (flag, &needed.flag)));
        match needs.find(|(_, needed)| gone.contains(needed)) {
            Some((flag, needed)) => {
                let detail = format!("the flag `{}` rests on `{needed}`, which would be deleted", flag.name);
                Err(ControlError::Conflict { code: "neededBy", detail })
            }
            None => Ok(()),
        }
    }
}

/// The guide's file: flags as they are.
fn guides(document: &Value) -> Result<Vec<Flag>, Vec<Flaw>> {
    let flaw = |field: String, detail: String| Flaw { field, detail };
    let Some(flags) = document["flags"].as_object() else {
        return Err(vec![flaw(
            "flags".to_owned(),
            "a document has `flags`, an object: flagd's or the guide's".to_owned(),
        )]);
    };
    let (mut good, mut flaws) = (Vec::new(), Vec::new());
    for (key, flag) in flags {
        let mut fields = flag.as_object().cloned().unwrap_or_default();
        fields.entry("name").or_insert_with(|| Value::from(key.as_str()));
        let same = fields["name"].as_str() == Some(key);
        match serde_json::from_value::<Flag>(Value::Object(fields)) {
            Ok(_) if !same => flaws.push(flaw(format!("flags.{key}.name"), "the name is its key".to_owned())),
            Ok(flag) => match flag.check() {
                Ok(()) => good.push(flag),
                Err(found) => flaws.push(flaw(format!("flags.{key}.{}", found.field), found.detail)),
            },
            Err(error) => flaws.push(flaw(format!("flags.{key}"), error.to_string())),
        }
    }
    if flaws.is_empty() { Ok(good) } else { Err(flaws) }
}

fn wrong(flaws: &[Flaw]) -> ControlError {
    let field = flaws.first().map(|flaw| flaw.field.clone()).unwrap_or_default();
    let all: Vec<String> = flaws.iter().map(Flaw::to_string).collect();
    ControlError::Invalid { field, detail: all.join("\n") }
}

/// Fields that are other than before, but for the times.
fn differences(before: Option<&Flag>, after: &Flag) -> Vec<FieldChange> {
    let fields = |flag: Option<&Flag>| -> Map<String, Value> {
        // A flag is plain data: it always has a form.
        let mut fields =
            flag.and_then(|flag| serde_json::to_value(flag).ok()?.as_object().cloned()).unwrap_or_default();
        ["createdAt", "updatedAt"].iter().for_each(|time| drop(fields.remove(*time)));
        fields
    };
    let (before, after) = (fields(before), fields(Some(after)));
    let names: BTreeMap<&String, ()> = before.keys().chain(after.keys()).map(|name| (name, ())).collect();
    let value = |fields: &Map<String, Value>, name: &String| fields.get(name).cloned().unwrap_or_default();
    let changed = names.keys().map(|name| FieldChange {
        field: (*name).clone(),
        before: value(&before, name),
        after: value(&after, name),
    });
    changed.filter(|change| change.before != change.after).collect()
}
