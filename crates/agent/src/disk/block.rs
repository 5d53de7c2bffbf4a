//! A disk as the kernel gives it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::ioctl::{NoArg, Setter, ioctl};

/// `BLKRRPART`
const READ_PARTITIONS_AGAIN: u32 = 0x125f;
/// `BLKDISCARD`
const DISCARD: u32 = 0x1277;

/// An open disk.
pub struct Block {
    pub file: File,
    pub size: u64,
    path: PathBuf,
}

impl Block {
    pub fn open(path: &Path) -> io::Result<Self> {
        // Not with O_EXCL: nothing in a ramdisk has mounted it.
        let file = File::options().read(true).write(true).open(path)?;
        let size = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0))?;
        Ok(Block { file, size, path: path.to_owned() })
    }

    /// Its first bytes, as many as there are.
    pub fn start(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self.file.read_at(&mut bytes, at).unwrap_or_default();
        bytes.truncate(read);
        bytes
    }

    fn is_block_device(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.file_type().is_block_device())
    }

    /// Gives all blocks back; an error when the disk cannot do that.
    pub fn discard(&self) -> io::Result<()> {
        const STEP: u64 = 32 << 30;
        let is_file = !self.is_block_device()?;
        let mut at = 0;
        while at < self.size {
            let length = STEP.min(self.size - at);
            if is_file {
                fallocate(&self.file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, at, length)?;
            } else {
                // SAFETY: BLKDISCARD of linux/fs.h takes two numbers of 64 bits, start and length.
                unsafe { ioctl(&self.file, Setter::<DISCARD, [u64; 2]>::new([at, length]))? };
            }
            at += length;
        }
        Ok(())
    }

    /// Lets the kernel look at the partition table anew. (A file has no partitions.)
    pub fn read_partitions_again(&self) -> io::Result<()> {
        if !self.is_block_device()? {
            return Ok(());
        }
        // SAFETY: BLKRRPART of linux/fs.h takes no argument.
        unsafe { Ok(ioctl(&self.file, NoArg::<READ_PARTITIONS_AGAIN>::new())?) }
    }

    /// Start and length of the partitions that the kernel knows, by the disk's folder below /sys/class/block.
    pub fn partitions(&self) -> Vec<(PathBuf, u64, u64)> {
        let name = self.path.file_name().map(PathBuf::from).unwrap_or_default();
        let folder = Path::new("/sys/class/block").join(name);
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let partition = |entry: fs::DirEntry| {
            number(entry.path().join("partition"))?;
            let (start, length) = (number(entry.path().join("start"))?, number(entry.path().join("size"))?);
            Some((Path::new("/dev").join(entry.file_name()), start * 512, length * 512))
        };
        let mut found: Vec<_> = entries.filter_map(partition).collect();
        found.sort_by_key(|(_, start, _)| *start);
        found
    }
}
