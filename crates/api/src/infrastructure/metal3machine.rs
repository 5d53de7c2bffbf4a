//! Metal3Machine: the server of a Machine.

use k8s_openapi::api::core::v1::SecretReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{HostSelector, Initialization, MachineAddress, Metal3Deprecated, Metal3ObjectRef};
use crate::meta::TemplateMeta;
use crate::metal3::{AutomatedCleaningMode, ChecksumType, CustomDeploy, DiskFormat, Image};

/// Keeps a Metal3Machine until its server is given back.
pub const METAL3_MACHINE_FINALIZER: &str = "metal3machine.infrastructure.cluster.x-k8s.io";
/// Annotation of a Metal3Machine: `NAMESPACE/NAME` of its BareMetalHost.
pub const HOST_ANNOTATION: &str = "metal3.io/BareMetalHost";
/// Label of a BareMetalHost that comes back to the same Machines after a rollout: their KubeadmControlPlane or
/// MachineDeployment.
pub const NODE_REUSE_LABEL: &str = "infrastructure.cluster.x-k8s.io/node-reuse";
/// Label of a BareMetalHost: its failure domain.
pub const FAILURE_DOMAIN_LABEL: &str = "infrastructure.cluster.x-k8s.io/failure-domain";
/// Label of a Node: UID of its BareMetalHost.
pub const NODE_UUID_LABEL: &str = "metal3.io/uuid";

/// The server of a Machine.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Metal3Machine",
    namespaced,
    status = "Metal3MachineStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "m3m",
    shortname = "m3machine",
    shortname = "m3machines",
    shortname = "metal3m",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-metal3"),
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "The server of a Machine.",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"ProviderID","type":"string","jsonPath":".spec.providerID","description":"Provider ID"}"#,
    printcolumn = r#"{"name":"Provisioned","type":"string","jsonPath":".status.initialization.provisioned","description":"Whether the server is there"}"#,
    printcolumn = r#"{"name":"Cluster","type":"string","jsonPath":".metadata.labels.cluster\\.x-k8s\\.io/cluster-name","description":"Cluster that it belongs to"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct Metal3MachineSpec {
    /// `metal3://<namespace>/<host>/<machine>`, on the Node too; written by the controller.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub provider_id: Option<String>,
    /// What shall be on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Metal3Image>,
    /// Another way to deploy than writing an image. Refused by the webhook: no method is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_deploy: Option<CustomDeploy>,
    /// Secret with user data; that of the Machine when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub user_data: Option<SecretReference>,
    /// Which hosts may be taken; any when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_selector: Option<HostSelector>,
    /// The Metal3DataTemplate that metadata and network data are rendered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub data_template: Option<Metal3ObjectRef>,
    /// Secret with metadata, instead of one that is rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub meta_data: Option<SecretReference>,
    /// Secret with network data, instead of one that is rendered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub network_data: Option<SecretReference>,
    /// What happens to the disks before and after; as the host says when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automated_cleaning_mode: Option<AutomatedCleaningMode>,
    /// Where to place it, if there is a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub failure_domain: Option<String>,
}

/// An image for a disk, or a live system.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Metal3Image {
    /// Where it is: HTTP, HTTPS, or `oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]` for an image that everybody may read.
    pub url: String,
    /// Its digest in hexadecimal, or the URL of a file with digests. Needed but for a live ISO and an image in a registry, which
    /// says it itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Which digest; found out by its length when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum_type: Option<ChecksumType>,
    /// How it is stored; found out by its first bytes when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_format: Option<DiskFormat>,
}

impl From<&Metal3Image> for Image {
    fn from(image: &Metal3Image) -> Self {
        let Metal3Image { url, checksum, checksum_type, disk_format } = image.clone();
        Self { url, checksum, checksum_type, format: disk_format, oci_auth_secret_name: None }
    }
}

/// What is seen of a Metal3Machine.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Metal3MachineStatus {
    /// What it has once reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initialization: Option<Initialization>,
    /// Addresses of the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<MachineAddress>,
    /// Secret with the user data in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub user_data: Option<SecretReference>,
    /// Secret with the metadata in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub meta_data: Option<SecretReference>,
    /// Secret with the network data in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub network_data: Option<SecretReference>,
    /// The Metal3Data that rendered them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub rendered_data: Option<Metal3ObjectRef>,
    /// Ready, AssociateBareMetalHost, AssociateMetal3MachineMetaData, Metal3DataReady, Paused and others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// When this was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_updated: Option<Time>,
    /// Status in the form of v1beta1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<Metal3Deprecated>,
}

/// Metal3Machines to be made.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "infrastructure.cluster.x-k8s.io",
    version = "v1beta2",
    kind = "Metal3MachineTemplate",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    shortname = "m3mt",
    shortname = "m3machinetemplate",
    shortname = "m3machinetemplates",
    shortname = "metal3mt",
    category = "cluster-api",
    label("cluster.x-k8s.io/provider", "infrastructure-metal3"),
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "Metal3Machines to be made.",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct Metal3MachineTemplateSpec {
    /// The Metal3Machine.
    pub template: Metal3MachineTemplateResource,
    /// Machines of a rollout get the hosts of those that they replace.
    #[serde(default)]
    pub node_reuse: bool,
}

/// A Metal3Machine to be made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
pub struct Metal3MachineTemplateResource {
    /// Labels and annotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMeta>,
    /// Spec.
    pub spec: Metal3MachineSpec,
}
