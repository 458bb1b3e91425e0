//! `serin status`, `explain` and `events`.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};

use super::CliError;
use super::client::{Api, encode, query};
use super::commands::Output;
use super::output::line;
use super::words;

const REDRAW: Duration = Duration::from_secs(1);
const WIDTH: usize = 80;
/// Cursor home, clear to the end (ECMA-48).
const HOME: &str = "\x1b[H\x1b[J";

pub(super) fn run(api: &Api, service: Option<&str>, watch: bool) -> Result<(), CliError> {
    if !watch {
        let answer = read(api, service)?;
        api.print(&answer, || words::services(services(&answer)));
        return Ok(());
    }
    // Where nobody looks at a screen, each state is printed behind the other.
    let terminal = std::io::stdout().is_terminal();
    loop {
        let answer = read(api, service)?;
        let home = if terminal { HOME } else { "" };
        let screens: Vec<String> = services(&answer).iter().map(|service| words::screen(service, width())).collect();
        line(&format!("{home}{}", screens.join("\n")));
        std::thread::sleep(REDRAW);
    }
}

/// Shells that keep `$COLUMNS` export it; else the width that fits everywhere.
fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(WIDTH)
}

fn read(api: &Api, service: Option<&str>) -> Result<Value, CliError> {
    match service {
        None => api.get("/api/services"),
        Some(name) => Ok(json!({ "services": [api.get(&format!("/api/services/{}", encode(name)))?] })),
    }
}

fn services(answer: &Value) -> &[Value] {
    answer["services"].as_array().map_or(&[], Vec::as_slice)
}

pub(super) fn explain(api: &Api, who: [&Option<String>; 4]) -> Result<(), CliError> {
    let [user, session, group, url] = who;
    if user.is_none() && session.is_none() {
        return Err(CliError::Usage("who? --user ID or --session ID".to_owned()));
    }
    let question = query(&[
        ("userId", user.as_deref()),
        ("sessionId", session.as_deref()),
        ("groupId", group.as_deref()),
        ("url", url.as_deref()),
    ]);
    let answer = api.get(&format!("/api/explain?{question}"))?;
    api.print(&answer, || words::explanation(&answer));
    Ok(())
}

pub(super) fn events(api: &Api) -> Result<(), CliError> {
    api.follow("/api/events", |text| {
        if let Some(data) = text.strip_prefix("data:")
            && let Ok(change) = serde_json::from_str::<Value>(data.trim())
        {
            line(&match api.output {
                Output::Table => words::change(&change),
                // One change a line: for programs that read along.
                Output::Json | Output::Yaml => change.to_string(),
            });
        }
        true
    })
}
