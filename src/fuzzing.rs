//! Everything that takes apart what others have written, by name, for fuzzers: each takes any
//! bytes and panics where something does not hold that always has to.
//!
//! `fuzz/` runs them with a coverage-guided fuzzer, `tests/fuzz.rs` with what was found so
//! far and changes to it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use serde_json::Value;

use crate::config::{self, Config};
use crate::control::{Controller, Setup};
use crate::decide::bucket::Bucket;
use crate::decide::flags::{CompiledFlag, Context, Flag, JsonAttributes, SplitHash, Surroundings};
use crate::flagd;
use crate::ofrep::Asked;
use crate::proxy;
use crate::signed::{JwtKey, JwtRules, Signed};
use crate::simulate::LogLine;
use crate::store::{FlagFile, Folder, Writer};

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// All of them.
pub const TARGETS: [(&str, Target); 7] = [
    ("head", head),
    ("proxy_header", proxy_header),
    ("configuration", configuration),
    ("state", state),
    ("signed", signed),
    ("log_line", log_line),
    ("flags", flags),
];

/// Runs one of them.
pub fn run(target: &str, bytes: &[u8]) {
    TARGETS.iter().filter(|(name, _)| *name == target).for_each(|(_, run)| run(bytes));
}

fn plain() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| {
        let text = "listen: 127.0.0.1:0\nidentity: { anonymous: cookie }\n\
            services: { default: { pools: { a: { endpoints: 'http://a' }, b: { endpoints: 'http://b' } }, stable: a, canary: b } }";
        // It is no input.
        #[allow(clippy::unwrap_used)]
        config::from_text(text, Path::new("fuzz.yaml")).unwrap()
    })
}

/// `METHOD target`, then a line for each field; the first byte says version and trust.
fn head(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut lines = rest.split(|byte| *byte == b'\n');
    let line = lines.next().unwrap_or_default();
    let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (method, target) = line.split_at(at);
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target.trim_ascii_start())) else { return };
    let mut headers = HeaderMap::new();
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(at + 1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let mut request = Request::new(());
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    *request.version_mut() = if first & 2 == 0 { Version::HTTP_11 } else { Version::HTTP_2 };
    proxy::examine(&request.into_parts().0, plain(), first & 1 == 1);
}

fn proxy_header(bytes: &[u8]) {
    let _ = proxy::arrival::source(bytes);
}

fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // Files that a made-up text names are not looked at.
    if ["cert", "key", "ca", "Ca", "jwks"].iter().any(|word| text.contains(word)) {
        return;
    }
    match config::from_text(text, Path::new("fuzz.yaml")) {
        Ok(config) => assert!(!config.services.is_empty() && !config.listeners.is_empty()),
        Err(error) => assert!(error.to_string().contains("fuzz.yaml"), "{error}"),
    }
    let _ = config::scenario_from_text(text, Path::new("fuzz.yaml"));
}

/// Three files with a zero byte between: flags, deployments, checkpoint. What can be read
/// has to start a control plane.
fn state(bytes: &[u8]) {
    let mut files = bytes.splitn(3, |byte| *byte == 0);
    let mut file = || files.next().unwrap_or_default();
    let (flags, deployments, checkpoint) = (file(), file(), file());
    let controller = Controller::new(Setup {
        config: Arc::new(plain().clone()),
        workers: 1,
        variables: HashMap::new(),
        flags: serde_json::from_slice(flags).ok(),
        deployments: serde_json::from_slice(deployments).ok(),
        checkpoint: serde_json::from_slice(checkpoint).unwrap_or_default(),
        writer: writer().clone(),
    });
    let snapshot = controller.snapshot();
    let snapshot = snapshot.load();
    for service in &snapshot.services {
        if let Some(canary) = &service.canary {
            let _ = canary.subject.word().reaches(Bucket::of_hash(0));
        }
    }
}

/// A writer that nobody asks to write.
fn writer() -> &'static Writer {
    static WRITER: OnceLock<Writer> = OnceLock::new();
    WRITER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("serin-fuzz-{}", std::process::id()));
        // A fuzzer without a folder cannot go on.
        #[allow(clippy::expect_used)]
        Writer::start(Folder::open(&folder).expect("a folder for state")).expect("a thread")
    })
}

fn signed(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    const SECRET: &[u8] = b"0123456789abcdef";
    // Nobody has the key: nothing opens, but what was made up to open.
    let _ = Signed::hmac(SECRET).open(text);
    let rules = JwtRules { claim: "sub".to_owned(), issuer: None, audience: None };
    if let Ok(signed) = Signed::jwt(JwtKey::Secret(SECRET.to_vec()), rules) {
        let _ = signed.open(text);
    }
}

/// A document of flags, with a zero byte and a context behind it: what comes in can be
/// evaluated, whoever asks.
fn flags(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (document, context) = (part(), Asked::read(part()).unwrap_or_default());
    let Ok(document) = serde_json::from_slice::<Value>(document) else { return };
    let own = serde_json::from_value::<FlagFile>(document.clone()).map(|file| file.flags.into_values().collect());
    let own: Vec<Arc<Flag>> = own.unwrap_or_default();
    let imported = [SplitHash::Text, SplitHash::Cbor].map(|hash| flagd::import(&document, hash).unwrap_or_default());
    let surroundings = Surroundings { home: "production", reading: Default::default(), forced: Some("50"), ramp: None };
    let attributes = JsonAttributes(&context.0);
    for id in [None, context.id()] {
        let context = Context { id, user: id, groups: id, attributes: Some(&attributes), ..Context::default() };
        for flag in own.iter().map(|flag| &**flag).chain(imported.iter().flatten()) {
            for forced in [None, surroundings.forced] {
                let compiled = CompiledFlag::new(flag, &Surroundings { forced, ..surroundings }, |_| None);
                let found = compiled.evaluate(&context);
                assert_eq!(found.variant.is_some(), compiled.variant(&found).is_some());
            }
        }
    }
}

fn log_line(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = text.parse::<LogLine>();
    }
}
