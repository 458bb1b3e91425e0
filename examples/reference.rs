//! Writes `docs/reference/` from the definitions in the code: the table of keys, the API's
//! description, the command line's tree, and the metrics of a Serin that is started for it.
//!
//! `cargo run --example reference` writes the files; `tests/reference.rs` holds that they are
//! what this makes now.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, Command};
use serde_json::{Value, json};
use serin::config::{DrainTimes, KeyReference, SectionReference};
use serin::handover::Inheritance;
use serin::server::{Server, keys_of_the_start};

/// How each file ends its first part.
const MADE: &str =
    "This file is written by `cargo run --example reference`; a test holds that it is what the code says.";

/// The files and their texts.
pub(crate) fn files() -> Vec<(&'static str, String)> {
    vec![
        ("configuration.md", configuration()),
        ("api.md", api()),
        ("cli.md", command_line()),
        ("metrics.md", metrics()),
    ]
}

/// Where they are.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference")
}

fn main() -> std::io::Result<()> {
    std::fs::create_dir_all(folder())?;
    for (name, text) in files() {
        std::fs::write(folder().join(name), text)?;
    }
    Ok(())
}

/// A heading's anchor, as Git forges make it.
pub(crate) fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

/// A text in a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// A text with what is no prose of Markdown's taken as it is.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        match index % 2 {
            0 => out.push_str(&part.replace('<', "&lt;").replace('*', "\\*")),
            _ => out.push_str(&format!("`{part}`")),
        }
    }
    cell(&out)
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    // Words and numbers that are values stay as they are.
    let is_value = text
        .split(' ')
        .next()
        .is_some_and(|word| word.ends_with([':', ',', ';']) || word.contains(|c: char| c.is_ascii_digit() || c == '_'));
    let first = letters.next().map(|first| if is_value { first.to_string() } else { first.to_uppercase().to_string() });
    let first = first.unwrap_or_default();
    let end = if text.ends_with('.') { "" } else { "." };
    prose(&format!("{first}{}{end}", letters.as_str()))
}

fn table(out: &mut String, head: &[&str], rows: &[Vec<String>]) {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    out.push_str(&line(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>()));
    out.push_str(&line(&head.iter().map(|_| "---".to_owned()).collect::<Vec<_>>()));
    for row in rows {
        out.push_str(&line(row));
    }
    out.push('\n');
}

// The configuration.

fn configuration() -> String {
    let mut out = format!(
        "# Configuration reference\n\n{MADE}\n\n\
         A configuration is one YAML file. An unknown key is an error. `serin check` names every mistake with line and\n\
         column; `serin schema` prints the same table as a JSON Schema; [`config/full.yaml`](../../config/full.yaml) shows\n\
         every key in place.\n\n\
         - A duration is seconds (`600`) or a text (`250ms`, `10m`, `1h30m`). A size is bytes or a text (`64KiB`). A\n  \
         percentage is from 0 to 100, an error rate from 0 to 1.\n\
         - `${{NAME}}` in a value is the environment variable of that name; one that is not set is an error.\n\
         - `<name>` stands for a name of yours, `[]` for each element of a list.\n\
         - *Default* is what holds where the key is not given. `required`: the key has to be there. `none`: without the\n  \
         key there is none of it. `{{}}`: the section's own defaults.\n\
         - A changed file is in force within a second, or at once with SIGHUP, as a whole or not at all. What stands under\n  \
         `services.<name>.deploy` is taken by the next deployment; one that runs keeps what it was started with. These keys\n  \
         wait for the next start, and the log names them:\n  {}.\n\n",
        keys_of_the_start().map(|key| format!("`{key}`")).join(", "),
    );
    let sections = serin::config::reference();
    out.push_str("## Sections\n\n");
    for section in &sections {
        let title = title(section);
        let _ = writeln!(out, "- [`{}`](#{}): {}", title, anchor(&title), sentence(section.about));
    }
    out.push_str("- [Scenarios](#scenarios): what `serin simulate` reads.\n\n");
    for section in &sections {
        write_section(&mut out, "##", &title(section), section, &sections);
    }
    out.push_str(
        "## Scenarios\n\nA scenario for `serin simulate` is a YAML file of its own: see\n\
         [`config/scenarios/`](../../config/scenarios). Its `deploy` is a service's.\n\n",
    );
    for section in &serin::config::scenario_reference() {
        let place = section.paths[0].as_str();
        let title = match place.strip_suffix("[]") {
            _ if place.is_empty() => "scenario".to_owned(),
            Some(place) => format!("scenario: {place}, part by part"),
            None => format!("scenario: {place}"),
        };
        write_section(&mut out, "###", &title, section, &sections);
    }
    tidy(&out)
}

