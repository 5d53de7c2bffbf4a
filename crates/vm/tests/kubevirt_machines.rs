//! KubevirtClusters and KubevirtMachines on a real API server, which plays the tenant's too.

mod support;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Resource, ResourceExt};
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{
    KubevirtCluster, KubevirtClusterSpec, KubevirtMachine, KubevirtMachineTemplate,
};
use scute_api::kubevirt::{VirtualMachine, VirtualMachineInstance};
use scute_kit::conditions::find;
use scute_testkit::server;
use serde_json::{Value, json};
use support::{Bench, guest};

const INFRA: &str = "infrastructure.cluster.x-k8s.io";

fn kubevirt_cluster(name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{INFRA}/v1alpha1"), "kind": "KubevirtCluster", "metadata": {"name": name}, "spec": spec})
}

/// A Cluster whose infrastructure and control plane are there, and the way into it.
async fn cluster(bench: &Bench, name: &str, infra: &str, control_plane: &str) {
    cluster_as(bench, name, infra, control_plane, false).await;
}

/// One that is paused from the beginning: watches of different kinds do not wait for each other.
async fn cluster_as(bench: &Bench, name: &str, infra: &str, control_plane: &str, paused: bool) {
    bench
        .create::<Cluster>(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": name},
            "spec": {
                "paused": paused,
                "clusterNetwork": {"pods": {"cidrBlocks": ["10.245.0.0/16"]}},
                "infrastructureRef": {"apiGroup": INFRA, "kind": infra, "name": name},
                "controlPlaneRef": {"apiGroup": "controlplane.cluster.x-k8s.io", "kind": control_plane, "name": name},
            },
        }))
        .await;
    let reached = json!({"infrastructureProvisioned": true, "controlPlaneInitialized": true});
    bench.patch_status::<Cluster>(name, json!({"initialization": reached})).await;
    secret(bench, &format!("{name}-kubeconfig"), "value", &server().await.kubeconfig()).await;
}

async fn secret(bench: &Bench, name: &str, key: &str, text: &str) {
    bench
        .create::<Secret>(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": {key: text}}))
        .await;
}

const BOOTSTRAP: &str = "## template: jinja\n#cloud-config\nwrite_files:\n- path: /run/kubeadm/kubeadm-join-config.yaml\n  content: |\n    name: '{{ ds.meta_data.local_hostname }}'\nruncmd:\n- kubeadm join\n";

/// A Machine of a MachineSet, with bootstrap data, and its KubevirtMachine.
async fn machine(bench: &Bench, name: &str, cluster: &str, check: &str, bootstrap: &str) -> KubevirtMachine {
    secret(bench, name, "value", bootstrap).await;
    let set = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineSet", "name": "set", "uid": "set", "controller": true});
    let machine: Machine = bench
        .create(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Machine",
            "metadata": {"name": name, "ownerReferences": [set]},
            "spec": {
                "clusterName": cluster, "bootstrap": {"dataSecretName": name},
                "infrastructureRef": {"apiGroup": INFRA, "kind": "KubevirtMachine", "name": name},
            },
        }))
        .await;
    let mut spec = guest();
    spec["evictionStrategy"] = json!("External");
    let template = json!({"metadata": {"namespace": bench.namespace}, "spec": {"runStrategy": "Always", "template": {"spec": spec}}});
    bench
        .create(json!({
            "apiVersion": format!("{INFRA}/v1alpha1"), "kind": "KubevirtMachine",
            "metadata": {
                "name": name, "ownerReferences": [machine.controller_owner_ref(&()).unwrap()],
                "labels": {"cluster.x-k8s.io/cluster-name": cluster},
            },
            "spec": {"virtualMachineBootstrapCheck": {"checkStrategy": check}, "virtualMachineTemplate": template},
        }))
        .await
}

async fn booted(bench: &Bench, name: &str, address: &str) -> VirtualMachineInstance {
    let vmi = bench.eventually::<VirtualMachineInstance>(name, "there", |_| true).await;
    let pod = bench.pod_of(name, &vmi.uid().unwrap()).await;
    bench.boot(&pod, address).await;
    vmi
}

/// What the guest's kubelet does.
async fn join(bench: &Bench, name: &str) -> Api<Node> {
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let node = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    nodes
}

