//! What is refused at the door, and with which words.

mod world;

use serde_json::{Value, json};
use world::{Case, class, cluster, run};

fn with(mut object: Value, path: &str, value: Value) -> Value {
    if let Some(place) = object.pointer_mut(path) {
        *place = value;
        return object;
    }
    let (parent, key) = path.rsplit_once('/').expect("a path");
    object.pointer_mut(parent).unwrap_or_else(|| panic!("{path}"))[key] = value;
    object
}

#[test]
fn bad_topologies_and_classes_are_refused() {
    run(async {
        let case = Case::new("bad").await;
        case.class("small").await;
        let good = || cluster("c", "small", "v1.35.4", &["a"]);
        let topology = |path: &str, value: Value| with(good(), &format!("/spec/topology{path}"), value);
        let patch =
            |changes: Value| with(class("other"), "/spec/patches/0/definitions/0/jsonPatches/0", changes);
        let cases = [
            (topology("/version", json!("1.35")), "spec.topology.version"),
            (
                topology("/variables", json!([{"name": "colour", "value": "red"}])),
                "the class has no such variable; it has cores",
            ),
            (
                topology("/variables", json!([{"name": "cores", "value": "two"}])),
                "spec.topology.variables[0].value",
            ),
            (
                topology("/workers/machineDeployments/0/class", json!("none")),
                "the ClusterClass has no such class; it has worker",
            ),
            (
                topology(
                    "/workers/machineDeployments/0/metadata",
                    json!({"annotations": {
                    "cluster.x-k8s.io/cluster-api-autoscaler-node-group-max-size": "5"}}),
                ),
                "spec.topology.workers.machineDeployments[0].replicas",
            ),
            (
                topology("/workers/machinePools", json!([{"class": "x", "name": "y"}])),
                "MachinePools are not served",
            ),
            (
                with(
                    good(),
                    "/metadata/annotations",
                    json!({"topology.cluster.x-k8s.io/upgrade-concurrency": "0"}),
                ),
                "must be a number of at least 1",
            ),
            (topology("/controlPlane", json!({"healthCheck": {"enabled": true}})), "has no Machines"),
            (
                with(class("other"), "/spec/infrastructure/templateRef/kind", json!("TestCluster")),
                "ends with Template",
            ),
            (
                with(class("other"), "/spec/kubernetesVersions", json!(["v1.33.0", "v1.35.0"])),
                "no minor may be missing",
            ),
            (patch(json!({"op": "add", "path": "/metadata/x", "value": 1})), "must begin with /spec/"),
            (
                patch(json!({"op": "add", "path": "/spec/x", "valueFrom": {"template": "{{ .x"}})),
                "valueFrom.template",
            ),
            (
                with(
                    class("other"),
                    "/spec/patches/0",
                    json!({"name": "p", "external": {"generatePatchesExtension": "x"}}),
                ),
                "spec.patches[0].external",
            ),
            (
                with(
                    class("other"),
                    "/spec/upgrade",
                    json!({"external": {"generateUpgradePlanExtension": "x"}}),
                ),
                "list kubernetesVersions",
            ),
            (
                with(class("other"), "/spec/variables/0/schema/openAPIV3Schema/type", json!("text")),
                "must be one of object",
            ),
        ];
        for (object, want) in cases {
            let error = case.try_create(object).await.expect_err(want);
            assert!(error.contains(want), "{want:?} is missing in {error}");
        }
        assert!(case.try_create(good()).await.is_ok());
    });
}

#[test]
fn what_breaks_a_cluster_that_is_there_is_refused() {
    run(async {
        let case = Case::new("broken").await;
        case.class("small").await;
        case.create(cluster("c", "small", "v1.34.0", &["a"])).await;
        case.control_plane_has("c", "v1.34.0").await;
        case.reconciled("c").await;
        let refused = case.delete("ClusterClass", "small").await.expect_err("it is used");
        assert!(refused.contains("it is used by Cluster") && refused.contains("/c"), "{refused}");
        let mut other = class("other");
        other["spec"]["infrastructure"]["templateRef"]["kind"] = json!("OtherClusterTemplate");
        case.create(other).await;
        let of_cluster = |topology: Value| json!({"spec": {"topology": topology}});
        let cases = [
            ("Cluster", "c", of_cluster(json!({"version": "v1.33.0"})), "cannot be older than v1.34.0"),
            ("Cluster", "c", of_cluster(json!({"version": "v1.36.0"})), "one minor at a time"),
            ("Cluster", "c", json!({"spec": {"topology": null}}), "cannot be removed"),
            (
                "Cluster",
                "c",
                of_cluster(json!({"classRef": {"name": "other"}})),
                "the classes do not fit: spec.infrastructure.templateRef.kind",
            ),
            (
                "Cluster",
                "c",
                of_cluster(json!({"classRef": {"name": "none"}})),
                "there is no such ClusterClass",
            ),
            (
                "ClusterClass",
                "small",
                json!({"spec": {"workers": null}}),
                "MachineDeployment a of Cluster c is of this class",
            ),
            (
                "ClusterClass",
                "small",
                json!({"spec": {"kubernetesVersions": ["v1.35.0"]}}),
                "Cluster c has this version",
            ),
            (
                "ClusterClass",
                "small",
                json!({"spec": {"controlPlane": {"templateRef": {"kind": "OtherControlPlaneTemplate"}}}}),
                "the kind cannot be another than TestControlPlaneTemplate",
            ),
        ];
        for (kind, name, patch, want) in cases {
            let error = case.try_patch(kind, name, patch).await.expect_err(want);
            assert!(error.contains(want), "{want:?} is missing in {error}");
        }
        // A Cluster that was made by hand does not get a class.
        let plain = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": "plain"},
            "spec": {"infrastructureRef": {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "TestCluster", "name": "x"}}});
        case.create(plain).await;
        let topology = of_cluster(json!({"classRef": {"name": "small"}, "version": "v1.34.0"}));
        let error = case.try_patch("Cluster", "plain", topology).await.expect_err("refused");
        assert!(error.contains("cannot be given to a Cluster that is there"), "{error}");
    });
}
