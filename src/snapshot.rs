//! What a request sees: routes, services, pools and flags as one immutable value.
//!
//! Owns: the shape that control publishes and the proxy reads. Touches: nothing.
//! A request takes one snapshot and nobody ever sees half a change. Dials and
//! ledgers are carried through all snapshots by identity.

mod flags;

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;

use crate::config::{self, Config, Host};
use crate::decide::bucket::{Bucket, Salt, Share};
use crate::decide::flags::Chosen;
use crate::store::FlagFile;
use crate::subject::{Subject, Tap, Track, Word};
use crate::telemetry::{MergedLatency, PoolSeries, ServiceStats};
use crate::upstream::PoolState;

pub use flags::{ExposedFlag, FlagSet, LiveRamp, answers};

/// Everything that the data plane knows.
#[derive(Debug)]
pub struct Snapshot {
    /// The configuration it came from.
    pub config: Arc<Config>,
    /// In the order of the configuration.
    pub services: Vec<Arc<ServiceState>>,
    /// Which of them a host and path lead to.
    pub routes: Routes,
    /// The flags, compiled.
    pub flags: Arc<FlagSet>,
    /// All flags as they are stored, for who reads without asking control.
    pub all_flags: Arc<FlagFile>,
}

/// A service with the roles that its pools have now.
#[derive(Debug)]
pub struct ServiceState {
    /// Its configuration.
    pub config: Arc<config::Service>,
    /// Where everybody goes without a deployment.
    pub stable: Role,
    /// How the app servers of its pools are, in the order of the configuration.
    pub pools: Arc<[Arc<PoolState>]>,
    /// The deployment that runs.
    pub canary: Option<Canary>,
    /// Where outcomes are told while something is rehearsed with them.
    pub rehearsal: Option<Arc<Tap>>,
    /// Its counters, for as long as the process runs.
    pub stats: Arc<ServiceStats>,
    /// Stable's latencies of the last minutes.
    pub stable_recent: Arc<MergedLatency>,
    /// The answers of the current and the previous roles.
    pub series: Vec<Arc<PoolSeries>>,
}

impl ServiceState {
    /// Whether nothing has changed since another one: then that one goes on.
    pub fn is_as(&self, other: &Self) -> bool {
        let same_rehearsal = match (&self.rehearsal, &other.rehearsal) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let same_canary = match (&self.canary, &other.canary) {
            (Some(one), Some(other)) => one.is_as(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let same_series = |(one, other): (&Arc<PoolSeries>, &Arc<PoolSeries>)| Arc::ptr_eq(one, other);
        Arc::ptr_eq(&self.config, &other.config)
            && self.stable.is_as(&other.stable)
            && Arc::ptr_eq(&self.pools, &other.pools)
            && same_canary
            && same_rehearsal
            && Arc::ptr_eq(&self.stable_recent, &other.stable_recent)
            && self.series.len() == other.series.len()
            && self.series.iter().zip(&other.series).all(same_series)
    }

    /// Where somebody is sent now.
    pub fn place(&self, id: Option<&str>, user: Option<&str>, groups: Option<&str>) -> Place {
        match &self.canary {
            Some(canary) => canary.place(canary.subject.word(), id, user, groups),
            None => Place { track: Track::Stable, bucket: None, reason: "none" },
        }
    }

    /// The role of a track; the canary's while one runs.
    pub fn role(&self, track: Track) -> &Role {
        match (track, &self.canary) {
            (Track::Canary, Some(canary)) => &canary.role,
            _ => &self.stable,
        }
    }
}

/// A pool in a role.
#[derive(Clone, Debug)]
pub struct Role {
    /// The index of the pool in the service's configuration.
    pub pool: usize,
    /// What the pool runs, where anybody said.
    pub version: Option<HeaderValue>,
    /// Its answers.
    pub series: Arc<PoolSeries>,
}

impl Role {
    fn is_as(&self, other: &Self) -> bool {
        self.pool == other.pool && Arc::ptr_eq(&self.series, &other.series) && self.version == other.version
    }
}

/// A deployment as the data plane sees it.
#[derive(Debug)]
pub struct Canary {
    /// Its pool.
    pub role: Role,
    /// Its dial, ledgers and judge.
    pub subject: Arc<Subject>,
    /// Whose buckets it draws.
    pub salt: Salt,
    /// Latencies of both tracks since it began.
    pub latency: Arc<[MergedLatency; 2]>,
    /// Stable's latencies in the latency guard's window.
    pub stable_window: Arc<MergedLatency>,
    /// The stage it is in, from 0; the number of stages in the bake.
    pub stage: usize,
    /// Who is always on it.
    pub include: Chosen,
    /// Who is never.
    pub exclude: Chosen,
}

/// Where somebody is sent, and on what ground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub track: Track,
    /// The bucket that was drawn.
    pub bucket: Option<Bucket>,
    /// Why: share, include, exclude or none.
    pub reason: &'static str,
}

impl Canary {
    /// Where somebody is sent under this word of the dial: exclude, include, share, in this
    /// order (SPEC 2.5).
    pub fn place(&self, word: Word, id: Option<&str>, user: Option<&str>, groups: Option<&str>) -> Place {
        let chosen = |track, reason| Place { track, bucket: None, reason };
        if self.exclude.has(user, groups) {
            return chosen(Track::Stable, "exclude");
        }
        if self.include.has(user, groups) && !word.closed() {
            return chosen(Track::Canary, "include");
        }
        let bucket = id.map(|id| self.salt.bucket(id));
        let on_canary = match bucket {
            Some(bucket) => word.reaches(bucket),
            None => word.share() == Share::EVERYBODY,
        };
        let track = if on_canary { Track::Canary } else { Track::Stable };
        let drawn = bucket.is_some() || on_canary;
        Place { track, bucket, reason: if drawn { "share" } else { "none" } }
    }

