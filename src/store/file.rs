//! Reading and writing one file whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::de::DeserializeOwned;

use crate::clock;

/// Only whoever runs Serin reads its state.
const MODE: u32 = 0o600;
const LOCK_FILE: &str = "serin.lock";
/// No state file is larger.
const BYTES_MAX: u64 = 256 << 20;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {doing}", .path.display())]
pub struct StoreError {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

impl StoreError {
    fn of(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self { path, doing, source }
    }
}

/// What was found where a file should be.
#[derive(Debug, PartialEq, Eq)]
pub enum Loaded<T> {
    /// Nothing: a first start.
    Missing,
    /// The file.
    Good(T),
    /// The file was broken and put aside; this is the one before it, if that was good.
    Recovered(Option<T>),
}

/// What tells one content of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag {
    modified: (i64, i64),
    size: u64,
    inode: u64,
}

/// The folder of the state files, locked for this process.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held as long as any clone lives, in whichever process.
    lock: Arc<File>,
}

impl Folder {
    /// The folder, created where it is missing, and locked: two processes that write
    /// the same files would undo each other's changes.
    ///
    /// # Errors
    /// Where it cannot be created, or another process has it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(StoreError::of(path, "the state folder cannot be created"))?;
        let file = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&file)
            .map_err(StoreError::of(&file, "cannot be opened"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = Read::by_ref(&mut lock).take(20).read_to_string(&mut holder);
                let text = format!("process {} has it locked", holder.trim());
                let doing = "another Serin uses this state folder; each needs one of its own (state.directory)";
                return Err(StoreError::of(path, doing)(io::Error::other(text)));
            }
            Err(error) => return Err(StoreError::of(&file, "cannot be locked")(error.into())),
        }
        Ok(Self::locked(path, lock))
    }

    /// The folder, whose lock another process hands over.
    ///
    /// # Errors
    /// Where the lock is another folder's: the configuration has another one by now.
    pub fn inherit(path: &Path, lock: File) -> Result<Self, StoreError> {
        let same = |there: fs::Metadata| {
            let given = lock.metadata()?;
            Ok((there.dev(), there.ino()) == (given.dev(), given.ino()))
        };
        match fs::metadata(path.join(LOCK_FILE)).and_then(same) {
            Ok(true) => Ok(Self::locked(path, lock)),
            _ => Self::open(path),
        }
    }

    fn locked(path: &Path, mut lock: File) -> Self {
        // For whoever finds it locked; the lock itself is the kernel's.
        let id = std::process::id().to_string();
        let _ = lock.rewind().and_then(|()| lock.set_len(0)).and_then(|()| lock.write_all(id.as_bytes()));
        Self { path: path.to_path_buf(), lock: Arc::new(lock) }
    }

    /// The lock, to be handed over.
    ///
    /// # Errors
    /// Where the system gives no more descriptors.
    pub fn lock(&self) -> io::Result<File> {
        self.lock.try_clone()
    }

    pub(super) fn tag(&self, name: &str) -> Option<Tag> {
        let found = fs::metadata(self.path.join(name)).ok()?;
        Some(Tag { modified: (found.mtime(), found.mtime_nsec()), size: found.size(), inode: found.ino() })
    }

    /// Reads a file that somebody else wrote.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let bytes = read(&self.path.join(name)).map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    }

    /// Gives a broken file another name.
    pub(super) fn put_aside(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.path.join(name);
        let aside = self.path.join(format!("{name}.corrupt-{}", clock::unix_millis()));
        match fs::rename(&path, &aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::of(&path, "is broken and cannot be put aside")(error))
            }
            _ => Ok(aside),
        }
    }

    /// Reads a file. A broken one is put aside under another name, never overwritten.
    ///
    /// # Errors
    /// Where a broken one cannot be put aside.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Loaded<T>, StoreError> {
        let path = self.path.join(name);
        let problem = match read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::Missing),
            Err(error) => error.to_string(),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => return Ok(Loaded::Good(value)),
                Err(error) => error.to_string(),
            },
        };
        let aside = self.put_aside(name)?;
        let copy = read(&self.path.join(format!("{name}.bak"))).ok();
        let before = copy.as_ref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        // In its place from now on: the next start would find no file at all.
        if let (Some(bytes), Some(_)) = (&copy, &before)
            && let Err(error) = self.write(name, bytes).and_then(|beside| self.put_in_place(&beside, &path))
        {
            tracing::error!(%error, "what was recovered could not be written back");
        }
        let found = if before.is_some() { "the one before it is used" } else { "there is no good one before it" };
        tracing::error!(file = %path.display(), put_aside = %aside.display(), problem, "a state file was broken; {found}");
        Ok(Loaded::Recovered(before))
    }

    /// Writes a file whole, durably.
    ///
    /// # Errors
    /// Where a step fails; the file is then as it was.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let beside = self.write(name, bytes)?;
        self.keep_the_one_before(&path, name);
        self.put_in_place(&beside, &path)
    }

    /// Writes a file beside the one with this name.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let beside = self.path.join(format!("{name}.tmp"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&beside)
            .map_err(StoreError::of(&beside, "cannot be created"))?;
        file.write_all(bytes).map_err(StoreError::of(&beside, "cannot be written"))?;
        file.sync_all().map_err(StoreError::of(&beside, "cannot be synced"))?;
        Ok(beside)
    }

    fn put_in_place(&self, beside: &Path, path: &Path) -> Result<(), StoreError> {
        fs::rename(beside, path).map_err(StoreError::of(path, "cannot be replaced"))?;
        let folder = File::open(&self.path).map_err(StoreError::of(&self.path, "cannot be opened"))?;
        folder.sync_all().map_err(StoreError::of(&self.path, "cannot be synced"))
    }

    /// A link beside the file: the file itself is never away, not for a moment.
    fn keep_the_one_before(&self, path: &Path, name: &str) {
        let link = self.path.join(format!("{name}.bak.tmp"));
        let backup = self.path.join(format!("{name}.bak"));
        let _ = fs::remove_file(&link);
        let kept = fs::hard_link(path, &link).and_then(|()| fs::rename(&link, &backup));
        if let Err(error) = kept
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %path.display(), "no copy of the state before is kept");
        }
    }

    /// A secret of 16 bytes, made at first use.
    ///
    /// # Errors
    /// Where it can be neither read nor made.
    pub fn secret(&self, name: &str) -> Result<[u8; 16], StoreError> {
        let path = self.path.join(name);
        if let Ok(bytes) = read(&path)
            && let Ok(secret) = bytes.try_into()
        {
            return Ok(secret);
        }
        let mut secret = [0_u8; 16];
        getrandom::fill(&mut secret).map_err(io::Error::from).map_err(StoreError::of(&path, "no randomness"))?;
        self.save(name, &secret)?;
        Ok(secret)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(&dir.path().join("a/b")).unwrap();
        (dir, folder)
    }

    #[test]
    fn a_file_is_written_whole_and_the_one_before_is_kept() {
        let (_dir, folder) = folder();
        assert_eq!(folder.load::<Value>("f.json").unwrap(), Loaded::Missing);
        folder.save("f.json", b"{\"n\":1}").unwrap();
        folder.save("f.json", b"{\"n\":2}").unwrap();
        assert_eq!(folder.load::<Value>("f.json").unwrap(), Loaded::Good(json!({ "n": 2 })));
        assert_eq!(fs::read(folder.path.join("f.json.bak")).unwrap(), b"{\"n\":1}");
        let mode = fs::metadata(folder.path.join("f.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_put_aside_and_the_one_before_is_used() {
        let (_dir, folder) = folder();
        folder.save("f.json", b"{\"n\":1}").unwrap();
        folder.save("f.json", b"{\"n\":2}").unwrap();
        fs::write(folder.path.join("f.json"), b"{\"n\":").unwrap();
        assert_eq!(folder.load::<Value>("f.json").unwrap(), Loaded::Recovered(Some(json!({ "n": 1 }))));
        assert_eq!(
            folder.load::<Value>("f.json").unwrap(),
            Loaded::Good(json!({ "n": 1 })),
            "at the next start as well"
        );
        let aside = fs::read_dir(&folder.path).unwrap().filter_map(Result::ok);
        let aside: Vec<String> = aside.map(|e| e.file_name().into_string().unwrap()).collect();
        assert!(aside.iter().any(|name| name.starts_with("f.json.corrupt-")), "{aside:?}");
    }

    #[test]
    fn a_second_process_is_refused() {
        let (dir, folder) = folder();
        let error = Folder::open(&dir.path().join("a/b")).unwrap_err();
        assert!(error.to_string().contains("another Serin uses this state folder"), "{error}");
        let holder = std::error::Error::source(&error).unwrap().to_string();
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        drop(folder);
        Folder::open(&dir.path().join("a/b")).unwrap();
    }

    #[test]
    fn a_secret_stays_the_same() {
        let (_dir, folder) = folder();
        let secret = folder.secret("k").unwrap();
        assert_eq!(folder.secret("k").unwrap(), secret);
        assert_ne!(secret, [0; 16]);
    }
}