fn title(section: &SectionReference) -> String {
    let first = section.paths[0].as_str();
    if first.is_empty() { "Top level".to_owned() } else { first.to_owned() }
}

fn write_section(out: &mut String, level: &str, title: &str, section: &SectionReference, all: &[SectionReference]) {
    let _ = writeln!(out, "{level} {title}\n\n{}", sentence(section.about));
    if section.paths.len() > 1 {
        let others: Vec<String> = section.paths[1..].iter().map(|path| format!("`{path}`")).collect();
        let _ = writeln!(out, "\nThe same keys are at: {}.", others.join(", "));
    }
    for group in &section.one_of {
        let names: Vec<String> = group.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(out, "\nExactly one of {} is given.", names.join(", "));
    }
    out.push('\n');
    let rows: Vec<Vec<String>> = section.keys.iter().map(|key| row(section, key, all)).collect();
    table(out, &["Key", "Value", "Default", "Meaning"], &rows);
    for key in &section.keys {
        if let Some(default) = key.default.filter(|default| is_long(default)) {
            let _ = writeln!(out, "Default of `{}`:\n\n```yaml\n{}:", key.name, key.name);
            let values: Vec<Value> = serde_yaml::from_str(default).unwrap_or_default();
            for value in values {
                let _ = writeln!(out, "  - {}", flow(default, &value));
            }
            out.push_str("```\n\n");
        }
    }
}

/// An element of a list of mappings, on one line, its keys in the order of the text.
fn flow(text: &str, value: &Value) -> String {
    let fields = value.as_object().map(|fields| fields.iter().collect::<Vec<_>>()).unwrap_or_default();
    let mut fields: Vec<(usize, String)> = fields
        .into_iter()
        .map(|(key, value)| (text.find(key.as_str()).unwrap_or(0), format!("{key}: {value}")))
        .collect();
    fields.sort();
    format!("{{ {} }}", fields.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", "))
}

fn is_long(default: &str) -> bool {
    default.len() > 60
}

fn row(section: &SectionReference, key: &KeyReference, all: &[SectionReference]) -> Vec<String> {
    let default = match key.default {
        _ if key.required => "required".to_owned(),
        None => "none".to_owned(),
        Some(text) if is_long(text) => "see below".to_owned(),
        Some(text) => format!("`{}`", cell(text)),
    };
    let kind = match key.words {
        [] => prose(&key.kind),
        words => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
    };
    let path = |place: &str| if place.is_empty() { key.name.to_owned() } else { format!("{place}.{}", key.name) };
    let of_the_start = section.paths.iter().any(|place| keys_of_the_start().contains(&path(place).as_str()));
    let when = if of_the_start { " At the next start." } else { "" };
    let name = match section_of(section, key, all) {
        Some(title) => format!("[`{}`](#{})", key.name, anchor(&title)),
        None => format!("`{}`", key.name),
    };
    vec![name, kind, default, format!("{}{when}", sentence(key.about))]
}

