//! BareMetalHost: what a server should be.

use k8s_openapi::api::core::v1::{ObjectReference, SecretReference};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hardware::is_false;
use super::{BareMetalHostStatus, Image, RaidConfig, RootDeviceHints};

/// A server.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "BareMetalHost",
    namespaced,
    status = "BareMetalHostStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "bmh",
    shortname = "bmhost",
    label("clusterctl.cluster.x-k8s.io", ""),
    label("clusterctl.cluster.x-k8s.io/move", ""),
    label("clusterctl.cluster.x-k8s.io/move-hierarchy", ""),
    doc = "A server, its BMC and what shall be on its disk.",
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.operationalStatus","description":"Operational status","priority":1}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.provisioning.state","description":"Provisioning status"}"#,
    printcolumn = r#"{"name":"Consumer","type":"string","jsonPath":".spec.consumerRef.name","description":"Who uses the host"}"#,
    printcolumn = r#"{"name":"BMC","type":"string","jsonPath":".spec.bmc.address","description":"Address of the BMC","priority":1}"#,
    printcolumn = r#"{"name":"Online","type":"string","jsonPath":".spec.online","description":"Whether the host shall be on"}"#,
    printcolumn = r#"{"name":"Error","type":"string","jsonPath":".status.errorType","description":"Type of the last error"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
// Upstream's documents leave the spec out of a host that is only known.
#[schemars(extend("default" = {"online": false}))]
pub struct BareMetalHostSpec {
    /// Shall be on. An image is written only then.
    pub online: bool,
    /// Its BMC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<BmcDetails>,
    /// MAC address of the interface that faces the provisioning network. Needed when inspection is disabled.
    #[serde(default, rename = "bootMACAddress", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 17), regex(pattern = "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"))]
    pub boot_mac_address: Option<String>,
    /// UEFI when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<BootMode>,
    /// CPU architecture, such as `x86_64`; what inspection found when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Who uses the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub consumer_ref: Option<ObjectReference>,
    /// What shall be on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Another way to deploy than writing an image. Refused by the webhook: no method is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_deploy: Option<CustomDeploy>,
    /// Secret with user data under `userData` or `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub user_data: Option<SecretReference>,
    /// Secret with additions to the metadata, YAML under `metaData`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub meta_data: Option<SecretReference>,
    /// Secret with the network configuration of the installed system under `networkData`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub network_data: Option<SecretReference>,
    /// Secret of the same namespace with the network configuration of the ramdisk under `networkData`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprovisioning_network_data_name: Option<String>,
    /// Which disk the image goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_device_hints: Option<RootDeviceHints>,
    /// RAID volumes. Refused by the webhook as long as there is one in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raid: Option<RaidConfig>,
    /// Deprecated: a word that stands for a root disk, see [`super::profile_hints`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_profile: Option<String>,
    /// What happens to the disks before and after.
    #[serde(default)]
    pub automated_cleaning_mode: AutomatedCleaningMode,
    /// How it is found out what the server is made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inspection_mode: Option<InspectionMode>,
    /// Somebody else has put a system onto the disk: it is left alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub externally_provisioned: bool,
    /// Is never powered off, only restarted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable_power_off: bool,
    /// Text for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The BMC of a server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BmcDetails {
    /// Such as `redfish-virtualmedia://10.0.0.9/redfish/v1/Systems/1`.
    pub address: String,
    /// Secret of the same namespace with `username` and `password`.
    pub credentials_name: String,
    /// The BMC's certificate is not checked.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable_certificate_verification: bool,
}

/// How the server starts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootMode {
    /// UEFI.
    #[default]
    #[serde(rename = "UEFI")]
    Uefi,
    /// UEFI that checks signatures.
    #[serde(rename = "UEFISecureBoot")]
    UefiSecureBoot,
    /// BIOS.
    #[serde(rename = "legacy")]
    Legacy,
}

/// What happens to the disks before and after.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum AutomatedCleaningMode {
    /// Partition tables and signatures go.
    #[default]
    Metadata,
    /// Nothing.
    Disabled,
}

/// How it is found out what a server is made of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum InspectionMode {
    /// Not at all.
    Disabled,
    /// A ramdisk looks.
    Agent,
    /// The BMC is asked.
    Fast,
}

/// Another way to deploy than writing an image.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomDeploy {
    /// Its name.
    pub method: String,
}

impl super::BareMetalHost {
    /// Whether there is anything to reach the BMC with.
    #[must_use]
    pub fn has_bmc_details(&self) -> bool {
        self.spec.bmc.as_ref().is_some_and(|bmc| !bmc.address.is_empty() || !bmc.credentials_name.is_empty())
    }

    /// How the server starts.
    #[must_use]
    pub fn boot_mode(&self) -> BootMode {
        self.spec.boot_mode.unwrap_or_default()
    }

    /// What inspection does: the field, the annotation `inspect.metal3.io: disabled`, else the ramdisk.
    #[must_use]
    pub fn inspection(&self) -> InspectionMode {
        let annotated = self.metadata.annotations.as_ref().and_then(|all| all.get(super::INSPECT_ANNOTATION));
        match self.spec.inspection_mode {
            _ if annotated.is_some_and(|value| value == super::INSPECT_DISABLED) => InspectionMode::Disabled,
            Some(mode) => mode,
            None => InspectionMode::Agent,
        }
    }

    /// Which disk the image goes to: the hints, or those of a hardware profile that the user names.
    #[must_use]
    pub fn root_device_hints(&self) -> Option<RootDeviceHints> {
        let profile = || super::profile_hints(self.spec.hardware_profile.as_deref()?);
        self.spec.root_device_hints.clone().or_else(profile)
    }
}
