//! Serin, nginx and HAProxy in turn on one core, with app servers and clients on the
//! other: CPU time of the proxy's process per request, as a ratio to nginx.
//!
//! `cargo bench --bench side_by_side [-- --rounds 15 --seconds 0.6 --only NAME]`
//!
//! | workload | what it measures |
//! | --- | --- |
//! | `keep-alive` | HTTP/1.1 on 64 connections that stay open, answers of 1 KiB |
//! | `tls` | the same with TLS 1.3 between client and proxy: what records and their cipher add; handshakes are over before |
//! | `http2` | HTTP/2 over TLS 1.3 on 16 connections with 8 streams each, HTTP/1.1 to the app: translation, and writes that streams share |
//! | `grpc` | unary gRPC calls (128 bytes there, 1 KiB back) over HTTP/2 without TLS on both sides, 16 connections with 8 streams each |
//! | `new-connections` | HTTP/1.1 with `connection: close`, 64 at a time: accepting and closing a connection for each request |
//! | `64-kib` | as `keep-alive` with answers of 64 KiB: how bodies are passed on |
//!
//! In all of them 10,000 users are told apart by a cookie (in gRPC, metadata of that
//! name) and 10 % of them go to the canary. nginx and HAProxy split by a hash of the
//! cookie and inject three header fields; Serin does what it always does (identity,
//! bucket, guard, ledgers, histogram, three flags, track, forwarding and request id
//! fields: ten in all). A second nginx writes ten fields too: what it costs to have of
//! nginx what Serin says to the app. All keep their connections to the app open, and
//! all show the same ECDSA P-256 certificate; the clients offer one cipher and one key
//! exchange, so all agree on the same ones.
//!
//! Rounds are interleaved and the median of the per-round ratios counts: absolute times
//! say nothing on a machine that others use too. CPU time multiplied by requests per
//! second says how busy a proxy's core was; where the clients' core is the limit (a fast
//! proxy in the last three), a proxy has less to do at a time than it could have.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(clippy::disallowed_methods)]

mod certificate;
mod clients;
mod contest;
mod grpc;
mod origin;
mod proxies;
mod workload;

use workload::Workload;

const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;

struct Options {
    rounds: usize,
    seconds: f64,
    only: Option<String>,
}

fn options() -> Options {
    let mut options = Options { rounds: 15, seconds: 0.6, only: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--rounds" => options.rounds = args.next().and_then(|n| n.parse().ok()).expect("--rounds N"),
            "--seconds" => options.seconds = args.next().and_then(|n| n.parse().ok()).expect("--seconds N"),
            "--only" => options.only = Some(args.next().expect("--only NAME")),
            _ => {}
        }
    }
    options
}

/// The workloads that `options` ask for.
fn chosen(options: &Options) -> Vec<&'static Workload> {
    let wanted = |workload: &&Workload| options.only.as_ref().is_none_or(|only| only == workload.name);
    let chosen: Vec<_> = workload::ALL.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<_> = workload::ALL.iter().map(|workload| workload.name).collect();
        eprintln!("--only takes one of {}", names.join(", "));
        std::process::exit(2);
    }
    chosen
}

fn main() {
    let options = options();
    let chosen = chosen(&options);
    let mut core = rustix::thread::CpuSet::new();
    core.set(LOAD_CORE);
    // On a machine with one core everything shares it.
    let _ = rustix::thread::sched_setaffinity(None, &core);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "| workload | proxy | CPU per request, ratio to nginx (median) | middle half of the rounds \
         | CPU µs per request | requests/s |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for workload in chosen {
        // What is left of one workload's clients ends with its set of tasks.
        tokio::task::LocalSet::new().block_on(&runtime, contest::run(workload, &options));
    }
}
