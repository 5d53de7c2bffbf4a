//! kube-controller-manager's command line.

use super::{Arguments, Flags, joined};
use ipnet::IpNet;

/// What kube-controller-manager's command line is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerManager<'a> {
    /// `--cluster-name`.
    pub cluster_name: &'a str,
    /// Ranges of Pods, from which each Node gets its share.
    pub pod_cidrs: &'a [IpNet],
    /// Ranges of Services.
    pub service_cidrs: &'a [IpNet],
    /// Directory of certificates and keys.
    pub pki_dir: &'a str,
    /// Its kubeconfig file.
    pub kubeconfig: &'a str,
    /// Address of `/healthz`: `0.0.0.0` where the kubelet probes a Pod's address, `127.0.0.1` on a host.
    pub bind_address: &'a str,
    /// Flags beside upstream's; the user's of the same name win.
    pub defaults: &'a [(&'static str, String)],
    /// The user's additional arguments.
    pub extra_args: &'a [String],
}

impl ControllerManager<'_> {
    /// The user's arguments win over every flag (Kamaji's rule).
    pub fn arguments(&self) -> Arguments {
        let pki = |file: &str| format!("{}/{file}", self.pki_dir);
        Flags::default()
            .soft("allocate-node-cidrs", true)
            .soft("authentication-kubeconfig", self.kubeconfig)
            .soft("authorization-kubeconfig", self.kubeconfig)
            .soft("bind-address", self.bind_address)
            .soft("client-ca-file", pki("ca.crt"))
            .soft("cluster-cidr", joined(self.pod_cidrs))
            .soft("cluster-name", self.cluster_name)
            .soft("cluster-signing-cert-file", pki("ca.crt"))
            .soft("cluster-signing-key-file", pki("ca.key"))
            .soft("controllers", "*,bootstrapsigner,tokencleaner")
            .soft("kubeconfig", self.kubeconfig)
            .soft("leader-elect", true)
            .soft("requestheader-client-ca-file", pki("front-proxy-ca.crt"))
            .soft("root-ca-file", pki("ca.crt"))
            .soft("service-account-private-key-file", pki("sa.key"))
            .soft("service-cluster-ip-range", joined(self.service_cidrs))
            .soft("use-service-account-credentials", true)
            .softly(self.defaults)
            .merge(self.extra_args)
    }
}
