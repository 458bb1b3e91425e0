//! `log`: how much the running Serin says.

use http::Method;
use serde_json::json;

use super::CliError;
use super::client::Api;

pub(super) fn run(api: &Api, level: Option<&str>) -> Result<(), CliError> {
    let answer = match level {
        Some(level) => api.call(&Method::PUT, "/api/log", Some(&json!({ "level": level })))?,
        None => api.get("/api/log")?,
    };
    api.print(&answer, || answer["level"].as_str().unwrap_or_default().to_owned());
    Ok(())
}
