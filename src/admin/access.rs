//! Who may speak to the admin API, and what they may do.
//!
//! Without tokens: this machine, and no web page in its browsers. With tokens:
//! whoever has one, as far as its role goes. Every write leaves an audit line.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::problem::Problem;
use crate::config::{self, TokenRole};
use crate::ofrep::{self, Failure};
use crate::tls::ServerTls;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing: probes.
    Open,
    /// A token that may read.
    Read,
    /// A token that may record outcomes.
    Record,
    /// A token that may write.
    Write,
}

impl Access {
    /// Its name in the API's description.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Record => "record",
            Self::Write => "write",
        }
    }

    fn allows(self, role: TokenRole) -> bool {
        match self {
            Self::Open => true,
            Self::Read => matches!(role, TokenRole::Read | TokenRole::Write),
            Self::Record => matches!(role, TokenRole::Record | TokenRole::Write),
            Self::Write => role == TokenRole::Write,
        }
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The token's name; `operator` where there are no tokens.
    pub(super) name: Arc<str>,
    /// The token's role; without tokens everybody may do everything.
    role: TokenRole,
}

/// Who asks, and what that token may do.
pub(super) async fn caller(Extension(caller): Extension<Caller>) -> Response {
    let role = match caller.role {
        TokenRole::Read => "read",
        TokenRole::Record => "record",
        TokenRole::Write => "write",
    };
    Json(json!({ "name": caller.name, "role": role })).into_response()
}

/// The gate of now: a reload brings another one.
pub struct Gates(ArcSwap<Gate>);

impl Gates {
    /// The gate of this configuration.
    pub fn new(admin: &config::Admin) -> Self {
        Self(ArcSwap::from_pointee(Gate::new(admin)))
    }

    /// Another configuration's, from the next call on.
    pub fn renew(&self, admin: &config::Admin) {
        self.0.store(Arc::new(Gate::new(admin)));
    }

    /// What clients speak, where that is TLS.
    pub fn tls(&self) -> Option<ServerTls> {
        self.0.load().tls.clone()
    }
}

/// The tokens, ready to be compared.
struct Gate {
    hosts: Vec<String>,
    tls: Option<ServerTls>,
    /// Digests have one length: comparing them says nothing about a token's.
    tokens: Vec<([u8; 32], Arc<str>, TokenRole)>,
    operator: Arc<str>,
}

impl Gate {
    fn new(admin: &config::Admin) -> Self {
        let token = |token: &config::Token| {
            (Sha256::digest(token.secret.bytes()).into(), Arc::from(token.name.as_str()), token.role)
        };
        Self {
            hosts: admin.hosts.clone(),
            tls: admin.tls.clone(),
            tokens: admin.tokens.iter().map(token).collect(),
            operator: Arc::from("operator"),
        }
    }

    /// Whether a call may go on, and whose it is.
    fn admit(&self, access: Access, method: &Method, headers: &HeaderMap) -> Result<Caller, Problem> {
        self.check_host(headers)?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            check_origin(headers)?;
        }
        let caller = self.identify(access, headers)?;
        if !matches!(*method, Method::GET | Method::HEAD) {
            check_content_type(headers)?;
        }
        Ok(caller)
    }

    fn identify(&self, access: Access, headers: &HeaderMap) -> Result<Caller, Problem> {
        if self.tokens.is_empty() || access == Access::Open {
            return Ok(Caller { name: Arc::clone(&self.operator), role: TokenRole::Write });
        }
        let unauthorized = |detail| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        let Some(field) = headers.get(header::AUTHORIZATION) else {
            return Err(unauthorized("this needs a token: Authorization: Bearer …"));
        };
        let (scheme, token) = field.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
        let digest: [u8; 32] = Sha256::digest(token.trim().as_bytes()).into();
        // All are compared, so that the time says nothing about which one it was.
        let mut found = None;
        for (known, name, role) in &self.tokens {
            if bool::from(known.ct_eq(&digest)) {
                found = Some((name, *role));
            }
        }
        let (name, role) = found
            .filter(|_| scheme.eq_ignore_ascii_case("bearer"))
            .ok_or_else(|| unauthorized("this token is not known"))?;
        if access.allows(role) {
            return Ok(Caller { name: Arc::clone(name), role });
        }
        let detail = format!("the token `{name}` may not do this");
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
    }

    /// A name that rebinds to this address is still that name in the Host field.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let own = |host: &str| {
            let name = host_name(host);
            let configured = |host: &String| host.eq_ignore_ascii_case(name);
            name.eq_ignore_ascii_case("localhost")
                || name.parse::<IpAddr>().is_ok()
                || self.hosts.iter().any(configured)
        };
        if text(headers, header::HOST).is_some_and(own) {
            return Ok(());
        }
        let detail = "the Host must be localhost, a literal address or one of admin.hosts";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "foreignHost", detail))
    }
}

/// By which gate a call came in.
#[derive(Clone)]
pub(super) struct Admission {
    gates: Arc<Gates>,
    gate: Arc<Gate>,
}

impl Admission {
    /// Whether that is still the gate of now: behind another one the token may be worth nothing.
    pub(super) fn holds(&self) -> bool {
        Arc::ptr_eq(&self.gates.0.load(), &self.gate)
    }
}

