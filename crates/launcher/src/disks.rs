//! The spec's disks and kernel to files that QEMU can open.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, openat2};
use scute_image::qcow2::{InspectError, OverlayError, create_overlay, inspect};
use scute_qemu::{Drive, Kernel, Medium};

use super::machine;
use super::seed::{self, SeedError};
use super::spec::{Disk, DiskSource, KernelBoot, LauncherSpec};

/// Where a containerDisk's image keeps its disk unless the user names a file.
const DISK_DIR: &str = "disk";

/// QEMU wants whole sectors.
const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;

/// Why a disk or kernel was not prepared. The message goes to the user.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The image has no disk.
    #[error("volume {volume}: no disk present: the image has no file in /{DISK_DIR}")]
    NoDisk {
        /// The volume.
        volume: String,
    },
    /// The image has several disks.
    #[error("volume {volume}: only one disk is allowed, but the image has {found} files in /{DISK_DIR}")]
    SeveralDisks {
        /// The volume.
        volume: String,
        /// How many.
        found: usize,
    },
    /// A file of the image cannot be opened.
    #[error("volume {volume}: cannot open {path} of the image")]
    Open {
        /// The volume.
        volume: String,
        /// The file inside the image.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk image is refused.
    #[error("volume {volume}: the disk image is refused")]
    Refused {
        /// The volume.
        volume: String,
        /// Why.
        #[source]
        source: InspectError,
    },
    /// The overlay was not made.
    #[error("volume {volume}: no overlay")]
    Overlay {
        /// The volume.
        volume: String,
        /// Why.
        #[source]
        source: OverlayError,
    },
    /// The guest could write more than it may.
    #[error(
        "volume {volume}: a disk of {} MiB is more than the {} MiB that are left of what the guest may write: raise \
         domain.resources.limits.ephemeral-storage",
        .size.div_ceil(MIB), .left / MIB
    )]
    TooLarge {
        /// The volume.
        volume: String,
        /// Size of the disk in bytes.
        size: u64,
        /// What is left for it.
        left: u64,
    },
    /// The seed image was not made.
    #[error("volume {volume}: no cloud-init seed")]
    Seed {
        /// The volume.
        volume: String,
        /// Why.
        #[source]
        source: SeedError,
    },
    /// A file of ours cannot be written.
    #[error("volume {volume}: cannot write {path}")]
    Write {
        /// The volume.
        volume: String,
        /// Our file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl DiskError {
    /// A word for the termination message.
    pub fn reason(&self) -> &'static str {
        match self {
            DiskError::NoDisk { .. } | DiskError::SeveralDisks { .. } | DiskError::Open { .. } => {
                "InvalidContainerDisk"
            }
            DiskError::Refused { .. } => "DiskImageRefused",
            DiskError::TooLarge { .. } => "DiskTooLarge",
            DiskError::Seed { .. } => "CloudInitFailed",
            DiskError::Overlay { .. } | DiskError::Write { .. } => "DiskFailed",
        }
    }
}

/// Makes the files of every disk in `state_dir`, in order. What an earlier run left there is overwritten.
pub fn prepare(spec: &LauncherSpec, state_dir: &Path) -> Result<Vec<Drive>, DiskError> {
    let mut left = spec.storage_bytes.unwrap_or(u64::MAX);
    let image = |disk| Ok(machine::drive(disk, image(spec, disk, state_dir, &mut left)?));
    spec.disks.iter().map(image).collect()
}

/// Takes the room of a disk out of what is left.
fn take(left: &mut u64, volume: &str, size: u64) -> Result<(), DiskError> {
    let too_large = DiskError::TooLarge { volume: volume.to_owned(), size, left: *left };
    *left = left.checked_sub(size).ok_or(too_large)?;
    Ok(())
}

/// The kernel of an image volume.
pub fn kernel(boot: &KernelBoot) -> Result<Kernel, DiskError> {
    const VOLUME: &str = "kernelBoot";
    let open = |path: &str| open(VOLUME, Path::new(&boot.root), path).map(|(path, _)| path);
    let initrd = boot.initrd_path.as_deref().map(open).transpose()?;
    Ok(Kernel { image: open(&boot.kernel_path)?, initrd, args: boot.args.clone() })
}