fn reason(machine: &KubevirtMachine, condition: &str) -> Option<String> {
    let status = machine.status.as_ref()?;
    find(&status.conditions, condition).map(|condition| condition.reason.clone())
}

fn joined(machine: &KubevirtMachine) -> bool {
    machine.status.as_ref().is_some_and(|status| status.node_instance_uid.is_some())
}

#[tokio::test]
async fn a_machine_becomes_a_node_and_goes_without_a_trace() {
    let bench = Bench::new("node").await;
    cluster(&bench, "c", "KubevirtCluster", "KamajiControlPlane").await;
    bench
        .create::<KubevirtCluster>(kubevirt_cluster(
            "c",
            json!({"controlPlaneEndpoint": {"host": "10.1.1.1", "port": 6443}}),
        ))
        .await;
    machine(&bench, "node-m0", "c", "none", BOOTSTRAP).await;
    let vm = bench.eventually::<VirtualMachine>("node-m0", "there", |_| true).await;
    let labels: BTreeMap<_, _> = vm.spec.template.metadata.clone().unwrap().labels.unwrap();
    for (label, value) in [
        ("kubevirt.io/vm", "node-m0"),
        ("name", "node-m0"),
        ("cluster.x-k8s.io/role", "worker"),
        ("cluster.x-k8s.io/cluster-name", "c"),
        ("capk.cluster.x-k8s.io/kubevirt-machine-name", "node-m0"),
        ("capk.cluster.x-k8s.io/kubevirt-machine-namespace", bench.namespace.as_str()),
    ] {
        assert_eq!((labels[label].as_str(), vm.labels()[label].as_str()), (value, value), "{label}");
    }
    let user_data = bench
        .api::<Secret>()
        .get("node-m0-userdata")
        .await
        .unwrap()
        .data
        .unwrap()
        .remove("userdata")
        .unwrap();
    let user_data = String::from_utf8(user_data.0).unwrap();
    assert!(user_data.starts_with(BOOTSTRAP) && user_data.contains("capk"), "{user_data}");

    let vmi = booted(&bench, "node-m0", "10.85.0.21").await;
    let provisioned = |machine: &KubevirtMachine| {
        machine.status.as_ref().is_some_and(|status| {
            status.ready && status.initialization.as_ref().is_some_and(|is| is.provisioned == Some(true))
        })
    };
    let seen = bench.eventually::<KubevirtMachine>("node-m0", "provisioned", provisioned).await;
    assert_eq!(seen.spec.provider_id.as_deref(), Some("kubevirt://node-m0"));
    let addresses = serde_json::to_value(seen.status.unwrap().addresses).unwrap();
    assert_eq!(
        addresses,
        json!([
            {"type": "Hostname", "address": "node-m0"}, {"type": "InternalIP", "address": "10.85.0.21"},
            {"type": "ExternalIP", "address": "10.85.0.21"}, {"type": "InternalDNS", "address": "node-m0"},
        ])
    );
    let nodes = join(&bench, "node-m0").await;
    let marked = |node: &Node| {
        node.spec.as_ref().is_some_and(|spec| spec.provider_id.as_deref() == Some("kubevirt://node-m0"))
    };
    scute_testkit::eventually(nodes.clone(), "node-m0", "marked", marked).await;
    let seen = bench.eventually::<KubevirtMachine>("node-m0", "joined", joined).await;
    assert_eq!(seen.status.unwrap().node_instance_uid, vmi.uid());

    bench.delete::<KubevirtMachine>("node-m0").await;
    bench.gone::<KubevirtMachine>("node-m0").await;
    assert!(
        bench.api::<VirtualMachine>().get_opt("node-m0").await.unwrap().is_none(),
        "the finalizer went before the VM"
    );
    assert!(bench.api::<Pod>().list(&Default::default()).await.unwrap().items.is_empty());
    assert!(!bench.secrets().await.contains(&"node-m0-userdata".to_owned()));
    nodes.delete("node-m0", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_is_lost_after_it_joined_takes_its_machine_along() {
    let bench = Bench::new("lost").await;
    cluster(&bench, "c", "Metal3Cluster", "KamajiControlPlane").await;
    machine(&bench, "lost-m0", "c", "none", BOOTSTRAP).await;
    let vmi = booted(&bench, "lost-m0", "10.85.0.22").await;
    let nodes = join(&bench, "lost-m0").await;
    bench.eventually::<KubevirtMachine>("lost-m0", "joined", joined).await;
    let pod = bench.pod_of("lost-m0", &vmi.uid().unwrap()).await;
    bench.end(&pod, 1, r#"{"reason":"QemuCrashed","message":"signal 9"}"#).await;
    bench.gone::<Machine>("lost-m0").await;
    nodes.delete("lost-m0", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_guest_that_fails_before_it_joined_starts_again() {
    let bench = Bench::new("young").await;
    cluster(&bench, "c", "Metal3Cluster", "KamajiControlPlane").await;
    machine(&bench, "young-m0", "c", "none", BOOTSTRAP).await;
    let vmi = booted(&bench, "young-m0", "10.85.0.23").await;
    bench
        .eventually::<KubevirtMachine>("young-m0", "ready", |machine| {
            machine.status.as_ref().is_some_and(|status| status.ready)
        })
        .await;
    let pod = bench.pod_of("young-m0", &vmi.uid().unwrap()).await;
    bench.end(&pod, 1, "").await;
    let again = |new: &VirtualMachineInstance| new.uid() != vmi.uid();
    bench.eventually::<VirtualMachineInstance>("young-m0", "another", again).await;
    assert!(bench.api::<Machine>().get("young-m0").await.unwrap().metadata.deletion_timestamp.is_none());
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told() {
    let bench = Bench::new("missing").await;
    let waits = |reason_wanted: &'static str| {
        move |machine: &KubevirtMachine| reason(machine, "VMProvisioned").as_deref() == Some(reason_wanted)
    };
    machine(&bench, "missing-m0", "c", "none", "#cloud-config\n- a: {\n").await;
    bench.eventually("missing-m0", "waiting for the Cluster", waits("WaitingForClusterInfrastructure")).await;
    cluster(&bench, "c", "Metal3Cluster", "KamajiControlPlane").await;
    let wrong = bench.eventually("missing-m0", "refused", waits("VMCreateFailed")).await;
    let status = wrong.status.unwrap();
    let message = &find(&status.conditions, "VMProvisioned").unwrap().message;
    assert!(message.contains("Secret missing-m0") && !message.contains("a: {"), "{message}");
    assert!(bench.api::<VirtualMachine>().get_opt("missing-m0").await.unwrap().is_none());
    bench
        .patch::<Cluster>(
            "c",
            json!({"spec": {"clusterNetwork": {"pods": {"cidrBlocks": ["10.85.128.0/17"]}}}}),
        )
        .await;
    bench.eventually("missing-m0", "refused", waits("PodRangeOverlap")).await;
    // That of this API server, as its ServiceCIDR says.
    let ranges = json!({"pods": {"cidrBlocks": ["10.0.0.128/25"]}});
    bench.patch::<Cluster>("c", json!({"spec": {"clusterNetwork": ranges}})).await;
    bench.eventually("missing-m0", "refused", waits("ServiceRangeOverlap")).await;
}

#[tokio::test]
async fn a_pause_is_told_and_nothing_else_is_done() {
    let bench = Bench::new("paused").await;
    cluster_as(&bench, "c", "KubevirtCluster", "KamajiControlPlane", true).await;
    bench.create::<KubevirtCluster>(kubevirt_cluster("c", json!({}))).await;
    let before = machine(&bench, "paused-m0", "c", "none", BOOTSTRAP).await;
    // A machine of another Cluster, made later, is served: by then this one has been looked at.
    cluster(&bench, "d", "Metal3Cluster", "KamajiControlPlane").await;
    machine(&bench, "paused-m1", "d", "none", BOOTSTRAP).await;
    bench.eventually::<VirtualMachine>("paused-m1", "there", |_| true).await;
    let told = |conditions: &[Condition], status: &str| {
        find(conditions, "Paused").is_some_and(|paused| paused.status == status)
    };
    let of_machine = |status: &'static str| {
        move |machine: &KubevirtMachine| {
            machine.status.as_ref().is_some_and(|is| told(&is.conditions, status))
        }
    };
    let of_cluster = |status: &'static str| {
        move |infra: &KubevirtCluster| infra.status.as_ref().is_some_and(|is| told(&is.conditions, status))
    };
    let after = bench.eventually("paused-m0", "paused", of_machine("True")).await;
    let status = after.status.unwrap();
    let message = &find(&status.conditions, "Paused").unwrap().message;
    assert_eq!((status.conditions.len(), message.as_str()), (1, "Cluster.spec.paused is true"));
    assert_eq!(after.metadata.generation, before.metadata.generation);
    assert_eq!(after.metadata.finalizers, before.metadata.finalizers);
    let infra = bench.eventually("c", "paused", of_cluster("True")).await;
    assert_eq!((infra.spec, infra.metadata.finalizers), (KubevirtClusterSpec::default(), None));
    bench.patch::<Cluster>("c", json!({"spec": {"paused": false}})).await;
    bench.eventually::<VirtualMachine>("paused-m0", "there", |_| true).await;
    bench.eventually("paused-m0", "not paused", of_machine("False")).await;
    bench.eventually("c", "not paused", of_cluster("False")).await;
}

#[tokio::test]
async fn a_kubevirt_cluster_without_a_cluster_leaves_its_pause_and_says_what_it_waits_for() {
    let bench = Bench::new("alone").await;
    let mut alone = kubevirt_cluster("alone", json!({}));
    alone["metadata"]["annotations"] = json!({"cluster.x-k8s.io/paused": ""});
    bench.create::<KubevirtCluster>(alone).await;
    let said = |infra: &KubevirtCluster, type_: &str| {
        find(&infra.status.as_ref()?.conditions, type_).map(|said| said.reason.clone())
    };
    let paused = |infra: &KubevirtCluster| said(infra, "Paused").as_deref() == Some("Paused");
    bench.eventually::<KubevirtCluster>("alone", "paused", paused).await;
    let annotations = json!({"cluster.x-k8s.io/paused": null});
    bench.patch::<KubevirtCluster>("alone", json!({"metadata": {"annotations": annotations}})).await;
    let left = |infra: &KubevirtCluster| said(infra, "Paused").as_deref() == Some("NotPaused");
    let seen = bench.eventually::<KubevirtCluster>("alone", "not paused", left).await;
    assert_eq!(said(&seen, "Ready").as_deref(), Some("WaitingForCluster"));
}

#[tokio::test]
async fn a_kubevirt_cluster_makes_keys_and_a_service_and_keeps_the_endpoint() {
    let bench = Bench::new("infra").await;
    cluster(&bench, "c", "KubevirtCluster", "KubeadmControlPlane").await;
    let given = json!({"controlPlaneEndpoint": {"host": "10.77.0.171", "port": 6443}});
    bench.create::<KubevirtCluster>(kubevirt_cluster("c", given)).await;
    let ready = |infra: &KubevirtCluster| infra.status.as_ref().is_some_and(|status| status.ready);
    let infra = bench.eventually::<KubevirtCluster>("c", "ready", ready).await;
    assert_eq!(infra.spec.control_plane_endpoint.unwrap().host, "10.77.0.171");
    let service = bench.api::<Service>().get("c-lb").await.unwrap().spec.unwrap();
    assert_eq!(service.selector.unwrap()["cluster.x-k8s.io/role"], "control-plane");
    let keys = bench.api::<Secret>().get("c-ssh-keys").await.unwrap();
    let data = keys.data.clone().unwrap();
    assert!(
        data["pub"].0.starts_with(b"ecdsa-sha2-nistp384 ")
            && data["key"].0.starts_with(b"-----BEGIN EC PRIVATE KEY")
    );
    bench.delete::<KubevirtCluster>("c").await;
    bench.gone::<KubevirtCluster>("c").await;
    bench.gone::<Service>("c-lb").await;
    bench.gone::<Secret>("c-ssh-keys").await;
}

#[tokio::test]
async fn an_empty_endpoint_is_the_services_or_the_hosted_control_planes() {
    let bench = Bench::new("endpoint").await;
    cluster(&bench, "vms", "KubevirtCluster", "KubeadmControlPlane").await;
    bench.create::<KubevirtCluster>(kubevirt_cluster("vms", json!({}))).await;
    let filled = |infra: &KubevirtCluster| infra.spec.control_plane_endpoint.is_some();
    let infra = bench.eventually::<KubevirtCluster>("vms", "filled", filled).await;
    let service = bench.api::<Service>().get("vms-lb").await.unwrap().spec.unwrap();
    assert_eq!(Some(infra.spec.control_plane_endpoint.unwrap().host), service.cluster_ip);

    // Nothing is behind a Service where the API server is no VM, and its name would be too long.
    let hosted = "h".repeat(63);
    cluster(&bench, &hosted, "KubevirtCluster", "KamajiControlPlane").await;
    bench.create::<KubevirtCluster>(kubevirt_cluster(&hosted, json!({}))).await;
    let waits = |infra: &KubevirtCluster| {
        let status = infra.status.clone().unwrap_or_default();
        find(&status.conditions, "Ready")
            .is_some_and(|ready| ready.reason == "WaitingForControlPlaneEndpoint")
    };
    bench.eventually::<KubevirtCluster>(&hosted, "waiting", waits).await;
    bench
        .patch::<KubevirtCluster>(
            &hosted,
            json!({"spec": {"controlPlaneEndpoint": {"host": "10.1.1.1", "port": 6443}}}),
        )
        .await;
    bench
        .eventually::<KubevirtCluster>(&hosted, "ready", |infra| {
            infra.status.as_ref().is_some_and(|status| status.ready)
        })
        .await;
}

#[tokio::test]
async fn an_object_that_others_manage_is_never_touched() {
    let bench = Bench::new("managed").await;
    cluster(&bench, "c", "KubevirtCluster", "KamajiControlPlane").await;
    let mut managed = kubevirt_cluster("c", json!({}));
    managed["metadata"]["annotations"] = json!({"cluster.x-k8s.io/managed-by": "kamaji"});
    let before: KubevirtCluster = bench.create(managed).await;
    machine(&bench, "managed-m0", "c", "ssh", BOOTSTRAP).await;
    booted(&bench, "managed-m0", "10.85.0.24").await;
    // There are no SSH keys: the check that was asked for is not supported, and holds nothing up.
    let ready = |machine: &KubevirtMachine| machine.status.as_ref().is_some_and(|status| status.ready);
    let seen = bench.eventually::<KubevirtMachine>("managed-m0", "ready", ready).await;
    assert_eq!(reason(&seen, "BootstrapExecSucceeded").as_deref(), Some("BootstrapCheckingNotSupported"));
    let after = bench.api::<KubevirtCluster>().get("c").await.unwrap();
    assert_eq!(after.resource_version(), before.resource_version());
    assert!(bench.api::<Service>().get_opt("c-lb").await.unwrap().is_none());
}

#[tokio::test]
async fn the_second_infrastructure_of_a_mixed_cluster_is_adopted() {
    let bench = Bench::new("mixed").await;
    cluster(&bench, "duo", "Metal3Cluster", "KamajiControlPlane").await;
    let given = json!({"controlPlaneEndpoint": {"host": "10.77.0.175", "port": 6443}});
    bench.create::<KubevirtCluster>(kubevirt_cluster("duo", given)).await;
    let adopted =
        |infra: &KubevirtCluster| infra.owner_references().iter().any(|owner| owner.kind == "Cluster");
    bench.eventually::<KubevirtCluster>("duo", "adopted", adopted).await;
    machine(&bench, "mixed-m0", "duo", "none", BOOTSTRAP).await;
    bench.eventually::<VirtualMachine>("mixed-m0", "there", |_| true).await;
}

#[tokio::test]
async fn a_template_tells_its_capacity() {
    let bench = Bench::new("capacity").await;
    let template = json!({"spec": {"runStrategy": "Always", "template": {"spec": guest()}}});
    bench
        .create::<KubevirtMachineTemplate>(json!({
            "apiVersion": format!("{INFRA}/v1alpha1"), "kind": "KubevirtMachineTemplate", "metadata": {"name": "t"},
            "spec": {"template": {"spec": {"virtualMachineTemplate": template}}},
        }))
        .await;
    let told = |template: &KubevirtMachineTemplate| template.status.is_some();
    let seen = bench.eventually::<KubevirtMachineTemplate>("t", "told", told).await;
    assert_eq!(
        serde_json::to_value(seen.status).unwrap(),
        json!({"capacity": {"cpu": "2", "memory": "1Gi"}})
    );
}
