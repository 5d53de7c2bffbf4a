//! Names of disk images in OCI registries: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md>.

use std::fmt;

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
    Digest(Digest),
}

/// A digest as registries write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Which.
    pub algorithm: Sha,
    /// Hexadecimal, in small letters.
    pub value: String,
}

/// The digests that registries know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sha {
    /// 64 hexadecimal digits.
    Sha256,
    /// 128 hexadecimal digits.
    Sha512,
}

/// Why a text names no image in a registry. The text is not repeated: there may be a password in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]: {0}")]
pub struct ReferenceError(&'static str);

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
        let secure = url.starts_with(SECURE);
        let rest = url.strip_prefix(SECURE).or_else(|| url.strip_prefix(PLAIN));
        let (registry, path) =
            rest.and_then(|rest| rest.split_once('/')).ok_or(ReferenceError("there is no repository"))?;
        let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if registry.is_empty() || !registry.bytes().all(host) {
            return Err(ReferenceError("the registry must be a host, with a port or without"));
        }
        let (path, digest) = path.split_once('@').map_or((path, None), |(path, digest)| (path, Some(digest)));
        let wrong =
            ReferenceError("the digest must be sha256: with 64 or sha512: with 128 hexadecimal digits");
        let digest = digest.map(|digest| Digest::parse(digest).ok_or(wrong)).transpose()?;
        let (repository, tag) = path.split_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
        let part = |part: &str| {
            let byte =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            part.bytes().all(byte) && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        };
        if !repository.split('/').all(part) {
            return Err(ReferenceError(
                "a repository has small letters, digits, dots, dashes and underscores",
            ));
        }
        let named = |tag: &str| {
            let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            (1..=128).contains(&tag.len()) && tag.bytes().all(byte)
        };
        if tag.is_some_and(|tag| !named(tag)) {
            return Err(ReferenceError(
                "a tag has letters, digits, dots, dashes and underscores, 128 at most",
            ));
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
    pub fn blob(&self, digest: &Digest) -> String {
        self.at(&format!("blobs/{digest}"))
    }

    /// Where something of the repository is.
    #[must_use]
    pub fn at(&self, what: &str) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        let host = if self.registry == DOCKER.0 { DOCKER.1 } else { &self.registry };
        format!("{scheme}://{host}/v2/{}/{what}", self.repository)
    }
}

impl Digest {
    /// Reads `sha256:…`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, value) = text.split_once(':')?;
        let (algorithm, digits) = match algorithm {
            "sha256" => (Sha::Sha256, 64),
            "sha512" => (Sha::Sha512, 128),
            _ => return None,
        };
        let right = value.len() == digits && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        right.then(|| Self { algorithm, value: value.to_ascii_lowercase() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self.algorithm {
            Sha::Sha256 => "sha256",
            Sha::Sha512 => "sha512",
        };
        write!(f, "{algorithm}:{}", self.value)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
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
