//! The thread that reads and writes state files while Serin runs.
//!
//! A disk that hangs holds this thread and whoever waits for its answer, never
//! traffic.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::oneshot;

use super::file::{Folder, StoreError, Tag};
use super::records::FlagFile;

/// The files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFile {
    /// `feature-flags.json`
    Flags,
    /// `deploy-state.json`
    Deployments,
    /// `checkpoint.json`
    Checkpoint,
}

impl StateFile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Flags, Self::Deployments, Self::Checkpoint];

    /// Its name in the folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flags => "feature-flags.json",
            Self::Deployments => "deploy-state.json",
            Self::Checkpoint => "checkpoint.json",
        }
    }
}

/// Why a file was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaveError {
    /// Somebody else wrote it meanwhile: it is left as it is.
    #[error("the file was changed by somebody else")]
    Changed,
    /// A step failed; the file is as it was.
    #[error("{0}")]
    Failed(String),
}

/// What became of `feature-flags.json` since it was last read or written.
#[derive(Clone, Debug, PartialEq)]
pub enum HandEdit {
    /// Nothing.
    None,
    /// Somebody wrote flags.
    Good(Box<FlagFile>),
    /// Somebody wrote what cannot be read, and this is why.
    Broken(String),
}

enum Job {
    Save { file: StateFile, bytes: Vec<u8>, done: oneshot::Sender<Result<(), SaveError>> },
    Look { again: bool, done: oneshot::Sender<HandEdit> },
    Discard { done: oneshot::Sender<Result<(), SaveError>> },
}

/// Hands work to the thread. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    jobs: Sender<Job>,
    errors: Arc<AtomicU64>,
    failing: Arc<RwLock<Option<String>>>,
}

impl Writer {
    /// Starts the thread; it ends when the last writer is gone.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(folder: Folder) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let writer = Self { jobs, errors: Arc::default(), failing: Arc::default() };
        let flags = folder.tag(StateFile::Flags.name());
        let mut thread =
            Thread { folder, flags, errors: Arc::clone(&writer.errors), failing: Arc::clone(&writer.failing) };
        std::thread::Builder::new().name("serin-store".into()).spawn(move || thread.run(&queue))?;
        Ok(writer)
    }

    /// Writes a file's new content, durably.
    ///
    /// # Errors
    /// Where that fails, or where the flags were edited by hand meanwhile.
    pub async fn save(&self, file: StateFile, bytes: Vec<u8>) -> Result<(), SaveError> {
        self.ask(|done| Job::Save { file, bytes, done }).await.unwrap_or_else(|| Err(ended()))
    }

    /// Whether the flags were edited by hand; `again` reads them in any case.
    pub async fn look(&self, again: bool) -> HandEdit {
        self.ask(|done| Job::Look { again, done }).await.unwrap_or(HandEdit::None)
    }

    /// Puts a broken flag file aside, so that the next write replaces it.
    ///
    /// # Errors
    /// Where it cannot be put aside.
    pub async fn discard(&self) -> Result<(), SaveError> {
        self.ask(|done| Job::Discard { done }).await.unwrap_or_else(|| Err(ended()))
    }

    async fn ask<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(job(done)).ok()?;
        answer.await.ok()
    }

    /// How many writes failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Why the last write failed; `None` after a good one.
    pub fn failing(&self) -> Option<String> {
        self.failing.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn ended() -> SaveError {
    SaveError::Failed("the writer's thread has ended".to_owned())
}

struct Thread {
    folder: Folder,
    /// The flag file as it was last read or written.
    flags: Option<Tag>,
    errors: Arc<AtomicU64>,
    failing: Arc<RwLock<Option<String>>>,
}

impl Thread {
    fn run(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            // Whoever asked may be gone: nothing is lost.
            match job {
                Job::Save { file, bytes, done } => drop(done.send(self.save(file, &bytes))),
                Job::Look { again, done } => drop(done.send(self.look(again))),
                Job::Discard { done } => drop(done.send(self.discard())),
            }
        }
    }

    fn save(&mut self, file: StateFile, bytes: &[u8]) -> Result<(), SaveError> {
        if file == StateFile::Flags && self.folder.tag(file.name()) != self.flags {
            return Err(SaveError::Changed);
        }
        let result = self.folder.save(file.name(), bytes);
        if file == StateFile::Flags && result.is_ok() {
            self.flags = self.folder.tag(file.name());
        }
        self.noted(file, result)
    }

    fn look(&mut self, again: bool) -> HandEdit {
        let name = StateFile::Flags.name();
        let tag = self.folder.tag(name);
        if tag == self.flags && !again {
            return HandEdit::None;
        }
        self.flags = tag;
        if tag.is_none() {
            // Deleted: the next write makes it anew.
            return HandEdit::None;
        }
        match self.folder.read::<FlagFile>(name) {
            Ok(file) => HandEdit::Good(Box::new(file)),
            Err(error) => HandEdit::Broken(error),
        }
    }

    fn discard(&mut self) -> Result<(), SaveError> {
        let name = StateFile::Flags.name();
        let result = self.folder.put_aside(name).map(drop);
        self.flags = self.folder.tag(name);
        self.noted(StateFile::Flags, result)
    }

    fn noted(&self, file: StateFile, result: Result<(), StoreError>) -> Result<(), SaveError> {
        let result = result.map_err(|error| chain(&error));
        if let Err(error) = &result {
            self.errors.fetch_add(1, Ordering::Relaxed);
            tracing::error!(file = file.name(), error, "state could not be written");
        }
        *self.failing.write().unwrap_or_else(PoisonError::into_inner) = result.clone().err();
        result.map_err(SaveError::Failed)
    }
}