fn image(spec: &LauncherSpec, disk: &Disk, state_dir: &Path, left: &mut u64) -> Result<Medium, DiskError> {
    let volume = || disk.name.clone();
    let at = |suffix: &str| state_dir.join(format!("{}.{suffix}", disk.name));
    let write = |path: &Path, result: io::Result<()>| {
        result.map_err(|source| DiskError::Write {
            volume: volume(),
            path: path.display().to_string(),
            source,
        })
    };
    match &disk.source {
        DiskSource::ContainerDisk { root, path } => {
            let root = Path::new(root);
            let path = path.clone().map_or_else(|| only_disk(&disk.name, root), Ok)?;
            let (base, mut file) = open(&disk.name, root, &path)?;
            let found =
                inspect(&mut file).map_err(|source| DiskError::Refused { volume: volume(), source })?;
            let top = at("qcow2");
            let size = found.size_bytes.next_multiple_of(SECTOR);
            if !disk.cdrom && !disk.readonly {
                take(left, &disk.name, size)?;
            }
            create_overlay(&top, size, &base, found.format)
                .map_err(|source| DiskError::Overlay { volume: volume(), source })?;
            Ok(Medium::Overlay { top, base, base_format: found.format })
        }
        DiskSource::EmptyDisk { capacity_bytes } => {
            let path = at("raw");
            take(left, &disk.name, *capacity_bytes)?;
            let size = capacity_bytes.next_multiple_of(SECTOR);
            write(&path, File::create(&path).and_then(|file| file.set_len(size)))?;
            Ok(Medium::raw(path))
        }
        DiskSource::CloudInit(cloud_init) => {
            let seed = seed::image(spec, cloud_init)
                .map_err(|source| DiskError::Seed { volume: volume(), source })?;
            let path = at("iso");
            write(&path, write_private(&path, &seed))?;
            Ok(Medium::raw(path))
        }
    }
}

/// Readable by nobody else: user data holds tokens.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, bytes)
}

