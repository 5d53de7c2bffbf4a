//! Turns Debian's root file system into a Node's: our files, links, units that are off, nothing left over.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::debian::lines;
use super::{Inputs, source};
use crate::cache::{self, files_below};
use crate::run;

/// Programs of the multi-call binary that a Node calls by name.
const KUBE: [&str; 3] = ["kubeadm", "kubectl", "kubelet"];
const CONTAINERD: [&str; 3] = ["containerd", "containerd-shim-runc-v2", "ctr"];
/// Services that start by themselves.
const ENABLED: [&str; 6] = [
    "cloud-init.service",
    "containerd.service",
    "grow-root.service",
    "kubelet.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
];
/// A service that cloud-init starts once it has made its keys.
const DISABLED: [&str; 1] = ["ssh.service"];
/// What costs seconds at boot and decides nothing. The user's cloud-config is validated where it is made.
const REMOVED: [&str; 2] =
    ["usr/lib/python3/dist-packages/jsonschema", "etc/systemd/system/sshd-keygen@.service.d"];
/// Generators run at boot and at every reload, which kubeadm asks for: those that a Node needs.
const GENERATORS: [&str; 2] = ["systemd-debug-generator", "systemd-fstab-generator"];
/// Files that must differ from Node to Node, and folders that a Node fills anew.
const EMPTIED: [&str; 8] = [
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "etc/hostname",
    "etc/resolv.conf",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/locale",
];

/// Everything but the boot files and the containers.
pub fn furnish(root: &Path, inputs: &Inputs) -> Result<()> {
    overlay(&source().join("root"), root)?;
    programs(root, inputs)?;
    cni(root)?;
    for path in REMOVED {
        cache::remove(&root.join(path))?;
    }
    generators(&root.join("usr/lib/systemd/system-generators"))?;
    empty(root)?;
    units(root)
}

fn generators(folder: &Path) -> Result<()> {
    for generator in files_below(folder)? {
        if !GENERATORS.iter().any(|needed| generator.ends_with(needed)) {
            fs::remove_file(&generator)?;
        }
    }
    Ok(())
}

/// Copies our files over Debian's.
fn overlay(from: &Path, root: &Path) -> Result<()> {
    for file in files_below(from)? {
        let to = root.join(file.strip_prefix(from)?);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&file, &to).with_context(|| format!("copy {}", file.display()))?;
    }
    Ok(())
}

fn programs(root: &Path, inputs: &Inputs) -> Result<()> {
    let folder = root.join("usr/local/bin");
    fs::copy(&inputs.built.kube, folder.join("kube"))?;
    for name in KUBE {
        symlink("kube", folder.join(name))?;
    }
    for name in CONTAINERD {
        fs::copy(inputs.built.containerd.join(name), folder.join(name))?;
    }
    Ok(())
}

/// CNI plug-ins live where upstream's installers put theirs; Debian's path is a link to it.
fn cni(root: &Path) -> Result<()> {
    let (debian, upstream) = (root.join("usr/lib/cni"), root.join("opt/cni/bin"));
    fs::create_dir_all(root.join("opt/cni"))?;
    fs::rename(&debian, &upstream).context("move CNI plug-ins")?;
    symlink("/opt/cni/bin", &debian)?;
    fs::create_dir_all(root.join("etc/cni/net.d"))?;
    Ok(())
}

fn empty(root: &Path) -> Result<()> {
    for path in EMPTIED {
        let path = root.join(path);
        let was_folder = path.is_dir();
        cache::remove(&path)?;
        if was_folder {
            fs::create_dir(&path)?;
        }
    }
    // An empty file is filled at boot; a missing one would start the first-boot questions.
    fs::write(root.join("etc/machine-id"), "")?;
    symlink("/etc/machine-id", root.join("var/lib/dbus/machine-id"))?;
    // The servers themselves: the stub would be a loop for a DNS server in a Pod.
    symlink("/run/systemd/resolve/resolv.conf", root.join("etc/resolv.conf"))?;
    for key in files_below(&root.join("etc/ssh"))? {
        if key.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_")) {
            fs::remove_file(&key)?;
        }
    }
    Ok(())
}

fn units(root: &Path) -> Result<()> {
    let systemctl = || {
        let mut systemctl = Command::new("systemctl");
        systemctl.arg("--quiet").arg(format!("--root={}", root.display()));
        systemctl
    };
    let off = fs::read_to_string(source().join("units-off.txt"))?;
    run::quiet(systemctl().arg("mask").args(lines(&off)))?;
    run::quiet(systemctl().arg("disable").args(DISABLED))?;
    run::quiet(systemctl().arg("enable").args(ENABLED))?;
    run::quiet(systemctl().args(["set-default", "multi-user.target"]))
}

/// The kernel and ramdisk under the names that the boot loader reads, and the kernel's configuration, which
/// kubeadm's preflight looks into.
pub fn install_boot(root: &Path, kernel: &str, folder: &Path) -> Result<()> {
    let boot = root.join("boot");
    for file in files_below(&boot)? {
        if !file.ends_with(format!("config-{kernel}")) {
            fs::remove_file(&file)?;
        }
    }
    for name in ["vmlinuz", "initrd.img"] {
        fs::copy(folder.join(name), boot.join(name)).with_context(|| format!("install {name}"))?;
        cache::remove(&root.join(name))?;
        cache::remove(&root.join(format!("{name}.old")))?;
    }
    Ok(())
}
