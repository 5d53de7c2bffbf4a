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

#[cfg(test)]
mod tests {
    use super::*;

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
