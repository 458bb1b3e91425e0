//! Flags that hardly mean what they say under a configuration.

use crate::config::Config;
use crate::decide::flags::{clashes, lint};
use crate::store::FlagFile;

/// What is strange about the flags, a sentence each.
pub fn flag_warnings(config: &Config, flags: &FlagFile) -> Vec<String> {
    let reading = config.flags.environment_rules;
    let own = flags.flags.values().flat_map(|flag| {
        let warnings = lint(flag, &config.environment, reading, |kind| config.believes(kind));
        warnings.into_iter().map(|warning| (flag.name.clone(), warning))
    });
    let all = own.chain(clashes(flags.flags.keys()));
    all.map(|(name, warning)| format!("the flag `{name}` {warning}")).collect()
}
