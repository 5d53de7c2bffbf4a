//! What Debian must provide, and its installation. It never touches what is already there.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{run, say};

/// A Debian package, why it is needed.
struct Package(&'static str, &'static str);

const CLOUD_INIT: &str = "cloud-init";
const PACKAGES: &[Package] = &[
    Package("build-essential", "linker for Rust, C compiler for aws-lc"),
    Package("ca-certificates", "roots in the images"),
    Package(CLOUD_INIT, "its schema judges bootstrap data in tests"),
    Package("containernetworking-plugins", "bridge, host-local, loopback and portmap for Pods"),
    Package("dosfstools", "the other side in tests of FAT"),
    Package("e2fsprogs", "the node image's file system"),
    Package("fdisk", "the other side in tests of partition tables"),
    Package("git", "version of the build"),
    Package("grub-pc-bin", "boot loader of the node image"),
    Package("ipxe-qemu", "option ROM of a VM's network card"),
    Package("iproute2", "network namespaces"),
    Package("iptables", "CNI plugins masquerade with it"),
    Package("isolinux", "BIOS boot of the provisioning ramdisk"),
    Package("kmod", "indexes of the ramdisk's drivers"),
    Package("libprotobuf-dev", "well-known types that the etcd client's definitions import"),
    Package("mmdebstrap", "root file system of the node image"),
    Package("mtools", "the other side in tests of FAT"),
    Package("nftables", "kube-proxy"),
    Package("openssh-client", "keys for the ssh check"),
    Package("openssl", "the other side in tests of certificates"),
    Package("ovmf", "UEFI firmware for VMs"),
    Package("protobuf-compiler", "etcd client"),
    Package("python3-venv", "outside judges of Redfish"),
    Package("qemu-block-extra", "virtual CDs of the rack are read over HTTP"),
    Package("qemu-system-x86", "VMs"),
    Package("qemu-utils", "disk images"),
    Package("runc", "containers"),
    Package("seabios", "BIOS firmware for VMs"),
    Package("syslinux-common", "BIOS boot of the provisioning ramdisk"),
    Package("systemd", "the check of a site's unit"),
    Package("systemd-boot-efi", "UEFI boot of the provisioning ramdisk"),
    Package("xorriso", "the other side in tests of seed images"),
    Package("zstd", "compresses the provisioning ramdisk"),
];

/// Installs what is missing; `cargo xtask setup`.
pub fn run() -> Result<()> {
    programs()?;
    let missing = missing(&installed()?);
    if missing.is_empty() {
        say::already("set-up: Debian packages");
        return Ok(());
    }
    root("install packages")?;
    for Package(name, why) in &missing {
        say::note(&format!("{name}: {why}"));
    }
    let title = format!("set-up: installing {} Debian packages", missing.len());
    say::step(&title, || install(&missing))
}

/// Fails unless we are root, and says for what it is needed.
pub fn root(purpose: &str) -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let effective =
        status.lines().find_map(|l| l.strip_prefix("Uid:")).and_then(|l| l.split_whitespace().nth(1));
    if effective != Some("0") {
        bail!("not root: {purpose} needs it");
    }
    Ok(())
}

fn programs() -> Result<()> {
    for (program, hint) in [("go", "install Go 1.26 or later"), ("dpkg-query", "this must be Debian 12")] {
        if !run::exists(program) {
            bail!("{program} is not in PATH: {hint}");
        }
    }
    Ok(())
}

fn installed() -> Result<String> {
    run::output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${binary:Package}\n"]))
}

fn missing(installed: &str) -> Vec<&'static Package> {
    let have: std::collections::BTreeSet<&str> = installed
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .filter_map(|name| name.split(':').next())
        .collect();
    PACKAGES.iter().filter(|Package(name, _)| !have.contains(name)).collect()
}

fn install(packages: &[&Package]) -> Result<()> {
    let apt = || {
        let mut apt = Command::new("apt-get");
        // qemu-system-x86 brings a desktop along when recommended packages are installed.
        apt.args(["-q", "-y", "--no-install-recommends"]).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    if packages.iter().any(|Package(name, _)| *name == CLOUD_INIT) {
        never_starts_cloud_init()?;
    }
    run::quiet(apt().arg("update"))?;
    run::quiet(apt().arg("install").args(packages.iter().map(|Package(name, _)| name)))
}

/// It is a program for tests here. As a service it might take the machine for a new one at the next boot, and give it other keys.
fn never_starts_cloud_init() -> Result<()> {
    let switch = Path::new("/etc/cloud/cloud-init.disabled");
    std::fs::create_dir_all("/etc/cloud")?;
    File::create(switch).with_context(|| format!("write {}", switch.display())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_installed_counts() {
        let all: String =
            PACKAGES.iter().map(|Package(name, _)| format!("installed {name}:amd64\n")).collect();
        assert!(missing(&all).is_empty());
        let removed = all.replace("installed runc", "config-files runc");
        assert_eq!(missing(&removed).iter().map(|p| p.0).collect::<Vec<_>>(), ["runc"]);
    }
}
