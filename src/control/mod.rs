//! The control plane: the only writer of what the data plane reads.
//!
//! Owns: deployments with their clocks and histories, flags, the snapshot.
//! Touches: `decide`, `subject`, `store`; publishes snapshots. Commands come in
//! by a channel and are carried out one after another, each answered. On a
//! decision the dial comes first, then the durable write, then who listens.

mod controller;
mod deployments;
mod error;
mod flags;
mod publish;
mod service;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, oneshot};

pub use controller::{Controller, Setup};
pub use deployments::{Action, Assigned, StartRequest, Started};
pub use error::ControlError;
pub use flags::{EvaluationContext, FlagEvaluation, FlagPatch};
pub use service::ServiceOverview;

use crate::clock;
use crate::decide::time::Moment;
use crate::snapshot::Snapshot;

/// Commands that wait; more wait at their senders.
const QUEUE: usize = 1024;

type Command = Box<dyn FnOnce(&mut Controller) + Send>;

/// How the rest of the program speaks to control. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    commands: mpsc::Sender<Command>,
    snapshot: Arc<ArcSwap<Snapshot>>,
}

impl Control {
    /// Starts control on the current runtime.
    pub fn start(mut controller: Controller) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let snapshot = controller.snapshot();
        let woken = controller.woken();
        tokio::spawn(async move { run(&mut controller, queue, woken).await });
        Self { commands, snapshot }
    }

    /// What the data plane sees now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Asks something that changes nothing.
    ///
    /// # Errors
    /// What the question says, or that control has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Controller) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        let command = move |controller: &mut Controller| drop(reply.send(question(controller)));
        self.send(Box::new(command)).await?;
        answer.await.unwrap_or(Err(ControlError::Ended))
    }

    /// Changes something; answered once the change is durable.
    ///
    /// # Errors
    /// What the change says, or that it could not be made durable.
    pub async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Controller) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        let command = move |controller: &mut Controller| match change(controller) {
            Err(error) => drop(reply.send(Err(error))),
            Ok(value) => controller.persist(Box::new(move |durable| {
                drop(reply.send(durable.map(|()| value).map_err(ControlError::NotDurable)));
            })),
        };
        self.send(Box::new(command)).await?;
        answer.await.unwrap_or(Err(ControlError::Ended))
    }

    /// Closes the dial of a service's deployment at once; the command that says why follows.
    pub fn close_dial(&self, service: &str) {
        let snapshot = self.snapshot.load();
        let state = snapshot.services.iter().find(|state| state.config.name == service);
        if let Some(canary) = state.and_then(|state| state.canary.as_ref()) {
            canary.subject.close();
        }
    }

    async fn send(&self, command: Command) -> Result<(), ControlError> {
        self.commands.send(command).await.map_err(|_| ControlError::Ended)
    }
}

async fn run(controller: &mut Controller, mut queue: mpsc::Receiver<Command>, woken: Arc<Notify>) {
    loop {
        let next = controller.tick(clock::now());
        controller.persist_if_changed();
        tokio::select! {
            command = queue.recv() => match command {
                Some(command) => command(controller),
                None => return,
            },
            () = woken.notified() => {}
            () = until(next) => {}
        }
    }
}

async fn until(next: Option<Moment>) {
    match next {
        Some(moment) => tokio::time::sleep_until(clock::instant(moment)).await,
        None => tokio::time::sleep(Duration::from_secs(3_600)).await,
    }
}
