//! Archives that a kernel unpacks as its initial ramdisk.

use std::io::{self, Write};

/// A `newc` archive: <https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>.
#[derive(Debug)]
pub struct Cpio<W: Write> {
    out: W,
    written: usize,
    inode: usize,
}

impl<W: Write> Cpio<W> {
    /// An empty archive that is written to `out`.
    pub fn new(out: W) -> Self {
        Cpio { out, written: 0, inode: 0 }
    }

    /// Adds a folder; what is in it comes after it.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, 0o040_755, 2, b"")
    }

    /// Adds a file with these permissions.
    pub fn file(&mut self, path: &str, mode: usize, content: &[u8]) -> io::Result<()> {
        self.entry(path, 0o100_000 | mode, 1, content)
    }

    /// Writes the end.
    pub fn finish(mut self) -> io::Result<()> {
        self.inode = 0;
        self.entry("TRAILER!!!", 0, 1, b"")?;
        self.out.flush()
    }

    fn entry(&mut self, path: &str, mode: usize, links: usize, content: &[u8]) -> io::Result<()> {
        self.inode += 1;
        let fields = [self.inode, mode, 0, 0, links, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
        let header: String = fields.iter().map(|field| format!("{field:08x}")).collect();
        self.put(format!("070701{header}{path}\0").as_bytes())?;
        self.align()?;
        self.put(content)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len();
        self.out.write_all(bytes)
    }

    fn align(&mut self) -> io::Result<()> {
        let short = self.written.next_multiple_of(4) - self.written;
        self.put(&[0; 4][..short])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpio_reads_the_archive_back() {
        let mut bytes = Vec::new();
        let mut archive = Cpio::new(&mut bytes);
        archive.folder("modules").unwrap();
        archive.file("modules/odd", 0o644, b"five!").unwrap();
        archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        // Header 110 bytes, name, then content, each padded to four.
        let second = 110 + "modules\0".len() + 2;
        assert_eq!(&bytes[second..second + 6], b"070701");
        let name = second + 110;
        assert_eq!(&bytes[name..name + 12], b"modules/odd\0");
        let content = (name + 12usize).next_multiple_of(4);
        assert_eq!(&bytes[content..content + 5], b"five!");
    }
}
