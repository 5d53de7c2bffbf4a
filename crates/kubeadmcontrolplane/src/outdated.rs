//! Whether a Machine is what its control plane asks for. Pure.
//!
//! The rules are upstream's: what can be changed in place is no reason, what is not known is none either, and what kubeadm
//! reads once counts for the part that the Machine was made with.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::DynamicObject;
use scute_api::bootstrap::{KubeadmConfig, KubeadmConfigSpec};
use scute_api::cluster::{
    CERTIFICATES_EXPIRY_ANNOTATION, CLONED_FROM_GROUP_KIND_ANNOTATION, CLONED_FROM_NAME_ANNOTATION, Machine,
};
use scute_api::controlplane::{KUBEADM_CLUSTER_CONFIGURATION_ANNOTATION, KubeadmControlPlane};
use scute_kubeadm::Version;
use serde_json::{Value, json};

use crate::machines::made;

/// Why a Machine is to be replaced; empty when it is up to date. `config` and `infrastructure` are what it was made with, as
/// far as they can be read.
#[must_use]
pub fn reasons(
    kcp: &KubeadmControlPlane,
    machine: &Machine,
    config: Option<&KubeadmConfig>,
    infrastructure: Option<&DynamicObject>,
    now: Timestamp,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let has = machine.spec.version.as_deref().unwrap_or_default();
    if !same_version(has, &kcp.spec.version) {
        reasons.push(format!("Version {has}, {} required", kcp.spec.version));
    }
    let rollout = kcp.spec.rollout.as_ref();
    if let Some(after) = rollout.and_then(|rollout| rollout.after.as_ref())
        && after.0 <= now
        && made(machine) < after.0
    {
        reasons.push("KubeadmControlPlane spec.rollout.after expired".to_owned());
    }
    let days = rollout.and_then(|rollout| rollout.before.as_ref()?.certificates_expiry_days);
    if let (Some(days), Some(end)) = (days, certificates_end(machine, config))
        && end - SignedDuration::from_hours(24 * i64::from(days)) < now
    {
        reasons.push("Certificates will expire soon, rollout due to spec.rollout.before".to_owned());
    }
    if config.is_some_and(|config| !has_config(kcp, machine, config)) {
        reasons.push("KubeadmConfig is not up-to-date".to_owned());
    }
    if infrastructure.is_some_and(|object| !is_cloned_from(kcp, object)) {
        reasons.push(format!("{} is not up-to-date", machine.spec.infrastructure_ref.kind));
    }
    reasons
}

/// When the certificates on a Machine end, as far as it is known: said on the Machine, or on its configuration.
#[must_use]
pub fn certificates_end(machine: &Machine, config: Option<&KubeadmConfig>) -> Option<Timestamp> {
    let of_machine = machine.annotations().get(CERTIFICATES_EXPIRY_ANNOTATION);
    let of_config = config.and_then(|config| config.annotations().get(CERTIFICATES_EXPIRY_ANNOTATION));
    of_machine.or(of_config)?.parse().ok()
}

fn same_version(a: &str, b: &str) -> bool {
    match (a.parse::<Version>(), b.parse::<Version>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => a == b,
    }
}

/// An object without the record of what it was made from may be older than the record, or taken over.
fn is_cloned_from(kcp: &KubeadmControlPlane, object: &DynamicObject) -> bool {
    let annotations = object.annotations();
    let (Some(name), Some(kind)) =
        (annotations.get(CLONED_FROM_NAME_ANNOTATION), annotations.get(CLONED_FROM_GROUP_KIND_ANNOTATION))
    else {
        return true;
    };
    let template = &kcp.spec.machine_template.spec.infrastructure_ref;
    *name == template.name && *kind == format!("{}.{}", template.kind, template.api_group)
}

fn has_config(kcp: &KubeadmControlPlane, machine: &Machine, config: &KubeadmConfig) -> bool {
    let wanted = kcp.spec.kubeadm_config_spec.clone().unwrap_or_default();
    let mut has = config.spec.clone();
    // Machines of older releases carry the cluster configuration that they were made with.
    if let Some(recorded) = machine.annotations().get(KUBEADM_CLUSTER_CONFIGURATION_ANNOTATION) {
        match serde_json::from_str(recorded) {
            Ok(recorded) => has.cluster_configuration = recorded,
            // What cannot be read cannot be compared, and only a new Machine has one that can.
            Err(_) => return false,
        }
    }
    let (wanted, has) = comparable(wanted, has);
    wanted == has
}

