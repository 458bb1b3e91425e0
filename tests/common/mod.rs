//! What end-to-end tests share: the real binary, real app servers, raw sockets.
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, clippy::print_stderr)]

pub mod app;
pub mod attacks;
pub mod browser;
pub mod certificates;
pub mod frames;
pub mod http;
pub mod keys;
pub mod scale;
pub mod target;
pub mod traffic;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing in a test takes longer on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition, never for a while.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The real binary, with state in a folder of its own; ended when dropped.
pub struct Serin {
    process: Process,
    pub proxy: SocketAddr,
    /// Its listeners after the first.
    pub others: Vec<SocketAddr>,
    pub admin: SocketAddr,
    pub health: Option<SocketAddr>,
    /// Where apps on their users' devices ask for flags.
    pub ofrep: Option<SocketAddr>,
    pub folder: tempfile::TempDir,
    log: Arc<Mutex<Vec<String>>>,
}

/// A process that ends with the test, however that ends, and those that it has handed over to.
pub struct Process {
    pub child: Child,
    /// The process that serves now.
    pub serving: u32,
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self { serving: child.id(), child }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.serving != self.child.id() && !is_gone(self.serving) {
            signal(self.serving, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(process: u32, signal: rustix::process::Signal) {
    let process = rustix::process::Pid::from_raw(process as i32).unwrap();
    rustix::process::kill_process(process, signal).unwrap();
}

/// Whether a process has ended; nobody may have asked how yet.
fn is_gone(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Where it listens: the system chooses.
const ADDRESSES: &str = "listeners: [ { address: '127.0.0.1:0' } ]\nadmin: { address: '127.0.0.1:0' }";

/// A configuration with the folder's own state.
fn whole(folder: &tempfile::TempDir, config: &str) -> String {
    format!("state: {{ directory: '{}' }}\n{config}\n", folder.path().join("state").display())
}

impl Serin {
    /// Starts it with this configuration; `listeners`, `admin` and `state` are added.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, "", &[])
    }

    /// The same with more of the listener's keys and with variables.
    pub fn start_with(config: &str, listener: &str, variables: &[(&str, &str)]) -> Self {
        let admin = "admin: { address: '127.0.0.1:0' }";
        Self::start_text(
            &format!("listeners: [ {{ address: '127.0.0.1:0'{listener} }} ]\n{admin}\n{config}"),
            variables,
        )
    }

    /// The same with several listeners, each with these more of its keys.
    pub fn start_listening(config: &str, listeners: &[&str]) -> Self {
        let all: Vec<String> = listeners.iter().map(|more| format!("{{ address: '127.0.0.1:0'{more} }}")).collect();
        let admin = "admin: { address: '127.0.0.1:0' }";
        Self::start_text(&format!("listeners: [ {} ]\n{admin}\n{config}", all.join(", ")), &[])
    }

    /// The same with an `admin` of its own.
    pub fn start_bare(config: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_text(&format!("listeners: [ {{ address: '127.0.0.1:0' }} ]\n{config}"), variables)
    }

    fn start_text(config: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config, variables, Stdio::null())
    }

    fn start_in(folder: tempfile::TempDir, config: &str, variables: &[(&str, &str)], stdout: Stdio) -> Self {
        let file = folder.path().join("serin.yaml");
        std::fs::write(&file, whole(&folder, config)).unwrap();
        let Started { process, proxy, others, admin, health, ofrep, log } = spawn(&file, variables, stdout);
        Self { process, proxy, others, admin, health, ofrep, folder, log }
    }

    /// The same on state files that are there already.
    pub fn start_on(config: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("state")).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join("state").join(name), text).unwrap();
        }
        Self::start_in(folder, &format!("{ADDRESSES}\n{config}"), &[], Stdio::null())
    }

    /// The same where the process may have no more descriptors than this.
    pub fn start_limited(config: &str, descriptors: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("serin.yaml");
        std::fs::write(&file, whole(&folder, &format!("{ADDRESSES}\n{config}"))).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")]).arg(env!("CARGO_BIN_EXE_serin"));
        let Started { process, proxy, others, admin, health, ofrep, log } = spawn_by(shell, &file, &[], Stdio::null());
        Self { process, proxy, others, admin, health, ofrep, folder, log }
    }

    /// The same with a standard output that nobody reads.
    pub fn start_unread(config: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &format!("{ADDRESSES}\n{config}"), &[], Stdio::piped())
    }

    /// What it has logged.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line with this in it: lines come by a pipe, a moment after what they tell of.
    pub fn says(&self, part: &str) {
        eventually(part, || self.log().iter().any(|line| line.contains(part)).then_some(()));
    }

    /// Ends it at once and starts it again on the same state.
    pub fn restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Ends it as a crash does: SIGKILL.
    pub fn kill(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
    }

    /// Starts it on the state that an earlier one left.
    pub fn start_again(&mut self) {
        let Started { process, proxy, others, admin, health, ofrep, log } =
            spawn(&self.folder.path().join("serin.yaml"), &[], Stdio::null());
        (self.process, self.proxy, self.others) = (process, proxy, others);
        (self.admin, self.health, self.ofrep, self.log) = (admin, health, ofrep, log);
    }

    /// Another configuration for `start`'s: written beside and put in place, as editors do.
    pub fn write_config(&self, config: &str) {
        self.write_text(&whole(&self.folder, &format!("{ADDRESSES}\n{config}")));
    }

    /// The file's text as it is.
    pub fn write_text(&self, text: &str) {
        let beside = self.folder.path().join("serin.yaml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.folder.path().join("serin.yaml")).unwrap();
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        if !is_gone(self.process.serving) {
            self::signal(self.process.serving, signal);
        }
    }

    /// Has the next process take over, and waits until it serves and this one has ended.
    pub fn upgrade(&mut self) {
        let before = self.process.serving;
        self.signal(rustix::process::Signal::USR2);
        let newest = || self.successors().last().copied().filter(|process| *process != before);
        self.process.serving = eventually("the next process", newest);
        eventually("the end of the one before", || {
            let _ = self.process.child.try_wait();
            is_gone(before).then_some(())
        });
    }

    /// Signals go to this process from now on, where it still lives.
    pub fn serves_by(&mut self, process: u32) {
        if !is_gone(process) {
            self.process.serving = process;
        }
    }

    /// The processes that have taken over, in order.
    pub fn successors(&self) -> Vec<u32> {
        let of = |line: &String| {
            line.split("the next process serves").nth(1)?.rsplit_once("process=")?.1.trim().parse().ok()
        };
        self.log().iter().filter_map(of).collect()
    }

    /// Waits until it has ended by itself.
    pub fn ends(&mut self) -> std::process::ExitStatus {
        assert_eq!(self.process.serving, self.process.child.id(), "it has handed over");
        eventually("its end", || self.process.child.try_wait().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The processor time it has used, of all its threads.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // In hundredths of a second on Linux, whatever the kernel's own tick is.
        let hundredths = [11, 12].map(|field: usize| fields[field].parse::<u64>().unwrap()).iter().sum::<u64>();
        Duration::from_millis(hundredths * 10)
    }

    pub fn state_file(&self, name: &str) -> Value {
        let text = std::fs::read(self.folder.path().join("state").join(name)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// The command line, against this Serin.
    pub fn cli(&self, args: &[&str]) -> Output {
        cli(&[&["--admin", &format!("http://{}", self.admin)], args].concat())
    }

    /// A command that has to succeed.
    pub fn does(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// A call of the admin API.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            self.admin,
            body.len()
        );
        let answer = http::exchange(self.admin, request.as_bytes());
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    pub fn get(&self, path: &str) -> Value {
        self.api("GET", path, &Value::Null).1
    }

    /// All samples of the metrics text.
    pub fn metrics(&self) -> Metrics {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.admin);
        let text = String::from_utf8(http::exchange(self.admin, request.as_bytes()).body).unwrap();
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Metrics(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The deployment that runs, or the last one.
    pub fn deployment(&self) -> Value {
        let (status, current) = self.api("GET", "/api/deployment", &Value::Null);
        if status == 200 { current } else { self.get("/api/deployments")["deployments"][0].clone() }
    }
}

/// Samples by name with labels.
#[derive(Clone, Debug)]
pub struct Metrics(pub BTreeMap<String, f64>);

impl Metrics {
    /// The sum of the samples of a name whose labels contain these texts.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |key: &str| {
            let (own, rest) = key.split_once('{').unwrap_or((key, ""));
            own == name && labels.iter().all(|label| rest.contains(label))
        };
        self.0.iter().filter(|(key, _)| fits(key)).map(|(_, value)| value).sum()
    }

    /// The names of all of them.
    pub fn names(&self) -> std::collections::BTreeSet<String> {
        self.0.keys().map(|key| key.split('{').next().unwrap_or_default().to_owned()).collect()
    }
}

struct Started {
    process: Process,
    proxy: SocketAddr,
    others: Vec<SocketAddr>,
    admin: SocketAddr,
    health: Option<SocketAddr>,
    ofrep: Option<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
}

fn spawn(config: &Path, variables: &[(&str, &str)], stdout: Stdio) -> Started {
    spawn_by(Command::new(env!("CARGO_BIN_EXE_serin")), config, variables, stdout)
}

fn spawn_by(mut command: Command, config: &Path, variables: &[(&str, &str)], stdout: Stdio) -> Started {
    let mut process = command
        .args(["run", "--config"])
        .arg(config)
        .envs(variables.iter().copied())
        .env("NO_COLOR", "1")
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .map(Process::from)
        .unwrap();
    let lines = BufReader::new(process.child.stderr.take().unwrap());
    let (tell, told) = mpsc::channel();
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&log);
    // Reads on to the end: a full pipe would stop the process.
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if let Some((text, address)) = line.rsplit_once("address=") {
                let _ = tell.send((text.to_owned(), address.trim().parse::<SocketAddr>().unwrap()));
            } else if std::env::var_os("SERIN_TEST_LOG").is_some() {
                eprintln!("{line}");
            }
            kept.lock().unwrap().push(line);
        }
    });
    let text = std::fs::read_to_string(config).unwrap();
    let has = |key: &str| text.lines().any(|line| line.starts_with(key));
    let (_, proxy) = told.recv_timeout(PATIENCE).expect("Serin says where it listens");
    let mut others = Vec::new();
    let admin = loop {
        let (text, address) = told.recv_timeout(PATIENCE).expect("Serin says where its admin API is");
        if text.contains("admin API") {
            break address;
        }
        others.push(address);
    };
    let next = |what: &str| told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("Serin says where its {what} is")).1;
    let ofrep = has("ofrep:").then(|| next("OFREP listener"));
    let health = has("health:").then(|| next("health listener"));
    Started { process, proxy, others, admin, health, ofrep, log }
}

