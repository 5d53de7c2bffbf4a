//! The claims of objects. What is no range is left out: another rule tells.

use std::net::IpAddr;

use ipnet::IpNet;
use kube::ResourceExt;

use super::{Claim, Home, Owner, Purpose, Role, parse};
use crate::addresses::AddressRange;
use crate::cluster::Cluster;
use crate::ipam::{IPPool, PoolRange};
use crate::kamaji::{NetworkProfile, TenantControlPlane};
use crate::meta::CLUSTER_NAME_LABEL;

/// The management cluster's own addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Management {
    /// Networks of its Nodes.
    pub nodes: Vec<IpNet>,
    /// Networks of its Pods, in which VM Nodes are too.
    pub pods: Vec<IpNet>,
    /// Networks of its Services.
    pub services: Vec<IpNet>,
    /// Given to Services of type LoadBalancer.
    pub load_balancer: Vec<AddressRange>,
    /// Parts of the Pods' networks that no Pod gets: servers on the same network may have them.
    pub servers: Vec<AddressRange>,
    /// Given to servers on that network by DHCP.
    pub leases: Vec<AddressRange>,
    /// Where servers and BMCs reach the manager.
    pub service: Option<IpAddr>,
}

impl Management {
    /// What is claimed, by the fields of the manager's configuration.
    #[must_use]
    pub fn claims(&self) -> Vec<Claim> {
        let Self { nodes, pods, services, load_balancer, servers, leases, service } = self;
        let free: Vec<PoolRange> =
            [servers, leases].into_iter().flatten().map(|range| (*range).into()).collect();
        // The bridge of Pods, which no Pod has: a rack's BMCs answer there.
        let bridge = |net: &IpNet| net.hosts().next().and_then(|first| PoolRange::between(first, first));
        let net = |purpose, path: &str, net: &IpNet, holes| Claim {
            holes,
            ..Self::claim(purpose, path, (*net).into(), net.to_string())
        };
        let range = |purpose, path: &'static str| {
            move |range: &AddressRange| Self::claim(purpose, path, (*range).into(), range.to_string())
        };
        let pods = pods.iter().map(|pods| {
            let holes = free.iter().copied().chain(bridge(pods)).collect();
            net(Purpose::Pods, "networks.pods", pods, holes)
        });
        let mut claims: Vec<_> = pods.collect();
        claims.extend(services.iter().map(|it| net(Purpose::Services, "networks.services", it, vec![])));
        claims.extend(nodes.iter().map(|it| net(Purpose::Nodes, "networks.nodes", it, vec![])));
        claims.extend(load_balancer.iter().map(range(Purpose::LoadBalancer, "loadBalancer.pools")));
        claims.extend(leases.iter().map(range(Purpose::Leases, "networks.leases")));
        let service = service.and_then(|address| PoolRange::between(address, address).zip(Some(address)));
        claims.extend(service.map(|(range, address)| {
            Self::claim(Purpose::Endpoint, "metal.serviceAddress", range, address.to_string())
        }));
        claims
    }

    fn claim(purpose: Purpose, path: &str, range: PoolRange, text: String) -> Claim {
        let home = Home { namespace: String::new(), name: "management".to_owned(), role: Role::Management };
        let owner = Owner::new("management cluster", "", "");
        Claim { range, text, purpose, owner, path: path.to_owned(), home: Some(home), holes: Vec::new() }
    }
}

/// The addresses of a Cluster: its Pods and Services (ours, where its control plane is ours and it names none), and its
/// endpoint. `vm_pools`: some of its Machines are VMs, whatever its own infrastructure is.
#[must_use]
pub fn of_cluster(cluster: &Cluster, vm_pools: bool) -> Vec<Claim> {
    let spec = &cluster.spec;
    let control_plane = spec.control_plane_ref.as_ref();
    let hosted = control_plane.is_some_and(|reference| reference.kind == "KamajiControlPlane");
    let on_vms = spec.infrastructure_ref.as_ref().is_some_and(|infra| infra.kind == "KubevirtCluster");
    let role = match hosted || on_vms {
        true => Role::Hosted { on_vms: on_vms || vm_pools },
        false => Role::Standing,
    };
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let of = Of { owner: Owner::new("Cluster", &namespace, &name), home: Home { namespace, name, role } };
    let network = spec.cluster_network.clone().unwrap_or_default();
    let default = NetworkProfile::default();
    let or = |asked: Option<crate::cluster::NetworkRanges>, ours: Vec<String>| {
        let asked = asked.map(|ranges| ranges.cidr_blocks).unwrap_or_default();
        if asked.is_empty() && hosted { ours } else { asked }
    };
    let (pods, services) =
        (or(network.pods, default.pod_ranges()), or(network.services, default.service_ranges()));
    let mut claims = of.list(Purpose::Pods, "spec.clusterNetwork.pods.cidrBlocks", &pods);
    claims.extend(of.list(Purpose::Services, "spec.clusterNetwork.services.cidrBlocks", &services));
    let endpoint = spec.control_plane_endpoint.as_ref().map(|endpoint| endpoint.host.as_str());
    let purpose = if hosted { Purpose::Requested } else { Purpose::Endpoint };
    claims.extend(of.address(purpose, "spec.controlPlaneEndpoint.host", endpoint.unwrap_or_default()));
    claims
}

