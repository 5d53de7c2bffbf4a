//! The disk while an image is written to it: nothing boots from it until the image is known to be whole.
//!
//! The first and the last megabyte, where partition tables and boot loaders begin, are cleared at once and kept in memory
//! until the end. Blocks of zeros are not written: the disk is told to read as zeros there, by commands that do not move
//! data; a disk that knows none gets zeros written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};

/// Kept in memory, at either end.
pub const HELD: u64 = 1 << 20;
/// Shorter runs of zeros are written like anything else.
const BLOCK: usize = 64 * 1024;
/// Data on its way to the disk, so that memory does not fill with it.
const BEHIND: u64 = 16 << 20;
/// One command for zeros covers so much at most: each must end in time.
const LONGEST_HOLE: u64 = 1 << 30;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What a disk can do.
pub trait Device: Send + Sync {
    /// Writes all of it.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Lets a range read as zeros; an error when the disk cannot do that without writing them.
    fn punch(&self, range: Range<u64>) -> io::Result<()>;
    /// Everything up to here will soon not be needed in memory.
    fn behind(&self, offset: u64);
    /// Everything is on the disk when this returns.
    fn sync(&self) -> io::Result<()>;
}

impl Device for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(fallocate(self, flags, range.start, range.end - range.start)?)
    }

    fn behind(&self, offset: u64) {
        // Starts the writing of what is new, and drops what was written since the last time. Advice: it cannot matter.
        let _ = fadvise(self, 0, std::num::NonZeroU64::new(offset), Advice::DontNeed);
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Why a disk does not take an image.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The device.
    #[error("the disk refuses to be written at byte {0}: {1}")]
    Write(u64, #[source] io::Error),
    /// The device.
    #[error("the disk cannot store what was written: {0}")]
    Sync(#[source] io::Error),
    /// The image.
    #[error("the image is larger than the disk, which has {0} bytes")]
    Large(u64),
    /// No room for two megabytes.
    #[error("a disk of {0} bytes is too small")]
    Small(u64),
}

/// A disk that is being written.
pub struct Target<'a> {
    device: &'a dyn Device,
    size: u64,
    /// The first bytes of the disk, not written yet.
    pub head: Vec<u8>,
    /// The last bytes of the disk, not written yet.
    pub tail: Vec<u8>,
    hole: Range<u64>,
    punches: bool,
    since: u64,
}

impl<'a> Target<'a> {
    /// Clears both ends of the disk.
    pub fn begin(device: &'a dyn Device, size: u64) -> Result<Self, TargetError> {
        if size < 4 * HELD {
            return Err(TargetError::Small(size));
        }
        let (head, tail) = (vec![0; HELD as usize], vec![0; HELD as usize]);
        let mut target = Target { device, size, head, tail, hole: 0..0, punches: true, since: 0 };
        target.clear()?;
        Ok(target)
    }

    /// Goes on with what was held back.
    pub fn resume(device: &'a dyn Device, size: u64, (head, tail): (Vec<u8>, Vec<u8>)) -> Self {
        Target { device, size, head, tail, hole: 0..0, punches: true, since: 0 }
    }

    /// Makes the disk one that nothing boots from.
    pub fn clear(&mut self) -> Result<(), TargetError> {
        let zeros = vec![0; HELD as usize];
        for offset in [0, self.size - HELD] {
            self.raw(&zeros, offset)?;
        }
        self.device.sync().map_err(TargetError::Sync)
    }

    /// Bytes of the disk.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes a part of the image.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or(TargetError::Large(self.size))?;
        let tail = self.size - HELD;
        if offset < HELD {
            let (from, length) = (offset as usize, (end.min(HELD) - offset) as usize);
            self.head[from..from + length].copy_from_slice(&bytes[..length]);
        }
        if end > tail {
            let start = offset.max(tail);
            let bytes = &bytes[(start - offset) as usize..];
            let from = (start - tail) as usize;
            self.tail[from..from + bytes.len()].copy_from_slice(bytes);
        }
        let (start, end) = (offset.max(HELD), end.min(tail));
        if start < end {
            self.body(start, &bytes[(start - offset) as usize..(end - offset) as usize])
        } else {
            Ok(())
        }
    }

    /// Lets a range read as zeros.
    pub fn zeros(&mut self, range: Range<u64>) -> Result<(), TargetError> {
        if range.end > self.size {
            return Err(TargetError::Large(self.size));
        }
        // What is held is zero unless it was written.
        let range = range.start.max(HELD)..range.end.min(self.size - HELD);
        if range.start < range.end { self.skip(range) } else { Ok(()) }
    }

    /// Everything between the two ends is on the disk when this returns.
    pub fn settle(&mut self) -> Result<(), TargetError> {
        self.fill()?;
        self.device.sync().map_err(TargetError::Sync)
    }

    /// Writes both ends; the first sector, without which no table counts, at last.
    pub fn commit(mut self) -> Result<(), TargetError> {
        self.settle()?;
        let (head, tail) = (std::mem::take(&mut self.head), std::mem::take(&mut self.tail));
        let (first, rest) = head.split_at(4096);
        for (bytes, offset) in [(&tail[..], self.size - HELD), (rest, 4096), (first, 0)] {
            self.raw(bytes, offset)?;
            self.device.sync().map_err(TargetError::Sync)?;
        }
        Ok(())
    }

    fn body(&mut self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        let (mut data, mut at) = (0, 0);
        while at < bytes.len() {
            // Blocks of the disk, not of the piece: runs of zeros go on from piece to piece.
            let aligned = BLOCK - (offset as usize + at) % BLOCK;
            let next = (at + aligned).min(bytes.len());
            if bytes[at..next] == ZEROS[..next - at] {
                self.data(offset + data as u64, &bytes[data..at])?;
                self.skip(offset + at as u64..offset + next as u64)?;
                data = next;
            }
            at = next;
        }
        self.data(offset + data as u64, &bytes[data..])
    }

    fn data(&mut self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.fill()?;
        self.raw(bytes, offset)?;
        self.since += bytes.len() as u64;
        if self.since >= BEHIND {
            self.since = 0;
            self.device.behind(offset + bytes.len() as u64);
        }
        Ok(())
    }

    fn skip(&mut self, range: Range<u64>) -> Result<(), TargetError> {
        if self.hole.end == range.start && !self.hole.is_empty() {
            self.hole.end = range.end;
            return Ok(());
        }
        self.fill()?;
        self.hole = range;
        Ok(())
    }

    /// Makes the zeros that were skipped so far true.
    fn fill(&mut self) -> Result<(), TargetError> {
        let hole = std::mem::take(&mut self.hole);
        let mut at = hole.start;
        while at < hole.end {
            let end = hole.end.min(at + LONGEST_HOLE);
            if self.punches && end - at >= BLOCK as u64 {
                match self.device.punch(at..end) {
                    Ok(()) => {
                        at = end;
                        continue;
                    }
                    // Not this disk, or not in these places; zeros can always be written.
                    Err(_) => self.punches = false,
                }
            }
            while at < end {
                let length = (end - at).min(BLOCK as u64);
                self.raw(&ZEROS[..length as usize], at)?;
                at += length;
            }
        }
        Ok(())
    }

    fn raw(&self, bytes: &[u8], offset: u64) -> Result<(), TargetError> {
        self.device.write_all_at(bytes, offset).map_err(|error| TargetError::Write(offset, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 8 << 20;

    fn disk() -> File {
        let file = tempfile::tempfile().unwrap();
        FileExt::write_all_at(&file, &vec![0xee; SIZE as usize], 0).unwrap();
        file
    }

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; SIZE as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn image() -> Vec<u8> {
        let mut image: Vec<u8> = (0..SIZE as usize).map(|at| (at / 7) as u8 | 1).collect();
        for zeros in [100..200, 2_000_000..2_500_000, 4_000_000..4_000_100, 7_500_000..SIZE as usize] {
            image[zeros].fill(0);
        }
        image
    }

    #[test]
    fn an_image_in_any_pieces_arrives_and_its_ends_come_last() {
        for step in [100_003, 65_536, 1 << 20, SIZE as usize] {
            let disk = disk();
            let mut target = Target::begin(&disk, SIZE).unwrap();
            for (index, piece) in image().chunks(step).enumerate() {
                target.write((index * step) as u64, piece).unwrap();
            }
            target.settle().unwrap();
            let before = content(&disk);
            let held = HELD as usize;
            assert!(before[..held].iter().chain(&before[SIZE as usize - held..]).all(|byte| *byte == 0));
            assert!(before[held..SIZE as usize - held] == image()[held..SIZE as usize - held]);
            target.commit().unwrap();
            assert!(content(&disk) == image(), "in pieces of {step}");
        }
    }

    /// A disk that cannot punch, and breaks after some bytes.
    struct Old {
        disk: File,
        breaks_at: u64,
    }

    impl Device for Old {
        fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
            if (offset..offset + bytes.len() as u64).contains(&self.breaks_at) {
                return Err(io::Error::other("bad sector"));
            }
            Device::write_all_at(&self.disk, bytes, offset)
        }

        fn punch(&self, _: Range<u64>) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn behind(&self, _: u64) {}

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_disk_that_cannot_punch_gets_zeros() {
        let old = Old { disk: disk(), breaks_at: u64::MAX };
        let mut target = Target::begin(&old, SIZE).unwrap();
        target.write(0, &image()[..3_000_000]).unwrap();
        target.zeros(3_000_000..SIZE).unwrap();
        target.commit().unwrap();
        let mut wanted = image()[..3_000_000].to_vec();
        wanted.resize(SIZE as usize, 0);
        assert!(content(&old.disk) == wanted);
    }

    #[test]
    fn what_does_not_fit_and_what_breaks_is_told() {
        let file = disk();
        let mut target = Target::begin(&file, SIZE).unwrap();
        assert!(matches!(target.write(SIZE - 1, &[1, 2]), Err(TargetError::Large(SIZE))));
        assert!(matches!(target.write(u64::MAX, &[1, 2]), Err(TargetError::Large(SIZE))));
        assert!(matches!(Target::begin(&file, HELD), Err(TargetError::Small(HELD))));
        let old = Old { disk: disk(), breaks_at: 3 << 20 };
        let mut target = Target::begin(&old, SIZE).unwrap();
        assert!(matches!(target.write(0, &image()), Err(TargetError::Write(..))));
    }
}
