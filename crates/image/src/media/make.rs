//! Makes the medium.

use super::{COMMAND_LINE, NOTE};
use crate::iso::boot::{self, Content};
use crate::iso::{LayoutError, SECTOR};
use crate::uki::{Section, UkiError};
use crate::{fat, uki};

/// The two files of isolinux that start a kernel on a BIOS.
#[derive(Clone, Copy, Debug)]
pub struct Loader<'a> {
    /// `isolinux.bin`
    pub program: &'a [u8],
    /// `ldlinux.c32`
    pub module: &'a [u8],
}

/// What is on the medium. Kernel and ramdisk are there once: in the EFI program, whose sections are files of the CD too.
#[derive(Clone, Copy, Debug)]
pub struct Ramdisk<'a> {
    /// `linuxx64.efi.stub` of systemd.
    pub stub: &'a [u8],
    /// For BIOS.
    pub loader: Loader<'a>,
    /// `bzImage`
    pub kernel: &'a [u8],
    /// The initial ramdisk.
    pub initrd: &'a [u8],
    /// What the command line of every host begins with.
    pub command_line: &'a str,
}

/// Why there is no medium.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    /// The EFI program.
    #[error("the EFI program cannot be put together")]
    Uki(#[source] UkiError),
    /// The EFI file system.
    #[error("the EFI file system cannot be made")]
    Fat(#[source] fat::TooLarge),
    /// The CD.
    #[error("the CD cannot be laid out")]
    Layout(#[source] LayoutError),
    /// The command line is too long.
    #[error("a command line of {0} bytes is longer than {COMMAND_LINE}")]
    CommandLine(usize),
}

impl Ramdisk<'_> {
    /// The CD: ISO 9660, by El Torito for UEFI and BIOS.
    pub fn medium(&self) -> Result<Vec<u8>, MakeError> {
        let line = padded(self.command_line).ok_or(MakeError::CommandLine(self.command_line.len()))?;
        let sections = [(".cmdline", line.as_bytes()), (".linux", self.kernel), (".initrd", self.initrd)]
            .map(|(name, content)| Section { name, content });
        let program = uki::assemble(self.stub, &sections).map_err(MakeError::Uki)?;
        let (efi, at) = fat::boot_image(&program.bytes).map_err(MakeError::Fat)?;
        let piece = |section: usize| {
            let start = at + program.offsets[section];
            start..start + sections[section].content.len()
        };
        let before = "DEFAULT scute\nPROMPT 0\nLABEL scute\nLINUX /VMLINUZ\nINITRD /INITRD\nAPPEND ";
        let configuration = format!("{before}{line}\n");
        let files = [
            ("ISOLINUX.BIN", self.loader.program),
            ("LDLINUX.C32", self.loader.module),
            ("ISOLINUX.CFG", configuration.as_bytes()),
        ];
        let pieces = [("VMLINUZ.", piece(1)), ("INITRD.", piece(2))];
        let content = Content { volume: "SCUTE", files: &files, efi: &efi, pieces: &pieces };
        let mut medium = boot::medium(&content).map_err(MakeError::Layout)?;
        let note = format!("{NOTE} {} {}", medium.efi + piece(0).start, medium.files[2] + before.len());
        medium.bytes[boot::NOTE][..note.len()].copy_from_slice(note.as_bytes());
        debug_assert_eq!(medium.bytes.len() % SECTOR, 0);
        Ok(medium.bytes)
    }
}

/// With spaces behind it.
pub(super) fn padded(line: &str) -> Option<String> {
    (line.len() <= COMMAND_LINE).then(|| format!("{line:COMMAND_LINE$}"))
}
