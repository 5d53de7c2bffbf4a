//! What the API server refuses: by the schema, by its CEL rules, and by the webhooks of this room.

mod changes;
mod ranges;
#[path = "../support/mod.rs"]
mod support;
mod words;

use std::net::SocketAddr;
use std::sync::Arc;

use kube::api::{Api, DynamicObject, PostParams};
use scute_api::cluster::Cluster;
use scute_api::controlplane::KamajiControlPlane;
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_api::ranges::Management;
use scute_controlplane::Config;
use scute_etcd::fake::Fake;
use scute_kit::Admission;
use scute_testkit::{free_port, server};
use serde_json::{Value, json};
use support::{World, tenant};
use tokio::task::JoinSet;

const MANAGEMENT_PODS: &str = "10.85.0.0/16";

/// A world with webhooks, and the server that they call.
async fn world(name: &str) -> (World, JoinSet<()>, tempfile::TempDir) {
    let world = World::start(name, Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    world.datastore_ready().await;
    let (certificate, key, ca) = server().await.serving_certificate();
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("tls.crt"), certificate).expect("written");
    std::fs::write(dir.path().join("tls.key"), key).expect("written");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port().expect("a port")));
    let config = Config {
        default_datastore: world.datastore.clone(),
        management_pod_cidrs: vec![MANAGEMENT_PODS.parse().expect("a range")],
        management: Management {
            pods: vec![MANAGEMENT_PODS.parse().expect("a range")],
            load_balancer: vec!["172.30.0.128-172.30.0.254".parse().expect("a range")],
            ..Management::default()
        }
        .claims(),
        ..Config::default()
    };
    let admission = scute_controlplane::admission(&world.hub, &config, Admission::new());
    let (mut tasks, folder) = (JoinSet::new(), dir.path().to_owned());
    tasks.spawn(async move {
        admission.serve(address, &folder).await.expect("serves");
    });
    let groups = ["kamaji.clastix.io", "controlplane.cluster.x-k8s.io", "cluster.x-k8s.io", "ipam.metal3.io"];
    server().await.install_webhooks(&world.namespace, &groups, address, &ca, &world.namespace).await;
    // The API server takes webhooks from a cache: they are there when what they refuse is refused.
    let bad = tenant(&world.namespace, "probe", json!({ "dataStore": "none" }));
    scute_testkit::until("the webhooks are called", || {
        let (api, bad) = (world.api::<TenantControlPlane>(), bad.clone());
        async move {
            let refused =
                api.create(&PostParams { dry_run: true, ..PostParams::default() }, &bad).await.err()?;
            // A webhook that does not listen yet refuses, too.
            refused.to_string().contains("spec.dataStore").then_some(())
        }
    })
    .await;
    (world, tasks, dir)
}

