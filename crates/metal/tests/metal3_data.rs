//! Metal3DataTemplates, Metal3DataClaims and Metal3Data on a real API server.

mod provider;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::ListParams;
use provider::{Bench, INFRA, condition};
use scute_api::infrastructure::{
    METAL3_DATA_TEMPLATE_FINALIZER, Metal3Data, Metal3DataClaim, Metal3DataTemplate, Metal3Machine,
};
use scute_api::ipam::{IPAddress, IPClaim, IPPool};
use scute_api::metal3::BareMetalHost;
use serde_json::{Value, json};

async fn template(bench: &Bench, name: &str, spec: Value) {
    bench
        .create::<Metal3DataTemplate>(json!({
            "apiVersion": format!("{INFRA}/v1beta2"), "kind": "Metal3DataTemplate", "metadata": {"name": name}, "spec": spec,
        }))
        .await;
}

async fn pool(bench: &Bench, name: &str, first: &str, last: &str) {
    bench
        .create::<IPPool>(json!({
            "apiVersion": "ipam.metal3.io/v1alpha1", "kind": "IPPool", "metadata": {"name": name},
            "spec": {"namePrefix": name, "gateway": "10.20.0.254", "prefix": 24, "pools": [{"start": first, "end": last}]},
        }))
        .await;
}

/// Name, an address and a static network.
fn spec() -> Value {
    json!({
        "metaData": {
            "objectNames": [{"key": "name", "object": "machine"}],
            "indexes": [{"key": "number", "prefix": "node-", "offset": 10}],
            "ipAddressesFromPool": [{"key": "internal_ip", "name": "pool"}],
        },
        "networkData": {
            "links": {"ethernets": [{"id": "eno1", "type": "phy", "macAddress": {"fromHostInterface": "eno1"}}]},
            "networks": {"ipv4": [{"id": "internal", "link": "eno1", "ipAddressFromIPPool": "pool"}]},
        },
    })
}

async fn machine(bench: &Bench, name: &str) {
    bench.machine(name, "c", json!({"dataTemplate": {"name": "template"}})).await;
}

fn provisioned(machine: &Metal3Machine) -> bool {
    let status = machine.status.as_ref().and_then(|status| status.initialization.as_ref());
    status.is_some_and(|is| is.provisioned == Some(true))
}

async fn secret(bench: &Bench, name: &str, key: &str) -> String {
    let secret = bench.api::<Secret>().get(name).await.unwrap();
    String::from_utf8(secret.data.unwrap()[key].0.clone()).unwrap()
}

/// Names of all objects of a kind.
async fn names<K>(bench: &Bench) -> Vec<String>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let all = bench.api::<K>().list(&ListParams::default()).await.unwrap();
    all.items.iter().map(ResourceExt::name_any).collect()
}

#[tokio::test]
async fn each_server_is_told_its_own_and_gives_it_back() {
    let bench = Bench::new("told").await;
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    bench.host("server-2", json!({})).await;
    pool(&bench, "pool", "10.20.0.1", "10.20.0.9").await;
    template(&bench, "template", spec()).await;
    machine(&bench, "told-m0").await;
    let first = bench.eventually("told-m0", "provisioned", provisioned).await;
    let data = first.status.clone().unwrap().rendered_data.unwrap().name.unwrap();
    assert_eq!(data, "template-0");
    let (metadata, network) = (
        secret(&bench, "told-m0-metadata", "metaData").await,
        secret(&bench, "told-m0-networkdata", "networkData").await,
    );
    let host = first.annotations()["metal3.io/BareMetalHost"].clone();
    assert_eq!(
        metadata,
        format!("internal_ip: \"10.20.0.1\"\nname: told-m0\nnumber: node-10\nproviderid: {host}/told-m0\n"),
    );
    // Either host may be the one.
    assert!(
        network.contains("ip_address: \"10.20.0.1\"") && network.contains("52:54:00:00:00:0"),
        "{network}"
    );
    let used = bench.api::<BareMetalHost>().get(host.split_once('/').unwrap().1).await.unwrap();
    let spec = serde_json::to_value(&used.spec).unwrap();
    assert_eq!(spec["metaData"]["name"], "told-m0-metadata");
    assert_eq!(spec["networkData"]["name"], "told-m0-networkdata");

    machine(&bench, "told-m1").await;
    bench.eventually("told-m1", "provisioned", provisioned).await;
    assert!(secret(&bench, "told-m1-metadata", "metaData").await.contains("number: node-11"));
    let listed = |template: &Metal3DataTemplate| {
        let status = serde_json::to_value(&template.status).unwrap();
        status["indexes"] == json!([{"name": "told-m0", "index": 0}, {"name": "told-m1", "index": 1}])
    };
    bench.eventually("template", "listing both", listed).await;

    for name in ["told-m0", "told-m1"] {
        bench.delete::<Metal3Machine>(name).await;
        bench.gone::<Metal3Machine>(name).await;
        bench.gone::<Metal3DataClaim>(name).await;
    }
    assert!(names::<Metal3Data>(&bench).await.is_empty());
    bench.delete::<IPPool>("pool").await;
    bench.gone::<IPPool>("pool").await;
    assert!(names::<IPClaim>(&bench).await.is_empty() && names::<IPAddress>(&bench).await.is_empty());
    bench.delete::<Metal3DataTemplate>("template").await;
    bench.gone::<Metal3DataTemplate>("template").await;
}

