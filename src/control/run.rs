//! The loop of the control plane: commands, clocks, files, in this order of need.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::controller::{Controller, Unsaved};
use super::error::ControlError;
use super::versions;
use crate::clock;
use crate::decide::time::Moment;
use crate::store::{HandEdit, SaveError, StateFile};

/// How often the flag file is looked at: an edit by hand is in force within a second.
const LOOK: Duration = Duration::from_millis(500);
/// Counts are written this often at the most.
const CHECKPOINT: Duration = Duration::from_secs(1);
/// After a failed write.
const RETRY: Duration = Duration::from_secs(1);
/// Flag changes that share one write at the most.
const TOGETHER: usize = 256;

/// Called with what became of the write.
pub(super) type Reply = Box<dyn FnOnce(Result<(), ControlError>) + Send>;
/// Called with whether it is on disk.
pub(super) type DurableReply = Box<dyn FnOnce(bool) + Send>;
type FlagChange = Box<dyn FnOnce(&mut Controller) -> Reply + Send>;
type DeploymentChange = Box<dyn FnOnce(Result<&mut Controller, ControlError>) -> DurableReply + Send>;

/// What control is asked.
pub(super) enum Command {
    /// Changes nothing.
    Ask(Box<dyn FnOnce(&mut Controller) + Send>),
    /// Changes flags.
    Flags(FlagChange),
    /// Reads or replaces the flag file.
    ReloadFlags { discard: bool, by: String, reply: oneshot::Sender<Result<(), ControlError>> },
    /// Writes everything that is not written yet.
    Settle(oneshot::Sender<()>),
    /// Writes everything and then changes nothing until it is woken, as another process is
    /// to have the state; answered with whether all is on disk.
    Rest { ready: oneshot::Sender<bool>, end: oneshot::Receiver<()> },
    /// Changes a deployment.
    Deployment { only_if_writable: bool, change: DeploymentChange },
}

/// Runs until the last sender is gone.
pub(super) async fn run(
    mut controller: Controller,
    mut queue: mpsc::Receiver<Command>,
    commands: mpsc::WeakSender<Command>,
) {
    let woken = controller.woken();
    let mut times = Times { look: clock::now() + LOOK, checkpoint: clock::now(), retry: None, retry_ramps: None };
    if controller.unsaved_flags {
        controller.save_flags().await.unwrap_or_else(|error| tracing::error!(%error, "the flags could not be written"));
    }
    loop {
        let now = clock::now();
        let next = controller.tick(now);
        controller.save_deployments(now, &mut times).await;
        controller.save_checkpoint(now, &mut times).await;
        if now >= times.look {
            times.look = now + LOOK;
            controller.look_at_flags().await;
            versions::ask_returning(&controller, &commands);
        }
        let until = next.into_iter().chain(times.retry).chain(times.retry_ramps).fold(times.look, Moment::min);
        tokio::select! {
            command = queue.recv() => match command {
                Some(command) => carry_out(&mut controller, command, &mut queue, &mut times).await,
                None => return,
            },
            () = woken.notified() => {}
            () = tokio::time::sleep_until(clock::instant(until)) => {}
        }
    }
}

struct Times {
    look: Moment,
    checkpoint: Moment,
    /// When a failed write is tried again.
    retry: Option<Moment>,
    /// The same of how far ramps are.
    retry_ramps: Option<Moment>,
}