/// Lets a call pass, or answers why not; a write leaves an audit line either way.
pub(super) async fn check(
    State((gates, access)): State<(Arc<Gates>, Access)>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let for_sdk = request.uri().path().starts_with("/ofrep/");
    if for_sdk {
        take_api_key(request.headers_mut());
    }
    let gate = gates.0.load_full();
    let admitted = gate.admit(access, request.method(), request.headers());
    let line = matches!(access, Access::Write).then(|| {
        let by = admitted.as_ref().map_or_else(|_| Arc::from("?"), |caller| Arc::clone(&caller.name));
        (by, request.method().clone(), request.uri().path().to_owned())
    });
    let response = match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(Admission { gates: Arc::clone(&gates), gate });
            next.run(request).await
        }
        Err(problem) if for_sdk => {
            let key = ofrep::key(request.uri().path());
            Failure::new(problem.status, "GENERAL", problem.detail).about(key.as_deref()).into_response()
        }
        Err(problem) => problem.into_response(),
    };
    if let Some((by, method, path)) = line {
        let status = response.status().as_u16();
        tracing::info!(target: "audit", %by, %from, %method, path, status, "audit");
    }
    response
}

/// SDKs may send the token by another name.
fn take_api_key(headers: &mut HeaderMap) {
    let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
    if let (false, Some(key)) = (headers.contains_key(header::AUTHORIZATION), key)
        && let Ok(bearer) = HeaderValue::try_from(format!("Bearer {key}"))
    {
        headers.insert(header::AUTHORIZATION, bearer);
    }
}

fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let host = text(headers, header::HOST);
    let own = |origin: &str| origin.split_once("://").is_some_and(|(_, origin)| host == Some(origin));
    match headers.get(header::ORIGIN) {
        Some(origin) if !origin.to_str().is_ok_and(own) => {
            Err(Problem::new(StatusCode::FORBIDDEN, "foreignOrigin", "writes from other origins are refused"))
        }
        _ => Ok(()),
    }
}

/// A form of another page cannot send this one without asking first.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let json = text(headers, header::CONTENT_TYPE)
        .is_some_and(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json"));
    if json {
        return Ok(());
    }
    let detail = "writes need `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "contentType", detail))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Secret, Token};

    fn gate(tokens: &[(&str, &str, TokenRole)]) -> Gate {
        let token = |(name, secret, role): &(&str, &str, TokenRole)| Token {
            name: (*name).to_owned(),
            secret: Secret::new(secret),
            role: *role,
        };
        let address = "127.0.0.1:9900".parse().unwrap();
        let hosts = vec!["serin.internal".to_owned()];
        Gate::new(&config::Admin { address, hosts, tokens: tokens.iter().map(token).collect(), tls: None })
    }

    fn status(gate: &Gate, access: Access, method: &Method, fields: &[(&'static str, &'static str)]) -> u16 {
        let headers = fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        gate.admit(access, method, &headers).map_or_else(|problem| problem.status.as_u16(), |_| 200)
    }

    #[test]
    fn a_rebound_name_is_refused() {
        let gate = gate(&[]);
        let get = |host: &'static str| status(&gate, Access::Read, &Method::GET, &[("host", host)]);
        for own in ["127.0.0.1:9900", "localhost", "[::1]:9900", "serin.internal:9900", "Serin.Internal"] {
            assert_eq!(get(own), 200, "{own}");
        }
        for foreign in ["evil.example:9900", "", "localhost.evil.example"] {
            assert_eq!(get(foreign), 421, "{foreign}");
        }
        assert_eq!(status(&gate, Access::Read, &Method::GET, &[]), 421);
    }

    #[test]
    fn a_form_of_another_page_writes_nothing() {
        let gate = gate(&[]);
        let json = ("content-type", "application/json");
        let host = ("host", "localhost:1");
        let write = |fields: &[_]| status(&gate, Access::Write, &Method::POST, &[&[host], fields].concat());
        assert_eq!(write(&[json]), 200);
        assert_eq!(write(&[json, ("origin", "http://localhost:1")]), 200);
        assert_eq!(write(&[json, ("origin", "http://evil")]), 403);
        assert_eq!(write(&[json, ("origin", "null")]), 403);
        assert_eq!(write(&[("content-type", "application/x-www-form-urlencoded")]), 415);
        assert_eq!(write(&[]), 415);
    }

    #[test]
    fn a_token_does_what_its_role_says() {
        let gate = gate(&[
            ("ci", "write-token-0001", TokenRole::Write),
            ("grafana", "read-token-00001", TokenRole::Read),
            ("app", "record-token-001", TokenRole::Record),
        ]);
        let (host, json) = (("host", "localhost:1"), ("content-type", "application/json"));
        let call = |access: Access, token: &'static str| {
            status(&gate, access, &Method::POST, &[host, json, ("authorization", token)])
        };
        let expected = [
            ("Bearer write-token-0001", [200, 200, 200, 200]),
            ("bearer read-token-00001", [200, 200, 403, 403]),
            ("Bearer record-token-001", [200, 403, 200, 403]),
            ("Bearer write-token-000", [200, 401, 401, 401]),
            ("Basic write-token-0001", [200, 401, 401, 401]),
            ("write-token-0001", [200, 401, 401, 401]),
        ];
        for (token, statuses) in expected {
            let got = [Access::Open, Access::Read, Access::Record, Access::Write].map(|access| call(access, token));
            assert_eq!(got, statuses, "{token}");
        }
        assert_eq!(status(&gate, Access::Read, &Method::GET, &[host]), 401, "no token");
    }
}
