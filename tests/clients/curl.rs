//! curl: each version of HTTP, towards apps of HTTP/1.1 and of HTTP/2.

use std::path::Path;
use std::process::{Command, Stdio};

use super::programs::{App, Edge, authority, output, succeeds};
use crate::common::have;

/// curl in one version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
    /// Chosen in the handshake.
    Http2,
    /// Without TLS, by prior knowledge.
    H2c,
    /// HTTP/1.1 over TLS.
    Https11,
}

impl Version {
    const fn option(self) -> &'static str {
        match self {
            Self::Http10 => "--http1.0",
            Self::Http11 | Self::Https11 => "--http1.1",
            Self::Http2 => "--http2",
            Self::H2c => "--http2-prior-knowledge",
        }
    }

    /// As curl names what was spoken.
    const fn name(self) -> &'static str {
        match self {
            Self::Http10 => "1",
            Self::Http11 | Self::Https11 => "1.1",
            Self::Http2 | Self::H2c => "2",
        }
    }

    const fn is_encrypted(self) -> bool {
        matches!(self, Self::Http2 | Self::Https11)
    }
}

/// curl asks a service through Serin.
pub(super) struct Curl<'a> {
    pub(super) edge: &'a Edge,
    pub(super) ca: &'a Path,
    pub(super) service: &'a str,
    pub(super) version: Version,
}

/// What curl saw.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Of the last answer.
    pub(super) code: u16,
    /// All heads, interim ones too, and trailers.
    pub(super) heads: String,
    pub(super) body: Vec<u8>,
    /// Bytes of the request's body that were sent.
    pub(super) sent: u64,
    /// Connections that were opened for the last request.
    pub(super) opened: u32,
}

impl Fetched {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The last value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.heads.lines().rev().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The statuses of all answers, interim ones too.
    pub(super) fn statuses(&self) -> Vec<u16> {
        let lines = self.heads.lines().filter(|line| line.starts_with("HTTP/"));
        lines.map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect()
    }
}

impl Curl<'_> {
    /// The service's URL with this path.
    pub(super) fn url(&self, path: &str) -> String {
        let (scheme, port) =
            if self.version.is_encrypted() { ("https", self.edge.encrypted) } else { ("http", self.edge.plain) };
        format!("{scheme}://{}.test:{port}{path}", self.service)
    }

    /// curl before its further options and URL.
    pub(super) fn command(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "40", "--noproxy", "*", self.version.option()]);
        curl.arg("--connect-to").arg("::127.0.0.1:").arg("--cacert").arg(self.ca);
        curl.stdin(Stdio::null());
        curl
    }

    pub(super) fn get(&self, path: &str) -> Fetched {
        self.with(path, &[])
    }

    /// The same with these options.
    pub(super) fn with(&self, path: &str, options: &[&str]) -> Fetched {
        let mut curl = self.command();
        curl.args(["--dump-header", "/dev/stderr"]);
        curl.args(["--write-out", "%{stderr}\n%{http_code} %{http_version} %{size_upload} %{num_connects}\n"]);
        let output = output(curl.args(options).arg(self.url(path)));
        let heads = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{:?} {} {path} {options:?}: {heads}", self.version, self.service);
        let last: Vec<&str> = heads.lines().last().unwrap().split(' ').collect();
        assert_eq!(last[1], self.version.name(), "{heads}");
        let (code, sent, opened) = (last[0].parse().unwrap(), last[2].parse().unwrap(), last[3].parse().unwrap());
        Fetched { code, heads, body: output.stdout, sent, opened }
    }
}

const VERSIONS: [Version; 4] = [Version::Http11, Version::Https11, Version::H2c, Version::Http2];
/// Services by what their apps speak.
const APPS: [&str; 2] = ["one", "two"];

