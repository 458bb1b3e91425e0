//! What a rollout can see, stage by stage, before it begins.

use serde::Serialize;

use super::controller::Controller;
use super::error::ControlError;
use crate::clock;
use crate::config::DeployDefaults;
use crate::decide::bucket::Share;
use crate::decide::guard::{Outlook, StageRule, Traffic, outlook};

/// What each stage of a rollout can see.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutOutlook {
    /// The traffic that it rests on.
    pub traffic: Traffic,
    /// Whether that was measured, or given.
    pub measured: bool,
    /// In order; the bake is the last one.
    pub stages: Vec<StageOutlook>,
}

/// What one stage can see.
#[derive(Clone, Debug, Serialize)]
pub struct StageOutlook {
    /// `stage 1`, …, `bake`.
    pub name: String,
    /// The share, in percent.
    pub percentage: Share,
    /// What it can see.
    #[serde(flatten)]
    pub outlook: Outlook,
}

/// What the stages of a rollout with these settings can see.
pub fn rollout_outlook(deploy: &DeployDefaults, traffic: Traffic, measured: bool) -> RolloutOutlook {
    let stages = deploy.stages.for_strategy(deploy.strategy, deploy.steps);
    let seen = |share, rule, duration| outlook(deploy.guard, share, rule, duration, traffic);
    let stage = |(index, stage): (usize, &crate::decide::rollout::Stage)| StageOutlook {
        name: format!("stage {}", index + 1),
        percentage: stage.share,
        outlook: seen(stage.share, stage.rule(), stage.duration),
    };
    let mut stages_seen: Vec<StageOutlook> =
        stages.as_slice().iter().enumerate().filter(|(_, stage)| !stage.duration.is_zero()).map(stage).collect();
    if !deploy.bake.is_zero() {
        let rule = StageRule { min_requests: 0, ..stages.last().rule() };
        let outlook = seen(Share::EVERYBODY, rule, deploy.bake);
        stages_seen.push(StageOutlook { name: "bake".to_owned(), percentage: Share::EVERYBODY, outlook });
    }
    RolloutOutlook { traffic, measured, stages: stages_seen }
}

impl Controller {
    /// What a deployment of this service could see, with measured traffic or what is given of it.
    ///
    /// # Errors
    /// An unknown service, numbers that are none, or nothing measured and nothing given.
    pub fn outlook(
        &mut self,
        service: &str,
        requests_per_second: Option<f64>,
        error_rate: Option<f64>,
    ) -> Result<RolloutOutlook, ControlError> {
        let service = self.service(service)?;
        let seen = service.measured(clock::now());
        let measured = requests_per_second.is_none();
        let requests_per_second =
            requests_per_second.or(seen.map(|seen| seen.requests_per_second)).ok_or_else(|| {
                let detail =
                    "no traffic was measured yet, which takes a minute: say how many requests a second are expected";
                ControlError::invalid("requestsPerSecond", detail)
            })?;
        if !(0.0..=1e9).contains(&requests_per_second) {
            return Err(ControlError::invalid("requestsPerSecond", "a rate is 0 to 1,000,000,000"));
        }
        let error_rate = error_rate.or(seen.map(|seen| seen.error_rate)).unwrap_or(0.0);
        if !(0.0..=1.0).contains(&error_rate) {
            return Err(ControlError::invalid("errorRate", "an error rate is a fraction from 0 to 1"));
        }
        let traffic = Traffic { requests_per_second, error_rate };
        Ok(rollout_outlook(&service.config.deploy, traffic, measured))
    }
}
