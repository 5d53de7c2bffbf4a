//! The spec of a TenantControlPlane, checked once and turned into what the rest can rely on.

use std::net::IpAddr;

use ipnet::IpNet;
use kube::ResourceExt;
use scute_api::kamaji::{AdmissionController, ServiceType, TenantControlPlane, TenantControlPlaneSpec};
use scute_kit::{FieldError, Why};
use scute_kubeadm::{Version, check_image_tag, first_service_ip};

use super::network::{self, Network};
use super::{dns, probes, resources};

/// What a valid TenantControlPlane wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Name of the TenantControlPlane.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Version of Kubernetes.
    pub version: Version,
    /// Name of the DataStore.
    pub data_store: String,
    /// Prefix and user in the DataStore.
    pub tenant: scute_etcd::Tenant,
    /// Type of the Service.
    pub service_type: ServiceType,
    /// Address that the user gave.
    pub address: Option<IpAddr>,
    /// Port of the API server.
    pub port: u16,
    /// Ranges of Services, in the user's order.
    pub service_cidrs: Vec<IpNet>,
    /// Ranges of Pods, in the user's order.
    pub pod_cidrs: Vec<IpNet>,
    /// Addresses of the DNS Service.
    pub dns_ips: Vec<IpAddr>,
    /// DNS domain of the tenant.
    pub cluster_domain: String,
    /// Further names of the serving certificate.
    pub cert_sans: Vec<String>,
    /// Admission plugins, sorted.
    pub admission: Vec<String>,
    /// Pods.
    pub replicas: i32,
}

/// Checks a TenantControlPlane. Every bad field is named, not only the first.
///
/// # Errors
/// The bad fields.
pub fn validate(tcp: &TenantControlPlane, default_datastore: &str) -> Result<Wanted, Vec<FieldError>> {
    let (spec, network) = (&tcp.spec, &tcp.spec.network_profile);
    let mut bad = Vec::new();
    let name = tcp.name_any();
    if let Err(detail) = dns::label_1035(&name) {
        bad.push(FieldError::new("metadata.name", &name, detail));
    }
    let version = version(spec, &mut bad);
    if spec.control_plane.service.service_type == ServiceType::NodePort && network.address.is_empty() {
        bad.push(FieldError::new(
            "spec.networkProfile.address",
            "",
            "a NodePort Service needs the address at which its Nodes are reached",
        ));
    }
    let Network { address, service_cidrs, pod_cidrs, dns_ips } =
        network::check(network, version.as_ref(), &mut bad);
    resources::check(spec.control_plane.deployment.resources.as_ref(), &mut bad);
    probes::check(spec.control_plane.deployment.probes.as_ref(), &mut bad);
    for (index, san) in network.cert_sans.iter().enumerate() {
        if let Err(detail) = dns::certificate_name(san) {
            bad.push(FieldError::new(format!("spec.networkProfile.certSANs[{index}]"), san, detail));
        }
    }
    reserved(tcp, &mut bad);
    let port = u16::try_from(network.port).ok().filter(|port| *port > 0);
    if port.is_none() {
        bad.push(FieldError::new(
            "spec.networkProfile.port",
            network.port.to_string(),
            "must be between 1 and 65535",
        ));
    }
    let (Some(version), Some(port), true) = (version, port, bad.is_empty()) else { return Err(bad) };
    let uid = tcp.uid().unwrap_or_default();
    Ok(Wanted {
        namespace: tcp.namespace().unwrap_or_default(),
        name,
        version,
        data_store: spec.data_store.clone().unwrap_or_else(|| default_datastore.to_owned()),
        tenant: tenant_of(tcp, &uid),
        service_type: spec.control_plane.service.service_type,
        address,
        port,
        service_cidrs,
        pod_cidrs,
        dns_ips,
        cluster_domain: network.cluster_domain.clone(),
        cert_sans: network.cert_sans.clone(),
        admission: admission(&spec.kubernetes.admission_controllers),
        replicas: spec.control_plane.deployment.replicas,
    })
}

/// etcd's own user and role have every permission, and are never a tenant's.
fn reserved(tcp: &TenantControlPlane, bad: &mut Vec<FieldError>) {
    let (schema, user) = (&tcp.spec.data_store_schema, &tcp.spec.data_store_username);
    for (path, given) in [("spec.dataStoreSchema", schema), ("spec.dataStoreUsername", user)] {
        if given.as_deref() == Some(scute_etcd::ROOT) {
            bad.push(FieldError::new(path, scute_etcd::ROOT, "is etcd's own name: choose another"));
        }
    }
}

/// The version, if images of it can exist.
fn version(spec: &TenantControlPlaneSpec, bad: &mut Vec<FieldError>) -> Option<Version> {
    let text = &spec.kubernetes.version;
    let parsed = text.parse::<Version>();
    let suffix = &spec.control_plane.deployment.registry_settings.tag_suffix;
    let wrong = match &parsed {
        Err(error) => Some(("spec.kubernetes.version", text, error.to_string())),
        Ok(version) => check_image_tag(&version.to_string())
            .map_err(|error| ("spec.kubernetes.version", text, error.to_string()))
            .and_then(|()| {
                let path = "spec.controlPlane.deployment.registrySettings.tagSuffix";
                check_image_tag(&format!("{version}{suffix}"))
                    .map_err(|error| (path, suffix, error.to_string()))
            })
            .err(),
    };
    bad.extend(wrong.map(|(path, value, detail)| FieldError::new(path, value, detail)));
    parsed.ok()
}

/// User and prefix: the given ones, or the UID.
pub fn tenant_of(tcp: &TenantControlPlane, uid: &str) -> scute_etcd::Tenant {
    let or_uid = |given: &Option<String>| given.clone().unwrap_or_else(|| uid.to_owned());
    scute_etcd::Tenant {
        user: or_uid(&tcp.spec.data_store_username),
        schema: or_uid(&tcp.spec.data_store_schema),
    }
}

impl Wanted {
    /// Address of the Service `kubernetes` in each range.
    pub fn kubernetes_ips(&self) -> Vec<IpAddr> {
        self.service_cidrs.iter().filter_map(first_service_ip).collect()
    }
}

/// Why of a spec that cannot be brought about.
pub fn invalid(bad: &[FieldError]) -> Why {
    let text: Vec<_> = bad.iter().map(ToString::to_string).collect();
    Why::new("InvalidSpec", text.join("; "))
}

fn admission(given: &[AdmissionController]) -> Vec<String> {
    let mut plugins = if given.is_empty() { AdmissionController::DEFAULT.to_vec() } else { given.to_vec() };
    // Without it a kubelet's credentials open the objects of every other Node.
    plugins.push(AdmissionController::NodeRestriction);
    plugins.sort();
    plugins.dedup();
    plugins.iter().map(|plugin| format!("{plugin:?}")).collect()
}