/// The heading of the section that a key's value has.
fn section_of(section: &SectionReference, key: &KeyReference, all: &[SectionReference]) -> Option<String> {
    let place = section.paths[0].as_str();
    let path = if place.is_empty() { key.name.to_owned() } else { format!("{place}.{}", key.name) };
    let under = |known: &&SectionReference| {
        known.paths.iter().any(|known| matches!(known.strip_prefix(path.as_str()), Some("" | "[]" | ".<name>")))
    };
    key.has_section.then(|| all.iter().find(under).map(title)).flatten()
}

// The API.

fn api() -> String {
    let document = serin::admin::description();
    let mut out = format!(
        "# Admin API reference\n\n{MADE}\n\n\
         The admin API listens on `admin.address` (default `127.0.0.1:9900`). A running Serin serves this description\n\
         as OpenAPI 3.1 at `/api/openapi.json`.\n\n\
         - With one service each path under `/api/services/{{service}}/` exists without that part too:\n  \
         `/api/deployment` is `/api/services/{{service}}/deployment`.\n\
         - *Access*: `open` needs nothing; `read`, `record` and `write` need a token whose role allows it, as\n  \
         `Authorization: Bearer …`, where `admin.tokens` names any. The role `write` may do everything, `read` may read,\n  \
         `record` may record outcomes and nothing else.\n\
         - Requests other than GET and HEAD need `Content-Type: application/json` and no foreign `Origin` (403, 415). The\n  \
         `Host` is localhost, a literal address or one of `admin.hosts` (421).\n\
         - A refusal is `application/problem+json` with `status`, `code`, `detail` and, where one field is wrong, `field`;\n  \
         under `/ofrep/` it is OFREP's own form.\n\
         - `If-Match` with the `ETag` of an earlier answer: what has changed meanwhile is not changed (412).\n\
         - Names are added, never renamed; clients ignore fields that they do not know.\n\n",
    );
    let paths = document["paths"].as_object().unwrap();
    // The long form of each: the short one is said above.
    let mut operations: Vec<(String, String, &Value)> = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap() {
            if !operation["operationId"].as_str().unwrap().ends_with("OfTheOnlyService") {
                operations.push((path.clone(), method.to_uppercase(), operation));
            }
        }
    }
    const GROUPS: [(&str, &str); 7] = [
        ("Flags", "/api/flags"),
        ("Flag files", "/api/lint"),
        ("Services and deployments", "/api/services"),
        ("Who gets what", "/api/explain"),
        ("OpenFeature (OFREP)", "/ofrep"),
        ("Log, events, metrics", "/api/log"),
        ("Probes", ""),
    ];
    let group = |path: &str| match path {
        _ if path.starts_with("/api/import") || path.starts_with("/api/state") => "Flag files",
        _ if path.ends_with("metrics") || path == "/api/events" => "Log, events, metrics",
        _ => GROUPS.iter().find(|(_, start)| path.starts_with(start)).map_or("Probes", |(name, _)| name),
    };
    out.push_str("## Operations\n\n");
    let mut rows = Vec::new();
    for (name, _) in GROUPS {
        for (path, method, operation) in operations.iter().filter(|(path, ..)| group(path) == name) {
            let id = operation["operationId"].as_str().unwrap();
            let access = operation["x-serin-access"].as_str().unwrap();
            rows.push(vec![
                format!("`{method} {path}`"),
                format!("[{id}](#{})", anchor(id)),
                format!("`{access}`"),
                sentence(operation["summary"].as_str().unwrap()),
            ]);
        }
    }
    table(&mut out, &["Request", "Operation", "Access", "What it does"], &rows);
    for (name, _) in GROUPS {
        let _ = writeln!(out, "## {name}\n");
        for (path, method, operation) in operations.iter().filter(|(path, ..)| group(path) == name) {
            write_operation(&mut out, path, method, operation);
        }
    }
    out.push_str("## Schemas\n\nA field in bold is always there.\n\n");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        write_schema(&mut out, name, schema);
    }
    tidy(&out)
}

