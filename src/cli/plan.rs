//! `serin plan`: what a rollout can see before it begins.

use serde_json::Value;

use super::CliError;
use super::client::{Api, encode, query};
use super::commands::{Output, PlanOptions};
use super::output::answer;
use super::words;
use crate::config::{self, Service};
use crate::control::rollout_outlook;
use crate::decide::guard::Traffic;

pub(super) fn run(
    options: &PlanOptions,
    output: Output,
    api: impl FnOnce() -> Result<Api, CliError>,
) -> Result<(), CliError> {
    let seen = match (&options.config, options.requests_per_second) {
        (Some(file), Some(requests_per_second)) => {
            let config = config::load(file)?;
            let service = service_of(&config.services, options.service.as_deref())?;
            let traffic = Traffic { requests_per_second, error_rate: options.error_rate.unwrap_or(0.0) };
            serde_json::to_value(rollout_outlook(&service.deploy, traffic, false)).unwrap_or(Value::Null)
        }
        _ => of_running(&api()?, options)?,
    };
    answer(output, &seen, || words::plan(&seen));
    Ok(())
}

fn of_running(api: &Api, options: &PlanOptions) -> Result<Value, CliError> {
    let base =
        options.service.as_ref().map_or_else(|| "/api".to_owned(), |name| format!("/api/services/{}", encode(name)));
    let number = |number: Option<f64>| number.map(|number| number.to_string());
    let (rate, errors) = (number(options.requests_per_second), number(options.error_rate));
    let question = query(&[("requestsPerSecond", rate.as_deref()), ("errorRate", errors.as_deref())]);
    api.get(&format!("{base}/plan?{question}"))
}

/// The service of that name, or the only one.
pub(super) fn service_of<'a>(services: &'a [Service], name: Option<&str>) -> Result<&'a Service, CliError> {
    let names = || services.iter().map(|service| service.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, services) {
        (None, [only]) => Ok(only),
        (None, _) => Err(CliError::Usage(format!("which service? --service with one of {}", names()))),
        (Some(name), _) => services
            .iter()
            .find(|service| service.name == name)
            .ok_or_else(|| CliError::Usage(format!("no service `{name}`; there are {}", names()))),
    }
}
