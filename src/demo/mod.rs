//! `serin demo`: a good and a bad rollout with sample apps, in one process.
//!
//! Owns: sample apps, made-up users, the story that is printed. Touches: the
//! server as anybody else would use it; free ports, state in a temporary folder.

mod app;
mod users;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use app::App;
use users::Users;

use crate::cli::{CliError, output::line, run::wait_for_the_end};
use crate::clock;
use crate::config;
use crate::control::{Answers, Control, Controller, Order, StartRequest};
use crate::handover::Inheritance;
use crate::server::Server;
use crate::store::DeploymentRecord;

const SERVICE: &str = "shop";
const LOOK: Duration = Duration::from_millis(5);
/// Longer than any rollout of the demo.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// End by itself after both rollouts
    #[arg(long)]
    once: bool,
}

/// The state of the demo, removed at its end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn run(options: &DemoOptions) -> Result<(), CliError> {
    let system = |source| CliError::System { doing: "the demo cannot start", source };
    let scratch = Scratch(std::env::temp_dir().join(format!("serin-demo-{}", std::process::id())));
    let (blue, green) = (App::start("v1").map_err(system)?, App::start("v2").map_err(system)?);
    let server = Server::start(configuration(&blue, &green, &scratch.0)?, Inheritance::default())?;
    let proxy = server.addresses()[0];
    line("Serin demo: two sample apps, a proxy in front, 2,000 made-up users.\n");
    line(&format!("  proxy      http://{proxy}/          curl -i -H 'x-user-id: 42' http://{proxy}/"));
    line(&format!("  dashboard  http://{}/", server.admin()));
    line(&format!("  admin API  http://{0}/api/services   serin status --admin http://{0}", server.admin()));
    line(&format!("  metrics    http://{}/metrics", server.admin()));
    line(&format!("  apps       http://{} (blue), http://{} (green)\n", blue.address(), green.address()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let users = Users::start(proxy).map_err(system)?;
    let story = Story { control: server.control().clone(), users: &users };

    line("A good release: v2 on green.");
    let good = runtime.block_on(story.rollout("v2"))?;
    story.expect(&good, "completed")?;
    line("\nA bad release: v3 on blue answers 500 to everything.");
    blue.become_version("v3", 100);
    let bad = runtime.block_on(story.rollout("v3"))?;
    story.expect(&bad, "rolled_back")?;

    if options.once {
        return Ok(());
    }
    line("\nIt stays up, with its users. What to try (the proxy is in front of both apps):");
    line(&format!("  curl -X POST http://{}/demo/version/v4   blue gets a good version", blue.address()));
    line(&format!("  curl -X POST http://{}/demo/fail/5       blue fails 5 % of its requests", blue.address()));
    line(&format!("  curl -X POST http://{}/demo/slow/200     blue takes 200 ms", blue.address()));
    line(&format!("  serin --admin http://{} deploy start v4", server.admin()));
    line(&format!("  serin --admin http://{} flags set new-dashboard --rollout 50", server.admin()));
    line("Ctrl-C ends it.");
    wait_for_the_end()
}

fn configuration(blue: &App, green: &App, state: &Path) -> Result<config::Config, CliError> {
    let text = format!(
        "listeners: [ {{ address: '127.0.0.1:0' }} ]\n\
         admin: {{ address: '127.0.0.1:0' }}\n\
         state: {{ directory: '{}' }}\n\
         services:\n  {SERVICE}:\n    pools:\n      \
         blue: {{ endpoints: 'http://{}', version: v1 }}\n      \
         green: {{ endpoints: 'http://{}' }}\n    \
         stable: blue\n    canary: green\n    deploy:\n      stages:\n        \
         - {{ percentage: 10, duration: 2s, minRequests: 100, maxErrorRate: 0.05 }}\n        \
         - {{ percentage: 50, duration: 2s, minRequests: 500, maxErrorRate: 0.03 }}\n        \
         - {{ percentage: 100, duration: 0, minRequests: 0, maxErrorRate: 0.02 }}\n      bake: 1s\n",
        state.display(),
        blue.address(),
        green.address(),
    );
    Ok(config::from_text(&text, Path::new("the demo's configuration"))?)
}

struct Story<'a> {
    control: Control,
    users: &'a Arc<Users>,
}

impl Story<'_> {
    /// Starts a deployment and tells what happens until it has ended.
    async fn rollout(&self, version: &str) -> Result<DeploymentRecord, CliError> {
        let refused = |error: crate::control::ControlError| CliError::refused(error.to_string());
        let request = StartRequest::of(version);
        let started = clock::now();
        let errors_before = self.users.errors();
        let order = Order { service: SERVICE.to_owned(), by: "demo".to_owned(), if_match: None };
        let answers = Answers::default();
        let start = move |control: &mut Controller| control.start_deployment(&order, request, &answers);
        self.control.change_deployment(start).await.map_err(refused)?;
        let mut told = 0;
        loop {
            let ended = self
                .control
                .ask(move |control| Ok((control.current_deployment(SERVICE)?, control.deployment_history(SERVICE)?)))
                .await;
            let (current, history) = ended.map_err(refused)?;
            let ended = current.is_none();
            let record = current.or_else(|| history.into_iter().next());
            let Some(record) = record else { continue };
            let elapsed = clock::now().since(started);
            for event in record.events.iter().skip(told) {
                line(&format!("  {:>6.2} s  {}", elapsed.as_secs_f64(), event.text));
            }
            told = record.events.len();
            if ended {
                self.sum_up(&record, self.users.errors() - errors_before);
                return Ok(record);
            }
            if elapsed > PATIENCE {
                return Err(CliError::refused(format!("{version} did not end within {PATIENCE:?}")));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn sum_up(&self, record: &DeploymentRecord, errors: u64) {
        let metrics = &record.metrics;
        let p95 = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        line(&format!(
            "  canary {} requests, {} errors, p95 {}; stable {} requests, {} errors, p95 {}; users saw {errors} errors",
            metrics.canary_requests,
            metrics.canary_errors,
            p95(metrics.canary_latency_p95),
            metrics.baseline_requests,
            metrics.baseline_errors,
            p95(metrics.baseline_latency_p95),
        ));
        if record.status == "rolled_back" {
            let requests = metrics.canary_requests;
            line(&format!("  The bad version took {requests} canary requests; the next one was on stable again."));
        }
    }

    fn expect(&self, record: &DeploymentRecord, status: &str) -> Result<(), CliError> {
        if record.status == status {
            return Ok(());
        }
        let reason = record.rollback_reason.as_deref().unwrap_or("no reason");
        let detail = format!("{} is {}, which it should not be: {reason}", record.version, record.status);
        Err(CliError::refused(detail))
    }
}