/// The addresses of a TenantControlPlane: the Pods and Services of its tenant, and its own address.
#[must_use]
pub fn of_tenant(tenant: &TenantControlPlane) -> Vec<Claim> {
    let (namespace, name) = (tenant.namespace().unwrap_or_default(), tenant.name_any());
    let cluster = tenant.labels().get(CLUSTER_NAME_LABEL).unwrap_or(&name).clone();
    let of = Of {
        owner: Owner::new("TenantControlPlane", &namespace, &name),
        home: Home { namespace, name: cluster, role: Role::Hosted { on_vms: false } },
    };
    let network = &tenant.spec.network_profile;
    let mut claims = of.list(Purpose::Pods, "spec.networkProfile.podCidrs", &network.pod_ranges());
    claims.extend(of.list(Purpose::Services, "spec.networkProfile.serviceCidrs", &network.service_ranges()));
    claims.extend(of.address(Purpose::Requested, "spec.networkProfile.address", &network.address));
    claims
}

/// The addresses that an IPPool gives to servers: of its Cluster, or of any one in its namespace.
#[must_use]
pub fn of_pool(pool: &IPPool) -> Vec<Claim> {
    let (namespace, name) = (pool.namespace().unwrap_or_default(), pool.name_any());
    let cluster = pool.spec.cluster_name.clone().unwrap_or_default();
    let of = Of {
        owner: Owner::new("IPPool", &namespace, name),
        home: Home { namespace, name: cluster, role: Role::Hosted { on_vms: false } },
    };
    let ranges = pool.spec.pools.iter().enumerate();
    let ranges = ranges.filter_map(|(index, entry)| Some((index, PoolRange::of(entry).ok()?)));
    let claim = |(index, range): (usize, PoolRange)| {
        of.claim(Purpose::Servers, format!("spec.pools[{index}]"), range, range.to_string())
    };
    ranges.map(claim).collect()
}

/// Whose claims are made.
struct Of {
    owner: Owner,
    home: Home,
}

impl Of {
    fn claim(&self, purpose: Purpose, path: String, range: PoolRange, text: String) -> Claim {
        let (owner, home) = (self.owner.clone(), Some(self.home.clone()));
        Claim { range, text, purpose, owner, path, home, holes: Vec::new() }
    }

    fn list(&self, purpose: Purpose, path: &str, texts: &[String]) -> Vec<Claim> {
        let claim = |(index, text): (usize, &String)| {
            Some(self.claim(purpose, format!("{path}[{index}]"), parse(text)?, text.clone()))
        };
        texts.iter().enumerate().filter_map(claim).collect()
    }

