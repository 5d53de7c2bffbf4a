//! The Pod that a VMI runs in.
//!
//! Privileges, each with its reason: the init container `network` is root with NET_ADMIN, because it makes
//! the bridge and the tap of the guest, and MKNOD, because it makes the tun device node that `compute` opens;
//! `compute` is user 107 and answers DHCP on port 67, for which the Pod's network namespace opens that port
//! to every user (a safe sysctl) and NET_BIND_SERVICE is granted as upstream does. Nothing has an API token.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, ExecAction, Pod, PodSecurityContext, PodSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, Sysctl, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use scute_api::kubevirt as api;
use scute_api::kubevirt::VirtualMachineInstance;

use super::guest::launcher_spec;
use super::names::{hostname, label_value, pod_name};
use super::resources::requirements;
use super::storage::storage;
use super::volumes::{mount, pull_secrets, volumes};
use crate::Config;
use scute_launcher::spec::{LauncherSpec, RUN_AS, RUN_DIR, SPEC_ENV, START_SECONDS, STARTED_SECONDS};

/// The container of the VM.
pub const COMPUTE: &str = "compute";
/// The init container that makes bridge and tap.
pub const NETWORK: &str = "network";
/// Seconds between the end of the guest's grace period and the end of the launcher.
const LAUNCHER_GRACE: i64 = 5;
/// Seconds between two looks at a guest that runs. Each starts a program in the Pod.
const LOOK_EVERY: i32 = 20;
/// Port of the DHCP server; a user other than root has no use for NET_BIND_SERVICE.
const DHCP_PORT: &str = "67";
const BINARY: &str = "/usr/local/bin/scute";

