//! Moves between two real API servers.

mod world;

use scute_movement::{MOVED_FROM, MoveError};
use serde_json::json;
use world::{World, run};

#[test]
fn a_cluster_on_a_server_moves_with_everything_that_is_its_own() {
    run(async {
        let world = World::new("whole").await;
        let before = world.settle().await;
        let lines = world.moves(&[], false).await.expect("moved");
        assert!(lines.iter().any(|line| line.starts_with("verified: ")), "{lines:?}");
        world.is_moved(&before).await;
        // What is nobody's stays: a host without a consumer, a Secret of somebody else.
        assert!(world.source.has("BareMetalHost", "spare").await);
        assert!(world.source.has("Secret", "others").await);
        assert!(!world.target.has("Secret", "others").await);
    });
}

#[test]
fn a_host_keeps_its_status_and_knows_the_version_of_its_moved_secret() {
    run(async {
        let world = World::new("host").await;
        world.settle().await;
        world.moves(&[], false).await.expect("moved");
        let host = world.target.get("BareMetalHost", "h0").await.expect("moved");
        let secret = world.target.get("Secret", "h0-bmc").await.expect("moved");
        assert_eq!(host.data["status"]["provisioning"]["state"], "provisioned");
        assert_eq!(host.data["status"]["poweredOn"], true);
        assert_eq!(
            host.data["status"]["goodCredentials"]["credentialsVersion"],
            json!(secret.metadata.resource_version)
        );
        assert!(world.target.get("HardwareData", "h0").await.is_some());
    });
}

#[test]
fn hosts_that_nobody_consumes_move_when_they_are_asked_for() {
    run(async {
        let world = World::new("spare").await;
        world.settle().await;
        world.moves(&[], true).await.expect("moved");
        let spare = world.target.get("BareMetalHost", "spare").await.expect("moved");
        assert!(spare.metadata.annotations.unwrap_or_default().contains_key(MOVED_FROM));
        assert!(!world.source.has("BareMetalHost", "spare").await);
        // Its BMC's Secret was shared with h0, which moved as well.
        assert!(!world.source.has("Secret", "h0-bmc").await);
    });
}

#[test]
fn a_secret_that_others_use_is_copied_and_stays() {
    run(async {
        let world = World::new("shared").await;
        world.settle().await;
        world.moves(&[], false).await.expect("moved");
        assert!(world.source.has("Secret", "h0-bmc").await, "the spare host uses it, too");
        assert!(world.target.has("Secret", "h0-bmc").await);
    });
}

#[test]
fn what_speaks_against_a_move_is_said_at_once_and_nothing_is_changed() {
    run(async {
        let world = World::new("refused").await;
        world.settle().await;
        world.source.status("Machine", "m0", json!({"phase": "Provisioning"})).await;
        world
            .source
            .status(
                "BareMetalHost",
                "h0",
                json!({"poweredOn": true, "provisioning": {"state": "provisioning", "ID": ""}}),
            )
            .await;
        world
            .target
            .create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c-ca"}}))
            .await;
        let before = world.snapshot().await;
        let Err(MoveError::Refused(why)) = world.moves(&[], false).await else { panic!("moved") };
        assert_eq!(
            why,
            [
                "BareMetalHost h0: is provisioning",
                "Machine m0: has no Node yet",
                "Machine m0: is Provisioning",
                "Secret c-ca: the target has another of this name",
            ]
        );
        assert!(before == world.snapshot().await, "nothing has changed");
    });
}

#[test]
fn a_name_that_is_none_and_a_hosted_control_plane_are_refused() {
    run(async {
        let world = World::new("hosted").await;
        world.settle().await;
        let Err(MoveError::Refused(why)) = world.moves(&["d"], false).await else { panic!("moved") };
        assert!(why[0].starts_with("Cluster d: namespace hosted-"), "{why:?}");
        let cluster = world.source.get("Cluster", "c").await.expect("there");
        let owner = json!([{"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "name": "c",
            "uid": cluster.metadata.uid}]);
        world
            .source
            .create(
                json!({"apiVersion": "controlplane.cluster.x-k8s.io/v1alpha2", "kind": "KamajiControlPlane",
                "metadata": {"name": "c", "ownerReferences": owner}, "spec": {"version": "v1.35.4"}}),
            )
            .await;
        let Err(MoveError::Refused(why)) = world.moves(&["c"], false).await else { panic!("moved") };
        assert!(
            why.len() == 1 && why[0].starts_with("KamajiControlPlane c: a hosted control plane"),
            "{why:?}"
        );
    });
}
