//! v1beta1 of the Cluster API kinds as users write it, in v1beta2, and back.

use scute_api::conversion::{ConvertError, LEFTOVERS, convert, convert_with, worded};
use serde_json::{Value, json};

const OLD: &str = "cluster.x-k8s.io/v1beta1";
const NEW: &str = "cluster.x-k8s.io/v1beta2";

fn object(api_version: &str, kind: &str, spec: Value, status: Value) -> Value {
    let metadata = json!({"name": "c", "namespace": "ns"});
    json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec, "status": status})
}

fn leftovers(object: &Value) -> Value {
    let text = object["metadata"]["annotations"][LEFTOVERS].as_str();
    text.map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

#[test]
fn a_cluster_of_v1beta1() {
    let old = object(
        OLD,
        "Cluster",
        json!({"clusterNetwork": {"pods": {"cidrBlocks": ["10.244.0.0/16"]}},
            "controlPlaneRef": {"apiVersion": "controlplane.cluster.x-k8s.io/v1alpha1", "kind": "KamajiControlPlane", "name": "c", "namespace": "ns"},
            "infrastructureRef": {"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1", "kind": "Metal3Cluster", "name": "c", "namespace": "ns"}}),
        json!({"phase": "Provisioned", "infrastructureReady": true, "controlPlaneReady": false,
            "failureReason": "R", "failureMessage": "m", "failureDomains": {"b": {"controlPlane": true}, "a": {"controlPlane": false}},
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "v1beta2": {"conditions": [{"type": "Available", "status": "True"}], "workers": {"replicas": 3}}}),
    );
    let new = convert(&old, NEW).unwrap();
    assert_eq!(
        new["spec"],
        json!({"clusterNetwork": {"pods": {"cidrBlocks": ["10.244.0.0/16"]}},
            "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KamajiControlPlane", "name": "c"},
            "infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "Metal3Cluster", "name": "c"}})
    );
    assert_eq!(
        new["status"],
        json!({"phase": "Provisioned",
            "initialization": {"infrastructureProvisioned": true, "controlPlaneInitialized": false},
            "conditions": [{"type": "Available", "status": "True"}], "workers": {"replicas": 3},
            "failureDomains": [{"name": "a", "controlPlane": false}, {"name": "b", "controlPlane": true}],
            "deprecated": {"v1beta1": {"failureReason": "R", "failureMessage": "m",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}})
    );
    assert_eq!(leftovers(&new), Value::Null, "our own kinds need no memory of their versions");
    assert_eq!(convert(&new, OLD).unwrap(), old);
}

#[test]
fn a_reference_comes_back_in_the_version_that_was_written() {
    let reference = |version: &str| json!({"infrastructureRef": {"apiVersion": format!("infrastructure.cluster.x-k8s.io/{version}"), "kind": "Metal3Cluster", "name": "c", "namespace": "ns", "uid": "u"}});
    let old = object(OLD, "Cluster", reference("v1beta2"), Value::Null);
    let new = convert(&old, NEW).unwrap();
    assert_eq!(leftovers(&new)["set"]["/spec/infrastructureRef"]["uid"], "u");
    assert_eq!(convert(&new, OLD).unwrap(), old);

    // Another object is another reference: nothing of the old one belongs to it.
    let mut edited = new;
    edited["spec"]["infrastructureRef"]["kind"] = "KubevirtCluster".into();
    let back = convert(&edited, OLD).unwrap();
    let right = json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1", "kind": "KubevirtCluster", "name": "c", "namespace": "ns"});
    assert_eq!(back["spec"]["infrastructureRef"], right);
}

#[test]
fn a_reference_to_another_providers_kind() {
    let spec = |version: Value| {
        let mut reference = json!({"kind": "TalosControlPlane", "name": "c"});
        for (name, value) in version.as_object().unwrap() {
            reference[name] = value.clone();
        }
        json!({"controlPlaneRef": reference})
    };
    let group = "controlplane.cluster.x-k8s.io";
    let new = object(NEW, "Cluster", spec(json!({"apiGroup": group})), Value::Null);
    let version = |old: &Value| old["spec"]["controlPlaneRef"]["apiVersion"].as_str().unwrap().to_owned();
    let known = |group: &str, kind: &str| {
        assert_eq!((group, kind), ("controlplane.cluster.x-k8s.io", "TalosControlPlane"));
        Some("v1alpha3".to_owned())
    };
    let old = convert_with(&new, OLD, &known).unwrap();
    assert_eq!(version(&old), format!("{group}/v1alpha3"), "as its definition says");
    assert_eq!(convert(&old, NEW).unwrap()["spec"], new["spec"]);
    let guessed = convert(&new, OLD).unwrap();
    assert_eq!(version(&guessed), format!("{group}/v1beta1"), "nothing fails for it");
}

#[test]
fn a_reference_into_another_namespace_is_refused_and_one_without_is_filled_in() {
    let reference = |namespace: Value| json!({"apiVersion": "infrastructure.cluster.x-k8s.io/v1alpha1", "kind": "KubevirtMachineTemplate", "name": "t", "namespace": namespace});
    let machines = |namespace: &str| {
        let spec = json!({"clusterName": "c", "bootstrap": {"dataSecretName": "s"}, "infrastructureRef": reference(namespace.into())});
        object(
            OLD,
            "MachineSet",
            json!({"clusterName": "c", "selector": {}, "template": {"spec": spec}}),
            Value::Null,
        )
    };
    let refused = convert(&machines("other"), NEW).unwrap_err();
    let path = "spec.template.spec.infrastructureRef.namespace".to_owned();
    assert_eq!(refused, ConvertError::Elsewhere { path, namespace: "other".into() });
    assert!(
        refused
            .to_string()
            .starts_with("spec.template.spec.infrastructureRef.namespace: Invalid value: \"other\"")
    );
    let mut without = machines("ns");
    without["spec"]["template"]["spec"]["infrastructureRef"].as_object_mut().unwrap().remove("namespace");
    let new = convert(&without, NEW).unwrap();
    assert_eq!(leftovers(&new), Value::Null);
    assert_eq!(convert(&new, OLD).unwrap(), machines("ns"));
}

fn old_reference(group: &str, version: &str, kind: &str) -> Value {
    json!({"apiVersion": format!("{group}/{version}"), "kind": kind, "name": "t", "namespace": "ns"})
}

#[test]
fn a_health_check_of_v1beta1() {
    let template = old_reference("infrastructure.cluster.x-k8s.io", "v1beta1", "Metal3RemediationTemplate");
    let old = object(
        OLD,
        "MachineHealthCheck",
        json!({"clusterName": "c", "selector": {"matchLabels": {"a": "b"}}, "nodeStartupTimeout": "10m0s",
            "maxUnhealthy": "40%", "unhealthyRange": "[1-3]", "remediationTemplate": template,
            "unhealthyConditions": [{"type": "Ready", "status": "Unknown", "timeout": "5m0s"}],
            "unhealthyMachineConditions": [{"type": "X", "status": "False", "timeout": "1m0s"}]}),
        json!({"expectedMachines": 3, "currentHealthy": 2, "targets": ["m"]}),
    );
    let new = convert(&old, NEW).unwrap();
    assert_eq!(
        new["spec"],
        json!({"clusterName": "c", "selector": {"matchLabels": {"a": "b"}},
            "checks": {"nodeStartupTimeoutSeconds": 600,
                "unhealthyNodeConditions": [{"type": "Ready", "status": "Unknown", "timeoutSeconds": 300}],
                "unhealthyMachineConditions": [{"type": "X", "status": "False", "timeoutSeconds": 60}]},
            "remediation": {"triggerIf": {"unhealthyLessThanOrEqualTo": "40%", "unhealthyInRange": "[1-3]"},
                "templateRef": {"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1",
                    "kind": "Metal3RemediationTemplate", "name": "t"}}})
    );
    assert_eq!(convert(&new, OLD).unwrap(), old);
}

#[test]
fn a_deployment_of_v1beta1() {
    let config = old_reference("bootstrap.cluster.x-k8s.io", "v1beta1", "KubeadmConfigTemplate");
    let machine = old_reference("infrastructure.cluster.x-k8s.io", "v1alpha1", "KubevirtMachineTemplate");
    let old = object(
        OLD,
        "MachineDeployment",
        json!({"clusterName": "c", "selector": {}, "minReadySeconds": 5, "rolloutAfter": "2026-01-01T00:00:00Z",
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "10%", "deletePolicy": "Oldest"}},
            "template": {"spec": {"clusterName": "c", "bootstrap": {"configRef": config}, "infrastructureRef": machine,
                "nodeDrainTimeout": "10m0s", "nodeDeletionTimeout": "20s"}}}),
        json!({"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "phase": "ScalingUp"}),
    );
    let new = convert(&old, NEW).unwrap();
    let reference = |group: &str, kind: &str| json!({"apiGroup": group, "kind": kind, "name": "t"});
    assert_eq!(
        new["spec"],
        json!({"clusterName": "c", "selector": {}, "deletion": {"order": "Oldest"},
            "rollout": {"after": "2026-01-01T00:00:00Z",
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "10%"}}},
            "template": {"spec": {"clusterName": "c", "minReadySeconds": 5,
                "bootstrap": {"configRef": reference("bootstrap.cluster.x-k8s.io", "KubeadmConfigTemplate")},
                "infrastructureRef": reference("infrastructure.cluster.x-k8s.io", "KubevirtMachineTemplate"),
                "deletion": {"nodeDrainTimeoutSeconds": 600, "nodeDeletionTimeoutSeconds": 20}}}})
    );
    let status = json!({"replicas": 3, "readyReplicas": 2, "upToDateReplicas": 1, "phase": "ScalingUp"});
    assert_eq!((&new["status"], leftovers(&new)), (&status, Value::Null));
    assert_eq!(convert(&new, OLD).unwrap(), old);

    // What only v1beta1 has outlives edits in v1beta2.
    let mut more = old;
    more["spec"]["revisionHistoryLimit"] = json!(1);
    more["spec"]["template"]["spec"]["nodeDrainTimeout"] = json!("10m");
    let mut new = convert(&more, NEW).unwrap();
    new["spec"]["replicas"] = json!(7);
    let back = convert(&new, OLD).unwrap();
    assert_eq!((&back["spec"]["revisionHistoryLimit"], &back["spec"]["replicas"]), (&json!(1), &json!(7)));
    assert_eq!(back["spec"]["template"]["spec"]["nodeDrainTimeout"], "10m", "as it was written");
}

#[test]
fn a_machine_and_a_set_of_v1beta1() {
    let machine = old_reference("infrastructure.cluster.x-k8s.io", "v1beta1", "Metal3Machine");
    let old = object(
        OLD,
        "Machine",
        json!({"clusterName": "c", "bootstrap": {"dataSecretName": "s"}, "infrastructureRef": machine, "nodeVolumeDetachTimeout": "1h0m0s"}),
        json!({"bootstrapReady": true, "infrastructureReady": true, "phase": "Running",
            "nodeRef": {"apiVersion": "v1", "kind": "Node", "name": "n"}}),
    );
    let new = convert(&old, NEW).unwrap();
    assert_eq!(new["spec"]["deletion"], json!({"nodeVolumeDetachTimeoutSeconds": 3600}));
    let reached = json!({"bootstrapDataSecretCreated": true, "infrastructureProvisioned": true});
    assert_eq!(
        new["status"],
        json!({"initialization": reached, "phase": "Running", "nodeRef": {"name": "n"}})
    );
    assert_eq!(leftovers(&new), Value::Null);
    assert_eq!(convert(&new, OLD).unwrap(), old);

    // What v1beta1 has no word for outlives a client that knows v1beta1 only.
    let mut later = new;
    later["spec"]["minReadySeconds"] = json!(9);
    later["status"]["failureDomain"] = json!("rack-1");
    let mut seen = convert(&later, OLD).unwrap();
    assert_eq!((seen["spec"].get("minReadySeconds"), seen["status"].get("failureDomain")), (None, None));
    seen["spec"]["version"] = json!("v1.35.4");
    later["spec"]["version"] = json!("v1.35.4");
    assert_eq!(convert(&seen, NEW).unwrap(), later);

    let spec = json!({"clusterName": "c", "selector": {}, "deletePolicy": "Newest", "minReadySeconds": 0,
        "template": {"spec": {"clusterName": "c"}}});
    let new = convert(&object(OLD, "MachineSet", spec, Value::Null), NEW).unwrap();
    assert_eq!(new["spec"]["deletion"], json!({"order": "Newest"}));
    assert_eq!(new["spec"]["template"]["spec"]["minReadySeconds"], 0);
}

#[test]
fn a_bootstrap_configuration_of_v1beta1() {
    let (old, new) = ("bootstrap.cluster.x-k8s.io/v1beta1", "bootstrap.cluster.x-k8s.io/v1beta2");
    let arguments = json!({"node-labels": "a=b", "cgroup-driver": "systemd"});
    let spec = json!({"useExperimentalRetryJoin": true, "ntp": {},
        "joinConfiguration": {"discovery": {"timeout": "5m0s"}, "nodeRegistration": {"kubeletExtraArgs": arguments, "taints": []}}});
    let given = object(old, "KubeadmConfigTemplate", json!({"template": {"spec": spec}}), Value::Null);
    let converted = convert(&given, new).unwrap();
    let arguments =
        json!([{"name": "cgroup-driver", "value": "systemd"}, {"name": "node-labels", "value": "a=b"}]);
    assert_eq!(
        converted["spec"]["template"]["spec"],
        json!({"joinConfiguration": {"timeouts": {"tlsBootstrapSeconds": 300},
            "nodeRegistration": {"kubeletExtraArgs": arguments, "taints": []}}})
    );
    assert_eq!(convert(&converted, old).unwrap(), given);

    let spec = json!({"joinConfiguration": {"nodeRegistration": {}}});
    let given = object(old, "KubeadmConfig", spec, json!({"ready": true, "dataSecretName": "s"}));
    let converted = convert(&given, new).unwrap();
    assert_eq!(converted["spec"], json!({}), "an empty wish is none in v1beta2");
    let status = json!({"initialization": {"dataSecretCreated": true}, "dataSecretName": "s"});
    assert_eq!(converted["status"], status);
    assert_eq!(convert(&converted, old).unwrap(), given);
}

#[test]
fn refusals_name_the_fields_of_v1beta1() {
    let reference = json!({"apiGroup": "g", "kind": "K", "name": "n"});
    let spec = json!({"clusterName": "c", "infrastructureRef": reference});
    let deployment = object(NEW, "MachineDeployment", json!({"template": {"spec": spec}}), Value::Null);
    for (path, value, right) in [
        (
            "spec.template.spec.infrastructureRef.apiGroup",
            "g",
            ("spec.template.spec.infrastructureRef.apiVersion", "g"),
        ),
        (
            "spec.template.spec.deletion.nodeDrainTimeoutSeconds",
            "90",
            ("spec.template.spec.nodeDrainTimeout", "1m30s"),
        ),
        ("spec.rollout.strategy.rollingUpdate.maxSurge", "x", ("spec.strategy.rollingUpdate.maxSurge", "x")),
        ("spec.deletion.order", "x", ("spec.strategy.rollingUpdate.deletePolicy", "x")),
        ("spec.template.spec.minReadySeconds", "1", ("spec.minReadySeconds", "1")),
    ] {
        let found = worded(&deployment, OLD, path, value);
        assert_eq!(found, Some((right.0.to_owned(), right.1.to_owned())), "{path}");
    }
    assert_eq!(worded(&deployment, OLD, "spec.template.spec.version", "1"), None);
}
