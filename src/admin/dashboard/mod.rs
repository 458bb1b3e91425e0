//! The dashboard: a page in the binary that speaks to the API like everybody else.
//!
//! Owns: its files and the fields that they are handed out with. What the page knows it asks
//! of the API, with a token where there are tokens: the files themselves hold nothing secret.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use sha2::{Digest, Sha256};

use super::api::Admin;

/// Nothing from elsewhere, nothing inline, in no frame (Content Security Policy, level 3).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal $kind:ident $file:literal),* $(,)?) => {
        [$(($path, $kind, include_bytes!($file).as_slice())),*]
    };
}

const FILES: [(&str, &str, &[u8]); 15] = files![
    "/" HTML "index.html",
    "/dashboard/style.css" CSS "style.css",
    "/dashboard/icon.svg" SVG "icon.svg",
    "/dashboard/app.js" SCRIPT "app.js",
    "/dashboard/api.js" SCRIPT "api.js",
    "/dashboard/dom.js" SCRIPT "dom.js",
    "/dashboard/words.js" SCRIPT "words.js",
    "/dashboard/dialogs.js" SCRIPT "dialogs.js",
    "/dashboard/charts.js" SCRIPT "charts.js",
    "/dashboard/services.js" SCRIPT "services.js",
    "/dashboard/service.js" SCRIPT "service.js",
    "/dashboard/flags.js" SCRIPT "flags.js",
    "/dashboard/explain.js" SCRIPT "explain.js",
    "/dashboard/uplot.js" SCRIPT "vendor/uPlot.iife.min.js",
    "/dashboard/uplot.css" CSS "vendor/uPlot.min.css",
];

/// All of its files; `guarded` is who looks at a call first.
pub(super) fn routes(guarded: impl Fn(MethodRouter<Admin>) -> MethodRouter<Admin>) -> Router<Admin> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, bytes)| {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let tag: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let tag: Arc<str> = format!("\"{tag}\"").into();
        router.route(path, guarded(get(move |headers: HeaderMap| async move { file(&headers, kind, &tag, bytes) })))
    })
}

/// A file, or that the browser has it already (RFC 9110 section 13.1.2).
fn file(asked: &HeaderMap, kind: &'static str, tag: &str, bytes: &'static [u8]) -> Response {
    let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => bytes.into_response(),
    };
    let fields = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 7] = [
        (header::CONTENT_TYPE, kind),
        // Asked for anew after each upgrade, and answered with 304 where nothing is new.
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        fields.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        fields.insert(header::ETAG, tag);
    }
    response
}
