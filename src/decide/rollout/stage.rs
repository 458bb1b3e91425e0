//! Stages: a share to hold for a time, and what it asks of the canary.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::decide::bucket::Share;
use crate::decide::guard::{Rate, StageRule};
use crate::decide::time::seconds;

/// No list of stages is longer.
const STAGES_MAX: usize = 100;

/// How a deployment moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Through its stages.
    Canary,
    /// In equal steps.
    Rolling,
    /// Nobody at first, then everybody, when somebody says so.
    BlueGreen,
    /// To 100 % at once.
    Instant,
}

/// The steps of a rolling deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// How much the share grows.
    pub step: Share,
    /// How long each share is held.
    pub interval: Duration,
}

impl Steps {
    /// The smallest step: 1 %.
    pub const SMALLEST: Share = Share::ONE_PERCENT;
}

impl Default for Steps {
    fn default() -> Self {
        Self { step: Share::clamped(10.0), interval: Duration::from_secs(60) }
    }
}

/// One stage, in the guide's shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stage {
    /// The part of users on the canary.
    #[serde(rename = "percentage")]
    pub share: Share,
    /// How long it is held at least; seconds in files.
    #[serde(with = "seconds")]
    pub duration: Duration,
    /// Canary requests before the error rate is judged, and before the stage may end.
    #[serde(default)]
    pub min_requests: u64,
    /// Errors per canary request above which the deployment fails.
    pub max_error_rate: Rate,
    /// It ends by `advance` only, whatever time passes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
}

impl Stage {
    /// What the judge holds against the canary in this stage.
    pub const fn rule(&self) -> StageRule {
        StageRule { min_requests: self.min_requests, max_error_rate: self.max_error_rate }
    }
}

/// A list of stages: not empty, growing, ending at 100 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Stage>", into = "Vec<Stage>")]
pub struct Stages(Box<[Stage]>);

/// Why a list of stages is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StagesError {
    /// No stage.
    #[error("stages is empty: one stage at least, the last one at 100 percent")]
    Empty,
    /// Too many.
    #[error("stages has {0} entries, at most {STAGES_MAX} are allowed")]
    TooMany(usize),
    /// A share that does not grow.
    #[error("stages[{index}].percentage is {found}: each stage is above the one before it ({before})")]
    NotGrowing {
        /// Which one, from 0.
        index: usize,
        /// Its share.
        found: Share,
        /// The one before it.
        before: Share,
    },
    /// The last one is not everybody.
    #[error("stages[{index}].percentage is {found}: the last stage is at 100 percent")]
    NotComplete {
        /// Which one, from 0.
        index: usize,
        /// Its share.
        found: Share,
    },
}

impl Stages {
    /// A checked list.
    ///
    /// # Errors
    /// Where it is empty or too long, does not grow, or does not end at 100 %.
    pub fn new(stages: Vec<Stage>) -> Result<Self, StagesError> {
        if stages.len() > STAGES_MAX {
            return Err(StagesError::TooMany(stages.len()));
        }
        let mut before = Share::NOBODY;
        for (index, stage) in stages.iter().enumerate() {
            // Nobody at first is only of use where somebody says when to go on.
            let nobody_waits = index == 0 && stage.hold && stage.share == Share::NOBODY;
            if stage.share <= before && !nobody_waits {
                return Err(StagesError::NotGrowing { index, found: stage.share, before });
            }
            before = stage.share;
        }
        match stages.last() {
            None => Err(StagesError::Empty),
            Some(last) if last.share != Share::EVERYBODY => {
                Err(StagesError::NotComplete { index: stages.len() - 1, found: last.share })
            }
            Some(_) => Ok(Self(stages.into())),
        }
    }

    /// The guide's: 10 % → 50 % → 100 %.
    pub fn of_the_guide() -> Self {
        let stage = |percent, seconds, min_requests, errors| Stage {
            share: Share::clamped(percent),
            duration: Duration::from_secs(seconds),
            min_requests,
            max_error_rate: Rate::percent(errors),
            hold: false,
        };
        Self([stage(10.0, 300, 100, 5), stage(50.0, 600, 500, 3), stage(100.0, 0, 0, 2)].into())
    }

    /// What a strategy makes of these stages: `canary` goes through them, the others
    /// take over how they judge.
    pub fn for_strategy(&self, strategy: Strategy, steps: Steps) -> Self {
        match strategy {
            Strategy::Canary => self.clone(),
            Strategy::Rolling => self.in_steps(steps),
            Strategy::BlueGreen => {
                let nobody = Stage { share: Share::NOBODY, hold: true, ..self.everybody() };
                Self([nobody, self.everybody()].into())
            }
            Strategy::Instant => Self([self.everybody()].into()),
        }
    }