/// Both as JSON, without what is no difference between them.
fn comparable(mut wanted: KubeadmConfigSpec, mut has: KubeadmConfigSpec) -> (Value, Value) {
    // A host begins the cluster or joins it, and what it would have done otherwise is not its business.
    if has.init_configuration.is_none() {
        wanted.init_configuration = None;
    }
    if has.join_configuration.is_none() {
        wanted.join_configuration = None;
    }
    match (&mut wanted.join_configuration, &mut has.join_configuration) {
        (Some(wanted), Some(has)) => {
            // Filled in for each Machine.
            wanted.discovery = None;
            has.discovery = None;
            if wanted.control_plane.is_none() {
                has.control_plane = None;
            }
            if wanted.node_registration.as_ref().is_none_or(|registration| is_empty(&json!(registration))) {
                wanted.node_registration = None;
                has.node_registration = None;
            }
        }
        // One that is empty but for what is filled in.
        (None, has) => *has = None,
        _ => {}
    }
    if let Some(has) = &mut has.cluster_configuration {
        let wanted = wanted.cluster_configuration.get_or_insert_default();
        // CoreDNS is changed in place, and the endpoint is the Cluster's where none is asked for.
        has.dns = wanted.dns.clone();
        if wanted.control_plane_endpoint.is_none() {
            has.control_plane_endpoint = None;
        }
    }
    let plain = |spec: KubeadmConfigSpec| {
        let format = spec.format.unwrap_or_default();
        without_empty(json!(KubeadmConfigSpec { format: Some(format), ..spec }))
    };
    (plain(wanted), plain(has))
}

fn is_empty(value: &Value) -> bool {
    matches!(without_empty(value.clone()), Value::Null)
}

