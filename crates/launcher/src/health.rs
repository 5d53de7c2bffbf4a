//! How the guest is, in a file of the run directory: `compute` writes it, the Pod's probes read it.
//!
//! `scute launcher started` succeeds once the guest has been started. `scute launcher ready` succeeds while it runs; when
//! it does not, it prints why, and the kubelet puts that into an event of the Pod.

use std::fmt;
use std::io;
use std::path::Path;

/// The file.
const FILE: &str = "health";
/// Its content while the guest runs.
const RUNNING: &str = "running";

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
                write!(f, "the guest is paused: disk {drive} cannot grow, the Node's file system is full")
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

/// Whether a guest has been started.
pub fn started(run_dir: &Path) -> bool {
    run_dir.join(FILE).exists()
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
        assert!(!started(dir.path()));
        assert_eq!(ready(dir.path()), Err("the guest has not started".to_owned()));
        write(dir.path(), &Health::DiskFull { drive: "root".into() }).unwrap();
        assert!(started(dir.path()));
        assert!(ready(dir.path()).unwrap_err().contains("disk root"));
        write(dir.path(), &Health::Running).unwrap();
        assert_eq!(ready(dir.path()), Ok(()));
        remove(dir.path());
        assert!(!started(dir.path()));
    }
}
