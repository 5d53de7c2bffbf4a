//! Disk images in OCI registries: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

mod challenge;
mod manifest;
mod registry;

use scute_image::oci::{Digest, Sha};

use crate::protocol::{Algorithm, Checksum};

pub use manifest::{ACCEPT, Descriptor, Document, ManifestError, read_manifest};
pub use registry::{Registry, RegistryError};

impl From<Digest> for Checksum {
    fn from(Digest { algorithm, value }: Digest) -> Self {
        let algorithm = match algorithm {
            Sha::Sha256 => Algorithm::Sha256,
            Sha::Sha512 => Algorithm::Sha512,
        };
        Self { algorithm, value }
    }
}
