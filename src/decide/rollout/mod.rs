//! The rollout: stages, and the state machine that moves a subject through them.
//!
//! Owns: what happens next. It knows nothing of services, flags or HTTP: a
//! subject has an exposed and an unexposed cohort, whichever they are. Touches:
//! its arguments; `now` is one of them. `(state, event, now)` gives the next
//! state and effects as data; the shell carries them out.

mod conduct;
mod machine;
mod stage;

pub use conduct::{Conduct, OnComplete, OnFail, OnInsufficient};
pub use machine::{
    Active, Cause, Clock, Effect, Event, Milestone, Pause, Phase, Plan, Readings, Refused, State, Step, Verb, due, step,
};
pub use stage::{Stage, Stages, StagesError, Steps, Strategy};
