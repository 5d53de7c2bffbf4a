//! One layer: a tar of sorted entries without time stamps or names of owners.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::cache::{self, FileDigest, Key};

/// User and group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u64, pub u64);

/// Root, who owns everything unless a recipe says otherwise.
const ROOT: Owner = Owner(0, 0);

#[derive(Clone, Debug)]
enum Content {
    Folder,
    File(PathBuf),
    Bytes(Vec<u8>),
    Link(String),
}

#[derive(Clone, Debug)]
struct Entry {
    content: Content,
    mode: u32,
    owner: Owner,
}

/// What a layer will hold, by path without a leading slash.
#[derive(Clone, Debug, Default)]
pub struct Layer(BTreeMap<String, Entry>);

impl Layer {
    /// An empty layer.
    pub fn new() -> Self {
        Layer::default()
    }

    /// A folder.
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.put(path, Content::Folder, mode)
    }

    /// A file of the machine that builds, with its executable bit.
    pub fn file(self, path: &str, source: &Path) -> Result<Self> {
        let meta = source.metadata().with_context(|| format!("look at {}", source.display()))?;
        let mode = if meta.permissions().mode() & 0o111 != 0 { 0o755 } else { 0o644 };
        Ok(self.put(path, Content::File(source.to_path_buf()), mode))
    }

    /// A file of ours.
    pub fn bytes(self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32) -> Self {
        self.put(path, Content::Bytes(bytes.into()), mode)
    }

    /// A symbolic link.
    pub fn link(self, path: &str, target: &str) -> Self {
        self.put(path, Content::Link(target.into()), 0o777)
    }

    /// Everything so far belongs to this owner.
    pub fn owned_by(mut self, owner: Owner) -> Self {
        self.0.values_mut().for_each(|entry| entry.owner = owner);
        self
    }

    /// Both layers' entries; on a clash the other's wins.
    pub fn merge(mut self, other: Layer) -> Self {
        self.0.extend(other.0);
        self
    }

    fn put(mut self, path: &str, content: Content, mode: u32) -> Self {
        let path = path.trim_matches('/').to_string();
        self.0.insert(path, Entry { content, mode, owner: ROOT });
        self
    }

    /// Adds every entry's path, mode, owner and content to a key.
    pub fn key(&self, mut key: Key) -> Result<Key> {
        for (path, Entry { content, mode, owner }) in &self.0 {
            key = key.text(path, &format!("{mode:o} {}:{}", owner.0, owner.1));
            key = match content {
                Content::Folder => key.text("folder", ""),
                Content::File(source) => key.text("file", &cache::digest_of(source)?.hex),
                Content::Bytes(bytes) => key.text("file", &hex::encode(Sha256::digest(bytes))),
                Content::Link(target) => key.text("link", target),
            };
        }
        Ok(key)
    }

    /// The digest and size of the tar, without keeping it.
    pub fn digest(&self) -> Result<FileDigest> {
        let mut counted = Counted { hash: Sha256::new(), size: 0 };
        self.write(&mut counted)?;
        Ok(FileDigest { hex: hex::encode(counted.hash.finalize()), size: counted.size })
    }

    /// Writes the tar.
    pub fn write(&self, out: impl Write) -> Result<()> {
        let mut tar = tar::Builder::new(out);
        for path in self.implied_folders() {
            append(&mut tar, &format!("{path}/"), tar::EntryType::Directory, 0o755, ROOT, 0, io::empty())?;
        }
        for (path, entry) in &self.0 {
            entry.append(&mut tar, path).with_context(|| format!("layer entry {path}"))?;
        }
        tar.finish()?;
        Ok(())
    }

    /// Folders that entries lie in and nobody named.
    fn implied_folders(&self) -> impl Iterator<Item = String> {
        let mut folders = std::collections::BTreeSet::new();
        for path in self.0.keys() {
            let parents = Path::new(path).ancestors().skip(1).map(|p| p.to_string_lossy().into_owned());
            folders.extend(parents.filter(|p| !p.is_empty() && !self.0.contains_key(p)));
        }
        folders.into_iter()
    }
}

impl Entry {
    fn append<W: Write>(&self, tar: &mut tar::Builder<W>, path: &str) -> Result<()> {
        use tar::EntryType::{Directory, Regular, Symlink};
        plain(path)?;
        let Entry { content, mode, owner } = self;
        match content {
            Content::Folder => append(tar, &format!("{path}/"), Directory, *mode, *owner, 0, io::empty()),
            Content::Bytes(bytes) => {
                append(tar, path, Regular, *mode, *owner, bytes.len() as u64, bytes.as_slice())
            }
            Content::File(source) => {
                let file = File::open(source).with_context(|| format!("open {}", source.display()))?;
                let size = file.metadata()?.len();
                append(tar, path, Regular, *mode, *owner, size, file.take(size))
            }
            Content::Link(target) => {
                let mut header = header(Symlink, *mode, *owner, 0);
                Ok(tar.append_link(&mut header, path, target)?)
            }
        }
    }
}

fn append<W: Write>(
    tar: &mut tar::Builder<W>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    owner: Owner,
    size: u64,
    content: impl Read,
) -> Result<()> {
    Ok(tar.append_data(&mut header(kind, mode, owner, size), path, content)?)
}

/// A path that climbs would be refused, or worse, when the layer is unpacked.
fn plain(path: &str) -> Result<()> {
    if !Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_))) {
        bail!("a layer's path must be plain");
    }
    Ok(())
}

/// A header that says nothing about the machine or the hour of the build.
pub(super) fn header(kind: tar::EntryType, mode: u32, owner: Owner, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0);
    header.set_gid(owner.1);
    header.set_mtime(0);
    header.set_size(size);
    header
}

struct Counted {
    hash: Sha256,
    size: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
