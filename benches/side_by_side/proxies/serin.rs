//! Serin as it is: a deployment at 10 %, three flags, and all that it always does.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use super::{Job, Proxy, free_address};
use crate::workload::Traffic;

const BINARY: &str = env!("CARGO_BIN_EXE_serin");

pub(super) fn start(job: &Job) -> Result<Proxy, String> {
    let (listen, admin) = (free_address(), free_address());
    let dir = job.dir("serin");
    let path = dir.join("serin.yaml");
    let scheme = if job.traffic() == Traffic::Grpc { "h2c" } else { "http" };
    let text = format!(
        "workers: 1\nlisteners: [ {{ address: '{listen}'{tls} }} ]\nadmin: {{ address: '{admin}' }}\n\
         state: {{ directory: '{state}' }}\nidentity: {{ session: [ {{ cookie: uid }} ] }}\n\
         services:\n  shop:\n    pools:\n      blue: {{ endpoints: '{scheme}://{stable}' }}\n      \
         green: {{ endpoints: '{scheme}://{canary}' }}\n    stable: blue\n    canary: green\n    \
         connections: {{ idle: 128 }}\n",
        tls = tls(job),
        state = dir.join("state").display(),
        stable = job.stable,
        canary = job.canary,
    );
    fs::write(&path, text).unwrap();
    let proxy = Proxy::start(listen, BINARY, &["run", "--config"], &path)?;
    steer(admin, &["flags", "set", "new-dashboard", "--rollout", "50"])?;
    steer(admin, &["flags", "set", "beta", "--rules", r#"[{"type":"group","value":"beta"}]"#])?;
    steer(admin, &["flags", "set", "everybody", "--rollout", "100"])?;
    steer(admin, &["deploy", "start", "v2"])?;
    Ok(proxy)
}

fn tls(job: &Job) -> String {
    if !job.traffic().tls() {
        return String::new();
    }
    let (cert, key) = (job.certificate.cert.display(), job.certificate.key.display());
    format!(", tls: {{ certificates: [ {{ cert: '{cert}', key: '{key}' }} ] }}")
}

fn steer(admin: SocketAddr, args: &[&str]) -> Result<(), String> {
    let admin = format!("http://{admin}");
    let done = Command::new(BINARY).args(["--admin", &admin]).args(args).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&done.stderr);
    if done.status.success() { Ok(()) } else { Err(format!("{}: {said}", args.join(" "))) }
}
