//! From a KubeadmControlPlane to the objects of one Machine. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::DynamicObject;
use kube::{Resource, ResourceExt};
use scute_api::bootstrap::{KubeadmConfig, KubeadmConfigSpec};
use scute_api::cluster::{
    Bootstrap, CONTROL_PLANE_NAME_LABEL, ConditionGate, MACHINE_FINALIZER, Machine, MachineSpec,
};
use scute_api::controlplane::{
    KubeadmControlPlane, PRE_TERMINATE_KCP_CLEANUP_ANNOTATION, REMEDIATION_FOR_ANNOTATION,
};
use scute_api::meta::{CLUSTER_NAME_LABEL, CONTROL_PLANE_LABEL, ContractRef};
use scute_api::naming::{child, label_value};
use scute_contract::cloned::{ObjectPairs, Pairs, reference};

use crate::machines::health_conditions;
use crate::observe::is_stacked;

/// Labels of everything that a control plane makes for its Machines.
#[must_use]
pub fn labels(kcp: &KubeadmControlPlane, cluster: &str) -> Pairs {
    let mut labels = template_metadata(kcp).labels.unwrap_or_default();
    labels.insert(CLUSTER_NAME_LABEL.to_owned(), cluster.to_owned());
    labels.insert(CONTROL_PLANE_LABEL.to_owned(), String::new());
    labels.insert(CONTROL_PLANE_NAME_LABEL.to_owned(), label_value(&kcp.name_any()));
    labels
}

/// Annotations of everything that a control plane makes for its Machines.
#[must_use]
pub fn annotations(kcp: &KubeadmControlPlane) -> Pairs {
    template_metadata(kcp).annotations.unwrap_or_default()
}

fn template_metadata(kcp: &KubeadmControlPlane) -> scute_api::meta::TemplateMeta {
    kcp.spec.machine_template.metadata.clone().unwrap_or_default()
}

/// Labels and annotations of the infrastructure of a Machine.
#[must_use]
pub fn pairs(template: Option<&DynamicObject>, kcp: &KubeadmControlPlane, cluster: &str) -> ObjectPairs {
    ObjectPairs::above(template, labels(kcp, cluster), annotations(kcp))
}

/// A name for a new Machine; its five random letters are given.
#[must_use]
pub fn name(kcp: &KubeadmControlPlane, cluster: &str, random: &str) -> String {
    let template = kcp.spec.machine_naming.as_ref().and_then(|naming| naming.template.as_deref());
    let Some(template) = template else { return child(&kcp.name_any(), random) };
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        name.push_str(before);
        let Some((variable, after)) = after.split_once("}}") else {
            rest = "";
            break;
        };
        match variable.trim() {
            ".kubeadmControlPlane.name" => name.push_str(&kcp.name_any()),
            ".cluster.name" => name.push_str(cluster),
            ".random" => name.push_str(random),
            _ => {}
        }
        rest = after;
    }
    name.push_str(rest);
    // What is too long loses its begin's end: the random letters keep names apart.
    match name.strip_suffix(random).filter(|_| name.len() > 63) {
        Some(base) => child(base.trim_end_matches('-'), random),
        None => name,
    }
}

/// The part of the configuration that is for a host that begins the Cluster, or for one that joins it.
#[must_use]
pub fn config_spec(kcp: &KubeadmControlPlane, begins: bool) -> KubeadmConfigSpec {
    let mut spec = kcp.spec.kubeadm_config_spec.clone().unwrap_or_default();
    // The cluster configuration stays with those who join: it tells whose etcd it is.
    match begins {
        true => spec.join_configuration = None,
        false => spec.init_configuration = None,
    }
    spec
}

/// A new configuration.
#[must_use]
pub fn config(
    kcp: &KubeadmControlPlane,
    cluster: &str,
    name: &str,
    begins: bool,
    owner: OwnerReference,
) -> KubeadmConfig {
    let mut config = KubeadmConfig::new(name, config_spec(kcp, begins));
    let meta = config.meta_mut();
    meta.namespace = kcp.namespace();
    meta.labels = Some(labels(kcp, cluster));
    meta.annotations = Some(annotations(kcp)).filter(|annotations| !annotations.is_empty());
    meta.owner_references = Some(vec![owner]);
    config
}

/// What a new Machine is made with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct New {
    /// Its name, and that of its objects.
    pub name: String,
    /// Whether it begins the Cluster; else it joins.
    pub begins: bool,
    /// Where it goes.
    pub failure_domain: Option<String>,
    /// The record of the Machine that it replaces because that failed.
    pub remediation: Option<String>,
}

/// A new Machine.
#[must_use]
pub fn machine(kcp: &KubeadmControlPlane, cluster: &str, new: &New, owner: OwnerReference) -> Machine {
    let template = &kcp.spec.machine_template.spec;
    let spec = MachineSpec {
        cluster_name: cluster.to_owned(),
        bootstrap: Bootstrap {
            config_ref: Some(ContractRef {
                api_group: KubeadmConfig::group(&()).into_owned(),
                kind: KubeadmConfig::kind(&()).into_owned(),
                name: new.name.clone(),
            }),
            data_secret_name: None,
        },
        infrastructure_ref: reference(&template.infrastructure_ref, &new.name),
        version: Some(kcp.spec.version.clone()),
        failure_domain: new.failure_domain.clone(),
        deletion: template.deletion.clone(),
        readiness_gates: gates(kcp),
        taints: template.taints.clone(),
        ..MachineSpec::default()
    };
    with_meta(kcp, cluster, &new.name, new.remediation.clone(), owner, spec)
}