/// An error with its causes.
fn chain(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn the_newest_content_stays_and_the_one_before_it_beside() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::start(Folder::open(dir.path()).unwrap()).unwrap();
        for n in 0..3 {
            now(writer.save(StateFile::Flags, n.to_string().into_bytes())).unwrap();
        }
        assert_eq!(std::fs::read(dir.path().join("feature-flags.json")).unwrap(), b"2");
        assert_eq!(std::fs::read(dir.path().join("feature-flags.json.bak")).unwrap(), b"1");
    }

    #[test]
    fn a_failed_write_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("gone")).unwrap();
        std::fs::remove_dir_all(dir.path().join("gone")).unwrap();
        let writer = Writer::start(folder).unwrap();
        let error = now(writer.save(StateFile::Flags, Vec::new())).unwrap_err();
        assert!(error.to_string().contains("feature-flags.json.tmp"), "{error}");
        assert_eq!(writer.errors(), 1);
    }

    #[test]
    fn what_a_hand_has_written_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("feature-flags.json");
        let writer = Writer::start(Folder::open(dir.path()).unwrap()).unwrap();
        now(writer.save(StateFile::Flags, b"{}".to_vec())).unwrap();
        assert_eq!(now(writer.look(false)), HandEdit::None);
        std::fs::write(&file, "{ broken").unwrap();
        assert_eq!(now(writer.save(StateFile::Flags, b"{}".to_vec())), Err(SaveError::Changed));
        assert!(matches!(now(writer.look(false)), HandEdit::Broken(_)));
        assert_eq!(now(writer.look(false)), HandEdit::None, "told once");
        std::fs::write(&file, r#"{ "flags": {}, "version": 7 }"#).unwrap();
        assert!(matches!(now(writer.look(false)), HandEdit::Good(flags) if flags.version == 7));
        std::fs::write(&file, "{ broken").unwrap();
        now(writer.discard()).unwrap();
        now(writer.save(StateFile::Flags, b"{}".to_vec())).unwrap();
        let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let aside = names.filter(|name| name.starts_with("feature-flags.json.corrupt-")).count();
        assert_eq!((aside, std::fs::read(&file).unwrap()), (1, b"{}".to_vec()), "nothing is lost");
    }
}
