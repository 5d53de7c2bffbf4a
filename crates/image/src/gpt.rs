//! The partition table of UEFI machines: <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>.
//!
//! Works on the first and the last megabyte of a disk, held in memory: what is written to the disk, and when, is the
//! caller's.

mod create;

use std::ops::Range;

pub use create::Kind;

use crate::mbr::SECTOR;

/// An image's table on a disk, which may be larger than the image.
#[derive(Debug)]
pub struct Gpt {
    header: Vec<u8>,
    entries: Vec<u8>,
    entry_size: usize,
    /// Of the disk.
    sectors: u64,
}

/// A partition that a firmware starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EfiPartition {
    /// Counted from 1.
    pub number: u32,
    /// First sector.
    pub start: u64,
    /// Sectors.
    pub length: u64,
    /// Its own identifier, as it stands in the table.
    pub id: [u8; 16],
}

/// Why a table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GptError {
    /// Digests, sizes, places.
    #[error("the image's GPT is damaged: {0}")]
    Damaged(&'static str),
    /// The image was made for a larger disk.
    #[error("the image's partitions need a disk of {needed} bytes, this one has {found}")]
    Small {
        /// For the partitions and the second table.
        needed: u64,
        /// Of the disk.
        found: u64,
    },
    /// All entries, or all space, are taken.
    #[error("the image's GPT has no room for one more partition: {0}")]
    Full(&'static str),
}

const SIGNATURE: &[u8] = b"EFI PART";
const HEADER: usize = 92;
/// Enough for a thousand partitions.
const ENTRIES_LIMIT: usize = 128 * 1024;
/// Partitions begin and end with a megabyte.
const ALIGNMENT: u64 = 2048;
/// `C12A7328-F81F-11D2-BA4B-00A0C93EC93B` and `0FC63DAF-8483-4772-8E79-3D69D8477DE4`, in the table's order of bytes.
const EFI_SYSTEM: [u8; 16] = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
const LINUX_DATA: [u8; 16] = *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4";

impl Gpt {
    /// The table in the first bytes of a disk of `size` bytes; `None` when there is none.
    pub fn read(head: &[u8], size: u64) -> Result<Option<Self>, GptError> {
        let Some(header) = head.get(SECTOR..SECTOR + HEADER).filter(|header| header.starts_with(SIGNATURE))
        else {
            return Ok(None);
        };
        if u32_at(header, 12) as usize != HEADER {
            return Err(GptError::Damaged("the header's size"));
        }
        let mut blank = header.to_vec();
        blank[16..20].fill(0);
        if crc32(&blank) != u32_at(header, 16) {
            return Err(GptError::Damaged("the header's checksum"));
        }
        let entry_size = u32_at(header, 84) as usize;
        let length = entry_size.saturating_mul(u32_at(header, 80) as usize);
        if entry_size < 128 || !entry_size.is_multiple_of(8) || !(1..=ENTRIES_LIMIT).contains(&length) {
            return Err(GptError::Damaged("the size of its entries"));
        }
        let at = usize::try_from(u64_at(header, 72)).ok().and_then(|sector| sector.checked_mul(SECTOR));
        let entries = at.and_then(|at| head.get(at..at.checked_add(length)?));
        let entries = entries.ok_or(GptError::Damaged("the place of its entries"))?.to_vec();
        if crc32(&entries) != u32_at(header, 88) {
            return Err(GptError::Damaged("the checksum of its entries"));
        }
        Ok(Some(Gpt { header: header.to_vec(), entries, entry_size, sectors: size / SECTOR as u64 }))
    }

    /// Adds a partition at the disk's end, and says which bytes it has. `id` must be random.
    pub fn append(&mut self, name: &str, id: [u8; 16], length: u64) -> Result<Range<u64>, GptError> {
        let taken = self.used().map(|(_, entry)| sectors(entry).end).max().unwrap_or_default();
        let first = taken.max(self.first_usable());
        let length = length.div_ceil(SECTOR as u64).next_multiple_of(ALIGNMENT);
        let end = (self.last_usable()? + 1) / ALIGNMENT * ALIGNMENT;
        let start = end
            .checked_sub(length)
            .filter(|start| *start >= first)
            .ok_or(GptError::Full("the disk is too small"))?;
        let size = self.entry_size;
        let free = self.entries.chunks_exact_mut(size).find(|entry| entry[..16] == [0; 16]);
        let entry = free.ok_or(GptError::Full("every entry is taken"))?;
        fill(entry, LINUX_DATA, id, name, start..end);
        Ok(start * SECTOR as u64..end * SECTOR as u64)
    }

    /// Bytes of the smallest disk that holds the partitions, one more of `length` bytes if that is not 0, and the second table.
    #[must_use]
    pub fn needed(&self, length: u64) -> u64 {
        let taken = self.used().map(|(_, entry)| sectors(entry).end).max().unwrap_or_default();
        let first = taken.max(self.first_usable());
        let end = match length.div_ceil(SECTOR as u64).next_multiple_of(ALIGNMENT) {
            0 => first,
            length => first.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT).saturating_add(length),
        };
        end.saturating_add(self.entry_sectors() + 1).saturating_mul(SECTOR as u64)
    }

    /// Puts both tables where they belong on this disk: into its first and its last bytes.
    pub fn write(&mut self, head: &mut [u8], tail: &mut [u8]) -> Result<(), GptError> {
        let last_usable = self.last_usable()?;
        let last = self.sectors - 1;
        let checksum = crc32(&self.entries);
        self.header[88..92].copy_from_slice(&checksum.to_le_bytes());
        put64(&mut self.header, 48, last_usable);
        let first_entries = u64_at(&self.header, 72);
        let at = first_entries as usize * SECTOR;
        head[at..at + self.entries.len()].copy_from_slice(&self.entries);
        let primary = self.header(1, last, first_entries);
        head[SECTOR..SECTOR + HEADER].copy_from_slice(&primary);
        let backup = self.header(last, 1, last_usable + 1);
        let at = tail.len() - SECTOR;
        tail[at..].fill(0);
        tail[at..at + HEADER].copy_from_slice(&backup);
        let at = at - self.entry_sectors() as usize * SECTOR;
        tail[at..at + self.entries.len()].copy_from_slice(&self.entries);
        protect(head, self.sectors);
        Ok(())
    }

    /// The partition that a firmware looks at.
    #[must_use]
    pub fn efi_partition(&self) -> Option<EfiPartition> {
        self.used().find(|(_, entry)| entry[..16] == EFI_SYSTEM).map(|(index, entry)| EfiPartition {
            number: index as u32 + 1,
            start: u64_at(entry, 32),
            length: u64_at(entry, 40).saturating_sub(u64_at(entry, 32)) + 1,
            id: entry[16..32].try_into().unwrap_or_default(),
        })
    }

    fn first_usable(&self) -> u64 {
        u64_at(&self.header, 40)
    }

    fn header(&self, own: u64, other: u64, entries: u64) -> Vec<u8> {
        let mut header = self.header.clone();
        put64(&mut header, 24, own);
        put64(&mut header, 32, other);
        put64(&mut header, 72, entries);
        header[16..20].fill(0);
        let checksum = crc32(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    fn used(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.entries.chunks_exact(self.entry_size).enumerate().filter(|(_, entry)| entry[..16] != [0; 16])
    }

    fn entry_sectors(&self) -> u64 {
        self.entries.len().div_ceil(SECTOR) as u64
    }

    /// The second table lies behind it, and all partitions before.
    fn last_usable(&self) -> Result<u64, GptError> {
        let behind = self.entry_sectors() + 1;
        let taken = self.used().map(|(_, entry)| u64_at(entry, 40)).max().unwrap_or_default();
        let first = u64_at(&self.header, 72) + self.entry_sectors();
        let needed = taken.max(first).saturating_add(behind + 1);
        if needed > self.sectors {
            let bytes = |sectors: u64| sectors.saturating_mul(SECTOR as u64);
            return Err(GptError::Small { needed: bytes(needed), found: bytes(self.sectors) });
        }
        Ok(self.sectors - behind - 1)
    }
}

/// Writes an entry: a kind, an own identifier, a name of at most 36 units of UTF-16, and its sectors.
fn fill(entry: &mut [u8], kind: [u8; 16], id: [u8; 16], name: &str, sectors: Range<u64>) {
    entry.fill(0);
    entry[..16].copy_from_slice(&kind);
    entry[16..32].copy_from_slice(&id);
    put64(entry, 32, sectors.start);
    put64(entry, 40, sectors.end - 1);
    for (at, unit) in name.encode_utf16().take(36).enumerate() {
        entry[56 + 2 * at..58 + 2 * at].copy_from_slice(&unit.to_le_bytes());
    }
}

/// Of an entry.
fn sectors(entry: &[u8]) -> Range<u64> {
    u64_at(entry, 32)..u64_at(entry, 40).saturating_add(1)
}

/// The table of BIOS machines beside it says that the whole disk is taken.
fn protect(head: &mut [u8], sectors: u64) {
    let length = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    for entry in head[446..510].chunks_exact_mut(16).filter(|entry| entry[4] == 0xee) {
        entry[12..].copy_from_slice(&length.to_le_bytes());
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// CRC-32 of the table's kind.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const MIB: usize = 1 << 20;

    /// A disk image of 8 MiB with an EFI partition, as `sfdisk` makes it.
    fn image() -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        sfdisk(file.path(), Some("label: gpt\nsize=2048, type=U\nsize=4096, type=L\n"));
        std::fs::read(file.path()).unwrap()
    }

    pub(super) fn sfdisk(disk: &std::path::Path, script: Option<&str>) -> String {
        use std::io::Write;
        let mut sfdisk = Command::new("/usr/sbin/sfdisk");
        sfdisk.arg(if script.is_some() { "--quiet" } else { "--verify" }).arg(disk);
        sfdisk.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = sfdisk.stderr(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.unwrap_or_default().as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{said}");
        said
    }

    /// The image on a larger disk, with a partition more.
    fn larger(size: usize) -> (Vec<u8>, Range<u64>) {
        let mut disk = image();
        disk.resize(size, 0);
        let mut gpt = Gpt::read(&disk[..MIB], size as u64).unwrap().unwrap();
        let range = gpt.append("config-2", [7; 16], 3000).unwrap();
        let (head, rest) = disk.split_at_mut(MIB);
        let at = rest.len() - MIB;
        gpt.write(head, &mut rest[at..]).unwrap();
        (disk, range)
    }

    #[test]
    fn an_independent_reader_finds_both_tables_and_the_new_partition() {
        let (disk, range) = larger(20 << 20);
        assert_eq!(range, (18 << 20)..(19 << 20));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &disk).unwrap();
        let said = sfdisk(file.path(), None);
        assert!(said.contains("No errors detected."), "{said}");
        let listed = Command::new("/usr/sbin/sfdisk").args(["--json"]).arg(file.path()).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains("\"name\": \"config-2\"") && listed.contains("\"start\": 36864"), "{listed}");
        // The second table alone is enough to find everything.
        let mut broken = disk;
        broken[SECTOR..SECTOR + 8].fill(0);
        std::fs::write(file.path(), &broken).unwrap();
        let listed = Command::new("/usr/sbin/sfdisk").args(["--json"]).arg(file.path()).output().unwrap();
        assert!(String::from_utf8_lossy(&listed.stdout).contains("\"name\": \"config-2\""));
    }

    #[test]
    fn the_efi_partition_is_found() {
        let disk = image();
        let gpt = Gpt::read(&disk[..MIB], disk.len() as u64).unwrap().unwrap();
        let found = gpt.efi_partition().unwrap();
        assert_eq!((found.number, found.start, found.length), (1, 2048, 2048));
    }

    #[test]
    fn disks_without_room_are_refused() {
        let disk = image();
        let small =
            Gpt::read(&disk[..MIB], 3 << 20).unwrap().unwrap().write(&mut vec![0; MIB], &mut vec![0; MIB]);
        assert!(matches!(small, Err(GptError::Small { .. })), "{small:?}");
        let mut exact = Gpt::read(&disk[..MIB], disk.len() as u64).unwrap().unwrap();
        assert!(matches!(exact.append("config-2", [7; 16], 5 << 20), Err(GptError::Full(_))));
        let mut full = Gpt::read(&disk[..MIB], 1 << 40).unwrap().unwrap();
        full.entries.chunks_exact_mut(128).for_each(|entry| entry[0] = 1);
        assert!(matches!(full.append("config-2", [7; 16], 1), Err(GptError::Full(_))));
    }

    #[test]
    fn a_disk_of_the_needed_size_is_just_large_enough() {
        let disk = image();
        let table = |size: u64| Gpt::read(&disk[..MIB], size).unwrap().unwrap();
        for length in [1, 3000, 1 << 20, (5 << 20) + 1] {
            let needed = table(0).needed(length);
            assert!(table(needed).append("config-2", [7; 16], length).is_ok(), "{length}");
            assert!(table(needed - SECTOR as u64).append("config-2", [7; 16], length).is_err(), "{length}");
        }
        let needed = table(0).needed(0);
        let fits = |size: u64| table(size).write(&mut vec![0; MIB], &mut vec![0; MIB]).is_ok();
        assert!(fits(needed) && !fits(needed - SECTOR as u64));
    }

    #[test]
    fn what_is_damaged_is_refused_and_what_is_none_is_none() {
        let disk = image();
        assert!(Gpt::read(&[0; MIB], 1 << 30).unwrap().is_none());
        assert!(Gpt::read(&disk[..600], 1 << 30).unwrap().is_none());
        for at in [SECTOR + 12, SECTOR + 40, SECTOR + 72, SECTOR + 84, 2 * SECTOR + 5] {
            let mut damaged = disk[..MIB].to_vec();
            damaged[at] ^= 1;
            assert!(matches!(Gpt::read(&damaged, 1 << 30), Err(GptError::Damaged(_))), "{at}");
        }
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
