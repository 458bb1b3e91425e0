//! `serin deploy …`: verbs, and following a deployment to its end.

use std::process::ExitCode;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::CliError;
use super::client::{Api, encode, fields};
use super::commands::{Deploy, Output, Start, Wait};
use super::output::line;
use super::rehearse;
use super::words;
use crate::clock;
use crate::decide::time::parse_span;

/// What the stages can see, for people: where no traffic was measured yet there is nothing to say.
fn show_plan(api: &Api, base: &str) {
    if api.output == Output::Table
        && let Ok(plan) = api.get(&format!("{base}/plan"))
    {
        line(words::plan(&plan).trim_end());
    }
}

/// How often a deployment that is followed is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(250);
/// It was rolled back.
const ROLLED_BACK: u8 = 3;
/// After so long without a request whoever waits is told.
const ALONE: Duration = Duration::from_secs(15);
/// It had not ended in time.
pub(super) const TIMEOUT: u8 = 4;

pub(super) fn run(api: &Api, service: Option<&str>, command: Deploy) -> Result<ExitCode, CliError> {
    let base = service.map_or_else(|| "/api".to_owned(), |name| format!("/api/services/{}", encode(name)));
    let verb = |name: &str| format!("{base}/deployment/{name}");
    let text = |text: Option<String>| text.map(Value::from);
    let (path, body, wait) = match command {
        Deploy::History => {
            let answer = api.get(&format!("{base}/deployments"))?;
            api.print(&answer, || words::deployments(&answer["deployments"]));
            return Ok(ExitCode::SUCCESS);
        }
        Deploy::Wait { timeout } => {
            let path = format!("{base}/deployment");
            let last = || Ok::<_, CliError>(api.get(&format!("{base}/deployments"))?["deployments"][0].clone());
            let current = match api.find(&path)? {
                Some(current) => current,
                None => last()?,
            };
            if current.is_null() {
                return Err(CliError::Refused {
                    detail: "nothing was deployed yet".to_owned(),
                    next: "serin deploy start VERSION".to_owned(),
                });
            }
            return follow(api, &base, &current, timeout.as_deref());
        }
        Deploy::Override { track, span } => {
            let body = json!({ "track": track.name(), "for": span });
            let answer = api.call(&Method::POST, &format!("{base}/overrides"), Some(&body))?;
            api.print(&answer, || {
                let cookie = words::text(&answer["cookie"]);
                let link = format!("document.cookie = \"{cookie}; path=/\"");
                format!("header  {}\ncookie  {cookie}\nbrowser {link}\n", words::text(&answer["header"]))
            });
            return Ok(ExitCode::SUCCESS);
        }
        Deploy::Record { track, error, latency, user } => {
            let body = fields([
                ("track", Some(json!(track.name()))),
                ("error", Some(json!(error))),
                ("latencyMs", latency.map(Value::from)),
                ("userId", text(user)),
            ]);
            let answer = api.call(&Method::POST, &format!("{base}/outcomes"), Some(&body))?;
            api.print(&answer, || format!("{} recorded", words::text(&answer["recorded"])));
            return Ok(ExitCode::SUCCESS);
        }
        Deploy::Rehearse(options) => return rehearse::run(api, &base, options),
        Deploy::Start(start) => {
            let wait = start.wait.clone();
            show_plan(api, &base);
            (format!("{base}/deployments"), started(*start)?, Some(wait))
        }
        Deploy::Instant { version, pool, force, wait } => {
            let body = fields([
                ("version", Some(json!(version))),
                ("pool", text(pool)),
                ("strategy", Some(json!("instant"))),
                ("force", force.then_some(json!(true))),
            ]);
            (format!("{base}/deployments"), body, Some(wait))
        }
        Deploy::Advance => (verb("advance"), json!({}), None),
        Deploy::Pause => (verb("pause"), json!({}), None),
        Deploy::Resume => (verb("resume"), json!({}), None),
        Deploy::Promote { force } => (verb("promote"), json!({ "force": force }), None),
        Deploy::Rollback { reason } => (verb("rollback"), fields([("reason", text(reason))]), None),
        Deploy::Undo { force } => (verb("undo"), json!({ "force": force }), None),
        Deploy::Retry => (verb("retry"), json!({}), None),
        Deploy::Return => (verb("return"), json!({}), None),
    };
    // A start takes the place of what runs.
    let before = if wait.is_some() { api.find(&format!("{base}/deployment"))? } else { None };
    let answer = api.call(&Method::POST, &path, Some(&body))?;
    if let Some(before) = before.filter(|before| before["id"] != answer["id"] && api.output == Output::Table) {
        line(&format!(
            "{} (at {} %) has ended for it",
            words::text(&before["version"]),
            words::text(&before["currentPercentage"])
        ));
    }
    match wait {
        Some(Wait { wait: true, timeout }) => follow(api, &base, &answer, timeout.as_deref()),
        _ => {
            api.print(&answer, || words::deployment(&answer));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// An option that is written as JSON.
pub(super) fn json(name: &str, value: Option<String>) -> Result<Option<Value>, CliError> {
    let wrong = |error| CliError::Usage(format!("{name} is no JSON: {error}"));
    value.map(|value| serde_json::from_str(&value).map_err(wrong)).transpose()
}

fn started(start: Start) -> Result<Value, CliError> {
    let text = |text: Option<String>| text.map(Value::from);
    let yes = |flag: bool| flag.then_some(Value::Bool(true));
    Ok(fields([
        ("version", text(start.version)),
        ("aa", yes(start.aa)),
        ("pool", text(start.pool)),
        ("strategy", start.strategy.map(|strategy| json!(strategy))),
        ("stages", json("--stages", start.stages)?),
        ("step", start.step.map(Value::from)),
        ("interval", text(start.interval)),
        ("bake", text(start.bake)),
        ("guard", json("--guard", start.guard)?),
        ("warmup", text(start.warmup)),
        ("onFail", text(start.on_fail)),
        ("onInsufficient", text(start.on_insufficient)),
        ("maxDuration", text(start.max_duration)),
        ("promoteEarly", yes(start.promote_early)),
        ("onComplete", text(start.on_complete)),
        ("include", json("--include", start.include)?),
        ("exclude", json("--exclude", start.exclude)?),
        ("restart", yes(start.restart)),
        ("force", yes(start.force)),
    ]))
}

/// Prints what happens until it has ended, and says how it ended by the exit code.
fn follow(api: &Api, base: &str, first: &Value, timeout: Option<&str>) -> Result<ExitCode, CliError> {
    let limit = timeout.map(parse_span).transpose().map_err(|error| CliError::Usage(format!("--timeout: {error}")))?;
    let began = clock::now();
    let id = words::text(&first["id"]);
    let mut told = 0;
    let mut record = first.clone();
    let mut alone = clock::now();
    loop {
        // Without traffic nothing moves, and nothing is said.
        let requests = record["metrics"]["canaryRequests"].as_u64().unwrap_or_default();
        if requests == 0 && clock::now().since(alone) >= ALONE && api.output == Output::Table {
            alone = clock::now();
            line("no request has come to the canary yet: is there traffic through Serin's listener?");
        }
        if matches!(api.output, super::commands::Output::Table) {
            let events = record["events"].as_array().map_or(&[][..], Vec::as_slice);
            for event in events.iter().skip(told) {
                line(&format!("{}  {}", words::text(&event["at"]), words::text(&event["text"])));
            }
            told = told.max(events.len());
        }
        let status = record["status"].as_str().unwrap_or_default();
        if !matches!(status, "in_progress" | "paused" | "pending") {
            // Why has just been told as an event.
            api.print(&record, || words::deployment(&record).lines().next().unwrap_or_default().to_owned());
            return Ok(if status == "completed" { ExitCode::SUCCESS } else { ExitCode::from(ROLLED_BACK) });
        }
        if limit.is_some_and(|limit| clock::now().since(began) >= limit) {
            api.print(&record, || format!("{}; it goes on", words::deployment(&record)));
            return Ok(ExitCode::from(TIMEOUT));
        }
        std::thread::sleep(LOOK);
        record = look(api, base, &id)?;
    }
}

/// The deployment with this id: running, or among those that ended.
fn look(api: &Api, base: &str, id: &str) -> Result<Value, CliError> {
    if let Some(current) = api.find(&format!("{base}/deployment"))?
        && current["id"] == id
    {
        return Ok(current);
    }
    let ended = api.get(&format!("{base}/deployments"))?;
    let ended = ended["deployments"].as_array().and_then(|all| all.iter().find(|d| d["id"] == id).cloned());
    ended.ok_or_else(|| CliError::Refused {
        detail: format!("deployment {id} is not known any more"),
        next: "serin deploy history".to_owned(),
    })
}
