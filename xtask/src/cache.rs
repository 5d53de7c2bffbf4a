//! A content-addressed store of build results. In: a name and the key of everything the result
//! depends on. Out: a folder that is complete or absent. It never keeps a half-built result.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// How many results of one name are kept: the current one and the one before.
const KEPT: usize = 2;

/// The digest of everything that a result depends on.
#[derive(Clone)]
pub struct Key(Sha256);

impl Key {
    /// Starts a key for one recipe; bump `recipe` when its code changes what it makes.
    pub fn new(recipe: &str) -> Self {
        Key(Sha256::new()).text("recipe", recipe)
    }

    /// Adds a value.
    pub fn text(mut self, label: &str, value: &str) -> Self {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        for part in [label, value] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a file by its content.
    pub fn file(self, path: &Path) -> Result<Self> {
        let digest = digest_of(path)?.hex;
        Ok(self.text(&path.file_name().unwrap_or_default().to_string_lossy(), &digest))
    }

    /// Adds every file below a folder by path, mode and content.
    pub fn tree(mut self, folder: &Path) -> Result<Self> {
        for path in files_below(folder)? {
            let relative = path.strip_prefix(folder)?.to_string_lossy().into_owned();
            let meta = fs::symlink_metadata(&path)?;
            self = if meta.is_symlink() {
                self.text(&relative, &fs::read_link(&path)?.to_string_lossy())
            } else {
                use std::os::unix::fs::PermissionsExt;
                let executable = meta.permissions().mode() & 0o111 != 0;
                self.text(&format!("{relative} {executable}"), &digest_of(&path)?.hex)
            };
        }
        Ok(self)
    }

    /// The first twelve hex digits: enough for a folder's name.
    pub fn short(&self) -> String {
        hex::encode(&self.0.clone().finalize()[..6])
    }
}

/// Every file and symlink below a folder, sorted.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A file's SHA-256 and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDigest {
    /// Lower-case hex, without an algorithm.
    pub hex: String,
    /// Bytes.
    pub size: u64,
}

/// Reads a file once.
pub fn digest_of(path: &Path) -> Result<FileDigest> {
    let (hex, size) =
        scute_bundle::sha256_of_file(path).with_context(|| format!("read {}", path.display()))?;
    Ok(FileDigest { hex, size })
}

