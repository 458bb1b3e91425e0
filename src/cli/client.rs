//! Commands that speak to the admin API.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use super::CliError;
use super::commands::{Deploy, Flags, Output};
use super::output::line;

pub(super) struct Api {
    address: String,
    output: Output,
}

impl Api {
    pub(super) fn new(address: String, output: Output) -> Self {
        Self { address, output }
    }

    pub(super) fn status(&self, service: Option<&str>) -> Result<(), CliError> {
        let mut answer = self.call(&Method::GET, "/api/services", None)?;
        if let (Some(name), Some(services)) = (service, answer["services"].as_array_mut()) {
            services.retain(|service| service["name"] == name);
        }
        self.print(&answer, || services_table(&answer));
        Ok(())
    }

    pub(super) fn deploy(&self, service: Option<&str>, command: Deploy) -> Result<(), CliError> {
        let base = service.map_or_else(|| "/api".to_owned(), |name| format!("/api/services/{}", encode(name)));
        let verb = |name: &str| format!("{base}/deployment/{name}");
        let (path, body) = match command {
            Deploy::History => {
                let answer = self.call(&Method::GET, &format!("{base}/deployments"), None)?;
                self.print(&answer, || deployments_table(&answer["deployments"]));
                return Ok(());
            }
            Deploy::Start { version, pool, bake } => {
                (format!("{base}/deployments"), fields([("version", Some(version)), ("pool", pool), ("bake", bake)]))
            }
            Deploy::Instant { version, pool } => {
                let strategy = Some("instant".to_owned());
                let body = fields([("version", Some(version)), ("pool", pool), ("strategy", strategy)]);
                (format!("{base}/deployments"), body)
            }
            Deploy::Advance => (verb("advance"), json!({})),
            Deploy::Pause => (verb("pause"), json!({})),
            Deploy::Resume => (verb("resume"), json!({})),
            Deploy::Promote => (verb("promote"), json!({})),
            Deploy::Rollback { reason } => (verb("rollback"), fields([("reason", reason)])),
        };
        let answer = self.call(&Method::POST, &path, Some(&body))?;
        self.print(&answer, || deployment_line(&answer));
        Ok(())
    }

    pub(super) fn flags(&self, command: Flags) -> Result<(), CliError> {
        let path = |name: &str| format!("/api/flags/{}", encode(name));
        let answer = match command {
            Flags::List => {
                let answer = self.call(&Method::GET, "/api/flags", None)?;
                self.print(&answer, || flags_table(&answer["flags"]));
                return Ok(());
            }
            Flags::Get { name } => self.call(&Method::GET, &path(&name), None)?,
            Flags::Set { name, description, disabled, rollout, rules } => {
                let rules: Value = serde_json::from_str(&rules)
                    .map_err(|error| CliError::Usage(format!("--rules is no JSON: {error}")))?;
                let mut body = fields([("description", description)]);
                body["enabled"] = json!(!disabled);
                body["rolloutPercentage"] = json!(rollout);
                body["rules"] = rules;
                self.call(&Method::PUT, &path(&name), Some(&body))?
            }
            Flags::Rollout { name, percentage } => {
                self.call(&Method::PATCH, &path(&name), Some(&json!({ "rolloutPercentage": percentage })))?
            }
            Flags::Delete { name } => self.call(&Method::DELETE, &path(&name), Some(&json!({})))?,
            Flags::Eval { name, user, session, group, environment } => {
                let context = fields([
                    ("userId", user),
                    ("sessionId", session),
                    ("groupId", group),
                    ("environment", environment),
                ]);
                let body = json!({ "context": context });
                let answer = self.call(&Method::POST, &format!("{}/evaluate", path(&name)), Some(&body))?;
                self.print(&answer, || evaluation_line(&answer));
                return Ok(());
            }
        };
        self.print(&answer, || flags_table(&json!([answer])));
        Ok(())
    }

