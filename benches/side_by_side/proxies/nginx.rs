//! nginx: the users divided by `split_clients`, fields by `proxy_set_header` or `grpc_set_header`.

use std::fs;

use super::{Job, Proxy, free_address};
use crate::workload::Traffic;

type Field = (&'static str, &'static str);

/// The fields that HAProxy writes too.
pub(super) const THREE: [Field; 3] =
    [("X-Track", "$pool"), ("X-Feature-A", "true"), ("X-Forwarded-For", "$remote_addr")];

/// As many as Serin writes: track, reason, version, three flags, where it came from, request id.
pub(super) const TEN: [Field; 10] = [
    ("X-Track", "$pool"),
    ("X-Reason", "share"),
    ("X-Version", "v2"),
    ("X-Feature-A", "true"),
    ("X-Feature-B", "false"),
    ("X-Feature-C", "true"),
    ("X-Forwarded-For", "$remote_addr"),
    ("X-Forwarded-Proto", "$scheme"),
    ("X-Forwarded-Host", "$host"),
    ("X-Request-Id", "$request_id"),
];

pub(super) fn start(job: &Job, name: &str, fields: &[Field]) -> Result<Proxy, String> {
    let listen = free_address();
    let dir = job.dir(name);
    let path = dir.join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; worker_processes 1; pid {dir}/nginx.pid; error_log stderr;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; tcp_nodelay on;\n\
         client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c; \
         uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;\n\
         upstream blue {{ server {stable}; keepalive 128; keepalive_requests 1000000000; }}\n\
         upstream green {{ server {canary}; keepalive 128; keepalive_requests 1000000000; }}\n\
         split_clients $cookie_uid $pool {{ 10% green; * blue; }}\n\
         server {{ listen {listen} {options};\n{tls}{buffers}location / {{ {pass} }} }} }}\n",
        dir = dir.display(),
        stable = job.stable,
        canary = job.canary,
        options = options(job.traffic()),
        tls = tls(job),
        buffers = buffers(job.workload.body),
        pass = pass(job.traffic(), fields),
    );
    fs::write(&path, text).unwrap();
    Proxy::start(listen, "nginx", &["-e", "stderr", "-c"], &path)
}

fn options(traffic: Traffic) -> &'static str {
    match traffic {
        Traffic::KeepAlive | Traffic::Closing => "",
        Traffic::Tls => "ssl",
        Traffic::Http2 => "ssl http2",
        Traffic::Grpc => "http2",
    }
}

fn tls(job: &Job) -> String {
    if !job.traffic().tls() {
        return String::new();
    }
    let (cert, key) = (job.certificate.cert.display(), job.certificate.key.display());
    format!("ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.3; ssl_session_tickets on;\n")
}

/// Long answers get buffers as large as HAProxy's: with its own of 4 KiB nginx needs half
/// as much CPU again for them.
fn buffers(body: usize) -> &'static str {
    if body > 4096 { "proxy_buffer_size 16k; proxy_buffers 16 16k; proxy_busy_buffers_size 64k;\n" } else { "" }
}

fn pass(traffic: Traffic, fields: &[Field]) -> String {
    let (directive, mut pass) = match traffic {
        Traffic::Grpc => ("grpc_set_header", "grpc_pass grpc://$pool;".to_owned()),
        _ => (
            "proxy_set_header",
            "proxy_pass http://$pool; proxy_http_version 1.1; proxy_set_header Connection '';".to_owned(),
        ),
    };
    for (name, value) in [("Host", "$host")].iter().chain(fields) {
        pass.push_str(&format!(" {directive} {name} {value};"));
    }
    pass
}