/// The command line alone.
pub fn cli(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_serin")).args(args).env_remove("SERIN_ADMIN").output().unwrap()
}

/// What a Python program prints that is given JSON.
pub fn python(program: &str, input: &Value) -> String {
    let mut python = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether Python has a module. Where it has to be (in CI) its absence is a failure.
pub fn python_has(module: &str) -> bool {
    let import = Command::new("python3").args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    let found = import.is_ok_and(|status| status.success());
    assert!(found || std::env::var_os("CI").is_none(), "python's {module} is missing, and this is CI");
    if !found {
        eprintln!("SKIPPED: python's {module} is not installed");
    }
    found
}

/// Whether an outside program is there. Where it has to be (in CI) its absence is a failure.
pub fn have(program: &str) -> bool {
    find(program, vec!["/usr/sbin".into()]).is_some()
}

/// Where an outside program is: in the path, else in one of these folders. Where it has to be
/// (in CI) its absence is a failure.
pub fn find(program: &str, folders: Vec<PathBuf>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain(folders).map(|folder| folder.join(program));
    let found = places.find(|place| place.is_file());
    assert!(found.is_some() || std::env::var_os("CI").is_none(), "{program} is missing, and this is CI");
    if found.is_none() {
        eprintln!("SKIPPED: {program} is not installed");
    }
    found
}
