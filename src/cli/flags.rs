//! `serin flags …`

use http::Method;
use serde_json::{Value, json};

use super::CliError;
use super::client::{Api, encode, fields};
use super::commands::Flags;
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
        Flags::Set { name, description, disabled, rollout, rules } => {
            let rules: Value = serde_json::from_str(&rules)
                .map_err(|error| CliError::Usage(format!("--rules is no JSON: {error}")))?;
            let body = fields([
                ("description", text(description)),
                ("enabled", Some(json!(!disabled))),
                ("rolloutPercentage", Some(json!(rollout))),
                ("rules", Some(rules)),
            ]);
            api.call(&Method::PUT, &path(&name), Some(&body))?
        }
        Flags::Rollout { name, percentage } => {
            api.call(&Method::PATCH, &path(&name), Some(&json!({ "rolloutPercentage": percentage })))?
        }
        Flags::Enable { name } => api.call(&Method::PATCH, &path(&name), Some(&json!({ "enabled": true })))?,
        Flags::Disable { name } => api.call(&Method::PATCH, &path(&name), Some(&json!({ "enabled": false })))?,
        Flags::Delete { name } => api.call(&Method::DELETE, &path(&name), Some(&json!({})))?,
        Flags::Eval { name, user, session, group, environment } => {
            let context = fields([
                ("userId", text(user)),
                ("sessionId", text(session)),
                ("groupId", text(group)),
                ("environment", text(environment)),
            ]);
            let body = json!({ "context": context });
            let answer = api.call(&Method::POST, &format!("{}/evaluate", path(&name)), Some(&body))?;
            api.print(&answer, || words::evaluation(&answer));
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

fn print_all(api: &Api, answer: &Value) {
    api.print(answer, || words::flags(answer["flags"].as_array().map_or(&[], Vec::as_slice)));
}
