//! kube-apiserver's command line.

use super::{Arguments, Flags, flag_name, joined};
use ipnet::IpNet;
use std::net::IpAddr;

/// How an API server reaches its etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAccess {
    /// `https://host:port` of each member.
    pub servers: Vec<String>,
    /// Key prefix, with its leading `/`, where several clusters share one etcd. Compaction is left to etcd then:
    /// one tenant's API server must not compact the revisions of all.
    pub prefix: Option<String>,
    /// File of the CA of etcd's server certificates.
    pub ca_file: String,
    /// File of the client certificate.
    pub cert_file: String,
    /// File of the client's key.
    pub key_file: String,
    /// `/resource` or `group/resource`, and the servers that hold it in place of the main ones.
    pub overrides: Vec<(String, Vec<String>)>,
}

/// What kube-apiserver's command line is made of. Files lie under `pki_dir` with kubeadm's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServer<'a> {
    /// Address of the Service `kubernetes`' endpoint, as the cluster's Pods reach it. `None`: the host's default.
    pub advertise_address: Option<IpAddr>,
    /// Port to serve on.
    pub secure_port: u16,
    /// Ranges of Services.
    pub service_cidrs: &'a [IpNet],
    /// DNS domain of the cluster, part of the issuer of service account tokens.
    pub cluster_domain: &'a str,
    /// `--enable-admission-plugins`.
    pub admission_plugins: &'a [String],
    /// `--kubelet-preferred-address-types`.
    pub kubelet_preferred_address_types: &'a [String],
    /// Directory of certificates and keys, `/etc/kubernetes/pki` as a rule.
    pub pki_dir: &'a str,
    /// The etcd.
    pub etcd: &'a EtcdAccess,
    /// Flags beside upstream's; the user's of the same name win.
    pub defaults: &'a [(&'static str, String)],
    /// The user's additional arguments.
    pub extra_args: &'a [String],
}

impl ApiServer<'_> {
    /// Managed flags win over the user's; the rest of the user's arguments keep their order and their repetitions.
    pub fn arguments(&self) -> Arguments {
        let pki = |file: &str| format!("{}/{file}", self.pki_dir);
        let flags = Flags::default()
            .managed("client-ca-file", pki("ca.crt"))
            .managed("enable-admission-plugins", self.admission_plugins.join(","))
            .managed("kubelet-client-certificate", pki("apiserver-kubelet-client.crt"))
            .managed("kubelet-client-key", pki("apiserver-kubelet-client.key"))
            .managed("kubelet-preferred-address-types", self.kubelet_preferred_address_types.join(","))
            .managed("proxy-client-cert-file", pki("front-proxy-client.crt"))
            .managed("proxy-client-key-file", pki("front-proxy-client.key"))
            .managed("requestheader-allowed-names", "front-proxy-client")
            .managed("requestheader-client-ca-file", pki("front-proxy-ca.crt"))
            .managed("secure-port", self.secure_port)
            .managed("service-account-key-file", pki("sa.pub"))
            .managed("service-account-signing-key-file", pki("sa.key"))
            .managed("service-cluster-ip-range", joined(self.service_cidrs))
            .managed("tls-cert-file", pki("apiserver.crt"))
            .managed("tls-private-key-file", pki("apiserver.key"))
            .soft("allow-privileged", true)
            .soft("enable-bootstrap-token-auth", true)
            .soft("requestheader-extra-headers-prefix", "X-Remote-Extra-")
            .soft("requestheader-group-headers", "X-Remote-Group")
            .soft("requestheader-username-headers", "X-Remote-User")
            .soft(
                "service-account-issuer",
                format!("https://kubernetes.default.svc.{}", self.cluster_domain),
            );
        let flags = match self.advertise_address {
            Some(address) => flags.managed("advertise-address", address),
            None => flags,
        };
        self.authorization(etcd(flags, self.etcd)).softly(self.defaults).merge(self.extra_args)
    }

    /// A file with structured authorization excludes the flag.
    fn authorization(&self, flags: Flags) -> Flags {
        match self.extra_args.iter().any(|argument| flag_name(argument) == "authorization-config") {
            true => flags,
            false => flags.soft("authorization-mode", "Node,RBAC"),
        }
    }
}

fn etcd(flags: Flags, etcd: &EtcdAccess) -> Flags {
    let mut flags = flags
        .managed("etcd-cafile", &etcd.ca_file)
        .managed("etcd-certfile", &etcd.cert_file)
        .managed("etcd-keyfile", &etcd.key_file)
        .managed("etcd-servers", etcd.servers.join(","));
    if let Some(prefix) = &etcd.prefix {
        flags = flags.managed("etcd-prefix", prefix).managed("etcd-compaction-interval", 0);
    }
    if !etcd.overrides.is_empty() {
        let overrides: Vec<_> = etcd
            .overrides
            .iter()
            .map(|(resource, servers)| format!("{resource}#{}", servers.join(";")))
            .collect();
        flags = flags.managed("etcd-servers-overrides", overrides.join(","));
    }
    flags
}
