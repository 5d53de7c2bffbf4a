//! The initial ramdisk: our own init and the modules between a kernel and its root disk.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use scute_image::cpio::Cpio;

use super::source;
use crate::modules::{Modules, file_name};
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

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| file_name(path)).collect::<Vec<_>>().join("\n")
}
