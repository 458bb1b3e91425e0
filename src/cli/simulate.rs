//! `serin simulate`: a rollout in virtual time.

use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use serde_json::{Value, json};

use super::CliError;
use super::commands::{Output, SimulateOptions};
use super::output::answer;
use super::plan::service_of;
use crate::config;
use crate::decide::guard::{Alpha, GuardPlan, Rate, StageRule};
use crate::simulate::{self, Logged, Report};
use crate::store::DecisionRecord;

pub(super) fn run(options: &SimulateOptions, output: Output) -> Result<(), CliError> {
    match (&options.scenario, &options.log, &options.replay) {
        (Some(scenario), _, _) => scenario_of(scenario, options.seed, output),
        (None, Some(log), _) => log_of(log, options, output),
        (None, None, Some(record)) => replay_of(record, options, output),
        // The parser asks for one of them.
        (None, None, None) => Err(CliError::Usage("a scenario file, --log or --replay".to_owned())),
    }
}

fn scenario_of(file: &Path, seed: Option<u64>, output: Output) -> Result<(), CliError> {
    let mut scenario = config::scenario_from_text(&text_of(file)?, file)?;
    scenario.seed = seed.unwrap_or(scenario.seed);
    print(output, &simulate::run(&scenario), "");
    Ok(())
}

fn log_of(file: &Path, options: &SimulateOptions, output: Output) -> Result<(), CliError> {
    let default = "listen: 127.0.0.1:0\nstable: http://127.0.0.1\ncanary: http://127.0.0.1";
    let config = match &options.config {
        Some(file) => config::load(file)?,
        None => config::from_text(default, Path::new("the default configuration"))?,
    };
    let service = service_of(&config.services, options.service.as_deref())?;
    let log =
        File::open(file).map_err(|source| CliError::System { doing: "the access log cannot be opened", source })?;
    let logged = Logged {
        deploy: &service.deploy,
        errors: &service.errors.status,
        canary_errors: options.canary_errors,
        canary_slower: options.canary_slower,
        seed: options.seed.unwrap_or(1),
    };
    let (report, wrong) = logged
        .run(BufReader::with_capacity(1 << 20, log))
        .map_err(|source| CliError::System { doing: "the access log cannot be read", source })?;
    let note = if wrong > 0 {
        format!("{wrong} lines of the log were left out: they are no requests\n")
    } else {
        String::new()
    };
    print(output, &report, &note);
    Ok(())
}

fn print(output: Output, report: &Report, note: &str) {
    let value = serde_json::to_value(report).unwrap_or(Value::Null);
    answer(output, &value, || format!("{report}{note}"));
}

/// A decision once more, perhaps with other settings.
fn replay_of(file: &Path, options: &SimulateOptions, output: Output) -> Result<(), CliError> {
    let value: Value = serde_json::from_str(&text_of(file)?)
        .map_err(|error| CliError::Usage(format!("{} is no JSON: {error}", file.display())))?;
    let (decision, mut guard) = decision_in(&value).ok_or_else(|| {
        let what = "no decision in it: a deployment that was rolled back by a guard, as the API has it";
        CliError::Usage(format!("{} has {what}", file.display()))
    })?;
    if let Some(alpha) = options.false_rollback {
        guard.false_rollback =
            Alpha::new(alpha).map_err(|error| CliError::Usage(format!("--false-rollback: {error}")))?;
    }
    let mut rule: StageRule = decision.rule_of_stage;
    if let Some(Ok(rate)) = options.max_error_rate.map(Rate::new) {
        rule.max_error_rate = rate;
    }
    rule.min_requests = options.min_requests.unwrap_or(rule.min_requests);
    let mut heard = 0;
    let judge = decision.replay.replay(guard, rule, |_, _| heard += 1);
    let verdict = judge.verdict();
    let told = decision.replay.events().len();
    let value = json!({
        "recorded": { "rule": decision.rule, "text": decision.text },
        "verdict": verdict.map(|breach| json!({ "rule": breach.rule(), "text": breach.to_string() })),
        "events": told, "heard": heard, "dropped": decision.replay.dropped(), "standings": judge.standings(),
    });
    answer(output, &value, || {
        let mut text = format!("recorded  {}\n", decision.text);
        let _ = match verdict {
            Some(breach) => writeln!(text, "replayed  {} after {heard} of {told} events: {breach}", breach.rule()),
            None => writeln!(text, "replayed  no verdict after {told} events"),
        };
        for standing in judge.standings() {
            let _ = writeln!(
                text,
                "          {}: evidence {:.2}, bound {:.0}, {}",
                standing.guard, standing.evidence, standing.bound, standing.sign
            );
        }
        if decision.replay.dropped() > 0 {
            let _ = writeln!(text, "          {} older events were not kept", decision.replay.dropped());
        }
        text
    });
    Ok(())
}

/// In a deployment, or in the first of a history that has one.
fn decision_in(value: &Value) -> Option<(DecisionRecord, GuardPlan)> {
    let of = |deployment: &Value| {
        let decision = serde_json::from_value(deployment["decision"].clone()).ok()?;
        Some((decision, serde_json::from_value(deployment["guard"].clone()).ok()?))
    };
    let history = value["deployments"].as_array();
    of(value).or_else(|| history.into_iter().flatten().find_map(of))
}

fn text_of(file: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(file).map_err(|source| CliError::System { doing: "the file cannot be read", source })
}
