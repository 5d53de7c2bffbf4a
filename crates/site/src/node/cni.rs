//! The site's own Pod network: one bridge with the whole Pod range. Out: a CNI configuration list.

use crate::{NetworkMode, SiteConfig};
use serde_json::{Value, json};

/// Name of the list, which the plug-ins write into rules of theirs.
pub const NETWORK: &str = "scute";

/// The bridge of the site's Pods. In the machine's own network its name says whose it is, and another bridge may have the
/// usual one.
pub fn bridge(config: &SiteConfig) -> String {
    match config.network {
        NetworkMode::Namespace => "cni0".to_owned(),
        NetworkMode::Host => config.addresses.host_interface(),
    }
}

/// Renders the list. Leases live on the site's tmpfs: after a restart every Pod is new and every address is free.
pub fn render(config: &SiteConfig) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge(config),
                "isDefaultGateway": true,
                "hairpinMode": true,
                // What leaves the site is the machine's to translate (`host::egress`).
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/scute-node/ipam",
                    // The rest is for servers on the bridge.
                    "ranges": [[{"subnet": config.addresses.pods, "rangeEnd": config.addresses.last_pod()}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    })
}
