//! A place of its own for everything that a run could write.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Directories for configuration, home, temporary files and work, all new and empty, and beside
/// them what the test itself needs.
pub struct Place {
    dir: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for dir in ["config", "home", "tmp", "work"] {
            fs::create_dir(place.path(dir)).unwrap();
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that only its owner may read.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap();
        file.write_all(content).unwrap();
        path
    }

    /// Every file that is not the test's own, relative to the place.
    pub fn written(&self) -> Vec<String> {
        let mut found = Vec::new();
        for dir in ["config", "home", "tmp", "work"] {
            self.collect(&self.path(dir), &mut found);
        }
        found.sort();
        found
    }

    fn collect(&self, dir: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.collect(&path, found);
            } else {
                let shown = path.strip_prefix(self.dir.path()).unwrap();
                found.push(shown.display().to_string());
            }
        }
    }
}
