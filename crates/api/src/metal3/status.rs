//! What is seen of a BareMetalHost.

use k8s_openapi::api::core::v1::SecretReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BootMode, CustomDeploy, HardwareDetails, Image, RaidConfig, RootDeviceHints};

/// Condition: it can be reached and powered.
pub const MANAGEABLE: &str = "Manageable";
/// Condition: it can be consumed.
pub const AVAILABLE_FOR_PROVISIONING: &str = "AvailableForProvisioning";
/// Condition: the image is on the disk.
pub const PROVISIONED: &str = "Provisioned";
/// Condition: provisioned, and no error.
pub const READY: &str = "Ready";
/// Condition: on the way to another state.
pub const PROGRESSING: &str = "Progressing";
/// Condition: what the BMC says of the hardware's health.
pub const HEALTHY: &str = "Healthy";

/// What is seen of a BareMetalHost.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct BareMetalHostStatus {
    /// In one word.
    pub operational_status: OperationalStatus,
    /// What the last error was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_type: Option<ErrorType>,
    /// The last error.
    pub error_message: String,
    /// How often it has happened without a success in between.
    #[schemars(range(min = 0))]
    pub error_count: i64,
    /// How often the image could not be written.
    #[schemars(range(min = 0))]
    pub provisioning_fail_count: i64,
    /// The image that could not be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempted_image: Option<Image>,
    /// When this was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// Deprecated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware_profile: Option<String>,
    /// Deprecated: what is in the HardwareData of the same name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareDetails>,
    /// Where provisioning is.
    pub provisioning: ProvisionStatus,
    /// The credentials that were accepted.
    #[serde(skip_serializing_if = "CredentialsStatus::is_empty")]
    pub good_credentials: CredentialsStatus,
    /// The credentials that were sent last.
    #[serde(skip_serializing_if = "CredentialsStatus::is_empty")]
    pub tried_credentials: CredentialsStatus,
    /// It is on.
    pub powered_on: bool,
    /// When operations began and ended.
    #[serde(skip_serializing_if = "OperationHistory::is_empty")]
    pub operation_history: OperationHistory,
    /// Conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A host in one word.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OperationalStatus {
    /// Not looked at yet.
    #[default]
    #[serde(rename = "")]
    None,
    /// All is well.
    #[serde(rename = "OK")]
    Ok,
    /// Something is missing to manage it.
    Discovered,
    /// There is an error.
    Error,
    /// It waits until others are done.
    Delayed,
    /// It is left alone, by annotation.
    Detached,
    /// Firmware is changed while the installed system stays.
    Servicing,
}

/// What an error is about.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The BMC of a provisioned host cannot be reached.
    #[serde(rename = "provisioned registration error")]
    ProvisionedRegistration,
    /// The BMC cannot be reached.
    #[serde(rename = "registration error")]
    Registration,
    /// It was not found out what the host is made of.
    #[serde(rename = "inspection error")]
    Inspection,
    /// Cleaning, RAID or firmware.
    #[serde(rename = "preparation error")]
    Preparation,
    /// The image was not written, or not removed.
    #[serde(rename = "provisioning error")]
    Provisioning,
    /// It was not powered on or off.
    #[serde(rename = "power management error")]
    PowerManagement,
    /// It could not be left alone.
    #[serde(rename = "detach error")]
    Detach,
    /// Firmware of the running host was not changed.
    #[serde(rename = "servicing error")]
    Servicing,
}

/// Where provisioning is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct ProvisionStatus {
    /// The state.
    pub state: ProvisioningState,
    /// Under what the provisioner knows the host.
    #[serde(rename = "ID")]
    pub id: String,
    /// The image that is on the disk; with an empty URL there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Which disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_device_hints: Option<RootDeviceHints>,
    /// How it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    /// RAID volumes that were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raid: Option<RaidConfig>,
    /// Deprecated: read, never written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareConfig>,
    /// The custom way in which it was deployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_deploy: Option<CustomDeploy>,
}

impl ProvisionStatus {
    /// The image that is on the disk.
    #[must_use]
    pub fn deployed_image(&self) -> Option<&Image> {
        self.image.as_ref().filter(|image| !image.url.is_empty())
    }
}

/// A state of provisioning.
#[derive(
    Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord,
)]
#[serde(rename_all = "lowercase")]
pub enum ProvisioningState {
    /// Not looked at yet.
    #[default]
    #[serde(rename = "")]
    None,
    /// Nothing to reach the BMC with.
    Unmanaged,
    /// The BMC is tried.
    Registering,
    /// It is found out what the host is made of.
    Inspecting,
    /// Cleaning, RAID, firmware.
    Preparing,
    /// It can be consumed.
    Available,
    /// An old word for available.
    Ready,
    /// An old word for what follows inspection.
    #[serde(rename = "match profile")]
    MatchProfile,
    /// The image is written.
    Provisioning,
    /// The image is written.
    Provisioned,
    /// Somebody else has written one.
    #[serde(rename = "externally provisioned")]
    ExternallyProvisioned,
    /// The image is removed.
    Deprovisioning,
    /// The last power-off.
    #[serde(rename = "powering off before delete")]
    PoweringOffBeforeDelete,
    /// It goes.
    Deleting,
}

impl std::fmt::Display for ProvisioningState {
    /// As the API has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// A Secret with credentials, at one of its versions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CredentialsStatus {
    /// The Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub credentials: Option<SecretReference>,
    /// Its resourceVersion.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub credentials_version: String,
}

impl CredentialsStatus {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// When operations began and ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct OperationHistory {
    /// Registering.
    #[serde(skip_serializing_if = "OperationMetric::is_empty")]
    pub register: OperationMetric,
    /// Inspecting.
    #[serde(skip_serializing_if = "OperationMetric::is_empty")]
    pub inspect: OperationMetric,
    /// Provisioning.
    #[serde(skip_serializing_if = "OperationMetric::is_empty")]
    pub provision: OperationMetric,
    /// Deprovisioning.
    #[serde(skip_serializing_if = "OperationMetric::is_empty")]
    pub deprovision: OperationMetric,
}

impl OperationHistory {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// When an operation began and ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct OperationMetric {
    /// Its begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Time>,
    /// Its end; none while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Time>,
}

impl OperationMetric {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Deprecated settings of a BIOS.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct FirmwareConfig {
    /// Virtualization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtualization_enabled: Option<bool>,
    /// Hyper-threading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub simultaneous_multithreading_enabled: Option<bool>,
    /// SR-IOV.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sriov_enabled: Option<bool>,
}
