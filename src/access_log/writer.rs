//! The thread that writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use crate::clock;
use crate::config::AccessLogTarget;
use crate::decide::time::Moment;

/// Batches that wait; each is handed over at 16 KiB, and what a client may add to a line has a bound.
const QUEUE: usize = 256;
/// How often it is looked whether the file was moved away, or can be opened by now.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether the queue has room for a flush.
const ROOM: Duration = Duration::from_millis(10);
/// What a pipe takes at once or not at all (pipe(7)): lines of two processes do not run into each other.
const PIPE_BYTES: usize = 4096;

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
        let end = clock::now() + within;
        let mut job = Job::Flush(done);
        while let Err(TrySendError::Full(back)) = self.jobs.try_send(job) {
            if clock::now() >= end {
                return;
            }
            job = back;
            std::thread::sleep(ROOM);
        }
        let _ = written.recv_timeout(end.since(clock::now()));
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
    /// It was said that it cannot be opened, or written; not again before that has succeeded.
    closed: bool,
    failing: bool,
}

impl Sink {
    fn new(target: AccessLogTarget) -> Self {
        Self { target, file: None, looked: None, closed: false, failing: false }
    }

    /// Whether the bytes are written.
    fn write(&mut self, bytes: &[u8]) -> bool {
        self.look();
        let Some(file) = &mut self.file else { return false };
        // A write that has failed may have left a part of a line.
        let rest = if self.failing { file.write_all(b"\n") } else { Ok(()) };
        match rest.and_then(|()| pieces(bytes).try_for_each(|piece| file.write_all(piece))) {
            Ok(()) => self.failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, to = ?self.target, "the access log cannot be written: its lines are dropped");
                }
            }
        }
        !self.failing
    }

    /// Opens what is not open, and a file anew that was moved; once in a while.
    fn look(&mut self) {
        let now = clock::now();
        if self.looked.is_some_and(|looked| now.since(looked) < LOOK) {
            return;
        }
        self.looked = Some(now);
        let opened = match &self.target {
            _ if self.file.as_ref().is_some_and(|file| !was_moved(file, &self.target)) => return,
            AccessLogTarget::Stdout => io::stdout().as_fd().try_clone_to_owned().map(File::from),
            AccessLogTarget::Stderr => io::stderr().as_fd().try_clone_to_owned().map(File::from),
            AccessLogTarget::File(path) => OpenOptions::new().append(true).create(true).mode(0o640).open(path),
        };
        match opened {
            Ok(file) => (self.file, self.closed) = (Some(file), false),
            Err(error) => {
                if !std::mem::replace(&mut self.closed, true) {
                    tracing::error!(%error, to = ?self.target, "the access log cannot be opened");
                }
            }
        }
    }
}

/// Whole lines together, as many as a pipe takes at once; a longer line alone.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head = &bytes[..bytes.len().min(PIPE_BYTES)];
        let end = match head.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None => bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1),
        };
        let (piece, rest) = bytes.split_at(end);
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Whether another file, or none, is at its place by now: who rotates logs moves them.
fn was_moved(file: &File, target: &AccessLogTarget) -> bool {
    let AccessLogTarget::File(path) = target else { return false };
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) != (there.dev(), there.ino()),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_whole_and_none_is_lost() {
        let long = "x".repeat(PIPE_BYTES * 2);
        let text: String =
            (0..2_000).map(|n| format!("{n}\n")).chain([format!("{long}\n"), "end\n".to_owned()]).collect();
        let pieces: Vec<&[u8]> = pieces(text.as_bytes()).collect();
        assert_eq!(pieces.concat(), text.as_bytes());
        assert!(pieces.iter().all(|piece| piece.ends_with(b"\n")));
        assert_eq!(pieces.iter().filter(|piece| piece.len() > PIPE_BYTES).count(), 1, "the long line");
    }
}
