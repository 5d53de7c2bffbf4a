//! What the API server refuses: by the schema, by its CEL rules, and by the webhooks of this room.

mod ranges;
#[path = "../support/mod.rs"]
mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
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
async fn a_replaced_manifest_keeps_what_was_decided() {
    let (world, _tasks, _dir) = world("replace").await;
    let manifest = tenant(&world.namespace, "again", json!({}));
    let api = world.api::<TenantControlPlane>();
    api.create(&PostParams::default(), &manifest).await.expect("created");
    let filled = |tcp: &TenantControlPlane| tcp.spec.data_store_username.is_some();
    let before = scute_testkit::eventually(api.clone(), "again", "given its defaults", filled).await;
    let mut again = manifest.clone();
    again.metadata.resource_version = before.metadata.resource_version.clone();
    let after = api.replace("again", &PostParams::default(), &again).await.expect("replaced");
    assert_eq!(after.spec, before.spec);
    let unset = json!({ "spec": { "dataStore": null, "dataStoreSchema": null, "dataStoreUsername": null } });
    let after = api.patch("again", &PatchParams::default(), &Patch::Merge(&unset)).await.expect("patched");
    assert_eq!(after.spec, before.spec);
}

/// What is rendered for a container is spelled as the API server stores it; otherwise it would never count as applied.
#[tokio::test]
async fn quantities_have_the_api_servers_spelling() {
    let world = World::start("quantities", Arc::new(Fake::new())).await;
    let spellings = [
        "0",
        "0.05",
        ".5",
        "2000m",
        "1500m",
        "2",
        "0.0001",
        "100u",
        "1n",
        "1000",
        "1500",
        "1k",
        "0.5k",
        "12345678",
        "1e3",
        "64e6",
        "5E2",
        "1.5e-2",
        "1.50e-2",
        "+2",
        "1.500",
        "1.5",
        "262144Ki",
        "1073741824",
        "1.5Gi",
        "0.5Ki",
        "3Mi",
        "1Ti",
        "1E",
    ];
    let containers: Vec<_> = spellings
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let limits = json!({ "limits": { "memory": text } });
            json!({ "name": format!("c{index}"), "image": "i", "resources": limits })
        })
        .collect();
    let labels = json!({ "app": "q" });
    let deployment = serde_json::from_value(json!({
        "metadata": { "name": "q" },
        "spec": {
            "replicas": 0, "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } },
        },
    }))
    .expect("a Deployment");
    let stored =
        world.api::<Deployment>().create(&PostParams::default(), &deployment).await.expect("created");
    let pod = stored.spec.and_then(|spec| spec.template.spec).expect("a Pod");
    for (container, text) in pod.containers.iter().zip(spellings) {
        let limits = container.resources.clone().and_then(|resources| resources.limits).unwrap_or_default();
        let ours = scute_api::kubevirt::Quantity::from(text).canonical().expect("a quantity");
        assert_eq!(limits["memory"].0, ours.0, "{text}");
    }
}

#[tokio::test]
async fn words_that_are_not_honoured_are_refused() {
    let world = World::start("unknown", Arc::new(Fake::new())).await;
    let good = json!(tenant(&world.namespace, "t", json!({})));
    for (pointer, value, fragment) in [
        ("/spec/addons/konnectivity", json!({ "server": { "port": 8132 } }), "konnectivity"),
        ("/spec/writePermissions", json!({ "blockCreation": true }), "writePermissions"),
        ("/spec/controlPlane/ingress", json!({ "hostname": "h" }), "ingress"),
        ("/spec/controlPlane/deployment/resources", json!({ "kine": {} }), "kine"),
        ("/spec/kubernetes/admissionControllers", json!(["Nonsense"]), "Nonsense"),
        ("/spec/kubernetes/kubelet", json!({ "preferredAddressTypes": ["Foo"] }), "Foo"),
        ("/spec/kubernetes/kubelet", json!({ "preferredAddressTypes": [] }), "preferredAddressTypes"),
        (
            "/spec/kubernetes/kubelet",
            json!({ "preferredAddressTypes": ["Hostname", "Hostname"] }),
            "Duplicate value",
        ),
        (
            "/spec/kubernetes/kubelet",
            json!({ "configurationJSONPatches": [{ "op": "rename", "path": "/a" }] }),
            "rename",
        ),
    ] {
        let mut object = good.clone();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let parent = object.pointer_mut(parent).expect("the parent");
        if parent.is_null() {
            *parent = json!({});
        }
        parent[field] = value;
        let said = strictly_created(&world, &object).await.expect_err(pointer);
        assert!(said.contains(fragment), "{pointer}: {said}");
    }
    strictly_created(&world, &good).await.expect("the rest is fine");
}

