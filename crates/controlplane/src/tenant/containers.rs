//! The three containers: images, command lines, probes, and the Secrets that each may read.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, KeyToPath, Probe, ProjectedVolumeSource,
    ResourceRequirements, SecretProjection, SecurityContext, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use scute_api::kamaji::{Probes, TenantControlPlane};
use scute_kubeadm::args::{ApiServer, Arguments, ControllerManager, EtcdAccess, Scheduler};

use super::endpoint::Endpoint;
use super::node_cidr_mask::node_masks;
use super::probes::{self, Component};
use super::resources;
use super::validate::Wanted;
use crate::names::TenantSecret;

const PKI: &str = "/etc/kubernetes/pki";
const CONTROLLER_MANAGER_CONF: &str = "/etc/kubernetes/controller-manager.conf";
const SCHEDULER_CONF: &str = "/etc/kubernetes/scheduler.conf";

/// The containers, what they mount, and what of the user's arguments was left out.
pub struct Rendered {
    /// API server, scheduler, controller-manager.
    pub containers: Vec<Container>,
    /// One projected volume for each.
    pub volumes: Vec<Volume>,
    /// Arguments that the user gave and that are managed.
    pub ignored: Vec<String>,
}

/// Renders the containers.
pub fn containers(
    tcp: &TenantControlPlane,
    wanted: &Wanted,
    endpoint: &Endpoint,
    store_endpoints: &[String],
) -> Rendered {
    let asked = &tcp.spec.control_plane.deployment;
    let (registry, resources) = (&asked.registry_settings, asked.resources.clone().unwrap_or_default());
    let extra = asked.extra_args.clone().unwrap_or_default();
    let probes = asked.probes.clone().unwrap_or_default();
    let image =
        |name: &str| format!("{}/{name}:{}{}", registry.registry, wanted.version, registry.tag_suffix);
    let api_server = api_server_arguments(tcp, wanted, endpoint, store_endpoints, &extra.api_server);
    let controller_manager = controller_manager_arguments(wanted, &extra.controller_manager);
    let scheduler = scheduler_arguments(&extra.scheduler);
    let container = |component: Component, image: String, arguments: &Arguments, resources| {
        container(component, image, arguments, resources, wanted.port, &probes)
    };
    Rendered {
        containers: vec![
            container(
                Component::ApiServer,
                image(&registry.api_server_image),
                &api_server,
                resources.api_server,
            ),
            container(
                Component::Scheduler,
                image(&registry.scheduler_image),
                &scheduler,
                resources.scheduler,
            ),
            container(
                Component::ControllerManager,
                image(&registry.controller_manager_image),
                &controller_manager,
                resources.controller_manager,
            ),
        ],
        volumes: Component::ALL.iter().map(|component| volume(*component, &wanted.name)).collect(),
        ignored: [api_server.ignored, controller_manager.ignored, scheduler.ignored].concat(),
    }
}

fn api_server_arguments(
    tcp: &TenantControlPlane,
    wanted: &Wanted,
    endpoint: &Endpoint,
    store_endpoints: &[String],
    extra: &[String],
) -> Arguments {
    let types = tcp.spec.kubernetes.kubelet.address_types();
    let types: Vec<_> = types.iter().map(|kind| format!("{kind:?}")).collect();
    let etcd = EtcdAccess {
        servers: store_endpoints.iter().map(|member| format!("https://{member}")).collect(),
        prefix: Some(format!("/{}", wanted.tenant.schema)),
        ca_file: format!("{PKI}/etcd/ca.crt"),
        cert_file: format!("{PKI}/etcd/server.crt"),
        key_file: format!("{PKI}/etcd/server.key"),
        overrides: Vec::new(),
    };
    // Serves on while the Service still sends requests to a Pod that ends, and says so to its clients.
    let defaults = [
        ("shutdown-delay-duration", "5s".to_owned()),
        ("shutdown-send-retry-after", "true".to_owned()),
        ("profiling", "false".to_owned()),
    ];
    ApiServer {
        advertise_address: Some(endpoint.address),
        secure_port: wanted.port,
        service_cidrs: &wanted.service_cidrs,
        cluster_domain: &wanted.cluster_domain,
        admission_plugins: &wanted.admission,
        kubelet_preferred_address_types: &types,
        pki_dir: PKI,
        etcd: &etcd,
        defaults: &defaults,
        extra_args: extra,
    }
    .arguments()
}

fn controller_manager_arguments(wanted: &Wanted, extra: &[String]) -> Arguments {
    let mut defaults = vec![
        // Without a look-up it starts before the API server does, and waits there for the lease.
        ("authentication-skip-lookup", "true".to_owned()),
        ("profiling", "false".to_owned()),
    ];
    defaults.extend(node_masks(&wanted.pod_cidrs));
    ControllerManager {
        cluster_name: &wanted.name,
        pod_cidrs: &wanted.pod_cidrs,
        service_cidrs: &wanted.service_cidrs,
        pki_dir: PKI,
        kubeconfig: CONTROLLER_MANAGER_CONF,
        bind_address: "0.0.0.0",
        defaults: &defaults,
        extra_args: extra,
    }
    .arguments()
}

