//! What control holds, and what of it has to be written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::checkpoint::Checkpoint;
use super::compiled::Compiled;
use super::error::ControlError;
use super::events::{Change, Events};
use super::publish;
use super::ramps::Ramps;
use super::rehearsal::Rehearsing;
use super::service::ServiceControl;
use crate::clock;
use crate::config::Config;
use crate::decide::flags::FlagName;
use crate::decide::time::Moment;
use crate::snapshot::Snapshot;
use crate::store::{DeployState, EventRecord, FlagFile, ServiceRecord, Writer};
use crate::telemetry::FlagCounters;

/// What control begins with.
pub struct Setup {
    /// The configuration.
    pub config: Arc<Config>,
    /// How many workers record.
    pub workers: usize,
    /// Variables of the process that may force flags.
    pub variables: HashMap<String, String>,
    /// The flags as they were stored; `None`: a first start.
    pub flags: Option<FlagFile>,
    /// The deployments as they were stored.
    pub deployments: Option<DeployState>,
    /// What running deployments had counted.
    pub checkpoint: Checkpoint,
    /// Who writes all of that.
    pub writer: Writer,
}

/// The control plane's state. Only its own task touches it.
pub struct Controller {
    pub(super) config: Arc<Config>,
    workers: usize,
    pub(super) variables: HashMap<String, String>,
    pub(super) flags: Arc<FlagFile>,
    /// The flag file is not there yet: it is made at once, for who wants to edit it.
    pub(super) unsaved_flags: bool,
    /// Why the flag file cannot be written: somebody broke it by hand.
    pub(super) broken_flags: Option<String>,
    /// Another process is to have the state: nothing changes.
    pub(super) resting: bool,
    pub(super) compiled: Compiled,
    pub(super) ramps: Ramps,
    /// By name and answers.
    pub(super) flag_counters: HashMap<(FlagName, Vec<String>), Arc<FlagCounters>>,
    pub(super) services: Vec<ServiceControl>,
    /// What was stored of services that the configuration lacks: nothing is lost.
    pub(super) absent: BTreeMap<String, ServiceRecord>,
    deployments_version: u64,
    /// Something happened to a deployment that is not on disk yet.
    pub(super) unsaved: Unsaved,
    pub(super) writer: Writer,
    snapshot: Arc<ArcSwap<Snapshot>>,
    woken: Arc<Notify>,
    events: Events,
    /// What happened and was not told yet: it is told once it is durable.
    untold: Vec<Change>,
}

/// What of the deployments is not on disk yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unsaved {
    /// Nothing.
    Nothing,
    /// A change.
    Change,
    /// A rollback: it has to survive in the copy of the file, too.
    Rollback,
}

impl Controller {
    /// Control with what was stored.
    pub fn new(setup: Setup) -> Self {
        let woken = Arc::new(Notify::new());
        let deployments = setup.deployments;
        // One more recorder than workers: control records what the proxy does not see.
        let recorders = setup.workers + 1;
        let service = |config: &crate::config::Service| {
            let stored = deployments.as_ref().and_then(|state| state.service(&config.name));
            ServiceControl::new(Arc::new(config.clone()), stored, &setup.checkpoint, recorders, &woken)
        };
        let services: Vec<ServiceControl> = setup.config.services.iter().map(service).collect();
        let mut controller = Self {
            workers: setup.workers,
            variables: setup.variables,
            unsaved_flags: setup.flags.is_none(),
            flags: Arc::new(setup.flags.unwrap_or_default()),
            broken_flags: None,
            resting: false,
            compiled: Compiled::default(),
            ramps: Ramps::new(setup.checkpoint.ramps, recorders, &woken),
            flag_counters: HashMap::new(),
            absent: absent(deployments.as_ref(), &setup.config),
            services,
            deployments_version: deployments.as_ref().map_or(0, DeployState::version),
            unsaved: if deployments.is_none() { Unsaved::Change } else { Unsaved::Nothing },
            writer: setup.writer,
            snapshot: Arc::new(ArcSwap::from_pointee(publish::empty(&setup.config))),
            config: setup.config,
            woken,
            events: Events::new(clock::unix_millis()),
            untold: Vec::new(),
        };
        // A verdict that was remembered is carried out before the first request.
        controller.tick(clock::now());
        if controller.services.iter().any(|service| service.ended_at_start) {
            controller.unsaved = Unsaved::Rollback;
        }
        controller.publish();
        controller
    }

