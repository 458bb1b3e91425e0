//! The metrics text (SPEC 8), read from the ledgers at scrape time.

use std::fmt::Error;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::outcome::OutcomeKind;
use super::stats::{ProcessStats, Refusal, Rescue};
use crate::clock;
use crate::snapshot::answers;
use crate::snapshot::{Canary, ServiceState, Snapshot};
use crate::subject::Track;

/// Upper bounds of the latency histogram, in seconds.
const BOUNDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// How the text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` field asks for.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A flag as the guide's gauges show it.
#[derive(Clone, Debug)]
pub struct FlagGauge {
    /// Its name.
    pub name: String,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Its rollout percentage.
    pub rollout: f64,
}

/// Everything that a scrape tells.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// What the data plane sees.
    pub snapshot: Arc<Snapshot>,
    /// Counts of the process.
    pub process: Arc<ProcessStats>,
    /// All flags.
    pub flags: Vec<FlagGauge>,
    /// State writes that failed.
    pub state_write_errors: u64,
    /// State files that were broken at the start.
    pub state_recovered: u64,
    /// Lines of the access log that were written, and dropped.
    pub access_log_lines: [u64; 2],
    /// Client connections open on each worker.
    pub worker_connections: Vec<u64>,
    /// Connections that went to an emptier worker.
    pub connections_moved: u64,
}

impl Scrape {
    /// The metrics text.
    ///
    /// # Errors
    /// None in practice: writing to a text cannot fail.
    pub fn render(self, format: Format) -> Result<String, Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Prometheus => to_prometheus(&text),
        })
    }
}

