//! Looks at a disk image that someone else made, and refuses one that reaches for other files.

use std::io::{self, Read, Seek, SeekFrom};

use super::MAGIC;

/// What an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes.
    Raw,
    /// qcow2, version 2 or 3.
    Qcow2,
}

/// An image that may be a base: it is complete in itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// What it is.
    pub format: Format,
    /// Size of the disk in bytes.
    pub size_bytes: u64,
}

/// Why an image is refused.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The file cannot be read.
    #[error("cannot read the image")]
    Read(#[source] io::Error),
    /// The image is empty.
    #[error("the image is empty")]
    Empty,
    /// The header is cut off or contradicts itself.
    #[error("the qcow2 header is damaged: {0}")]
    Damaged(&'static str),
    /// A version of qcow2 that we do not know.
    #[error("qcow2 version {0} is not supported")]
    Version(u32),
    /// The image names another file as its backing file.
    #[error("the image names {0:?} as its backing file; a disk image must be complete in itself")]
    BackingFile(String),
    /// The image keeps its data in another file.
    #[error("the image keeps its data in an external file; a disk image must be complete in itself")]
    DataFile,
    /// The image is encrypted.
    #[error("the image is encrypted")]
    Encrypted,
    /// The image needs a feature that we do not know.
    #[error("the qcow2 image needs unknown features {0:#x}")]
    Features(u64),
}

const V2_HEADER: usize = 72;
const V3_HEADER: usize = 104;

/// Dirty and corrupt bits, compression type, extended L2 entries: all harmless for a base that is only read.
const KNOWN_FEATURES: u64 = 0b1_1011;
const EXTERNAL_DATA: u64 = 0b0_0100;

const EXTENSION_END: u32 = 0;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_ENCRYPTION: u32 = 0x0537_be77;

/// Bounds the walk over header extensions; QEMU keeps them in the first cluster, 2 MiB at most.
const EXTENSIONS_LIMIT: u64 = 2 * 1024 * 1024;

/// Says what `image` is. Only the header is read, and nothing that it names is opened.
pub fn inspect<R: Read + Seek>(image: &mut R) -> Result<Base, InspectError> {
    let length = image.seek(SeekFrom::End(0)).map_err(InspectError::Read)?;
    image.rewind().map_err(InspectError::Read)?;
    if length == 0 {
        return Err(InspectError::Empty);
    }
    let mut header = Vec::new();
    image.take(V3_HEADER as u64).read_to_end(&mut header).map_err(InspectError::Read)?;
    if !header.starts_with(&MAGIC) {
        return Ok(Base { format: Format::Raw, size_bytes: length });
    }
    if header.len() < V2_HEADER {
        return Err(InspectError::Damaged("cut off"));
    }
    let header_length = match be32(&header, 4) {
        2 => V2_HEADER as u64,
        3 => check_v3(&header)?,
        other => return Err(InspectError::Version(other)),
    };
    let backing = (be64(&header, 8), be32(&header, 16));
    if backing.0 != 0 || backing.1 != 0 {
        return Err(InspectError::BackingFile(name_at(image, backing)));
    }
    if be32(&header, 32) != 0 {
        return Err(InspectError::Encrypted);
    }
    let cluster_bits = be32(&header, 20);
    if !(9..=21).contains(&cluster_bits) {
        return Err(InspectError::Damaged("cluster size"));
    }
    extensions(image, header_length, 1 << cluster_bits)?;
    match be64(&header, 24) {
        0 => Err(InspectError::Empty),
        size_bytes => Ok(Base { format: Format::Qcow2, size_bytes }),
    }
}

fn check_v3(header: &[u8]) -> Result<u64, InspectError> {
    if header.len() < V3_HEADER {
        return Err(InspectError::Damaged("cut off"));
    }
    let incompatible = be64(header, 72);
    if incompatible & EXTERNAL_DATA != 0 {
        return Err(InspectError::DataFile);
    }
    if incompatible & !KNOWN_FEATURES != 0 {
        return Err(InspectError::Features(incompatible & !KNOWN_FEATURES));
    }
    match be32(header, 100) {
        length if length as usize >= V3_HEADER && length % 8 == 0 => Ok(length.into()),
        _ => Err(InspectError::Damaged("header length")),
    }
}

/// Walks the header extensions. A data file's name without the feature bit is refused too: someone meant it.
fn extensions<R: Read + Seek>(image: &mut R, start: u64, cluster: u64) -> Result<(), InspectError> {
    let mut at = start;
    while at + 8 <= cluster.min(EXTENSIONS_LIMIT) {
        let mut head = [0; 8];
        image.seek(SeekFrom::Start(at)).map_err(InspectError::Read)?;
        match image.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(InspectError::Read(error)),
        }
        match be32(&head, 0) {
            EXTENSION_END => return Ok(()),
            EXTENSION_DATA_FILE => return Err(InspectError::DataFile),
            EXTENSION_ENCRYPTION => return Err(InspectError::Encrypted),
            _ => at += 8 + u64::from(be32(&head, 4)).next_multiple_of(8),
        }
    }
    Ok(())
}

