//! containerd's configuration for a site. In: paths and what the machine allows. Out: TOML.

use crate::Layout;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The image of a Pod's sandbox.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10.1";

/// Renders the configuration file (version 3).
///
/// `restrict_oom` is for machines where raising a process's out-of-memory priority is refused (no CAP_SYS_RESOURCE):
/// without it every sandbox would fail there.
pub fn render_config(layout: &Layout, restrict_oom: bool) -> String {
    let root = layout.at("containerd");
    let (root, runc) = (root.display(), layout.bin("runc"));
    let (runc, cni) = (runc.display(), layout.bin("cni"));
    let (cni, socket) = (cni.display(), layout.containerd_socket());
    let socket = socket.display();
    let (kvm, spec) = (scute_install::KVM_RUNTIME, kvm_spec_file(layout));
    let spec = spec.display();
    format!(
        r#"version = 3
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
address = "{socket}"

[ttrpc]
address = "{socket}.ttrpc"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = {restrict_oom}
enable_cdi = false

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "/run/scute-node/cni"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{kvm}]
runtime_type = "io.containerd.runc.v2"
base_runtime_spec = "{spec}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.{kvm}.options]
BinaryName = "{runc}"
SystemdCgroup = false
"#
    )
}

/// Where the specification of containers with KVM is.
pub fn kvm_spec_file(layout: &Layout) -> PathBuf {
    layout.at("kvm-spec.json")
}

/// The runtime's default specification of a container, and `/dev/kvm` for every user in it: by default the device
/// is neither in a container's `/dev` nor allowed by its device cgroup. Numbers: Linux, `admin-guide/devices.txt`.
pub fn with_kvm(mut spec: Value) -> Value {
    let (major, minor) = (10, 232);
    let device = json!({
        "path": "/dev/kvm", "type": "c", "major": major, "minor": minor, "fileMode": 0o666, "uid": 0, "gid": 0,
    });
    let rule = json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rw"});
    let linux = &mut spec["linux"];
    push(&mut linux["devices"], device);
    push(&mut linux["resources"]["devices"], rule);
    spec
}

fn push(list: &mut Value, entry: Value) {
    match list {
        Value::Array(list) => list.push(entry),
        other => *other = Value::Array(vec![entry]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_added_and_everything_else_stays_denied() {
        let deny = json!({"allow": false, "access": "rwm"});
        let spec = with_kvm(json!({"root": {}, "linux": {"resources": {"devices": [deny]}}}));
        assert_eq!(spec["linux"]["resources"]["devices"][0], deny);
        assert_eq!(spec["linux"]["resources"]["devices"][1]["minor"], 232);
        assert_eq!(spec["linux"]["devices"][0]["path"], "/dev/kvm");
        assert_eq!(spec["root"], json!({}));
    }
}