fn write_operation(out: &mut String, path: &str, method: &str, operation: &Value) {
    let summary = sentence(operation["summary"].as_str().unwrap());
    let access = operation["x-serin-access"].as_str().unwrap();
    let id = operation["operationId"].as_str().unwrap();
    let _ = writeln!(out, "### {id}\n\n`{method} {path}`: {summary}\n\n- Access: `{access}`.");
    let parameters = operation["parameters"].as_array().unwrap();
    let named: Vec<String> = parameters
        .iter()
        .filter(|parameter| parameter["in"] != "path" || !parameter["schema"]["enum"].is_null())
        .map(|parameter| {
            let place = match parameter["in"].as_str() {
                Some("query") => "in the query",
                Some("header") => "a header field",
                _ => "in the path",
            };
            let kind = match parameter["schema"]["enum"].is_null() {
                true => String::new(),
                false => format!(", {}", kind(&parameter["schema"])),
            };
            format!("`{}` ({place}{kind})", parameter["name"].as_str().unwrap())
        })
        .collect();
    if !named.is_empty() {
        let _ = writeln!(out, "- Parameters: {}.", named.join("; "));
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let most = operation["x-serin-body-max"].as_u64().unwrap() >> 20;
        let _ = writeln!(out, "- Body: {}, at most {most} MiB.", kind(body));
    }
    let (mut answers, mut refusals) = (Vec::new(), Vec::new());
    for (status, response) in operation["responses"].as_object().unwrap() {
        if status.starts_with('2') {
            let content = response["content"].as_object().unwrap();
            let kinds: Vec<String> = content
                .iter()
                .map(|(media, content)| match media.as_str() {
                    "application/json" => kind(&content["schema"]),
                    media => format!("`{media}`"),
                })
                .collect();
            answers.push(format!("{status} with {}", kinds.join(" or ")));
        } else {
            refusals.push(format!("{status} {}", response["description"].as_str().unwrap_or_default()));
        }
    }
    let _ = writeln!(out, "- Answer: {}.\n- Refusals: {}.\n", answers.join("; "), refusals.join(", "));
}

fn write_schema(out: &mut String, name: &str, schema: &Value) {
    let _ = writeln!(out, "### Schema {name}\n");
    if let Some(about) = schema["description"].as_str() {
        let _ = writeln!(out, "{}\n", sentence(about));
    }
    let mut rows = Vec::new();
    let parts = match schema["allOf"].as_array() {
        Some(parts) => parts.iter().collect(),
        None => vec![schema],
    };
    for part in parts {
        if part["properties"].is_null() {
            let _ = writeln!(out, "{}{}.\n", if schema["allOf"].is_null() { "" } else { "All fields of " }, kind(part));
        } else {
            write_fields(&mut rows, "", part);
        }
    }
    if !rows.is_empty() {
        table(out, &["Field", "Value", "Meaning"], &rows);
    }
}

fn write_fields(rows: &mut Vec<Vec<String>>, under: &str, schema: &Value) {
    let required: BTreeSet<&str> =
        schema["required"].as_array().map(|names| names.iter().filter_map(Value::as_str).collect()).unwrap_or_default();
    for (name, field) in schema["properties"].as_object().unwrap() {
        let path = format!("{under}{name}");
        let shown = if required.contains(name.as_str()) { format!("**`{path}`**") } else { format!("`{path}`") };
        let about = field["description"].as_str().map(sentence).unwrap_or_default();
        rows.push(vec![shown, kind(field), about]);
        if field["properties"].is_object() {
            write_fields(rows, &format!("{path}."), field);
        } else if field["items"]["properties"].is_object() {
            write_fields(rows, &format!("{path}[]."), &field["items"]);
        }
    }
}

