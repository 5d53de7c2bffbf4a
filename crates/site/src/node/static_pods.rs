//! The control plane as static Pods. In: the site's configuration. Out: Pod manifests. Pure.

use super::etcd;
use crate::{Layout, SiteConfig, node::pki::API_PORT};
use scute_kubeadm::{IMAGE_REPOSITORY, KUBERNETES_VERSION};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The image of a Kubernetes component.
pub fn kubernetes_image(component: &str) -> String {
    format!("{IMAGE_REPOSITORY}/{component}:{KUBERNETES_VERSION}")
}

/// A manifest and the name of its file.
pub struct StaticPod {
    /// Name of the component.
    pub name: &'static str,
    /// The Pod.
    pub manifest: Value,
}

/// What the API server needs and itself: the Node cannot register before.
pub fn first(layout: &Layout, config: &SiteConfig) -> Vec<StaticPod> {
    vec![etcd::of_site(layout, config), apiserver(layout, config)]
}

/// Everything that has nothing to do before the API server answers. Started later, it does not take the processor from
/// the API server, and the controller-manager does not exit for want of the bootstrap roles.
pub fn second(layout: &Layout, config: &SiteConfig) -> Vec<StaticPod> {
    vec![
        controller_manager(layout, config),
        scheduler(layout),
        super::proxy::pod(layout),
        etcd::of_tenants(layout, config),
    ]
}

/// A component of the control plane, before it becomes a Pod.
pub(super) struct Component {
    pub(super) name: &'static str,
    pub(super) image: String,
    pub(super) flags: Vec<(&'static str, String)>,
    pub(super) millicores: u32,
    /// Scheme, port and path of the liveness probe, on the loopback address.
    pub(super) probe: Option<(&'static str, u16, &'static str)>,
    /// A folder that it writes to.
    pub(super) data: Option<PathBuf>,
    pub(super) privileged: bool,
}

impl Component {
    /// Makes the Pod. Of the site's files it sees exactly those that its flags name.
    pub(super) fn pod(self, layout: &Layout) -> StaticPod {
        let Self { name, image, flags, millicores, probe, data, privileged } = self;
        let mut volumes = Vec::new();
        let mut mounts = Vec::new();
        let mut files: Vec<_> =
            flags.iter().map(|(_, value)| value).filter(|v| Path::new(v).starts_with(&layout.dir)).collect();
        files.sort();
        files.dedup();
        for file in files.into_iter().filter(|file| data.as_deref() != Some(Path::new(file))) {
            let volume = format!("file-{}", volumes.len());
            mounts.push(json!({"name": volume, "mountPath": file, "readOnly": true}));
            volumes.push(json!({"name": volume, "hostPath": {"path": file, "type": "File"}}));
        }
        if let Some(data) = data {
            mounts.push(json!({"name": "data", "mountPath": data}));
            volumes.push(json!({"name": "data", "hostPath": {"path": data, "type": "DirectoryOrCreate"}}));
        }
        let program = std::iter::once(format!(
            "/usr/local/bin/{}",
            if name.starts_with("etcd") { "etcd" } else { name }
        ));
        let command: Vec<_> =
            program.chain(flags.iter().map(|(flag, value)| format!("--{flag}={value}"))).collect();
        let mut container = json!({
            "name": name,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "resources": {"requests": {"cpu": format!("{millicores}m")}},
            "volumeMounts": mounts,
        });
        if privileged {
            container["securityContext"] = json!({"privileged": true});
        }
        if let Some((scheme, port, path)) = probe {
            let get = json!({"host": "127.0.0.1", "scheme": scheme, "port": port, "path": path});
            // A busy machine is no reason to kill a component: these are wide on purpose.
            container["startupProbe"] =
                json!({"httpGet": get, "periodSeconds": 10, "timeoutSeconds": 15, "failureThreshold": 30});
            container["livenessProbe"] =
                json!({"httpGet": get, "periodSeconds": 10, "timeoutSeconds": 15, "failureThreshold": 8});
        }
        let manifest = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": "kube-system",
                "labels": {"component": name, "tier": "control-plane"},
            },
            "spec": {
                "hostNetwork": true,
                "priority": 2_000_001_000,
                "priorityClassName": "system-node-critical",
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
                "volumes": volumes,
            },
        });
        StaticPod { name, manifest }
    }
}