/// The backing file's name for the message, cut to what a person can use.
fn name_at<R: Read + Seek>(image: &mut R, (offset, length): (u64, u32)) -> String {
    let mut name = Vec::new();
    let read = image
        .seek(SeekFrom::Start(offset))
        .and_then(|_| image.take(u64::from(length).min(1023)).read_to_end(&mut name));
    if read.is_err() { String::new() } else { String::from_utf8_lossy(&name).into_owned() }
}

pub(super) fn be32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

pub(super) fn be64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// A qcow2 v3 header with one change.
    fn image(change: impl FnOnce(&mut Vec<u8>)) -> Result<Base, InspectError> {
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[7] = 3;
        bytes[23] = 16;
        bytes[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
        bytes[103] = V3_HEADER as u8;
        change(&mut bytes);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        inspect(&mut file)
    }

    #[test]
    fn complete_images_pass() {
        assert_eq!(image(|_| ()).unwrap(), Base { format: Format::Qcow2, size_bytes: 1 << 30 });
        let raw = image(|bytes| bytes[0] = 0).unwrap();
        assert_eq!(raw, Base { format: Format::Raw, size_bytes: 4096 });
    }

    #[test]
    fn a_backing_file_is_refused_by_name() {
        let error = image(|bytes| {
            bytes[8..16].copy_from_slice(&512_u64.to_be_bytes());
            bytes[16..20].copy_from_slice(&11_u32.to_be_bytes());
            bytes[512..523].copy_from_slice(b"/etc/shadow");
        });
        assert!(error.unwrap_err().to_string().contains("/etc/shadow"));
    }

    #[test]
    fn external_data_is_refused_by_bit_and_by_extension() {
        assert!(matches!(image(|bytes| bytes[79] = 4), Err(InspectError::DataFile)));
        let hidden = image(|bytes| {
            // An unknown extension of 5 bytes, padded to 8, and behind it the name of a data file.
            bytes[104..112].copy_from_slice(&[1, 2, 3, 4, 0, 0, 0, 5]);
            bytes[120..124].copy_from_slice(b"DATA");
        });
        assert!(matches!(hidden, Err(InspectError::DataFile)));
    }

    #[test]
    fn damaged_and_foreign_headers_are_refused() {
        assert!(matches!(image(|bytes| bytes.truncate(50)), Err(InspectError::Damaged(_))));
        assert!(matches!(image(|bytes| bytes.truncate(90)), Err(InspectError::Damaged(_))));
        assert!(matches!(image(|bytes| bytes.clear()), Err(InspectError::Empty)));
        assert!(matches!(image(|bytes| bytes[7] = 9), Err(InspectError::Version(9))));
        assert!(matches!(image(|bytes| bytes[74] = 1), Err(InspectError::Features(_))));
        assert!(matches!(image(|bytes| bytes[35] = 2), Err(InspectError::Encrypted)));
        assert!(matches!(image(|bytes| bytes[23] = 60), Err(InspectError::Damaged(_))));
        assert!(matches!(image(|bytes| bytes[103] = 101), Err(InspectError::Damaged(_))));
        assert!(matches!(image(|bytes| bytes[24..32].fill(0)), Err(InspectError::Empty)));
    }

    #[test]
    fn an_extension_that_claims_gigabytes_ends_the_walk() {
        let huge = image(|bytes| bytes[104..112].copy_from_slice(&[1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff]));
        assert!(huge.is_ok());
    }
}
