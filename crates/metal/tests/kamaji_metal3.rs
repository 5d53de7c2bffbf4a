//! The metal part of the acceptance manifest with a hosted control plane, as its user wrote it: what its server is told.
//! `SCUTE_UPDATE=1` writes the answers anew.

mod provider;

use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use provider::{Bench, INFRA};
use scute_api::infrastructure::{Metal3DataTemplate, Metal3Machine};
use scute_api::ipam::{IPAddress, IPPool};
use scute_api::metal3::BareMetalHost;
use serde_json::{Value, json};

const MANIFEST: &str = "../../e2e/30-arch3-hosted/20-kamaji-metal3/20-kamaji-metal3.yaml";

/// The objects of the manifest, in the version that is stored.
fn documents() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFEST);
    let text = fs::read_to_string(path).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let stored = |document: Value| {
        let mut document = match document["apiVersion"].as_str() {
            Some("infrastructure.cluster.x-k8s.io/v1beta1") => {
                scute_api::conversion::convert(&document, &format!("{INFRA}/v1beta2")).unwrap()
            }
            _ => document,
        };
        document["metadata"].as_object_mut().unwrap().remove("namespace");
        document
    };
    documents.into_iter().map(stored).collect()
}

fn document<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    all.iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name).unwrap()
}

async fn told(bench: &Bench, name: &str, key: &str) -> String {
    let secret = bench.api::<Secret>().get(name).await.unwrap();
    let text = String::from_utf8(secret.data.unwrap()[key].0.clone()).unwrap();
    // The namespace of a test has another name each time.
    text.replace(&bench.namespace, "default")
}

fn golden(name: &str, got: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/kamaji-metal3").join(name);
    if std::env::var_os("SCUTE_UPDATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, got).unwrap();
    } else {
        assert_eq!(fs::read_to_string(&path).unwrap(), got, "{}", path.display());
    }
}

#[tokio::test]
async fn the_server_of_the_acceptance_manifest_is_told_both_its_networks() {
    let (bench, all) = (Bench::new("kamaji").await, documents());
    bench.cluster("bm-tenant").await;
    // In any order: the server waits for what is not there yet.
    let mut spec =
        document(&all, "Metal3MachineTemplate", "bm-tenant-baked")["spec"]["template"]["spec"].clone();
    // Without quotation marks it is a number in YAML; every user has a checksum of his own there.
    spec["image"]["checksum"] = json!("1".repeat(64));
    bench.machine("bm-tenant-baked-x7k2p", "bm-tenant", spec).await;
    bench.host("rack2-02", json!({"bmh-name": "rack2-02"})).await;
    bench.host("rack2-01", json!({"bmh-name": "rack2-01"})).await;
    bench.create::<Metal3DataTemplate>(document(&all, "Metal3DataTemplate", "bm-tenant").clone()).await;
    for pool in ["bm-tenant-external", "bm-tenant-internal"] {
        bench.create::<IPPool>(document(&all, "IPPool", pool).clone()).await;
    }
    let provisioned = |machine: &Metal3Machine| {
        let status = machine.status.as_ref().and_then(|status| status.initialization.as_ref());
        status.is_some_and(|is| is.provisioned == Some(true))
    };
    bench.eventually("bm-tenant-baked-x7k2p", "provisioned", provisioned).await;
    golden("metadata.yaml", &told(&bench, "bm-tenant-baked-x7k2p-metadata", "metaData").await);
    golden("networkdata.yaml", &told(&bench, "bm-tenant-baked-x7k2p-networkdata", "networkData").await);

    let host = bench.api::<BareMetalHost>().get("rack2-01").await.unwrap();
    assert_eq!(host.spec.network_data.unwrap().name.as_deref(), Some("bm-tenant-baked-x7k2p-networkdata"));
    let address = bench.api::<IPAddress>().get("bmt-int-10-77-0-60").await.unwrap();
    assert_eq!(address.spec.claim.name.as_deref(), Some("bm-tenant-0-bm-tenant-internal"));
    // Pools and template go with their Cluster.
    for owners in [
        bench.api::<IPPool>().get("bm-tenant-internal").await.unwrap().owner_references().to_vec(),
        bench.api::<Metal3DataTemplate>().get("bm-tenant").await.unwrap().owner_references().to_vec(),
    ] {
        assert_eq!(owners[0].name, "bm-tenant");
    }
}
