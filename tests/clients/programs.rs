//! Outside programs: apps that run for as long as a test, and clients that come to an end.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::common::certificates::Authority;
use crate::common::{Process, Serin, eventually};

/// No client needs longer on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A script beside this file.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// An app that has printed its ports.
pub(super) struct App {
    pub(super) ports: Vec<u16>,
    _process: Process,
}

impl App {
    /// Node's servers of HTTP/1.1 and of HTTP/2 without TLS.
    pub(super) fn node() -> Self {
        Self::start(Command::new("node").arg(script("app.mjs")))
    }

    /// An app in Python.
    pub(super) fn python(name: &str, args: &[&Path]) -> Self {
        Self::start(Command::new("python3").arg(script(name)).args(args))
    }

    fn start(command: &mut Command) -> Self {
        let mut process = Process::from(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().unwrap()).collect();
        assert!(!ports.is_empty(), "{command:?} has ended");
        Self { ports, _process: process }
    }
}

/// A server that has to be told its ports.
pub(super) struct Daemon {
    pub(super) ports: Vec<u16>,
    _process: Process,
    /// Bound beside the server's own sockets, so that the ports are nobody else's.
    _reserved: Vec<Socket>,
    _folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it with a configuration that is a function of its folder and as many ports.
    fn start<const N: usize>(
        config: impl FnOnce(&Path, [u16; N]) -> String,
        command: impl FnOnce(&Path) -> Command,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (reserved, ports): (Vec<_>, Vec<_>) = (0..N).map(|_| reserve()).unzip();
        let file = folder.path().join("daemon.conf");
        std::fs::write(&file, config(folder.path(), ports.clone().try_into().unwrap())).unwrap();
        let process = Process::from(command(&file).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        for port in &ports {
            eventually("a server that listens", || TcpStream::connect(("127.0.0.1", *port)).ok());
        }
        Self { ports, _process: process, _reserved: reserved, _folder: folder }
    }

    /// nginx with these `server` blocks.
    pub(super) fn nginx<const N: usize>(servers: impl FnOnce([u16; N]) -> String) -> Self {
        let config = |folder: &Path, ports| {
            let folder = folder.display();
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path '{folder}/{name}';\n"))
                .concat();
            format!(
                "daemon off;\nmaster_process off;\npid '{folder}/pid';\nevents {{ worker_connections 1024; }}\n\
                 http {{\naccess_log off;\n{temporary}{}\n}}\n",
                servers(ports)
            )
        };
        Self::start(config, |file| {
            let mut nginx = Command::new("nginx");
            nginx.args(["-e", "stderr", "-c"]).arg(file);
            nginx
        })
    }

    /// HAProxy with these sections.
    pub(super) fn haproxy<const N: usize>(sections: impl FnOnce([u16; N]) -> String) -> Self {
        Self::start(
            |_, ports| sections(ports),
            |file| {
                let mut haproxy = Command::new("haproxy");
                haproxy.args(["-db", "-q", "-f"]).arg(file);
                haproxy
            },
        )
    }
}

/// A port that the system chose, for a server that shares it.
fn reserve() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// What a client says that comes to its end by itself.
pub(super) fn output(command: &mut Command) -> Output {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = Process::from(piped.spawn().unwrap());
    let (out, err) = (process.child.stdout.take().unwrap(), process.child.stderr.take().unwrap());
    let (out, err) = (std::thread::spawn(|| whole(out)), std::thread::spawn(|| whole(err)));
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = process.child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            drop(process);
            panic!("{command:?} has no end: {}", String::from_utf8_lossy(&err.join().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn whole(mut pipe: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    pipe.read_to_end(&mut all).unwrap();
    all
}

/// The standard output of a client that has to succeed.
pub(super) fn succeeds(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A client in Python that has to succeed; the numbers it prints.
pub(super) fn python_client(name: &str, args: &[&str]) -> Vec<u32> {
    let text = succeeds(Command::new("python3").arg(script(name)).args(args));
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// An authority of one test.
pub(super) fn authority() -> (tempfile::TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    (folder, authority)
}

/// Serin with two listeners, the second of which speaks TLS.
pub(super) struct Edge {
    pub(super) serin: Serin,
    pub(super) plain: u16,
    pub(super) encrypted: u16,
}

impl Edge {
    /// Each service answers to `NAME.test`; given are its endpoint and more of the pool's keys.
    pub(super) fn start(authority: &Authority, services: &[(&str, String, &str)]) -> Self {
        let hosts: Vec<String> = services.iter().map(|(name, ..)| format!("{name}.test")).collect();
        let names: Vec<&str> = std::iter::once("localhost").chain(hosts.iter().map(String::as_str)).collect();
        let files = authority.issue("edge", &names);
        let services: String = services
            .iter()
            .map(|(name, endpoint, more)| {
                format!(
                    "  {name}: {{ match: {{ hosts: [{name}.test] }}, stable: a, \
                     pools: {{ a: {{ endpoints: '{endpoint}'{more} }} }} }}\n"
                )
            })
            .collect();
        let tls = format!(", tls: {{ certificates: [ {} ] }}", files.yaml());
        let serin = Serin::start_listening(&format!("services:\n{services}"), &["", &tls]);
        let (plain, encrypted) = (serin.proxy.port(), serin.others[0].port());
        Self { serin, plain, encrypted }
    }

    /// Waits until a service has had as many outcomes of a kind, and no more.
    pub(super) fn has_counted(&self, service: &str, outcome: &str, expected: u32) {
        let labels = [format!("service=\"{service}\""), format!("outcome=\"{outcome}\"")];
        self.counts("serin_outcomes_total", &labels, expected);
    }

    /// The same for its answers.
    pub(super) fn has_answered(&self, service: &str, code: u16, expected: u32) {
        let labels = [format!("service=\"{service}\""), format!("code=\"{code}\"")];
        self.counts("serin_requests_total", &labels, expected);
    }

    fn counts(&self, name: &str, labels: &[String; 2], expected: u32) {
        let labels = labels.each_ref().map(String::as_str);
        let mut last = 0.0;
        let counted = || {
            last = self.serin.metrics().sum(name, &labels);
            (last >= f64::from(expected)).then_some(())
        };
        eventually(&format!("{expected} of {labels:?}"), counted);
        assert_eq!(self.serin.metrics().sum(name, &labels), f64::from(expected), "{labels:?}");
    }
}
