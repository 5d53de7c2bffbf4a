//! One `scute up` or `down` at a time on a machine: both look at what is there, and then change it. In: nothing.
//! Out: a lock, held until dropped.

use crate::layout::SITES;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Beside the folder of sockets, which goes with the last site.
const PATH: &str = "/run/scute.lock";

/// The lock of the machine.
pub struct MachineLock {
    _file: File,
}

impl MachineLock {
    /// Takes the lock; calls `waits` once when another process has it, and then waits for it.
    pub fn take(waits: impl FnOnce()) -> io::Result<Self> {
        take(Path::new(PATH), waits).map(|file| Self { _file: file })
    }
}

impl Drop for MachineLock {
    fn drop(&mut self) {
        // Where no site is left nothing of one is. Whoever waits for the file sees that it is gone, and makes another.
        if !Path::new(SITES).exists() {
            _ = fs::remove_file(PATH);
        }
    }
}

fn take(path: &Path, waits: impl FnOnce()) -> io::Result<File> {
    let mut waits = Some(waits);
    loop {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if let Some(tell) = waits.take() {
                tell();
            }
            flock(&file, FlockOperation::LockExclusive)?;
        }
        let own = file.metadata()?;
        if fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (own.dev(), own.ino())) {
            return Ok(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, thread};

    #[test]
    fn the_second_waits_for_the_first_even_when_the_file_goes_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = take(&path, || panic!("nobody has it")).unwrap();
        let (tell, told) = mpsc::channel();
        let other = thread::spawn({
            let path = path.clone();
            move || take(&path, move || tell.send(()).unwrap()).unwrap()
        });
        told.recv().unwrap();
        assert!(!other.is_finished());
        fs::remove_file(&path).unwrap();
        drop(first);
        let second = other.join().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().ino(), second.metadata().unwrap().ino());
    }
}
