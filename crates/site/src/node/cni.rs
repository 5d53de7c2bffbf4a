//! The site's own Pod network: one bridge with the whole Pod range. Out: a CNI configuration list.

use crate::addresses::Addresses;
use serde_json::{Value, json};

/// Renders the list. Leases live on the site's tmpfs: after a restart every Pod is new and every address is free.
pub fn render(addresses: &Addresses) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "scute",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isDefaultGateway": true,
                "hairpinMode": true,
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "dataDir": "/run/scute-node/ipam",
                    "ranges": [[{"subnet": addresses.pods}]],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true},
        ],
    })
}
