//! The TenantControlPlane that a KamajiControlPlane asks for, and what is decided about infrastructure.

use kube::api::DynamicObject;
use scute_api::cluster::Cluster;
use scute_api::controlplane::KamajiControlPlane;
use scute_api::kamaji::TenantControlPlane;
use scute_api::meta::ApiEndpoint;
use serde_json::{Value, json};

use super::infra::{Answer, answer};
use super::mapping;
use crate::tenant::fixture::merge;

fn cluster(over: Value) -> Cluster {
    let mut object = json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2",
        "kind": "Cluster",
        "metadata": { "name": "kv-tenant", "namespace": "default" },
        "spec": {
            "clusterNetwork": {
                "pods": { "cidrBlocks": ["10.245.0.0/16"] },
                "services": { "cidrBlocks": ["10.93.0.0/16"] },
            },
            "infrastructureRef": {
                "apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "KubevirtCluster", "name": "kv-tenant",
            },
        },
    });
    merge(&mut object, over);
    serde_json::from_value(object).expect("a Cluster")
}

/// The one of the acceptance manifests.
fn kcp(over: Value) -> KamajiControlPlane {
    let mut object = json!({
        "apiVersion": "controlplane.cluster.x-k8s.io/v1alpha1",
        "kind": "KamajiControlPlane",
        "metadata": { "name": "kv-tenant", "namespace": "default", "uid": "uid-of-kcp" },
        "spec": {
            "dataStoreName": "default",
            "dataStoreSchema": "kv-tenant",
            "kubelet": { "cgroupfs": "systemd", "preferredAddressTypes": ["ExternalIP", "InternalIP", "Hostname"] },
            "addons": { "coreDNS": {}, "kubeProxy": {} },
            "network": {
                "serviceType": "LoadBalancer",
                "serviceAnnotations": { "metallb.io/loadBalancerIPs": "10.77.0.171" },
            },
            "deployment": null,
            "replicas": 2,
            "version": "1.33.4",
        },
    });
    merge(&mut object, over);
    serde_json::from_value(object).expect("a KamajiControlPlane")
}

#[test]
fn the_tenant_of_the_acceptance_manifest() {
    insta::assert_yaml_snapshot!(mapping::tenant(&kcp(json!({})), &cluster(json!({})), None));
}

#[test]
fn every_field_has_its_place() {
    let full = kcp(json!({ "spec": {
        "registry": "registry.lab.example",
        "apiServer": { "extraArgs": ["--v=2"], "containerImageName": "api", "resources": { "limits": { "cpu": "2" } } },
        "controllerManager": { "extraArgs": ["--v=3"] },
        "scheduler": { "probes": { "liveness": { "periodSeconds": 60 } } },
        "admissionControllers": ["PodSecurity"],
        "addons": { "coreDNS": { "imageTag": "v1.12.0", "dnsServiceIPs": ["10.93.0.53"] }, "kubeProxy": null },
        "network": {
            "serviceAddress": "10.77.0.171",
            "certSANs": ["api.example.com"],
            "loadBalancerConfig": { "loadBalancerClass": "x", "loadBalancerSourceRanges": ["10.0.0.0/8"] },
        },
        "deployment": { "nodeSelector": { "rack": "1" }, "probes": { "startup": { "failureThreshold": 9 } } },
    } }));
    let network =
        json!({ "spec": { "clusterNetwork": { "apiServerPort": 40000, "serviceDomain": "lab.local" } } });
    insta::assert_yaml_snapshot!(mapping::tenant(&full, &cluster(network), None).spec);
}

#[test]
fn what_was_decided_at_creation_is_kept() {
    let plain = kcp(json!({ "spec": { "dataStoreSchema": null, "dataStoreName": null } }));
    let cluster = cluster(json!({ "spec": { "clusterNetwork": null } }));
    let mut existing: TenantControlPlane = mapping::tenant(&plain, &cluster, None);
    existing.spec.data_store = Some("default".into());
    existing.spec.data_store_schema = Some("uid-of-tcp".into());
    existing.spec.data_store_username = Some("uid-of-tcp".into());
    existing.spec.network_profile.pod_cidrs = vec!["10.244.0.0/16".into()];
    assert_eq!(mapping::tenant(&plain, &cluster, Some(&existing)).spec, existing.spec);
}

