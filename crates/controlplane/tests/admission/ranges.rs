//! Ranges of addresses at the door: those that are taken, refused, or warned of.

use kube::api::{Patch, PatchParams, PostParams};
use scute_api::cluster::Cluster;
use scute_api::ipam::IPPool;
use scute_api::kamaji::TenantControlPlane;
use serde_json::{Value, json};

use crate::support::{World, tenant};
use crate::{MANAGEMENT_PODS, refusal, world};

#[tokio::test]
async fn vm_nodes_are_not_hidden_by_their_own_clusters_ranges() {
    let (world, _tasks, _dir) = world("ranges").await;
    let api = world.api::<Cluster>();
    let cluster = |name: &str, pods: &str, kind: &str| -> Cluster {
        let infra = json!({ "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": kind, "name": name });
        let ranges = json!({ "pods": { "cidrBlocks": [pods] } });
        let spec = json!({ "clusterNetwork": ranges, "infrastructureRef": infra });
        serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).expect("a Cluster")
    };
    let params = PostParams::default();
    let inside = cluster("vms", "10.85.64.0/18", "KubevirtCluster");
    let refused = api.create(&params, &inside).await.expect_err("refused").to_string();
    for part in ["spec.clusterNetwork.pods.cidrBlocks", "10.85.64.0/18", MANAGEMENT_PODS] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    api.create(&params, &cluster("metal", "10.85.64.0/18", "Metal3Cluster")).await.expect("bare metal");
    api.create(&params, &cluster("vms", "10.245.0.0/16", "KubevirtCluster")).await.expect("another range");
    let moved = json!({ "spec": { "clusterNetwork": { "pods": { "cidrBlocks": ["10.0.0.0/8"] } } } });
    let patch = Patch::Merge(&moved);
    api.patch("vms", &PatchParams::default(), &patch).await.expect_err("moved into it");
}

/// What is said to whoever makes an object, without making it.
async fn warnings(world: &World, resource: &str, object: &Value) -> Vec<String> {
    let (group, _) = resource.split_once('/').expect("a group");
    let version = if group == "ipam.metal3.io" { "v1alpha1" } else { "v1beta2" };
    let plural = &resource[group.len() + 1..];
    let uri = format!("/apis/{group}/{version}/namespaces/{}/{plural}?dryRun=All", world.namespace);
    let request = http::Request::post(uri)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes().into())
        .expect("a request");
    let answer = world.client.send(request).await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.status());
    let said = answer.headers().get_all("warning").into_iter();
    said.map(|warning| warning.to_str().expect("text").to_owned()).collect()
}

/// A Cluster on servers, with these Pods.
fn on_servers(name: &str, pods: &str) -> Value {
    json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": { "name": name },
        "spec": {
            "clusterNetwork": { "pods": { "cidrBlocks": [pods] } },
            "infrastructureRef":
                { "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "Metal3Cluster", "name": name },
            "controlPlaneRef":
                { "apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KamajiControlPlane", "name": name },
        },
    })
}

/// An IPPool for whatever Cluster is in its namespace.
fn addresses(name: &str, start: &str, end: &str) -> Value {
    json!({
        "apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPPool", "metadata": { "name": name },
        "spec": { "namePrefix": name, "pools": [{ "start": start, "end": end }] },
    })
}

async fn make<K>(world: &World, object: &Value)
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object.clone()).expect("an object");
    world.api::<K>().create(&PostParams::default(), &object).await.expect("made");
}

