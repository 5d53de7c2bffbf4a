//! Layers from this machine's Debian: the files every image needs, and programs with exactly the
//! libraries that they load.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::oci::Layer;
use crate::run;

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
                      qemu:x:107:107:qemu:/:/sbin/nologin\n\
                      nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nqemu:x:107:\nnonroot:x:65532:\n";
/// Debian's merged /usr: programs name their loader below /lib64.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Users, name resolution, certificate roots and /tmp.
pub fn base() -> Result<Layer> {
    let roots = "etc/ssl/certs/ca-certificates.crt";
    let layer = Layer::new()
        .folder("tmp", 0o1777)
        .folder("root", 0o700)
        .bytes("etc/passwd", PASSWD, 0o644)
        .bytes("etc/group", GROUP, 0o644)
        .bytes("etc/nsswitch.conf", "hosts: files dns\n", 0o644)
        .file(roots, &Path::new("/").join(roots))?;
    Ok(MERGED.iter().fold(layer, |layer, name| {
        layer.folder(&format!("usr/{name}"), 0o755).link(name, &format!("usr/{name}"))
    }))
}

/// Programs or plug-ins of this machine with the libraries that they load, at their own paths.
pub fn programs(paths: &[&str]) -> Result<Layer> {
    let mut files: BTreeSet<PathBuf> = paths.iter().map(PathBuf::from).collect();
    for path in paths {
        files.extend(libraries(Path::new(path))?);
    }
    files.iter().try_fold(Layer::new(), |layer, path| {
        let source = path.canonicalize().with_context(|| format!("{} is missing", path.display()))?;
        layer.file(&merged(path), &source)
    })
}

/// Data files of this machine, at their own paths.
pub fn files(paths: &[&str]) -> Result<Layer> {
    paths.iter().try_fold(Layer::new(), |layer, path| {
        let source = Path::new(path).canonicalize().with_context(|| format!("{path} is missing"))?;
        layer.file(path, &source)
    })
}

/// The shared libraries that a program loads, its loader among them.
pub fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = run::output(Command::new("ldd").arg(program))?;
    said.lines().filter_map(|line| library(line).transpose()).collect()
}

/// One line of ldd: `name => /path (0x…)`, `/loader (0x…)`, or something in memory only.
fn library(line: &str) -> Result<Option<PathBuf>> {
    let line = line.trim();
    if line.ends_with("not found") {
        bail!("a library is missing: {line}");
    }
    let path = line.split_once("=> ").map_or(line, |(_, path)| path).split(" (").next().unwrap_or_default();
    Ok(path.starts_with('/').then(|| PathBuf::from(path)))
}

/// The path below merged /usr, without the leading slash.
fn merged(path: &Path) -> String {
    let path = path.to_string_lossy();
    let path = path.trim_start_matches('/');
    let top = path.split('/').next().unwrap_or_default();
    if MERGED.contains(&top) { format!("usr/{path}") } else { path.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ldd() {
        let path = |line| library(line).unwrap().map(|p| p.display().to_string());
        assert_eq!(path("\tlibc.so.6 => /lib/x/libc.so.6 (0x7f)"), Some("/lib/x/libc.so.6".into()));
        assert_eq!(path("\t/lib64/ld-linux-x86-64.so.2 (0x7f)"), Some("/lib64/ld-linux-x86-64.so.2".into()));
        assert_eq!(path("\tlinux-vdso.so.1 (0x7f)"), None);
        assert_eq!(path("\tstatically linked"), None);
        assert!(library("\tlibx.so => not found").is_err());
    }

    #[test]
    fn libraries_land_below_usr() {
        assert_eq!(
            merged(Path::new("/lib/x86_64-linux-gnu/libc.so.6")),
            "usr/lib/x86_64-linux-gnu/libc.so.6"
        );
        assert_eq!(merged(Path::new("/usr/sbin/nft")), "usr/sbin/nft");
        assert_eq!(merged(Path::new("/opt/x")), "opt/x");
    }
}
