//! `serin deploy rehearse`: invented errors beside live outcomes.

use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use super::CliError;
use super::client::{Api, fields};
use super::commands::{Output, Rehearse};
use super::deploy::{LOOK, TIMEOUT, json};
use super::output::line;
use super::words;

/// Follows a rehearsal to its end: exit code 0 where every rollout would have been
/// rolled back, or no errors were invented; 4 where its time was over before.
pub(super) fn run(api: &Api, base: &str, options: Rehearse) -> Result<ExitCode, CliError> {
    let path = format!("{base}/rehearsal");
    if options.last || options.stop {
        let method = if options.stop { Method::DELETE } else { Method::GET };
        let answer = api.call(&method, &path, None)?;
        api.print(&answer, || words::rehearsal(&answer));
        return Ok(ExitCode::SUCCESS);
    }
    let body = fields([
        ("errorRate", options.error_rate.map(Value::from)),
        ("times", Some(json!(options.times))),
        ("for", Some(json!(options.span))),
        ("stages", json("--stages", options.stages)?),
        ("guard", json("--guard", options.guard)?),
    ]);
    let mut answer = api.call(&Method::POST, &path, Some(&body))?;
    let mut told = String::new();
    while !options.detach && answer["running"] == true {
        let text = words::text(&answer["text"]);
        if api.output == Output::Table && text != told {
            line(&text);
            told = text;
        }
        std::thread::sleep(LOOK);
        answer = api.get(&path)?;
    }
    api.print(&answer, || words::rehearsal(&answer));
    let missed = answer["errorRate"] != 0.0 && answer["rolledBack"] != answer["times"];
    Ok(if missed && !options.detach { ExitCode::from(TIMEOUT) } else { ExitCode::SUCCESS })
}
