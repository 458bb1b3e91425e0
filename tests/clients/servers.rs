//! App servers as people run them, and a balancer in front: nginx, Node, uvicorn, HAProxy.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};

use super::curl::{Curl, Version};
use super::programs::{App, Daemon, Edge, authority, output};
use crate::common::app::echo;
use crate::common::certificates::Files;
use crate::common::http::connect;
use crate::common::{Process, Serin, have, python_has};

const BOTH: [Version; 2] = [Version::Http11, Version::Http2];

/// nginx with a file, by HTTP/1.1 and HTTP/2, each without and with TLS.
fn nginx(folder: &std::path::Path, files: &Files) -> Daemon {
    let (folder, cert, key) = (folder.display(), files.cert.display(), files.key.display());
    Daemon::nginx(|[http1, http2, https1, https2]| {
        let mut servers =
            "gzip on;\ngzip_types text/plain;\ngzip_min_length 100;\ntypes { text/plain txt; }\n".to_owned();
        for (port, protocol) in [(http1, ""), (http2, "http2"), (https1, "ssl"), (https2, "ssl http2")] {
            let _ = writeln!(
                servers,
                "server {{ listen 127.0.0.1:{port} {protocol} reuseport; root '{folder}'; server_name _;"
            );
            if protocol.contains("ssl") {
                let _ = writeln!(servers, "ssl_certificate '{cert}'; ssl_certificate_key '{key}';");
            }
            servers.push_str("location = /who { return 200 \"$scheme $server_protocol $connection\"; } }\n");
        }
        servers
    })
}

#[test]
fn nginx_serves_files_in_each_of_its_ways() {
    if !have("nginx") || !have("curl") {
        return;
    }
    let (_folder, authority) = authority();
    let text: String = (0..4_000).map(|n| format!("line {n}\n")).collect();
    let image: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let www = tempfile::tempdir().unwrap();
    std::fs::write(www.path().join("page.txt"), &text).unwrap();
    std::fs::write(www.path().join("image.bin"), &image).unwrap();
    let app = nginx(www.path(), &authority.issue("app", &["localhost"]));
    let believing = format!(", tls: {{ ca: '{}' }}", authority.file.display());
    let at = |scheme: &str, port: usize| format!("{scheme}://localhost:{}", app.ports[port]);
    let services = [
        ("one", at("http", 0), "", "http HTTP/1.1"),
        ("two", at("h2c", 1), "", "http HTTP/2.0"),
        ("three", at("https", 2), &*believing, "https HTTP/1.1"),
        ("four", at("https", 3), &*believing, "https HTTP/2.0"),
    ];
    let edge = Edge::start(&authority, &services.each_ref().map(|(name, at, more, _)| (*name, at.clone(), *more)));
    for (service, _, _, way) in &services {
        for version in BOTH {
            let curl = Curl { edge: &edge, ca: &authority.file, service, version };
            let (again, and_again) = (curl.url("/who"), curl.url("/who"));
            let thrice = curl.with("/who", &[&again, &and_again]).text();
            assert!(thrice.starts_with(way), "{service}: {thrice}");
            // nginx numbers its connections: Serin kept the one it has.
            assert_eq!(thrice[..thrice.len() / 3].repeat(3), thrice, "{service}");
            serves_files(&curl, &text, &image);
        }
        edge.has_counted(service, "success", 2 * 9);
    }
}

fn serves_files(curl: &Curl<'_>, text: &str, image: &[u8]) {
    assert!(curl.get("/image.bin").body == image);
    let part = curl.with("/image.bin", &["--range", "1000-1999"]);
    assert_eq!((part.code, part.field("content-range")), (206, Some("bytes 1000-1999/3000000")));
    assert!(part.body == image[1_000..2_000]);
    let none = curl.with("/image.bin", &["--range", "9999999-"]);
    assert_eq!((none.code, none.field("content-range")), (416, Some("bytes */3000000")));
    let small = curl.with("/page.txt", &["-H", "accept-encoding: gzip"]);
    assert_eq!(small.field("content-encoding"), Some("gzip"));
    assert!(small.body.starts_with(b"\x1f\x8b") && small.body.len() < text.len() / 2);
    assert_eq!(curl.with("/page.txt", &["--compressed"]).text(), text);
    let tag = format!("if-none-match: {}", small.field("etag").unwrap());
    let known = curl.with("/page.txt", &["-H", &tag]);
    assert_eq!((known.code, known.body.len()), (304, 0), "{}", known.heads);
}

#[test]
fn an_app_server_by_another_name_or_authority_is_not_believed() {
    if !have("nginx") || !have("curl") {
        return;
    }
    let (folder, ours) = authority();
    let (_other_folder, theirs) = authority();
    let app = nginx(folder.path(), &ours.issue("app", &["app.internal"]));
    let [ours_file, theirs_file] = [&ours.file, &theirs.file].map(|file| file.display().to_string());
    for port in [2, 3] {
        let at = || format!("https://127.0.0.1:{}", app.ports[port]);
        let services = [
            ("good", at(), &*format!(", tls: {{ ca: '{ours_file}', serverName: app.internal }}")),
            ("misnamed", at(), &*format!(", tls: {{ ca: '{ours_file}' }}")),
            ("other", at(), &*format!(", tls: {{ ca: '{ours_file}', serverName: other.internal }}")),
            ("unknown", at(), &*format!(", tls: {{ ca: '{theirs_file}', serverName: app.internal }}")),
            ("system", at(), ", tls: { serverName: app.internal }"),
            ("unchecked", at(), ", tls: { skipVerification: true }"),
        ];
        let edge = Edge::start(&ours, &services);
        for (service, _, _) in &services {
            let curl = Curl { edge: &edge, ca: &ours.file, service, version: Version::Http2 };
            let fetched = curl.get("/who");
            if ["good", "unchecked"].contains(service) {
                assert!(fetched.text().starts_with("https "), "{service}: {}", fetched.heads);
                edge.has_counted(service, "success", 1);
            } else {
                let refused = (fetched.code, fetched.field("serin-error"));
                assert_eq!(refused, (502, Some("upstreamConnect")), "{service}: {}", fetched.heads);
                edge.has_counted(service, "connect", 1);
            }
        }
    }
}

