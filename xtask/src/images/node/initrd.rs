//! The initial ramdisk: our own init and the modules between a kernel and its root disk.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use scute_image::cpio::Cpio;

use super::source;
use crate::run;

/// Loaded always: disk and card of a VM as we make them. (The card is not for the root: udev would find it
/// seconds later.) And the panic device: a kernel that finds no root, or whose init ends, says so by it.
const ALWAYS: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_net", "pvpanic_mmio"];
/// Loaded when the root is not there yet: disks on other buses. (Debian's cloud kernel has no AHCI.)
const OTHERS: [&str; 3] = ["virtio_scsi", "sd_mod", "ata_piix"];
const RUSTC: [&str; 5] =
    ["--edition=2024", "-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Ctarget-feature=+crt-static"];

/// The version of the one kernel that is installed.
pub fn kernel(root: &Path) -> Result<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("usr/lib/modules"))? {
        found.push(entry?.file_name().to_string_lossy().into_owned());
    }
    match found.as_slice() {
        [kernel] => Ok(kernel.clone()),
        _ => bail!("want one kernel, found {found:?}"),
    }
}

/// Writes the ramdisk of a kernel whose modules lie below `root`.
pub fn make(root: &Path, kernel: &str, out: &Path) -> Result<()> {
    let modules = root.join("usr/lib/modules").join(kernel);
    let known = Modules::read(&modules)?;
    let mut loaded = Vec::new();
    let always = known.in_order(&ALWAYS, &mut loaded)?;
    let others = known.in_order(&OTHERS, &mut loaded)?;
    let init = out.with_extension("init");
    run::quiet(Command::new("rustc").args(RUSTC).arg("-o").arg(&init).arg(source().join("init.rs")))?;

    let mut archive = Cpio::new(BufWriter::new(fs::File::create(out)?));
    for folder in ["dev", "modules", "proc", "root", "sys"] {
        archive.folder(folder)?;
    }
    archive.file("init", 0o755, &fs::read(&init)?)?;
    archive.file("modules/order", 0o644, format!("{}\n\n{}\n", names(&always), names(&others)).as_bytes())?;
    for path in always.iter().chain(&others) {
        archive.file(&format!("modules/{}", file_name(path)), 0o644, &fs::read(modules.join(path))?)?;
    }
    archive.finish()?;
    fs::remove_file(&init).context("clean up")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| file_name(path)).collect::<Vec<_>>().join("\n")
}

/// What depends on what, and what is part of the kernel itself.
struct Modules {
    /// Module name to its file and the files that it needs, as `modules.dep` has them.
    files: BTreeMap<String, (PathBuf, Vec<PathBuf>)>,
    builtin: Vec<String>,
}

impl Modules {
    fn read(folder: &Path) -> Result<Self> {
        let text = |name: &str| fs::read_to_string(folder.join(name)).with_context(|| format!("read {name}"));
        let builtin = text("modules.builtin")?.lines().map(|line| module_name(Path::new(line))).collect();
        Ok(Modules { files: dependencies(&text("modules.dep")?), builtin })
    }

    /// Files in the order of loading; `loaded` are skipped, and grow.
    fn in_order(&self, names: &[&str], loaded: &mut Vec<PathBuf>) -> Result<Vec<PathBuf>> {
        let mut order = Vec::new();
        for name in names {
            if self.builtin.iter().any(|builtin| builtin == name) {
                continue;
            }
            let Some((file, needs)) = self.files.get(*name) else { bail!("the kernel has no module {name}") };
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
        assert_eq!(names(&order), "virtio_ring.ko\nvirtio.ko\nvirtio-pci.ko\nvirtio_blk.ko");
        assert!(modules.in_order(&["absent"], &mut Vec::new()).is_err());
    }
}
