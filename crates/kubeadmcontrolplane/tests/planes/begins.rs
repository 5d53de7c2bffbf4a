//! A control plane of one Machine, from nothing to Available, and its end.

use crate::world::{NAME, VERSION, World, run};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::bootstrap::KubeadmConfig;
use scute_api::cluster::Machine;
use scute_api::controlplane::KubeadmControlPlane;
use scute_pki::Kubeconfig;
use serde_json::json;

#[test]
fn one_machine_from_nothing_to_available_and_gone() {
    run(async {
        let world = World::new("begins").await;
        world.control_plane(1).await;
        let kcp = world.rests(1).await;

        // What is missing of the key pairs was made, and what the user brought is the user's.
        for (suffix, ours) in
            [("ca", false), ("etcd", true), ("proxy", true), ("sa", true), ("kubeconfig", true)]
        {
            let secret = world.case.api::<Secret>().get(&format!("{NAME}-{suffix}")).await.expect("a Secret");
            let controlled = secret
                .owner_references()
                .iter()
                .any(|owner| owner.kind == "KubeadmControlPlane" && owner.controller == Some(true));
            assert_eq!(controlled, ours, "{suffix}");
        }
        let secret = world.case.api::<Secret>().get(&format!("{NAME}-kubeconfig")).await.expect("a Secret");
        let text = String::from_utf8(secret.data.expect("data")["value"].0.clone()).expect("a text");
        let kubeconfig = Kubeconfig::parse(&text).expect("a kubeconfig");
        assert_eq!((kubeconfig.server.as_str(), kubeconfig.user.as_str()), (world.tenant.url(), "duo-admin"));

        // Machine, configuration and infrastructure have one name, and the configuration begins a cluster.
        let machines = world.machines().await;
        let machine = machines.first().expect("a Machine");
        let name = machine.name_any();
        assert_eq!(machine.spec.version.as_deref(), Some(VERSION));
        assert!(machine.labels().contains_key("cluster.x-k8s.io/control-plane"));
        assert_eq!(
            machine.labels().get("cluster.x-k8s.io/control-plane-name").map(String::as_str),
            Some(NAME)
        );
        assert!(name.starts_with("duo-"), "{name}");
        let config = world.case.api::<KubeadmConfig>().get(&name).await.expect("a KubeadmConfig");
        assert!(config.spec.join_configuration.is_none() && config.spec.cluster_configuration.is_some());
        let host = world.providers("TestMachine").get(&name).await.expect("a TestMachine");
        assert_eq!(host.annotations()["cluster.x-k8s.io/cloned-from-name"], "t1");

        let status = kcp.status.expect("a status");
        assert_eq!(status.version.as_deref(), Some(VERSION));
        assert_eq!(
            status.selector.as_deref(),
            Some("cluster.x-k8s.io/cluster-name=duo,cluster.x-k8s.io/control-plane=")
        );
        for (type_, is) in [
            ("Initialized", "True"),
            ("CertificatesAvailable", "True"),
            ("MachinesUpToDate", "True"),
            ("RollingOut", "False"),
            ("ScalingUp", "False"),
            ("ScalingDown", "False"),
            ("Remediating", "False"),
            ("Deleting", "False"),
            ("Paused", "False"),
        ] {
            world.condition(type_, is, "").await;
        }
        for type_ in ["APIServerPodHealthy", "EtcdPodHealthy", "EtcdMemberHealthy", "UpToDate", "Ready"] {
            let is = |machine: &Machine| {
                let conditions = machine.status.iter().flat_map(|status| &status.conditions);
                conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
            };
            world.case.eventually::<Machine>(&name, type_, is).await;
        }

        let end = |machine: &Machine| {
            let end = machine.status.as_ref().and_then(|status| status.certificates_expiry_date.as_ref());
            end.is_some_and(|end| end.0.to_string() == "2099-01-01T00:00:00Z")
        };
        world.case.eventually::<Machine>(&name, "told when its certificates end", end).await;

        // Its end takes the Machine along, and etcd's member is not asked to leave itself.
        world.delete().await;
        world.case.gone::<KubeadmControlPlane>(NAME).await;
        assert_eq!(world.names().await, Vec::<String>::new());
        assert_eq!(world.ring.removed(), Vec::<String>::new());
        assert_eq!(world.player.made(), [name], "one Machine was ever made");
    });
}

#[test]
fn an_etcd_of_somebody_elses_is_waited_for_and_left_alone() {
    run(async {
        let world = World::new("theirs").await;
        let external = json!({"endpoints": ["https://etcd.example:2379"], "caFile": "/etc/kubernetes/pki/etcd/ca.crt",
            "certFile": "/etc/kubernetes/pki/apiserver-etcd-client.crt", "keyFile": "/etc/kubernetes/pki/apiserver-etcd-client.key"});
        let cluster = json!({"encryptionAlgorithm": "ECDSA-P256", "etcd": {"external": external}});
        world.control_plane_with(3, json!({"kubeadmConfigSpec": {"clusterConfiguration": cluster}})).await;
        let message = world.condition("CertificatesAvailable", "False", "").await;
        assert!(message.contains(&format!("{NAME}-etcd")), "{message}");
        assert_eq!(world.names().await, Vec::<String>::new());

        let (authority, _) = world.tenant.authority();
        let (certificate, key, _) = world.tenant.serving_certificate();
        for (name, data) in [
            ("etcd", json!({"tls.crt": authority})),
            ("apiserver-etcd-client", json!({"tls.crt": certificate, "tls.key": key})),
        ] {
            let name = format!("{NAME}-{name}");
            world
                .case
                .create::<Secret>(json!({"metadata": {"name": name}, "type": "Opaque", "stringData": data}))
                .await;
        }
        world.rests(3).await;
        for machine in world.machines().await {
            let conditions = machine.status.into_iter().flat_map(|status| status.conditions);
            let of_etcd: Vec<_> = conditions.filter(|one| one.type_.starts_with("Etcd")).collect();
            assert!(of_etcd.is_empty(), "{of_etcd:?}");
        }
        world.change(json!({"replicas": 1})).await;
        world.rests(1).await;
        assert_eq!((world.ring.removed(), world.ring.moved()), (Vec::new(), Vec::new()), "nobody asked it");
    });
}