/// An existing Machine with what is changed in place; what needs a new Machine stays.
#[must_use]
pub fn machine_in_place(
    kcp: &KubeadmControlPlane,
    cluster: &str,
    existing: &Machine,
    owner: OwnerReference,
) -> Machine {
    let spec = MachineSpec {
        readiness_gates: gates(kcp),
        deletion: kcp.spec.machine_template.spec.deletion.clone(),
        taints: kcp.spec.machine_template.spec.taints.clone(),
        provider_id: None,
        bootstrap: Bootstrap {
            config_ref: existing.spec.bootstrap.config_ref.clone(),
            // Filled in by the Machine itself when it comes from a configuration.
            data_secret_name: existing
                .spec
                .bootstrap
                .data_secret_name
                .clone()
                .filter(|_| existing.spec.bootstrap.config_ref.is_none()),
        },
        ..existing.spec.clone()
    };
    let remediation = existing.annotations().get(REMEDIATION_FOR_ANNOTATION).cloned();
    with_meta(kcp, cluster, &existing.name_any(), remediation, owner, spec)
}

/// A Machine is Ready when what runs on it is: those that the user asks for come after these.
fn gates(kcp: &KubeadmControlPlane) -> Vec<ConditionGate> {
    let own = health_conditions(is_stacked(kcp)).iter();
    let mut gates: Vec<_> = own
        .map(|type_| ConditionGate { condition_type: (*type_).to_owned(), ..ConditionGate::default() })
        .collect();
    let asked = kcp.spec.machine_template.spec.readiness_gates.iter();
    let more: Vec<_> = asked
        .filter(|gate| gates.iter().all(|own| own.condition_type != gate.condition_type))
        .cloned()
        .collect();
    gates.extend(more);
    gates
}

fn with_meta(
    kcp: &KubeadmControlPlane,
    cluster: &str,
    name: &str,
    remediation: Option<String>,
    owner: OwnerReference,
    spec: MachineSpec,
) -> Machine {
    let mut machine = Machine::new(name, spec);
    let meta = machine.meta_mut();
    meta.namespace = kcp.namespace();
    meta.labels = Some(labels(kcp, cluster));
    let mut pairs = annotations(kcp);
    pairs.insert(PRE_TERMINATE_KCP_CLEANUP_ANNOTATION.to_owned(), String::new());
    pairs.extend(remediation.map(|record| (REMEDIATION_FOR_ANNOTATION.to_owned(), record)));
    meta.annotations = Some(pairs);
    meta.owner_references = Some(vec![owner]);
    // The Machine would put it by a write of its own.
    meta.finalizers = Some(vec![MACHINE_FINALIZER.to_owned()]);
    machine
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kcp(naming: Option<&str>) -> KubeadmControlPlane {
        let mut object = json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "KubeadmControlPlane",
            "metadata": {"name": "cp", "namespace": "ns"},
            "spec": {"version": "v1.35.4", "machineTemplate": {"spec": {"infrastructureRef":
                {"apiGroup": "infra.io", "kind": "TestMachineTemplate", "name": "t1"}}}}
        });
        if let Some(naming) = naming {
            object["spec"]["machineNaming"] = json!({ "template": naming });
        }
        serde_json::from_value(object).expect("a KubeadmControlPlane")
    }

    #[test]
    fn names_are_as_asked_for_and_labels() {
        assert_eq!(name(&kcp(None), "c", "abcde"), "cp-abcde");
        let asked = kcp(Some("{{ .cluster.name }}-x-{{.kubeadmControlPlane.name}}-{{ .random }}"));
        assert_eq!(name(&asked, "c", "abcde"), "c-x-cp-abcde");
        let long = name(&asked, &"c".repeat(63), "abcde");
        assert!(long.len() <= 63 && long.ends_with("-abcde"), "{long}");
    }

    #[test]
    fn a_machine_says_whose_it_is_and_is_ready_when_its_control_plane_is() {
        let new = New { name: "cp-a".into(), ..New::default() };
        let machine = machine(&kcp(None), "c", &new, OwnerReference::default());
        let labels: Vec<_> = machine.labels().keys().map(String::as_str).collect();
        assert_eq!(
            labels,
            [
                "cluster.x-k8s.io/cluster-name",
                "cluster.x-k8s.io/control-plane",
                "cluster.x-k8s.io/control-plane-name"
            ]
        );
        assert_eq!(machine.spec.readiness_gates.len(), 5);
        assert!(machine.annotations().contains_key(PRE_TERMINATE_KCP_CLEANUP_ANNOTATION));
        assert_eq!(machine.spec.infrastructure_ref.kind, "TestMachine");
    }
}
