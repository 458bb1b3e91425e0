//! When a configuration file has changed: looked at, not asked of the system, as editors
//! and ConfigMaps replace files and the links that lead to them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What tells one content from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Look {
    /// Follows links; `None` while there is no such file. What is no file (a pipe, a folder)
    /// could hold whoever reads it for ever.
    fn at(file: &Path) -> Option<Self> {
        let found = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
        let modified = (found.mtime(), found.mtime_nsec());
        Some(Self { device: found.dev(), inode: found.ino(), size: found.size(), modified })
    }
}

/// A configuration's file and those that it names.
#[derive(Debug)]
pub struct Watch {
    file: Watched,
    /// Certificates and keys.
    named: Vec<Watched>,
}

impl Watch {
    /// A file that has just been read, and with it these.
    pub fn new(file: &Path, named: &[PathBuf]) -> Self {
        Self { file: Watched::new(file), named: named.iter().map(|file| Watched::new(file)).collect() }
    }

    /// Whether they should be read again.
    pub fn has_changed(&mut self) -> bool {
        // All are looked at: several that change together are read once.
        let named = self.named.iter_mut().map(Watched::has_changed).filter(|changed| *changed).count();
        self.file.has_changed() || named > 0
    }

    /// They are read for another reason; whether there is such a file.
    pub fn was_read(&mut self) -> bool {
        for file in &mut self.named {
            let _ = file.was_read();
        }
        self.file.was_read()
    }

    /// Another configuration is in force, which names these.
    pub fn names(&mut self, named: &[PathBuf]) {
        let known = std::mem::take(&mut self.named);
        self.named = named.iter().map(|file| Watched::new(file)).collect();
        for before in known {
            // What has changed since it was read is still seen to have changed.
            if let Some(same) = self.named.iter_mut().find(|now| now.file == before.file) {
                *same = before;
            }
        }
    }
}

/// A file that is looked at again and again.
#[derive(Debug)]
struct Watched {
    file: PathBuf,
    /// As it was when it was last read.
    read: Option<Look>,
    last: Option<Look>,
}

impl Watched {
    /// A file that has just been read.
    fn new(file: &Path) -> Self {
        let look = Look::at(file);
        Self { file: file.to_owned(), read: look, last: look }
    }

    /// Whether it should be read again: it is another one than before, and is the same at
    /// two looks, so that nobody reads half of it.
    fn has_changed(&mut self) -> bool {
        let now = Look::at(&self.file);
        let settled = now.is_some() && now == self.last && now != self.read;
        self.last = now;
        if settled {
            self.read = now;
        }
        settled
    }

    /// It is read for another reason; whether there is such a file.
    fn was_read(&mut self) -> bool {
        self.read = Look::at(&self.file);
        self.last = self.read;
        self.read.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_it_has_settled_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("one"), folder.path().join("serin.yaml"));
        std::fs::write(&file, "a").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let mut watch = Watch::new(&link, &[]);
        assert!(!watch.has_changed());
        std::fs::write(&file, "ab").unwrap();
        assert_eq!([(); 3].map(|()| watch.has_changed()), [false, true, false]);
        // As a ConfigMap does it: the link leads elsewhere.
        let other = folder.path().join("two");
        std::fs::write(&other, "ab").unwrap();
        std::fs::remove_file(&link).unwrap();
        assert!(!watch.has_changed(), "it is gone for a moment");
        std::os::unix::fs::symlink(&other, &link).unwrap();
        assert_eq!([(); 3].map(|()| watch.has_changed()), [false, true, false]);
    }
}
