//! TenantControlPlane: a control plane that runs as Pods of the management cluster.

#![allow(clippy::duplicated_attributes)] // every printer column has a type: the lint does not know lists

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AddonImage, AdmissionController, ControlPlane, KubeletSpec, TenantControlPlaneStatus};

/// The control plane that a tenant gets.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "kamaji.clastix.io",
    version = "v1alpha1",
    kind = "TenantControlPlane",
    plural = "tenantcontrolplanes",
    shortname = "tcp",
    category = "kamaji",
    namespaced,
    status = "TenantControlPlaneStatus",
    derive = "PartialEq",
    doc = "TenantControlPlane is the control plane of one tenant cluster, run as Pods of the management cluster.",
    scale(
        spec_replicas_path = ".spec.controlPlane.deployment.replicas",
        status_replicas_path = ".status.kubernetesResources.deployment.replicas",
        label_selector_path = ".status.kubernetesResources.deployment.selector"
    ),
    validation = Rule::new("size(self.metadata.name) <= 63").message("the name is that of a Service too: at most 63 characters"),
    printcolumn(name = "Version", type_ = "string", json_path = ".spec.kubernetes.version"),
    printcolumn(
        name = "Installed Version",
        type_ = "string",
        json_path = ".status.kubernetesResources.version.version"
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.kubernetesResources.version.status"),
    printcolumn(
        name = "Control-Plane endpoint",
        type_ = "string",
        json_path = ".status.controlPlaneEndpoint"
    ),
    printcolumn(name = "Kubeconfig", type_ = "string", json_path = ".status.kubeconfig.admin.secretName"),
    printcolumn(name = "Datastore", type_ = "string", json_path = ".status.storage.dataStoreName"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    // Until something was made there, a mistyped name can be corrected.
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.storage) || !has(oldSelf.spec.dataStore) || (has(self.spec.dataStore) && self.spec.dataStore == oldSelf.spec.dataStore)")
        .message("changing the dataStore needs a migration, which is not supported")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.dataStoreSchema) || has(self.dataStoreSchema)")
        .message("unsetting the dataStoreSchema is not supported"),
    validation = Rule::new("!has(oldSelf.dataStoreSchema) || !has(self.dataStoreSchema) || self.dataStoreSchema == oldSelf.dataStoreSchema")
        .message("changing the dataStoreSchema is not supported"),
    validation = Rule::new("!has(oldSelf.dataStoreUsername) || has(self.dataStoreUsername)")
        .message("unsetting the dataStoreUsername is not supported"),
    validation = Rule::new("!has(oldSelf.dataStoreUsername) || !has(self.dataStoreUsername) || self.dataStoreUsername == oldSelf.dataStoreUsername")
        .message("changing the dataStoreUsername is not supported"),
    validation = Rule::new("!has(self.dataStoreSchema) || self.dataStoreSchema != 'root'")
        .message("dataStoreSchema root is etcd's own"),
    validation = Rule::new("!has(self.dataStoreUsername) || self.dataStoreUsername != 'root'")
        .message("dataStoreUsername root is etcd's own"),
    validation = Rule::new("!has(self.networkProfile) || !has(self.networkProfile.loadBalancerSourceRanges) || size(self.networkProfile.loadBalancerSourceRanges) == 0 || self.controlPlane.service.serviceType == 'LoadBalancer'")
        .message("loadBalancerSourceRanges needs serviceType LoadBalancer"),
    validation = Rule::new("!has(self.networkProfile) || !has(self.networkProfile.loadBalancerClass) || self.controlPlane.service.serviceType == 'LoadBalancer'")
        .message("loadBalancerClass needs serviceType LoadBalancer"),
)]
pub struct TenantControlPlaneSpec {
    /// DataStore that keeps the tenant's state; the default is the manager's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub data_store: Option<String>,
    /// Prefix of the tenant's keys, without slashes; the default is the UID of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"))]
    pub data_store_schema: Option<String>,
    /// User that owns the prefix; the default is the UID of this object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"))]
    pub data_store_username: Option<String>,
    /// Pods and Service.
    pub control_plane: ControlPlane,
    /// Version and settings of Kubernetes.
    pub kubernetes: KubernetesSpec,
    /// Addresses and ranges.
    #[serde(default)]
    pub network_profile: NetworkProfile,
    /// What is installed in the tenant.
    #[serde(default)]
    pub addons: Addons,
}

/// Version and settings of Kubernetes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesSpec {
    /// Version, for example `v1.35.4`.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new("!self.matches('^v?(0|1[.]([0-9]|[12][0-9]|30))[.]')").message("the oldest Kubernetes that is supported is v1.31"))]
    pub version: String,
    /// What kubelets get, and how they are reached.
    #[serde(default)]
    pub kubelet: KubeletSpec,
    /// Admission plugins beside the API server's own defaults. NodeRestriction is always on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub admission_controllers: Vec<AdmissionController>,
}

