//! Annotations of a BareMetalHost that ask for something. In: their text. Out: what they ask for, or why they cannot be
//! read. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::meta::DELETE_FOR_MOVE_ANNOTATION;

use super::{BareMetalHost, BareMetalHostStatus, HardwareDetails};

/// Any value stops all work on the host, its deletion too.
pub const PAUSED_ANNOTATION: &str = "baremetalhost.metal3.io/paused";
/// Value of [`PAUSED_ANNOTATION`] that a move of the Cluster writes, and removes again.
pub const PAUSED_BY_MOVE: &str = "metal3.io/capm3";
/// Its BMC is left alone. See [`Detached`].
pub const DETACHED_ANNOTATION: &str = "baremetalhost.metal3.io/detached";
/// A status to begin with, when there is none yet.
pub const STATUS_ANNOTATION: &str = "baremetalhost.metal3.io/status";
/// Restarts it once; with `/KEY` behind it holds the host off until it is removed. See [`Reboot`].
pub const REBOOT_ANNOTATION: &str = "reboot.metal3.io";
/// `disabled`, or empty: inspect once more.
pub const INSPECT_ANNOTATION: &str = "inspect.metal3.io";
/// Value of [`INSPECT_ANNOTATION`].
pub const INSPECT_DISABLED: &str = "disabled";
/// What the host is made of, instead of an inspection.
pub const HARDWARE_DETAILS_ANNOTATION: &str = "inspect.metal3.io/hardwaredetails";
/// No Metal3Machine takes the host.
pub const UNHEALTHY_ANNOTATION: &str = "capm3.metal3.io/unhealthy";
/// The older form of [`UNHEALTHY_ANNOTATION`].
pub const OLD_UNHEALTHY_ANNOTATION: &str = "capi.metal3.io/unhealthy";

/// How a host is powered off for a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RebootMode {
    /// The system is asked.
    #[default]
    #[serde(alias = "")]
    Soft,
    /// The power goes.
    Hard,
}

/// What a reboot annotation asks for; an empty one asks for the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Reboot {
    /// How it is powered off.
    pub mode: RebootMode,
    /// Even while it is inspected or provisioned, which is aborted.
    pub force: bool,
}

impl Reboot {
    /// Reads the value of a reboot annotation.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text)
            .map_err(|error| format!(r#"{error}; use {{"mode":"soft"}}, {{"mode":"hard"}} or nothing"#))
    }
}

/// What becomes of a detached host that is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeleteAction {
    /// It goes at once; the server is left as it is.
    #[default]
    #[serde(alias = "")]
    Delete,
    /// It waits until it is attached again.
    Delay,
}

/// What the detached annotation asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Detached {
    /// What becomes of the host when it is deleted.
    pub delete_action: DeleteAction,
    /// In any state, not only in those where nothing goes on.
    pub force: bool,
}

impl Detached {
    /// Reads the value of the annotation. Any text that is no JSON of this form asks for the defaults, as upstream has it.
    #[must_use]
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

/// Reads the value of [`STATUS_ANNOTATION`].
///
/// # Errors
/// The field that is unknown or cannot be read.
pub fn read_status(text: &str) -> Result<BareMetalHostStatus, String> {
    let mut value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    // Upstream's tools write an empty text where there is no error.
    if let Some(fields) = value.as_object_mut()
        && fields.get("errorType").is_some_and(|kind| kind == "")
    {
        fields.remove("errorType");
    }
    read_strictly(value)
}

/// Reads the value of [`HARDWARE_DETAILS_ANNOTATION`].
///
/// # Errors
/// The field that is unknown or cannot be read.
pub fn read_hardware_details(text: &str) -> Result<HardwareDetails, String> {
    read_strictly(serde_json::from_str(text).map_err(|error| error.to_string())?)
}

/// An annotation passes no schema: what it says and nobody reads must be told here.
fn read_strictly<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, String> {
    let mut unknown = None;
    let read = serde_ignored::deserialize(value, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    })
    .map_err(|error| error.to_string())?;
    match unknown {
        Some(field) => Err(format!("unknown field {field:?}")),
        None => Ok(read),
    }
}

impl BareMetalHost {
    fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.metadata.annotations.iter().flatten();
        all.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether all work on it is stopped.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.annotation(PAUSED_ANNOTATION).is_some() || self.is_moved_away()
    }

    /// Whether `clusterctl move` deletes it here: the server belongs to another management cluster now.
    #[must_use]
    pub fn is_moved_away(&self) -> bool {
        self.annotation(DELETE_FOR_MOVE_ANNOTATION).is_some()
    }

    /// What the detached annotation asks for.
    #[must_use]
    pub fn detached(&self) -> Option<Detached> {
        self.annotation(DETACHED_ANNOTATION).map(Detached::read)
    }

    /// Whether somebody has marked it as broken.
    #[must_use]
    pub fn is_unhealthy(&self) -> bool {
        [UNHEALTHY_ANNOTATION, OLD_UNHEALTHY_ANNOTATION].iter().any(|name| self.annotation(name).is_some())
    }

    /// The reboot annotations by name. One that cannot be read is refused at the door; from before that it asks for the
    /// defaults.
    #[must_use]
    pub fn reboots(&self) -> BTreeMap<&str, Reboot> {
        let asked = self.annotations().filter(|(name, _)| is_reboot(name));
        asked.map(|(name, value)| (name, Reboot::read(value).unwrap_or_default())).collect()
    }
}

/// Whether an annotation asks for a restart.
pub(super) fn is_reboot(name: &str) -> bool {
    name.strip_prefix(REBOOT_ANNOTATION).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
