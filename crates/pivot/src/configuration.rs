//! What the manager of the new management cluster is told when nobody says otherwise. Pure.

use ipnet::IpNet;
use scute_api::cluster::{Cluster, NetworkRanges};
use scute_install::{ManagementNetworks, ManagerConfig, MetalConfig};

/// Its ranges are those of the Cluster, and its servers reach it at the Cluster's endpoint: the Service for them has a port on
/// every Node, and one of the Nodes holds that address.
#[must_use]
pub fn configuration(cluster: &Cluster) -> ManagerConfig {
    let networks = cluster.spec.cluster_network.as_ref();
    let ranges = |ranges: Option<&NetworkRanges>| -> Vec<IpNet> {
        let blocks = ranges.iter().flat_map(|ranges| &ranges.cidr_blocks);
        blocks.filter_map(|block| block.parse().ok()).collect()
    };
    let endpoint = cluster.spec.control_plane_endpoint.as_ref().filter(|endpoint| endpoint.is_set());
    ManagerConfig {
        networks: ManagementNetworks {
            pods: ranges(networks.and_then(|networks| networks.pods.as_ref())),
            services: ranges(networks.and_then(|networks| networks.services.as_ref())),
            ..ManagementNetworks::default()
        },
        metal: endpoint.map(|endpoint| MetalConfig::on(endpoint.host.clone())),
        ..ManagerConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_clusters_ranges_and_its_endpoint() {
        let cluster = serde_json::from_value(json!({
            "metadata": {"name": "foundry"},
            "spec": {
                "clusterNetwork": {"pods": {"cidrBlocks": ["10.200.0.0/16"]}, "services": {"cidrBlocks": ["10.96.0.0/12"]}},
                "controlPlaneEndpoint": {"host": "10.77.0.20", "port": 6443},
            },
        }));
        let told = configuration(&cluster.unwrap());
        assert_eq!(told.networks.pods, ["10.200.0.0/16".parse::<IpNet>().unwrap()]);
        assert_eq!(told.networks.services, ["10.96.0.0/12".parse::<IpNet>().unwrap()]);
        assert_eq!(told.metal, Some(MetalConfig::on("10.77.0.20".to_owned())));
    }
}
