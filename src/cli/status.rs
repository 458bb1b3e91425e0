//! `serin status`, `explain` and `events`.

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::{Value, json};

use super::CliError;
use super::client::{Api, encode, query};
use super::commands::Output;
use super::output::line;
use super::screen::{self, Look};
use super::words;

const REDRAW: Duration = Duration::from_secs(1);
const WIDTH: usize = 80;
/// Cursor home; clear to the line's end, to the screen's end (ECMA-48). What stays does not flicker.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_REST: &str = "\x1b[J";
/// As many services fit that nobody has to scroll, where the screen's height is not known.
const HEIGHT: usize = 24;

pub(super) fn run(api: &Api, service: Option<&str>, watch: bool) -> Result<(), CliError> {
    if !watch {
        let answer = read(api, service)?;
        api.print(&answer, || words::services(services(&answer)));
        return Ok(());
    }
    // Where nobody looks at a screen, each state is printed behind the other.
    let terminal = std::io::stdout().is_terminal();
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut answer = read(api, service)?;
    let mut lost = String::new();
    loop {
        let (width, height) = size();
        let look = Look { width, colours };
        let screens: Vec<String> = services(&answer).iter().map(|service| screen::service(service, look)).collect();
        let drawn = format!("{lost}{}", screens.join("\n"));
        line(&if terminal { redrawn(&drawn, height) } else { drawn });
        std::thread::sleep(REDRAW);
        // Serin may be restarting: what was seen last stays, and it is asked again.
        lost = match read(api, service) {
            Ok(newer) => {
                answer = newer;
                String::new()
            }
            Err(CliError::Unreachable { address, .. }) => format!("no connection to {address}: as it was last seen\n"),
            Err(error) => return Err(error),
        };
    }
}

/// Over what stands there, as far as the screen goes.
fn redrawn(drawn: &str, height: usize) -> String {
    let lines: Vec<&str> = drawn.lines().collect();
    let room = height.saturating_sub(2).max(1);
    let mut shown = lines[..lines.len().min(room)].join(CLEAR_LINE);
    if lines.len() > room {
        shown = format!("{shown}{CLEAR_LINE}… {} lines more: --service NAME", lines.len() - room);
    }
    format!("{HOME}{shown}{CLEAR_LINE}{CLEAR_REST}")
}

/// The screen's size; without a screen `$COLUMNS`, else what fits everywhere.
fn size() -> (usize, usize) {
    let own = rustix::termios::tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0);
    let columns = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(WIDTH);
    own.map_or_else(|| (columns(), HEIGHT), |size| (usize::from(size.ws_col), usize::from(size.ws_row)))
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