/// OpenMetrics names a counter's family without `_total`; text 0.0.4 names it as its samples.
fn to_prometheus(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help: Option<&str> = None;
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some(help) = help.take() {
                let words = help["# HELP ".len()..].split_once(' ').map_or("", |(_, words)| words);
                out.push_str(&format!("# HELP {name}{suffix} {words}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Name, help and value of a gauge of the running deployment.
type CanaryGauge = (&'static str, &'static str, fn(&Canary) -> f64);

type Labels<'a> = Vec<(&'a str, String)>;

/// One family at a time.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), Error> {
        self.family(name, help, None, MetricType::Counter, samples, |encoder, value| {
            ConstCounter::new(value).encode(encoder)
        })
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> Result<(), Error> {
        self.family(name, help, None, MetricType::Gauge, samples, |encoder, value| {
            // The guide prints whole numbers as whole numbers.
            if value.fract() == 0.0 && value.abs() < 1e15 {
                ConstGauge::new(value as i64).encode(encoder)
            } else {
                ConstGauge::new(value).encode(encoder)
            }
        })
    }

    fn family<'l, T>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels<'l>, T)>,
        write: impl Fn(MetricEncoder<'_>, T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut samples = samples.into_iter().peekable();
        // A family without samples would be a header without a body.
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                // Without labels there is one sample.
                return write(family, value);
            }
            write(family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut families = Families(encoder);
        self.encode_guide(&mut families)?;
        self.encode_services(&mut families)?;
        self.encode_deployments(&mut families)?;
        self.encode_flags(&mut families)?;
        self.encode_process(&mut families)
    }
}

impl Scrape {
    /// The guide's gauges, with the guide's names.
    fn encode_guide(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let space = &self.snapshot.config.metrics_namespace;
        let flag = |gauge: &FlagGauge, value: f64| (vec![("name", gauge.name.clone())], value);
        families.gauges(
            &format!("{space}_feature_flag_enabled"),
            "1: the flag is switched on; 0: it is off for everybody",
            self.flags.iter().map(|gauge| flag(gauge, f64::from(u8::from(gauge.enabled)))),
        )?;
        families.gauges(
            &format!("{space}_feature_flag_rollout"),
            "The flag's rollout percentage",
            self.flags.iter().map(|gauge| flag(gauge, gauge.rollout)),
        )?;
        let canary: [CanaryGauge; 6] = [
            ("active", "1: a deployment runs; 0: none does", |_| 1.0),
            ("percentage", "The share of users on the canary, in percent", |c| c.subject.word().share().percentage()),
            ("requests", "Canary requests of the current deployment", |c| {
                c.subject.total(Track::Canary).requests as f64
            }),
            ("errors", "Canary errors of the current deployment", |c| c.subject.total(Track::Canary).errors as f64),
            ("error_rate", "Canary errors per request of the current deployment", |c| {
                let total = c.subject.total(Track::Canary);
                if total.requests == 0 { 0.0 } else { total.errors as f64 / total.requests as f64 }
            }),
            ("latency_p95", "The canary's 95th percentile of latency, in milliseconds", |c| {
                c.latency[Track::Canary.index()].quantile(0.95).map_or(0.0, |p95| p95.as_secs_f64() * 1e3)
            }),
        ];
        for (name, help, value) in canary {
            families.gauges(
                &format!("{space}_canary_{name}"),
                help,
                self.snapshot
                    .services
                    .iter()
                    .map(|service| (self.guide_labels(service), service.canary.as_ref().map_or(0.0, value))),
            )?;
        }
        Ok(())
    }

    /// With the three-line form there is one service, and the guide prints no labels.
    fn guide_labels(&self, service: &ServiceState) -> Labels<'static> {
        if self.snapshot.config.three_lines { Vec::new() } else { vec![("service", service.config.name.clone())] }
    }

    fn encode_services(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let services = &self.snapshot.services;
        let series = services.iter().flat_map(|service| &service.series);
        families.counters(
            "serin_requests",
            "Requests by the code that the client was answered",
            series.flat_map(|series| {
                series.codes().into_iter().map(|(code, count)| {
                    let labels = vec![
                        ("service", series.service.clone()),
                        ("track", series.track.name().to_owned()),
                        ("pool", series.pool.clone()),
                        ("version", series.version.clone()),
                        ("code", code),
                    ];
                    (labels, count)
                })
            }),
        )?;
        let by_track = |service: &ServiceState, track: Track| {
            vec![("service", service.config.name.clone()), ("track", track.name().to_owned())]
        };
        let tracks = || services.iter().flat_map(|service| Track::BOTH.map(|track| (service, track)));
        families.counters(
            "serin_outcomes",
            "Outcomes of exchanges by track",
            tracks().flat_map(|(service, track)| {
                OutcomeKind::ALL.map(|kind| {
                    let mut labels = by_track(service, track);
                    labels.push(("outcome", kind.name().to_owned()));
                    (labels, service.stats.outcomes(track, kind))
                })
            }),
        )?;
        families.counters(
            "serin_attempts",
            "Further attempts: on another app server, on stable in the canary's place, on the other track",
            services.iter().flat_map(|service| {
                let results = Rescue::ALL.into_iter().flat_map(|rescue| [(rescue, true), (rescue, false)]);
                results.map(|(rescue, good)| {
                    let result = if good { "success" } else { "error" };
                    let labels = vec![
                        ("service", service.config.name.clone()),
                        ("kind", rescue.name().to_owned()),
                        ("result", result.to_owned()),
                    ];
                    (labels, service.stats.rescues(rescue, good))
                })
            }),
        )?;
        let servers = || {
            services.iter().flat_map(|service| {
                let pools = service.config.pools.iter().zip(&*service.pools);
                pools.flat_map(|(config, pool)| {
                    pool.servers().iter().map(|server| {
                        let labels = vec![
                            ("service", service.config.name.clone()),
                            ("pool", config.name.clone()),
                            ("endpoint", server.address().to_string()),
                        ];
                        (labels, server)
                    })
                })
            })
        };
        families.gauges(
            "serin_endpoint_available",
            "1: requests go to it; 0: unhealthy, or left out for its errors",
            servers().map(|(labels, server)| (labels, f64::from(u8::from(server.is_available(clock::now()))))),
        )?;
        families.counters(
            "serin_endpoint_ejections",
            "How often it was left out for errors in a row",
            servers().map(|(labels, server)| (labels, server.ejections())),
        )?;
        families.family(
            "serin_request_duration",
            "From the end of a request to the head of its answer",
            Some(&Unit::Seconds),
            MetricType::Histogram,
            tracks().map(|(service, track)| (by_track(service, track), service.stats.latency(track).buckets(&BOUNDS))),
            |mut encoder, (sum, count, buckets)| encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None),
        )?;
        families.counters(
            "serin_rollbacks",
            "Rollbacks by the rule that asked for them: errors, latency, limit, errorRate",
            services.iter().flat_map(|service| {
                service.stats.rollbacks().into_iter().map(|(rule, count)| {
                    (vec![("service", service.config.name.clone()), ("rule", rule.to_owned())], count)
                })
            }),
        )
    }

    fn encode_deployments(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let running: Vec<(&Arc<ServiceState>, &Canary)> =
            self.snapshot.services.iter().filter_map(|service| Some((service, service.canary.as_ref()?))).collect();
        families.gauges(
            "serin_deployment_stage",
            "The stage of the running deployment, from 0; the number of stages in the bake",
            running
                .iter()
                .map(|(service, canary)| (vec![("service", service.config.name.clone())], canary.stage as f64)),
        )?;
        let guards: Vec<(Labels<'_>, f64, f64)> = running
            .iter()
            .flat_map(|(service, canary)| {
                let standings = canary.subject.judge().standings();
                standings.into_iter().map(|standing| {
                    let labels = vec![("service", service.config.name.clone()), ("guard", standing.guard)];
                    (labels, standing.evidence, standing.bound)
                })
            })
            .collect();
        families.gauges(
            "serin_guard_evidence",
            "What a bet of 1 against an unchanged version has become",
            guards.iter().map(|(labels, evidence, _)| (labels.clone(), *evidence)),
        )?;
        families.gauges(
            "serin_guard_bound",
            "The evidence at which the guard fires",
            guards.iter().map(|(labels, _, bound)| (labels.clone(), *bound)),
        )
    }

    fn encode_flags(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let flags = &self.snapshot.flags;
        families.counters(
            "serin_flag_evaluations",
            "Evaluations of exposed flags for requests",
            flags.exposed.iter().flat_map(|exposed| {
                answers(&exposed.flag).into_iter().enumerate().map(|(number, answer)| {
                    let labels = vec![("flag", exposed.flag.name().to_string()), ("value", answer)];
                    (labels, exposed.counters.sum(number))
                })
            }),
        )
    }

    fn encode_process(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let process = &self.process;
        families.counters(
            "serin_refused",
            "Requests and connections that Serin refused before any attempt",
            Refusal::ALL.map(|refusal| (vec![("reason", refusal.name().to_owned())], process.refused(refusal))),
        )?;
        families.gauges(
            "serin_connections_open",
            "Client connections open now",
            [(Vec::new(), process.open() as f64)],
        )?;
        families.gauges(
            "serin_connections_limit",
            "Client connections that may be open at once",
            [(Vec::new(), self.snapshot.config.limits.connections as f64)],
        )?;
        let by_worker = self.worker_connections.iter().enumerate();
        families.gauges(
            "serin_worker_connections",
            "Client connections open on each worker",
            by_worker.map(|(worker, open)| (vec![("worker", worker.to_string())], *open as f64)),
        )?;
        families.counters(
            "serin_connections_moved",
            "Client connections that were accepted by one worker and went to an emptier one",
            [(Vec::new(), self.connections_moved)],
        )?;
        families.counters("serin_connections", "Client connections accepted", [(Vec::new(), process.accepted())])?;
        families.counters(
            "serin_upstream_connections",
            "Connections opened to app servers",
            [(Vec::new(), process.upstream_connects())],
        )?;
        families.counters(
            "serin_upstream_idle_dead",
            "Requests sent again because an idle connection had been closed",
            [(Vec::new(), process.dead_idle())],
        )?;
        families.counters(
            "serin_panics",
            "Faults of Serin's own that ended a connection",
            [(Vec::new(), process.panics())],
        )?;
        families.counters(
            "serin_state_write_errors",
            "State writes that failed",
            [(Vec::new(), self.state_write_errors)],
        )?;
        families.gauges(
            "serin_state_recovered",
            "State files that were broken at the start and were put aside",
            [(Vec::new(), self.state_recovered as f64)],
        )?;
        let [written, dropped] = self.access_log_lines;
        let lines = [("written", written), ("dropped", dropped)];
        families.counters(
            "serin_access_log_lines",
            "Lines of the access log, by what became of them",
            lines.map(|(result, count)| (vec![("result", result.to_owned())], count)),
        )?;
        let reloads = [true, false].map(|good| {
            let result = if good { "applied" } else { "refused" };
            (vec![("result", result.to_owned())], self.process.config_reloads(good))
        });
        families.counters("serin_config_reloads", "Changed configurations, by what became of them", reloads)?;
        families.gauges(
            "serin_config_reload_success",
            "1: the newest configuration is in force; 0: it was refused",
            [(Vec::new(), if self.process.config_is_current() { 1.0 } else { 0.0 })],
        )?;
        families.gauges(
            "serin_build_info",
            "The version that runs",
            [(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_named_as_its_samples() {
        let openmetrics = "# HELP a_b Words here.\n# TYPE a_b counter\na_b_total{x=\"1\"} 2\n\
            # HELP g_seconds G.\n# TYPE g_seconds gauge\n# UNIT g_seconds seconds\ng_seconds 1\n# EOF\n";
        let expected = "# HELP a_b_total Words here.\n# TYPE a_b_total counter\na_b_total{x=\"1\"} 2\n\
            # HELP g_seconds G.\n# TYPE g_seconds gauge\ng_seconds 1\n";
        assert_eq!(to_prometheus(openmetrics), expected);
    }
}
