//! The CNI configuration of a Node: bridge with addresses from its own Pod range, and host ports.

use ipnet::IpNet;
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// File name in the CNI configuration directory; the digits make it the first one there.
pub(crate) const FILE_NAME: &str = "10-scute.conflist";

/// The configuration list for Pods out of `pod_cidrs`, with packets no larger than the uplink takes.
pub fn conflist(pod_cidrs: &[IpNet], mtu: u32) -> Value {
    let ranges: Vec<_> = pod_cidrs.iter().map(|cidr| json!([{"subnet": cidr.to_string()}])).collect();
    let default = |cidr: &IpNet| json!({"dst": if cidr.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" }});
    json!({
        "cniVersion": "1.0.0",
        "name": "scute",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "hairpinMode": true,
                // The plug-in would masquerade packets to other Nodes' Pods as well; the agent does it right.
                "ipMasq": false,
                "isGateway": true,
                "mtu": mtu,
                "ipam": {
                    "type": "host-local",
                    "ranges": ranges,
                    "routes": pod_cidrs.iter().map(default).collect::<Vec<_>>(),
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// Puts `content` at `dir/10-scute.conflist` in one step, so that the container runtime never reads half of it. Returns
/// whether anything changed. Other files in the directory are left alone.
pub(crate) fn write(dir: &Path, content: &Value) -> io::Result<bool> {
    let text = format!("{content:#}\n");
    let path = dir.join(FILE_NAME);
    if fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(false);
    }
    fs::create_dir_all(dir)?;
    // The runtime reads only names that end in .conf, .conflist and .json.
    let temporary = dir.join(format!(".{FILE_NAME}.tmp"));
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    Ok(true)
}
