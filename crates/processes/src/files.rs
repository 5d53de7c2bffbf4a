//! Small file helpers that every step shares: atomic writes, modes, trees.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

/// Writes a file through a temporary neighbour, so that a reader sees the old or the new text and nothing between.
pub fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text)?;
    fs::rename(&temporary, path)
}

/// Like [`write`], but leaves a file alone that says the same already. Tells whether it wrote.
pub fn write_if_changed(path: &Path, text: &[u8], mode: u32) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    write(path, text, mode).map(|()| true)
}

/// Makes a folder with a mode, and its parents.
pub fn folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Removes a tree; one that is not there is fine.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Bytes that a tree takes on the disk (files that vanish meanwhile do not count).
pub fn tree_size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| meta.blocks() * 512 + if meta.is_dir() { tree_size(&path) } else { 0 })
        .sum()
}
