//! The modules of a kernel: what depends on what, as `depmod` found it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// What there is, and what is part of the kernel itself.
pub struct Modules {
    /// Module name to its file and the files that it needs, as `modules.dep` has them.
    files: BTreeMap<String, (PathBuf, Vec<PathBuf>)>,
    builtin: Vec<String>,
}

impl Modules {
    /// Reads the indexes in the folder of a kernel's modules.
    pub fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| format!("read {name}"));
        let builtin = text("modules.builtin")?.lines().map(|line| module_name(Path::new(line))).collect();
        Ok(Modules { files: dependencies(&text("modules.dep")?), builtin })
    }

    /// Files in the order of loading; `loaded` are skipped, and grow.
    pub fn in_order(&self, names: &[&str], loaded: &mut Vec<PathBuf>) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for name in names {
            if self.builtin.contains(&name.replace('-', "_")) {
                continue;
            }
            let Some((file, needs)) = self.files.get(&name.replace('-', "_")) else {
                bail!("the kernel has no module {name}")
            };
            // modules.dep lists the nearest need first: the farthest must be loaded first.
            for path in needs.iter().rev().chain([file]) {
                if !loaded.contains(path) {
                    loaded.push(path.clone());
                    order.push(path.clone());
                }
            }
        }
        Ok(order)
    }
}

fn dependencies(text: &str) -> BTreeMap<String, (PathBuf, Vec<PathBuf>)> {
    let line = |line: &str| {
        let (file, needs) = line.split_once(':')?;
        let needs = needs.split_whitespace().map(PathBuf::from).collect();
        Some((module_name(Path::new(file)), (PathBuf::from(file), needs)))
    };
    text.lines().filter_map(line).collect()
}

/// File names and module names differ by dashes.
fn module_name(path: &Path) -> String {
    file_name(path).split('.').next().unwrap_or_default().replace('-', "_")
}

/// The name without the folder.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_loaded_before_what_needs_them_and_once() {
        let dep = "kernel/a/virtio_blk.ko: kernel/a/virtio.ko kernel/a/virtio_ring.ko\n\
                   kernel/a/virtio_ring.ko:\nkernel/a/virtio.ko: kernel/a/virtio_ring.ko\n\
                   kernel/b/virtio-pci.ko: kernel/a/virtio.ko kernel/a/virtio_ring.ko\n";
        let modules = Modules { files: dependencies(dep), builtin: vec!["ext4".into()] };
        let order = modules.in_order(&["virtio_pci", "ext4", "virtio_blk"], &mut Vec::new()).unwrap();
        assert_eq!(
            order.iter().map(|path| file_name(path)).collect::<Vec<_>>().join("\n"),
            "virtio_ring.ko\nvirtio.ko\nvirtio-pci.ko\nvirtio_blk.ko"
        );
        assert!(modules.in_order(&["absent"], &mut Vec::new()).is_err());
    }
}
