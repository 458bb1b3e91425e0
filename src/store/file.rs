//! Reading and writing one file whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::clock;

/// Only whoever runs Serin reads its state.
const MODE: u32 = 0o600;
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

/// The folder of the state files.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder, created where it is missing.
    ///
    /// # Errors
    /// Where it cannot be created.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(StoreError::of(path, "the state folder cannot be created"))?;
        Ok(Self(path.to_path_buf()))
    }

    /// Reads a file. A broken one is put aside under another name, never overwritten.
    ///
    /// # Errors
    /// Where it cannot be read at all.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Loaded<T>, StoreError> {
        let path = self.0.join(name);
        let problem = match read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Loaded::Missing),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(StoreError::of(&path, "cannot be read")(error));
            }
            Err(error) => error.to_string(),
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(value) => return Ok(Loaded::Good(value)),
                Err(error) => error.to_string(),
            },
        };
        let aside = self.0.join(format!("{name}.corrupt-{}", clock::unix_millis()));
        fs::rename(&path, &aside).map_err(StoreError::of(&path, "is broken and cannot be put aside"))?;
        let before = read(&self.0.join(format!("{name}.bak"))).ok();
        let before = before.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let found = if before.is_some() { "the one before it is used" } else { "there is no good one before it" };
        tracing::error!(file = %path.display(), put_aside = %aside.display(), problem, "a state file was broken; {found}");
        Ok(Loaded::Recovered(before))
    }

    /// Writes a file whole, durably.
    ///
    /// # Errors
    /// Where a step fails; the file is then as it was.
    pub fn save(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.0.join(name);
        let beside = self.0.join(format!("{name}.tmp"));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&beside)
            .map_err(StoreError::of(&beside, "cannot be created"))?;
        file.write_all(bytes).map_err(StoreError::of(&beside, "cannot be written"))?;
        file.sync_all().map_err(StoreError::of(&beside, "cannot be synced"))?;
        self.keep_the_one_before(&path, name);
        fs::rename(&beside, &path).map_err(StoreError::of(&path, "cannot be replaced"))?;
        let folder = File::open(&self.0).map_err(StoreError::of(&self.0, "cannot be opened"))?;
        folder.sync_all().map_err(StoreError::of(&self.0, "cannot be synced"))
    }

    /// A link beside the file: the file itself is never away, not for a moment.
    fn keep_the_one_before(&self, path: &Path, name: &str) {
        let link = self.0.join(format!("{name}.bak.tmp"));
        let backup = self.0.join(format!("{name}.bak"));
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
        let path = self.0.join(name);
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
        assert_eq!(fs::read(folder.0.join("f.json.bak")).unwrap(), b"{\"n\":1}");
        let mode = fs::metadata(folder.0.join("f.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_file_is_put_aside_and_the_one_before_is_used() {
        let (_dir, folder) = folder();
        folder.save("f.json", b"{\"n\":1}").unwrap();
        folder.save("f.json", b"{\"n\":2}").unwrap();
        fs::write(folder.0.join("f.json"), b"{\"n\":").unwrap();
        assert_eq!(folder.load::<Value>("f.json").unwrap(), Loaded::Recovered(Some(json!({ "n": 1 }))));
        let aside = fs::read_dir(&folder.0).unwrap().filter_map(Result::ok);
        let aside: Vec<String> = aside.map(|e| e.file_name().into_string().unwrap()).collect();
        assert!(aside.iter().any(|name| name.starts_with("f.json.corrupt-")), "{aside:?}");
    }

    #[test]
    fn a_secret_stays_the_same() {
        let (_dir, folder) = folder();
        let secret = folder.secret("k").unwrap();
        assert_eq!(folder.secret("k").unwrap(), secret);
        assert_ne!(secret, [0; 16]);
    }
}