/// What curl hears line by line, without a buffer of its own.
struct Listening {
    _process: Process,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Listening {
    fn to(curl: &Curl<'_>, path: &str) -> Self {
        let mut command = curl.command();
        command.args(["--no-buffer", &curl.url(path)]).stdout(Stdio::piped());
        let mut process = Process::from(command.spawn().unwrap());
        let lines = BufReader::new(process.child.stdout.take().unwrap()).lines();
        Self { _process: process, lines }
    }

    fn hears(&mut self) -> Option<String> {
        self.lines.next().map(Result::unwrap)
    }
}

/// The next event is sent once the one before has arrived.
#[test]
fn uvicorns_events_arrive_one_by_one() {
    if !python_has("uvicorn") || !have("curl") {
        return;
    }
    let (_folder, authority) = authority();
    let app = App::python("asgi.py", &[]);
    let edge = Edge::start(&authority, &[("app", format!("http://127.0.0.1:{}", app.ports[0]), "")]);
    let mut good = 0;
    for version in [Version::Http11, Version::Https11, Version::H2c, Version::Http2] {
        let curl = Curl { edge: &edge, ca: &authority.file, service: "app", version };
        let mut events = Listening::to(&curl, "/events");
        for n in 0..3 {
            assert_eq!(events.hears(), Some(format!("id: {n}")), "{version:?}");
            assert_eq!(events.hears(), Some(format!("data: event {n}")), "{version:?}");
            assert_eq!(events.hears(), Some(String::new()), "{version:?}");
            assert_eq!(curl.get("/go").text(), "gone on");
        }
        assert_eq!(events.hears(), None, "{version:?}");
        let mut endless = Listening::to(&curl, "/forever");
        assert_eq!(endless.hears(), Some(": here".to_owned()));
        drop(endless);
        // The app hears that the client has left.
        assert_eq!(curl.get("/left").text(), "left", "{version:?}");
        let body = "x".repeat(300_000);
        let upload = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(upload.path(), &body).unwrap();
        let echoed = curl.with("/upper", &["--data-binary", &format!("@{}", upload.path().display())]);
        assert!(echoed.text() == body.to_uppercase());
        let raised = curl.get("/raise");
        assert_eq!((raised.code, raised.field("serin-error")), (500, None));
        good += 1 + 3 + 1 + 1;
    }
    edge.has_counted("app", "success", good);
    edge.has_counted("app", "status", 4);
    edge.has_counted("app", "truncated", 0);
}

/// Another protocol by Node: what comes with the request is not lost, nor what comes after the
/// client's last word.
#[test]
fn node_speaks_another_protocol_through_the_tunnel() {
    if !have("node") {
        return;
    }
    let (_folder, authority) = authority();
    let app = App::node();
    let edge = Edge::start(&authority, &[("app", format!("http://127.0.0.1:{}", app.ports[0]), "")]);
    let mut socket = connect(edge.serin.proxy);
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: app.test\r\nconnection: Upgrade\r\nupgrade: shout\r\n\r\nearly ")
        .unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"EARLY ") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&heard));
        heard.push(byte[0]);
    }
    assert!(heard.starts_with(b"HTTP/1.1 101 Switching Protocols\r\n"));
    socket.write_all(b"late ").unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    socket.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "LATE BYE");
    edge.has_counted("app", "success", 1);
}

/// HAProxy says who its client is, in both versions of its protocol, and checks Serin's health
/// in its own name.
#[test]
fn haproxy_says_who_asks() {
    if !have("haproxy") || !have("curl") {
        return;
    }
    let config = format!("stable: 'http://{}'\n", echo("app"));
    let serin = Serin::start_with(&config, ", proxyProtocol: true", &[]);
    let behind = serin.proxy;
    let balancer = Daemon::haproxy(|[one, two]| {
        let mut sections =
            "defaults\n  mode tcp\n  timeout connect 10s\n  timeout client 30s\n  timeout server 30s\n".to_owned();
        for (port, version) in [(one, "send-proxy"), (two, "send-proxy-v2 check inter 100ms")] {
            let _ = writeln!(sections, "listen l{port}\n  bind 127.0.0.1:{port}\n  server serin {behind} {version}");
        }
        sections
    });
    for port in &balancer.ports {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--max-time", "20", "--interface", "127.0.0.3", version]);
            let fetched = output(curl.arg(format!("http://127.0.0.1:{port}/")));
            let text = String::from_utf8_lossy(&fetched.stdout).into_owned();
            assert!(text.contains("x-forwarded-for: 127.0.0.3\r\n"), "{version}: {text}");
        }
    }
    assert_eq!(serin.metrics().sum("serin_outcomes_total", &["success"]), 4.0);
}
