//! A bootable ISO 9660 image by El Torito: <https://pdos.csail.mit.edu/6.828/2014/readings/boot-cdrom.pdf>.
//!
//! Layout in sectors: 16 descriptor, 17 boot record, 18 terminator, 19 and 20 path tables, 21 the only directory,
//! 22 boot catalog, then the files, at last the EFI file system, which goes on to the end of the medium.

use std::ops::Range;

use super::{LayoutError, SECTOR, Tree, both16, both32, record, text};

const PATH_TABLE: usize = 19;
const DIRECTORY: usize = 21;
const CATALOG: usize = 22;
const FIRST_FILE: usize = 23;
/// Where the descriptor has room for whoever made the image, and how much.
pub(crate) const NOTE: Range<usize> = 16 * SECTOR + 883..16 * SECTOR + 883 + 512;

const X86: u8 = 0;
const EFI: u8 = 0xef;
/// Sectors of 512 bytes that a BIOS loads of the boot program: it loads the rest itself.
const LOADED: u16 = 4;

/// What is on the medium.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content<'a> {
    pub volume: &'a str,
    /// Names of 8.3 in capitals.
    pub files: &'a [(&'a str, &'a [u8])],
    /// A FAT file system.
    pub efi: &'a [u8],
    /// Pieces of the file system that are files of the medium too; they begin with a sector.
    pub pieces: &'a [(&'a str, Range<usize>)],
}

/// A medium, and where its parts are.
#[derive(Debug)]
pub(crate) struct Medium {
    pub bytes: Vec<u8>,
    /// Offsets of the files.
    pub files: Vec<usize>,
    /// Offset of the EFI file system.
    pub efi: usize,
}

/// The medium; a BIOS starts the first of the files, which wants isolinux' table.
pub(crate) fn medium(content: &Content<'_>) -> Result<Medium, LayoutError> {
    let mut at = FIRST_FILE;
    let mut files = Vec::new();
    for (_, bytes) in content.files {
        files.push(at * SECTOR);
        at += bytes.len().div_ceil(SECTOR);
    }
    let efi = at * SECTOR;
    let mut bytes = vec![0; efi + content.efi.len().next_multiple_of(SECTOR)];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    let end = at + content.efi.len().div_ceil(SECTOR);
    put(16 * SECTOR, &descriptor(content.volume, end));
    put(17 * SECTOR, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17 * SECTOR + 71, &(CATALOG as u32).to_le_bytes());
    put(18 * SECTOR, b"\xffCD001\x01");
    put(PATH_TABLE * SECTOR, &[1, 0, DIRECTORY as u8, 0, 0, 0, 1, 0, 0, 0]);
    put((PATH_TABLE + 1) * SECTOR, &[1, 0, 0, 0, 0, DIRECTORY as u8, 0, 1, 0, 0]);
    put(DIRECTORY * SECTOR, &directory(content, &files, efi)?);
    put(CATALOG * SECTOR, &catalog(files[0], efi));
    for ((_, content), at) in content.files.iter().zip(&files) {
        put(*at, content);
    }
    put(efi, content.efi);
    if let Some((_, program)) = content.files.first() {
        put(files[0] + 8, &boot_information(program, files[0]));
    }
    Ok(Medium { bytes, files, efi })
}

fn descriptor(volume: &str, end: usize) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(0, b"\x01CD001\x01");
    put(8, &text(Tree::Primary, "", 32));
    put(40, &text(Tree::Primary, volume, 32));
    put(80, &both32(end));
    put(120, &both16(1));
    put(124, &both16(1));
    put(128, &both16(SECTOR));
    put(132, &both32(10));
    put(140, &(PATH_TABLE as u32).to_le_bytes());
    put(148, &(PATH_TABLE as u32 + 1).to_be_bytes());
    put(156, &record(&[0], DIRECTORY, SECTOR, true, &[]));
    put(190, &text(Tree::Primary, "", 813 - 190));
    for at in [813, 830, 847, 864] {
        put(at, b"0000000000000000\0");
    }
    put(881, &[1]);
    bytes
}

fn directory(content: &Content<'_>, files: &[usize], efi: usize) -> Result<Vec<u8>, LayoutError> {
    let whole = content.files.iter().zip(files).map(|((name, bytes), at)| (*name, *at, bytes.len()));
    let pieces = content.pieces.iter().map(|(name, piece)| (*name, efi + piece.start, piece.len()));
    let mut entries: Vec<(String, usize, usize)> =
        whole.chain(pieces).map(|(name, at, length)| (format!("{name};1"), at, length)).collect();
    entries.sort();
    let mut bytes = record(&[0], DIRECTORY, SECTOR, true, &[]);
    bytes.extend(record(&[1], DIRECTORY, SECTOR, true, &[]));
    for (name, at, length) in entries {
        if at % SECTOR != 0 {
            return Err(LayoutError::Name(name));
        }
        bytes.extend(record(name.as_bytes(), at / SECTOR, length, false, &[]));
    }
    if bytes.len() > SECTOR { Err(LayoutError::Entries) } else { Ok(bytes) }
}

/// Two ways to start: BIOS first, as the format wants it, EFI in a section of its own.
fn catalog(bios: usize, efi: usize) -> Vec<u8> {
    let mut validation = [0; 32];
    validation[0] = 1;
    validation[1] = X86;
    validation[30..].copy_from_slice(&[0x55, 0xaa]);
    let sum =
        validation.chunks(2).fold(0_u16, |sum, two| sum.wrapping_add(u16::from_le_bytes([two[0], two[1]])));
    validation[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    let entry = |sectors: u16, at: usize| {
        let mut entry = [0; 32];
        // Bootable, no emulation.
        entry[0] = 0x88;
        entry[6..8].copy_from_slice(&sectors.to_le_bytes());
        entry[8..12].copy_from_slice(&((at / SECTOR) as u32).to_le_bytes());
        entry
    };
    let mut section = [0; 32];
    // The last section, with one entry.
    section[..4].copy_from_slice(&[0x91, EFI, 1, 0]);
    // No size: the file system may be larger than the field can say, and then it goes to the end of the medium.
    [validation, entry(LOADED, bios), section, entry(0, efi)].concat()
}

/// Tells isolinux where it lies.
fn boot_information(program: &[u8], at: usize) -> Vec<u8> {
    let words = program.get(64..).unwrap_or_default().chunks(4).map(|four| {
        let mut word = [0; 4];
        word[..four.len()].copy_from_slice(four);
        u32::from_le_bytes(word)
    });
    let sum = words.fold(0, u32::wrapping_add);
    let fields = [16, (at / SECTOR) as u32, program.len() as u32, sum];
    let mut bytes: Vec<u8> = fields.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.resize(56, 0);
    bytes
}
