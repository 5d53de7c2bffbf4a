//! A file that a process locks while it lives. In: a path. Out: the lock, or who has it. The kernel lets go when the
//! process ends, and asking does not take.

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
    process::{Flock, FlockType, Pid, fcntl_getlk},
};
use std::{fs::File, io, path::Path};

/// Held until dropped. A process must not open the file a second time: closing that would let go too.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes the lock; `None` when another process has it.
pub fn take(path: &Path) -> io::Result<Option<Lock>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock { _file: file })),
        Err(Errno::ACCESS | Errno::AGAIN) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The process that has the lock.
pub fn holder(path: &Path) -> Option<Pid> {
    let file = File::open(path).ok()?;
    fcntl_getlk(file, &Flock::from(FlockType::ReadLock)).ok()??.pid
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn asking_tells_the_holder_and_takes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(holder(&path), None);
        std::fs::write(&path, "").unwrap();
        assert_eq!(holder(&path), None);
        // Another process: its own locks are invisible to one that asks.
        let script = "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.lockf(f,fcntl.LOCK_EX); print(1,flush=True); time.sleep(60)";
        let mut other = Command::new("python3")
            .args(["-c", script, &path.display().to_string()])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        assert_eq!(holder(&path).map(|pid| pid.as_raw_nonzero().get().unsigned_abs()), Some(other.id()));
        assert!(take(&path).unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(holder(&path), None);
        assert!(take(&path).unwrap().is_some());
    }
}
