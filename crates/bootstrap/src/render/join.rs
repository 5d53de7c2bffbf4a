//! The join configuration, and the kubeconfig of a discovery by file.

use scute_api::bootstrap::{
    BootstrapTokenDiscovery, FileDiscovery, ImagePullPolicy, JoinConfiguration, JoinControlPlane,
    LocalApiEndpoint, NodeRegistrationOptions, Timeouts,
};
use scute_kubeadm::cloud_config::File;
use scute_kubeadm::{YamlError, join, to_yaml};
use serde_json::{Value, json};

/// Where kubeadm has the CA's certificate unless it is told otherwise.
const CA_CERT_PATH: &str = "/etc/kubernetes/pki/ca.crt";

/// The join configuration as kubeadm reads it.
pub fn configuration(given: &JoinConfiguration) -> join::JoinConfiguration {
    let discovery = given.discovery.clone().unwrap_or_default();
    join::JoinConfiguration {
        ca_cert_path: Some(given.ca_cert_path.clone().unwrap_or_else(|| CA_CERT_PATH.to_owned())),
        discovery: join::Discovery {
            bootstrap_token: discovery.bootstrap_token.map(by_token),
            file: discovery.file.map(|file| join::FileDiscovery { kube_config_path: file.kube_config_path }),
            tls_bootstrap_token: discovery.tls_bootstrap_token,
        },
        node_registration: registration(given.node_registration.clone().unwrap_or_default()),
        control_plane: given.control_plane.clone().map(control_plane),
        skip_phases: given.skip_phases.clone(),
        patches: given
            .patches
            .as_ref()
            .and_then(|patches| patches.directory.clone())
            .map(|directory| join::Patches { directory }),
        timeouts: given.timeouts.as_ref().map(timeouts),
    }
}

fn control_plane(given: JoinControlPlane) -> join::ControlPlane {
    let endpoint = |given: LocalApiEndpoint| join::LocalApiEndpoint {
        advertise_address: given.advertise_address,
        bind_port: given.bind_port,
    };
    join::ControlPlane { local_api_endpoint: given.local_api_endpoint.map(endpoint) }
}

fn by_token(given: BootstrapTokenDiscovery) -> join::BootstrapTokenDiscovery {
    join::BootstrapTokenDiscovery {
        token: given.token.unwrap_or_default(),
        api_server_endpoint: given.api_server_endpoint,
        ca_cert_hashes: given.ca_cert_hashes,
        unsafe_skip_ca_verification: given.unsafe_skip_ca_verification.unwrap_or_default(),
    }
}

fn registration(given: NodeRegistrationOptions) -> join::NodeRegistration {
    join::NodeRegistration {
        name: given.name,
        cri_socket: given.cri_socket,
        taints: given.taints.map(|taints| {
            let taint = |taint: k8s_openapi::api::core::v1::Taint| join::Taint {
                key: taint.key,
                value: taint.value.unwrap_or_default(),
                effect: taint.effect,
            };
            taints.into_iter().map(taint).collect()
        }),
        kubelet_extra_args: given
            .kubelet_extra_args
            .into_iter()
            .map(|arg| join::Arg { name: arg.name, value: arg.value })
            .collect(),
        ignore_preflight_errors: given.ignore_preflight_errors,
        image_pull_policy: given.image_pull_policy.map(|policy| match policy {
            ImagePullPolicy::Always => "Always".to_owned(),
            ImagePullPolicy::IfNotPresent => "IfNotPresent".to_owned(),
            ImagePullPolicy::Never => "Never".to_owned(),
        }),
        image_pull_serial: given.image_pull_serial,
    }
}

fn timeouts(given: &Timeouts) -> join::Timeouts {
    let duration = |seconds: Option<i32>| seconds.map(|seconds| format!("{seconds}s"));
    join::Timeouts {
        control_plane_component_health_check: duration(given.control_plane_component_health_check_seconds),
        etcd_api_call: duration(given.etcd_api_call_seconds),
        kubelet_health_check: duration(given.kubelet_health_check_seconds),
        kubernetes_api_call: duration(given.kubernetes_api_call_seconds),
        tls_bootstrap: duration(given.tls_bootstrap_seconds),
        discovery: duration(given.discovery_seconds),
        ..Default::default()
    }
}

/// The kubeconfig of a discovery by file, where the user wants it made.
///
/// # Errors
/// When it has no YAML form.
pub fn kubeconfig(discovery: &FileDiscovery) -> Result<Option<File>, YamlError> {
    let Some(given) = &discovery.kube_config else { return Ok(None) };
    let mut cluster = json!(given.cluster.clone().unwrap_or_default());
    for (from, to) in [
        ("tlsServerName", "tls-server-name"),
        ("insecureSkipTLSVerify", "insecure-skip-tls-verify"),
        ("certificateAuthorityData", "certificate-authority-data"),
        ("proxyURL", "proxy-url"),
    ] {
        if let Some(value) = cluster.as_object_mut().and_then(|fields| fields.remove(from)) {
            cluster[to] = value;
        }
    }
    let mut user = json!({});
    if let Some(provider) = &given.user.auth_provider {
        user["auth-provider"] = json!(provider);
    }
    if let Some(exec) = &given.user.exec {
        let mut exec = json!(exec);
        if exec["apiVersion"].is_null() {
            exec["apiVersion"] = json!("client.authentication.k8s.io/v1");
        }
        exec["interactiveMode"] = json!("Never");
        user["exec"] = exec;
    }
    let config: Value = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "default",
        "clusters": [{"name": "default", "cluster": cluster}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "users": [{"name": "default", "user": user}],
    });
    Ok(Some(File {
        path: discovery.kube_config_path.clone(),
        owner: Some("root:root".to_owned()),
        permissions: Some("0640".to_owned()),
        content: to_yaml(&config)?,
        ..File::default()
    }))
}
