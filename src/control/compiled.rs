//! Flags compiled once per change: what a change leaves alone stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::flags::{CompiledFlag, EnvironmentRules, Flag, FlagName, Surroundings};
use crate::store::FlagFile;

/// A flag, and what it takes to know that it is still the same.
#[derive(Debug)]
struct Known {
    flag: Arc<Flag>,
    rests_on: Vec<Option<Arc<CompiledFlag>>>,
    compiled: Arc<CompiledFlag>,
}

/// What flags are compiled for; another one compiles all of them anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) home: String,
    pub(super) reading: EnvironmentRules,
    pub(super) prefix: String,
    /// Flags with a ramp, in the order of their numbers.
    pub(super) ramps: Vec<FlagName>,
}

/// All flags, compiled.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    terms: Option<Terms>,
    file: Option<Arc<FlagFile>>,
    known: BTreeMap<FlagName, Known>,
    all: Arc<BTreeMap<FlagName, Arc<CompiledFlag>>>,
}

impl Compiled {
    /// The flags of a file; `variable` is what a variable of this name says.
    pub(super) fn of<'v>(
        &mut self,
        file: &Arc<FlagFile>,
        terms: Terms,
        variable: impl Fn(&str) -> Option<&'v str>,
    ) -> Arc<BTreeMap<FlagName, Arc<CompiledFlag>>> {
        let same_terms = self.terms.as_ref() == Some(&terms);
        if same_terms && self.file.as_ref().is_some_and(|known| Arc::ptr_eq(known, file)) {
            return Arc::clone(&self.all);
        }
        let before = if same_terms { std::mem::take(&mut self.known) } else { BTreeMap::new() };
        let mut pass = Pass { flags: &file.flags, before, after: BTreeMap::new(), terms: &terms, variable };
        for name in file.flags.keys() {
            pass.compile(name, &mut Vec::new());
        }
        self.known = pass.after;
        self.all =
            Arc::new(self.known.iter().map(|(name, known)| (name.clone(), Arc::clone(&known.compiled))).collect());
        (self.terms, self.file) = (Some(terms), Some(Arc::clone(file)));
        Arc::clone(&self.all)
    }
}

struct Pass<'a, V> {
    flags: &'a BTreeMap<FlagName, Arc<Flag>>,
    before: BTreeMap<FlagName, Known>,
    after: BTreeMap<FlagName, Known>,
    terms: &'a Terms,
    variable: V,
}

impl<'v, V: Fn(&str) -> Option<&'v str>> Pass<'_, V> {
    /// Compiles a flag and what it rests on; `above` are the flags that rest on it. `None`
    /// where there is no such flag, or where it would rest on itself: writes are checked,
    /// but a file edited by hand may say so.
    fn compile(&mut self, name: &FlagName, above: &mut Vec<FlagName>) -> Option<Arc<CompiledFlag>> {
        if let Some(known) = self.after.get(name) {
            return Some(Arc::clone(&known.compiled));
        }
        let flag = Arc::clone(self.flags.get(name)?);
        if above.contains(name) || above.len() >= super::prerequisites::WEIGHT_MAX {
            tracing::error!(flag = %name, "prerequisites go round in a ring, or are too many: the flag is off for what rests on it");
            return None;
        }
        above.push(name.clone());
        let rests_on: Vec<_> = flag.prerequisites.iter().map(|needed| self.compile(&needed.flag, above)).collect();
        above.pop();
        let known = match self.before.remove(name).filter(|known| known.is_still(&flag, &rests_on)) {
            Some(known) => known,
            None => {
                let variable = format!("{}{}", self.terms.prefix, name.as_variable_part());
                let surroundings = Surroundings {
                    home: &self.terms.home,
                    reading: self.terms.reading,
                    forced: (self.variable)(&variable),
                    ramp: self.terms.ramps.iter().position(|ramp| ramp == name),
                };
                let find = |needed: &FlagName| {
                    let index = flag.prerequisites.iter().position(|known| known.flag == *needed)?;
                    rests_on[index].clone()
                };
                let compiled = Arc::new(CompiledFlag::new(&flag, &surroundings, find));
                Known { compiled, flag, rests_on }
            }
        };
        let compiled = Arc::clone(&known.compiled);
        self.after.insert(name.clone(), known);
        Some(compiled)
    }
}

impl Known {
    fn is_still(&self, flag: &Arc<Flag>, rests_on: &[Option<Arc<CompiledFlag>>]) -> bool {
        let same = |(one, other): (&Option<Arc<CompiledFlag>>, &Option<Arc<CompiledFlag>>)| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        Arc::ptr_eq(&self.flag, flag) && self.rests_on.iter().zip(rests_on).all(same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::flags::Context;
    use serde_json::{Value, json};

    fn file(flags: &Value) -> Arc<FlagFile> {
        Arc::new(serde_json::from_value(json!({ "flags": flags })).unwrap())
    }

    fn flag(name: &str, needs: &[&str]) -> Value {
        let needs: Vec<Value> = needs.iter().map(|flag| json!({ "flag": flag })).collect();
        json!({ "name": name, "enabled": true, "rolloutPercentage": 100, "prerequisites": needs })
    }

    fn terms() -> Terms {
        let reading = EnvironmentRules::Restrict;
        Terms { home: "production".to_owned(), reading, prefix: "F_".to_owned(), ramps: Vec::new() }
    }

    #[test]
    fn what_a_change_leaves_alone_stays() {
        let mut compiled = Compiled::default();
        let first = file(&json!({ "a": flag("a", &[]), "b": flag("b", &["a"]), "c": flag("c", &[]) }));
        let before = compiled.of(&first, terms(), |_| None);
        assert!(Arc::ptr_eq(&before, &compiled.of(&first, terms(), |_| None)), "nothing has changed");
        let mut second = (*first).clone();
        let changed = serde_json::from_value(flag("a", &["c"])).unwrap();
        second.flags.insert(FlagName::new("a").unwrap(), Arc::new(changed));
        let after = compiled.of(&Arc::new(second), terms(), |_| None);
        let same = |name: &str| Arc::ptr_eq(&before[name], &after[name]);
        assert_eq!(["a", "b", "c"].map(same), [false, false, true], "b rests on a");
        let elsewhere = Terms { home: "test".to_owned(), ..terms() };
        let other = compiled.of(&first, elsewhere, |_| None);
        assert!(!Arc::ptr_eq(&other["c"], &after["c"]), "another environment");
    }

    #[test]
    fn rings_are_off() {
        let ring = file(&json!({ "a": flag("a", &["b"]), "b": flag("b", &["a"]), "c": flag("c", &["unknown"]) }));
        let compiled = Compiled::default().of(&ring, terms(), |_| None);
        for name in ["a", "b", "c"] {
            assert!(!compiled[name].evaluate(&Context::default()).enabled, "{name}");
        }
        let chain = |n: usize| flag(&format!("f{n}"), &[&format!("f{}", n + 1)]);
        let long: serde_json::Map<String, Value> = (0..10_000).map(|n| (format!("f{n}"), chain(n))).collect();
        assert_eq!(Compiled::default().of(&file(&Value::Object(long)), terms(), |_| None).len(), 10_000);
    }
}
