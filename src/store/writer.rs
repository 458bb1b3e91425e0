//! The thread that writes state files.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError, RwLock};

use super::file::{Folder, StoreError};

/// The files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateFile {
    /// `feature-flags.json`
    Flags,
    /// `deploy-state.json`
    Deployments,
}

impl StateFile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Flags, Self::Deployments];

    /// Its name in the folder.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flags => "feature-flags.json",
            Self::Deployments => "deploy-state.json",
        }
    }
}

/// Called on the writer's thread once a change is durable, or cannot be made so.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

struct Change {
    file: StateFile,
    bytes: Vec<u8>,
    done: Done,
}

/// Hands changes to the thread. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    changes: Sender<Change>,
    errors: Arc<AtomicU64>,
    failing: Arc<RwLock<Option<String>>>,
}

impl Writer {
    /// Starts the thread; it ends when the last writer is gone.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(folder: Folder) -> io::Result<Self> {
        let (changes, queue) = channel();
        let writer = Self { changes, errors: Arc::default(), failing: Arc::default() };
        let (errors, failing) = (Arc::clone(&writer.errors), Arc::clone(&writer.failing));
        std::thread::Builder::new()
            .name("serin-store".into())
            .spawn(move || run(&folder, &queue, &errors, &failing))?;
        Ok(writer)
    }

    /// Writes a file's new content; of several that wait only the newest is written,
    /// and it stands for all of them.
    pub fn write(&self, file: StateFile, bytes: Vec<u8>, done: Done) {
        if let Err(unsent) = self.changes.send(Change { file, bytes, done }) {
            (unsent.0.done)(Err("the writer's thread has ended".to_owned()));
        }
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

fn run(folder: &Folder, queue: &Receiver<Change>, errors: &AtomicU64, failing: &RwLock<Option<String>>) {
    while let Ok(first) = queue.recv() {
        let waiting: Vec<Change> = std::iter::once(first).chain(queue.try_iter()).collect();
        let mut written = StateFile::ALL.map(|file| {
            let newest = waiting.iter().rev().find(|change| change.file == file);
            newest.map(|change| folder.save(file.name(), &change.bytes).map_err(|error| chain(&error)))
        });
        for (result, file) in written.iter().zip(StateFile::ALL) {
            let Some(result) = result else { continue };
            if let Err(error) = result {
                errors.fetch_add(1, Ordering::Relaxed);
                tracing::error!(file = file.name(), error, "state could not be written");
            }
            *failing.write().unwrap_or_else(PoisonError::into_inner) = result.clone().err();
        }
        for change in waiting {
            let result = &mut written[change.file as usize];
            (change.done)(result.clone().unwrap_or(Ok(())));
        }
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

    #[test]
    fn changes_that_wait_together_are_all_answered_and_the_newest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::start(Folder::open(dir.path()).unwrap()).unwrap();
        let (tell, told) = channel();
        for n in 0..100 {
            let tell = tell.clone();
            let done: Done = Box::new(move |result| tell.send((n, result)).unwrap());
            writer.write(StateFile::Flags, n.to_string().into_bytes(), done);
        }
        let answers: Vec<_> = told.iter().take(100).collect();
        assert!(answers.iter().all(|(_, result)| result.is_ok()));
        assert_eq!(std::fs::read(dir.path().join("feature-flags.json")).unwrap(), b"99");
    }

    #[test]
    fn a_failed_write_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("gone")).unwrap();
        std::fs::remove_dir(dir.path().join("gone")).unwrap();
        let writer = Writer::start(folder).unwrap();
        let (tell, told) = channel();
        writer.write(StateFile::Flags, Vec::new(), Box::new(move |result| tell.send(result).unwrap()));
        assert!(told.recv().unwrap().unwrap_err().contains("feature-flags.json.tmp"));
        assert_eq!(writer.errors(), 1);
    }
}
