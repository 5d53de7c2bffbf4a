//! Kinds beside a BareMetalHost: a data disc, the image of the ramdisk, subscriptions at the BMC.

use k8s_openapi::api::core::v1::SecretReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keeps a DataImage until its disc is taken out.
pub const DATA_IMAGE_FINALIZER: &str = "dataimage.metal3.io";

/// A disc that is put into a server the next time that it is powered on. Name and namespace are those of its BareMetalHost.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "DataImage",
    namespaced,
    status = "DataImageStatus",
    derive = "PartialEq",
    derive = "Default",
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "A disc in the virtual drive of a BareMetalHost of the same name."
)]
pub struct DataImageSpec {
    /// Where the ISO image is, HTTP or HTTPS.
    pub url: String,
}

/// What is seen of a DataImage.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DataImageStatus {
    /// When it was looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_reconciled: Option<Time>,
    /// The disc that is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attached_image: Option<AttachedImage>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<DataImageError>,
}

/// A disc that is in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachedImage {
    /// Where it came from.
    pub url: String,
}

/// Why a disc is not in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct DataImageError {
    /// How often it was tried.
    #[schemars(range(min = 0))]
    pub count: i64,
    /// What went wrong.
    pub message: String,
}

/// An image of the ramdisk that somebody else makes. Scute makes its own: the webhook refuses these.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "PreprovisioningImage",
    namespaced,
    status = "PreprovisioningImageStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "ppimg",
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "An image of the ramdisk that somebody else makes. Refused: Scute makes its own.",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status","description":"Whether the image is there"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason","description":"Why it is not"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {}))]
pub struct PreprovisioningImageSpec {
    /// Secret with the network configuration of the ramdisk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data_name: Option<String>,
    /// CPU architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Formats that can be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub accept_formats: Vec<ImageFormat>,
}

/// How a ramdisk is delivered.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// A disc that starts.
    Iso,
    /// A ramdisk for a kernel.
    Initrd,
}

/// What is seen of a PreprovisioningImage.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PreprovisioningImageStatus {
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// Where its kernel is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_url: Option<String>,
    /// What the kernel is told beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_kernel_params: Option<String>,
    /// How it is delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
    /// The network configuration in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_data: Option<SecretStatus>,
    /// CPU architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Ready and Error.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// A Secret at one of its versions.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretStatus {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its resourceVersion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A subscription to events of a BMC. The webhook refuses these as long as nothing makes them.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "metal3.io",
    version = "v1alpha1",
    kind = "BMCEventSubscription",
    plural = "bmceventsubscriptions",
    namespaced,
    status = "BMCEventSubscriptionStatus",
    derive = "PartialEq",
    derive = "Default",
    shortname = "bes",
    shortname = "bmcevent",
    label("clusterctl.cluster.x-k8s.io", ""),
    doc = "A subscription to events of the BMC of a BareMetalHost. Refused: not served yet.",
    printcolumn = r#"{"name":"Error","type":"string","jsonPath":".status.error","description":"Last error"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {}))]
pub struct BMCEventSubscriptionSpec {
    /// The BareMetalHost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// Where events go: a URL with a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What each event has with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Secret with HTTP headers.
    #[serde(default, rename = "httpHeadersRef", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "atomic"))]
    pub http_headers_ref: Option<SecretReference>,
}

/// What is seen of a BMCEventSubscription.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct BMCEventSubscriptionStatus {
    /// Its id at the BMC.
    #[serde(default, rename = "subscriptionID", skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