fn each(versions: &[Version], test: impl Fn(&Curl<'_>)) {
    if !have("curl") || !have("node") {
        return;
    }
    let (_folder, authority) = authority();
    let app = App::node();
    let [one, two] = [format!("http://127.0.0.1:{}", app.ports[0]), format!("h2c://127.0.0.1:{}", app.ports[1])];
    let edge = Edge::start(&authority, &[("one", one, ""), ("two", two, "")]);
    for service in APPS {
        for &version in versions {
            test(&Curl { edge: &edge, ca: &authority.file, service, version });
        }
    }
}

/// The same bytes each time, and no two stretches alike.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(length).collect()
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uploads_come_back(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("upload");
    each(&[version], |curl| {
        for length in [0, 1, 1 << 20, 20 << 20] {
            let all = bytes(length);
            std::fs::write(&file, &all).unwrap();
            let data = format!("@{}", file.display());
            let lengths =
                [("Content-Type: a/b", length.to_string()), ("Transfer-Encoding: chunked", "none".to_owned())];
            for (field, told) in lengths {
                // Without `Expect` as it is, which curl adds for large ones.
                let fetched = curl.with("/echo", &["--data-binary", &data, "-H", field, "-H", "Expect:"]);
                assert_eq!(fetched.code, 200, "{}", fetched.heads);
                assert_eq!(fetched.field("x-length"), Some(&*told), "{:?} {}", curl.version, curl.service);
                assert!(fetched.body == all, "{length} bytes to {} by {:?}, {field}", curl.service, curl.version);
            }
        }
    });
}

#[test]
fn uploads_over_http1_come_back_byte_by_byte() {
    uploads_come_back(Version::Http11);
}

#[test]
fn uploads_over_http2_come_back_byte_by_byte() {
    uploads_come_back(Version::H2c);
}

#[test]
fn uploads_over_tls_come_back_byte_by_byte() {
    uploads_come_back(Version::Http2);
}

/// curl waits longer for leave than this test does: without it there is no answer.
#[test]
fn a_client_that_asks_for_leave_gets_it_before_its_body_and_a_refusal_instead_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("upload");
    let all = bytes(1 << 20);
    std::fs::write(&file, &all).unwrap();
    let data = format!("@{}", file.display());
    each(&[Version::Http11, Version::Https11], |curl| {
        for field in ["Content-Type: a/b", "Transfer-Encoding: chunked"] {
            let options =
                ["--data-binary", &data, "-H", "Expect: 100-continue", "--expect100-timeout", "60", "-H", field];
            let fetched = curl.with("/echo", &options);
            assert_eq!(fetched.statuses(), [100, 200], "{}", fetched.heads);
            assert!(fetched.body == all, "{field}");
            let refused = curl.with("/refuse", &options);
            assert_eq!(refused.code, 401, "{}", refused.heads);
            // Interim answers are not heard of an app of HTTP/2: there the client has leave at once.
            if curl.service == "one" {
                assert_eq!((refused.statuses(), refused.sent), (vec![401], 0), "{}", refused.heads);
            }
        }
    });
}

#[test]
fn downloads_are_whole() {
    each(&VERSIONS, |curl| {
        for length in [0, 1, 65_535, 32 << 20] {
            let fetched = curl.get(&format!("/bytes?n={length}"));
            assert_eq!(fetched.field("content-length"), Some(&*length.to_string()));
            assert_eq!(fetched.field("x-sha256"), Some(&*sha256(&fetched.body)), "{length}");
        }
        let chunks: String = (0..100).map(|n| format!("{n},").repeat(100)).collect();
        assert_eq!(curl.get("/chunks").text(), chunks);
    });
}

#[test]
fn http10_is_answered_in_its_own_way() {
    each(&[Version::Http10], |curl| {
        let fetched = curl.get("/chunks");
        assert!(fetched.heads.starts_with("HTTP/1.0 200 "), "{}", fetched.heads);
        assert_eq!(fetched.field("transfer-encoding"), None);
        assert_eq!(fetched.text().len(), (0..100).map(|n| format!("{n},").len() * 100).sum::<usize>());
        assert_eq!(curl.get("/bytes?n=70000").body.len(), 70_000);
        let echoed = curl.with("/echo", &["--data-binary", "sent"]);
        assert_eq!(echoed.text(), "sent");
        assert_eq!(curl.get("/hints").statuses(), [200], "HTTP/1.0 has no interim answers");
    });
}