/// Why there is no Pod to make.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A number of the spec cannot be read.
    #[error(transparent)]
    Quantity(#[from] api::QuantityError),
    /// The document for the launcher cannot be written.
    #[error("writing the launcher's document")]
    Encode(#[source] serde_json::Error),
}

/// The launcher Pod of a VMI.
pub fn pod(vmi: &VirtualMachineInstance, config: &Config) -> Result<Pod, RenderError> {
    let guest = launcher_spec(vmi, config.accelerator)?;
    let mut pod = Pod::default();
    pod.metadata.name = Some(pod_name(vmi));
    pod.metadata.namespace = vmi.namespace();
    pod.metadata.labels = Some(labels(vmi));
    pod.metadata.annotations = Some(annotations(vmi));
    pod.metadata.owner_references = Some(owner(vmi).into_iter().collect());
    pod.spec = Some(pod_spec(vmi, &guest, config)?);
    Ok(pod)
}

/// The owner reference that makes a child of a VMI.
#[must_use]
pub fn owner(vmi: &VirtualMachineInstance) -> Option<OwnerReference> {
    vmi.controller_owner_ref(&())
}

fn labels(vmi: &VirtualMachineInstance) -> BTreeMap<String, String> {
    let name = vmi.name_any();
    let mut labels = vmi.labels().clone();
    labels.extend([
        (api::APP_LABEL.to_owned(), api::LAUNCHER.to_owned()),
        (api::CREATED_BY_LABEL.to_owned(), vmi.uid().unwrap_or_default()),
        (api::VM_NAME_LABEL.to_owned(), hostname(&name, &vmi.spec)),
        (api::VMI_ID_LABEL.to_owned(), label_value(&name)),
    ]);
    labels
}

fn annotations(vmi: &VirtualMachineInstance) -> BTreeMap<String, String> {
    let mut annotations = vmi.annotations().clone();
    annotations.retain(|key, _| key != "kubectl.kubernetes.io/last-applied-configuration");
    annotations.extend([
        (api::DOMAIN_ANNOTATION.to_owned(), vmi.name_any()),
        ("kubectl.kubernetes.io/default-container".to_owned(), COMPUTE.to_owned()),
        ("descheduler.alpha.kubernetes.io/request-evict-only".to_owned(), String::new()),
    ]);
    annotations
}

fn pod_spec(
    vmi: &VirtualMachineInstance,
    guest: &LauncherSpec,
    config: &Config,
) -> Result<PodSpec, RenderError> {
    let spec = &vmi.spec;
    let document = serde_json::to_string(guest).map_err(RenderError::Encode)?;
    let (volumes, mounts) = volumes(vmi, &storage(spec)?);
    let compute = compute_container(vmi, config, &document, mounts)?;
    let network = (!guest.interfaces.is_empty()).then(|| network_container(config, &document, &compute));
    Ok(PodSpec {
        init_containers: network.map(|network| vec![network]),
        containers: vec![compute],
        volumes: Some(volumes),
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(spec.grace_seconds() + LAUNCHER_GRACE),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        hostname: Some(guest.hostname.clone()),
        subdomain: spec.subdomain.clone(),
        dns_policy: spec.dns_policy.map(|policy| policy.as_str().to_owned()),
        dns_config: spec.dns_config.clone(),
        node_selector: spec.node_selector.clone(),
        affinity: spec.affinity.clone(),
        tolerations: (!spec.tolerations.is_empty()).then(|| spec.tolerations.clone()),
        topology_spread_constraints: (!spec.topology_spread_constraints.is_empty())
            .then(|| spec.topology_spread_constraints.clone()),
        scheduler_name: spec.scheduler_name.clone(),
        priority_class_name: spec.priority_class_name.clone(),
        runtime_class_name: config.runtime_class.clone(),
        image_pull_secrets: pull_secrets(spec),
        security_context: Some(PodSecurityContext {
            fs_group: Some(i64::from(RUN_AS)),
            sysctls: Some(vec![Sysctl {
                name: "net.ipv4.ip_unprivileged_port_start".to_owned(),
                value: DHCP_PORT.to_owned(),
            }]),
            seccomp_profile: Some(runtime_default()),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    })
}

fn runtime_default() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

/// Bridge and tap need NET_ADMIN in the Pod's own network namespace; the tap is given to user 107.
fn network_container(config: &Config, document: &str, compute: &Container) -> Container {
    Container {
        name: NETWORK.to_owned(),
        image: Some(config.launcher_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![BINARY.to_owned(), "launcher".to_owned(), "network".to_owned()]),
        env: Some(vec![variable(document)]),
        volume_mounts: Some(vec![mount("scute-run", RUN_DIR, false)]),
        resources: Some(network_resources(compute)),
        security_context: Some(SecurityContext {
            run_as_user: Some(0),
            run_as_group: Some(i64::from(RUN_AS)),
            capabilities: Some(capabilities(&["NET_ADMIN", "MKNOD"])),
            ..locked_down()
        }),
        ..Container::default()
    }
}

/// A quota on limits wants them of every container. It ends before `compute` starts, so with the same numbers the Pod
/// counts no more than without it, and keeps its class of service.
fn network_resources(compute: &Container) -> ResourceRequirements {
    if let Some(same) = compute.resources.as_ref().filter(|resources| resources.limits.is_some()) {
        return same.clone();
    }
    ResourceRequirements {
        requests: Some(BTreeMap::from([
            ("cpu".to_owned(), ApiQuantity("10m".to_owned())),
            ("memory".to_owned(), ApiQuantity("16Mi".to_owned())),
        ])),
        ..ResourceRequirements::default()
    }
}

fn compute_container(
    vmi: &VirtualMachineInstance,
    config: &Config,
    document: &str,
    mounts: Vec<VolumeMount>,
) -> Result<Container, RenderError> {
    Ok(Container {
        name: COMPUTE.to_owned(),
        image: Some(config.launcher_image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec![BINARY.to_owned(), "launcher".to_owned(), "run".to_owned()]),
        env: Some(vec![variable(document)]),
        resources: Some(requirements(&vmi.spec, config.accelerator)?),
        startup_probe: Some(Probe {
            // It waits for the guest itself.
            period_seconds: Some(1),
            // The launcher gives up first, and says why.
            failure_threshold: Some(((START_SECONDS + 60) / STARTED_SECONDS) as i32),
            ..probe("started")
        }),
        // A guest that is paused, and a QEMU that does not answer, are not ready.
        readiness_probe: Some(Probe {
            period_seconds: Some(LOOK_EVERY),
            failure_threshold: Some(1),
            ..probe("ready")
        }),
        volume_mounts: Some(mounts),
        security_context: Some(SecurityContext {
            run_as_user: Some(i64::from(RUN_AS)),
            run_as_group: Some(i64::from(RUN_AS)),
            run_as_non_root: Some(true),
            capabilities: Some(capabilities(&["NET_BIND_SERVICE"])),
            ..locked_down()
        }),
        ..Container::default()
    })
}

/// Asks the launcher.
fn probe(verb: &str) -> Probe {
    let command = vec![BINARY.to_owned(), "launcher".to_owned(), verb.to_owned()];
    Probe { exec: Some(ExecAction { command: Some(command) }), timeout_seconds: Some(10), ..Probe::default() }
}

fn locked_down() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        read_only_root_filesystem: Some(true),
        ..SecurityContext::default()
    }
}

fn capabilities(only: &[&str]) -> Capabilities {
    Capabilities {
        add: Some(only.iter().map(|&name| name.to_owned()).collect()),
        drop: Some(vec!["ALL".to_owned()]),
    }
}

fn variable(document: &str) -> EnvVar {
    EnvVar { name: SPEC_ENV.to_owned(), value: Some(document.to_owned()), value_from: None }
}