fn apiserver(layout: &Layout, config: &SiteConfig) -> StaticPod {
    let pki = |file: &str| layout.pki(file).display().to_string();
    let flags = [
        ("advertise-address", config.addresses.node.to_string()),
        ("allow-privileged", "true".to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("client-ca-file", pki("ca.crt")),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("enable-bootstrap-token-auth", "true".to_owned()),
        ("etcd-servers", "https://127.0.0.1:2379".to_owned()),
        ("etcd-cafile", pki("etcd-ca.crt")),
        ("etcd-certfile", pki("apiserver-etcd-client.crt")),
        ("etcd-keyfile", pki("apiserver-etcd-client.key")),
        ("kubelet-client-certificate", pki("apiserver-kubelet-client.crt")),
        ("kubelet-client-key", pki("apiserver-kubelet-client.key")),
        ("kubelet-certificate-authority", pki("ca.crt")),
        // Names of Nodes do not resolve in the site's network.
        ("kubelet-preferred-address-types", "InternalIP,ExternalIP,Hostname".to_owned()),
        ("proxy-client-cert-file", pki("front-proxy-client.crt")),
        ("proxy-client-key-file", pki("front-proxy-client.key")),
        ("requestheader-allowed-names", "front-proxy-client".to_owned()),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
        ("requestheader-group-headers", "X-Remote-Group".to_owned()),
        ("requestheader-username-headers", "X-Remote-User".to_owned()),
        ("secure-port", API_PORT.to_string()),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
        ("service-account-key-file", pki("sa.pub")),
        ("service-account-signing-key-file", pki("sa.key")),
        ("service-cluster-ip-range", config.addresses.services.to_string()),
        ("tls-cert-file", pki("apiserver.crt")),
        ("tls-private-key-file", pki("apiserver.key")),
    ];
    Component {
        name: "kube-apiserver",
        image: kubernetes_image("kube-apiserver"),
        flags: flags.into(),
        millicores: 200,
        probe: Some(("HTTPS", API_PORT, "/livez")),
        data: None,
        privileged: false,
    }
    .pod(layout)
}

/// `--leader-elect` of the only one of its site: it need not wait until the lease of one that was killed is over.
const NO_OTHER: &str = "false";

fn controller_manager(layout: &Layout, config: &SiteConfig) -> StaticPod {
    let pki = |file: &str| layout.pki(file).display().to_string();
    let kubeconfig = layout.at("kubernetes/controller-manager.kubeconfig");
    let conf = kubeconfig.display().to_string();
    let flags = [
        ("allocate-node-cidrs", "true".to_owned()),
        ("authentication-kubeconfig", conf.clone()),
        ("authorization-kubeconfig", conf.clone()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("client-ca-file", pki("ca.crt")),
        ("cluster-cidr", config.addresses.pods.to_string()),
        ("cluster-name", config.name.clone()),
        ("cluster-signing-cert-file", pki("ca.crt")),
        ("cluster-signing-key-file", pki("ca.key")),
        ("controllers", "*,bootstrapsigner,tokencleaner".to_owned()),
        ("kubeconfig", conf),
        ("leader-elect", NO_OTHER.to_owned()),
        // One Node owns the whole range, as its bridge does.
        ("node-cidr-mask-size", config.addresses.pods.prefix_len().to_string()),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("root-ca-file", pki("ca.crt")),
        ("service-account-private-key-file", pki("sa.key")),
        ("service-cluster-ip-range", config.addresses.services.to_string()),
        ("use-service-account-credentials", "true".to_owned()),
    ];
    Component {
        name: "kube-controller-manager",
        image: kubernetes_image("kube-controller-manager"),
        flags: flags.into(),
        millicores: 100,
        probe: Some(("HTTPS", 10257, "/healthz")),
        data: None,
        privileged: false,
    }
    .pod(layout)
}

fn scheduler(layout: &Layout) -> StaticPod {
    let kubeconfig = layout.at("kubernetes/scheduler.kubeconfig");
    let conf = kubeconfig.display().to_string();
    let flags = [
        ("authentication-kubeconfig", conf.clone()),
        ("authorization-kubeconfig", conf.clone()),
        ("bind-address", "127.0.0.1".to_owned()),
        ("kubeconfig", conf),
        ("leader-elect", NO_OTHER.to_owned()),
    ];
    Component {
        name: "kube-scheduler",
        image: kubernetes_image("kube-scheduler"),
        flags: flags.into(),
        millicores: 50,
        probe: Some(("HTTPS", 10259, "/healthz")),
        data: None,
        privileged: false,
    }
    .pod(layout)
}