/// The only file in `/disk` of the image.
fn only_disk(volume: &str, root: &Path) -> Result<String, DiskError> {
    let error = |source| DiskError::Open { volume: volume.to_owned(), path: format!("/{DISK_DIR}"), source };
    let dir = match resolve(root, DISK_DIR, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(dir) => dir,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            return Err(DiskError::NoDisk { volume: volume.to_owned() });
        }
        Err(other) => return Err(error(other)),
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(dir).map_err(|errno| error(errno.into()))? {
        let entry = entry.map_err(|errno| error(errno.into()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." && entry.file_type() != FileType::Directory {
            names.push(name);
        }
    }
    match names.as_slice() {
        [] => Err(DiskError::NoDisk { volume: volume.to_owned() }),
        [name] => Ok(format!("/{DISK_DIR}/{name}")),
        _ => Err(DiskError::SeveralDisks { volume: volume.to_owned(), found: names.len() }),
    }
}

/// Opens `path` inside the image and says where it really is. Links cannot leave the image, so a containerDisk cannot
/// hand out files of the launcher's own container.
fn open(volume: &str, root: &Path, path: &str) -> Result<(PathBuf, File), DiskError> {
    let open = || -> io::Result<(PathBuf, File)> {
        let file = resolve(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if !FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode).is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        Ok((std::fs::read_link(link)?, file))
    };
    open().map_err(|source| DiskError::Open { volume: volume.to_owned(), path: path.to_owned(), source })
}

/// Opens `path` as if `root` were the root directory.
fn resolve(root: &Path, path: &str, flags: OFlags) -> io::Result<File> {
    let root = File::open(root)?;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root.as_fd(), path, flags | OFlags::CLOEXEC, Mode::empty(), inside)?.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use std::os::unix::fs::symlink;

    fn image_with(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("disk")).unwrap();
        for file in files {
            std::fs::write(dir.path().join("disk").join(file), [0; 1024]).unwrap();
        }
        dir
    }

    #[test]
    fn one_file_is_the_disk() {
        let image = image_with(&["any.name"]);
        std::fs::create_dir(image.path().join("disk/lost+found")).unwrap();
        assert_eq!(only_disk("root", image.path()).unwrap(), "/disk/any.name");
        let (path, _) = open("root", image.path(), "/disk/any.name").unwrap();
        assert_eq!(path, image.path().canonicalize().unwrap().join("disk/any.name"));
    }

    #[test]
    fn none_and_two_are_refused_in_words() {
        let none = only_disk("root", image_with(&[]).path()).unwrap_err();
        assert!(none.to_string().contains("no disk present"), "{none}");
        let missing = only_disk("root", tempfile::tempdir().unwrap().path()).unwrap_err();
        assert!(matches!(missing, DiskError::NoDisk { .. }));
        let two = only_disk("root", image_with(&["a", "b"]).path()).unwrap_err();
        assert!(two.to_string().contains("only one disk is allowed"), "{two}");
        assert_eq!(two.reason(), "InvalidContainerDisk");
    }

    #[test]
    fn links_stay_inside_the_image() {
        let image = image_with(&["real"]);
        symlink("/disk/real", image.path().join("disk/inside")).unwrap();
        let (path, _) = open("root", image.path(), "/disk/inside").unwrap();
        assert!(path.ends_with("disk/real"));
        for (name, target) in [
            ("host", "/etc/hostname"),
            ("up", "../../../../../../etc/hostname"),
            ("proc", "/proc/self/environ"),
        ] {
            symlink(target, image.path().join("disk").join(name)).unwrap();
            let error = open("root", image.path(), &format!("/disk/{name}")).unwrap_err();
            assert!(matches!(error, DiskError::Open { .. }), "{name} led outside");
        }
    }

    #[test]
    fn a_fifo_does_not_hang_the_launcher() {
        let image = image_with(&[]);
        rustix::fs::mknodat(rustix::fs::CWD, image.path().join("disk/pipe"), FileType::Fifo, Mode::RUSR, 0)
            .unwrap();
        assert!(open("root", image.path(), "/disk/pipe").is_err());
    }

    /// Of the disks that the guest can write to; the others take no room that grows.
    #[test]
    fn disks_that_are_larger_than_the_guest_may_write_are_refused() {
        let (image, state) = (image_with(&["disk.img"]), tempfile::tempdir().unwrap());
        File::create(image.path().join("disk/disk.img")).unwrap().set_len(3 * MIB).unwrap();
        let from_image = json!({"containerDisk": {"root": image.path()}});
        let prepared = |storage: u64| {
            let spec = json!({
                "name": "a", "namespace": "b", "uid": "c", "hostname": "a", "accelerator": "tcg",
                "cpu": {"sockets": 1, "cores": 1, "threads": 1}, "memoryBytes": MIB,
                "storageBytes": storage,
                "disks": [
                    {"name": "tools", "source": from_image, "cdrom": true, "bus": "sata"},
                    {"name": "data", "source": {"emptyDisk": {"capacityBytes": 2 * MIB}}},
                    {"name": "root", "source": from_image},
                ],
            });
            let spec: LauncherSpec = serde_json::from_value(spec).unwrap();
            prepare(&spec, state.path()).map(|drives| drives.len())
        };
        assert_eq!(prepared(5 * MIB).unwrap(), 3);
        let error = prepared(5 * MIB - 1).unwrap_err();
        assert_eq!(error.reason(), "DiskTooLarge");
        let told = error.to_string();
        assert!(
            told.starts_with("volume root: a disk of 3 MiB is more than the 2 MiB that are left"),
            "{told}"
        );
        assert!(told.contains("limits.ephemeral-storage"), "{told}");
        assert!(matches!(prepared(MIB), Err(DiskError::TooLarge { volume, .. }) if volume == "data"));
    }
}
