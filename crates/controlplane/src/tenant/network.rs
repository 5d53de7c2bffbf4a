//! The addresses and ranges of a tenant, checked.

use std::net::IpAddr;

use ipnet::IpNet;
use scute_api::cluster::overlaps;
use scute_api::kamaji::NetworkProfile;
use scute_kit::FieldError;
use scute_kubeadm::{Version, check_dns_address, check_first_family, check_service_range, dns_service_ip};

/// Path of the Service ranges.
const SERVICES: &str = "spec.networkProfile.serviceCidrs";
/// Path of the Pod ranges.
const PODS: &str = "spec.networkProfile.podCidrs";

/// Checked addresses and ranges.
pub struct Network {
    /// Address that the user gave.
    pub address: Option<IpAddr>,
    /// Ranges of Services, in the user's order.
    pub service_cidrs: Vec<IpNet>,
    /// Ranges of Pods, in the user's order.
    pub pod_cidrs: Vec<IpNet>,
    /// Addresses of the DNS Service.
    pub dns_ips: Vec<IpAddr>,
}

/// Checks addresses and ranges. What depends on the version is not checked without one.
pub fn check(asked: &NetworkProfile, version: Option<&Version>, bad: &mut Vec<FieldError>) -> Network {
    let address = address(&asked.address, bad);
    let service_cidrs = cidrs(SERVICES, &asked.service_ranges(), bad);
    let pod_cidrs = cidrs(PODS, &asked.pod_ranges(), bad);
    overlap(&pod_cidrs, &service_cidrs, bad);
    for (index, range) in service_cidrs.iter().enumerate() {
        let fits = version.map_or(Ok(()), |version| check_service_range(range, version));
        let fits = match asked.dns_service_ips.is_empty() {
            true => fits.and_then(|()| check_dns_address(range)),
            false => fits,
        };
        if let Err(error) = fits {
            bad.push(FieldError::new(format!("{SERVICES}[{index}]"), range.to_string(), error.to_string()));
        }
    }
    if let Some(address) = address {
        bad.extend(other_family(&service_cidrs, address));
    }
    let dns_ips = dns_ips(&asked.dns_service_ips, &service_cidrs, bad);
    Network { address, service_cidrs, pod_cidrs, dns_ips }
}

/// What is wrong with the first Service range when the API server is reached at this address.
pub fn other_family(services: &[IpNet], address: IpAddr) -> Option<FieldError> {
    let first = services.first()?;
    let error = check_first_family(first, address).err()?;
    Some(FieldError::new(format!("{SERVICES}[0]"), first.to_string(), error.to_string()))
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
            bad.push(FieldError::new(PODS, pod.to_string(), format!("overlaps the Service range {service}")));
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
