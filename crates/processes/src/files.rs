//! Files that are whole, whenever the power goes. In: paths and texts. Out: files, folders, and their removal.
//! Never: deletes into another mount.

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, StatxFlags, openat, statx, unlinkat},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write},
    os::{
        fd::OwnedFd,
        unix::{
            ffi::{OsStrExt, OsStringExt},
            fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
};

/// Writes a file through a temporary neighbour: a reader, and whoever comes after a power cut, finds the old or the new
/// text and nothing between. For what is kept.
pub fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    put(path, text, mode)?.sync_all()?;
    take_its_place(path)?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Like [`write`], but a power cut may leave an empty file. For what is made anew at each start.
pub fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    put(path, text, mode)?;
    take_its_place(path)
}

/// Like [`replace`], but leaves a file alone that says the same already. Tells whether it wrote.
pub fn replace_if_changed(path: &Path, text: &[u8], mode: u32) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    replace(path, text, mode).map(|()| true)
}

/// The neighbour through which a file is written.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

fn put(path: &Path, text: &[u8], mode: u32) -> io::Result<fs::File> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut open = fs::OpenOptions::new();
    let mut file = open.write(true).create(true).truncate(true).mode(mode).open(temporary(path))?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text)?;
    Ok(file)
}

fn take_its_place(path: &Path) -> io::Result<()> {
    fs::rename(temporary(path), path)
}

/// A new or renamed entry survives a power cut only once its folder is written.
fn sync_folder(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// Makes a folder with a mode, and its parents; one that is there gets the mode.
pub fn folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes a folder with a mode, and its parents; one that is there stays as it is.
pub fn new_folder(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        // What the process's mask took away.
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
        other => other,
    }
}

/// Removes a file, a link, or a tree; nothing there is fine.
///
/// # Errors
/// A folder below it is another mount: its files are somebody else's, and none of them is touched.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => {
            let folder = openat(CWD, path, FOLDER, Mode::empty())?;
            empty(&folder, path, mount(&folder)?)?;
            fs::remove_dir(path)
        }
        Ok(_) => fs::remove_file(path),
    }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes what is in a folder, by handles: a path below it may be longer than the kernel takes. `path` is for people.
fn empty(folder: &OwnedFd, path: &Path, its: u64) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            done => {
                done?;
                continue;
            }
        }
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        let below = openat(folder, name, FOLDER, Mode::empty())?;
        if mount(&below)? != its {
            let text = format!("{} is a mount of somebody else's; unmount it first", path.display());
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
        }
        empty(&below, &path, its)?;
        unlinkat(folder, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// The number of the mount that a folder is in: bind mounts of one file system differ in it, and in nothing else.
fn mount(folder: &OwnedFd) -> io::Result<u64> {
    Ok(statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// Mount points strictly below a folder, as the kernel's list has them.
pub fn mounts_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(points_below(&fs::read_to_string("/proc/self/mountinfo")?, dir))
}

fn points_below(mountinfo: &str, dir: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    points.filter(|point| point != dir && point.starts_with(dir)).collect()
}

/// The kernel writes blanks, tabs, line ends and backslashes of a path as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        let code = (first == b'\\').then(|| after.get(..3).and_then(octal)).flatten();
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_found() {
        let text = "\
30 1 8:1 / / rw - ext4 /dev/a rw\n\
31 30 8:2 / /srv/my\\040site/etcd rw - ext4 /dev/b rw\n\
32 30 8:3 / /srv/my\\040site rw - ext4 /dev/c rw\n\
33 30 8:4 / /srv/my\\134 rw - ext4 /dev/d rw\n\
34 30 8:4 / /srv/my\\040sites rw - ext4 /dev/d rw\n";
        assert_eq!(points_below(text, Path::new("/srv/my site")), [Path::new("/srv/my site/etcd")]);
        assert_eq!(unescaped("/srv/my\\134"), Path::new("/srv/my\\"));
        assert_eq!(unescaped("/a\\09"), Path::new("/a\\09"), "no code");
    }

    #[test]
    fn a_tree_goes_and_what_its_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&other, tree.join("a/link")).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && other.join("kept").exists());
        remove_tree(&tree).unwrap();
    }

    /// Needs root, as everything that mounts; without it there is nothing to see.
    #[test]
    fn no_file_of_another_mount_is_deleted() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (tree, other) = (dir.path().join("a tree"), dir.path().join("other"));
        fs::create_dir_all(tree.join("disk")).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("kept"), "").unwrap();
        let (from, to) = (other.clone(), tree.clone());
        // A thread with mounts of its own: they end with it.
        let found = std::thread::spawn(move || {
            use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
            // SAFETY: this thread shares no file descriptors or folder with others that it would lose.
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            mount_bind(&from, to.join("disk")).unwrap();
            (fs::read_to_string("/proc/thread-self/mountinfo").unwrap(), remove_tree(&to))
        });
        let (mounts, removed) = found.join().unwrap();
        assert_eq!(points_below(&mounts, &tree), [tree.join("disk")]);
        let error = removed.unwrap_err();
        assert!(error.to_string().contains("a tree/disk is a mount"), "{error}");
        assert!(other.join("kept").exists());
    }

    #[test]
    fn a_folder_that_is_there_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("x/new"));
        fs::create_dir(&old).unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o700)).unwrap();
        new_folder(&old, 0o711).unwrap();
        new_folder(&new, 0o711).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&old), mode(&new)), (0o700, 0o711));
    }
}
