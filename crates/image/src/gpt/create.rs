//! A table for a disk that has none yet.

use std::ops::Range;

use super::{ALIGNMENT, EFI_SYSTEM, Gpt, GptError, HEADER, SIGNATURE, crc32, put64};
use crate::mbr::SECTOR;

/// Entries of a table, and bytes of each: what every other tool makes.
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Sector of the first table's entries.
const FIRST_ENTRIES: u64 = 2;
/// Identifiers in the table's order of bytes: `21686148-6449-6E6F-744E-656564454649` and
/// `4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709`.
const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";
const LINUX_ROOT: [u8; 16] = *b"\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09";

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A boot loader's second part, where a BIOS starts the disk.
    BiosBoot,
    /// Programs for the firmware, in a FAT file system.
    EfiSystem,
    /// The root file system of an x86-64 machine:
    /// <https://uapi-group.org/specifications/specs/discoverable_partitions_specification/>.
    Root,
}

impl Gpt {
    /// An empty table for a disk of `size` bytes.
    ///
    /// # Errors
    /// When two tables do not fit.
    pub fn new(size: u64, id: [u8; 16]) -> Result<Self, GptError> {
        let entries = vec![0; ENTRIES * ENTRY];
        let first_usable = FIRST_ENTRIES + (entries.len() / SECTOR) as u64;
        let mut header = vec![0; HEADER];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..12].copy_from_slice(&[0, 0, 1, 0]);
        header[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes());
        put64(&mut header, 40, first_usable);
        header[56..72].copy_from_slice(&id);
        put64(&mut header, 72, FIRST_ENTRIES);
        header[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        header[84..88].copy_from_slice(&(ENTRY as u32).to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        let table = Gpt { header, entries, entry_size: ENTRY, sectors: size / SECTOR as u64 };
        table.last_usable().map(|_| table)
    }

    /// Adds a partition as number `number`, counted from 1, which is free. `sectors` begins at a whole megabyte.
    ///
    /// # Errors
    /// When the place or the number is taken, or not there.
    pub fn add(
        &mut self,
        number: usize,
        kind: Kind,
        name: &str,
        id: [u8; 16],
        sectors: Range<u64>,
    ) -> Result<(), GptError> {
        let (first, end) = (self.first_usable(), self.last_usable()? + 1);
        let inside = sectors.start >= first && sectors.end <= end && sectors.start < sectors.end;
        let taken = self.used().any(|(_, entry)| {
            let other = super::sectors(entry);
            sectors.start < other.end && other.start < sectors.end
        });
        if !inside || taken || !sectors.start.is_multiple_of(ALIGNMENT) {
            return Err(GptError::Full("the place of a partition is taken, not aligned, or not on the disk"));
        }
        let entry = number.checked_sub(1).and_then(|index| self.entries.chunks_exact_mut(ENTRY).nth(index));
        let entry = entry.filter(|entry| entry[..16] == [0; 16]);
        let entry = entry.ok_or(GptError::Full("the number of a partition is taken, or too large"))?;
        super::fill(entry, kind.id(), id, name, sectors);
        Ok(())
    }
}

impl Kind {
    fn id(self) -> [u8; 16] {
        match self {
            Self::BiosBoot => BIOS_BOOT,
            Self::EfiSystem => EFI_SYSTEM,
            Self::Root => LINUX_ROOT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sfdisk;
    use super::*;
    use crate::mbr;
    use std::process::Command;

    const MIB: usize = 1 << 20;

    #[test]
    fn an_independent_reader_finds_what_was_made() {
        let mut disk = vec![0; 16 * MIB];
        let mut table = Gpt::new(disk.len() as u64, [1; 16]).unwrap();
        table.add(2, Kind::BiosBoot, "bios", [2; 16], 2048..4096).unwrap();
        table.add(3, Kind::EfiSystem, "efi", [3; 16], 4096..8192).unwrap();
        table.add(1, Kind::Root, "root", [4; 16], 8192..30720).unwrap();
        disk[..SECTOR].copy_from_slice(&mbr::protective(&[0x90; SECTOR]));
        let (head, tail) = disk.split_at_mut(15 * MIB);
        table.write(&mut head[..MIB], tail).unwrap();
        assert_eq!(
            Gpt::read(&disk[..MIB], disk.len() as u64).unwrap().unwrap().efi_partition().unwrap().number,
            3
        );

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &disk).unwrap();
        let said = sfdisk(file.path(), None);
        assert!(said.contains("No errors detected."), "{said}");
        let listed = Command::new("/usr/sbin/sfdisk").arg("--dump").arg(file.path()).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let line =
            |end: &str| listed.lines().find(|line| line.contains(end)).unwrap_or_else(|| panic!("{listed}"));
        assert!(listed.contains("label: gpt"), "{listed}");
        let root = line("name=\"root\"");
        assert!(root.contains("1 : start=        8192, size=       22528"), "{root}");
        assert!(root.contains("type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"), "{root}");
        assert!(line("name=\"bios\"").contains("type=21686148-6449-6E6F-744E-656564454649"));
        assert!(line("name=\"efi\"").contains("type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B"));
    }

    #[test]
    fn what_has_no_place_is_refused() {
        assert!(matches!(Gpt::new(30 * 512, [1; 16]), Err(GptError::Small { .. })));
        let mut table = Gpt::new(8 << 20, [1; 16]).unwrap();
        table.add(1, Kind::Root, "root", [2; 16], 2048..4096).unwrap();
        for (number, place) in [
            (1, 4096..6144),
            (0, 4096..6144),
            (129, 4096..6144),
            (2, 2048..4096),
            (2, 0..2048),
            (2, 4096..16384),
        ]
        .into_iter()
        .chain([(2, 4097..6144), (2, 4096..4096)])
        {
            let added = table.add(number, Kind::Root, "more", [3; 16], place.clone());
            assert!(matches!(added, Err(GptError::Full(_))), "{number} {place:?}");
        }
    }
}
