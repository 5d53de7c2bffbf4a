//! The bundle: every binary and image that a site needs, in one folder with an index. `cargo xtask bundle` writes it, a
//! site reads it. In: the folder. Out: its parts, each checked against its digest. Never: changes the folder.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// Name of the index in the bundle's folder.
pub const INDEX: &str = "index.json";
/// Form of the index that this version reads and writes.
pub const SCHEMA: u32 = 1;

/// The index of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Form of the index.
    pub schema: u32,
    /// Kubernetes version of the images.
    pub kubernetes: String,
    /// Scute version of the images.
    pub scute: String,
    /// What is in the bundle.
    pub parts: Vec<Part>,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartKind {
    /// An executable or its library.
    Binary,
    /// A tar in OCI layout.
    Image,
    /// Any other file.
    File,
}

/// One part of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name, for people.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// Its own version.
    #[serde(default)]
    pub version: String,
    /// Path below the bundle's folder.
    pub file: PathBuf,
    /// `sha256:<hex>` of the file.
    pub digest: String,
    /// Size of the file in bytes.
    pub size: u64,
    /// File mode of a binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// Image names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<String>,
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No index there.
    #[error(
        "no bundle at {path}: {path}/index.json cannot be read; make one with `cargo xtask bundle`, or name one with --bundle"
    )]
    NoIndex {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The index is not one.
    #[error("{path} is not a bundle index")]
    Index {
        /// The index.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Made by or for another version.
    #[error("the bundle has {what} {found}, this binary needs {wanted}")]
    Version {
        /// Of what.
        what: &'static str,
        /// What the bundle says.
        found: String,
        /// What we are.
        wanted: String,
    },
    /// The index points to where a site would not put it.
    #[error("part {part} of the bundle names the path {file}, which is not below {}", .places.join(", "))]
    Escape {
        /// The part.
        part: String,
        /// Its path.
        file: PathBuf,
        /// Folders that its kind may be in.
        places: Vec<&'static str>,
    },
    /// A part is missing or unreadable.
    #[error("part {part} of the bundle cannot be read at {path}")]
    Read {
        /// The part.
        part: String,
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A part is damaged.
    #[error("part {part} of the bundle is damaged: {file} has {found}, the index says {wanted}")]
    Damaged {
        /// The part.
        part: String,
        /// Its file.
        file: PathBuf,
        /// Size or digest of the file.
        found: String,
        /// Size or digest in the index.
        wanted: String,
    },
    /// A part that a site cannot do without is not listed.
    #[error("the bundle lacks {0}")]
    Lacks(String),
}

/// A bundle whose index has been read.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The folder.
    pub dir: PathBuf,
    /// Its index.
    pub index: Index,
    /// The text of the index, as it was read.
    pub text: Vec<u8>,
    /// `sha256:<hex>` of the index: names the whole content.
    pub digest: String,
}

impl Bundle {
    /// Reads the index and checks that it is for this version and leads nowhere else.
    pub fn open(dir: &Path, scute: &str, kubernetes: &str) -> Result<Self, BundleError> {
        let path = dir.join(INDEX);
        let text =
            fs::read(&path).map_err(|source| BundleError::NoIndex { path: dir.to_path_buf(), source })?;
        let bundle = Self::read(dir, &text).map_err(|source| BundleError::Index { path, source })?;
        let index = &bundle.index;
        let check = |what, found: &str, wanted: &str| {
            if found == wanted {
                return Ok(());
            }
            Err(BundleError::Version { what, found: found.to_owned(), wanted: wanted.to_owned() })
        };
        check("an index of form", &index.schema.to_string(), &SCHEMA.to_string())?;
        check("Scute", &index.scute, scute)?;
        check("Kubernetes", &index.kubernetes, kubernetes)?;
        index.parts.iter().try_for_each(stays_in_its_place)?;
        Ok(bundle)
    }

    /// A bundle by the text of its index, which was checked before. Its folder need not be there any more.
    ///
    /// # Errors
    /// The text is no index.
    pub fn read(dir: &Path, index: &[u8]) -> Result<Self, serde_json::Error> {
        let (text, digest) = (index.to_vec(), sha256(index));
        Ok(Self { dir: dir.to_path_buf(), index: serde_json::from_slice(index)?, text, digest })
    }

    /// The parts of one kind.
    pub fn parts(&self, kind: PartKind) -> impl Iterator<Item = &Part> {
        self.index.parts.iter().filter(move |part| part.kind == kind)
    }

    /// The image part that carries `reference`.
    pub fn image(&self, reference: &str) -> Result<&Part, BundleError> {
        self.parts(PartKind::Image)
            .find(|part| part.refs.iter().any(|name| name == reference))
            .ok_or_else(|| BundleError::Lacks(format!("the image {reference}")))
    }

    /// Full path of a part.
    pub fn path(&self, part: &Part) -> PathBuf {
        self.dir.join(&part.file)
    }

    /// Checks parts against their digests, on as many threads as the machine has.
    ///
    /// `seen` remembers files whose bytes were checked before and that have not been touched since, so that a second
    /// `up` does not read them again.
    pub fn verify<'a>(
        &self,
        parts: impl IntoIterator<Item = &'a Part>,
        seen: &mut Checked,
    ) -> Result<(), BundleError> {
        let parts: Vec<_> = parts.into_iter().collect();
        let next = std::sync::atomic::AtomicUsize::new(0);
        let known = &*seen;
        let work = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(part) = parts.get(at) else { return Ok(done) };
                done.push((part.file.clone(), self.verify_part(part, known)?));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(parts.len().max(1));
        let results: Vec<Result<Vec<_>, BundleError>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
        });
        let mut checked = BTreeMap::new();
        for result in results {
            checked.extend(result?);
        }
        seen.files.extend(checked);
        Ok(())
    }

    fn verify_part(&self, part: &Part, seen: &Checked) -> Result<Stamp, BundleError> {
        let path = self.path(part);
        let read = |source| BundleError::Read { part: part.name.clone(), path: path.clone(), source };
        let damaged = |found, wanted| BundleError::Damaged {
            part: part.name.clone(),
            file: part.file.clone(),
            found,
            wanted,
        };
        let meta = fs::metadata(&path).map_err(read)?;
        if meta.len() != part.size {
            return Err(damaged(format!("{} bytes", meta.len()), format!("{} bytes", part.size)));
        }
        let stamp = Stamp {
            digest: part.digest.clone(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        };
        if seen.files.get(&part.file) == Some(&stamp) {
            return Ok(stamp);
        }
        let found = format!("sha256:{}", sha256_of_file(&path).map_err(read)?.0);
        if found == part.digest { Ok(stamp) } else { Err(damaged(found, part.digest.clone())) }
    }
}

