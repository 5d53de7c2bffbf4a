//! Where things lie and which versions are built: the constants that every recipe shares.

use std::path::PathBuf;

/// Kubernetes versions; the first is the default, the others can be built beside it.
/// Adding one: `cargo xtask components --pin VERSION`, then a line here.
pub const KUBERNETES: &[&str] = &["v1.35.4"];
/// etcd's image tag, as linked into the Kubernetes binary.
pub const ETCD: &str = "3.6.6-0";
/// CoreDNS, as kubeadm of the default Kubernetes version installs it.
pub const COREDNS: &str = "v1.13.1";
/// containerd; image volumes need 2.1 or later.
pub const CONTAINERD: &str = "v2.4.2";
/// The client of management clusters that tests call.
pub const CLUSTERCTL: &str = "v1.14.2";
/// What judges the chart. Of its releases the one that stands on the Kubernetes of the other components, and is built of the
/// same packages.
pub const HELM: &str = "v3.20.2";
/// The sandbox image.
pub const PAUSE: &str = "3.10.1";
/// Scute's own version.
pub const SCUTE: &str = env!("CARGO_PKG_VERSION");

/// The root of the workspace.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map(PathBuf::from).unwrap_or_default()
}

/// The default Kubernetes version, with its `v`.
pub fn kubernetes() -> &'static str {
    KUBERNETES[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is built must be what Scute asks for: a tag that differs is an image that nobody has.
    #[test]
    fn the_versions_are_those_that_the_crates_name() {
        let wanted = [
            ("crates/kubeadm/src/lib.rs", format!("KUBERNETES_VERSION: &str = \"{}\"", kubernetes())),
            ("crates/kubeadm/src/lib.rs", format!("COREDNS_VERSION: &str = \"{COREDNS}\"")),
            ("crates/install/src/etcd/mod.rs", format!("registry.k8s.io/etcd:{ETCD}\"")),
            ("crates/site/src/node/containerd.rs", format!("registry.k8s.io/pause:{PAUSE}\"")),
            ("images/node/root/etc/containerd/config.toml", format!("registry.k8s.io/pause:{PAUSE}'")),
            ("components/kube/go.mod", format!("k8s.io/kubernetes {}\n", kubernetes())),
            ("components/coredns/go.mod", format!("github.com/coredns/coredns {COREDNS}\n")),
            ("components/containerd/go.mod", format!("containerd/v2 {CONTAINERD} ")),
            ("components/helm/go.mod", format!("helm.sh/helm/v3 {HELM} ")),
            ("components/clusterctl/go.mod", format!("require sigs.k8s.io/cluster-api {CLUSTERCTL}\n")),
        ];
        for (file, text) in wanted {
            let found = std::fs::read_to_string(root().join(file)).unwrap();
            assert!(found.contains(&text), "{file} does not say {text:?}");
        }
    }
}
