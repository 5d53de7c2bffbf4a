//! Firmware of a server: what is set and installed, and when changes are carried out. Name and namespace of all but
//! FirmwareSchema are those of the BareMetalHost.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Condition: a setting or update of the spec is not carried out yet.
pub const CHANGE_DETECTED: &str = "ChangeDetected";
/// Condition: the spec can be carried out.
pub const VALID: &str = "Valid";

/// Settings of a server's firmware.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "HostFirmwareSettings",
    plural = "hostfirmwaresettings",
    singular = "hostfirmwaresettings",
    namespaced,
    status = "HostFirmwareSettingsStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "hfs",
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "Settings of the firmware of a BareMetalHost of the same name."
)]
pub struct HostFirmwareSettingsSpec {
    /// Settings that shall be otherwise than they are. Refused by the webhook as long as there is one in it.
    #[schemars(schema_with = "settings")]
    pub settings: BTreeMap<String, IntOrString>,
}

/// A number or any text.
fn settings(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": 2048,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "minimum": i32::MIN,
            "maximum": i32::MAX,
            "maxLength": 4096,
            "pattern": "^.*$",
        },
    })
}

/// What is seen of a HostFirmwareSettings.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostFirmwareSettingsStatus {
    /// The FirmwareSchema that describes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaReference>,
    /// All settings as they are.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// ChangeDetected and Valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A FirmwareSchema.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaReference {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What settings a firmware has; named `schema-` and a hash, and shared by servers that are equal in this.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "FirmwareSchema",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "What settings a firmware has."
)]
#[serde(rename_all = "camelCase")]
pub struct FirmwareSchemaSpec {
    /// Manufacturer of the servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_vendor: Option<String>,
    /// Model of the servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_model: Option<String>,
    /// Settings by name.
    pub schema: BTreeMap<String, SettingSchema>,
}

/// What a setting may be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingSchema {
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute_type: Option<AttributeType>,
    /// Values of an enumeration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowable_values: Vec<String>,
    /// Least value of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_bound: Option<i64>,
    /// Largest value of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper_bound: Option<i64>,
    /// Least length of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_length: Option<i64>,
    /// Largest length of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<i64>,
    /// It cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// It differs from server to server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique: Option<bool>,
}

/// What a setting is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Redfish's words
pub enum AttributeType {
    Enumeration,
    String,
    Integer,
    Boolean,
    Password,
}

/// Versions of a server's firmware.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "HostFirmwareComponents",
    plural = "hostfirmwarecomponents",
    singular = "hostfirmwarecomponents",
    namespaced,
    status = "HostFirmwareComponentsStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "hfc",
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "Versions of the firmware of a BareMetalHost of the same name."
)]
pub struct HostFirmwareComponentsSpec {
    /// Firmware to be installed. Refused by the webhook as long as there is one in it.
    pub updates: Vec<FirmwareUpdate>,
}

/// Firmware to be installed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct FirmwareUpdate {
    /// `bmc`, `bios` or `nic:` and a name.
    pub component: String,
    /// Where it is.
    pub url: String,
}

/// What is seen of a HostFirmwareComponents.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HostFirmwareComponentsStatus {
    /// Updates that were carried out last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updates: Vec<FirmwareUpdate>,
    /// Versions as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<FirmwareComponent>,
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// ChangeDetected and Valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The version of a part of a server's firmware.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FirmwareComponent {
    /// `bmc`, `bios` or `nic:` and a name.
    pub component: String,
    /// The version that was found first.
    pub initial_version: String,
    /// The version as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<String>,
    /// The version that was installed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_version_flashed: Option<String>,
    /// When it was installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
}

/// When changes of a server's firmware are carried out.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "HostUpdatePolicy",
    plural = "hostupdatepolicies",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "When changes of the firmware of a BareMetalHost of the same name are carried out."
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {}))]
pub struct HostUpdatePolicySpec {
    /// When settings are changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_settings: Option<UpdatePolicy>,
    /// When firmware is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware_updates: Option<UpdatePolicy>,
}

/// When a change is carried out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum UpdatePolicy {
    /// Before an image is written.
    #[default]
    OnPreparing,
    /// When a provisioned host is restarted. Refused by the webhook.
    OnReboot,
}
