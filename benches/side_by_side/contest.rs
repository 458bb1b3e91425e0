//! One workload for all proxies: taken in turn, round after round, and compared to nginx.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Options;
use crate::certificate::Certificate;
use crate::clients::Clients;
use crate::origin;
use crate::proxies::{self, Job, MEASURE, Proxy};
use crate::workload::Workload;

/// How long a proxy may take for its first answer.
const TRIAL: Duration = Duration::from_secs(5);

/// One proxy, its clients, and what was measured of it.
struct Contestant {
    name: &'static str,
    /// Or the reason why it is skipped.
    at_work: Result<(Proxy, Rc<Clients>), String>,
    ratios: Vec<f64>,
    /// Of the proxy's CPU for each request, in nanoseconds.
    costs: Vec<f64>,
    /// Requests per second.
    rates: Vec<f64>,
}

/// Prints the rows of `workload`.
pub(crate) async fn run(workload: &'static Workload, options: &Options) {
    let dir = tempfile::tempdir().unwrap();
    let mut contestants = start(workload, dir.path()).await;
    for round in 1..=options.rounds {
        let count = contestants.len();
        // Each of them is the first one in turn.
        let mut measured = vec![None; count];
        for turn in 0..count {
            let index = (round + turn) % count;
            measured[index] = contestants[index].measure(options.seconds).await;
        }
        let base = contestants.iter().zip(&measured).find(|(contestant, _)| contestant.name == MEASURE);
        let base = base.and_then(|(_, measured)| *measured).map_or(f64::NAN, |(cost, _)| cost);
        for (contestant, (cost, rate)) in contestants.iter_mut().zip(measured).filter_map(|(c, m)| Some((c, m?))) {
            contestant.ratios.push(cost / base);
            contestant.costs.push(cost);
            contestant.rates.push(rate);
        }
    }
    for contestant in &contestants {
        contestant.print(workload);
    }
}

async fn start(workload: &'static Workload, dir: &Path) -> Vec<Contestant> {
    let certificate = Arc::new(Certificate::write(dir));
    let (stable, canary) = (origin::start(workload).await, origin::start(workload).await);
    let job = Job { workload, stable, canary, certificate: Arc::clone(&certificate), dir: dir.to_owned() };
    let proxies = tokio::task::spawn_blocking(move || proxies::start(&job)).await.unwrap();
    let mut contestants = Vec::new();
    for (name, proxy) in proxies {
        let at_work = proxy.map(|proxy| {
            let clients = Clients::start(proxy.address, workload, &certificate);
            (proxy, clients)
        });
        let mut contestant = Contestant { name, at_work, ratios: Vec::new(), costs: Vec::new(), rates: Vec::new() };
        contestant.try_out().await;
        contestants.push(contestant);
    }
    contestants
}

impl Contestant {
    /// Skips a proxy that does not answer, and says so.
    async fn try_out(&mut self) {
        if let Ok((_, clients)) = &self.at_work {
            let end = Instant::now() + TRIAL;
            clients.begin();
            while clients.answers() == 0 && clients.failure().is_none() && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            clients.pause();
            if clients.answers() == 0 {
                let reason = clients.failure().unwrap_or_else(|| "it does not answer".to_owned());
                self.at_work = Err(reason);
            }
        }
        if let Err(reason) = &self.at_work {
            eprintln!("{} is skipped: {reason}", self.name);
            assert!(self.name != MEASURE, "nginx is the measure: install it (Debian: nginx-light)");
        }
    }

    /// CPU nanoseconds per request, and requests per second.
    async fn measure(&mut self, seconds: f64) -> Option<(f64, f64)> {
        let (proxy, clients) = self.at_work.as_ref().ok()?;
        clients.begin();
        tokio::time::sleep(Duration::from_secs_f64(seconds * 0.25)).await;
        let (cpu, count, since) = (proxy.cpu(), clients.answers(), Instant::now());
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        let (cpu, count, elapsed) = (proxy.cpu() - cpu, clients.answers() - count, since.elapsed());
        clients.pause();
        // What is under way ends before the next one's turn.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(failure) = clients.failure() {
            self.at_work = Err(failure);
            return None;
        }
        Some((cpu as f64 / count as f64, count as f64 / elapsed.as_secs_f64()))
    }

    fn print(&self, workload: &Workload) {
        let (workload, name) = (workload.name, self.name);
        if let Err(reason) = &self.at_work {
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "/");
            println!("| {workload} | {name} | skipped: {reason} | | | |");
            return;
        }
        println!(
            "| {workload} | {name} | {:.2} | {:.2} to {:.2} | {:.1} | {:.0} |",
            median(&self.ratios),
            quantile(&self.ratios, 0.25),
            quantile(&self.ratios, 0.75),
            median(&self.costs) / 1e3,
            median(&self.rates)
        );
    }
}

fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * part).round() as usize]
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
