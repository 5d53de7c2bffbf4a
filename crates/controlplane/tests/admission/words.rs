//! How things are spelled: quantities, and words that are not honoured.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DynamicObject, PostParams};
use scute_etcd::fake::Fake;
use serde_json::{Value, json};

use crate::support::{World, tenant};

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
