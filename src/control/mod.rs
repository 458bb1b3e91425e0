//! The control plane: the only writer of what the data plane reads.
//!
//! Owns: deployments with their clocks and histories, flags, the snapshot.
//! Touches: `decide`, `subject`, `store`; publishes snapshots. Commands come in
//! by a channel and are carried out one after another, each answered.
//!
//! On a decision the dial comes first, then the durable write, then who listens.
//! On a command the write comes first: what cannot be written is not carried out.
//! Flag changes that wait together share one write.

mod checkpoint;
mod compiled;
mod controller;
mod course;
mod deployment;
mod deployments;
mod error;
mod events;
mod flags;
mod import;
mod outlook;
mod prerequisites;
mod publish;
mod ramps;
mod reconfigure;
mod rehearsal;
mod run;
mod service;
mod versions;
mod warnings;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

pub use checkpoint::Checkpoint;
pub use controller::{Controller, Setup};
pub use course::{Evidence, Live, Quantiles, Sample, Samples, TrackSample};
pub use deployment::StageLive;
pub use deployments::{Action, Answers, OUTCOMES_MAX, Order, OutcomeReport, StartRequest, Started};
pub use error::ControlError;
pub use events::{Change, Events};
pub use flags::{FlagOrder, FlagPatch};
pub use import::{FieldChange, Import, ImportChange, ImportHash, ImportReport, ImportRequest};
pub use outlook::{RolloutOutlook, StageOutlook, rollout_outlook};
pub use ramps::RampOverview;
pub use rehearsal::{RehearsalOverview, RehearsalRequest};
pub use service::{LastDeployment, ServiceLive, ServiceOverview};
pub use warnings::{flag_warnings, lint_flags};

use crate::snapshot::Snapshot;
use run::Command;

/// Commands that wait; more wait at their senders.
const QUEUE: usize = 1024;

/// How the rest of the program speaks to control. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    events: Events,
}

/// Control changes nothing for as long as this lives.
#[derive(Debug)]
pub struct Resting(oneshot::Sender<()>);

impl Resting {
    /// The state is another process's: control rests for the rest of its life.
    pub fn for_good(self) {
        // Control may have ended already.
        let _ = self.0.send(());
    }
}

/// A change that was carried out.
#[derive(Clone, Debug)]
pub struct Done<T> {
    /// What came of it.
    pub value: T,
    /// Whether it is on disk; where not, it is tried again until it is.
    pub durable: bool,
}

impl Control {
    /// Starts control on the current runtime.
    pub fn start(controller: Controller) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let (snapshot, events) = (controller.snapshot(), controller.events());
        controller.services.iter().for_each(service::ServiceControl::watch);
        let control = Self { commands, snapshot, events };
        tokio::spawn(run::run(controller, queue, control.commands.downgrade()));
        control
    }

    /// What the data plane sees now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Whether control still runs: without it nothing is advanced, written or answered.
    pub fn is_alive(&self) -> bool {
        !self.commands.is_closed()
    }

    /// What happens.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Asks something that changes nothing that is stored.
    ///
    /// # Errors
    /// What the question says, or that control has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Controller) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        let ask = move |controller: &mut Controller| drop(reply.send(question(controller)));
        self.send(Command::Ask(Box::new(ask))).await?;
        answer.await.unwrap_or(Err(ControlError::Ended))
    }

    /// Changes flags; answered once the change is durable and in force.
    ///
    /// # Errors
    /// What the change says, or that it could not be made durable: then nothing has changed.
    pub async fn change_flags<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Controller) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        let change = move |controller: &mut Controller| -> run::Reply {
            let value = change(controller);
            Box::new(move |written: Result<(), ControlError>| drop(reply.send(written.and(value))))
        };
        self.send(Command::Flags(Box::new(change))).await?;
        answer.await.unwrap_or(Err(ControlError::Ended))
    }

    /// Reads the flag file again, or with `discard` writes over what somebody broke in it.
    ///
    /// # Errors
    /// Where the file is broken and not discarded.
    pub async fn reload_flags(&self, discard: bool, by: String) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::ReloadFlags { discard, by, reply }).await?;
        answer.await.unwrap_or(Err(ControlError::Ended))
    }

    /// Changes a deployment; answered once the change is durable.
    ///
    /// # Errors
    /// What the change says, or that nothing can be written: then nothing has changed.
    pub async fn change_deployment<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Controller) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<Done<T>, ControlError> {
        self.command_deployment(true, change).await
    }

    /// Writes what is not on disk yet, with the newest counts: the process is about to end.
    pub async fn settle(&self) {
        let (reply, settled) = oneshot::channel();
        if self.send(Command::Settle(reply)).await.is_ok() {
            let _ = settled.await;
        }
    }

    /// Writes everything and changes nothing from then on, until the value is dropped:
    /// another process is to have the state.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub async fn rest(&self) -> Result<Resting, ControlError> {
        let ((ready, durable), (tell, end)) = (oneshot::channel(), oneshot::channel());
        self.send(Command::Rest { ready, end }).await?;
        match durable.await {
            Ok(true) => Ok(Resting(tell)),
            Ok(false) => Err(ControlError::NotDurable("see the log".to_owned())),
            Err(_) => Err(ControlError::Ended),
        }
    }

    /// Rolls back: whatever the disk says. The dial closes before anything waits in a queue.
    ///
    /// # Errors
    /// Where there is nothing to roll back.
    pub async fn roll_back(
        &self,
        order: Order,
        reason: String,
    ) -> Result<Done<crate::store::DeploymentRecord>, ControlError> {
        let snapshot = self.snapshot.load();
        let state = snapshot.services.iter().find(|state| state.config.name == order.service);
        if let Some(canary) = state.and_then(|state| state.canary.as_ref()) {
            canary.subject.close();
        }
        self.command_deployment(false, move |control| control.act(&order, Action::Rollback(reason))).await
    }

    /// Sets a flag's ramp back: whatever the disk says. Its dial closes before anything waits.
    ///
    /// # Errors
    /// Where there is nothing to set back.
    pub async fn set_back(&self, flag: String, by: String, reason: String) -> Result<Done<RampOverview>, ControlError> {
        let snapshot = self.snapshot.load();
        if let Some(ramp) = snapshot.flags.ramps.iter().find(|ramp| ramp.flag.as_str() == flag) {
            ramp.subject.close();
        }
        self.command_deployment(false, move |control| control.act_on_ramp(&flag, Action::Rollback(reason), &by)).await
    }

    async fn command_deployment<T: Send + 'static>(
        &self,
        only_if_writable: bool,
        change: impl FnOnce(&mut Controller) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<Done<T>, ControlError> {
        let (reply, answer) = oneshot::channel();
        let change = move |controller: Result<&mut Controller, ControlError>| -> run::DurableReply {
            let value = controller.and_then(change);
            Box::new(move |durable: bool| drop(reply.send(value.map(|value| Done { value, durable }))))
        };
        self.send(Command::Deployment { only_if_writable, change: Box::new(change) }).await?;
        answer.await.unwrap_or(Err(ControlError::Ended))
    }

    async fn send(&self, command: Command) -> Result<(), ControlError> {
        self.commands.send(command).await.map_err(|_| ControlError::Ended)
    }
}
