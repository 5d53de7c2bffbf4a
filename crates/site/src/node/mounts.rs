//! The file tree that a site sees: the machine's, with its own /proc, /run and log, and devices that guests may open.
//! Everything is done in the site's mount namespace and ends with it.

use crate::Layout;
use rustix::{
    fs::{FileType, Mode, makedev, mknodat},
    mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change},
};
use scute_processes::files;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Folders that upstream components hard-code. They must exist on the machine as mount points; what is written to
/// them ends in the site's own folder.
pub const FIXED: [(&str, &str); 3] =
    [("/var/lib/kubelet", "kubelet"), ("/var/lib/cni", "cni"), ("/var/log", "log")];

/// Devices of the machine that only root may open; the site gets nodes that a guest's process (not root) can open.
const DEVICES: [(&str, u32, u32); 2] = [("/dev/net/tun", 10, 200), ("/dev/kvm", 10, 232)];

/// A mount that failed, with its place.
#[derive(Debug, thiserror::Error)]
#[error("mounting {at} failed")]
pub struct MountError {
    at: PathBuf,
    #[source]
    source: io::Error,
}

fn at<T, E: Into<io::Error>>(path: &Path, result: Result<T, E>) -> Result<T, MountError> {
    result.map_err(|e| MountError { at: path.to_path_buf(), source: e.into() })
}

/// Makes the mount points of [`FIXED`] on the machine; gives those that were not there before.
pub fn make_mount_points() -> io::Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for (path, _) in FIXED {
        let path = PathBuf::from(path);
        if !path.exists() {
            fs::create_dir_all(&path)?;
            made.push(path);
        }
    }
    Ok(made)
}

/// Mounts all of it. The caller is alone in a new mount namespace.
pub fn prepare(layout: &Layout) -> Result<(), MountError> {
    let root = Path::new("/");
    // Unmounting on the machine reaches us, nothing of ours reaches the machine; inside, Pods see later mounts.
    at(root, mount_change(root, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC))?;
    at(root, mount_change(root, MountPropagationFlags::SHARED | MountPropagationFlags::REC))?;
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    at(Path::new("/proc"), mount("proc", "/proc", "proc", plain, None))?;
    private_run(layout)?;
    for (path, below) in FIXED {
        let own = layout.at(below);
        at(&own, files::folder(&own, 0o755))?;
        at(Path::new(path), mount_bind(&own, path))?;
    }
    devices()
}

/// A fresh /run: sockets, network namespaces, address leases and static Pods vanish with the site, as after a reboot.
fn private_run(layout: &Layout) -> Result<(), MountError> {
    let resolv = fs::read("/run/systemd/resolve/resolv.conf").or_else(|_| fs::read("/etc/resolv.conf"));
    let keep = layout.run.clone();
    let handle = at(&keep, fs::File::open(&keep))?;
    let run = Path::new("/run");
    at(run, mount("scute", run, "tmpfs", MountFlags::NOSUID, Some(c"mode=0755")))?;
    at(&keep, files::folder(&keep, 0o700))?;
    at(&keep, mount_bind(fd_path(&handle), &keep))?;
    for folder in ["netns", "scute-node/cni", "scute-node/manifests", "scute-node/dev", "lock"] {
        let folder = run.join(folder);
        at(&folder, files::folder(&folder, 0o755))?;
    }
    let file = run.join("scute-node/resolv.conf");
    at(&file, files::replace(&file, &resolv.unwrap_or_default(), 0o644))
}

fn fd_path(file: &fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn devices() -> Result<(), MountError> {
    for (path, major, minor) in DEVICES {
        let path = Path::new(path);
        if !path.exists() {
            continue;
        }
        let name = path.file_name().unwrap_or_default();
        let own = Path::new("/run/scute-node/dev").join(name);
        let mode = Mode::from_raw_mode(0o666);
        at(&own, mknodat(rustix::fs::CWD, &own, FileType::CharacterDevice, mode, makedev(major, minor)))?;
        at(&own, rustix::fs::chmod(&own, mode))?;
        at(path, mount_bind(&own, path))?;
    }
    Ok(())
}