#[tokio::test]
async fn an_exhausted_pool_is_told_on_the_machine_until_an_address_is_free() {
    let bench = Bench::new("full").await;
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    bench.host("server-2", json!({})).await;
    template(&bench, "template", spec()).await;
    machine(&bench, "full-m0").await;
    let told = bench.says("full-m0", "Metal3DataReady", "WaitingForMetal3Data").await;
    let no_pool = "IPPool pool does not exist";
    let says = |word: &'static str| {
        move |machine: &Metal3Machine| {
            condition(machine, "Ready").is_some_and(|ready| ready.message.contains(word))
        }
    };
    let waiting = bench.eventually("full-m0", no_pool, says(no_pool)).await;
    assert!(condition(&waiting, "AssociateBareMetalHost").unwrap().status == "True", "{told:?}");
    pool(&bench, "pool", "10.20.0.1", "10.20.0.1").await;
    bench.eventually("full-m0", "provisioned", provisioned).await;
    machine(&bench, "full-m1").await;
    let exhausted = "IPPool pool has no free address: 1 in use";
    bench.eventually("full-m1", exhausted, says(exhausted)).await;
    bench.delete::<Metal3Machine>("full-m0").await;
    bench.eventually("full-m1", "provisioned", provisioned).await;
    assert!(secret(&bench, "full-m1-metadata", "metaData").await.contains("10.20.0.1"));
}

#[tokio::test]
async fn what_a_running_server_has_is_not_free_whoever_deletes_it() {
    let bench = Bench::new("running").await;
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    pool(&bench, "pool", "10.20.0.1", "10.20.0.9").await;
    template(&bench, "template", spec()).await;
    machine(&bench, "running-m0").await;
    bench.eventually("running-m0", "provisioned", provisioned).await;
    bench.delete::<IPClaim>("template-0-pool").await;
    bench.delete::<Metal3Data>("template-0").await;
    bench.delete::<Metal3DataClaim>("running-m0").await;
    let told = |data: &Metal3Data| {
        data.status.as_ref().is_some_and(|status| {
            status.error_message.as_deref() == Some("deleted, and in use by Metal3DataClaim running-m0")
        })
    };
    bench.eventually("template-0", "told", told).await;
    bench.host("server-2", json!({})).await;
    machine(&bench, "running-m1").await;
    bench.eventually("running-m1", "provisioned", provisioned).await;
    let other = secret(&bench, "running-m1-metadata", "metaData").await;
    assert!(other.contains("10.20.0.2") && other.contains("node-11"), "{other}");
    bench.delete::<Metal3Machine>("running-m0").await;
    bench.gone::<Metal3DataClaim>("running-m0").await;
    bench.gone::<IPClaim>("template-0-pool").await;
    assert_eq!(names::<Metal3Data>(&bench).await, ["template-1"]);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_and_nothing_is_overwritten() {
    let bench = Bench::new("amiss").await;
    bench.cluster("c").await;
    bench.host("server-1", json!({})).await;
    machine(&bench, "amiss-m0").await;
    let says = |word: &'static str| {
        move |machine: &Metal3Machine| {
            condition(machine, "Ready").is_some_and(|ready| ready.message.contains(word))
        }
    };
    let none = "Metal3DataTemplate template does not exist";
    bench.eventually("amiss-m0", none, says(none)).await;
    template(
        &bench,
        "template",
        json!({"metaData": {"fromHostInterfaces": [{"key": "mac", "interface": "eth9"}]}}),
    )
    .await;
    let wrong = "the BareMetalHost server-1 has no interface \"eth9\"; it has eno1";
    bench.eventually("amiss-m0", wrong, says(wrong)).await;
    // The host gets another card, which is seen.
    bench.secret("amiss-m0-metadata", "metaData", "mine: yes\n").await;
    let nics =
        json!([{"name": "eno1", "mac": "52:54:00:00:00:01"}, {"name": "eth9", "mac": "52:54:00:00:00:09"}]);
    bench.patch_status::<BareMetalHost>("server-1", json!({"hardware": {"nics": nics}})).await;
    bench.eventually("amiss-m0", "provisioned", provisioned).await;
    assert_eq!(secret(&bench, "amiss-m0-metadata", "metaData").await, "mine: yes\n");
    let template = bench.api::<Metal3DataTemplate>().get("template").await.unwrap();
    assert_eq!(template.finalizers(), [METAL3_DATA_TEMPLATE_FINALIZER]);
}
