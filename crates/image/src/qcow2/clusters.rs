//! Where the clusters of a disk are in its qcow2 file: <https://qemu-project.gitlab.io/qemu/interop/qcow2.html>.

use std::io::Cursor;
use std::ops::Range;

use super::inspect::{be32, be64};
use super::{Format, InspectError, inspect};

const V2_HEADER: usize = 72;
/// Bits of an entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const READS_AS_ZEROS: u64 = 1;
const CORRUPT: u64 = 1 << 1;
const OTHER_COMPRESSION: u64 = 1 << 3;
const SUBCLUSTERS: u64 = 1 << 4;
const ZSTD: u8 = 1;
/// Tables of so many bytes are read: 128 GiB of data in clusters of the usual size.
const TABLES_LIMIT: u64 = 16 << 20;

/// A file's layout, as its header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clusters {
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Whether compressed clusters are zstd's; else they are raw deflate.
    pub zstd: bool,
    /// Where the first table is in the file.
    pub l1: Range<u64>,
    version: u32,
}

/// A cluster of the disk in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// Where it begins in the file.
    pub host: u64,
    /// Number of the cluster of the disk.
    pub guest: u32,
    /// Bytes in the file; of compressed clusters at most so many.
    pub length: u32,
    /// Compressed.
    pub compressed: bool,
}

