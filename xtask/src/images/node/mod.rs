//! The Node's image: Debian, a kubelet that waits for kubeadm, the images that every Node needs.
//! In: `images/node/`, Debian's packages, our components. Out: a containerDisk with a disk that
//! boots by firmware, and the kernel and initial ramdisk for direct boot.

mod containers;
mod debian;
mod disk;
mod initrd;
mod root;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Inputs, Made, pack, recipe};
pub use debian::lines;

use crate::cache::{self, Key};
use crate::oci::{Config, Image, Layer, Owner};
use crate::workspace;
use crate::{run, say};

/// KubeVirt's user for disks: <https://kubevirt.io/user-guide/storage/disks_and_volumes/#containerdisk>.
const QEMU: Owner = Owner(107, 107);
/// Images that a Node starts without a registry.
const PRELOADED: [&str; 5] = ["pause", "kubernetes", "coredns", "scute", "ramdisk"];

/// This recipe as it was compiled: what it does is an input like any other.
const CODE: [&str; 13] = [
    include_str!("../../../../crates/image/src/cpio.rs"),
    include_str!("../../../../crates/image/src/fat.rs"),
    include_str!("../../../../crates/image/src/gpt.rs"),
    include_str!("../../../../crates/image/src/gpt/create.rs"),
    include_str!("../../../../crates/image/src/mbr.rs"),
    include_str!("../../../../crates/image/src/uki.rs"),
    include_str!("containers.rs"),
    include_str!("debian.rs"),
    include_str!("disk.rs"),
    include_str!("initrd.rs"),
    include_str!("../../modules.rs"),
    include_str!("mod.rs"),
    include_str!("root.rs"),
];

/// Where the recipe's files lie.
fn source() -> PathBuf {
    workspace::root().join("images/node")
}

/// The image.
pub fn make(inputs: &Inputs) -> Result<Made> {
    let version = workspace::kubernetes();
    let disk = disk(inputs)?;
    let layer = Layer::new()
        .folder("disk", 0o555)
        .file("disk/node.qcow2", &disk.join("node.qcow2"))?
        .folder("boot", 0o555)
        .file("boot/vmlinuz", &disk.join("vmlinuz"))?
        .file("boot/initrd.img", &disk.join("initrd.img"))?
        .owned_by(QEMU);
    let image =
        Image { name: format!("scute.dev/node:{version}"), layers: vec![&layer], config: Config::default() };
    pack(&inputs.cache, "node", version, &[image])
}

/// The disk alone, in the cache.
pub fn qcow2(inputs: &Inputs) -> Result<PathBuf> {
    Ok(disk(inputs)?.join("node.qcow2"))
}

/// The disk with its kernel and initial ramdisk, in the cache.
fn disk(inputs: &Inputs) -> Result<PathBuf> {
    let debian = debian::packages(&inputs.cache)?;
    let preloaded = PRELOADED.map(|name| recipe(name, inputs)).into_iter().collect::<Result<Vec<_>>>()?;
    let mut key = Key::new("node").text("code", &CODE.concat()).tree(&source())?;
    key = key.text("debian", &debian.display().to_string());
    key = key.file(&inputs.built.kube)?.file(&inputs.built.containerd.join("containerd"))?;
    key = key.file(Path::new(disk::STUB)).with_context(|| format!("{} is missing", disk::STUB))?;
    for image in &preloaded {
        key = key.text("image", &image.file.display().to_string());
    }
    let build = |folder: &Path| assemble(inputs, &debian, &preloaded, folder);
    if inputs.cache.place("images", "node-disk", &key).exists() {
        return inputs.cache.entry("images", "node-disk", &key, build);
    }
    say::step("node disk", || inputs.cache.entry("images", "node-disk", &key, build))
}

fn assemble(inputs: &Inputs, debian: &Path, preloaded: &[Made], folder: &Path) -> Result<()> {
    let root = folder.join("root");
    fs::create_dir(&root)?;
    run::quiet(
        std::process::Command::new("tar")
            .args(["-x", "--numeric-owner", "-f"])
            .arg(debian)
            .arg("-C")
            .arg(&root),
    )?;
    root::furnish(&root, inputs)?;
    let kernel = initrd::kernel(&root)?;
    initrd::make(&root, &kernel, &folder.join("initrd.img"))?;
    fs::copy(root.join("boot").join(format!("vmlinuz-{kernel}")), folder.join("vmlinuz"))?;
    root::install_boot(&root, &kernel, folder)?;
    containers::preload(&root, inputs, preloaded, &folder.join("containerd"))?;
    disk::make(&root, folder, &folder.join("node.raw"))?;
    let mut convert = std::process::Command::new("qemu-img");
    convert.args(["convert", "-q", "-c", "-W", "-O", "qcow2", "-o", "compression_type=zstd"]);
    run::quiet(convert.arg(folder.join("node.raw")).arg(folder.join("node.qcow2")))?;
    for leftover in ["root", "node.raw", "containerd"] {
        cache::remove(&folder.join(leftover)).context("clean up")?;
    }
    Ok(())
}
