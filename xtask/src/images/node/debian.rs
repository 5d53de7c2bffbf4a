//! Debian's part of the Node's root file system, as one tar.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::source;
use crate::cache::{Cache, Key};
use crate::{run, say};

const MIRROR: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";
/// What only people at a keyboard read.
const LEFT_OUT: [&str; 6] = ["man", "doc", "locale", "info", "i18n", "zoneinfo/right"];

/// The tar, in the cache. Its key is the list of packages: Debian's updates come with a change of it,
/// or with an empty cache.
pub fn packages(cache: &Cache) -> Result<PathBuf> {
    let list = fs::read_to_string(source().join("packages.txt"))?;
    let packages: Vec<_> = lines(&list).collect();
    let key = Key::new("node-debian-1").text("packages", &packages.join(","));
    let make = |folder: &Path| bootstrap(&packages, &folder.join("root.tar"));
    let folder = if cache.place("images", "node-debian", &key).exists() {
        cache.entry("images", "node-debian", &key, make)
    } else {
        say::step("node: Debian packages", || cache.entry("images", "node-debian", &key, make))
    }?;
    Ok(folder.join("root.tar"))
}

/// Lines of a list without comments.
pub fn lines(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn bootstrap(packages: &[&str], tar: &Path) -> Result<()> {
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap
        .args(["--quiet", "--variant=minbase", "--mode=root"])
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg("--aptopt=Apt::Install-Recommends \"false\"")
        .args(LEFT_OUT.map(|folder| format!("--dpkgopt=path-exclude=/usr/share/{folder}/*")))
        .arg(format!("--include={}", packages.join(",")))
        .arg("bookworm")
        .arg(tar)
        .arg(format!("deb {MIRROR} bookworm main"))
        .arg(format!("deb {MIRROR} bookworm-updates main"))
        .arg(format!("deb {SECURITY} bookworm-security main"));
    run::quiet(&mut mmdebstrap)
}
