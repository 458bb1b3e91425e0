//! A proxy's process: started, watched, and ended when dropped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::PROXY_CORE;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    process: Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Proxy {
    /// Starts `program` with the file `config` after its `args`, and waits until it listens.
    pub(super) fn start(address: SocketAddr, program: &str, args: &[&str], config: &Path) -> Result<Self, String> {
        let said = config.with_extension("said");
        let mut command = Command::new("taskset");
        command.args(["-c", &PROXY_CORE.to_string(), program]).args(args).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).unwrap());
        let process = command.spawn().map_err(|error| format!("taskset: {error}"))?;
        let mut proxy = Self { address, process };
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if TcpStream::connect(address).is_ok() {
                return Ok(proxy);
            }
            if proxy.process.try_wait().is_ok_and(|ended| ended.is_some()) {
                let said = fs::read_to_string(said).unwrap_or_default();
                return Err(format!("it ended: {}", said.lines().next().unwrap_or("without a word")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("it does not listen".to_owned())
    }

    /// CPU time of all its threads, in nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        let tasks = format!("/proc/{}/task", self.process.id());
        let of = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        fs::read_dir(tasks).unwrap().filter_map(Result::ok).filter_map(of).sum()
    }
}