#[test]
fn a_cluster_that_brings_its_own_pod_network_gets_none() {
    let asks = |over: Value| {
        let tcp = mapping::tenant(&kcp(json!({})), &cluster(over), None);
        tcp.metadata.annotations.is_some_and(|annotations| annotations.contains_key("scute.dev/pod-network"))
    };
    assert!(asks(json!({})));
    assert!(!asks(json!({ "metadata": { "labels": { "cni": "calico" } } })));
    assert!(!asks(json!({ "metadata": { "annotations": { "scute.dev/pod-network": "none" } } })));
}

#[test]
fn endpoints_of_infrastructure() {
    let ours = ApiEndpoint { host: "10.77.0.171".into(), port: 40000 };
    let infra = |spec: Value| -> DynamicObject {
        serde_json::from_value(json!({ "metadata": { "name": "i" }, "spec": spec })).expect("an object")
    };
    let theirs = |host: &str, port: i32| json!({ "controlPlaneEndpoint": { "host": host, "port": port } });
    for (spec, wanted) in [
        (json!({}), Answer::Fill),
        (theirs("", 0), Answer::Fill),
        (theirs("10.77.0.171", 0), Answer::Fill),
        (theirs("10.77.0.171", 40000), Answer::Equal),
        (theirs("10.77.0.171", 6443), Answer::Differs("10.77.0.171:6443".into())),
        (theirs("10.77.0.99", 0), Answer::Differs("10.77.0.99:0".into())),
    ] {
        assert_eq!(answer(&infra(spec.clone()), &ours), wanted, "{spec}");
    }
}

#[test]
fn ranges_of_vm_nodes_must_not_meet_the_management_clusters() {
    let management = ["10.85.0.0/16".parse().expect("a range")];
    let theirs = ["10.86.0.0/16".parse().expect("a range")];
    let pods = |range: &str| json!({ "spec": { "clusterNetwork": { "pods": { "cidrBlocks": [range] } } } });
    let services =
        |range: &str| json!({ "spec": { "clusterNetwork": { "services": { "cidrBlocks": [range] } } } });
    assert!(mapping::check_ranges(&cluster(json!({})), &management, &theirs).is_ok());
    for over in [pods("10.85.128.0/17"), pods("10.0.0.0/8"), services("10.85.3.0/24")] {
        let bad = mapping::check_ranges(&cluster(over.clone()), &management, &theirs)
            .expect_err("refused")
            .to_string();
        assert!(bad.contains("10.85.0.0/16") && bad.contains(".cidrBlocks"), "{over}: {bad}");
    }
    for over in [pods("10.86.0.0/17"), services("10.86.3.0/24"), services("10.80.0.0/12")] {
        let over = cluster(over);
        let bad = mapping::check_ranges(&over, &[], &theirs).expect_err("refused").to_string();
        assert!(bad.contains("10.86.0.0/16, the management cluster's Service range"), "{bad}");
    }
    let ours = json!({ "kind": "KamajiControlPlane", "name": "kv-tenant", "apiGroup": "controlplane.cluster.x-k8s.io" });
    let unnamed = json!({ "spec": { "clusterNetwork": { "pods": null }, "controlPlaneRef": ours } });
    let default = ["10.244.0.0/17".parse().expect("a range")];
    let bad = mapping::check_ranges(&cluster(unnamed), &default, &theirs).expect_err("refused").to_string();
    assert!(bad.contains("10.244.0.0/16"), "the default of our control planes: {bad}");
    let metal = json!({ "spec": { "infrastructureRef": { "kind": "Metal3Cluster" } } });
    let mut metal_there = pods("10.85.128.0/17");
    merge(&mut metal_there, metal);
    assert!(
        mapping::check_ranges(&cluster(metal_there), &management, &theirs).is_ok(),
        "bare metal has other addresses"
    );
}

#[test]
fn the_stages_are_drawn_in_the_documentation() {
    let page = include_str!("../../../../docs/controlplane.md");
    let drawing = scute_kit::ladder::drawing::<super::report::Stage>();
    assert!(page.contains(&format!("```\n{drawing}\n```")), "docs/controlplane.md lacks:\n{drawing}");
}
