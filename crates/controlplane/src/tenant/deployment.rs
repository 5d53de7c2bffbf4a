//! The Deployment: three containers of the upstream images in one Pod, a self-contained replica.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, Sysctl, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use scute_api::kamaji::TenantControlPlane;
use scute_api::meta::TemplateMeta;

use super::containers;
use super::endpoint::Endpoint;
use super::validate::Wanted;
use crate::names::{self, TenantSecret};

/// User and group of the processes: nobody in particular, but not root.
const USER: i64 = 65_532;
/// An API server serves for some seconds after its Pod was taken out of the Service, then lets requests end.
const GRACE_SECONDS: i64 = 60;

/// The Deployment, and those of the user's extra arguments that are not honoured.
pub struct Rendered {
    /// The object.
    pub deployment: Deployment,
    /// Arguments that the user gave and that are managed.
    pub ignored: Vec<String>,
}

/// Renders the Deployment. `checksums` are those of the Secrets: when one changes, the Pods are replaced.
pub fn deployment(
    tcp: &TenantControlPlane,
    wanted: &Wanted,
    endpoint: &Endpoint,
    store_endpoints: &[String],
    checksums: &BTreeMap<TenantSecret, String>,
) -> Rendered {
    let asked = &tcp.spec.control_plane.deployment;
    let containers::Rendered { containers, volumes, ignored } =
        containers::containers(tcp, wanted, endpoint, store_endpoints);
    let mut spread = asked.topology_spread_constraints.clone();
    if spread.is_empty() {
        spread = vec![soft_spread("kubernetes.io/hostname"), soft_spread("topology.kubernetes.io/zone")];
    }
    for constraint in &mut spread {
        constraint.label_selector.get_or_insert_with(|| label_selector(&wanted.name));
    }
    let pod = PodSpec {
        containers,
        volumes: Some(volumes),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: asked.service_account_name.clone(),
        security_context: Some(
            asked.pod_security_context.clone().unwrap_or_else(|| security_context(wanted)),
        ),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        node_selector: (!asked.node_selector.is_empty()).then(|| asked.node_selector.clone()),
        tolerations: (!asked.tolerations.is_empty()).then(|| asked.tolerations.clone()),
        affinity: asked.affinity.clone(),
        runtime_class_name: asked.runtime_class_name.clone(),
        topology_spread_constraints: Some(spread),
        ..PodSpec::default()
    };
    let spec = DeploymentSpec {
        replicas: Some(wanted.replicas),
        selector: label_selector(&wanted.name),
        strategy: Some(asked.strategy.clone().unwrap_or_else(blue_green)),
        template: PodTemplateSpec { metadata: Some(pod_meta(tcp, wanted, checksums)), spec: Some(pod) },
        ..DeploymentSpec::default()
    };
    let mut meta = names::owned_meta(tcp, wanted.name.clone(), "deployment", None);
    extend(&mut meta, asked.additional_metadata.as_ref());
    Rendered { deployment: Deployment { metadata: meta, spec: Some(spec), status: None }, ignored }
}

fn pod_meta(
    tcp: &TenantControlPlane,
    wanted: &Wanted,
    checksums: &BTreeMap<TenantSecret, String>,
) -> ObjectMeta {
    let mut labels = names::labels(&wanted.name, "deployment", None);
    let mut annotations = BTreeMap::new();
    for (which, checksum) in checksums.iter().filter(|(which, _)| which.is_read_by_pods()) {
        match which {
            TenantSecret::DataStoreConfig => {
                annotations.insert("storage.kamaji.clastix.io/config".to_owned(), checksum.clone());
            }
            TenantSecret::DataStoreCertificate => {
                annotations.insert("storage.kamaji.clastix.io/certificate".to_owned(), checksum.clone());
            }
            which => {
                let label = format!("component.kamaji.clastix.io/{}", which.component());
                labels.insert(label, checksum.clone());
            }
        }
    }
    let mut meta =
        ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() };
    extend(&mut meta, tcp.spec.control_plane.deployment.pod_additional_metadata.as_ref());
    meta
}

/// Adds the user's labels and annotations; ours win.
fn extend(meta: &mut ObjectMeta, more: Option<&TemplateMeta>) {
    let Some(more) = more else { return };
    for (ours, theirs) in [(&mut meta.labels, &more.labels), (&mut meta.annotations, &more.annotations)] {
        for (key, value) in theirs.iter().flatten() {
            ours.get_or_insert_with(BTreeMap::new).entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
}

fn label_selector(name: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(name)), ..LabelSelector::default() }
}

/// All new Pods start before an old one goes.
fn blue_green() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_unavailable: Some(IntOrString::Int(0)),
            max_surge: Some(IntOrString::String("100%".to_owned())),
        }),
    }
}

fn soft_spread(topology_key: &str) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: topology_key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        ..TopologySpreadConstraint::default()
    }
}

fn security_context(wanted: &Wanted) -> PodSecurityContext {
    // A user that is not root may listen below 1024 only where the Pod's network allows it.
    let low_port = (wanted.port < 1024).then(|| {
        vec![Sysctl { name: "net.ipv4.ip_unprivileged_port_start".to_owned(), value: "0".to_owned() }]
    });
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        fs_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        sysctls: low_port,
        ..PodSecurityContext::default()
    }
}
