//! The level of the log.

use axum::Json;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::problem::Problem;
use super::request::Body;
use crate::config::LogLevel;
use crate::log;

#[derive(Serialize)]
pub(super) struct Level {
    level: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewLevel {
    level: LogLevel,
}

pub(super) async fn level() -> Result<Json<Level>, Problem> {
    log::level().map(|level| Json(Level { level })).ok_or_else(none)
}

pub(super) async fn set_level(Body(new): Body<NewLevel>) -> Result<Json<Level>, Problem> {
    if !log::change(new.level) {
        return Err(none());
    }
    level().await
}

fn none() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "notFound", "nothing is logged")
}
