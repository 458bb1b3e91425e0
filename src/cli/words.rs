//! Answers of the admin API in words: tables and lines for people.

use serde_json::Value;

pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Columns as wide as their widest cell.
fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let header: Vec<String> = header.iter().map(|cell| (*cell).to_owned()).collect();
    std::iter::once(line(&header)).chain(rows.iter().map(|row| line(row))).collect()
}

pub(super) fn services(services: &[Value]) -> String {
    let row = |service: &Value| {
        let running = &service["deployment"];
        let state = if running.is_null() { ended(service) } else { deployment(running).replace('\n', ": ") };
        vec![text(&service["name"]), text(&service["stable"]["pool"]), text(&service["stable"]["version"]), state]
    };
    let rows: Vec<_> = services.iter().map(row).collect();
    let evidence = services.iter().flat_map(|service| {
        let standings = elements(&service["deployment"]["evidence"]);
        standings.iter().map(move |standing| format!("{}: {}\n", text(&service["name"]), evidence(standing)))
    });
    std::iter::once(table(&["SERVICE", "STABLE", "VERSION", "DEPLOYMENT"], &rows)).chain(evidence).collect()
}

/// What happened last, where nothing is running.
pub(super) fn ended(service: &Value) -> String {
    let last = &service["last"];
    match last["status"].as_str() {
        None => "no deployment".to_owned(),
        Some(status) => {
            let at = text(&last["completedAt"]);
            let status = status.replace('_', " ");
            format!("no deployment; {} {status} at {at}: serin deploy history", text(&last["version"]))
        }
    }
}

/// How one guard stands.
fn evidence(standing: &Value) -> String {
    let number = |key: &str| standing[key].as_f64().unwrap_or_default();
    let observes = if standing["enforces"] == true { "" } else { ", only observed" };
    let at_most = match standing["atMost"].as_f64() {
        Some(times) => format!("; at most {times} times stable's is shown"),
        None => String::new(),
    };
    format!(
        "{} {}: evidence {:.2}, bound {:.0}, {} canary and {} stable users{at_most}{observes}",
        text(&standing["guard"]),
        text(&standing["sign"]),
        number("evidence"),
        number("bound"),
        text(&standing["canaryUsers"]),
        text(&standing["stableUsers"]),
    )
}

/// What each stage can see.
pub(super) fn plan(plan: &Value) -> String {
    let percent = |value: &Value| value.as_f64().map_or("-".to_owned(), |rate| format!("{:.2} %", rate * 100.0));
    let row = |stage: &Value| {
        let found = &stage["found"];
        vec![
            text(&stage["name"]),
            format!("{} %", text(&stage["percentage"])),
            text(&stage["canaryRequests"]),
            percent(&found["errorRate"]),
            text(&found["requests"]),
            text(&found["errors"]),
            text(&stage["totalFailureAfter"]),
        ]
    };
    let stages = elements(&plan["stages"]);
    let rows: Vec<_> = stages.iter().map(row).collect();
    let traffic = &plan["traffic"];
    let basis = if plan["measured"] == true { "measured" } else { "as given" };
    let rate = traffic["requestsPerSecond"].as_f64().unwrap_or_default();
    let mut told =
        format!("{rate:.1} requests a second, {} errors on stable ({basis})\n", percent(&traffic["errorRate"]));
    told += &table(&["STAGE", "SHARE", "REQUESTS", "FINDS", "AFTER", "ERRORS", "ALL FAIL"], &rows);
    for stage in stages {
        for warning in elements(&stage["warnings"]) {
            told += &format!("{}: {}\n", text(&stage["name"]), text(warning));
        }
    }
    told + "FINDS: the smallest error rate found in 9 of 10 cases; AFTER so many canary requests with so many ERRORS;\n\
            ALL FAIL: canary requests until one that fails everything is found\n"
}

pub(super) fn deployment(deployment: &Value) -> String {
    let metrics = &deployment["metrics"];
    let reason = reason(deployment).map(|reason| format!("\n{reason}")).unwrap_or_default();
    let unwritten = if deployment["durable"] == false { "; not on disk yet, it is tried again" } else { "" };
    format!(
        "{} {} at {} %: canary {} errors in {} requests, stable {} in {}{reason}{unwritten}",
        text(&deployment["version"]),
        text(&deployment["status"]),
        text(&deployment["currentPercentage"]),
        text(&metrics["canaryErrors"]),
        text(&metrics["canaryRequests"]),
        text(&metrics["baselineErrors"]),
        text(&metrics["baselineRequests"]),
    )
}

/// The verdict's sentence, else why somebody rolled it back.
pub(super) fn reason(deployment: &Value) -> Option<&str> {
    deployment["decision"]["text"].as_str().or(deployment["rollbackReason"].as_str())
}

/// How a rehearsal goes.
pub(super) fn rehearsal(rehearsal: &Value) -> String {
    let count = |key: &str| rehearsal[key].as_u64().unwrap_or_default();
    let lost = match count("lost") {
        0 => String::new(),
        lost => format!("; {lost} outcomes came too fast to be heard"),
    };
    let running = if rehearsal["running"] == true { "; it goes on: serin deploy rehearse --last" } else { "" };
    format!("{} ({} real errors){lost}{running}", text(&rehearsal["text"]), count("errors"))
}

