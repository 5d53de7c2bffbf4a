//! The spec of a TenantControlPlane, checked once and turned into what the rest can rely on.

use std::net::IpAddr;

use ipnet::IpNet;
use kube::ResourceExt;
use scute_api::cluster::overlaps;
use scute_api::kamaji::{AdmissionController, ServiceType, TenantControlPlane};
use scute_kit::{FieldError, Why};
use scute_kubeadm::{Version, dns_service_ip, first_service_ip};

use super::dns;

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
    let version = spec.kubernetes.version.parse::<Version>();
    if let Err(error) = &version {
        bad.push(FieldError::new("spec.kubernetes.version", &spec.kubernetes.version, error.to_string()));
    }
    let address = address(&network.address, &mut bad);
    if spec.control_plane.service.service_type == ServiceType::NodePort && network.address.is_empty() {
        bad.push(FieldError::new(
            "spec.networkProfile.address",
            "",
            "a NodePort Service needs the address at which its Nodes are reached",
        ));
    }
    let service_cidrs = cidrs("spec.networkProfile.serviceCidrs", &network.service_ranges(), &mut bad);
    let pod_cidrs = cidrs("spec.networkProfile.podCidrs", &network.pod_ranges(), &mut bad);
    overlap(&pod_cidrs, &service_cidrs, &mut bad);
    let dns_ips = dns_ips(&network.dns_service_ips, &service_cidrs, &mut bad);
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
    let (Ok(version), Some(port), true) = (version, port, bad.is_empty()) else { return Err(bad) };
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

fn address(text: &str, bad: &mut Vec<FieldError>) -> Option<IpAddr> {
    if text.is_empty() {
        return None;
    }
    let parsed = text.parse();
    if parsed.is_err() {
        bad.push(FieldError::new("spec.networkProfile.address", text, "must be an IP address"));
    }
    parsed.ok()
}

fn cidrs(path: &str, texts: &[String], bad: &mut Vec<FieldError>) -> Vec<IpNet> {
    let mut nets = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<IpNet>() {
            Ok(net) if net.addr() == net.network() => nets.push(net),
            Ok(net) => bad.push(FieldError::new(
                format!("{path}[{index}]"),
                text,
                format!("has bits set after its prefix; the network is {}", net.trunc()),
            )),
            Err(_) => bad.push(FieldError::new(format!("{path}[{index}]"), text, "must be a CIDR")),
        }
    }
    if let [a, b] = nets.as_slice()
        && matches!((a, b), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)))
    {
        bad.push(FieldError::new(path, texts.join(","), "two ranges must be of different families"));
    }
    nets
}

fn overlap(pods: &[IpNet], services: &[IpNet], bad: &mut Vec<FieldError>) {
    for pod in pods {
        for service in services.iter().filter(|service| overlaps(pod, service)) {
            bad.push(FieldError::new(
                "spec.networkProfile.podCidrs",
                pod.to_string(),
                format!("overlaps the Service range {service}"),
            ));
        }
    }
}

fn dns_ips(given: &[String], services: &[IpNet], bad: &mut Vec<FieldError>) -> Vec<IpAddr> {
    if given.is_empty() {
        return services.iter().filter_map(dns_service_ip).collect();
    }
    let mut ips = Vec::new();
    for (index, text) in given.iter().enumerate() {
        let path = format!("spec.networkProfile.dnsServiceIPs[{index}]");
        match text.parse::<IpAddr>() {
            Err(_) => bad.push(FieldError::new(path, text, "must be an IP address")),
            Ok(ip) if !services.iter().any(|net| net.contains(&ip)) => {
                let ranges: Vec<_> = services.iter().map(ToString::to_string).collect();
                bad.push(FieldError::new(
                    path,
                    text,
                    format!(
                        "DNS service IP {ip} is not contained in any configured service CIDR ({})",
                        ranges.join(", ")
                    ),
                ));
            }
            Ok(ip) => ips.push(ip),
        }
    }
    ips
}

fn admission(given: &[AdmissionController]) -> Vec<String> {
    let mut plugins = if given.is_empty() { AdmissionController::DEFAULT.to_vec() } else { given.to_vec() };
    // Without it a kubelet's credentials open the objects of every other Node.
    plugins.push(AdmissionController::NodeRestriction);
    plugins.sort();
    plugins.dedup();
    plugins.iter().map(|plugin| format!("{plugin:?}")).collect()
}