    /// Where the data plane finds its snapshot.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// What was published last.
    pub(super) fn published(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Who tells changes.
    pub fn events(&self) -> Events {
        self.events.clone()
    }

    /// Notified when a verdict has come.
    pub(super) fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.woken)
    }

    /// The number under which control itself records outcomes.
    pub(super) fn recorder(&self) -> usize {
        self.workers
    }

    /// How many record.
    pub(super) fn recorders(&self) -> usize {
        self.workers + 1
    }

    pub(super) fn publish(&mut self) {
        let snapshot = publish::snapshot(self);
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Moves every deployment on as far as it goes; the value is when to look again.
    pub(super) fn tick(&mut self, now: Moment) -> Option<Moment> {
        let (mut moved, mut turned) = (false, self.tick_ramps(now));
        for service in &mut self.services {
            moved |= service.tick(now);
            turned |= service.stable_recent.turn(now);
            turned |= service.rehearsing.as_mut().is_some_and(Rehearsing::has_just_ended);
        }
        if moved {
            self.deployments_changed();
        }
        if moved || turned {
            self.publish();
        }
        let services = self.services.iter().filter_map(|service| service.look_again(now));
        services.chain(self.ramps.look_again(now)).min()
    }

    pub(super) fn service(&mut self, name: &str) -> Result<&mut ServiceControl, ControlError> {
        let not_found = || ControlError::NotFound { what: "service", name: name.to_owned() };
        self.services.iter_mut().find(|service| service.config.name == name).ok_or_else(not_found)
    }

    /// Something happened to a deployment: it has to be written, then told.
    pub(super) fn deployments_changed(&mut self) {
        for service in &mut self.services {
            let rolled_back = service.untold.iter().any(|(_, event)| event.kind == "rolledBack");
            self.unsaved = self.unsaved.max(if rolled_back { Unsaved::Rollback } else { Unsaved::Change });
            for (deployment, event) in service.untold.drain(..) {
                let EventRecord { at, kind, by, text } = event;
                let service = Some(service.config.name.clone());
                let deployment = Some(deployment);
                self.untold.push(Change { version: 0, at, kind, by, service, deployment, flag: None, text });
            }
        }
    }

    pub(super) fn flag_changed(&mut self, kind: &str, by: &str, flag: Option<&str>, text: String) {
        let (kind, by, flag) = (kind.to_owned(), by.to_owned(), flag.map(str::to_owned));
        let at = clock::rfc3339();
        self.untold.push(Change { version: 0, at, kind, by, service: None, deployment: None, flag, text });
    }

    /// Tells what is durable now, or as durable as it gets.
    pub(super) fn tell(&mut self) {
        for change in self.untold.drain(..) {
            self.events.tell(change);
        }
    }

    /// What was to be told did not happen.
    pub(super) fn forget_untold(&mut self) {
        self.untold.clear();
    }

    /// `deploy-state.json` as it has to be now, under the next version number.
    pub(super) fn deploy_state(&mut self) -> DeployState {
        self.deployments_version += 1;
        let present = self.services.iter().map(|service| (service.config.name.clone(), service.record()));
        let services: BTreeMap<_, _> = self.absent.clone().into_iter().chain(present).collect();
        DeployState::new(
            self.config.three_lines && self.absent.is_empty(),
            services,
            clock::rfc3339(),
            self.deployments_version,
        )
    }

    /// `checkpoint.json` as it has to be now; `None` while nothing runs.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let running = self.services.iter().filter_map(|service| service.current.as_ref()?.checkpoint());
        let deployments: BTreeMap<_, _> = running.collect();
        let ramps: BTreeMap<_, _> = self.ramps.checkpoints().collect();
        (!deployments.is_empty() || !ramps.is_empty()).then_some(Checkpoint { deployments, ramps })
    }
}

/// What is stored of services that a configuration lacks.
fn absent(stored: Option<&DeployState>, config: &Config) -> BTreeMap<String, ServiceRecord> {
    let has = |name: &String| config.services.iter().any(|service| service.name == *name);
    match stored {
        Some(DeployState::Services(state)) => {
            let absent = state.services.iter().filter(|(name, _)| !has(name));
            absent.map(|(name, record)| (name.clone(), record.clone())).collect()
        }
        _ => BTreeMap::new(),
    }
}