async fn carry_out(
    controller: &mut Controller,
    command: Command,
    queue: &mut mpsc::Receiver<Command>,
    times: &mut Times,
) {
    let mut next = Some(command);
    // Flag changes run into each other; what else comes ends the row.
    while let Some(command) = next.take() {
        match command {
            Command::Ask(ask) => ask(controller),
            Command::ReloadFlags { discard, by, reply } => drop(reply.send(controller.reload(discard, &by).await)),
            Command::Deployment { only_if_writable, change } => {
                // What is written first is what is there: a disk that refuses it would refuse the change.
                let writable = if only_if_writable { controller.try_disk().await } else { Ok(()) };
                let reply = change(writable.map(|()| &mut *controller));
                let durable = controller.save_deployments(clock::now(), times).await;
                reply(durable);
            }
            Command::Settle(reply) => {
                controller.settle(times).await;
                let _ = reply.send(());
            }
            Command::Rest { ready, end } => {
                let durable = controller.settle(times).await;
                if ready.send(durable).is_ok() && durable {
                    rest(controller, queue, end, times).await;
                }
            }
            Command::Flags(first) => {
                let mut changes = vec![first];
                while changes.len() < TOGETHER {
                    match queue.try_recv() {
                        Ok(Command::Flags(change)) => changes.push(change),
                        Ok(other) => {
                            next = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                controller.change_flags(changes).await;
            }
        }
    }
}

/// Reads are answered, changes are refused. A rollback by hand is never refused: it waits
/// until it is known which process has the state.
async fn rest(
    controller: &mut Controller,
    queue: &mut mpsc::Receiver<Command>,
    mut end: oneshot::Receiver<()>,
    times: &mut Times,
) {
    controller.resting = true;
    let mut rollbacks: Vec<DeploymentChange> = Vec::new();
    let for_good = loop {
        tokio::select! {
            // Sent: for good. Dropped: nothing has changed hands.
            ended = &mut end => break ended.is_ok(),
            Some(command) = queue.recv() => match command {
                Command::Deployment { only_if_writable: false, change } => rollbacks.push(change),
                command => refuse(controller, command),
            },
        }
    };
    if for_good {
        // Whoever asks again asks the other process.
        rollbacks.into_iter().for_each(|change| change(Err(ControlError::HandedOver))(false));
        while let Some(command) = queue.recv().await {
            refuse(controller, command);
        }
        return;
    }
    controller.resting = false;
    for change in rollbacks {
        let reply = change(Ok(controller));
        let durable = controller.save_deployments(clock::now(), times).await;
        reply(durable);
    }
}

fn refuse(controller: &mut Controller, command: Command) {
    match command {
        Command::Ask(ask) => ask(controller),
        // Whether it may is asked there.
        Command::Flags(change) => change(controller)(Err(ControlError::HandedOver)),
        Command::ReloadFlags { reply, .. } => drop(reply.send(Err(ControlError::HandedOver))),
        Command::Settle(reply) => drop(reply.send(())),
        Command::Rest { ready, .. } => drop(ready.send(false)),
        Command::Deployment { change, .. } => change(Err(ControlError::HandedOver))(false),
    }
}

impl Controller {
    /// Writes everything, with the newest counts; whether it is on disk.
    async fn settle(&mut self, times: &mut Times) -> bool {
        let now = clock::now();
        (times.checkpoint, times.retry, times.retry_ramps) = (now, None, None);
        let durable = self.save_deployments(now, times).await;
        times.checkpoint = now;
        self.save_checkpoint(now, times).await && durable
    }

    /// Applies changes, writes them once, and only then publishes and answers.
    async fn change_flags(&mut self, changes: Vec<FlagChange>) {
        let before = Arc::clone(&self.flags);
        let replies: Vec<Reply> = changes.into_iter().map(|change| change(self)).collect();
        let changed = !Arc::ptr_eq(&before, &self.flags);
        let written = if changed { self.save_flags().await } else { Ok(()) };
        match &written {
            Ok(()) => {
                self.ramps.unsaved &= !changed;
                self.publish();
                self.tell();
            }
            Err(_) => {
                self.flags = before;
                self.forget_untold();
            }
        }
        for reply in replies {
            reply(written.clone());
        }
    }

    async fn save_flags(&mut self) -> Result<(), ControlError> {
        let bytes = json(&*self.flags);
        match self.writer.save(StateFile::Flags, bytes).await {
            Ok(()) => Ok(()),
            Err(SaveError::Failed(error)) => Err(ControlError::NotDurable(error)),
            Err(SaveError::Changed) => Err(ControlError::Conflict {
                code: "fileChanged",
                detail: "feature-flags.json was edited by hand a moment ago; look at it, then try again".to_owned(),
            }),
        }
    }

    async fn look_at_flags(&mut self) {
        let found = self.writer.look(false).await;
        self.take_up(found, "file");
    }

    fn take_up(&mut self, found: HandEdit, by: &str) {
        match found {
            HandEdit::None => {}
            HandEdit::Good(file) => {
                tracing::info!(flags = file.flags.len(), "feature-flags.json was edited by hand and is in force");
                self.broken_flags = None;
                self.flags = Arc::new(*file);
                self.flag_changed("flags", by, None, "feature-flags.json was edited by hand".to_owned());
                self.publish();
                self.tell();
            }
            HandEdit::Broken(error) => {
                tracing::error!(
                    error,
                    "feature-flags.json was edited by hand and is broken: the flags stay as they were"
                );
                self.broken_flags = Some(error);
            }
        }
    }

    async fn reload(&mut self, discard: bool, by: &str) -> Result<(), ControlError> {
        if discard && self.broken_flags.take().is_some() {
            self.writer.discard().await.map_err(|error| ControlError::NotDurable(error.to_string()))?;
            return self.save_flags().await;
        }
        let found = self.writer.look(true).await;
        self.take_up(found, by);
        match &self.broken_flags {
            None => Ok(()),
            Some(error) => Err(broken(error)),
        }
    }

    /// Whether the deployments' file can be written, by writing it as it is.
    async fn try_disk(&mut self) -> Result<(), ControlError> {
        let bytes = json(&self.deploy_state());
        let saved = self.writer.save(StateFile::Deployments, bytes).await;
        saved.map_err(|error| ControlError::NotDurable(error.to_string()))
    }

    /// Writes what happened to deployments, then tells it; whether all of it is on disk.
    async fn save_deployments(&mut self, now: Moment, times: &mut Times) -> bool {
        let ramps = self.save_ramps(now, times).await;
        let unsaved = self.unsaved;
        if unsaved == Unsaved::Nothing {
            return ramps;
        }
        if times.retry.is_some_and(|retry| now < retry) && unsaved != Unsaved::Rollback {
            return false;
        }
        // Twice for a rollback: it has to be in the copy, too, so that no broken file brings it back.
        let copies = if unsaved == Unsaved::Rollback { 2 } else { 1 };
        let mut saved = Ok(());
        for _ in 0..copies {
            let bytes = json(&self.deploy_state());
            saved = saved.and(self.writer.save(StateFile::Deployments, bytes).await);
        }
        let durable = saved.is_ok();
        if durable {
            self.unsaved = Unsaved::Nothing;
            times.checkpoint = now;
        }
        times.retry = (!durable).then_some(now + RETRY);
        self.tell();
        durable && ramps
    }

    /// Writes how far ramps are; whether nothing of it is left to write.
    async fn save_ramps(&mut self, now: Moment, times: &mut Times) -> bool {
        if !self.ramps.unsaved {
            return true;
        }
        if times.retry_ramps.is_some_and(|retry| now < retry) {
            return false;
        }
        let allowed = self.check_flag_file();
        let saved = if allowed.is_ok() { self.save_flags().await } else { allowed };
        self.ramps.unsaved = saved.is_err();
        times.retry_ramps = saved.is_err().then_some(now + RETRY);
        if let Err(error) = &saved {
            tracing::error!(%error, "how far ramps are could not be written: it is tried again");
        }
        self.tell();
        saved.is_ok()
    }

    /// Whether nothing is left to write. Without it a restart counts anew: a failure is told
    /// in the log and a metric, and tried again.
    async fn save_checkpoint(&mut self, now: Moment, times: &mut Times) -> bool {
        if now < times.checkpoint {
            return true;
        }
        times.checkpoint = now + CHECKPOINT;
        match self.checkpoint() {
            Some(checkpoint) => self.writer.save(StateFile::Checkpoint, json(&checkpoint)).await.is_ok(),
            None => true,
        }
    }

    /// Refuses writes to a file that somebody has broken: they would lose what it says.
    pub(super) fn check_flag_file(&self) -> Result<(), ControlError> {
        if self.resting {
            return Err(ControlError::HandedOver);
        }
        self.broken_flags.as_deref().map_or(Ok(()), |error| Err(broken(error)))
    }
}

fn broken(error: &str) -> ControlError {
    let detail = format!(
        "feature-flags.json was edited by hand and is broken ({error}): mend it, or write over it with \
         `serin flags reload --discard`"
    );
    ControlError::Conflict { code: "fileChanged", detail }
}

/// A state file's text. The types are ours and hold only what JSON can say.
fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