/// Addresses and ranges of a tenant.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.serviceCidr) || isCIDR(self.serviceCidr)").message("serviceCidr must be a CIDR"),
    validation = Rule::new("!has(self.podCidr) || isCIDR(self.podCidr)").message("podCidr must be a CIDR"),
    validation = Rule::new("!has(self.serviceCidrs) || self.serviceCidrs.all(c, isCIDR(c))")
        .message("serviceCidrs must be CIDRs"),
    validation = Rule::new("!has(self.podCidrs) || self.podCidrs.all(c, isCIDR(c))").message("podCidrs must be CIDRs"),
    validation = Rule::new("!has(self.dnsServiceIPs) || self.dnsServiceIPs.all(i, isIP(i))")
        .message("dnsServiceIPs must be IP addresses"),
    validation = Rule::new("!has(self.loadBalancerSourceRanges) || self.loadBalancerSourceRanges.all(c, isCIDR(c))")
        .message("loadBalancerSourceRanges must be CIDRs"),
    validation = Rule::new("self.clusterDomain == oldSelf.clusterDomain")
        .message("changing the cluster domain is not supported"),
    validation = Rule::new("has(self.loadBalancerClass) == has(oldSelf.loadBalancerClass) && (!has(self.loadBalancerClass) || self.loadBalancerClass == oldSelf.loadBalancerClass)")
        .message("LoadBalancerClass is immutable"),
)]
pub struct NetworkProfile {
    /// Address at which the API server is reached.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub address: String,
    /// Port of the API server, of its Service and, for a NodePort Service, of the Nodes.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// Whether the address is put into the Service's externalIPs.
    #[serde(default, rename = "allowAddressAsExternalIP", skip_serializing_if = "is_false")]
    pub allow_address_as_external_ip: bool,
    /// Further names and addresses of the API server's certificate.
    #[serde(default, rename = "certSANs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128), inner(length(min = 1, max = 253)))]
    pub cert_sans: Vec<String>,
    /// DNS domain of the tenant.
    #[serde(default = "default_domain")]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$")
    )]
    pub cluster_domain: String,
    /// Service range; `serviceCidrs` wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 43))]
    pub service_cidr: Option<String>,
    /// Service ranges, in the order that the user gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 43)))]
    pub service_cidrs: Vec<String>,
    /// Pod range; `podCidrs` wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 43))]
    pub pod_cidr: Option<String>,
    /// Pod ranges, in the order that the user gave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 43)))]
    pub pod_cidrs: Vec<String>,
    /// Addresses of the DNS Service; the default is the tenth of each Service range.
    #[serde(default, rename = "dnsServiceIPs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(max = 45)))]
    pub dns_service_ips: Vec<String>,
    /// Ranges that may use the load balancer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 43)))]
    pub load_balancer_source_ranges: Vec<String>,
    /// Class of the load balancer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub load_balancer_class: Option<String>,
}

/// Service range of a tenant that asks for none.
pub const DEFAULT_SERVICE_CIDR: &str = "10.96.0.0/16";
/// Pod range of a tenant that asks for none.
pub const DEFAULT_POD_CIDR: &str = "10.244.0.0/16";

fn default_port() -> i32 {
    6443
}

fn default_domain() -> String {
    "cluster.local".into()
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature is serde's
fn is_false(value: &bool) -> bool {
    !value
}

impl Default for NetworkProfile {
    fn default() -> Self {
        Self {
            address: String::new(),
            port: default_port(),
            allow_address_as_external_ip: false,
            cert_sans: Vec::new(),
            cluster_domain: default_domain(),
            service_cidr: None,
            service_cidrs: Vec::new(),
            pod_cidr: None,
            pod_cidrs: Vec::new(),
            dns_service_ips: Vec::new(),
            load_balancer_source_ranges: Vec::new(),
            load_balancer_class: None,
        }
    }
}

impl NetworkProfile {
    /// The Service ranges: the list, else the single one, else the default.
    #[must_use]
    pub fn service_ranges(&self) -> Vec<String> {
        ranges(&self.service_cidrs, self.service_cidr.as_ref(), DEFAULT_SERVICE_CIDR)
    }

    /// The Pod ranges: the list, else the single one, else the default.
    #[must_use]
    pub fn pod_ranges(&self) -> Vec<String> {
        ranges(&self.pod_cidrs, self.pod_cidr.as_ref(), DEFAULT_POD_CIDR)
    }
}

fn ranges(list: &[String], single: Option<&String>, default: &str) -> Vec<String> {
    match (list, single) {
        ([], Some(single)) => vec![single.clone()],
        ([], None) => vec![default.to_owned()],
        (list, _) => list.to_vec(),
    }
}

/// What is installed in the tenant; what is left out is not.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Addons {
    /// CoreDNS as kubeadm installs it.
    #[serde(default, rename = "coreDNS", skip_serializing_if = "Option::is_none")]
    pub core_dns: Option<AddonImage>,
    /// kube-proxy as kubeadm installs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_proxy: Option<AddonImage>,
}
