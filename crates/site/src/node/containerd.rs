//! containerd's configuration for a site. In: paths and what the machine allows. Out: TOML.

use crate::Layout;

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
"#
    )
}
