//! `serin flags …`

use std::path::Path;

use http::Method;
use serde_json::{Map, Value, json};

use super::CliError;
use super::client::{Api, encode, fields};
use super::commands::{Flags, Ramp};
use super::words;

pub(super) fn run(api: &Api, command: Flags) -> Result<(), CliError> {
    let path = |name: &str| format!("/api/flags/{}", encode(name));
    let text = |text: Option<String>| text.map(Value::from);
    let answer = match command {
        Flags::List => {
            let answer = api.get("/api/flags")?;
            print_all(api, &answer);
            return Ok(());
        }
        Flags::Get { name } => api.get(&path(&name))?,
        Flags::Set { name, description, disabled, rollout, rules, fields: more } => {
            let rules = rules.as_deref().map(serde_json::from_str::<Value>).transpose();
            let rules = rules.map_err(|error| CliError::Usage(format!("--rules is no JSON: {error}")))?;
            let more: Map<String, Value> = serde_json::from_str(&more)
                .map_err(|error| CliError::Usage(format!("--fields is no JSON object: {error}")))?;
            // What is not given stays as it is, or is as it is of a new flag.
            let is_there = api.find(&path(&name))?.is_some();
            let or_new = |value: Option<Value>, new: Value| if is_there { value } else { value.or(Some(new)) };
            let mut body = fields([
                ("description", text(description)),
                ("enabled", or_new(disabled.then_some(json!(false)), json!(true))),
                ("rolloutPercentage", or_new(rollout.map(Value::from), json!(0))),
                ("rules", or_new(rules, json!([]))),
            ]);
            if let Value::Object(body) = &mut body {
                body.extend(more);
            }
            let method = if is_there { Method::PATCH } else { Method::PUT };
            api.call(&method, &path(&name), Some(&body))?
        }
        Flags::Rollout { name, percentage } => {
            api.call(&Method::PATCH, &path(&name), Some(&json!({ "rolloutPercentage": percentage })))?
        }
        Flags::Enable { name } => api.call(&Method::PATCH, &path(&name), Some(&json!({ "enabled": true })))?,
        Flags::Disable { name } => api.call(&Method::PATCH, &path(&name), Some(&json!({ "enabled": false })))?,
        Flags::Delete { name } => api.call(&Method::DELETE, &path(&name), Some(&json!({})))?,
        Flags::Eval { name, user, session, group, environment, attributes } => {
            let context = fields([
                ("userId", text(user)),
                ("sessionId", text(session)),
                ("groupId", text(group)),
                ("environment", text(environment)),
                ("attributes", Some(attributes_of(&attributes)?)),
            ]);
            let body = json!({ "context": context });
            let answer = api.call(&Method::POST, &format!("{}/evaluate", path(&name)), Some(&body))?;
            api.print(&answer, || words::evaluation(&answer));
            return Ok(());
        }
        Flags::Ramp(ramp) => {
            let answer = ramped(api, ramp)?;
            api.print(&answer, || words::ramp(&answer));
            return Ok(());
        }
        Flags::Import { file, dry_run, replace, hash } => {
            let body = json!({ "document": document(&file)?, "dryRun": dry_run, "replace": replace, "hash": hash });
            let answer = api.call(&Method::POST, "/api/import/flags", Some(&body))?;
            api.print(&answer, || words::imported(&answer));
            return Ok(());
        }
        Flags::Lint => {
            let answer = api.get("/api/lint/flags")?;
            api.print(&answer, || words::lint(&answer));
            return Ok(());
        }
        Flags::Reload { discard } => {
            let answer = api.call(&Method::POST, "/api/state/flags/reload", Some(&json!({ "discard": discard })))?;
            print_all(api, &answer);
            return Ok(());
        }
    };
    api.print(&answer, || words::flags(std::slice::from_ref(&answer)));
    Ok(())
}

fn document(file: &Path) -> Result<Value, CliError> {
    let unreadable = |error: &dyn std::fmt::Display| CliError::Usage(format!("{}: {error}", file.display()));
    let text =
        if file == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    serde_json::from_str(&text.map_err(|error| unreadable(&error))?).map_err(|error| unreadable(&error))
}

fn ramped(api: &Api, command: Ramp) -> Result<Value, CliError> {
    let path = |name: &str| format!("/api/flags/{}/ramp", encode(name));
    let act =
        |name: &str, verb: &str, body: Value| api.call(&Method::POST, &format!("{}/{verb}", path(name)), Some(&body));
    match command {
        Ramp::Start { name, stages, service } => {
            let stages = stages.as_deref().map(serde_json::from_str::<Value>).transpose();
            let stages = stages.map_err(|error| CliError::Usage(format!("--stages is no JSON: {error}")))?;
            let ramp = fields([("stages", stages), ("service", service.map(Value::from))]);
            let flag = format!("/api/flags/{}", encode(&name));
            api.call(&Method::PATCH, &flag, Some(&json!({ "ramp": ramp })))?;
            api.get(&path(&name))
        }
        Ramp::Status { name } => api.get(&path(&name)),
        Ramp::Advance { name } => act(&name, "advance", json!({})),
        Ramp::Pause { name } => act(&name, "pause", json!({})),
        Ramp::Resume { name } => act(&name, "resume", json!({})),
        Ramp::Promote { name, force } => act(&name, "promote", json!({ "force": force })),
        Ramp::Rollback { name, reason } => act(&name, "rollback", fields([("reason", reason.map(Value::from))])),
    }
}

/// `name=value`, the value as JSON where it is some.
fn attributes_of(texts: &[String]) -> Result<Value, CliError> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=')?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Some((name.to_owned(), value))
    };
    let wrong = || CliError::Usage("--attribute is NAME=VALUE, as in plan=gold".to_owned());
    let pairs = texts.iter().map(|text| pair(text).ok_or_else(wrong));
    Ok(Value::Object(pairs.collect::<Result<Map<String, Value>, CliError>>()?))
}

fn print_all(api: &Api, answer: &Value) {
    api.print(answer, || words::flags(answer["flags"].as_array().map_or(&[], Vec::as_slice)));
}
