//! Digests that are remembered while a file stays untouched: hashing two gigabytes again tells nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, FileDigest, digest_of};

const FILE: &str = "digests.json";

#[derive(Clone, Serialize, Deserialize)]
struct Known {
    size: u64,
    inode: u64,
    /// Nanoseconds; any write or rename over the file moves it.
    changed: i128,
    hex: String,
}

/// The memory, one file in the cache.
pub struct Digests {
    root: PathBuf,
    known: BTreeMap<PathBuf, Known>,
    used: BTreeMap<PathBuf, Known>,
}

impl Digests {
    /// Reads what is known; a damaged memory is an empty one.
    pub fn open(cache: &Cache) -> Result<Self> {
        let root = cache.root().to_path_buf();
        let known = std::fs::read(root.join(FILE))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Ok(Digests { root, known, used: BTreeMap::new() })
    }

    /// The cache's folder.
    pub fn cache(&self) -> &Path {
        &self.root
    }

    /// The file's digest.
    pub fn of(&mut self, path: &Path) -> Result<FileDigest> {
        let meta = path.metadata()?;
        let (size, inode) = (meta.size(), meta.ino());
        let changed = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        let same = |k: &&Known| (k.size, k.inode, k.changed) == (size, inode, changed);
        let hex = match self.known.get(path).filter(same) {
            Some(known) => known.hex.clone(),
            None => digest_of(path)?.hex,
        };
        self.used.insert(path.into(), Known { size, inode, changed, hex: hex.clone() });
        Ok(FileDigest { hex, size })
    }

    /// Keeps what was asked for this time.
    pub fn save(self) -> Result<()> {
        Ok(std::fs::write(self.root.join(FILE), serde_json::to_vec(&self.used)?)?)
    }
}
