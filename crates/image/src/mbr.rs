//! The partition table of BIOS machines, in a disk's first sector.

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// First sector.
    pub start: u32,
    /// Number of sectors.
    pub length: u32,
}

/// A boot sector with the code of `boot`, the disk signature, and one bootable Linux partition.
#[must_use]
pub fn boot_sector(boot: &[u8; SECTOR], signature: [u8; 4], partition: Partition) -> [u8; SECTOR] {
    let mut sector = *boot;
    // Disk signature, then the table's four entries of 16 bytes, then the magic number.
    sector[440..444].copy_from_slice(&signature);
    sector[444..510].fill(0);
    let entry = &mut sector[446..462];
    // Bootable; Linux; the ancient addresses say "use the numbers".
    entry[..8].copy_from_slice(&[0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&partition.start.to_le_bytes());
    entry[12..16].copy_from_slice(&partition.length.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Why a partition cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MbrError {
    /// Four, no more.
    #[error("all four partitions of the image are taken")]
    Full,
    /// Behind the last partition.
    #[error("the disk has no room behind the image's last partition")]
    Space,
}

/// Partitions begin and end with a megabyte.
const ALIGNMENT: u64 = 2048;

/// Whether the first sector of a disk holds a table with a partition. File systems have the same magic number there.
#[must_use]
pub fn has_table(sector: &[u8]) -> bool {
    let entries = || sector.get(446..510).unwrap_or_default().chunks_exact(16);
    sector.get(510..512) == Some(&[0x55, 0xaa])
        && entries().all(|entry| entry[0] & 0x7f == 0)
        && entries().any(|entry| entry[4] != 0)
}

/// Adds a Linux partition of at least `length` bytes at the end of a disk of `size` bytes, as far as the table reaches.
pub fn append(sector: &mut [u8], size: u64, length: u64) -> Result<std::ops::Range<u64>, MbrError> {
    let number = |entry: &[u8], at: usize| {
        u64::from(entry[at..at + 4].iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
    };
    let entries = &mut sector[446..510];
    let used = entries.chunks_exact(16).filter(|entry| entry[4] != 0);
    let taken =
        used.map(|entry| number(entry, 8) + number(entry, 12)).max().unwrap_or_default().max(ALIGNMENT);
    let end = (size / SECTOR as u64).min(u32::MAX.into()) / ALIGNMENT * ALIGNMENT;
    let sectors = length.div_ceil(SECTOR as u64).next_multiple_of(ALIGNMENT);
    let start = end.checked_sub(sectors).filter(|start| *start >= taken).ok_or(MbrError::Space)?;
    let free = entries.chunks_exact_mut(16).find(|entry| entry[4] == 0).ok_or(MbrError::Full)?;
    free[..8].copy_from_slice(&[0, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff]);
    free[8..12].copy_from_slice(&(start as u32).to_le_bytes());
    free[12..].copy_from_slice(&(sectors as u32).to_le_bytes());
    Ok(start * SECTOR as u64..end * SECTOR as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_added_at_the_end_while_there_is_room() {
        let mut sector = boot_sector(&[0; SECTOR], [1, 2, 3, 4], Partition { start: 2048, length: 4096 });
        assert!(has_table(&sector) && !has_table(&[0; SECTOR]));
        assert_eq!(append(&mut sector, (8 << 20) + 700, 3000), Ok((7 << 20)..(8 << 20)));
        assert_eq!((sector[466], sector[462]), (0x83, 0));
        let mut copy = sector;
        assert_eq!(append(&mut copy, 8 << 20, 1), Err(MbrError::Space));
        // Beyond two terabytes the table cannot say where it is.
        let range = append(&mut copy, 1 << 42, 1).unwrap();
        assert!(range.end <= 1 << 41 && range.start.is_multiple_of(1 << 20));
        let mut full = [0; SECTOR];
        (0..4).for_each(|slot| full[446 + 16 * slot + 4] = 0x83);
        assert_eq!(append(&mut full, 8 << 20, 1), Err(MbrError::Full));
    }

    #[test]
    fn the_partition_table_names_one_bootable_linux_partition() {
        let sector = boot_sector(&[0x90; SECTOR], [1, 2, 3, 4], Partition { start: 2048, length: 4096 });
        let number = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().unwrap());
        assert_eq!((sector[446], sector[450]), (0x80, 0x83));
        assert_eq!((number(454), number(458)), (2048, 4096));
        assert_eq!(
            (sector[0], &sector[440..446]),
            (0x90, &[1, 2, 3, 4, 0, 0][..]),
            "the loader's code stays"
        );
        assert!(sector[462..510].iter().all(|byte| *byte == 0), "no other partition");
    }
}
