//! Kubernetes versions and the rules for choosing and changing one.

use crate::{KUBERNETES_VERSION, OLDEST_MINOR};
use std::{fmt, str::FromStr};

/// A Kubernetes release: `v1.35.4`, `1.35.4` or `v1.36.0-rc.1` when parsed, with the `v` when shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    /// Major number, 1 for all of Kubernetes so far.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Patch number.
    pub patch: u32,
    suffix: String,
}

/// Why a version is refused. The texts hold the fragments that Kamaji's clients look for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not `[v]MAJOR.MINOR.PATCH`.
    #[error("{0:?} is not a Kubernetes version of the form v1.35.4")]
    Parse(String),
    /// What is written into a cluster does not suit so old a Kubernetes.
    #[error("Kubernetes {asked} is not supported: the oldest that is supported is v{}.{}", OLDEST_MINOR.0, OLDEST_MINOR.1)]
    TooOld {
        /// Version asked for.
        asked: Version,
    },
    /// Images of such a version cannot exist.
    #[error("{0:?} cannot be the tag of an image, which has at most 128 letters, digits, '.', '-' and '_'")]
    NoTag(String),
    /// A new control plane asks for more than we ship.
    #[error(
        "unable to create a TenantControlPlane with a Kubernetes version greater than the supported one, actually {}",
        .supported.minor_text()
    )]
    TooNew {
        /// The newest supported one.
        supported: Version,
    },
    /// An upgrade asks for more than we ship.
    #[error("unable to upgrade to a version greater than the supported one ({})", .supported.minor_text())]
    UpgradeTooNew {
        /// The newest supported one.
        supported: Version,
    },
    /// The minor version would go down.
    #[error("unable to downgrade a TenantControlPlane from {from} to {to}")]
    Downgrade {
        /// Present version.
        from: Version,
        /// Version asked for.
        to: Version,
    },
    /// More than one minor version at once.
    #[error("unable to upgrade to a minor version in a non-sequential mode: from {from} to {to}")]
    SkippedMinor {
        /// Present version.
        from: Version,
        /// Version asked for.
        to: Version,
    },
}

impl Version {
    /// The newest supported version, [`KUBERNETES_VERSION`].
    pub fn supported() -> Self {
        // The constant is checked by a test; a wrong one must not take the process down.
        KUBERNETES_VERSION.parse().unwrap_or(Self { major: 1, minor: 0, patch: 0, suffix: String::new() })
    }

    /// `v1.35`.
    pub fn minor_text(&self) -> String {
        format!("v{}.{}", self.major, self.minor)
    }

    /// The version without its leading `v`.
    pub fn without_v(&self) -> String {
        format!("{}.{}.{}{}", self.major, self.minor, self.patch, self.suffix)
    }

    /// Whether a Node may have this version: older ones do not understand what the control plane publishes.
    pub fn check_oldest(&self) -> Result<(), VersionError> {
        match self.key() < OLDEST_MINOR {
            true => Err(VersionError::TooOld { asked: self.clone() }),
            false => Ok(()),
        }
    }

    /// Whether a new control plane may have this version: any patch of a minor from the oldest to the newest
    /// supported one.
    pub fn check_create(&self) -> Result<(), VersionError> {
        self.check_oldest()?;
        let supported = Self::supported();
        if self.key() > supported.key() {
            return Err(VersionError::TooNew { supported });
        }
        Ok(())
    }

    /// Whether an existing control plane may change from this version to `to`: the same minor (any patch, up or
    /// down) or the next one, and not beyond the supported one. No change is always fine.
    pub fn check_update(&self, to: &Version) -> Result<(), VersionError> {
        if self == to {
            return Ok(());
        }
        let (from, wanted, supported) = (self.key(), to.key(), Self::supported());
        if wanted < from {
            return Err(VersionError::Downgrade { from: self.clone(), to: to.clone() });
        }
        if wanted > supported.key() {
            return Err(VersionError::UpgradeTooNew { supported });
        }
        if wanted.0 != from.0 || wanted.1 - from.1 > 1 {
            return Err(VersionError::SkippedMinor { from: self.clone(), to: to.clone() });
        }
        to.check_oldest()
    }

    /// Major, minor and patch, for comparing: pre-releases and builds of a release are not told apart.
    pub fn release(&self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch)
    }

    fn key(&self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

/// Whether a registry can have an image of this tag.
///
/// # Errors
/// When it cannot.
pub fn check_image_tag(tag: &str) -> Result<(), VersionError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = tag.chars().next().is_some_and(word);
    match starts && tag.len() <= 128 && tag.chars().all(|c| word(c) || ".-".contains(c)) {
        true => Ok(()),
        false => Err(VersionError::NoTag(tag.to_owned())),
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bad = || VersionError::Parse(text.to_owned());
        let bare = text.strip_prefix('v').unwrap_or(text);
        let end = bare.find(['-', '+']).unwrap_or(bare.len());
        let (numbers, suffix) = bare.split_at(end);
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-+".contains(c);
        if suffix.len() == 1 || !suffix.chars().all(plain) {
            return Err(bad());
        }
        let parts: Vec<u32> = numbers.split('.').map(number).collect::<Option<_>>().ok_or_else(bad)?;
        let [major, minor, patch] = parts[..] else { return Err(bad()) };
        Ok(Self { major, minor, patch, suffix: suffix.to_owned() })
    }
}

/// Digits only: `u32::from_str` alone would take `+1`.
fn number(text: &str) -> Option<u32> {
    let leading_zero = text.len() > 1 && text.starts_with('0');
    (text.bytes().all(|c| c.is_ascii_digit()) && !leading_zero).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.without_v())
    }
}
