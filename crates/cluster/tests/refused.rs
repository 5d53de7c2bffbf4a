//! What the API server refuses, and with which words.

mod world;

use serde_json::{Value, json};
use world::{Case, build, run};

fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, key) = path.rsplit_once('/').expect("a path");
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"));
    parent[key] = value;
    object
}

#[test]
fn bad_objects_are_refused_at_the_door() {
    run(async {
        let case = Case::on(world::bare().await, "refused").await;
        let cluster = || build::cluster("c");
        let deployment = || build::deployment("md", "c", "t", 1);
        let pool =
            json!({"apiVersion": build::CORE, "kind": "MachinePool", "metadata": {"name": "p"}, "spec": {}});
        let mut nothing = cluster();
        nothing["spec"] = json!({"clusterNetwork": {"serviceDomain": "x"}});
        let cases = [
            (pool, "MachinePools are not served: use a MachineDeployment"),
            (
                with(
                    cluster(),
                    "/spec/topology",
                    json!({"classRef": {"name": "x"}, "version": "v1.35.4",
                        "workers": {"machinePools": [{"class": "x"}]}}),
                ),
                "spec.topology.workers.machinePools: Forbidden: MachinePools are not served",
            ),
            (
                with(cluster(), "/spec/clusterNetwork/pods/cidrBlocks", json!(["10.0.0.0/33"])),
                "spec.clusterNetwork.pods.cidrBlocks: Invalid value",
            ),
            (
                with(cluster(), "/spec/clusterNetwork/pods", json!({"cidrBlocks": []})),
                "spec.clusterNetwork.pods.cidrBlocks",
            ),
            (with(cluster(), "/metadata/name", json!("x".repeat(64))), "at most 63 characters"),
            (nothing, "one of topology, controlPlaneRef and infrastructureRef must be set"),
            (with(cluster(), "/spec/clusterNetwork", json!({})), "spec.clusterNetwork"),
            (
                with(deployment(), "/spec/template/spec/clusterName", json!("other")),
                "must be the same as spec.clusterName",
            ),
            (
                with(deployment(), "/spec/template/spec/bootstrap", json!({})),
                "one of configRef and dataSecretName must be set",
            ),
            (
                with(deployment(), "/spec/template/spec/version", json!("latest")),
                "spec.template.spec.version",
            ),
            (
                with(deployment(), "/spec/rollout", json!({"strategy": {"type": "Recreate"}})),
                "spec.rollout.strategy.type",
            ),
            (
                with(
                    deployment(),
                    "/spec/rollout",
                    json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "1/3"}}}),
                ),
                "must be a number of at least 0, or a percentage such as 20%",
            ),
            (
                with(
                    deployment(),
                    "/spec/template/spec/taints",
                    json!([{"key": "k", "effect": "NoSchedule"}]),
                ),
                "spec.template.spec.taints[0].propagation: Required value",
            ),
            (
                with(build::machine("m", "c"), "/spec/deletion", json!({"nodeDrainTimeoutSeconds": -1})),
                "nodeDrainTimeoutSeconds",
            ),
        ];
        for (object, want) in cases {
            let error = case.strict(object).await.expect_err(want);
            assert!(error.contains(want), "{want:?} is missing in {error}");
        }
        assert!(case.list("Cluster").await.is_empty());
    });
}

#[test]
fn what_cannot_be_changed_is_refused() {
    run(async {
        let case = Case::on(world::bare().await, "fixed").await;
        case.create(build::cluster("c")).await;
        let mut deployment = build::deployment("md", "c", "t", 1);
        deployment["spec"]["selector"] = json!({"matchLabels": {"deployment": "md"}});
        case.create(deployment).await;
        case.create(build::set("ms", "c", "t", 1)).await;
        case.create(build::machine("m", "c")).await;
        let changes = [
            ("Cluster", "c", json!({"spec": {"controlPlaneRef": null}}), "controlPlaneRef cannot be removed"),
            (
                "Cluster",
                "c",
                json!({"spec": {"infrastructureRef": null}}),
                "infrastructureRef cannot be removed",
            ),
            (
                "MachineDeployment",
                "md",
                json!({"spec": {"clusterName": "d", "template": {"spec": {"clusterName": "d"}}}}),
                "clusterName cannot be changed",
            ),
            (
                "MachineDeployment",
                "md",
                json!({"spec": {"selector": {"matchLabels": {"deployment": "x"}},
                    "template": {"metadata": {"labels": {"deployment": "x"}}}}}),
                "spec.selector: Invalid value",
            ),
            (
                "MachineSet",
                "ms",
                json!({"spec": {"selector": {"matchLabels": {"set": "x"}}}}),
                "spec.selector: Invalid value",
            ),
            ("Machine", "m", json!({"spec": {"clusterName": "d"}}), "clusterName cannot be changed"),
        ];
        for (kind, name, patch, want) in changes {
            let api = case.api(kind);
            let error = api.patch(name, &Default::default(), &kube::api::Patch::Merge(&patch)).await;
            let error = error.expect_err(want).to_string();
            assert!(error.contains(want), "{want:?} is missing in {error}");
        }
    });
}
