//! Flags that rest on flags: no rings, nothing that is missing, and no end of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ControlError;
use crate::decide::flags::{Flag, FlagName};

/// Evaluating a flag evaluates no more flags than this.
pub(super) const WEIGHT_MAX: usize = 100;

type Flags = BTreeMap<FlagName, Arc<Flag>>;

/// Whether a flag that is to be written rests on flags that are there, on no ring, and on not
/// too many.
///
/// # Errors
/// The prerequisite that is wrong.
pub(super) fn check(flags: &Flags, written: &Flag) -> Result<(), ControlError> {
    check_own(flags, written)?;
    check_who_rests_on(resting_on(flags, written.name.as_str()), written)
}

/// The same of several flags that are among `flags` by now; and which of them is wrong.
pub(super) fn check_all(flags: &Flags, written: &[&Flag]) -> Result<(), (FlagName, ControlError)> {
    let mut resting: BTreeMap<&FlagName, Vec<&Flag>> = BTreeMap::new();
    for flag in flags.values() {
        flag.prerequisites.iter().for_each(|needed| resting.entry(&needed.flag).or_default().push(flag));
    }
    written.iter().try_for_each(|written| {
        let resting = resting.get(&written.name).into_iter().flatten().copied();
        let checked = check_own(flags, written).and_then(|()| check_who_rests_on(resting, written));
        checked.map_err(|error| (written.name.clone(), error))
    })
}

/// What it rests on itself.
fn check_own(flags: &Flags, written: &Flag) -> Result<(), ControlError> {
    for (index, needed) in written.prerequisites.iter().enumerate() {
        let wrong = |detail: String| Err(ControlError::invalid(&format!("prerequisites[{index}]"), detail));
        let Some(other) = flags.get(&needed.flag) else {
            return wrong(format!("there is no flag `{}`", needed.flag));
        };
        if let Some(variant) = needed.variant.as_ref().filter(|name| !other.variants.contains_key(*name)) {
            return wrong(format!("`{}` has no variant `{variant}`", needed.flag));
        }
        if let Some(way) = ring(flags, written, &needed.flag, &mut Vec::new()) {
            return wrong(format!("a ring: {way}"));
        }
    }
    let mut weight = 0;
    add_weight(flags, written, &mut weight);
    if weight > WEIGHT_MAX {
        let detail = format!("with all that these rest on there are more than {WEIGHT_MAX} flags");
        return Err(ControlError::invalid("prerequisites", detail));
    }
    Ok(())
}

/// The flags that rest on this one.
pub(super) fn resting_on<'f>(flags: &'f Flags, name: &str) -> impl Iterator<Item = &'f Flag> {
    let rests = move |flag: &&Flag| flag.prerequisites.iter().any(|needed| needed.flag.as_str() == name);
    flags.values().map(|flag| &**flag).filter(rests)
}

/// The way from a flag back to the one that is written.
fn ring(flags: &Flags, written: &Flag, name: &FlagName, way: &mut Vec<FlagName>) -> Option<String> {
    if *name == written.name {
        let names = [&written.name].into_iter().chain(&*way).chain([name]);
        let names: Vec<&str> = names.map(FlagName::as_str).collect();
        return Some(names.join(" rests on "));
    }
    // A ring that the file had already is none of this flag's.
    if way.contains(name) || way.len() > WEIGHT_MAX {
        return None;
    }
    way.push(name.clone());
    let below = flags.get(name).map(|flag| flag.prerequisites.as_slice()).unwrap_or_default();
    let found = below.iter().find_map(|needed| ring(flags, written, &needed.flag, way));
    way.pop();
    found
}

/// Counts as evaluation would, and stops where it is too much.
fn add_weight(flags: &Flags, flag: &Flag, weight: &mut usize) {
    *weight += 1;
    for needed in &flag.prerequisites {
        if let (true, Some(other)) = (*weight <= WEIGHT_MAX, flags.get(&needed.flag)) {
            add_weight(flags, other, weight);
        }
    }
}

/// A variant that others rest on stays.
fn check_who_rests_on<'f>(resting: impl Iterator<Item = &'f Flag>, written: &Flag) -> Result<(), ControlError> {
    for other in resting {
        let needed = other.prerequisites.iter().filter(|needed| needed.flag == written.name);
        let mut variants = needed.filter_map(|needed| needed.variant.as_ref());
        if let Some(gone) = variants.find(|name| !written.variants.contains_key(*name)) {
            let detail = format!("the flag `{}` rests on its variant `{gone}`", other.name);
            return Err(ControlError::Conflict { code: "neededBy", detail });
        }
    }
    Ok(())
}
