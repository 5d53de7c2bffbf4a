//! A FAT16 file system with one file three folders deep: what firmware wants of a boot image.

const SECTOR: usize = 512;
/// Sectors of a cluster, and what every region is a multiple of: a CD's sector.
const CLUSTER_SECTORS: usize = 4;
const CLUSTER: usize = CLUSTER_SECTORS * SECTOR;
const RESERVED: usize = CLUSTER_SECTORS;
const ROOT_ENTRIES: usize = 64;
const ROOT_SECTORS: usize = ROOT_ENTRIES * 32 / SECTOR;
/// Fewer clusters are FAT12, more are FAT32: readers know the kind by this number alone.
const CLUSTERS: std::ops::Range<usize> = 4085..65_525;
const END_OF_CHAIN: u16 = 0xffff;
const FOLDER: u8 = 0x10;
const FILE: u8 = 0x20;
/// Clusters 2 and 3 are the two folders.
const FIRST_OF_FILE: usize = 4;

/// The file does not fit FAT16 with small clusters.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a boot program of {0} bytes is too large")]
pub struct TooLarge(pub usize);

/// A file system with `program` as `\EFI\BOOT\BOOTX64.EFI`, in one piece, and where the piece begins.
pub fn boot_image(program: &[u8]) -> Result<(Vec<u8>, usize), TooLarge> {
    let file_clusters = program.len().div_ceil(CLUSTER);
    let clusters = (file_clusters + 2).max(CLUSTERS.start);
    if !CLUSTERS.contains(&clusters) {
        return Err(TooLarge(program.len()));
    }
    let table_sectors = ((clusters + 2) * 2).div_ceil(SECTOR).next_multiple_of(CLUSTER_SECTORS);
    let data = (RESERVED + 2 * table_sectors + ROOT_SECTORS) * SECTOR;
    let total = data + clusters * CLUSTER;
    let mut image = vec![0; total];
    boot_sector(&mut image, table_sectors, total / SECTOR);
    let table = table(file_clusters);
    for copy in 0..2 {
        let at = (RESERVED + copy * table_sectors) * SECTOR;
        image[at..at + table.len()].copy_from_slice(&table);
    }
    let root = (RESERVED + 2 * table_sectors) * SECTOR;
    let cluster = |number: usize| data + (number - 2) * CLUSTER;
    put(&mut image, root, &[entry(b"EFI        ", FOLDER, 2, 0)]);
    let (own, parent) = (b".          ", b"..         ");
    let boot = [entry(own, FOLDER, 2, 0), entry(parent, FOLDER, 0, 0), entry(b"BOOT       ", FOLDER, 3, 0)];
    put(&mut image, cluster(2), &boot);
    let name = entry(b"BOOTX64 EFI", FILE, FIRST_OF_FILE, program.len());
    put(&mut image, cluster(3), &[entry(own, FOLDER, 3, 0), entry(parent, FOLDER, 2, 0), name]);
    let at = cluster(FIRST_OF_FILE);
    image[at..at + program.len()].copy_from_slice(program);
    Ok((image, at))
}

fn boot_sector(image: &mut [u8], table_sectors: usize, total: usize) {
    let mut field = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    field(0, b"\xeb\x3c\x90SCUTE   ");
    field(11, &(SECTOR as u16).to_le_bytes());
    field(13, &[CLUSTER_SECTORS as u8, RESERVED as u8, 0, 2, ROOT_ENTRIES as u8, 0]);
    field(21, &[0xf8]);
    field(22, &(table_sectors as u16).to_le_bytes());
    field(24, &[32, 0, 64, 0]);
    field(32, &(total as u32).to_le_bytes());
    field(36, &[0x80, 0, 0x29, 1, 0, 0, 0]);
    field(43, b"NO NAME    FAT16   ");
    field(510, &[0x55, 0xaa]);
}

fn table(file_clusters: usize) -> Vec<u8> {
    let last = FIRST_OF_FILE + file_clusters;
    let chain = (FIRST_OF_FILE..last).map(|at| if at + 1 == last { END_OF_CHAIN } else { at as u16 + 1 });
    // The medium's byte, then the two folders.
    [0xfff8, END_OF_CHAIN, END_OF_CHAIN, END_OF_CHAIN]
        .into_iter()
        .chain(chain)
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// A directory entry of 1980-01-01: images depend on their content only.
fn entry(name: &[u8; 11], kind: u8, cluster: usize, length: usize) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    entry[11] = kind;
    for date in [16, 18, 24] {
        entry[date] = 0x21;
    }
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..].copy_from_slice(&(length as u32).to_le_bytes());
    entry
}

fn put(image: &mut [u8], at: usize, entries: &[[u8; 32]]) {
    for (index, entry) in entries.iter().enumerate() {
        image[at + 32 * index..at + 32 * (index + 1)].copy_from_slice(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Independent readers: one checks, one reads.
    #[test]
    fn the_program_is_found_and_nothing_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("efi.img");
        for length in [1, 2048, 2049, 20_000_000] {
            let program: Vec<u8> = (0..length).map(|at| at as u8 ^ (at >> 8) as u8).collect();
            let (image, at) = boot_image(&program).unwrap();
            assert_eq!((&image[at..at + length], at % 2048), (&program[..], 0));
            std::fs::write(&path, &image).unwrap();
            let checked = Command::new("/usr/sbin/fsck.vfat").arg("-n").arg(&path).output().unwrap();
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
            let read =
                Command::new("mtype").arg("-i").arg(&path).arg("::/EFI/BOOT/BOOTX64.EFI").output().unwrap();
            assert!(read.stdout == program, "{length}: {}", String::from_utf8_lossy(&read.stderr));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let large = 65_525 * CLUSTER;
        assert_eq!(boot_image(&vec![0; large]).unwrap_err(), TooLarge(large));
    }
}
