//! Flags that hardly mean what they say under a configuration.

use crate::clock;
use crate::config::Config;
use crate::decide::flags::{FlagName, FlagWarning, Habitat, clashes, lint};
use crate::store::FlagFile;

/// What is strange about the flags.
pub fn lint_flags(config: &Config, flags: &FlagFile) -> Vec<(FlagName, FlagWarning)> {
    let believes = |kind| config.believes(kind);
    let habitat = Habitat {
        home: &config.environment,
        reading: config.flags.environment_rules,
        believes: &believes,
        flags: &flags.flags,
        unix_millis: clock::unix_millis(),
    };
    let own = flags
        .flags
        .values()
        .flat_map(|flag| lint(flag, &habitat).into_iter().map(|warning| (flag.name.clone(), warning)));
    own.chain(clashes(flags.flags.keys())).collect()
}

/// The same, a sentence each. That a flag is stale is for who asks, not for every start.
pub fn flag_warnings(config: &Config, flags: &FlagFile) -> Vec<String> {
    let all = lint_flags(config, flags).into_iter();
    let urgent = all.filter(|(_, warning)| !matches!(warning, FlagWarning::Stale(_)));
    urgent.map(|(name, warning)| format!("the flag `{name}` {warning}")).collect()
}
