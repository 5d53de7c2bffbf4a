//! Where the image is, and what its digest is: as the metal room says, or as a registry does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use scute_image::oci::{Reference, ReferenceError, Version};
use tokio::time::timeout;

use super::digest::{Digest, Mismatch};
use super::fetch::{FetchError, Place, Source};
use crate::http::{Client, Url, UrlError};
use crate::oci::{ACCEPT, Descriptor, Document, ManifestError, Registry, read_manifest};
use crate::protocol::{Checksum, Write};

/// For all of a manifest.
const LIMIT: Duration = Duration::from_secs(60);
/// Registries take manifests of four megabytes.
const LONGEST: usize = 4 << 20;
/// A manifest that breaks off is read again, so often.
const TRIES: usize = 3;
/// First bytes of a qcow2 file.
const QCOW2: &[u8] = b"QFI\xfb";

/// Why the image is not found.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The URL.
    #[error("{0}")]
    Url(#[from] UrlError),
    /// The URL.
    #[error("{0}")]
    Reference(#[from] ReferenceError),
    /// A fault of the metal room.
    #[error("the image has no checksum")]
    NoChecksum,
    /// The registry.
    #[error("{0}")]
    Fetch(#[from] FetchError),
    /// The registry.
    #[error("the manifest at {0} does not come whole")]
    Broken(String),
    /// Another manifest.
    #[error("the manifest at {0} is another one: {1}")]
    Digest(String, #[source] Mismatch),
    /// No disk.
    #[error("{0} {1}")]
    Manifest(String, #[source] ManifestError),
}

/// Where the image's file is, and its digest.
pub async fn find(client: &Client, write: &Write) -> Result<(Place, Checksum), ImageError> {
    if !Reference::is(&write.url) {
        let checksum = write.checksum.clone().ok_or(ImageError::NoChecksum)?;
        return Ok((Place::open(Url::parse(&write.url)?), checksum));
    }
    let reference = Reference::parse(&write.url)?;
    let registry = Arc::new(Registry::new(&reference, write.login.clone())?);
    let named = |error| ImageError::Manifest(write.url.clone(), error);
    let mut version = reference.version.clone();
    // A list leads to a manifest, and that to the disk.
    for _ in 0..2 {
        let manifest = manifest(client, &reference, &registry, &version).await?;
        match read_manifest(&manifest).map_err(named)? {
            Document::List(Descriptor { digest, .. }) => version = Version::Digest(digest),
            Document::Disk(Descriptor { digest, .. }) => {
                let url = Url::parse(&reference.blob(&digest))?;
                return Ok((Place { url, accept: None, registry: Some(registry) }, digest.into()));
            }
        }
    }
    Err(named(ManifestError::Nested))
}

async fn manifest(
    client: &Client,
    reference: &Reference,
    registry: &Arc<Registry>,
    version: &Version,
) -> Result<Bytes, ImageError> {
    let url = Url::parse(&reference.manifest(version))?;
    let place = Place { url: url.clone(), accept: Some(ACCEPT), registry: Some(Arc::clone(registry)) };
    for _ in 0..TRIES {
        let (_, body) = Source::open(client.clone(), place.clone()).await?;
        let Ok(Ok(whole)) = timeout(LIMIT, Limited::new(body, LONGEST).collect()).await else { continue };
        let bytes = whole.to_bytes();
        if let Version::Digest(wanted) = version {
            let wanted = Checksum::from(wanted.clone());
            let mut digest = Digest::new(wanted.algorithm);
            digest.update(&bytes);
            digest.verify(&wanted).map_err(|error| ImageError::Digest(url.to_string(), error))?;
        }
        return Ok(bytes);
    }
    Err(ImageError::Broken(url.to_string()))
}

/// Whether a file is one, by its first bytes. A server that knows no ranges does not say; then it is raw, or told later.
pub async fn is_qcow2(source: &Source) -> Result<bool, FetchError> {
    if source.length.is_some_and(|length| length < QCOW2.len() as u64) {
        return Ok(false);
    }
    match source.part(0..QCOW2.len() as u64).await {
        Ok(start) => Ok(start == QCOW2),
        Err(FetchError::NoRanges(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