/// The same without what says nothing: empty objects, lists and texts.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: serde_json::Map<_, _> = members
                .into_iter()
                .map(|(key, member)| (key, without_empty(member)))
                .filter(|(_, member)| !member.is_null())
                .collect();
            if members.is_empty() { Value::Null } else { Value::Object(members) }
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => Value::Array(items.into_iter().map(without_empty).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kcp(spec: Value) -> KubeadmControlPlane {
        let mut object = json!({
            "apiVersion": "controlplane.cluster.x-k8s.io/v1beta2", "kind": "KubeadmControlPlane",
            "metadata": {"name": "cp", "namespace": "ns", "uid": "u"},
            "spec": {"version": "v1.35.4", "machineTemplate": {"spec": {"infrastructureRef":
                {"apiGroup": "infra.io", "kind": "TestMachineTemplate", "name": "t1"}}}}
        });
        for (field, value) in spec.as_object().expect("an object") {
            object["spec"][field] = value.clone();
        }
        serde_json::from_value(object).expect("a KubeadmControlPlane")
    }

    fn machine(version: &str, annotations: Value) -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": "m", "annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"clusterName": "c", "version": version,
                "bootstrap": {"configRef": {"apiGroup": "g", "kind": "KubeadmConfig", "name": "m"}},
                "infrastructureRef": {"apiGroup": "infra.io", "kind": "TestMachine", "name": "m"}}
        }))
        .expect("a Machine")
    }

    fn config(spec: Value) -> KubeadmConfig {
        serde_json::from_value(json!({
            "apiVersion": "bootstrap.cluster.x-k8s.io/v1beta2", "kind": "KubeadmConfig",
            "metadata": {"name": "m"}, "spec": spec
        }))
        .expect("a KubeadmConfig")
    }

    fn cloned(from: &str) -> DynamicObject {
        serde_json::from_value(json!({"apiVersion": "infra.io/v1", "kind": "TestMachine", "metadata": {
            "name": "m", "annotations": {"cluster.x-k8s.io/cloned-from-name": from,
                "cluster.x-k8s.io/cloned-from-groupkind": "TestMachineTemplate.infra.io"}}}))
        .expect("an object")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn now() -> Timestamp {
        at("2026-06-01T00:00:00Z")
    }

    /// Reasons for a Machine of the same version, by its configuration.
    fn by_config(wanted: Value, has: Value) -> Vec<String> {
        let kcp = kcp(json!({ "kubeadmConfigSpec": wanted }));
        reasons(&kcp, &machine("v1.35.4", json!({})), Some(&config(has)), None, now())
    }

    #[test]
    fn what_cannot_be_read_is_no_reason() {
        let kcp = kcp(json!({"kubeadmConfigSpec": {"files": [{"path": "/a", "content": "b"}]}}));
        assert!(reasons(&kcp, &machine("v1.35.4", json!({})), None, None, now()).is_empty());
    }

    #[test]
    fn another_version_or_template_is_one() {
        let kcp = kcp(json!({}));
        let old = machine("v1.34.1", json!({}));
        assert_eq!(
            reasons(&kcp, &old, None, Some(&cloned("t0")), now()),
            ["Version v1.34.1, v1.35.4 required", "TestMachine is not up-to-date"]
        );
        let same = machine("1.35.4", json!({}));
        assert!(reasons(&kcp, &same, None, Some(&cloned("t1")), now()).is_empty(), "a leading v is none");
    }

    #[test]
    fn a_time_to_roll_out_counts_once_and_for_machines_from_before() {
        let m = machine("v1.35.4", json!({}));
        let kcp = |after: &str| kcp(json!({"rollout": {"after": after}}));
        assert!(reasons(&kcp("2026-07-01T00:00:00Z"), &m, None, None, now()).is_empty(), "not yet");
        assert!(reasons(&kcp("2025-07-01T00:00:00Z"), &m, None, None, now()).is_empty(), "made after it");
        let said = reasons(&kcp("2026-05-01T00:00:00Z"), &m, None, None, now());
        assert_eq!(said, ["KubeadmControlPlane spec.rollout.after expired"]);
    }

    #[test]
    fn certificates_that_end_soon_are_one() {
        let kcp = kcp(json!({"rollout": {"before": {"certificatesExpiryDays": 21}}}));
        let until =
            |end: &str| machine("v1.35.4", json!({"machine.cluster.x-k8s.io/certificates-expiry": end}));
        assert!(reasons(&kcp, &until("2026-06-23T00:00:00Z"), None, None, now()).is_empty());
        assert_eq!(reasons(&kcp, &until("2026-06-21T00:00:00Z"), None, None, now()).len(), 1);
        assert!(reasons(&kcp, &until("soon"), None, None, now()).is_empty(), "not known");
    }

    #[test]
    fn each_machine_is_compared_with_its_own_part() {
        let wanted = json!({
            "clusterConfiguration": {"apiServer": {"certSANs": ["a"]}},
            "initConfiguration": {"nodeRegistration": {"name": "n"}},
            "joinConfiguration": {"nodeRegistration": {"name": "n"}},
        });
        let mut begins = wanted.clone();
        begins.as_object_mut().expect("an object").remove("joinConfiguration");
        assert!(by_config(wanted.clone(), begins).is_empty());
        let joins = json!({
            "clusterConfiguration": {"apiServer": {"certSANs": ["a"]}},
            "joinConfiguration": {"nodeRegistration": {"name": "n"}, "controlPlane": {},
                "discovery": {"bootstrapToken": {"token": "abcdef.0123456789abcdef"}}},
        });
        assert!(by_config(wanted.clone(), joins.clone()).is_empty(), "discovery is filled in");
        let mut other = joins;
        other["joinConfiguration"]["nodeRegistration"]["name"] = json!("o");
        assert_eq!(by_config(wanted, other), ["KubeadmConfig is not up-to-date"]);
    }

    #[test]
    fn nothing_asked_for_and_things_filled_in_are_the_same() {
        let filled = json!({"format": "cloud-config", "joinConfiguration": {"discovery": {"bootstrapToken": {"token": "t"}}},
            "clusterConfiguration": {"controlPlaneEndpoint": "10.0.0.1:6443"}});
        assert!(by_config(json!({}), filled).is_empty());
        let more = by_config(json!({"ntp": {"servers": ["a"]}}), json!({}));
        assert_eq!(more, ["KubeadmConfig is not up-to-date"]);
        let less = by_config(json!({}), json!({"preKubeadmCommands": ["x"]}));
        assert_eq!(less.len(), 1, "what is not wanted any more is a difference as well");
    }

    #[test]
    fn coredns_is_changed_in_place_and_arguments_are_not() {
        let wanted = json!({"clusterConfiguration": {"dns": {"imageTag": "v2"}}});
        assert!(by_config(wanted, json!({"clusterConfiguration": {"dns": {"imageTag": "v1"}}})).is_empty());
        let wanted =
            json!({"clusterConfiguration": {"scheduler": {"extraArgs": [{"name": "v", "value": "4"}]}}});
        assert_eq!(by_config(wanted, json!({"clusterConfiguration": {}})).len(), 1);
    }

    #[test]
    fn machines_of_older_releases_carry_their_cluster_configuration() {
        let kcp = kcp(json!({"kubeadmConfigSpec": {"clusterConfiguration": {"imageRepository": "r"}}}));
        let of = |recorded: &str| {
            let machine = machine(
                "v1.35.4",
                json!({"controlplane.cluster.x-k8s.io/kubeadm-cluster-configuration": recorded}),
            );
            reasons(&kcp, &machine, Some(&config(json!({}))), None, now()).len()
        };
        assert_eq!((of(r#"{"imageRepository":"r"}"#), of("null"), of("{")), (0, 1, 1));
    }
}
