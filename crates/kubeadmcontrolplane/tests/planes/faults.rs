//! Hosts that never boot, joins that stop, members that die: what is lost is replaced, and nothing is made worse.

use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use scute_api::cluster::Machine;
use scute_api::controlplane::KubeadmControlPlane;
use serde_json::json;

use crate::world::player::Host;
use crate::world::{NAME, World, run};

#[test]
fn a_first_host_that_never_boots_is_replaced_when_it_is_given_up() {
    run(async {
        let world = World::new("unborn").await;
        world.player.next_hosts(&[Host::NeverBoots]);
        world.control_plane(1).await;
        world.condition("Initialized", "False", "NotInitialized").await;
        let first =
            scute_testkit::until("a Machine", || async { world.names().await.first().cloned() }).await;
        scute_testkit::until("its host", || async { world.player.has_host(&first).then_some(()) }).await;
        // What it waits for in vain is made again.
        let hosts = world.providers("TestMachine");
        let lost = hosts.get(&first).await.expect("there").uid();
        hosts.delete(&first, &DeleteParams::default()).await.expect("deleted");
        scute_testkit::until("another", || async {
            hosts.get_opt(&first).await.ok().flatten().filter(|again| again.uid() != lost)
        })
        .await;
        world.give_up(&first).await;
        world.rests(1).await;
        let machines = world.machines().await;
        assert_ne!(machines[0].name_any(), first);
        let record =
            machines[0].annotations().get("controlplane.cluster.x-k8s.io/remediation-for").expect("a record");
        assert!(record.contains(&first), "{record}");
        let kcp = world.case.api::<KubeadmControlPlane>().get(NAME).await.expect("a control plane");
        assert!(!kcp.annotations().contains_key("controlplane.cluster.x-k8s.io/remediation-in-progress"));
        assert_eq!(
            kcp.status.and_then(|status| status.last_remediation).map(|last| last.machine),
            Some(first)
        );
    });
}

#[test]
fn a_join_that_stops_leaves_no_member_behind() {
    run(async {
        let world = World::new("stops").await;
        world.control_plane(1).await;
        world.rests(1).await;
        world.player.next_hosts(&[Host::JoinStops]);
        world.change(json!({"replicas": 3})).await;
        let second =
            scute_testkit::until("a second Machine", || async { world.player.made().get(1).cloned() }).await;
        scute_testkit::until("its member", || async { world.ring.names().contains(&second).then_some(()) })
            .await;
        // While it is on its way nothing else is begun.
        let message = world.condition("ScalingUp", "True", "ScalingUp").await;
        assert!(message.contains("is blocked because") || message.contains("Scaling up from"), "{message}");
        world.give_up(&second).await;
        world.rests(3).await;
        assert!(!world.ring.names().contains(&second), "its member is gone with it");
        assert!(!world.names().await.contains(&second));
        assert_eq!(world.player.made().len(), 4);
    });
}

#[test]
fn a_host_that_died_is_replaced_and_the_last_one_never() {
    run(async {
        let world = World::new("dies").await;
        world.control_plane(3).await;
        world.rests(3).await;
        let victim = world.player.made()[1].clone();
        world.host_dies(&victim).await;
        world.give_up(&victim).await;
        scute_testkit::until("another Machine", || async { world.player.made().get(3).cloned() }).await;
        world.rests(3).await;
        assert_eq!(world.ring.removed(), [victim]);
        assert_eq!(world.ring.names().len(), 3);
    });
}

#[test]
fn a_lost_quorum_is_told_and_nothing_is_changed() {
    run(async {
        let world = World::new("quorum").await;
        world.control_plane(3).await;
        world.rests(3).await;
        let made = world.player.made();
        world.host_dies(&made[1]).await;
        world.host_dies(&made[2]).await;
        world.give_up(&made[1]).await;
        let message = world.condition("EtcdClusterHealthy", "False", "NotHealthy").await;
        assert!(
            message.contains("etcd has lost its quorum") && message.contains("restore etcd from a snapshot"),
            "{message}"
        );
        world.change(json!({"replicas": 5, "version": "v1.35.5"})).await;
        let message = world.condition("ScalingUp", "True", "ScalingUp").await;
        assert!(message.contains("Scaling up from 3 to 5"), "{message}");
        world.condition("Available", "False", "NotAvailable").await;
        let is_told = |machine: &Machine| {
            let conditions = machine.status.iter().flat_map(|status| &status.conditions);
            conditions.into_iter().any(|condition| {
                condition.type_ == "OwnerRemediated" && condition.reason == "CannotBeRemediated"
            })
        };
        world.case.eventually::<Machine>(&made[1], "told why it stays", is_told).await;
        assert_eq!((world.player.made(), world.ring.removed()), (made, Vec::new()));

        // The members come back, and all goes on.
        world.ring.revive();
        for machine in world.names().await {
            for component in ["kube-apiserver", "etcd"] {
                let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
                let pods = world.system::<k8s_openapi::api::core::v1::Pod>();
                let params = PatchParams::default();
                let name = format!("{component}-{machine}");
                let _ = pods.patch_status(&name, &params, &Patch::Merge(&patch)).await;
            }
        }
        world.condition("EtcdClusterHealthy", "True", "Healthy").await;
    });
}
