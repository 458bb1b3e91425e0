//! From control's state to the snapshot that the data plane reads.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::controller::Controller;
use super::rehearsal::Rehearsing;
use super::service::ServiceControl;
use crate::config::Config;
use crate::decide::flags::Chosen;
use crate::snapshot::{Canary, ExposedFlag, FlagSet, Role, Routes, ServiceState, Snapshot, answers};
use crate::subject::Track;
use crate::telemetry::FlagCounters;

/// A snapshot without services.
pub(super) fn empty(config: &Arc<Config>) -> Snapshot {
    Snapshot {
        config: Arc::clone(config),
        services: Vec::new(),
        routes: Routes::default(),
        flags: Arc::default(),
        all_flags: Arc::default(),
    }
}

pub(super) fn snapshot(controller: &mut Controller) -> Snapshot {
    let flags = Arc::new(flags(controller));
    let before = controller.published();
    let known: HashMap<&str, &Arc<ServiceState>> =
        before.services.iter().map(|state| (state.config.name.as_str(), state)).collect();
    let services = controller.services.iter_mut().map(|service| {
        let state = state(service);
        // What stays lets workers keep what they have of it.
        match known.get(state.config.name.as_str()).filter(|known| known.is_as(&state)) {
            Some(known) => Arc::clone(known),
            None => Arc::new(state),
        }
    });
    let services = services.collect();
    Snapshot {
        routes: Routes::new(&controller.config.services),
        config: Arc::clone(&controller.config),
        services,
        flags,
        all_flags: Arc::clone(&controller.flags),
    }
}

fn state(service: &mut ServiceControl) -> ServiceState {
    let stable_version = service.stable_version.clone();
    let stable = role(service, Track::Stable, service.stable, stable_version.as_deref());
    let running = service.current.as_ref().map(|deployment| (deployment.pool, deployment.version().to_owned()));
    let canary_role = running.map(|(pool, version)| role(service, Track::Canary, pool, Some(&version)));
    let canary = canary_role.zip(service.current.as_ref()).map(|(role, deployment)| Canary {
        role,
        subject: Arc::clone(&deployment.run.subject),
        salt: deployment.salt(),
        latency: Arc::clone(&deployment.latency),
        stable_window: Arc::clone(deployment.run.stable_window()),
        stage: deployment.stage_index(),
        include: Chosen::new(&deployment.chosen().include),
        exclude: Chosen::new(&deployment.chosen().exclude),
    });
    ServiceState {
        config: Arc::clone(&service.config),
        stable,
        pools: Arc::clone(&service.pools),
        canary,
        rehearsal: service.rehearsing.as_ref().and_then(Rehearsing::tap),
        stats: Arc::clone(&service.stats),
        stable_recent: service.stable_recent.current(),
        series: service.all_series(),
    }
}

fn role(service: &mut ServiceControl, track: Track, pool: usize, version: Option<&str>) -> Role {
    Role {
        pool,
        version: version.and_then(|version| HeaderValue::from_str(version).ok()),
        series: service.series(track, pool, version),
    }
}

fn flags(controller: &mut Controller) -> FlagSet {
    controller.follow_ramps();
    let all = controller.compile();
    let settings = &controller.config.flags.headers;
    let workers = controller.recorders();
    let (mut exposed, mut counters) = (Vec::new(), HashMap::new());
    for name in controller.exposed_names() {
        if exposed.len() == settings.max_count {
            // Only a file edited by hand has more: writes are checked.
            tracing::error!(
                limit = settings.max_count,
                "more flags than flags.headers.maxCount: the rest has no header"
            );
            break;
        }
        let header = HeaderName::try_from(format!("{}{}", settings.prefix, name.as_header_part()));
        if let (Some(flag), Ok(header)) = (all.get(name), header) {
            // With other answers a flag is counted anew.
            let counted = (name.clone(), answers(flag));
            let new = || Arc::new(FlagCounters::new(workers, counted.1.len()));
            let own = controller.flag_counters.get(&counted).map_or_else(new, Arc::clone);
            exposed.push(ExposedFlag::new(Arc::clone(flag), header, Arc::clone(&own)));
            counters.insert(counted, own);
        }
    }
    controller.flag_counters = counters;
    FlagSet {
        splits: !controller.ramps.is_empty() || exposed.iter().any(|exposed| exposed.flag.splits()),
        asks_the_time: exposed.iter().any(|exposed| exposed.flag.asks_the_time()),
        ramps: controller.ramps.live(),
        exposed,
        all,
    }
}