fn scheduler_arguments(extra: &[String]) -> Arguments {
    let defaults = [
        ("authentication-skip-lookup", "true".to_owned()),
        ("client-ca-file", format!("{PKI}/ca.crt")),
        ("requestheader-client-ca-file", format!("{PKI}/front-proxy-ca.crt")),
        ("profiling", "false".to_owned()),
    ];
    Scheduler { kubeconfig: SCHEDULER_CONF, bind_address: "0.0.0.0", defaults: &defaults, extra_args: extra }
        .arguments()
}

fn container(
    component: Component,
    image: String,
    arguments: &Arguments,
    resources: Option<ResourceRequirements>,
    port: u16,
    asked: &Probes,
) -> Container {
    let port = component.port(port);
    let probe = |path: &str, numbers: probes::Numbers| Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(port),
            scheme: Some("HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: (numbers.initial_delay > 0).then_some(numbers.initial_delay),
        period_seconds: Some(numbers.period),
        timeout_seconds: Some(numbers.timeout),
        success_threshold: Some(numbers.success),
        failure_threshold: Some(numbers.failure),
        ..Probe::default()
    };
    let numbers = probes::numbers(component, asked);
    Container {
        name: component.name().to_owned(),
        image: Some(image),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![component.name().to_owned()]),
        args: Some(arguments.args.clone()),
        resources: Some(resources::of(component, resources)),
        ports: (component == Component::ApiServer).then(|| {
            vec![ContainerPort {
                name: Some("kube-apiserver".to_owned()),
                container_port: port,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]
        }),
        liveness_probe: Some(probe(component.liveness_path(), numbers.liveness)),
        readiness_probe: numbers.readiness.map(|numbers| probe(component.readiness_path(), numbers)),
        startup_probe: numbers.startup.map(|numbers| probe(component.readiness_path(), numbers)),
        // A process that ends says why in its last lines: they are told to the user.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![mount(component)]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn mount(component: Component) -> VolumeMount {
    VolumeMount {
        name: component.name().to_owned(),
        mount_path: "/etc/kubernetes".to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// What a component may read, and nothing else: only the controller-manager sees the authority's key.
fn volume(component: Component, tcp: &str) -> Volume {
    let secret = |which, keys: &[&str], folder: &str| projection(tcp, which, keys, folder);
    let sources = match component {
        Component::ApiServer => vec![
            secret(TenantSecret::Ca, &["ca.crt"], "pki/"),
            secret(TenantSecret::FrontProxyCa, &["front-proxy-ca.crt"], "pki/"),
            secret(
                TenantSecret::FrontProxyClient,
                &["front-proxy-client.crt", "front-proxy-client.key"],
                "pki/",
            ),
            secret(TenantSecret::ServiceAccount, &["sa.pub", "sa.key"], "pki/"),
            secret(TenantSecret::ApiServer, &["apiserver.crt", "apiserver.key"], "pki/"),
            secret(
                TenantSecret::KubeletClient,
                &["apiserver-kubelet-client.crt", "apiserver-kubelet-client.key"],
                "pki/",
            ),
            secret(TenantSecret::DataStoreCertificate, &["ca.crt", "server.crt", "server.key"], "pki/etcd/"),
        ],
        Component::ControllerManager => vec![
            secret(TenantSecret::Ca, &["ca.crt", "ca.key"], "pki/"),
            secret(TenantSecret::FrontProxyCa, &["front-proxy-ca.crt"], "pki/"),
            secret(TenantSecret::ServiceAccount, &["sa.key"], "pki/"),
            secret(TenantSecret::ControllerManager, &["controller-manager.conf"], ""),
        ],
        Component::Scheduler => vec![
            secret(TenantSecret::Ca, &["ca.crt"], "pki/"),
            secret(TenantSecret::FrontProxyCa, &["front-proxy-ca.crt"], "pki/"),
            secret(TenantSecret::Scheduler, &["scheduler.conf"], ""),
        ],
    };
    Volume {
        name: component.name().to_owned(),
        projected: Some(ProjectedVolumeSource { default_mode: Some(0o440), sources: Some(sources) }),
        ..Volume::default()
    }
}

fn projection(tcp: &str, which: TenantSecret, keys: &[&str], folder: &str) -> VolumeProjection {
    let item = |key: &&str| KeyToPath { key: (*key).to_owned(), path: format!("{folder}{key}"), mode: None };
    VolumeProjection {
        secret: Some(SecretProjection {
            name: which.name(tcp),
            items: Some(keys.iter().map(item).collect()),
            optional: None,
        }),
        ..VolumeProjection::default()
    }
}
