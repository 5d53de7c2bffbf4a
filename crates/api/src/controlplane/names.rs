//! Finalizers and annotations of control planes on Machines.

/// Keeps a KubeadmControlPlane until its Machines are gone.
pub const KUBEADM_CONTROL_PLANE_FINALIZER: &str = "kubeadm.controlplane.cluster.x-k8s.io";
/// On KubeadmControlPlanes: CoreDNS is left alone.
pub const SKIP_COREDNS_ANNOTATION: &str = "controlplane.cluster.x-k8s.io/skip-coredns";
/// On KubeadmControlPlanes: kube-proxy is left alone.
pub const SKIP_KUBE_PROXY_ANNOTATION: &str = "controlplane.cluster.x-k8s.io/skip-kube-proxy";
/// On KubeadmControlPlanes: a Machine that failed was deleted, and its replacement is not made yet. JSON.
pub const REMEDIATION_IN_PROGRESS_ANNOTATION: &str = "controlplane.cluster.x-k8s.io/remediation-in-progress";
/// On Machines: the Machine that this one replaces because it failed. JSON.
pub const REMEDIATION_FOR_ANNOTATION: &str = "controlplane.cluster.x-k8s.io/remediation-for";
/// On Machines, by releases of Cluster API before 1.12: the cluster configuration that the Machine was made with. JSON.
pub const KUBEADM_CLUSTER_CONFIGURATION_ANNOTATION: &str =
    "controlplane.cluster.x-k8s.io/kubeadm-cluster-configuration";
/// On control-plane Machines: the etcd member goes before the infrastructure.
pub const PRE_TERMINATE_KCP_CLEANUP_ANNOTATION: &str =
    "pre-terminate.delete.hook.machine.cluster.x-k8s.io/kcp-cleanup";