/// Files whose digest was right, with what would change if someone touched them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    files: BTreeMap<PathBuf, Stamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stamp {
    digest: String,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// A part's kind says below which folders it may lie: a site puts it at the same place of its own.
fn stays_in_its_place(part: &Part) -> Result<(), BundleError> {
    let places = match part.kind {
        PartKind::Binary => vec!["bin"],
        PartKind::Image => vec!["images"],
        PartKind::File => vec!["disks", "lib", "ramdisk"],
    };
    let plain = part.file.components().all(|c| matches!(c, Component::Normal(_)));
    let below = |place: &&str| part.file.starts_with(place) && part.file != Path::new(place);
    if plain && places.iter().any(below) {
        return Ok(());
    }
    Err(BundleError::Escape { part: part.name.clone(), file: part.file.clone(), places })
}

/// `sha256:<hex>` of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Hex digits of a file's SHA-256, and its size.
pub fn sha256_of_file(path: &Path) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let size = io::copy(&mut io::BufReader::with_capacity(1 << 20, fs::File::open(path)?), &mut hash)?;
    Ok((hex::encode(hash.finalize()), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(dir: &Path, parts: &[(&str, &[u8])]) -> Bundle {
        let parts = parts
            .iter()
            .map(|(name, bytes)| {
                fs::create_dir_all(dir.join("lib")).unwrap();
                let file = Path::new("lib").join(name);
                fs::write(dir.join(&file), bytes).unwrap();
                Part {
                    name: (*name).to_owned(),
                    kind: PartKind::File,
                    version: String::new(),
                    file,
                    digest: sha256(bytes),
                    size: bytes.len() as u64,
                    mode: None,
                    refs: vec![],
                }
            })
            .collect();
        let index = Index { schema: 1, kubernetes: "v1".into(), scute: "0".into(), parts };
        fs::write(dir.join(INDEX), serde_json::to_vec(&index).unwrap()).unwrap();
        Bundle::open(dir, "0", "v1").unwrap()
    }

    #[test]
    fn one_flipped_byte_is_named_with_its_part() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle(dir.path(), &[("a", b"alpha"), ("b", b"beta")]);
        bundle.verify(&bundle.index.parts, &mut Checked::default()).unwrap();
        fs::write(dir.path().join("lib/b"), b"bexa").unwrap();
        let err = bundle.verify(&bundle.index.parts, &mut Checked::default()).unwrap_err();
        assert!(err.to_string().starts_with("part b of the bundle is damaged"), "{err}");
        fs::write(dir.path().join("lib/b"), b"bet").unwrap();
        let err = bundle.verify(&bundle.index.parts, &mut Checked::default()).unwrap_err();
        assert!(err.to_string().contains("3 bytes, the index says 4 bytes"), "{err}");
        fs::remove_file(dir.path().join("lib/b")).unwrap();
        assert!(
            matches!(bundle.verify(&bundle.index.parts, &mut Checked::default()), Err(BundleError::Read { part, .. }) if part == "b")
        );
    }

    #[test]
    fn a_checked_file_is_read_again_only_after_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle(dir.path(), &[("a", b"alpha")]);
        let mut seen = Checked::default();
        bundle.verify(&bundle.index.parts, &mut seen).unwrap();
        let before = seen.clone();
        bundle.verify(&bundle.index.parts, &mut seen).unwrap();
        assert_eq!(seen, before);
        fs::write(dir.path().join("lib/a"), b"alphb").unwrap();
        assert!(
            matches!(bundle.verify(&bundle.index.parts, &mut seen), Err(BundleError::Damaged { .. })),
            "the stamp hid a change"
        );
    }

    #[test]
    fn other_versions_and_paths_out_of_the_folder_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut index = bundle(dir.path(), &[("a", b"alpha")]).index;
        let err = Bundle::open(dir.path(), "9", "v1").unwrap_err();
        assert_eq!(err.to_string(), "the bundle has Scute 0, this binary needs 9");
        for escape in ["../../etc/shadow", "lib/../../etc/shadow", "/lib/a", "pki/ca.key", "lib", "bin/a"] {
            index.parts[0].file = escape.into();
            fs::write(dir.path().join(INDEX), serde_json::to_vec(&index).unwrap()).unwrap();
            let opened = Bundle::open(dir.path(), "0", "v1");
            assert!(matches!(opened, Err(BundleError::Escape { .. })), "{escape}");
        }
        assert!(matches!(Bundle::open(&dir.path().join("no"), "0", "v1"), Err(BundleError::NoIndex { .. })));
    }
}