/// Creates as kubectl does: with strict field validation.
async fn strictly_created(world: &World, object: &Value) -> Result<(), String> {
    let uri = format!(
        "/apis/kamaji.clastix.io/v1alpha1/namespaces/{}/tenantcontrolplanes?fieldValidation=Strict&dryRun=All",
        world.namespace
    );
    let request = http::Request::post(uri).header("content-type", "application/json");
    let request = request.body(object.to_string().into_bytes()).expect("a request");
    let answer: Result<DynamicObject, _> = world.client.request(request).await;
    answer.map(|_| ()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn defaults_are_filled_in_and_what_is_anothers_is_refused() {
    let (world, _tasks, _dir) = world("taken").await;
    let minimal = json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "TenantControlPlane",
        "metadata": { "name": "minimal" },
        "spec": {
            "controlPlane": { "service": { "serviceType": "ClusterIP" }, "deployment": null },
            "kubernetes": { "version": "v1.35.4", "kubelet": {} },
        },
    });
    let uri = format!("/apis/kamaji.clastix.io/v1alpha1/namespaces/{}/tenantcontrolplanes", world.namespace);
    let request = http::Request::post(uri).header("content-type", "application/json");
    let request = request.body(minimal.to_string().into_bytes()).expect("a request");
    let tcp: TenantControlPlane = world.client.request(request).await.expect("created");
    let uid = tcp.metadata.uid.clone().expect("a UID");
    assert_eq!(tcp.spec.control_plane.deployment.replicas, 2);
    assert_eq!(tcp.spec.data_store.as_deref(), Some(world.datastore.as_str()));
    let network = &tcp.spec.network_profile;
    assert_eq!(
        (network.service_cidrs.clone(), network.pod_cidrs.clone()),
        (vec!["10.96.0.0/16".to_owned()], vec!["10.244.0.0/16".to_owned()])
    );
    assert_eq!(network.dns_service_ips, ["10.96.0.10"]);
    let filled = |tcp: &TenantControlPlane| tcp.spec.data_store_schema.as_ref() == Some(&uid);
    let tcp = scute_testkit::eventually(world.api(), "minimal", "given its UID", filled).await;
    assert_eq!(tcp.spec.data_store_username.as_ref(), Some(&uid));

    let first = json!({
        "dataStoreSchema": "shared", "dataStoreUsername": "user",
        "networkProfile": { "address": "10.0.0.77" },
    });
    world.tenant("first", first).await;
    for (spec, field) in [
        (json!({ "dataStoreSchema": "shared" }), "spec.dataStoreSchema"),
        (json!({ "dataStoreUsername": "user" }), "spec.dataStoreUsername"),
        (json!({ "dataStoreSchema": uid }), "spec.dataStoreSchema"),
        (json!({ "networkProfile": { "address": "10.0.0.77" } }), "spec.networkProfile.address"),
    ] {
        let said = scute_testkit::until("the first tenant is known", || async {
            let params = PostParams { dry_run: true, ..PostParams::default() };
            let second = tenant(&world.namespace, "second", spec.clone());
            world.api::<TenantControlPlane>().create(&params, &second).await.err()
        })
        .await
        .to_string();
        assert!(
            said.contains(field)
                && said.contains("is taken: choose another")
                && !said.contains("TenantControlPlane"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn changes_that_cannot_be_made_are_refused() {
    let (world, _tasks, _dir) = world("changes").await;
    let spec = json!({
        "kubernetes": { "version": "v1.34.2" },
        "controlPlane": { "service": { "serviceType": "LoadBalancer" } },
        "networkProfile": { "loadBalancerClass": "a" },
    });
    world.tenant("t", spec).await;
    let api = world.api::<TenantControlPlane>();
    let made = |tcp: &TenantControlPlane| tcp.status.as_ref().is_some_and(|status| status.storage.is_some());
    scute_testkit::eventually(api.clone(), "t", "in its DataStore", made).await;
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    for (change, fragment) in [
        (json!({ "kubernetes": { "version": "v1.33.9" } }), "unable to downgrade a TenantControlPlane"),
        (json!({ "kubernetes": { "version": "v1.36.0" } }), "unable to upgrade to a version greater"),
        (json!({ "dataStore": "other" }), "changing the dataStore needs a migration"),
        (json!({ "dataStoreSchema": "x" }), "changing the dataStoreSchema is not supported"),
        (json!({ "dataStoreUsername": "x" }), "changing the dataStoreUsername is not supported"),
        (
            json!({ "networkProfile": { "clusterDomain": "a.b" } }),
            "changing the cluster domain is not supported",
        ),
        (json!({ "networkProfile": { "loadBalancerClass": "b" } }), "LoadBalancerClass is immutable"),
        (json!({ "networkProfile": { "loadBalancerClass": null } }), "LoadBalancerClass is immutable"),
        (
            json!({ "networkProfile": { "dnsServiceIPs": ["10.0.0.1"] } }),
            "is not contained in any configured",
        ),
    ] {
        let patch = Patch::Merge(json!({ "spec": change }));
        let said = api.patch("t", &params, &patch).await.expect_err(fragment).to_string();
        assert!(said.contains(fragment), "{change}: {said}");
    }
    let fine = Patch::Merge(json!({ "spec": { "kubernetes": { "version": "v1.35.4" } } }));
    api.patch("t", &params, &fine).await.expect("the next minor version");
    world.tenant("old", json!({ "kubernetes": { "version": "v1.33.1" } })).await;
    let said = api.patch("old", &params, &fine).await.expect_err("two minor versions").to_string();
    assert!(said.contains("unable to upgrade to a minor version in a non-sequential mode"), "{said}");
}

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