/// Why the clusters cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum ClustersError {
    /// The header.
    #[error("{0}")]
    Inspect(#[from] InspectError),
    /// Another format.
    #[error("the image's format is said to be qcow2, but its content is not")]
    Foreign,
    /// Tables that contradict.
    #[error("the qcow2 image is damaged: {0}")]
    Damaged(&'static str),
    /// Not understood.
    #[error("the qcow2 image uses {0}, which is not supported: convert it with qemu-img")]
    Unsupported(&'static str),
}

impl Clusters {
    /// Reads the first bytes of a file: its first cluster, or all that there is.
    pub fn read(start: &[u8]) -> Result<Self, ClustersError> {
        if inspect(&mut Cursor::new(start))?.format != Format::Qcow2 {
            return Err(ClustersError::Foreign);
        }
        let version = be32(start, 4);
        let features = if version >= 3 { be64(start, 72) } else { 0 };
        if features & CORRUPT != 0 {
            return Err(ClustersError::Damaged("it is marked as corrupt"));
        }
        if features & SUBCLUSTERS != 0 {
            return Err(ClustersError::Unsupported("extended L2 entries"));
        }
        let zstd = features & OTHER_COMPRESSION != 0;
        if zstd && start.get(104) != Some(&ZSTD) {
            return Err(ClustersError::Unsupported("an unknown compression"));
        }
        let (size, cluster) = (be64(start, 24), 1_u64 << be32(start, 20));
        let entries = size.div_ceil(cluster).div_ceil(cluster / 8);
        let (l1, length) = (be64(start, 40), entries * 8);
        if u64::from(be32(start, 36)) < entries || l1 < V2_HEADER as u64 || l1.checked_add(length).is_none() {
            return Err(ClustersError::Damaged("the first table"));
        }
        // A cluster of the disk is known by 32 bits.
        if length > TABLES_LIMIT || size.div_ceil(cluster) > u32::MAX.into() {
            return Err(ClustersError::Unsupported("more clusters than a disk should have"));
        }
        Ok(Clusters { size, cluster, zstd, l1: l1..l1 + length, version })
    }

    /// Where the second tables are: the first cluster of the disk that each is about, and its place in the file.
    pub fn l2(&self, l1: &[u8]) -> Result<Vec<(u32, Range<u64>)>, ClustersError> {
        let mut tables = Vec::new();
        for (index, entry) in l1.chunks_exact(8).enumerate() {
            let offset = be64(entry, 0) & OFFSET;
            if offset == 0 {
                continue;
            }
            if !offset.is_multiple_of(self.cluster) {
                return Err(ClustersError::Damaged("the place of a second table"));
            }
            tables.push((index as u32 * (self.cluster / 8) as u32, offset..offset + self.cluster));
        }
        if tables.len() as u64 * self.cluster > TABLES_LIMIT {
            return Err(ClustersError::Unsupported("tables of more than 16 MiB"));
        }
        Ok(tables)
    }

    /// The clusters in a second table that begins with cluster `first`; those that read as zeros are left out.
    pub fn extents(&self, first: u32, l2: &[u8], into: &mut Vec<Extent>) -> Result<(), ClustersError> {
        let last = self.size.div_ceil(self.cluster);
        for (index, entry) in l2.chunks_exact(8).enumerate() {
            let (guest, entry) = (first + index as u32, be64(entry, 0));
            if u64::from(guest) >= last || entry & !(1 << 63) == 0 {
                continue;
            }
            if entry & COMPRESSED != 0 {
                into.push(self.compressed(guest, entry)?);
                continue;
            }
            let host = entry & OFFSET;
            if self.version >= 3 && entry & READS_AS_ZEROS != 0 || host == 0 {
                continue;
            }
            if !host.is_multiple_of(self.cluster) {
                return Err(ClustersError::Damaged("the place of a cluster"));
            }
            into.push(Extent { host, guest, length: self.cluster as u32, compressed: false });
        }
        Ok(())
    }

    /// Bits of the offset, then sectors of 512 bytes beyond the first.
    fn compressed(&self, guest: u32, entry: u64) -> Result<Extent, ClustersError> {
        let bits = 62 - (self.cluster.trailing_zeros() - 8);
        let host = entry & ((1 << bits) - 1);
        let sectors = (entry & (COMPRESSED - 1)) >> bits;
        let length = (sectors + 1) * 512 - host % 512;
        if length > 2 * self.cluster {
            return Err(ClustersError::Damaged("the size of a compressed cluster"));
        }
        Ok(Extent { host, guest, length: length as u32, compressed: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The file that QEMU makes of a disk.
    fn convert(disk: &[u8], options: &[&str]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (raw, qcow2) = (dir.path().join("raw"), dir.path().join("qcow2"));
        std::fs::write(&raw, disk).unwrap();
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]).args(options).arg(raw).arg(&qcow2);
        assert!(convert.status().unwrap().success());
        std::fs::read(qcow2).unwrap()
    }

    fn read(file: &[u8]) -> (Clusters, Vec<Extent>) {
        let clusters = Clusters::read(file).unwrap();
        let part = |range: &Range<u64>| &file[range.start as usize..range.end as usize];
        let mut extents = Vec::new();
        for (first, table) in clusters.l2(part(&clusters.l1)).unwrap() {
            clusters.extents(first, part(&table), &mut extents).unwrap();
        }
        (clusters, extents)
    }

    #[test]
    fn clusters_are_where_qemu_has_put_them() {
        let mut disk: Vec<u8> =
            (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 9) as u8).collect();
        disk[300_000..1_000_000].fill(0);
        disk.resize(3_000_320, 0);
        for options in [&["-o", "cluster_size=4k"][..], &[], &["-o", "compat=0.10"]] {
            let file = convert(&disk, options);
            let (clusters, extents) = read(&file);
            assert_eq!(clusters.size as usize, disk.len());
            let mut found = vec![0; disk.len().next_multiple_of(clusters.cluster as usize)];
            for extent in extents {
                let (from, to) =
                    (extent.host as usize, (u64::from(extent.guest) * clusters.cluster) as usize);
                let length = extent.length as usize;
                let there = &file[from..(from + length).min(file.len())];
                found[to..to + there.len()].copy_from_slice(there);
            }
            assert!(found[..disk.len()] == disk, "{options:?}");
        }
    }

    #[test]
    fn compressed_clusters_are_known_by_their_extent() {
        let disk = vec![7; 1 << 20];
        let (clusters, extents) = read(&convert(&disk, &["-c", "-o", "compression_type=zstd"]));
        assert!(clusters.zstd && extents.len() == 16);
        assert!(extents.iter().all(|extent| extent.compressed && extent.length < 2048));
        assert!(!read(&convert(&disk, &["-c"])).0.zstd);
    }

    #[test]
    fn what_is_damaged_or_unknown_is_refused() {
        let whole = convert(&vec![7; 1 << 20], &[]);
        let changed = |at: usize, value: u8| {
            let mut file = whole.clone();
            file[at] = value;
            Clusters::read(&file)
        };
        assert!(matches!(changed(0, 0), Err(ClustersError::Foreign)));
        assert!(matches!(changed(79, 2), Err(ClustersError::Damaged(_))));
        assert!(matches!(changed(79, 16), Err(ClustersError::Unsupported(_))));
        assert!(matches!(changed(39, 0), Err(ClustersError::Damaged(_))));
        assert!(matches!(changed(24, 255), Err(ClustersError::Damaged(_) | ClustersError::Unsupported(_))));
        for length in 0..104 {
            assert!(Clusters::read(&whole[..length]).is_err(), "{length}");
        }
        let clusters = Clusters::read(&whole).unwrap();
        assert!(clusters.l2(&[0, 0, 0, 0, 0, 0, 2, 0]).is_err());
        assert!(clusters.extents(0, &[0, 0, 0, 0, 0, 0, 2, 0], &mut Vec::new()).is_err());
    }
}
