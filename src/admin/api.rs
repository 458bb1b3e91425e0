//! What the API speaks for, and its router: made from the table of operations, from
//! which its description is made too.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router, middleware};

use super::access::{self, Access, Gates};
use super::operations::operations;
use super::problem::Problem;
use super::{dashboard, health, ofrep, openapi};
use crate::access_log::AccessLogWriter;
use crate::control::Control;
use crate::drain::Drain;
use crate::store::Writer;
use crate::telemetry::{Loads, ProcessStats};

/// What the API speaks for.
#[derive(Clone)]
pub struct Admin {
    /// The control plane.
    pub control: Control,
    /// Counts of the process.
    pub process: Arc<ProcessStats>,
    /// Who writes state.
    pub writer: Writer,
    /// How many state files were broken at the start.
    pub recovered: u64,
    /// Whether the process is ending.
    pub drain: Arc<Drain>,
    /// Who writes the access log.
    pub access_log: AccessLogWriter,
    /// How many connections each worker has.
    pub loads: Arc<Loads>,
}

/// The admin API, for who has the right token.
pub fn router(admin: Admin, gates: &Arc<Gates>) -> Router {
    let guarded = |handler: MethodRouter<Admin>, access: Access| {
        handler.route_layer(middleware::from_fn_with_state((Arc::clone(gates), access), access::check))
    };
    let mut router = Router::new();
    for operation in operations() {
        for path in operation.paths() {
            let handler = (operation.handler)().layer(DefaultBodyLimit::max(operation.body_max));
            router = router.route(&path, guarded(handler, operation.access));
        }
    }
    let document = Arc::new(openapi::document());
    let description = get(move || {
        let document = Arc::clone(&document);
        async move { Json((*document).clone()) }
    });
    router
        // Some clients end the path so.
        .route("/ofrep/v1/evaluate/flags/", guarded(post(ofrep::evaluate_all), Access::Read))
        .route(openapi::PATH, guarded(description, Access::Read))
        .merge(dashboard::routes(|handler| guarded(handler, Access::Open)))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "notFound", "there is no such path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not know this method")
        })
        .with_state(admin)
}

/// What probes and scrapes may ask without a token, on a listener of its own.
pub fn health_router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "notFound", "/healthz, /readyz, /metrics") })
        .with_state(admin)
}
