//! Machines come and go one at a time, and etcd's members before them.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::bootstrap::KubeadmConfig;
use scute_api::cluster::Machine;
use scute_api::controlplane::KubeadmControlPlane;
use serde_json::json;

use crate::world::{NAME, World, run};

#[test]
fn from_one_to_three_and_back() {
    run(async {
        let world = World::new("scales").await;
        world.control_plane(1).await;
        world.rests(1).await;
        let first = world.names().await;
        world.change(json!({"replicas": 3})).await;
        world.rests(3).await;
        let three = world.names().await;
        let machines = world.machines().await;
        // Times are whole seconds: of two that were made in the same one the name decides.
        let newest = machines.iter().max_by_key(|machine| (machine.creation_timestamp(), machine.name_any()));
        let newest = newest.map(ResourceExt::name_any).expect("three Machines");
        assert_eq!(world.ring.names(), world.player.made(), "each has joined, in its turn");
        let joined = world.player.made()[1].clone();
        let config = world.case.api::<KubeadmConfig>().get(&joined).await.expect("a KubeadmConfig");
        assert!(config.spec.init_configuration.is_none(), "it does not begin another cluster");

        // The oldest goes first, and it leads: another one leads before, and its member is gone before it is.
        world.change(json!({"replicas": 1})).await;
        world.rests(1).await;
        let last = world.names().await;
        assert_eq!(world.ring.names(), last);
        assert!(world.ring.removed().contains(&first[0]), "the oldest has left");
        assert!(world.ring.moved().contains(&newest), "the newest was handed the leadership");
        assert_eq!(world.player.made().len(), three.len(), "no other Machine was ever made");
        let nodes = world.nodes().list(&Default::default()).await.expect("Nodes").items;
        assert_eq!(
            nodes.iter().map(ResourceExt::name_any).collect::<Vec<_>>(),
            last,
            "Nodes go with their Machine"
        );
    });
}

#[test]
fn a_new_version_comes_with_a_machine_more_or_with_one_less() {
    run(async {
        let world = World::new("rolls").await;
        world.control_plane(1).await;
        world.rests(1).await;
        let before = world.names().await;
        world.change(json!({"version": "v1.35.5"})).await;
        world.condition("RollingOut", "True", "RollingOut").await;
        let is_new = |machine: &Machine| machine.spec.version.as_deref() == Some("v1.35.5");
        scute_testkit::until("the new Machine alone", || async {
            let machines = world.machines().await;
            (machines.len() == 1 && machines.iter().all(is_new)).then_some(())
        })
        .await;
        world.rests(1).await;
        world.condition("RollingOut", "False", "NotRollingOut").await;
        assert_eq!(world.ring.removed(), before);
        let record = world.record().await.data.expect("data");
        assert!(record["ClusterConfiguration"].contains("v1.35.5"), "who joined read the new version");

        // One less at a time, of three.
        world.change(json!({"replicas": 3})).await;
        world.rests(3).await;
        let made = world.player.made().len();
        world.template("t2").await;
        let spec = json!({"rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}}},
            "machineTemplate": {"spec": {"infrastructureRef": {"name": "t2"}}}});
        world.change(spec).await;
        scute_testkit::until("three new Machines", || async {
            assert!(world.machines().await.len() <= 3, "never one more");
            (world.player.made().len() == made + 3 && world.machines().await.len() == 3).then_some(())
        })
        .await;
        world.rests(3).await;
        assert_eq!(world.ring.names().len(), 3);
    });
}

#[test]
fn metadata_and_time_limits_change_in_place() {
    run(async {
        let world = World::new("in-place").await;
        world.control_plane(1).await;
        world.rests(1).await;
        let name = world.names().await[0].clone();
        world
            .change(json!({"machineTemplate": {"metadata": {"labels": {"team": "a"}},
                "spec": {"deletion": {"nodeDrainTimeoutSeconds": 7}}}}))
            .await;
        let is = |machine: &Machine| {
            machine.labels().get("team").map(String::as_str) == Some("a")
                && machine.spec.deletion.as_ref().and_then(|spec| spec.node_drain_timeout_seconds) == Some(7)
        };
        world.case.eventually::<Machine>(&name, "changed", is).await;
        let labelled = |config: &KubeadmConfig| config.labels().contains_key("team");
        world.case.eventually::<KubeadmConfig>(&name, "labelled", labelled).await;
        // Whoever loses its owner gets it back.
        world.case.patch::<Machine>(&name, json!({"metadata": {"ownerReferences": null}})).await;
        let owned = |machine: &Machine| {
            machine.owner_references().iter().any(|owner| owner.kind == "KubeadmControlPlane")
        };
        world.case.eventually::<Machine>(&name, "owned again", owned).await;
        for secret in ["duo-etcd", "duo-kubeconfig"] {
            world.case.patch::<Secret>(secret, json!({"metadata": {"ownerReferences": null}})).await;
            let owned = |secret: &Secret| {
                secret.owner_references().iter().any(|owner| owner.controller == Some(true))
            };
            world.case.eventually::<Secret>(secret, "owned again", owned).await;
        }
        world.rests(1).await;
        assert_eq!(world.player.made(), [name], "without another Machine");
        // Who is paused does nothing, and goes on where it was left.
        let pause = |value: serde_json::Value| json!({"metadata": {"annotations": {"cluster.x-k8s.io/paused": value}}});
        world.case.patch::<KubeadmControlPlane>(NAME, pause(json!(""))).await;
        world.change(json!({"replicas": 3})).await;
        world.condition("Paused", "True", "Paused").await;
        assert_eq!(world.names().await.len(), 1);
        world.case.patch::<KubeadmControlPlane>(NAME, pause(json!(null))).await;
        world.rests(3).await;
    });
}
