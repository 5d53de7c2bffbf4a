//! What can be recognised on a disk or in a partition: for the record of what was removed.

/// Names of what begins here.
pub fn names(start: &[u8]) -> Vec<&'static str> {
    const KNOWN: [(usize, &[u8], &str); 16] = [
        (512, b"EFI PART", "GPT"),
        (4096, b"EFI PART", "GPT"),
        (0, b"LUKS\xba\xbe", "LUKS"),
        (536, b"LVM2 001", "LVM"),
        (24, b"LVM2 001", "LVM"),
        (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
        (0, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
        (0, b"XFSB", "XFS"),
        (1080, b"\x53\xef", "ext2, ext3 or ext4"),
        (65_600, b"_BHRfS_M", "Btrfs"),
        (32_769, b"CD001", "ISO 9660"),
        (3, b"NTFS    ", "NTFS"),
        (54, b"FAT1", "FAT"),
        (82, b"FAT32", "FAT"),
        (4086, b"SWAPSPACE2", "swap space"),
        (0, b"bluestore block device", "Ceph"),
    ];
    let found =
        KNOWN.iter().filter(|(at, magic, _)| start.get(*at..).is_some_and(|from| from.starts_with(magic)));
    let mut names: Vec<&str> = found.map(|(_, _, name)| *name).collect();
    names.dedup();
    if names.is_empty() && scute_image::mbr::has_table(start) {
        names.push("MBR");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn signatures_are_known_by_their_place() {
        let at = |at: usize, magic: &[u8]| {
            let mut bytes = vec![0; 70_000];
            bytes[at..at + magic.len()].copy_from_slice(magic);
            bytes
        };
        assert_eq!(names(&at(512, b"EFI PART")), ["GPT"]);
        assert_eq!(names(&at(1080, b"\x53\xef")), ["ext2, ext3 or ext4"]);
        assert_eq!(names(&at(513, b"EFI PART")), [""; 0]);
        assert_eq!(names(b"XFSB"), ["XFS"]);
        assert_eq!(names(&[]), [""; 0]);
    }
}
