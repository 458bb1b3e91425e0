//! Feature flags: the model of the guide, and its evaluation with a reason.
//!
//! Owns: what a flag says, and what it means for one context. Touches: its
//! arguments; the environment's name and variables are handed in.
//! Units: percentages are [`Share`](super::bucket::Share)s.

mod evaluate;
mod lint;
mod model;

pub use evaluate::{Chosen, CompiledFlag, Context, EnvironmentRules, Evaluation, ForcedValue, Reason};
pub use lint::{FlagWarning, clashes, lint};
pub use model::{Flag, FlagName, FlagNameError, OneOrMany, Rule, RuleKind, Target};
