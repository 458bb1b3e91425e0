//! A service as `status --watch` draws it, for a screen of 60 columns or more.

use serde_json::Value;

use super::words::{elements, reason, text};

/// What a screen is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) width: usize,
    pub(super) colours: bool,
}

/// Graphic renditions (ECMA-48, section 8.3.117).
#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Faint,
    Red,
    Green,
    Yellow,
    Blue,
}

impl Look {
    fn paint(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Bold => 1,
            Ink::Faint => 2,
            Ink::Red => 31,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Blue => 34,
        };
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A text that would break the lines is cut.
    fn cut(self, text: &str, taken: usize) -> String {
        let room = self.width.saturating_sub(taken);
        if text.chars().count() <= room {
            return text.to_owned();
        }
        text.chars().take(room.saturating_sub(1)).chain(['…']).collect()
    }

    /// At words' ends, into as many lines as are needed.
    fn wrap(self, text: &str, indent: &str) -> Vec<String> {
        let room = self.width.saturating_sub(indent.len()).max(20);
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let used = lines.last().map_or(0, |line| line.chars().count());
            match lines.last_mut() {
                Some(line) if used == 0 => line.push_str(word),
                Some(line) if used + 1 + word.chars().count() <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines.into_iter().map(|line| format!("{indent}{line}")).collect()
    }
}

/// All that is to be seen of a service.
pub(super) fn service(service: &Value, look: Look) -> String {
    let running = &service["deployment"];
    let mut lines = head(service, look);
    if running.is_null() {
        lines.extend(ended(&service["last"], look));
    } else {
        lines.push(stages(service, look));
        lines.push(look.paint(Ink::Faint, &look.cut(&format!("  {}", waits(running, &service["live"]["stage"])), 0)));
    }
    lines.extend(tracks(service, look));
    lines.extend(elements(&running["evidence"]).iter().map(|standing| guard(standing, look)));
    if let Some(reason) = reason(running) {
        lines.extend(look.wrap(reason, "  ").into_iter().map(|line| look.paint(Ink::Red, &line)));
    }
    let most = if look.width >= 110 { 5 } else { 3 };
    for event in elements(&running["events"]).iter().rev().take(most) {
        let at = text(&event["at"]);
        let time = at.get(11..19).unwrap_or(&at);
        lines.push(format!("  {} {}", look.paint(Ink::Faint, time), look.cut(&text(&event["text"]), time.len() + 3)));
    }
    lines.join("\n") + "\n"
}

/// How the last deployment ended, and why.
fn ended(last: &Value, look: Look) -> Vec<String> {
    let Some(status) = last["status"].as_str() else { return Vec::new() };
    let ink = if status == "completed" { Ink::Green } else { Ink::Red };
    let at = text(&last["completedAt"]);
    let said = format!(
        "{} {} at {}: {}",
        text(&last["version"]),
        status.replace('_', " "),
        at.get(..19).unwrap_or(&at),
        text(&last["text"])
    );
    look.wrap(&said, "  ").into_iter().map(|line| look.paint(ink, &line)).collect()
}

fn head(service: &Value, look: Look) -> Vec<String> {
    let name = text(&service["name"]);
    let version = service["stable"]["version"].as_str().map(|version| format!("{version} on ")).unwrap_or_default();
    let stable = format!("stable {version}{}", text(&service["stable"]["pool"]));
    let running = &service["deployment"];
    if running.is_null() {
        let rest = look.cut(&format!("no deployment, {stable}"), name.chars().count() + 2);
        return vec![format!("{}  {rest}", look.paint(Ink::Bold, &name))];
    }
    let status = text(&running["status"]).replace('_', " ");
    let ink = match running["status"].as_str() {
        Some("paused") => Ink::Yellow,
        Some("rolled_back" | "failed") => Ink::Red,
        _ => Ink::Blue,
    };
    let rest = format!(
        "{} on {} for {} % of users, {stable}",
        text(&running["version"]),
        text(&running["pool"]),
        text(&running["currentPercentage"])
    );
    let taken = name.chars().count() + status.len() + 4;
    vec![format!("{}  {}  {}", look.paint(Ink::Bold, &name), look.paint(ink, &status), look.cut(&rest, taken))]
}

/// The stages side by side, the one that runs filled as far as its time is over.
fn stages(service: &Value, look: Look) -> String {
    let running = &service["deployment"];
    let mut names: Vec<String> =
        elements(&running["stages"]).iter().map(|stage| format!("{} %", text(&stage["percentage"]))).collect();
    if running["bake"].as_f64().is_some_and(|bake| bake > 0.0) {
        names.push("bake".to_owned());
    }
    let current = running["currentStageIndex"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or(0);
    let live = &service["live"]["stage"];
    let part = match (live["elapsedSeconds"].as_f64(), live["seconds"].as_f64()) {
        (Some(elapsed), Some(seconds)) if seconds > 0.0 => (elapsed / seconds).min(1.0),
        _ => 0.0,
    };
    // More stages than a line has room for: what is near is shown.
    let fits = (look.width.saturating_sub(2) / 10).max(1);
    let from = current.saturating_sub(fits / 2).min(names.len().saturating_sub(fits));
    let shown = names.iter().enumerate().skip(from).take(fits);
    let each = (look.width.saturating_sub(2) / names.len().clamp(1, fits)).clamp(9, 32) - 1;
    let cells = shown.map(|(index, name)| {
        let room = each.saturating_sub(name.chars().count() + 3);
        let (filled, ink) = match index {
            _ if index < current => (room, Ink::Green),
            _ if index == current => ((part * room as f64) as usize, Ink::Blue),
            _ => (0, Ink::Faint),
        };
        let bar = format!("{}{}", "█".repeat(filled), "·".repeat(room - filled));
        look.paint(ink, &format!("[{name} {bar}]"))
    });
    format!("  {}", cells.collect::<Vec<_>>().join(" "))
}

/// What the stage waits for.
fn waits(running: &Value, stage: &Value) -> String {
    if running["status"] == "paused" {
        return "paused: users keep their track".to_owned();
    }
    if stage.is_null() {
        return "waits for somebody to advance it".to_owned();
    }
    let number = |key: &str| stage[key].as_f64().unwrap_or_default();
    let left = number("seconds") - number("elapsedSeconds");
    let missing = number("minRequests") - number("canaryRequests");
    let stages = elements(&running["stages"]).len() as u64;
    if running["currentStageIndex"].as_u64().is_some_and(|index| index >= stages) {
        return format!("watched for {} more, then it is stable", span(left.max(0.0)));
    }
    match (left > 0.0, missing > 0.0) {
        (true, true) => format!("next stage in {}, at least {missing} more canary requests", span(left)),
        (true, false) => format!("next stage in {}", span(left)),
        (false, true) => format!("waits for {missing} more canary requests"),
        (false, false) => "about to move on".to_owned(),
    }
}

fn span(seconds: f64) -> String {
    let all = seconds.round() as u64;
    match all {
        0..60 => format!("{all} s"),
        60..3_600 => format!("{} min {:02} s", all / 60, all % 60),
        _ => format!("{} h {:02} min", all / 3_600, all % 3_600 / 60),
    }
}

fn tracks(service: &Value, look: Look) -> Vec<String> {
    let wide = look.width >= 100;
    let row = |cells: &[&str]| {
        let widths: &[usize] = if wide { &[9, 12, 12, 12, 12, 12, 12, 12] } else { &[7, 10, 9, 11, 8, 10, 10, 10] };
        let padded = cells.iter().zip(widths).enumerate().map(|(index, (cell, width))| match index {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        format!("  {}", padded.collect::<String>())
    };
    let header = row(&["", "rate", "now", "requests", "errors", "p50", "p95", "p99"]);
    let metrics = &service["deployment"]["metrics"];
    let of_track = |(name, counted): (&str, &str)| {
        let live = &service["live"][name];
        let millis = |key: &str| live[key].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let count = |suffix: &str| text(&metrics[format!("{counted}{suffix}")]);
        let rate = live["requestsPerSecond"].as_f64().unwrap_or_default();
        let now = live["errorRate"].as_f64().map_or_else(|| "-".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
        let cells = [
            name.to_owned(),
            format!("{rate:.1}/s"),
            now,
            count("Requests"),
            count("Errors"),
            millis("p50"),
            millis("p95"),
            millis("p99"),
        ];
        row(&cells.each_ref().map(String::as_str))
    };
    let known = [("stable", "baseline"), ("canary", "canary")];
    let present = known.into_iter().filter(|(name, _)| !service["live"][*name].is_null());
    std::iter::once(look.paint(Ink::Faint, &header)).chain(present.map(of_track)).collect()
}

/// How near a guard is to a verdict: a logarithmic scale from 1 to its bound.
fn guard(standing: &Value, look: Look) -> String {
    let number = |key: &str| standing[key].as_f64().unwrap_or_default();
    let (evidence, bound) = (number("evidence"), number("bound").max(2.0));
    let part = (evidence.max(1.0).ln() / bound.ln()).clamp(0.0, 1.0);
    let room = if look.width >= 100 { 40 } else { 20 };
    let filled = (part * room as f64) as usize;
    let sign = text(&standing["sign"]);
    let ink = match sign.as_str() {
        "proven" => Ink::Red,
        "suspicious" => Ink::Yellow,
        "watching" => Ink::Blue,
        _ => Ink::Green,
    };
    let bar = look.paint(ink, &format!("[{}{}]", "█".repeat(filled), "·".repeat(room - filled)));
    let observes = if standing["enforces"] == true { "" } else { ", observes" };
    let word = if look.width >= 100 { "evidence " } else { "" };
    let rest = format!(
        "{word}{} of {bound:.0}, users {} : {}{observes}",
        if evidence < 10.0 { format!("{evidence:.1}") } else { format!("{evidence:.0}") },
        text(&standing["canaryUsers"]),
        text(&standing["stableUsers"])
    );
    format!(
        "  {:<8}{} {bar} {}",
        text(&standing["guard"]),
        look.paint(ink, &format!("{sign:<10}")),
        look.cut(&rest, room + 24)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn example() -> Value {
        let track = |rate: f64| json!({ "requestsPerSecond": rate, "errorRate": 0.0012, "p50": 1.25, "p95": 80.5, "p99": 1200.0 });
        json!({
            "name": "shop", "stable": { "pool": "blue", "version": "v2.0.0" }, "pools": ["blue", "green"],
            "deployment": {
                "version": "v2.1.0", "pool": "green", "status": "in_progress", "currentPercentage": 50, "bake": 600,
                "currentStageIndex": 1, "stages": [{ "percentage": 10 }, { "percentage": 50 }, { "percentage": 100 }],
                "metrics": { "canaryRequests": 51200, "canaryErrors": 61, "baselineRequests": 1234567, "baselineErrors": 1480 },
                "evidence": [
                    { "guard": "errors", "enforces": true, "evidence": 10.0, "bound": 100.0, "sign": "watching",
                      "canaryUsers": 12, "stableUsers": 9 },
                    { "guard": "latency", "enforces": false, "evidence": 0.5, "bound": 100.0, "sign": "no sign",
                      "canaryUsers": 3, "stableUsers": 40 },
                ],
                "events": [
                    { "at": "2026-01-01T12:00:00.000Z", "text": "v2.1.0 goes to 10 % of users" },
                    { "at": "2026-01-01T12:05:00.123Z", "text": "stage 2 began: 50 % of users" },
                ],
            },
            "live": { "stable": track(712.0), "canary": track(79.5), "stage": { "elapsedSeconds": 300.0, "seconds": 600.0,
                "running": true, "canaryRequests": 400, "minRequests": 500 } },
        })
    }

    const AT_80: &str = "\
shop  in progress  v2.1.0 on green for 50 % of users, stable v2.0.0 on blue
  [10 % ███████████] [50 % █████······] [100 % ··········] [bake ···········]
  next stage in 5 min 00 s, at least 100 more canary requests
               rate      now   requests  errors       p50       p95       p99
  stable    712.0/s   0.12 %    1234567    1480    1.2 ms   80.5 ms 1200.0 ms
  canary     79.5/s   0.12 %      51200      61    1.2 ms   80.5 ms 1200.0 ms
  errors  watching   [██████████··········] 10 of 100, users 12 : 9
  latency no sign    [····················] 0.5 of 100, users 3 : 40, observes
  12:05:00 stage 2 began: 50 % of users
  12:00:00 v2.1.0 goes to 10 % of users
";

    #[test]
    fn a_deployment_at_80_columns() {
        assert_eq!(service(&example(), Look { width: 80, colours: false }), AT_80);
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let mut paused = example();
        paused["deployment"]["status"] = json!("paused");
        paused["deployment"]["decision"] = json!({ "text": "errors fall on canary users more often ".repeat(8) });
        paused["deployment"]["stages"] = (1..=40).map(|n| json!({ "percentage": n as f64 * 2.5 })).collect();
        let mut resting = example();
        resting["deployment"] = Value::Null;
        resting["last"] = json!({ "version": "v2.1.0", "status": "rolled_back", "completedAt": "2026-01-01T12:09:00.000Z",
            "text": "rolled back 38 ms after stage 1 began: canary 4 errors in 4 requests (4 users), stable 0 in 30" });
        let drawn = service(&resting, Look { width: 80, colours: false });
        assert!(drawn.contains("v2.1.0 rolled back at 2026-01-01T12:09:00: rolled back 38 ms after"), "{drawn}");
        resting["live"] = json!({ "stable": { "requestsPerSecond": 0.0 } });
        for (value, width) in [(&paused, 80), (&paused, 120), (&paused, 60), (&resting, 80), (&example(), 120)] {
            let drawn = service(value, Look { width, colours: false });
            for line in drawn.lines() {
                assert!(line.chars().count() <= width.max(78), "{width}: {line}");
            }
            let coloured = service(value, Look { width, colours: true });
            let plain = coloured.split("\x1b[").map(|part| part.split_once('m').map_or(part, |(_, rest)| rest));
            assert_eq!(plain.collect::<String>(), drawn, "colours change no text");
        }
    }
}