/// Waits for the warning: what the manager knows of others, it knows from a watch.
async fn warned(world: &World, resource: &str, object: &Value, parts: &[&str]) {
    scute_testkit::until(&format!("a warning with {parts:?}"), || async {
        let said = warnings(world, resource, object).await;
        said.iter().any(|said| parts.iter().all(|part| said.contains(part))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn ranges_that_meet_are_warned_of_whichever_comes_last() {
    let (world, _tasks, _dir) = world("warned").await;
    let (clusters, pools) = ("cluster.x-k8s.io/clusters", "ipam.metal3.io/ippools");
    let (cluster, pool) = (on_servers("c", "10.244.0.0/16"), addresses("p", "10.244.9.1", "10.244.9.9"));
    assert_eq!(warnings(&world, clusters, &cluster).await, Vec::<String>::new());
    assert_eq!(warnings(&world, pools, &pool).await, Vec::<String>::new());

    make::<IPPool>(&world, &pool).await;
    let of_pool = format!("10.244.9.1-10.244.9.9, the servers' addresses of IPPool {}/p", world.namespace);
    let own = "spec.clusterNetwork.pods.cidrBlocks[0]: 10.244.0.0/16 overlaps";
    warned(&world, clusters, &cluster, &[own, &of_pool, "(spec.pools[0])"]).await;
    make::<Cluster>(&world, &cluster).await;
    let of_cluster = format!("10.244.0.0/16, the Pods of Cluster {}/c", world.namespace);
    let another = addresses("q", "10.244.8.1", "10.244.8.9");
    warned(&world, pools, &another, &["spec.pools[0]: 10.244.8.1-10.244.8.9 overlaps", &of_cluster]).await;

    // Addresses from which its own control plane may be given one.
    let on_balancer = on_servers("d", "172.30.0.128/25");
    let of_site = "172.30.0.128-172.30.0.254, the LoadBalancer addresses of the management cluster (loadBalancer.pools)";
    warned(&world, clusters, &on_balancer, &[of_site]).await;

    // Servers may have the site's Pod range for Pods; with the first VM Node it is too late for that.
    let over_site = on_servers("e", MANAGEMENT_PODS);
    assert_eq!(warnings(&world, clusters, &over_site).await, Vec::<String>::new());
    make::<Cluster>(&world, &over_site).await;
    let reference = |kind: &str| json!({ "apiGroup": "x.cluster.x-k8s.io", "kind": kind, "name": "vms" });
    let machines = |infra: &str| {
        let template = json!({ "spec": {
            "clusterName": "e", "bootstrap": { "configRef": reference("KubeadmConfigTemplate") },
            "infrastructureRef": reference(infra),
        } });
        json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": { "name": "vms" },
            "spec": { "clusterName": "e", "selector": {}, "template": template },
        })
    };
    let deployments = "cluster.x-k8s.io/machinedeployments";
    let of_site = format!("{MANAGEMENT_PODS}, the Pods of the management cluster (networks.pods)");
    let of_cluster = format!("Cluster {}/e: spec.clusterNetwork.pods.cidrBlocks[0]", world.namespace);
    let parts = [of_cluster.as_str(), &of_site, "VM Nodes are Pods there"];
    warned(&world, deployments, &machines("KubevirtMachineTemplate"), &parts).await;
    assert_eq!(warnings(&world, deployments, &machines("Metal3MachineTemplate")).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_an_object_says_against_itself_is_refused() {
    let (world, _tasks, _dir) = world("itself").await;
    let mut cluster = on_servers("c", "10.244.0.0/16");
    cluster["spec"]["controlPlaneEndpoint"] = json!({ "host": "10.244.0.9", "port": 6443 });
    let object: Cluster = serde_json::from_value(cluster).expect("a Cluster");
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let refused = world.api::<Cluster>().create(&params, &object).await.expect_err("refused").to_string();
    for part in [
        "spec.clusterNetwork.pods.cidrBlocks[0]",
        "10.244.0.0/16",
        "10.244.0.9 (spec.controlPlaneEndpoint.host)",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let address = json!({ "networkProfile": { "address": "10.244.0.9", "podCidr": "10.244.0.0/16" } });
    let refused = refusal(&world, "t", address).await;
    assert!(refused.contains("overlaps 10.244.0.9 (spec.networkProfile.address)"), "{refused}");
}

#[tokio::test]
async fn ranges_that_kube_apiserver_takes_are_accepted() {
    let (world, _tasks, _dir) = world("good").await;
    for profile in [
        json!({ "serviceCidr": "10.128.0.0/9", "podCidr": "172.20.0.0/16" }),
        json!({ "serviceCidr": "10.93.0.16/28" }),
        json!({ "serviceCidr": "10.93.0.8/29", "dnsServiceIPs": ["10.93.0.14"] }),
        json!({ "serviceCidr": "fd00:93::/64", "podCidr": "fd00:245::/56" }),
    ] {
        let tcp = tenant(&world.namespace, "t", json!({ "networkProfile": profile }));
        let params = PostParams { dry_run: true, ..PostParams::default() };
        let made = world.api::<TenantControlPlane>().create(&params, &tcp).await;
        let made = made.unwrap_or_else(|error| panic!("{profile}: {error}"));
        assert_eq!(made.spec.network_profile.dns_service_ips.len(), 1, "{profile}");
    }
}
