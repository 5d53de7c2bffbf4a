//! Disk images for QEMU: what a file is and whether it may be a base ([`inspect`]), qcow2 overlays
//! ([`create_overlay`]), and where in a qcow2 file the disk's clusters are ([`Clusters`]).

mod clusters;
mod inspect;
mod overlay;

pub use clusters::{Clusters, ClustersError, Extent};
pub use inspect::{Base, Format, InspectError, inspect};
pub use overlay::{OverlayError, create_overlay};

/// First bytes of a qcow2 file.
const MAGIC: [u8; 4] = *b"QFI\xfb";