/// The store.
#[derive(Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$SCUTE_CACHE`, or `$XDG_CACHE_HOME/scute`, or `~/.cache/scute`.
    pub fn open() -> Result<Self> {
        let env = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = match (env("SCUTE_CACHE"), env("XDG_CACHE_HOME"), env("HOME")) {
            (Some(root), _, _) => root,
            (_, Some(cache), _) => cache.join("scute"),
            (_, _, Some(home)) => home.join(".cache/scute"),
            _ => bail!("no cache folder: set SCUTE_CACHE, XDG_CACHE_HOME or HOME"),
        };
        Self::at(&root)
    }

    /// A store in a given folder.
    pub fn at(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("make {}", root.display()))?;
        Ok(Cache { root: root.to_path_buf() })
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the result lies, whether or not it is there yet.
    pub fn place(&self, kind: &str, name: &str, key: &Key) -> PathBuf {
        self.root.join(kind).join(format!("{name}-{}", key.short()))
    }

    /// Returns the result, building it first if it is not there. `build` fills an empty folder.
    pub fn entry(
        &self,
        kind: &str,
        name: &str,
        key: &Key,
        build: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.place(kind, name, key);
        if place.exists() {
            // The order of use decides what is pruned.
            used(&place)?;
            return Ok(place);
        }
        let folder = self.root.join(kind);
        fs::create_dir_all(&folder)?;
        // One builder at a time: a second one waits, then finds the result.
        let lock = File::create(folder.join(format!(".{name}.lock")))?;
        lock.lock().with_context(|| format!("lock {kind}/{name}"))?;
        if place.exists() {
            return Ok(place);
        }
        let partial = folder.join(format!(".{name}.partial"));
        remove(&partial)?;
        fs::create_dir(&partial)?;
        build(&partial).with_context(|| format!("build {name}"))?;
        fs::rename(&partial, &place)?;
        self.prune(&folder, name)?;
        Ok(place)
    }

    /// Points `bin/NAME` at a result.
    pub fn link(&self, name: &str, target: &Path) -> Result<()> {
        let folder = self.root.join("bin");
        fs::create_dir_all(&folder)?;
        let (link, new) = (folder.join(name), folder.join(format!(".{name}.new")));
        remove(&new)?;
        std::os::unix::fs::symlink(target, &new)?;
        fs::rename(&new, &link).with_context(|| format!("link {}", link.display()))
    }

    fn prune(&self, folder: &Path, name: &str) -> Result<()> {
        let is_result = |file: &str| {
            file.strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|key| key.len() == 12 && key.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let mut results = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if is_result(&entry.file_name().to_string_lossy()) {
                results.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        results.sort();
        for (_, path) in results.iter().rev().skip(KEPT) {
            remove(path)?;
        }
        Ok(())
    }
}

fn used(place: &Path) -> Result<()> {
    Ok(File::open(place)?.set_modified(std::time::SystemTime::now())?)
}

/// Removes a file or a folder, if there is one.
pub fn remove(path: &Path) -> Result<()> {
    let done = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    done.with_context(|| format!("remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("scute-xtask-{name}-{}", std::process::id()));
        remove(&path).unwrap();
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn an_unchanged_key_is_not_built_again_and_a_failed_build_leaves_nothing() {
        let root = scratch("cache");
        let cache = Cache::at(&root).unwrap();
        let key = Key::new("thing").text("version", "1");
        let failed = cache.entry("things", "thing", &key, |dir| {
            fs::write(dir.join("half"), "").unwrap();
            bail!("no")
        });
        assert!(failed.is_err());
        assert!(!cache.place("things", "thing", &key).exists());

        let first =
            cache.entry("things", "thing", &key, |dir| Ok(fs::write(dir.join("whole"), "1")?)).unwrap();
        assert!(!first.join("half").exists());
        let again = cache.entry("things", "thing", &key, |_| bail!("built twice")).unwrap();
        assert_eq!(first, again);
        remove(&root).unwrap();
    }

    #[test]
    fn the_key_sees_every_input_and_keeps_neighbours_apart() {
        let base = || Key::new("thing");
        assert_eq!(base().text("a", "b").short(), base().text("a", "b").short());
        assert_ne!(base().text("ab", "c").short(), base().text("a", "bc").short());
        assert_ne!(base().short(), Key::new("other").short());

        let root = scratch("key");
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/file"), "one").unwrap();
        let before = base().tree(&root).unwrap().short();
        fs::write(root.join("sub/file"), "two").unwrap();
        let changed = base().tree(&root).unwrap().short();
        fs::rename(root.join("sub/file"), root.join("sub/renamed")).unwrap();
        let renamed = base().tree(&root).unwrap().short();
        assert!(before != changed && changed != renamed);
        remove(&root).unwrap();
    }

    #[test]
    fn only_the_newest_results_of_a_name_are_kept() {
        let root = scratch("prune");
        let cache = Cache::at(&root).unwrap();
        let build = |name: &str, version: &str| {
            let path = cache.entry("k", name, &Key::new(version), |_| Ok(())).unwrap();
            let age = std::time::Duration::from_secs(100 - version.parse::<u64>().unwrap());
            let built = path.metadata().unwrap().modified().unwrap();
            File::open(&path).unwrap().set_modified(built - age).unwrap();
            path
        };
        let other = build("kube-v2", "9");
        let paths: Vec<_> = ["1", "2", "3"].iter().map(|v| build("kube", v)).collect();
        assert_eq!(paths.iter().map(|p| p.exists()).collect::<Vec<_>>(), [false, true, true]);
        assert!(other.exists(), "another name is left alone");
        remove(&root).unwrap();
    }
}
