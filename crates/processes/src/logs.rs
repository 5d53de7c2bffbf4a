//! Log files of components, kept below a size. In: what a process writes. Out: a file and its predecessor.

use std::{
    fs::{self, File},
    io::{self, PipeReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// A log is moved aside at this size; the one before it is dropped.
const CAP: u64 = 16 << 20;

/// A log that several may write to. What cannot be written, on a full disk, is lost: nobody is held up by it.
#[derive(Clone)]
pub struct Log(Arc<Mutex<Bounded>>);

impl Log {
    /// A log at `path`; the file is made with the first line.
    pub fn new(path: &Path) -> Self {
        Self(Arc::new(Mutex::new(Bounded { path: path.to_path_buf(), open: None, cap: CAP })))
    }

    /// Writes, or loses, a piece.
    pub fn put(&self, bytes: &[u8]) {
        _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).put(bytes);
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Bounded {
    path: PathBuf,
    /// The file and its size, once it could be opened.
    open: Option<(File, u64)>,
    cap: u64,
}

impl Bounded {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(_, size)| *size > self.cap) {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            self.open = None;
        }
        let (file, size) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(open(&self.path)?),
        };
        *size += bytes.len() as u64;
        file.write_all(bytes)
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// Copies a pipe into a log on a thread of its own until the last writer is gone.
pub fn pump(name: &str, mut from: PipeReader, log: Log) -> io::Result<()> {
    std::thread::Builder::new().name(format!("log {name}")).spawn(move || {
        let mut buffer = [0; 16 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(n) => log.put(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })?;
    Ok(())
}

/// The last lines of a log, for an error message.
pub fn tail(path: &Path, lines: usize) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let from = file.metadata()?.len().saturating_sub(8 << 10);
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read().unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_and_its_predecessor_stay_below_the_cap() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut log = Bounded { path: path.clone(), open: None, cap: 100 };
        for n in 0..100 {
            log.put(format!("line {n}\n").as_bytes()).unwrap();
        }
        let size = |p: &Path| fs::metadata(p).unwrap().len();
        assert!(size(&path) < 120 && size(&path.with_extension("log.1")) < 120);
        assert_eq!(tail(&path, 1), "line 99");
    }

    #[test]
    fn a_log_that_cannot_be_opened_now_is_tried_again_with_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("log");
        let log = Log::new(&folder.join("a.log"));
        // A file in the way of the log's folder.
        fs::write(&folder, "").unwrap();
        log.put(b"lost\n");
        fs::remove_file(&folder).unwrap();
        log.put(b"kept\n");
        assert_eq!(tail(&folder.join("a.log"), 9), "kept");
    }
}
