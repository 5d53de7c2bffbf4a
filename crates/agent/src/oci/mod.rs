//! Disk images in OCI registries: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

mod challenge;
mod manifest;
mod registry;

use std::fmt;

use crate::protocol::{Algorithm, Checksum};

pub use manifest::{ACCEPT, Descriptor, Document, ManifestError, read_manifest};
pub use registry::{Registry, RegistryError};

/// By TLS, as upstream has it.
const SECURE: &str = "oci://";
/// Without TLS.
const PLAIN: &str = "oci+http://";
/// What is there when nothing else is named.
const LATEST: &str = "latest";
/// Docker's own registry has two names.
const DOCKER: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// `oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Whether the registry is asked by TLS.
    pub secure: bool,
    /// Host and port, as they were written.
    pub registry: String,
    /// Path of the repository.
    pub repository: String,
    /// Which of its images.
    pub version: Version,
}

/// Which image of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that has this name now.
    Tag(String),
    /// The one with this digest, for ever.
    Digest(Checksum),
}

/// A text that names no image in a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]: {1}")]
pub struct ReferenceError(String, &'static str);

impl Reference {
    /// Whether a URL is one of these at all.
    #[must_use]
    pub fn is(url: &str) -> bool {
        url.starts_with(SECURE) || url.starts_with(PLAIN)
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(url: &str) -> Result<Self, ReferenceError> {
        let wrong = |what| ReferenceError(url.to_owned(), what);
        let secure = url.starts_with(SECURE);
        let rest = url.strip_prefix(SECURE).or_else(|| url.strip_prefix(PLAIN));
        let (registry, path) =
            rest.and_then(|rest| rest.split_once('/')).ok_or_else(|| wrong("there is no repository"))?;
        let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if registry.is_empty() || !registry.bytes().all(host) {
            return Err(wrong("the registry must be a host, with a port or without"));
        }
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) => {
                let digest = self::digest(digest);
                (
                    path,
                    Some(
                        digest
                            .ok_or_else(|| wrong("the digest must be sha256: or sha512: with its digits"))?,
                    ),
                )
            }
            None => (path, None),
        };
        let (repository, tag) = path.split_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
        let part = |part: &str| {
            let byte =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            part.bytes().all(byte) && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        if !repository.split('/').all(part) {
            return Err(wrong("a repository has small letters, digits, dots, dashes and underscores"));
        }
        let named = |tag: &str| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            (1..=128).contains(&tag.len()) && tag.bytes().all(byte)
        };
        if tag.is_some_and(|tag| !named(tag)) {
            return Err(wrong("a tag has letters, digits, dots, dashes and underscores, 128 at most"));
        }
        let repository = match (registry == DOCKER.0, repository.contains('/')) {
            (true, false) => format!("library/{repository}"),
            _ => repository.to_owned(),
        };
        let version = digest.map_or_else(|| Version::Tag(tag.unwrap_or(LATEST).to_owned()), Version::Digest);
        Ok(Self { secure, registry: registry.to_owned(), repository, version })
    }

    /// Where a manifest is.
    #[must_use]
    pub fn manifest(&self, version: &Version) -> String {
        self.at(&format!("manifests/{version}"))
    }

    /// Where a blob is.
    #[must_use]
    pub fn blob(&self, digest: &Checksum) -> String {
        self.at(&format!("blobs/{}", text(digest)))
    }

    /// Where something of the repository is.
    fn at(&self, what: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let host = if self.registry == DOCKER.0 { DOCKER.1 } else { &self.registry };
        format!("{scheme}://{host}/v2/{}/{what}", self.repository)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => f.write_str(&text(digest)),
        }
    }
}

/// `sha256:…`
fn text(digest: &Checksum) -> String {
    let algorithm = match digest.algorithm {
        Algorithm::Md5 => "md5",
        Algorithm::Sha256 => "sha256",
        Algorithm::Sha512 => "sha512",
    };
    format!("{algorithm}:{}", digest.value)
}

/// Reads `sha256:…`.
fn digest(text: &str) -> Option<Checksum> {
    let (algorithm, value) = text.split_once(':')?;
    let (algorithm, digits) = match algorithm {
        "sha256" => (Algorithm::Sha256, 64),
        "sha512" => (Algorithm::Sha512, 128),
        _ => return None,
    };
    let right = value.len() == digits && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    right.then(|| Checksum { algorithm, value: value.to_ascii_lowercase() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_taken_apart() {
        let sha = format!("sha256:{}", "a".repeat(64));
        for (url, manifest) in [
            ("oci://registry.example/node", "https://registry.example/v2/node/manifests/latest".to_owned()),
            ("oci+http://[fd00::1]:5000/a/b:v1.2", "http://[fd00::1]:5000/v2/a/b/manifests/v1.2".to_owned()),
            (
                "oci://docker.io/debian",
                "https://registry-1.docker.io/v2/library/debian/manifests/latest".to_owned(),
            ),
            ("oci://docker.io/me/node:1", "https://registry-1.docker.io/v2/me/node/manifests/1".to_owned()),
            (&format!("oci://r:443/a/b:v1@{sha}"), format!("https://r:443/v2/a/b/manifests/{sha}")),
        ] {
            let reference = Reference::parse(url).unwrap();
            assert_eq!(reference.manifest(&reference.version), manifest);
        }
        for bad in [
            "oci://",
            "oci://registry.example",
            "oci:///node",
            "oci://registry.example/",
            "oci://registry.example/Node",
            "oci://registry.example/a//b",
            "oci://registry.example/../secrets",
            "oci://user:password@registry.example/node",
            "oci://registry.example/node:",
            "oci://registry.example/node:a/b",
            "oci://registry.example/node@sha256:abc",
            "oci://registry.example/node?x=y",
            "https://registry.example/node",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad}");
        }
    }
}