#[test]
fn head_is_a_head() {
    each(&VERSIONS, |curl| {
        let fetched = curl.with("/bytes?n=5000", &["--head"]);
        assert_eq!((fetched.code, fetched.field("content-length")), (200, Some("5000")), "{}", fetched.heads);
        // curl 7 fails by itself when it uses such a connection again.
        if curl.version != Version::H2c {
            let twice = curl.with("/bytes?n=5000", &["--head", &curl.url("/bytes?n=5000")]);
            assert_eq!((twice.statuses(), twice.opened), (vec![200, 200], 0), "nothing was left on the connection");
        }
    });
}

/// Over HTTP/1.1 only to who says that it takes them (RFC 9110 section 6.5.1).
#[test]
fn trailers_pass_both_ways() {
    each(&VERSIONS, |curl| {
        let fetched = curl.with("/trailers", &["-H", "TE: trailers"]);
        assert_eq!((fetched.text(), fetched.field("x-checksum")), ("body".to_owned(), Some("abc123")));
        if curl.version.name() == "2" {
            assert_eq!(curl.get("/trailers").field("x-checksum"), Some("abc123"));
        }
    });
}

/// By nghttp, as curl sends none. A length that was told leaves HTTP/1.1 no place for them.
#[test]
fn trailers_of_a_request_reach_the_app() {
    if !have("nghttp") {
        return;
    }
    each(&[Version::H2c, Version::Http2], |curl| {
        let mut nghttp = Command::new("nghttp");
        nghttp.args(["--no-verify-peer", "--no-content-length", "--timeout", "20"]);
        nghttp.args(["--trailer", "x-sum: abc123", "--trailer", "x-serin-track: canary"]);
        nghttp.arg("--header").arg(format!(":authority: {}.test", curl.service)).arg("--data").arg(curl.ca);
        let url = curl.url("/request-trailers").replace(&format!("{}.test", curl.service), "127.0.0.1");
        assert_eq!(succeeds(nghttp.arg(url)), r#"{"x-sum":"abc123"}"#, "{:?} {}", curl.version, curl.service);
    });
}

/// The first time, and once the connection has been used.
#[test]
fn early_hints_come_before_the_answer() {
    each(&[Version::Http11, Version::Https11], |curl| {
        if curl.service != "one" {
            return;
        }
        let (first, second) = (curl.url("/hints"), curl.url("/hints"));
        let fetched = curl.with("/hints", &[&first, &second]);
        assert_eq!(fetched.statuses(), [103, 200, 103, 200, 103, 200], "{}", fetched.heads);
        assert_eq!(fetched.heads.matches("link: </style.css>; rel=preload; as=style").count(), 3);
        assert_eq!(fetched.opened, 0, "one connection");
        assert_eq!(fetched.text(), "after hints".repeat(3));
    });
}

/// `Upgrade: h2c` is nothing that a proxy has to take (RFC 9113 section 3.1), and nothing of it
/// reaches the app.
#[test]
fn an_upgrade_to_http2_is_answered_over_http1() {
    each(&[Version::Http11], |curl| {
        let fetched = curl.with("/head", &["--http2"]);
        assert!(fetched.heads.starts_with("HTTP/1.1 200 "), "{}", fetched.heads);
        let app: serde_json::Value = serde_json::from_slice(&fetched.body).unwrap();
        let headers = app["headers"].as_object().unwrap();
        assert_eq!(headers["accept"], "*/*");
        for name in ["upgrade", "http2-settings"] {
            assert!(!headers.contains_key(name), "{app}");
        }
        assert!(!headers.get("connection").is_some_and(|value| value.to_string().contains("pgrade")), "{app}");
    });
}

#[test]
fn the_app_sees_one_host_whatever_the_versions() {
    each(&VERSIONS, |curl| {
        let app: serde_json::Value = serde_json::from_slice(&curl.with("/head", &["-b", "a=b; c=d"]).body).unwrap();
        assert_eq!(app["version"], if curl.service == "one" { "1.1" } else { "2.0" });
        let name = if curl.service == "one" { "host" } else { ":authority" };
        let expected = curl.url("").split("//").nth(1).unwrap().to_owned();
        assert_eq!(app["headers"][name], expected, "{app}");
        assert_eq!(app["headers"]["cookie"], "a=b; c=d");
        let scheme = if curl.version.is_encrypted() { "https" } else { "http" };
        assert_eq!(app["headers"]["x-forwarded-proto"], scheme);
    });
}