/// What a value may be, in words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return format!("[{name}](#schema-{})", anchor(name));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| format!("`{}`", word.as_str().unwrap())).collect::<Vec<_>>().join(", ");
    }
    if let Some(kinds) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        return kinds.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if schema["type"] == "array" {
        return format!("list of {}", kind(&schema["items"]));
    }
    if schema["additionalProperties"].is_object() {
        return format!("names, each with {}", kind(&schema["additionalProperties"]));
    }
    let names = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        Value::String(name) => name.clone(),
        _ => "any JSON".to_owned(),
    };
    let from = schema["minimum"].as_f64().or(schema["exclusiveMinimum"].as_f64());
    match (from, schema["maximum"].as_f64()) {
        (Some(from), Some(to)) => format!("{names}, {from} to {to}"),
        (Some(from), None) => format!("{names}, from {from}"),
        _ => names,
    }
}

// The command line.

fn command_line() -> String {
    let mut root = serin::cli::command();
    root.build();
    let mut out = format!(
        "# Command line reference\n\n{MADE}\n\n{} Every command has `--help`.\n\n",
        sentence(&root.get_about().map(ToString::to_string).unwrap_or_default()),
    );
    let after = root.get_after_help().map(ToString::to_string).unwrap_or_default();
    let _ = writeln!(out, "{}\n\n## Options of every command\n", prose(&after));
    let global: Vec<&Arg> = root.get_arguments().filter(|arg| arg.is_global_set()).collect();
    options(&mut out, &global);
    out.push_str("The token of the admin API is read from `$SERIN_ADMIN_TOKEN`.\n\n## Commands\n\n");
    let mut commands = Vec::new();
    collect(&root, "serin", &[], &mut commands);
    for (path, command, _) in &commands {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(out, "- [`{path}`](#{}): {}", anchor(path), sentence(&about));
    }
    out.push('\n');
    for (path, command, inherited) in commands {
        write_command(&mut out, &path, command, &inherited);
    }
    tidy(&out)
}

type Listed<'a> = (String, &'a Command, Vec<&'a Arg>);

/// Commands that do something, with the options that those above them hand down.
fn collect<'a>(command: &'a Command, path: &str, inherited: &[&'a Arg], out: &mut Vec<Listed<'a>>) {
    let handed_down: Vec<&Arg> = match path {
        "serin" => Vec::new(),
        _ => inherited.iter().copied().chain(own(command).into_iter().filter(|arg| arg.is_global_set())).collect(),
    };
    let mut below = command.get_subcommands().filter(|command| command.get_name() != "help").peekable();
    if below.peek().is_none() {
        out.push((path.to_owned(), command, inherited.to_vec()));
    }
    for inner in below {
        collect(inner, &format!("{path} {}", inner.get_name()), &handed_down, out);
    }
}

/// What a command itself takes; clap hands down what is global and adds help of its own.
fn own(command: &Command) -> Vec<&Arg> {
    const OF_EVERY: [&str; 6] = ["admin", "admin_ca", "token", "output", "help", "version"];
    let asks = |arg: &&Arg| match arg.get_id().as_str() {
        "version" => arg.is_positional(),
        id => !OF_EVERY.contains(&id),
    };
    command.get_arguments().filter(asks).collect()
}

fn write_command(out: &mut String, path: &str, command: &Command, inherited: &[&Arg]) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = writeln!(out, "### {path}\n\n{}\n\n```text\n{usage}\n```\n", sentence(&about));
    let handed: BTreeSet<&str> = inherited.iter().map(|arg| arg.get_id().as_str()).collect();
    let own = own(&command);
    let mut all: Vec<&Arg> = own.into_iter().filter(|arg| !handed.contains(arg.get_id().as_str())).collect();
    all.extend(inherited);
    options(out, &all);
}

