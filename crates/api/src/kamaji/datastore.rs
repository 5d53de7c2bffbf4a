//! DataStore: an etcd that many tenants share.

#![allow(clippy::duplicated_attributes)] // every printer column has a type: the lint does not know lists

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where tenants keep their state, and how to become its root.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "kamaji.clastix.io",
    version = "v1alpha1",
    kind = "DataStore",
    plural = "datastores",
    status = "DataStoreStatus",
    derive = "PartialEq",
    category = "kamaji",
    doc = "DataStore is an etcd that many TenantControlPlanes share, each behind its own user and prefix.",
    printcolumn(name = "Driver", type_ = "string", json_path = ".spec.driver"),
    printcolumn(name = "Ready", type_ = "boolean", json_path = ".status.ready"),
    printcolumn(name = "Used by", type_ = "string", json_path = ".status.usedBy", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.driver == oldSelf.driver").message("driver is immutable"))]
pub struct DataStoreSpec {
    /// Kind of the store. Only etcd is served.
    pub driver: Driver,
    /// `host:port` of each member, without a scheme.
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 3, max = 270), regex(pattern = r"^[^/\s]+:[0-9]{1,5}$"))
    )]
    pub endpoints: Vec<String>,
    /// How the store proves itself, and how root does.
    pub tls_config: TlsConfig,
}

/// Kinds of DataStore.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// etcd with authentication.
    #[default]
    #[serde(rename = "etcd")]
    Etcd,
}

/// The store's certificate authority and the certificate of its root user.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TlsConfig {
    /// Authority that signed the members' certificates and signs those of the tenants.
    pub certificate_authority: CertificatePair,
    /// Client certificate of the user `root`.
    pub client_certificate: CertificatePair,
}

/// A certificate and its private key.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificatePair {
    /// PEM certificate.
    pub certificate: ContentRef,
    /// PEM private key.
    pub private_key: ContentRef,
}

/// Content given here, or in a Secret. The content here wins.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.content) || has(self.secretReference)")
    .message("either content or secretReference is required"))]
pub struct ContentRef {
    /// Base64 of the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), extend("format" = "byte"))]
    pub content: Option<String>,
    /// A key of a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_reference: Option<SecretKeyRef>,
}

/// A key of a Secret.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Secret.
    #[schemars(length(min = 1, max = 63))]
    pub namespace: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key_path: String,
}

/// What was found out about a DataStore.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DataStoreStatus {
    /// Generation that the status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `namespace/name` of every TenantControlPlane that keeps its state here, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// Whether the store answers, lets root in and has authentication on.
    #[serde(default)]
    pub ready: bool,
    /// What is right and wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