    /// Who is chosen is fixed when a deployment starts, and so are its buckets.
    fn is_as(&self, other: &Self) -> bool {
        self.role.is_as(&other.role)
            && Arc::ptr_eq(&self.subject, &other.subject)
            && Arc::ptr_eq(&self.latency, &other.latency)
            && Arc::ptr_eq(&self.stable_window, &other.stable_window)
            && self.stage == other.stage
    }
}

/// Which service a host and path lead to: longest prefix at segment bounds wins.
#[derive(Debug, Default)]
pub struct Routes {
    /// The service that has everything, where it is the only one.
    only: Option<usize>,
    exact: HashMap<String, Paths>,
    /// Longest suffix first.
    suffixes: Vec<(String, Paths)>,
    rest: Paths,
}

#[derive(Debug, Default)]
struct Paths(Vec<(String, usize)>);

impl Paths {
    fn add(&mut self, path: &str, service: usize) {
        self.0.push((path.to_owned(), service));
        self.0.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    }

    fn find(&self, path: &str) -> Option<usize> {
        let within = |prefix: &str| {
            prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.0.iter().find(|(prefix, _)| within(prefix)).map(|(_, service)| *service)
    }
}

impl Routes {
    /// The routes of a configuration.
    pub fn new(services: &[config::Service]) -> Self {
        let mut routes = Self::default();
        for (index, service) in services.iter().enumerate() {
            if service.hosts.is_empty() {
                routes.rest.add(&service.path, index);
            }
            for host in &service.hosts {
                match host {
                    Host::Exact(name) => routes.exact.entry(name.clone()).or_default().add(&service.path, index),
                    Host::Suffix(suffix) => match routes.suffixes.iter_mut().find(|(own, _)| own == suffix) {
                        Some((_, paths)) => paths.add(&service.path, index),
                        None => {
                            let mut paths = Paths::default();
                            paths.add(&service.path, index);
                            routes.suffixes.push((suffix.clone(), paths));
                        }
                    },
                }
            }
        }
        routes.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        let takes_all = |service: &config::Service| service.hosts.is_empty() && service.path == "/";
        routes.only = (services.len() == 1 && takes_all(&services[0])).then_some(0);
        routes
    }

    /// The only service, where it takes everything.
    pub fn only(&self) -> Option<usize> {
        self.only
    }

    /// The service of a host (lower case, without port and trailing dot) and a decoded path.
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        let exact = self.exact.get(host).and_then(|paths| paths.find(path));
        let suffix = || {
            let fits = |(suffix, _): &&(String, Paths)| host.len() > suffix.len() && host.ends_with(suffix.as_str());
            self.suffixes.iter().filter(fits).find_map(|(_, paths)| paths.find(path))
        };
        exact.or_else(suffix).or_else(|| self.rest.find(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_most_specific_service_wins() {
        let text = "
listen: 127.0.0.1:0
services:
  rest: { pools: { a: { endpoints: http://a } }, stable: a }
  shop: { match: { hosts: [shop.example.com, '*.shop.example.com'] }, pools: { a: { endpoints: http://a } }, stable: a }
  api: { match: { hosts: shop.example.com, path: /api/ }, pools: { a: { endpoints: http://a } }, stable: a }
  eu: { match: { hosts: '*.eu.shop.example.com' }, pools: { a: { endpoints: http://a } }, stable: a }
";
        let config = config::from_text(text, Path::new("t")).unwrap();
        let routes = Routes::new(&config.services);
        let find = |host, path| routes.find(host, path).map(|index| config.services[index].name.as_str());
        assert_eq!(find("shop.example.com", "/"), Some("shop"));
        assert_eq!(find("shop.example.com", "/api"), Some("api"));
        assert_eq!(find("shop.example.com", "/api/x"), Some("api"));
        assert_eq!(find("shop.example.com", "/apix"), Some("shop"));
        assert_eq!(find("a.b.shop.example.com", "/"), Some("shop"));
        assert_eq!(find("x.eu.shop.example.com", "/"), Some("eu"));
        assert_eq!(find("elsewhere", "/"), Some("rest"));
        assert_eq!(routes.only(), None);
    }
}