fn options(out: &mut String, args: &[&Arg]) {
    let mut shown: Vec<&&Arg> = args.iter().filter(|arg| !arg.is_hide_set()).collect();
    if shown.is_empty() {
        return;
    }
    shown.sort_by_key(|arg| !arg.is_positional());
    let rows: Vec<Vec<String>> = shown
        .iter()
        .map(|arg| {
            let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
            let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
            let value = value.unwrap_or_else(|| arg.get_id().as_str().to_uppercase());
            let name = match arg.get_long() {
                Some(long) if takes => format!("--{long} {value}"),
                Some(long) => format!("--{long}"),
                None => value,
            };
            let words: Vec<String> =
                arg.get_possible_values().iter().map(|word| format!("`{}`", word.get_name())).collect();
            let takes_words = takes && !words.is_empty();
            let mut about = sentence(&arg.get_help().map(ToString::to_string).unwrap_or_default());
            if takes_words {
                let _ = write!(about, " One of {}.", words.join(", "));
            }
            if let Some(variable) = arg.get_env() {
                let _ = write!(about, " Also `${}`.", variable.to_string_lossy());
            }
            let default = match arg.get_default_values().first().filter(|_| takes) {
                Some(value) => format!("`{}`", cell(&value.to_string_lossy())),
                None if arg.is_required_set() => "required".to_owned(),
                None => "none".to_owned(),
            };
            vec![format!("`{}`", cell(&name)), default, about]
        })
        .collect();
    table(out, &["Option", "Default", "Meaning"], &rows);
}

// The metrics.

/// Labels whose values come from the code alone: they are listed.
const CLOSED: [&str; 6] = ["outcome", "reason", "kind", "result", "guard", "track"];
const PATIENCE: Duration = Duration::from_secs(30);

fn metrics() -> String {
    let families = families(&scrape());
    let mut out = format!(
        "# Metrics reference\n\n{MADE}\n\n\
         Metrics are at `/metrics` and `/api/metrics` of the admin API, and at `/metrics` of `health.address` without a\n\
         token: Prometheus text 0.0.4, or OpenMetrics 1.0 where `Accept` asks for it. They are read from the ledgers at\n\
         scrape time. Counters begin at 0 with each process. A family without samples is left out.\n\n\
         The first word of the guide's metrics is `metrics.namespace` (default `togetheros`). With the three-line form of\n\
         the configuration their gauges of a deployment have no label; with `services` they have `service`.\n\n\
         Label values come from configuration and state, never from requests. `version` is the version that the pool runs\n\
         as far as Serin knows it, else empty. Codes outside of IANA's list are `other`; 499 is a client that left before\n\
         the head of the answer.\n\n",
    );
    let group = |family: &Family| match family {
        _ if !family.name.starts_with("serin_") => "The guide's metrics",
        _ if family.name.contains("flag") => "Flags",
        _ if ["deployment", "guard", "rollback"].iter().any(|word| family.name.contains(word)) => "Deployments",
        _ if family.labels.contains_key("service") => "Requests and app servers",
        _ => "The process",
    };
    for name in ["The guide's metrics", "Requests and app servers", "Deployments", "Flags", "The process"] {
        let _ = writeln!(out, "## {name}\n");
        let rows: Vec<Vec<String>> = families
            .iter()
            .filter(|family| group(family) == name)
            .map(|family| {
                let labels: Vec<String> = family.labels.keys().map(|label| format!("`{label}`")).collect();
                let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
                vec![format!("`{}`", family.name), family.kind.clone(), labels, sentence(&family.help)]
            })
            .collect();
        table(&mut out, &["Name", "Type", "Labels", "Meaning"], &rows);
    }
    out.push_str("## Values of labels\n\n");
    let mut rows = Vec::new();
    for family in &families {
        for (label, values) in family.labels.iter().filter(|(label, _)| CLOSED.contains(&label.as_str())) {
            if label == "track" || label == "result" && family.name.contains("attempts") {
                continue;
            }
            let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            rows.push(vec![format!("`{}`", family.name), format!("`{label}`"), values.join(", ")]);
        }
    }
    rows.push(vec!["all".to_owned(), "`track`".to_owned(), "`canary`, `stable`".to_owned()]);
    rows.push(vec!["`serin_attempts_total`".to_owned(), "`result`".to_owned(), "`error`, `success`".to_owned()]);
    table(&mut out, &["Metric", "Label", "Values"], &rows);
    tidy(&out)
}

