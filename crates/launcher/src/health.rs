//! How the guest is, in a file of the run directory: `compute` writes it, the Pod's probes read it.
//!
//! `scute launcher started` waits until the guest has been started: each probe that fails is an event of the Pod, and
//! the kubelet lets only some through. `scute launcher ready` succeeds while it runs; when
//! it does not, it prints why, and the kubelet puts that into an event of the Pod.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

/// The file.
const FILE: &str = "health";
/// Its content while the guest runs.
const RUNNING: &str = "running";

/// How the words begin of a guest that QEMU has paused.
pub const PAUSED: &str = "the guest is paused: ";

/// How the guest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It runs.
    Running,
    /// It is paused until the file system of its disks has room.
    DiskFull {
        /// The disk that it wrote to.
        drive: String,
    },
    /// QEMU does not answer.
    Silent,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Running => f.write_str(RUNNING),
            Health::DiskFull { drive } => {
                write!(f, "{PAUSED}disk {drive} cannot grow, the Node's file system is full")
            }
            Health::Silent => f.write_str("QEMU does not answer"),
        }
    }
}

/// Says how the guest is: whole or not at all.
pub fn write(run_dir: &Path, health: &Health) -> io::Result<()> {
    let new = run_dir.join("health.new");
    std::fs::write(&new, health.to_string())?;
    std::fs::rename(&new, run_dir.join(FILE))
}

/// There is no guest, or none any more.
pub fn remove(run_dir: &Path) {
    // It may not be there.
    let _ = std::fs::remove_file(run_dir.join(FILE));
}

/// Waits until a guest has been started, but not for longer than this; whether it has.
pub fn started(run_dir: &Path, within: Duration) -> io::Result<bool> {
    let until = Instant::now() + within;
    let changes = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&changes, run_dir, inotify::WatchFlags::MOVED_TO)?;
    while !run_dir.join(FILE).exists() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        poll(&mut [PollFd::new(&changes, PollFlags::IN)], Some(&left))?;
        while rustix::io::read(&changes, &mut [0; 512]).is_ok_and(|read| read > 0) {}
    }
    Ok(true)
}

/// Whether the guest runs; if not, why.
pub fn ready(run_dir: &Path) -> Result<(), String> {
    match std::fs::read_to_string(run_dir.join(FILE)) {
        Ok(text) if text == RUNNING => Ok(()),
        Ok(text) => Err(text),
        Err(_) => Err("the guest has not started".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_reads_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let is_started = || started(dir.path(), Duration::ZERO).unwrap();
        assert!(!is_started());
        assert_eq!(ready(dir.path()), Err("the guest has not started".to_owned()));
        write(dir.path(), &Health::DiskFull { drive: "root".into() }).unwrap();
        assert!(is_started());
        assert!(ready(dir.path()).unwrap_err().contains("disk root"));
        write(dir.path(), &Health::Running).unwrap();
        assert_eq!(ready(dir.path()), Ok(()));
        remove(dir.path());
        assert!(!is_started());
    }

    #[test]
    fn the_startup_probe_waits_for_the_guest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_owned();
        let (asked, asks) = std::sync::mpsc::channel();
        let probe = std::thread::spawn(move || {
            asked.send(()).unwrap();
            started(&path, Duration::from_secs(60)).unwrap()
        });
        asks.recv().unwrap();
        // Of another file, and half of ours.
        std::fs::write(dir.path().join("network.json"), "{}").unwrap();
        std::fs::write(dir.path().join("health.new"), "").unwrap();
        write(dir.path(), &Health::Running).unwrap();
        assert!(probe.join().unwrap());
        assert!(started(Path::new("/nowhere"), Duration::ZERO).is_err());
    }
}
