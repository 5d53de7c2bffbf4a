//! Log files of components, kept below a size. In: what a process writes. Out: a file and its predecessor.

use std::{
    fs::{self, File},
    io::{self, PipeReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// A log is moved aside at this size; the one before it is dropped.
const CAP: u64 = 16 << 20;

struct Log {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = File::options().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_path_buf(), file, size })
    }

    fn write(&mut self, bytes: &[u8], cap: u64) -> io::Result<()> {
        if self.size > cap {
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
            *self = Self::open(&self.path)?;
        }
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

/// Copies a pipe into a log file on a thread of its own until the last writer is gone.
pub fn pump(name: &str, mut from: PipeReader, path: &Path) -> io::Result<()> {
    let mut log = Log::open(path)?;
    std::thread::Builder::new().name(format!("log {name}")).spawn(move || {
        let mut buffer = [0; 16 << 10];
        while let Ok(n) = from.read(&mut buffer) {
            // A full disk must not block the component: what cannot be written is lost.
            if n == 0 {
                break;
            }
            _ = log.write(&buffer[..n], CAP);
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
        let mut log = Log::open(&path).unwrap();
        for n in 0..100 {
            log.write(format!("line {n}\n").as_bytes(), 100).unwrap();
        }
        let size = |p: &Path| fs::metadata(p).unwrap().len();
        assert!(size(&path) < 120 && size(&path.with_extension("log.1")) < 120);
        assert_eq!(tail(&path, 1), "line 99");
    }
}
