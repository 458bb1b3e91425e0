//! The admin API as the command line speaks to it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

use super::CliError;
use super::commands::Output;
use super::output::answer as answer_as;
use crate::tls::{ClientTls, Stream, TlsOptions};

/// Longer than a handover takes.
const HANDOVER_TRIES: u32 = 50;
const HANDOVER_PAUSE: Duration = Duration::from_millis(100);

/// Where Serin is, and how its answers are printed.
pub(super) struct Api {
    address: String,
    /// Whose certificates are believed, where the address is `https://`.
    ca: Option<PathBuf>,
    token: Option<String>,
    pub(super) output: Output,
    runtime: tokio::runtime::Runtime,
}

/// The code of an answer that is no JSON; Serin has none of this name.
const NOT_SERIN: &str = "notSerin";

/// A refusal of the API.
struct Refusal {
    status: u16,
    body: Value,
}

impl Api {
    pub(super) fn new(
        address: String,
        ca: Option<PathBuf>,
        token: Option<String>,
        output: Output,
    ) -> Result<Self, CliError> {
        let system = |source| CliError::System { doing: "no runtime", source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
        Ok(Self { address, ca, token: token.filter(|token| !token.is_empty()), output, runtime })
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, CliError> {
        self.call(&Method::GET, path, None)
    }

    /// Something that may not be there: `None` for 404.
    pub(super) fn find(&self, path: &str) -> Result<Option<Value>, CliError> {
        match self.runtime.block_on(self.exchange(&Method::GET, path, None))? {
            Ok(answer) => Ok(Some(answer)),
            Err(Refusal { status: 404, .. }) => Ok(None),
            Err(refusal) => Err(refused(&refusal)),
        }
    }

    pub(super) fn call(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        self.runtime.block_on(self.exchange(method, path, body))?.map_err(|refusal| refused(&refusal))
    }

    /// Hands every line of a stream over until that says to stop or the stream ends.
    pub(super) fn follow(&self, path: &str, mut each: impl FnMut(&str) -> bool) -> Result<(), CliError> {
        self.runtime.block_on(async {
            let response = self.send(&Method::GET, path, None).await?;
            if !response.status().is_success() {
                let refusal = read(response).await.map_err(|error| self.broken(error))?;
                return refusal.map(|_| ()).map_err(|refusal| refused(&refusal));
            }
            let mut body = response.into_body();
            let mut text = String::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.broken(error))?;
                text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap_or(&Bytes::new())));
                while let Some(end) = text.find('\n') {
                    let line: String = text.drain(..=end).collect();
                    if !each(line.trim_end()) {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Result<Value, Refusal>, CliError> {
        for _ in 0..HANDOVER_TRIES {
            match read(self.send(method, path, body).await?).await.map_err(|error| self.broken(error))? {
                // One process hands over to the next: that one is asked.
                Err(refusal) if refusal.body["code"] == "handedOver" => tokio::time::sleep(HANDOVER_PAUSE).await,
                answer => return Ok(answer),
            }
        }
        read(self.send(method, path, body).await?).await.map_err(|error| self.broken(error))
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<http::Response<Incoming>, CliError> {
        let (host, stream) = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(path).header(HOST, host).header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let value = value.map_err(|_| CliError::Usage("$SERIN_ADMIN_TOKEN is no token".to_owned()))?;
            request = request.header(AUTHORIZATION, value);
        }
        let body = Full::new(Bytes::from(body.map(Value::to_string).unwrap_or_default()));
        let request = request.body(body).map_err(|error| CliError::Usage(error.to_string()))?;
        sender.send_request(request).await.map_err(|error| self.broken(error))
    }

    /// The host to name, and a connection to it.
    async fn connect(&self) -> Result<(&str, Stream), CliError> {
        let unreachable = |source| CliError::Unreachable { address: self.address.clone(), source };
        let (scheme, host) = self.address.split_once("://").unwrap_or_default();
        let host = host.trim_end_matches('/');
        if !matches!(scheme, "http" | "https") || host.is_empty() {
            let detail = format!("--admin is {:?}; an address like http://127.0.0.1:9900", self.address);
            return Err(CliError::Usage(detail));
        }
        if scheme == "http" {
            return Ok((host, Stream::Plain(TcpStream::connect(host).await.map_err(unreachable)?)));
        }
        let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
        let address = if name == host { format!("{host}:443") } else { host.to_owned() };
        let options = TlsOptions { ca: self.ca.clone(), ..TlsOptions::default() };
        let tls = ClientTls::new(&options).map_err(|error| CliError::Usage(error.to_string()))?;
        let socket = TcpStream::connect(address).await.map_err(unreachable)?;
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let (stream, _) = tls.connect(name, socket, true).await.map_err(unreachable)?;
        Ok((host, stream))
    }

    fn broken(&self, error: hyper::Error) -> CliError {
        CliError::Unreachable { address: self.address.clone(), source: std::io::Error::other(error) }
    }

    /// Prints an answer: as the API has it, or in words.
    pub(super) fn print(&self, answer: &Value, words: impl FnOnce() -> String) {
        answer_as(self.output, answer, words);
    }
}

async fn read(response: http::Response<Incoming>) -> Result<Result<Value, Refusal>, hyper::Error> {
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    let body = match serde_json::from_slice(&bytes) {
        Ok(body) => body,
        // Probes are answered in plain words.
        Err(_) if bytes.starts_with(b"ready") => Value::Null,
        // The admin API speaks JSON, of errors as well: this is the proxy's port, or an app's.
        Err(_) => return Ok(Err(Refusal { status: status.as_u16(), body: json!({ "code": NOT_SERIN }) })),
    };
    Ok(if status.is_success() { Ok(body) } else { Err(Refusal { status: status.as_u16(), body }) })
}

fn refused(refusal: &Refusal) -> CliError {
    let Refusal { status, body } = refusal;
    if body["code"] == NOT_SERIN {
        return CliError::Refused {
            detail: format!("what answers there ({status}) is not Serin's admin API: its proxy, or an app?"),
            next: "--admin is admin.address of the configuration, by default http://127.0.0.1:9900".to_owned(),
        };
    }
    let detail = body["detail"].as_str().map_or_else(|| format!("status {status}"), str::to_owned);
    let field = body["field"].as_str().map(|field| format!("{field}: ")).unwrap_or_default();
    let next = match (status, body["code"].as_str().unwrap_or_default()) {
        (401, _) => "set SERIN_ADMIN_TOKEN to one of admin.tokens",
        (403, "forbidden") => "use a token with the role `write`",
        (_, "noDeployment") => {
            "serin deploy start VERSION starts one; serin deploy undo goes back to the version before; serin deploy \
             history shows the last ones"
        }
        (_, "wrongVersion" | "wayBackChanged" | "stableUnhealthy") => "--force does it all the same",
        (_, "notFound") => "serin status and serin flags list show what there is",
        (_, "whichService") => "--service NAME says which one",
        _ => "",
    };
    CliError::Refused { detail: format!("{field}{detail}"), next: next.to_owned() }
}

/// An object of the pairs that have a value.
pub(super) fn fields<const N: usize>(pairs: [(&str, Option<Value>); N]) -> Value {
    let given = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(given.collect::<Map<_, _>>())
}

/// A name as one path segment, or a value in a query.
pub(super) fn encode(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A query of the pairs that have a value.
pub(super) fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let given = pairs.iter().filter_map(|(key, value)| Some(format!("{key}={}", encode((*value)?))));
    given.collect::<Vec<_>>().join("&")
}
