//! The partition table of BIOS machines, in a disk's first sector.

/// Bytes of a sector.
pub const SECTOR: usize = 512;

/// A boot sector with the code of `boot`, whose table says that the disk has a GPT. How long the disk is, the GPT adds.
#[must_use]
pub fn protective(boot: &[u8; SECTOR]) -> [u8; SECTOR] {
    let mut sector = *boot;
    // No disk signature; then the table's four entries of 16 bytes, of which one begins behind this sector.
    sector[440..510].fill(0);
    sector[446..458].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
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

/// Bytes of the smallest disk that holds the partitions of the table, and one more of at least `length` bytes.
#[must_use]
pub fn needed(sector: &[u8], length: u64) -> u64 {
    let sectors = length.div_ceil(SECTOR as u64).next_multiple_of(ALIGNMENT);
    (taken(sector).next_multiple_of(ALIGNMENT) + sectors) * SECTOR as u64
}

/// The sector behind the last partition.
fn taken(sector: &[u8]) -> u64 {
    let number = |entry: &[u8], at: usize| {
        u64::from(entry[at..at + 4].iter().rev().fold(0, |n, b| n << 8 | u32::from(*b)))
    };
    let used = sector.get(446..510).unwrap_or_default().chunks_exact(16).filter(|entry| entry[4] != 0);
    used.map(|entry| number(entry, 8) + number(entry, 12)).max().unwrap_or_default().max(ALIGNMENT)
}

/// Adds a Linux partition of at least `length` bytes at the end of a disk of `size` bytes, as far as the table reaches.
pub fn append(sector: &mut [u8], size: u64, length: u64) -> Result<std::ops::Range<u64>, MbrError> {
    let taken = taken(sector);
    let entries = &mut sector[446..510];
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
        let mut sector = [0; SECTOR];
        // Linux, from sector 2048 on, 4096 long.
        sector[450..462].copy_from_slice(&[0x83, 0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0]);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert!(has_table(&sector) && !has_table(&[0; SECTOR]));
        assert_eq!(append(&mut sector, (8 << 20) + 700, 3000), Ok((7 << 20)..(8 << 20)));
        assert_eq!((sector[466], sector[462]), (0x83, 0));
        let needed = needed(&sector, 1);
        for (size, fits) in [(needed, true), (needed - 1, false)] {
            assert_eq!(append(&mut sector.clone(), size, 1).is_ok(), fits, "{size}");
        }
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
    fn the_code_stays_beside_the_table_that_protects_the_other() {
        let sector = protective(&[0x90; SECTOR]);
        assert!(sector[..440].iter().all(|byte| *byte == 0x90));
        assert!(has_table(&sector) && sector[450] == 0xee && sector[462..510].iter().all(|byte| *byte == 0));
    }
}
