//! What control holds, and how a change becomes durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::error::ControlError;
use super::publish;
use super::service::ServiceControl;
use crate::clock;
use crate::config::Config;
use crate::decide::time::Moment;
use crate::snapshot::Snapshot;
use crate::store::{DeployState, Done, FlagFile, StateFile, Writer};
use crate::telemetry::FlagCounters;

/// What control begins with.
pub struct Setup {
    /// The configuration.
    pub config: Arc<Config>,
    /// How many workers record.
    pub workers: usize,
    /// Variables of the process that may force flags.
    pub variables: HashMap<String, String>,
    /// The flags as they were stored.
    pub flags: FlagFile,
    /// The deployments as they were stored.
    pub deployments: Option<DeployState>,
    /// Who writes them.
    pub writer: Writer,
}

/// The control plane's state. Only its own task touches it.
pub struct Controller {
    pub(super) config: Arc<Config>,
    pub(super) workers: usize,
    pub(super) variables: HashMap<String, String>,
    pub(super) flags: FlagFile,
    pub(super) flag_counters: HashMap<Vec<String>, Arc<FlagCounters>>,
    pub(super) services: Vec<ServiceControl>,
    deployments_version: u64,
    writer: Writer,
    snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) woken: Arc<Notify>,
    pub(super) changed: Changed,
}

/// What waits to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) flags: bool,
    pub(super) deployments: bool,
}

impl Controller {
    /// Control with what was stored.
    pub fn new(setup: Setup) -> Self {
        let woken = Arc::new(Notify::new());
        let deployments = setup.deployments;
        let service = |config: &crate::config::Service| {
            let stored = deployments.as_ref().and_then(|state| state.service(&config.name));
            ServiceControl::new(Arc::new(config.clone()), stored, setup.workers, &woken)
        };
        let services: Vec<ServiceControl> = setup.config.services.iter().map(service).collect();
        let mut controller = Self {
            workers: setup.workers,
            variables: setup.variables,
            flags: setup.flags,
            flag_counters: HashMap::new(),
            services,
            deployments_version: deployments.as_ref().map_or(0, DeployState::version),
            writer: setup.writer,
            snapshot: Arc::new(ArcSwap::from_pointee(publish::empty(&setup.config))),
            config: setup.config,
            woken,
            changed: Changed { flags: true, deployments: true },
        };
        controller.publish();
        controller
    }

    /// Where the data plane finds its snapshot.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        Arc::clone(&self.snapshot)
    }

    /// Notified when a verdict has closed a dial.
    pub(super) fn woken(&self) -> Arc<Notify> {
        Arc::clone(&self.woken)
    }

    pub(super) fn publish(&mut self) {
        let snapshot = publish::snapshot(self);
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Moves every deployment on as far as it goes; the value is when to look again.
    pub(super) fn tick(&mut self, now: Moment) -> Option<Moment> {
        let mut moved = false;
        for service in &mut self.services {
            moved |= service.tick(now);
        }
        if moved {
            self.changed.deployments = true;
            self.publish();
        }
        self.services.iter().filter_map(|service| service.look_again(now)).min()
    }

    pub(super) fn service(&mut self, name: &str) -> Result<&mut ServiceControl, ControlError> {
        let not_found = || ControlError::NotFound { what: "service", name: name.to_owned() };
        self.services.iter_mut().find(|service| service.config.name == name).ok_or_else(not_found)
    }

    /// Writes what has changed by the control plane's own doing.
    pub(super) fn persist_if_changed(&mut self) {
        if self.changed != Changed::default() {
            self.persist(Box::new(|_| ()));
        }
    }

    /// Writes what has changed; `done` is called once it is durable.
    pub(super) fn persist(&mut self, done: Done) {
        let Changed { flags, deployments } = std::mem::take(&mut self.changed);
        let mut done = Some(done);
        if deployments {
            self.deployments_version += 1;
            let state = self.deploy_state();
            let last = if flags { None } else { done.take() };
            self.write(StateFile::Deployments, &state, last);
        }
        if flags {
            let file = self.flags.clone();
            self.write(StateFile::Flags, &file, done.take());
        }
        if let Some(done) = done {
            done(Ok(()));
        }
    }

    fn write<T: serde::Serialize>(&self, file: StateFile, value: &T, done: Option<Done>) {
        let done = done.unwrap_or_else(|| Box::new(|_| ()));
        match serde_json::to_vec_pretty(value) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                self.writer.write(file, bytes, done);
            }
            Err(error) => done(Err(error.to_string())),
        }
    }

    fn deploy_state(&self) -> DeployState {
        let services: BTreeMap<_, _> =
            self.services.iter().map(|service| (service.config.name.clone(), service.record())).collect();
        DeployState::new(self.config.three_lines, services, clock::rfc3339(), self.deployments_version)
    }
}
