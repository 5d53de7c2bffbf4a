//! Disk images for QEMU: what a file is and whether it may be a base ([`inspect`]), and qcow2 overlays ([`create_overlay`]).

mod inspect;
mod overlay;

pub use inspect::{Base, Format, InspectError, inspect};
pub use overlay::{OverlayError, create_overlay};

/// First bytes of a qcow2 file.
const MAGIC: [u8; 4] = *b"QFI\xfb";