pub(super) fn deployments(deployments: &Value) -> String {
    let row = |d: &Value| {
        let cells = ["version", "status", "startedAt", "completedAt"].map(|key| text(&d[key]));
        cells.into_iter().chain([reason(d).unwrap_or("-").to_owned()]).collect()
    };
    let rows: Vec<_> = elements(deployments).iter().map(row).collect();
    table(&["VERSION", "STATUS", "STARTED", "ENDED", "REASON"], &rows)
}

pub(super) fn flags(flags: &[Value]) -> String {
    let row = |flag: &Value| {
        let cells = [&flag["name"], &flag["enabled"], &flag["rolloutPercentage"]].map(text);
        let rules = elements(&flag["rules"]).len().to_string();
        cells.into_iter().chain([rules, text(&flag["description"])]).collect()
    };
    let rows: Vec<_> = flags.iter().map(row).collect();
    table(&["NAME", "ENABLED", "ROLLOUT %", "RULES", "DESCRIPTION"], &rows)
}

pub(super) fn evaluation(answer: &Value) -> String {
    let state = if answer["enabled"] == true { "on" } else { "off" };
    let rule = answer["ruleMatched"].as_str().map(|rule| format!(" {rule}")).unwrap_or_default();
    let variant = answer["variant"].as_str().map(|name| format!(", {name} = {}", answer["value"])).unwrap_or_default();
    format!("{} is {state}: {}{rule}{variant}", text(&answer["flagName"]), text(&answer["reason"]))
}

/// What an import has changed, or would.
pub(super) fn imported(answer: &Value) -> String {
    let rows = elements(&answer["changes"]).iter().flat_map(|change| {
        let first = vec![text(&change["flag"]), text(&change["change"]), String::new(), String::new(), String::new()];
        let fields = elements(&change["fields"]).iter().map(|field| {
            let value = |value: &Value| value.to_string().chars().take(60).collect::<String>();
            vec![String::new(), String::new(), text(&field["field"]), value(&field["before"]), value(&field["after"])]
        });
        let fields: Vec<Vec<String>> = if change["change"] == "changed" { fields.collect() } else { Vec::new() };
        std::iter::once(first).chain(fields)
    });
    let note = if answer["dryRun"] == true { "\nnothing was changed" } else { "" };
    table(&["FLAG", "CHANGE", "FIELD", "BEFORE", "AFTER"], &rows.collect::<Vec<_>>()) + note
}

/// How far a ramp is.
pub(super) fn ramp(answer: &Value) -> String {
    let counts = |who: &str| {
        format!("{who} {} errors in {} requests", text(&answer[who]["errors"]), text(&answer[who]["requests"]))
    };
    let evidence = elements(&answer["evidence"]).iter().map(|standing| {
        let number = |key: &str| standing[key].as_f64().unwrap_or_default();
        format!("\n  {}: evidence {:.2}, bound {:.0}", text(&standing["guard"]), number("evidence"), number("bound"))
    });
    let head = format!(
        "{} is at {} % ({}, stage {}): {}\n  {}; {}",
        text(&answer["flag"]),
        text(&answer["rolloutPercentage"]),
        text(&answer["status"]),
        answer["stage"].as_u64().unwrap_or(0) + 1,
        text(&answer["text"]),
        counts("on"),
        counts("off"),
    );
    std::iter::once(head).chain(evidence).collect()
}

/// What is strange about flags, a line each.
pub(super) fn lint(answer: &Value) -> String {
    match elements(&answer["warnings"]) {
        [] => "nothing strange".to_owned(),
        warnings => warnings.iter().map(|warning| text(&warning["text"])).collect::<Vec<_>>().join("\n"),
    }
}

pub(super) fn explanation(answer: &Value) -> String {
    let who = &answer["assignment"];
    let why = match who["reason"].as_str().unwrap_or_default() {
        "none" => "no deployment splits users".to_owned(),
        "share" => format!("bucket {} of 10,000, share {} %", text(&who["bucket"]), text(&who["share"])),
        "include" => "the deployment includes this user or group".to_owned(),
        "exclude" => "the deployment excludes this user or group".to_owned(),
        other => other.to_owned(),
    };
    let first =
        format!("{} is on {} of {}: {why}\n", text(&who["identity"]), text(&who["track"]), text(&answer["service"]),);
    let flags = elements(&answer["flags"]).iter().map(|flag| format!("  {}\n", evaluation(flag)));
    std::iter::once(first).chain(flags).collect()
}

/// A change, as `events` prints it.
pub(super) fn change(change: &Value) -> String {
    let what = ["service", "flag"].map(|key| change[key].as_str().unwrap_or_default()).concat();
    format!(
        "{}  {:<11}  {:<10}  {}: {}",
        text(&change["at"]),
        text(&change["kind"]),
        text(&change["by"]),
        what,
        text(&change["text"])
    )
}