    fn print(&self, answer: &Value, table: impl FnOnce() -> String) {
        let text = match self.output {
            Output::Table => table(),
            Output::Json => serde_json::to_string_pretty(answer).unwrap_or_default(),
            Output::Yaml => serde_yaml::to_string(answer).unwrap_or_default(),
        };
        line(text.trim_end());
    }

    fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let system = |source| CliError::System { doing: "no runtime", source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        let (status, text) = runtime.block_on(self.exchange(method, path, body))?;
        let answer: Value = serde_json::from_slice(&text).unwrap_or(Value::Null);
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let detail = answer["detail"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
        let field = answer["field"].as_str().map(|field| format!("{field}: ")).unwrap_or_default();
        Err(CliError::Refused { detail: format!("{field}{detail}") })
    }

    async fn exchange(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<(u16, Bytes), CliError> {
        let unreachable = |source| CliError::Unreachable { address: self.address.clone(), source };
        let broken = |error: hyper::Error| unreachable(std::io::Error::other(error));
        let Some(host) = self.address.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
            return Err(CliError::Usage(format!(
                "--admin is {:?}; an address like http://127.0.0.1:9900",
                self.address
            )));
        };
        let stream = TcpStream::connect(host).await.map_err(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driver = tokio::spawn(connection);
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(text)))
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        driver.abort();
        Ok((status, bytes))
    }
}

fn fields<const N: usize>(pairs: [(&str, Option<String>); N]) -> Value {
    let given = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::String(value?))));
    Value::Object(given.collect::<Map<_, _>>())
}

/// A name as one path segment.
fn encode(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
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

fn services_table(answer: &Value) -> String {
    let rows: Vec<Vec<String>> = answer["services"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|service| {
            let deployment = &service["deployment"];
            let state = if deployment.is_null() { "no deployment".to_owned() } else { deployment_line(deployment) };
            vec![text(&service["name"]), text(&service["stable"]["pool"]), text(&service["stable"]["version"]), state]
        })
        .collect();
    table(&["SERVICE", "STABLE", "VERSION", "DEPLOYMENT"], &rows)
}

fn deployment_line(deployment: &Value) -> String {
    let metrics = &deployment["metrics"];
    let reason = deployment["rollbackReason"].as_str().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!(
        "{} {} at {} %: canary {} errors in {} requests, stable {} in {}{reason}",
        text(&deployment["version"]),
        text(&deployment["status"]),
        text(&deployment["currentPercentage"]),
        text(&metrics["canaryErrors"]),
        text(&metrics["canaryRequests"]),
        text(&metrics["baselineErrors"]),
        text(&metrics["baselineRequests"]),
    )
}

fn deployments_table(deployments: &Value) -> String {
    let rows: Vec<Vec<String>> = deployments
        .as_array()
        .into_iter()
        .flatten()
        .map(|d| ["version", "status", "startedAt", "completedAt", "rollbackReason"].map(|key| text(&d[key])).to_vec())
        .collect();
    table(&["VERSION", "STATUS", "STARTED", "ENDED", "REASON"], &rows)
}

fn flags_table(flags: &Value) -> String {
    let rows: Vec<Vec<String>> = flags
        .as_array()
        .into_iter()
        .flatten()
        .map(|flag| {
            let rules = flag["rules"].as_array().map_or(0, Vec::len);
            let cells = [&flag["name"], &flag["enabled"], &flag["rolloutPercentage"]].map(text);
            cells.into_iter().chain([rules.to_string(), text(&flag["description"])]).collect()
        })
        .collect();
    table(&["NAME", "ENABLED", "ROLLOUT %", "RULES", "DESCRIPTION"], &rows)
}

fn evaluation_line(answer: &Value) -> String {
    let state = if answer["enabled"] == true { "on" } else { "off" };
    let rule = answer["ruleMatched"].as_str().map(|rule| format!(" {rule}")).unwrap_or_default();
    format!("{} is {state}: {}{rule}", text(&answer["flagName"]), text(&answer["reason"]))
}