/// A metric.
#[derive(Debug)]
struct Family {
    name: String,
    kind: String,
    help: String,
    /// With the values that were seen.
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn families(text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').map_or("", |(_, words)| words).trim_end_matches('.');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let (name, kind) = (name.to_owned(), kind.to_owned());
            families.push(Family { name, kind, help: help.to_owned(), labels: BTreeMap::new() });
        } else if let (Some(labels), Some(family)) = (labels_of(line), families.last_mut()) {
            for (label, value) in labels.into_iter().filter(|(label, _)| label != "le") {
                family.labels.entry(label).or_default().insert(value);
            }
        }
    }
    families
}

/// Label values of a sample here have no quotes and no commas in them.
fn labels_of(line: &str) -> Option<Vec<(String, String)>> {
    let inside = line.split_once('{')?.1.rsplit_once('}')?.0;
    let pair = |part: &str| {
        let (label, value) = part.split_once('=')?;
        Some((label.to_owned(), value.trim_matches('"').to_owned()))
    };
    inside.split(',').map(pair).collect()
}

/// The metrics of a Serin in which everything has happened that has a family of its own.
fn scrape() -> String {
    // Several may be made at once.
    static SCRAPES: AtomicUsize = AtomicUsize::new(0);
    let number = SCRAPES.fetch_add(1, Ordering::Relaxed);
    let state = std::env::temp_dir().join(format!("serin-reference-{}-{number}", std::process::id()));
    let (good, bad) = (app("200 OK"), app("500 Internal Server Error"));
    let text = format!(
        "listeners: [ {{ address: '127.0.0.1:0' }} ]\nadmin: {{ address: '127.0.0.1:0' }}\nworkers: 1\n\
         state: {{ directory: '{}' }}\nservices: {{ shop: {{ pools: {{ a: {{ endpoints: 'http://{good}' }}, \
         b: {{ endpoints: 'http://{bad}' }} }}, stable: a, canary: b }} }}",
        state.display()
    );
    let config = serin::config::from_text(&text, Path::new("the reference's configuration")).expect("a configuration");
    let server = Server::start(config, Inheritance::default()).expect("a server");
    let (proxy, admin) = (server.addresses()[0], server.admin());
    let call = |method: &str, path: &str, body: &Value| {
        let body = body.to_string();
        let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        let answer = ask(admin, &format!("{method} {path} HTTP/1.1\r\n{head}"), &body);
        assert!(answer.starts_with("HTTP/1.1 20"), "{method} {path}: {answer}");
    };
    call("PUT", "/api/flags/f", &json!({ "enabled": true, "rolloutPercentage": 50 }));
    call("POST", "/api/deployments", &json!({ "version": "v2", "strategy": "instant" }));
    let end = Instant::now() + PATIENCE;
    while !metrics_of(admin).contains("serin_rollbacks_total{") {
        ask(proxy, "GET / HTTP/1.1\r\n", "");
        assert!(Instant::now() < end, "no rollback within {PATIENCE:?}");
    }
    let guard = json!({ "rate": "evidence" });
    call("POST", "/api/deployments", &json!({ "version": "v3", "guard": guard }));
    ask(proxy, "GET / HTTP/1.1\r\n", "");
    let text = metrics_of(admin);
    // What is still to be written is written before the folder goes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(server.drain(DrainTimes { delay: Duration::ZERO, timeout: Duration::ZERO }));
    drop(server);
    let _ = std::fs::remove_dir_all(state);
    text
}

fn metrics_of(admin: SocketAddr) -> String {
    ask(admin, "GET /metrics HTTP/1.1\r\n", "")
}

/// An app whose answers have this status.
fn app(status: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 4_096]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    address
}

fn ask(to: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    write!(stream, "{head}host: {to}\r\nconnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// One empty line between parts, one line's end at the end.
fn tidy(text: &str) -> String {
    let mut out = text.trim_end().to_owned();
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out.push('\n');
    out
}