async fn refusal(world: &World, name: &str, spec: Value) -> String {
    let api = world.api::<TenantControlPlane>();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match api.create(&params, &tenant(&world.namespace, name, spec.clone())).await {
        Ok(_) => panic!("{name} {spec} was accepted"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn bad_tenants_are_refused_with_the_field_and_the_reason() {
    let (world, _tasks, _dir) = world("bad").await;
    let network = |profile: Value| json!({ "networkProfile": profile });
    let version = |version: &str| json!({ "kubernetes": { "version": version } });
    for (name, spec, fragments) in [
        ("1abc", json!({}), vec!["metadata.name", "DNS-1035"]),
        ("a.b", json!({}), vec!["metadata.name", "DNS-1035"]),
        ("t", version("foo"), vec!["spec.kubernetes.version", "not a Kubernetes version"]),
        (
            "t",
            version("v1.99.0"),
            vec!["spec.kubernetes.version", "greater than the supported one, actually v1.35"],
        ),
        ("t", json!({ "dataStoreSchema": "root" }), vec!["dataStoreSchema", "etcd's own"]),
        (
            "t",
            network(json!({ "address": "10.0.0.9", "allowAddressAsExternalIP": true })),
            vec!["spec.networkProfile.address", "externalIPs of the manager's configuration"],
        ),
        ("t", json!({ "dataStore": "nowhere" }), vec!["spec.dataStore", "nowhere DataStore does not exist"]),
        ("t", network(json!({ "serviceCidrs": ["10.0.0.1"] })), vec!["serviceCidrs[0]", "must be a CIDR"]),
        ("t", network(json!({ "serviceCidr": "abc" })), vec!["serviceCidrs[0]", "must be a CIDR"]),
        (
            "t",
            network(json!({ "podCidrs": ["10.1.2.3/16"] })),
            vec!["podCidrs[0]", "the network is 10.1.0.0/16"],
        ),
        (
            "t",
            network(json!({ "podCidrs": ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"] })),
            vec!["podCidrs", "at most 2 items"],
        ),
        (
            "t",
            network(json!({ "podCidrs": ["10.96.0.0/12"] })),
            vec!["podCidrs", "10.96.0.0/12", "overlaps the Service range 10.96.0.0/16"],
        ),
        (
            "t",
            network(json!({ "dnsServiceIPs": ["10.97.0.10"] })),
            vec![
                "dnsServiceIPs[0]",
                "DNS service IP 10.97.0.10 is not contained in any configured service CIDR",
            ],
        ),
        (
            "t",
            network(json!({ "dnsServiceIPs": ["dns"] })),
            vec!["dnsServiceIPs[0]", "must be an IP address"],
        ),
        ("t", network(json!({ "certSANs": ["host:6443"] })), vec!["certSANs[0]", "without a port"]),
        ("t", network(json!({ "address": "host" })), vec!["networkProfile.address", "must be an IP address"]),
        ("t", network(json!({ "port": 0 })), vec!["networkProfile.port", "between 1 and 65535"]),
        ("t", network(json!({ "clusterDomain": "local" })), vec!["clusterDomain"]),
        (
            "t",
            network(json!({ "loadBalancerClass": "x" })),
            vec!["loadBalancerClass needs serviceType LoadBalancer"],
        ),
        (
            "t",
            network(json!({ "loadBalancerSourceRanges": ["10.0.0.0/8"] })),
            vec!["loadBalancerSourceRanges needs serviceType LoadBalancer"],
        ),
        (
            "t",
            json!({ "controlPlane": { "service": { "serviceType": "NodePort" } } }),
            vec!["networkProfile.address", "NodePort Service needs the address"],
        ),
        (
            "t",
            json!({ "controlPlane": { "service": { "allocateLoadBalancerNodePorts": true } } }),
            vec!["allocateLoadBalancerNodePorts needs serviceType LoadBalancer"],
        ),
        ("t", json!({ "dataStoreSchema": "a/b" }), vec!["dataStoreSchema"]),
        (
            "t",
            version("v1.30.9"),
            vec!["spec.kubernetes.version", "v1.30.9", "the oldest that is supported is v1.31"],
        ),
        ("t", version("v1.35.4-rc.1+x"), vec!["spec.kubernetes.version", "cannot be the tag of an image"]),
        (
            "t",
            json!({ "controlPlane": { "deployment": { "registrySettings": { "tagSuffix": "+x" } } } }),
            vec!["registrySettings.tagSuffix", "v1.35.4+x"],
        ),
        (
            "t",
            json!({ "controlPlane": { "deployment": { "resources": { "scheduler": { "limits": { "cpu": "two" } } } } } }),
            vec!["resources.scheduler.limits.cpu", "is not a quantity"],
        ),
        (
            "t",
            json!({ "controlPlane": { "deployment": { "probes": { "startup": { "successThreshold": 2 } } } } }),
            vec!["probes.startup.successThreshold", "must be 1"],
        ),
        // Ranges with which kube-apiserver ends, or gives no address.
        (
            "t",
            network(json!({ "serviceCidr": "10.93.0.0/30" })),
            vec!["serviceCidrs[0]", "at least 8 addresses"],
        ),
        (
            "t",
            network(json!({ "serviceCidr": "10.94.0.1/32" })),
            vec!["serviceCidrs[0]", "at least 8 addresses"],
        ),
        (
            "t",
            network(json!({ "serviceCidr": "fd00:93::/48", "podCidr": "fd00:245::/56" })),
            vec!["serviceCidrs[0]", "takes a /64"],
        ),
        (
            "t",
            network(json!({
                "serviceCidrs": ["10.95.0.0/16", "fd00:95::/32"], "podCidrs": ["10.245.0.0/16", "fd00:246::/56"],
            })),
            vec!["serviceCidrs[1]", "takes a /64"],
        ),
        (
            "t",
            json!({ "kubernetes": { "version": "v1.33.0" }, "networkProfile": { "serviceCidr": "10.128.0.0/9" } }),
            vec!["serviceCidrs[0]", "Kubernetes v1.33 takes a /12"],
        ),
        (
            "t",
            network(json!({ "serviceCidr": "10.93.0.8/29" })),
            vec!["serviceCidrs[0]", "tenth address", "/28"],
        ),
        (
            "t",
            network(json!({
                "address": "10.0.0.9", "serviceCidr": "fd00:93::/112", "podCidr": "fd00:245::/56",
            })),
            vec!["serviceCidrs[0]", "10.0.0.9", "the first range has to be IPv4"],
        ),
    ] {
        let said = refusal(&world, name, spec.clone()).await;
        for fragment in fragments {
            assert!(said.contains(fragment), "{spec}: {fragment:?} is not in {said}");
        }
    }
}

/// Who writes a Cluster and a KamajiControlPlane hears of the fields of these.
#[tokio::test]
async fn cluster_api_objects_are_refused_by_their_own_fields() {
    let (world, _tasks, _dir) = world("capi").await;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let cluster = |services: &str| -> Cluster {
        let control_plane =
            json!({ "apiGroup": "controlplane.cluster.x-k8s.io", "kind": "KamajiControlPlane", "name": "c" });
        let ranges = json!({ "services": { "cidrBlocks": [services] } });
        let spec = json!({ "clusterNetwork": ranges, "controlPlaneRef": control_plane });
        serde_json::from_value(json!({ "metadata": { "name": "c" }, "spec": spec })).expect("a Cluster")
    };
    let kcp = |spec: Value| -> KamajiControlPlane {
        let mut object = json!({ "metadata": { "name": "c" }, "spec": { "version": "1.35.4" } });
        for (field, value) in spec.as_object().expect("fields") {
            object["spec"][field] = value.clone();
        }
        serde_json::from_value(object).expect("a KamajiControlPlane")
    };
    let (clusters, control_planes) = (world.api::<Cluster>(), world.api::<KamajiControlPlane>());
    for (services, fragment) in [
        ("10.93.0.0/30", "at least 8 addresses"),
        ("fd00::/48", "takes a /64"),
        ("10.96.0.1/16", "10.96.0.0/16"),
    ] {
        let said = clusters.create(&params, &cluster(services)).await.expect_err(services).to_string();
        assert!(
            said.contains("spec.clusterNetwork.services.cidrBlocks[0]") && said.contains(fragment),
            "{said}"
        );
    }
    clusters
        .create(&params, &cluster("10.93.0.8/29"))
        .await
        .expect("its control plane may name a DNS address");
    for (spec, fragments) in [
        (json!({ "version": "1.30.2" }), ["spec.version", "v1.31"]),
        (json!({ "version": "newest" }), ["spec.version", "not a Kubernetes version"]),
        (json!({ "network": { "serviceType": "NodePort" } }), ["spec.network.serviceAddress", "NodePort"]),
        (
            json!({ "network": { "serviceType": "ClusterIP", "certSANs": ["a:1"] } }),
            ["spec.network.certSANs[0]", "without a port"],
        ),
    ] {
        let said = control_planes.create(&params, &kcp(spec.clone())).await.expect_err("refused").to_string();
        assert!(fragments.iter().all(|fragment| said.contains(fragment)), "{spec}: {said}");
    }
    control_planes.create(&params, &kcp(json!({}))).await.expect("a good one");
}

/// A manifest without the fields that were filled in is applied a second time.
#[tokio::test]
async fn bad_datastores_are_refused() {
    let world = World::start("datastores", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    let api = Api::<DataStore>::all(world.client.clone());
    let good = json!(api.get(&world.datastore).await.expect("the DataStore"));
    for (pointer, value, fragment) in [
        ("/spec/driver", json!("MySQL"), "etcd"),
        ("/spec/endpoints", json!([]), "at least 1 items"),
        ("/spec/endpoints", json!(["https://etcd:2379"]), "spec.endpoints[0]"),
        ("/spec/tlsConfig/clientCertificate/privateKey", json!({}), "either content or secretReference"),
        ("/spec/tlsConfig/certificateAuthority/privateKey/secretReference/keyPath", json!(""), "keyPath"),
    ] {
        let mut object = good.clone();
        *object.pointer_mut(pointer).expect(pointer) = value;
        object["metadata"] = json!({ "name": "bad" });
        let object: Value = object;
        let request =
            http::Request::post("/apis/kamaji.clastix.io/v1alpha1/datastores?fieldValidation=Strict")
                .header("content-type", "application/json")
                .body(object.to_string().into_bytes())
                .expect("a request");
        let answer: Result<DynamicObject, _> = world.client.request(request).await;
        let said = answer.expect_err(pointer).to_string();
        assert!(said.contains(fragment), "{pointer}: {said}");
    }
}
