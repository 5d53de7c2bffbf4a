//! A bundle's executables and files, checked and brought into a site.

use super::{UpError, file};
use crate::Layout;
use scute_bundle::{Bundle, BundleError, Checked, PartKind};
use scute_processes::files;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Programs without which there is no Node.
const NEEDED: [&str; 9] = [
    "kube",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "runc",
    "cni/bridge",
    "cni/host-local",
    "cni/loopback",
    "cni/portmap",
];

fn check_complete(bundle: &Bundle) -> Result<(), BundleError> {
    let lacks = |name: &&str| !bundle.parts(PartKind::Binary).any(|part| part.name == *name);
    match NEEDED.iter().find(|name| lacks(name)) {
        Some(name) => Err(BundleError::Lacks(format!("the program {name}"))),
        None => Ok(()),
    }
}

/// Checks that nothing is missing, and executables and files by their digests. Images are checked by the site's init while it imports them: reading gigabytes first
/// would only delay a ready Node.
pub async fn verify(layout: &Layout, bundle: &Bundle) -> Result<Checked, UpError> {
    check_complete(bundle)?;
    let record = record(layout);
    let bundle = bundle.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut seen: Checked =
            fs::read(record).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let needed = bundle.index.parts.iter().filter(|part| part.kind != PartKind::Image);
        bundle.verify(needed, &mut seen).map(|()| seen)
    });
    Ok(work.await.map_err(|_| BundleError::Lacks("readable parts".to_owned()))??)
}

/// What was checked in earlier calls.
fn record(layout: &Layout) -> PathBuf {
    layout.at("bundle-checked.json")
}

/// Brings executables into the site and keeps what was checked.
pub fn prepare_files(layout: &Layout, bundle: &Bundle, checked: &Checked) -> Result<(), UpError> {
    let record = record(layout);
    let text = serde_json::to_vec(checked).unwrap_or_default();
    files::replace(&record, &text, 0o644).map_err(file(&record))?;
    // The site runs the very binary that made it, not the bundle's copy for others.
    let programs =
        bundle.parts(PartKind::Binary).filter(|part| part.name != "scute").map(|part| (part, 0o755));
    let libraries =
        bundle.parts(PartKind::File).filter(|part| part.file.starts_with("lib")).map(|part| (part, 0o644));
    for (part, mode) in programs.chain(libraries) {
        let to = layout.dir.join(&part.file);
        install_file(&bundle.path(part), &to, part.mode.unwrap_or(mode)).map_err(file(&to))?;
    }
    let index = layout.bundle_index();
    files::write(&index, &bundle.text, 0o644).map_err(file(&index))?;
    let own = std::env::current_exe().map_err(file(Path::new("/proc/self/exe")))?;
    let to = layout.bin("scute");
    if own != to {
        // A copy: linked, the user's own file would be busy and could not be replaced.
        copy_file(&own, &to, 0o755).map_err(file(&to))?;
    }
    Ok(())
}

/// Puts an executable in place under a new inode, because the old one may be running. A hard link where that works.
fn install_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let source = fs::metadata(from)?;
    if fs::metadata(to).is_ok_and(|old| old.ino() == source.ino() && old.dev() == source.dev()) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        files::folder(parent, 0o755)?;
    }
    let temporary = to.with_extension("new");
    _ = fs::remove_file(&temporary);
    if source.mode() & 0o7777 != mode || fs::hard_link(from, &temporary).is_err() {
        return copy_file(from, to, mode);
    }
    fs::rename(&temporary, to)
}

fn copy_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let temporary = to.with_extension("new");
    fs::copy(from, &temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
    // Nobody looks at it again before the site starts from it, perhaps after a power cut.
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, to)
}
