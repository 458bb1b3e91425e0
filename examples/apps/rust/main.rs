//! A shop behind Serin, on axum: reads flags and the track from request headers.
//!
//! `PORT=3000 VERSION=v1 cargo run --example app`

#![allow(clippy::print_stderr)] // That is its log.

use std::env;
use std::error::Error;

use axum::Router;
use axum::extract::Request;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn version() -> String {
    env::var("VERSION").unwrap_or_else(|_| "v1".to_owned())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The value of a flag; the default where Serin says nothing of it.
fn variant<'a>(headers: &'a HeaderMap, name: &str, default: &'a str) -> &'a str {
    header(headers, &format!("x-feature-{name}")).unwrap_or(default)
}

/// Whether a flag is on. Whatever is neither `true` nor `false` is the default.
fn is_on(headers: &HeaderMap, name: &str, default: bool) -> bool {
    variant(headers, name, "").parse().unwrap_or(default)
}

/// Without Serin in front there is no such header.
fn served_by(headers: &HeaderMap) -> String {
    format!("{} on {}", version(), header(headers, "x-serin-track").unwrap_or("no track"))
}

async fn home(headers: HeaderMap) -> String {
    let dashboard = if is_on(&headers, "new-dashboard", false) { "new" } else { "old" };
    format!("The {dashboard} dashboard in {}, {}\n", variant(&headers, "color", "black"), served_by(&headers))
}

async fn search(headers: HeaderMap) -> Response {
    // The new search does not work yet: its page has status 200 and is an error all the same.
    if is_on(&headers, "new-search", false) {
        return ([("x-serin-outcome", "error")], "Sorry, we found nothing.\n").into_response();
    }
    format!("3 results, {}\n", served_by(&headers)).into_response()
}

/// A release that goes wrong: `FAIL_RATE=0.05` answers 500 to one page in twenty.
async fn fails(rate: f64, request: Request, next: Next) -> Response {
    let mut response = if random() < rate {
        eprintln!("request {} fails", header(request.headers(), "x-request-id").unwrap_or("-"));
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{} fails\n", version())).into_response()
    } else {
        next.run(request).await
    };
    // The page depends on who asks: shared caches must not keep it.
    response.headers_mut().insert(CACHE_CONTROL, axum::http::HeaderValue::from_static("private, no-store"));
    response
}

/// From 0 to 1; without the system's randomness nothing fails.
fn random() -> f64 {
    getrandom::u32().map_or(1.0, |word| f64::from(word) / f64::from(u32::MAX))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let number = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let rate: f64 = number("FAIL_RATE", "0").parse()?;
    let port: u16 = number("PORT", "3000").parse()?;
    let pages = Router::new()
        .route("/", get(home))
        .route("/search", get(search))
        .layer(from_fn(move |request: Request, next: Next| fails(rate, request, next)));
    let app = pages.route("/healthz", get(|| async { "ok\n" })).route("/version", get(|| async { version() + "\n" }));
    let mut terminate = signal(SignalKind::terminate())?;
    // Ends in peace: what is under way is answered, idle connections are closed.
    let end = async move {
        terminate.recv().await;
    };
    let listener = TcpListener::bind((number("HOST", "127.0.0.1"), port)).await?;
    axum::serve(listener, app).with_graceful_shutdown(end).await?;
    Ok(())
}
