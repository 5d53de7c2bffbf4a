//! Which blob of an image in a registry is the disk:
//! <https://github.com/opencontainers/image-spec/blob/main/manifest.md>. Pure.

use scute_image::oci::Digest;
use serde::Deserialize;

/// What is asked for: one image, or a list of them for several machines.
pub const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";
/// Machines that the ramdisk runs on.
const ARCHITECTURE: &str = "amd64";
/// How many entries a message names.
const NAMED: usize = 5;

/// Why an image in a registry is no disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Another document.
    #[error("is no manifest of an image: {0}")]
    Form(String),
    /// Several machines.
    #[error("is for several machines, and {0} of its images are for {ARCHITECTURE}: name one by its digest")]
    Architecture(usize),
    /// File systems.
    #[error(
        "has no layer that is a disk image, only {0}: push the file of the image itself, as oras push does"
    )]
    Files(String),
    /// A disk is one file.
    #[error("has {0} layers, and a disk image is one")]
    Layers(usize),
    /// Lists in lists.
    #[error("is a list of lists")]
    Nested,
    /// Other digests.
    #[error("has a digest that is neither sha256 nor sha512: {0:?}")]
    Digest(String),
}

/// A blob, or another manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

/// What a document leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// The manifest for these machines, out of a list.
    List(Descriptor),
    /// The disk image.
    Disk(Descriptor),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    manifests: Vec<Entry>,
    #[serde(default)]
    layers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
}

/// Reads a manifest, or a list of them.
///
/// # Errors
/// When it leads to no disk image.
pub fn read_manifest(bytes: &[u8]) -> Result<Document, ManifestError> {
    let document: Written =
        serde_json::from_slice(bytes).map_err(|error| ManifestError::Form(error.to_string()))?;
    if !document.manifests.is_empty() {
        let ours = |entry: &&Entry| {
            entry.platform.as_ref().is_none_or(|platform| platform.architecture == ARCHITECTURE)
        };
        let ours: Vec<_> = document.manifests.iter().filter(ours).collect();
        return match ours.as_slice() {
            [one] => Ok(Document::List(one.descriptor()?)),
            many => Err(ManifestError::Architecture(many.len())),
        };
    }
    let is_disk = |entry: &&Entry| !entry.media_type.split(['.', '+']).any(|word| word == "tar");
    let disks: Vec<_> = document.layers.iter().filter(is_disk).collect();
    match disks.as_slice() {
        [one] => Ok(Document::Disk(one.descriptor()?)),
        [] if document.layers.is_empty() => Err(ManifestError::Layers(0)),
        [] => {
            let types = document.layers.iter().take(NAMED).map(|layer| layer.media_type.as_str());
            Err(ManifestError::Files(types.collect::<Vec<_>>().join(", ")))
        }
        many => Err(ManifestError::Layers(many.len())),
    }
}

impl Entry {
    fn descriptor(&self) -> Result<Descriptor, ManifestError> {
        let digest = Digest::parse(&self.digest).ok_or_else(|| ManifestError::Digest(self.digest.clone()))?;
        Ok(Descriptor { digest, size: self.size })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(document: &Value) -> Result<Document, ManifestError> {
        read_manifest(document.to_string().as_bytes())
    }

    fn entry(media_type: &str, digit: &str, architecture: Option<&str>) -> Value {
        let platform = architecture.map(|architecture| json!({"architecture": architecture, "os": "linux"}));
        json!({"mediaType": media_type, "digest": format!("sha256:{}", digit.repeat(64)), "size": 7, "platform": platform})
    }

    fn descriptor(digit: &str) -> Descriptor {
        Descriptor { digest: Digest::parse(&format!("sha256:{}", digit.repeat(64))).unwrap(), size: 7 }
    }

    #[test]
    fn the_one_layer_is_the_disk_and_of_a_list_the_one_for_this_machine() {
        let raw = "application/octet-stream";
        assert_eq!(of(&json!({"layers": [entry(raw, "a", None)]})), Ok(Document::Disk(descriptor("a"))));
        let tar = "application/vnd.oci.image.layer.v1.tar+gzip";
        let mixed = json!({"layers": [entry(tar, "a", None), entry("application/vnd.example.disk.qcow2", "b", None)]});
        assert_eq!(of(&mixed), Ok(Document::Disk(descriptor("b"))));
        let list = json!({"manifests": [entry("m", "a", Some("arm64")), entry("m", "b", Some("amd64")),
            entry("m", "c", Some("unknown"))]});
        assert_eq!(of(&list), Ok(Document::List(descriptor("b"))));
    }

    #[test]
    fn what_leads_to_no_disk_says_why() {
        let raw = "application/octet-stream";
        for (document, words) in [
            (json!({"layers": [entry(raw, "a", None), entry(raw, "b", None)]}), "has 2 layers"),
            (json!({"layers": []}), "has 0 layers"),
            (
                json!({"layers": [entry("application/vnd.docker.image.rootfs.diff.tar.gzip", "a", None)]}),
                "oras push",
            ),
            (json!({"manifests": [entry("m", "a", Some("arm64"))]}), "0 of its images are for amd64"),
            (
                json!({"manifests": [entry("m", "a", None), entry("m", "b", Some("amd64"))]}),
                "2 of its images",
            ),
            (json!({"layers": [{"digest": "md5:abc", "size": 1}]}), "neither sha256"),
            (json!({"layers": 1}), "is no manifest"),
        ] {
            let why = of(&document).unwrap_err().to_string();
            assert!(why.contains(words), "{why}");
        }
        assert!(read_manifest(b"<html>").is_err());
    }
}