    fn address(&self, purpose: Purpose, path: &str, text: &str) -> Option<Claim> {
        let address: IpAddr = text.parse().ok()?;
        Some(self.claim(purpose, path.to_owned(), PoolRange::between(address, address)?, text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::clashes;
    use super::*;
    use serde_json::{Value, json};

    fn management() -> Management {
        Management {
            nodes: vec!["172.30.0.0/24".parse().unwrap()],
            pods: vec!["10.85.0.0/16".parse().unwrap()],
            services: vec!["10.86.0.0/16".parse().unwrap()],
            load_balancer: vec!["172.30.0.128-172.30.0.254".parse().unwrap()],
            servers: vec!["10.85.248.0-10.85.255.254".parse().unwrap()],
            leases: vec!["10.85.240.1-10.85.247.255".parse().unwrap()],
            service: Some("172.30.0.2".parse().unwrap()),
        }
    }

    fn cluster(pods: Value, infra: &str) -> Cluster {
        serde_json::from_value(json!({
            "metadata": {"namespace": "t", "name": "a"},
            "spec": {
                "clusterNetwork": pods, "controlPlaneEndpoint": {"host": "172.30.0.130", "port": 6443},
                "controlPlaneRef": {"apiGroup": "g", "kind": "KamajiControlPlane", "name": "a"},
                "infrastructureRef": {"apiGroup": "g", "kind": infra, "name": "a"},
            },
        }))
        .unwrap()
    }

    fn pool(start: &str, end: &str) -> IPPool {
        let spec = json!({"namePrefix": "p", "clusterName": "a", "pools": [{"start": start, "end": end}]});
        serde_json::from_value(json!({"metadata": {"namespace": "t", "name": "p"}, "spec": spec})).unwrap()
    }

    fn told(ours: &[Claim], others: &[Claim]) -> Vec<String> {
        clashes(ours, others).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_site_and_a_tenant_with_the_default_ranges_are_silent() {
        let claims = management().claims();
        for infra in ["KubevirtCluster", "Metal3Cluster"] {
            let ours = of_cluster(&cluster(Value::Null, infra), true);
            assert_eq!(ours.len(), 3, "{ours:?}");
            assert_eq!(told(&ours, &claims), [""; 0]);
        }
        assert_eq!(told(&claims, &[]), [""; 0], "a LoadBalancer pool is a part of the Nodes' network");
    }

    #[test]
    fn servers_may_have_what_the_site_keeps_for_them_and_nothing_else() {
        let claims = management().claims();
        assert_eq!(told(&of_pool(&pool("10.85.248.0", "10.85.250.9")), &claims), [""; 0]);
        let leased = told(&of_pool(&pool("10.85.240.9", "10.85.240.20")), &claims);
        assert_eq!(
            leased,
            [
                "spec.pools[0]: 10.85.240.9-10.85.240.20 overlaps 10.85.240.1-10.85.247.255, the DHCP leases of the management \
              cluster (networks.leases): a booting server may be leased an address that a machine is given for good"
            ]
        );
        let pods = told(&of_pool(&pool("10.85.239.250", "10.85.248.3")), &claims);
        assert!(pods[0].contains("overlaps 10.85.0.0/16, the Pods of the management cluster"), "{pods:?}");
    }

    #[test]
    fn a_cluster_with_vms_must_leave_all_of_the_sites_networks_alone() {
        let claims = management().claims();
        let network = json!({"pods": {"cidrBlocks": ["10.85.250.0/24", "172.30.0.0/25"]}});
        let on_vms = told(&of_cluster(&cluster(network.clone(), "Metal3Cluster"), true), &claims);
        assert_eq!(on_vms.len(), 2, "{on_vms:?}");
        assert!(
            on_vms[0].contains("overlaps 10.85.0.0/16, the Pods of the management cluster"),
            "{on_vms:?}"
        );
        assert!(
            on_vms[1].contains("overlaps 172.30.0.0/24, the Nodes of the management cluster"),
            "{on_vms:?}"
        );
        let on_metal = told(&of_cluster(&cluster(network, "Metal3Cluster"), false), &claims);
        assert_eq!(on_metal, on_vms[1..], "servers never call Pods of the site");
    }

    #[test]
    fn a_clusters_own_endpoint_and_servers_are_none_of_its_pods() {
        let network = json!({"pods": {"cidrBlocks": ["172.30.0.128/25"]}, "services": {"cidrBlocks": ["172.30.0.0/16"]}});
        let ours = of_cluster(&cluster(network, "Metal3Cluster"), false);
        let within = told(&ours, &[]);
        assert_eq!(within.len(), 3, "{within:?}");
        assert!(
            within[0].starts_with(
                "spec.clusterNetwork.pods.cidrBlocks[0]: 172.30.0.128/25 overlaps 172.30.0.0/16"
            )
        );
        let servers = told(&ours, &of_pool(&pool("172.30.1.1", "172.30.1.9")));
        assert!(servers.iter().any(|told| told.contains("IPPool t/p (spec.pools[0])")), "{servers:?}");
    }

    #[test]
    fn a_control_planes_address_is_none_of_its_tenants_own() {
        let profile = json!({"podCidrs": ["10.1.0.0/16"], "address": "10.1.0.9"});
        let tenant: TenantControlPlane = serde_json::from_value(json!({
            "metadata": {"namespace": "t", "name": "a"},
            "spec": {"kubernetes": {"version": "v1.35.0"}, "controlPlane": {"service": {"serviceType": "LoadBalancer"}},
                "networkProfile": profile},
        }))
        .unwrap();
        let within = told(&of_tenant(&tenant), &[]);
        assert_eq!(within.len(), 1, "{within:?}");
        assert!(within[0].contains("spec.networkProfile.address"), "{within:?}");
    }
}