    /// Everybody at once, judged as these stages judge their last one.
    fn everybody(&self) -> Stage {
        Stage { duration: Duration::ZERO, min_requests: 0, hold: false, ..*self.last() }
    }

    /// Each step is judged as the stage that has its share; evidence takes the place of
    /// `minRequests`, as steps are short.
    fn in_steps(&self, Steps { step, interval }: Steps) -> Self {
        let rate =
            |share: Share| self.0.iter().find(|stage| stage.share >= share).unwrap_or(self.last()).max_error_rate;
        // No list is longer than a hundred stages.
        let points = step.max(Steps::SMALLEST).basis_points();
        let shares = (1..STAGES_MAX as u16).map(|n| points.saturating_mul(n)).take_while(|points| *points < 10_000);
        let shares = shares.filter_map(Share::from_basis_points).chain([Share::EVERYBODY]);
        let stage = |share: Share| Stage {
            share,
            duration: if share == Share::EVERYBODY { Duration::ZERO } else { interval },
            min_requests: 0,
            max_error_rate: rate(share),
            hold: false,
        };
        Self(shares.map(stage).collect())
    }

    /// Its stages.
    pub fn as_slice(&self) -> &[Stage] {
        &self.0
    }

    /// The last stage, at 100 %.
    pub fn last(&self) -> &Stage {
        &self.0[self.0.len() - 1]
    }
}

impl TryFrom<Vec<Stage>> for Stages {
    type Error = StagesError;
    fn try_from(stages: Vec<Stage>) -> Result<Self, StagesError> {
        Self::new(stages)
    }
}

impl From<Stages> for Vec<Stage> {
    fn from(stages: Stages) -> Self {
        stages.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(percentages: &[f64]) -> Result<Stages, StagesError> {
        let template = *Stages::of_the_guide().last();
        Stages::new(percentages.iter().map(|p| Stage { share: Share::clamped(*p), ..template }).collect())
    }

    #[test]
    fn strategies_are_stages() {
        let guide = Stages::of_the_guide();
        let shares = |strategy, step: f64| {
            let steps = Steps { step: Share::clamped(step), interval: Duration::from_secs(60) };
            let stages = guide.for_strategy(strategy, steps);
            // What is stored has to be read again.
            assert_eq!(Stages::new(stages.as_slice().to_vec()).as_ref(), Ok(&stages));
            stages.as_slice().iter().map(|stage| stage.share.percentage()).collect::<Vec<_>>()
        };
        assert_eq!(shares(Strategy::Canary, 10.0), [10.0, 50.0, 100.0]);
        assert_eq!(shares(Strategy::Rolling, 25.0), [25.0, 50.0, 75.0, 100.0]);
        assert_eq!(shares(Strategy::Rolling, 30.0), [30.0, 60.0, 90.0, 100.0]);
        assert_eq!(shares(Strategy::Rolling, 100.0), [100.0]);
        assert_eq!(shares(Strategy::Rolling, 1.0).len(), STAGES_MAX);
        assert_eq!(shares(Strategy::BlueGreen, 10.0), [0.0, 100.0]);
        assert_eq!(shares(Strategy::Instant, 10.0), [100.0]);
    }

    #[test]
    fn a_rolling_step_is_judged_as_the_stage_that_has_its_share() {
        let steps = Steps { step: Share::clamped(20.0), interval: Duration::from_secs(60) };
        let stages = Stages::of_the_guide().for_strategy(Strategy::Rolling, steps);
        let rates: Vec<f64> = stages.as_slice().iter().map(|stage| stage.max_error_rate.get()).collect();
        assert_eq!(rates, [0.03, 0.03, 0.02, 0.02, 0.02], "20 and 40 as the stage at 50, then as that at 100");
    }

    #[test]
    fn stages_grow_and_end_at_everybody() {
        assert!(at(&[5.0, 25.0, 50.0, 100.0]).is_ok());
        assert_eq!(at(&[]), Err(StagesError::Empty));
        assert!(matches!(at(&[10.0, 10.0, 100.0]), Err(StagesError::NotGrowing { index: 1, .. })));
        assert!(matches!(at(&[0.0, 100.0]), Err(StagesError::NotGrowing { index: 0, .. })));
        assert!(matches!(at(&[10.0, 50.0]), Err(StagesError::NotComplete { index: 1, .. })));
        assert!(matches!(at(&[50.0; 101]), Err(StagesError::TooMany(101))));
    }

    #[test]
    fn the_guides_stages_are_written_as_the_guide_writes_them() {
        let text = serde_json::to_value(Stages::of_the_guide()).unwrap();
        let first = serde_json::json!({ "percentage": 10, "duration": 300, "minRequests": 100, "maxErrorRate": 0.05 });
        assert_eq!(text[0], first);
        assert_eq!(serde_json::from_value::<Stages>(text).unwrap(), Stages::of_the_guide());
    }
}
