//! Probes and metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::api::Admin;
use super::problem::Problem;
use crate::telemetry::{FlagGauge, Format, Scrape};

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Listening and loaded: it is not reached before. State that cannot be written does
/// not take a proxy out of service, and is told.
pub(super) async fn ready(State(admin): State<Admin>) -> Result<String, Problem> {
    if !admin.control.is_alive() {
        let detail = "the control plane has ended: no deployment moves any more";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "controlEnded", detail));
    }
    if admin.drain.begun() {
        let detail = "the process is ending: send clients elsewhere";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail));
    }
    Ok(match admin.writer.failing() {
        None => "ready\n".to_owned(),
        Some(error) => format!("ready, but state cannot be written: {error}\n"),
    })
}

/// Answered from the snapshot: control may be waiting for a disk.
pub(super) async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let snapshot = admin.control.snapshot();
    let gauge = |flag: &Arc<crate::decide::flags::Flag>| FlagGauge {
        name: flag.name.to_string(),
        enabled: flag.enabled,
        rollout: flag.rollout_percentage.percentage(),
    };
    let scrape = Scrape {
        flags: snapshot.all_flags.flags.values().map(gauge).collect(),
        snapshot,
        process: Arc::clone(&admin.process),
        state_write_errors: admin.writer.errors(),
        state_recovered: admin.recovered,
        worker_connections: admin.loads.open(),
        connections_moved: admin.loads.moved(),
        access_log_lines: [admin.access_log.counts().written(), admin.access_log.counts().dropped()],
    };
    let failed = |error: std::fmt::Error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", error.to_string());
    let text = scrape.render(format).map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}
