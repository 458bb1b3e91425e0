//! Feature flags: the model of the guide with what Serin adds, and its evaluation with a reason.
//!
//! Owns: what a flag says, and what it means for one context. Touches: its
//! arguments; the environment's name, variables and the time are handed in.
//! Units: percentages are [`Share`](super::bucket::Share)s.

mod attribute;
mod check;
mod compiled;
mod evaluate;
mod lint;
mod model;
mod name;
mod ramp;
mod schedule;
mod split;
mod texts;
mod variant;

pub use attribute::{Attribute, Attributes, JsonAttributes, Scalar, ScalarOrMany, Test, Tests, VersionTest};
pub use check::Flaw;
pub use compiled::{CompiledFlag, Surroundings};
pub use evaluate::{Chosen, Context, EnvironmentRules, Evaluation, Reason};
pub use lint::{FlagWarning, Habitat, clashes, lint};
pub use model::{Flag, OneOrMany, Prerequisite, Rule, RuleKind, Target, TrackName};
pub use name::{FlagName, FlagNameError};
pub use ramp::{Ramp, RampGuard, RampProgress, RampStatus};
pub use schedule::{Instant, Schedule};
pub use split::{Part, Split, SplitHash};
pub use variant::{ValueKind, Variant, Variants, field_text};
