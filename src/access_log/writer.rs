//! The thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::clock;
use crate::config::AccessLogTarget;
use crate::decide::time::Moment;

/// Batches that wait; each has at most some 32 KiB.
const QUEUE: usize = 256;
/// How often it is looked whether the file was moved away, or can be opened by now.
const LOOK: Duration = Duration::from_secs(1);

/// Lines of one worker for one target.
#[derive(Debug)]
pub struct Batch {
    /// Where they go.
    pub target: AccessLogTarget,
    /// The lines.
    pub bytes: Vec<u8>,
    /// How many.
    pub lines: u64,
}

/// What became of lines.
#[derive(Debug, Default)]
pub struct AccessLogCounts {
    written: AtomicU64,
    dropped: AtomicU64,
}

impl AccessLogCounts {
    /// Lines that were written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Lines that were not: the queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

enum Job {
    Write(Batch),
    Flush(SyncSender<()>),
}

/// Hands lines to the thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLogWriter {
    jobs: SyncSender<Job>,
    counts: Arc<AccessLogCounts>,
}

impl AccessLogWriter {
    /// Starts the thread; it ends when the last writer is gone.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        let counts: Arc<AccessLogCounts> = Arc::default();
        let mut thread = Thread { sink: None, counts: Arc::clone(&counts) };
        std::thread::Builder::new().name("serin-access-log".into()).spawn(move || thread.run(&queue))?;
        Ok(Self { jobs, counts })
    }

    /// Hands over lines, or drops them where the thread does not keep up.
    pub fn write(&self, batch: Batch) {
        if let Err(TrySendError::Full(Job::Write(batch)) | TrySendError::Disconnected(Job::Write(batch))) =
            self.jobs.try_send(Job::Write(batch))
        {
            self.counts.dropped.fetch_add(batch.lines, Ordering::Relaxed);
        }
    }

    /// Waits until what was handed over is written, but no longer than this.
    pub fn flush(&self, within: Duration) {
        let (done, written) = sync_channel(1);
        if self.jobs.try_send(Job::Flush(done)).is_ok() {
            let _ = written.recv_timeout(within);
        }
    }

    /// What became of lines so far.
    pub fn counts(&self) -> &AccessLogCounts {
        &self.counts
    }
}

struct Thread {
    sink: Option<Sink>,
    counts: Arc<AccessLogCounts>,
}

impl Thread {
    fn run(&mut self, queue: &Receiver<Job>) {
        while let Ok(job) = queue.recv() {
            match job {
                Job::Write(batch) => self.write(&batch),
                Job::Flush(done) => drop(done.send(())),
            }
        }
    }

    fn write(&mut self, batch: &Batch) {
        let sink = match self.sink.take().filter(|sink| sink.target == batch.target) {
            Some(sink) => sink,
            None => Sink::new(batch.target.clone()),
        };
        let sink = self.sink.insert(sink);
        let counter = if sink.write(&batch.bytes) { &self.counts.written } else { &self.counts.dropped };
        counter.fetch_add(batch.lines, Ordering::Relaxed);
    }
}

/// Where lines go now.
struct Sink {
    target: AccessLogTarget,
    file: Option<File>,
    looked: Option<Moment>,
    /// It was said that it fails; not again before it has succeeded.
    failing: bool,
}

impl Sink {
    fn new(target: AccessLogTarget) -> Self {
        Self { target, file: None, looked: None, failing: false }
    }

    /// Whether the bytes are written.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let written = match &self.target {
            AccessLogTarget::Stdout => whole(&mut io::stdout().lock(), bytes),
            AccessLogTarget::Stderr => whole(&mut io::stderr().lock(), bytes),
            AccessLogTarget::File(path) => {
                let now = clock::now();
                if self.looked.is_none_or(|looked| now.since(looked) >= LOOK) {
                    self.looked = Some(now);
                    if self.file.as_ref().is_none_or(|file| was_moved(file, path)) {
                        match open(path) {
                            Ok(file) => self.file = Some(file),
                            Err(error) => self.failed(&error),
                        }
                    }
                }
                match &mut self.file {
                    Some(file) => whole(file, bytes),
                    None => return false,
                }
            }
        };
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.failed(&error);
                return false;
            }
        }
        true
    }

    fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, to = ?self.target, "the access log cannot be written: its lines are dropped");
        }
    }
}

fn whole(sink: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    sink.write_all(bytes)?;
    sink.flush()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Whether another file, or none, is at its place by now: who rotates logs moves them.
fn was_moved(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) != (there.dev(), there.ino()),
        _ => true,
    }
}
