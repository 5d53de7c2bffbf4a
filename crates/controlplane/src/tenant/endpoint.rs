//! Where the API server is reached: decided by the type of the Service and what the cluster gave it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use scute_api::kamaji::ServiceType;
use scute_kit::Why;
use scute_kubeadm::join_host_port;

use super::validate::Wanted;

/// Where the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address, from outside and inside alike.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Further addresses of the Service: names of the certificate, not of the kubeconfigs.
    pub others: Vec<IpAddr>,
}

impl Endpoint {
    /// `host:port`, an IPv6 host in brackets.
    pub fn text(&self) -> String {
        join_host_port(&self.address.to_string(), self.port)
    }
}

/// The endpoint, or what it waits for.
///
/// # Errors
/// What has to change on which object.
pub fn endpoint(wanted: &Wanted, service: &Service) -> Result<Endpoint, Why> {
    let cluster_ips = cluster_ips(service);
    let given = load_balancer_ips(service);
    let address = match (wanted.service_type, wanted.address) {
        (ServiceType::LoadBalancer, None) => *given.first().ok_or_else(|| no_address(wanted, service))?,
        // An address that was asked for is ours when the load balancer says so: it may be somebody else's.
        // One that only has a name says nothing about addresses.
        (ServiceType::LoadBalancer, Some(address))
            if !given.contains(&address) && hostname(service).is_none() =>
        {
            return Err(no_address(wanted, service));
        }
        (_, Some(address)) => address,
        (_, None) => *cluster_ips.first().ok_or_else(|| {
            Why::new("WaitingForClusterIP", format!("Service {} has no cluster IP yet", wanted.name))
        })?,
    };
    let mut others: Vec<_> = cluster_ips.into_iter().chain(given).filter(|ip| *ip != address).collect();
    others.sort();
    others.dedup();
    Ok(Endpoint { address, port: wanted.port, others })
}

/// A load balancer without the IP address that is needed: what it says itself, if it says anything.
fn no_address(wanted: &Wanted, service: &Service) -> Why {
    let needed = wanted.address.map_or("address".to_owned(), |address| format!("address {address}"));
    if let Some(hostname) = hostname(service) {
        return Why::new(
            "HostnameNotSupported",
            format!(
                "Service {} got the host name {hostname} from its load balancer, but an IP address is needed: set \
                 spec.networkProfile.address",
                wanted.name
            ),
        );
    }
    let conditions = service.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said: Vec<_> = conditions
        .filter(|condition| condition.status == "False" && !condition.message.is_empty())
        .map(|condition| condition.message.as_str())
        .collect();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
    Why::new(
        "WaitingForLoadBalancer",
        format!("Service {} of type LoadBalancer has no {needed} yet{said}", wanted.name),
    )
}

fn hostname(service: &Service) -> Option<&String> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    balancer.ingress.iter().flatten().find_map(|ingress| ingress.hostname.as_ref())
}

fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    let spec = service.spec.as_ref();
    let list = spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
    let single = spec.and_then(|spec| spec.cluster_ip.clone());
    let all = if list.is_empty() { single.into_iter().collect() } else { list };
    all.iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn load_balancer_ips(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|status| status.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(|ingress| ingress.ip.as_ref()?.parse().ok()).collect()
}
