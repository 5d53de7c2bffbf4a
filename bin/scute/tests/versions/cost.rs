//! What a second version costs every write: by hand, `cargo test --release -p scute --test versions -- --ignored cost --nocapture`.

use std::time::Instant;

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::world::{NEW, World};

const WRITES: u32 = 1000;

fn machine(name: &str) -> Value {
    let reference =
        json!({"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "KubevirtMachine", "name": name});
    let spec =
        json!({"clusterName": "c", "bootstrap": {"dataSecretName": "s"}, "infrastructureRef": reference});
    json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine", "metadata": {"name": name}, "spec": spec})
}

fn condition(kind: &str, number: u32) -> Value {
    json!({"type": kind, "status": "True", "reason": "Yes", "message": format!("write {number}"), "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

/// Seconds of a processor that the manager has had.
fn processor_time(world: &World) -> f64 {
    scute_testkit::usage::cpu(world.manager.id()).expect("its time").as_secs_f64()
}

/// Status writes a second of one client that waits for each.
async fn writes(world: &World, name: &str) -> f64 {
    let api = world.of("cluster.x-k8s.io", NEW, "Machine", Some("default"));
    let object = serde_json::from_value(machine(name)).expect("an object");
    api.create(&PostParams::default(), &object).await.expect("created");
    let kinds = [
        "Ready",
        "Available",
        "UpToDate",
        "BootstrapConfigReady",
        "InfrastructureReady",
        "NodeHealthy",
        "NodeReady",
        "Paused",
    ];
    let began = Instant::now();
    for number in 0..WRITES {
        let status = json!({"status": {"conditions": kinds.map(|kind| condition(kind, number))}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.expect("written");
    }
    f64::from(WRITES) / began.elapsed().as_secs_f64()
}

#[tokio::test]
#[ignore = "by hand: prints figures"]
async fn cost_of_a_second_version() {
    let world = World::start().await;
    writes(&world, "warm").await;
    let crds = world.of("apiextensions.k8s.io", "v1", "CustomResourceDefinition", None);
    for round in 0..3 {
        for served in [true, false] {
            let change = Patch::Json::<()>(
                serde_json::from_value(
                    json!([{"op": "replace", "path": "/spec/versions/1/served", "value": served}]),
                )
                .expect("a patch"),
            );
            crds.patch("machines.cluster.x-k8s.io", &PatchParams::default(), &change).await.expect("patched");
            let before = processor_time(&world);
            let found = writes(&world, &format!("m-{round}-{served}")).await;
            let spent = processor_time(&world) - before;
            println!(
                "v1beta1 {}: {found:.0} writes/s, manager {:.2} ms a write",
                if served { "served" } else { "not served" },
                spent * 1000.0 / f64::from(WRITES)
            );
        }
    }
}
