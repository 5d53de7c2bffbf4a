//! Writes an empty qcow2 version 3 overlay: header, one refcount table and block, an L1 table of zeros.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{Format, MAGIC};

/// Why an overlay was not made.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The file cannot be written.
    #[error("cannot write the overlay {path}")]
    Write {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The base's path is longer than the format can hold.
    #[error("the base's path is longer than 1023 bytes")]
    LongBase,
    /// The disk is larger than one refcount block can describe the L1 table of.
    #[error("a disk of {0} bytes is too large")]
    Large(u64),
}

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// One L2 table has 8-byte entries of one cluster each.
const L2_COVERS: u64 = CLUSTER / 8 * CLUSTER;
/// Refcounts have 16 bits, so one block describes this many clusters.
const REFCOUNTS: u64 = CLUSTER / 2;
const HEADER_LENGTH: u32 = 104;
const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
const NAME_LIMIT: usize = 1023;

/// Creates `path` (truncating what was there) as an overlay of `size_bytes` over `base`.
///
/// Layout, one cluster each unless said otherwise: header, refcount table, refcount block, L1 table (as many as needed).
pub fn create_overlay(path: &Path, size_bytes: u64, base: &Path, format: Format) -> Result<(), OverlayError> {
    let name = base.to_string_lossy();
    if name.len() > NAME_LIMIT {
        return Err(OverlayError::LongBase);
    }
    let l1_entries = size_bytes.div_ceil(L2_COVERS);
    let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER).max(1);
    let used = 3 + l1_clusters;
    let (Ok(l1_entries), true) = (u32::try_from(l1_entries), used <= REFCOUNTS) else {
        return Err(OverlayError::Large(size_bytes));
    };
    let refcounts: Vec<u8> = (0..used).flat_map(|_| 1_u16.to_be_bytes()).collect();
    let write = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.set_len(used * CLUSTER)?;
        file.write_all_at(&header(size_bytes, l1_entries, name.as_bytes(), format), 0)?;
        file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
        file.write_all_at(&refcounts, 2 * CLUSTER)
    };
    write().map_err(|source| OverlayError::Write { path: path.display().to_string(), source })
}

/// The header cluster: fields in the order of the specification, one extension, the backing file's name.
fn header(size_bytes: u64, l1_entries: u32, base: &[u8], format: Format) -> Vec<u8> {
    let format: &[u8] = match format {
        Format::Raw => b"raw",
        Format::Qcow2 => b"qcow2",
    };
    let mut extension = Vec::new();
    extension.extend(EXTENSION_BACKING_FORMAT.to_be_bytes());
    extension.extend((format.len() as u32).to_be_bytes());
    extension.extend(format);
    extension.resize(extension.len().next_multiple_of(8), 0);
    extension.extend([0; 8]);

    let name_at = u64::from(HEADER_LENGTH) + extension.len() as u64;
    let mut header = Vec::with_capacity(512);
    header.extend(MAGIC);
    header.extend(3_u32.to_be_bytes());
    header.extend(name_at.to_be_bytes());
    header.extend((base.len() as u32).to_be_bytes());
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(size_bytes.to_be_bytes());
    header.extend(0_u32.to_be_bytes()); // no encryption
    header.extend(l1_entries.to_be_bytes());
    header.extend((3 * CLUSTER).to_be_bytes()); // L1 table
    header.extend(CLUSTER.to_be_bytes()); // refcount table
    header.extend(1_u32.to_be_bytes()); // refcount table clusters
    header.extend(0_u32.to_be_bytes()); // snapshots
    header.extend(0_u64.to_be_bytes()); // snapshot table
    header.extend([0; 24]); // incompatible, compatible, auto-clear features
    header.extend(4_u32.to_be_bytes()); // refcounts of 2^4 bits
    header.extend(HEADER_LENGTH.to_be_bytes());
    header.extend(extension);
    header.extend(base);
    header
}
