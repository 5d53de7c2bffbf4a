//! The LoadBalancer controller on a real API server.

use k8s_openapi::api::core::v1::{Event, Service};
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use scute_kit::Hub;
use scute_loadbalancer as loadbalancer;
use scute_testkit::{eventually, eventually_gone, until};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CONDITION: &str = "scute.dev/AddressAssigned";

fn service(name: &str, spec: Value) -> Service {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    });
    for (field, value) in spec.as_object().into_iter().flatten() {
        match field.as_str() {
            "annotations" => object["metadata"]["annotations"] = value.clone(),
            _ => object["spec"][field] = value.clone(),
        }
    }
    serde_json::from_value(object).unwrap()
}

fn address(service: &Service) -> Option<String> {
    service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.ip.clone()
}

fn condition(service: &Service) -> Option<(String, String)> {
    let conditions = service.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == CONDITION).map(|c| (c.reason.clone(), c.message.clone()))
}

async fn start(client: Client, pool: &str) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    loadbalancer::spawn(&Hub::new(client), &[pool.parse().unwrap()], &mut tasks);
    tasks
}

/// One test: the controller sees every namespace of the server.
#[tokio::test]
async fn addresses_are_given_kept_refused_and_freed() {
    let server = scute_testkit::server().await;
    let client = server.client().await;
    let namespace = server.namespace("lb").await;
    let api: Api<Service> = Api::namespaced(client.clone(), &namespace);
    let create = async |name: &str, spec: Value| {
        api.create(&PostParams::default(), &service(name, spec)).await.unwrap();
    };
    let has = |wanted: &'static str| move |s: &Service| address(s).as_deref() == Some(wanted);
    let refused = |reason: &'static str| move |s: &Service| condition(s).is_some_and(|c| c.0 == reason);

    let tasks = start(client.clone(), "192.0.2.1-192.0.2.3").await;
    create("wish", json!({"annotations": {"metallb.io/loadBalancerIPs": "192.0.2.1"}})).await;
    eventually(api.clone(), "wish", "its wish", has("192.0.2.1")).await;
    create("any", json!({})).await;
    eventually(api.clone(), "any", "the lowest free address", has("192.0.2.2")).await;
    create("classed", json!({"loadBalancerClass": loadbalancer::CLASS, "loadBalancerIP": "192.0.2.3"})).await;
    eventually(api.clone(), "classed", "its wish", has("192.0.2.3")).await;

    create("foreign", json!({"loadBalancerClass": "example.com/other"})).await;
    create("clash", json!({"loadBalancerIP": "192.0.2.2"})).await;
    let clash = eventually(api.clone(), "clash", "a refusal", refused("AddressTaken")).await;
    let (_, message) = condition(&clash).unwrap();
    assert!(message.starts_with("192.0.2.2 belongs to Service any;"), "{message}");
    let strangers: Api<Service> = Api::namespaced(client.clone(), &server.namespace("lb-strangers").await);
    let wish = service("clash", json!({"loadBalancerIP": "192.0.2.2"}));
    strangers.create(&PostParams::default(), &wish).await.unwrap();
    let clash = eventually(strangers.clone(), "clash", "a refusal", refused("AddressTaken")).await;
    let (_, message) = condition(&clash).unwrap();
    assert!(!message.contains(&namespace) && !message.contains("any"), "{message}");
    strangers.delete("clash", &DeleteParams::default()).await.unwrap();
    eventually_gone(strangers, "clash").await;
    create("outside", json!({"loadBalancerIP": "192.0.2.9"})).await;
    eventually(api.clone(), "outside", "a refusal", refused("AddressOutsidePool")).await;
    create("late", json!({})).await;
    eventually(api.clone(), "late", "a refusal", refused("PoolExhausted")).await;
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    until("an event about the clash", async || {
        let all = events.list(&ListParams::default()).await.unwrap();
        all.iter().find(|e| e.involved_object.name.as_deref() == Some("clash")).and_then(|e| e.reason.clone())
    })
    .await;

    // A manager that starts anew gives nothing away and takes nothing back.
    drop(tasks);
    api.delete("any", &DeleteParams::default()).await.unwrap();
    eventually_gone(api.clone(), "any").await;
    let tasks = start(client.clone(), "192.0.2.1-192.0.2.3").await;
    eventually(api.clone(), "clash", "the freed address", has("192.0.2.2")).await;
    for (name, ip) in [("wish", "192.0.2.1"), ("classed", "192.0.2.3")] {
        assert_eq!(address(&api.get(name).await.unwrap()).as_deref(), Some(ip), "{name} moved");
    }
    assert!(address(&api.get("foreign").await.unwrap()).is_none(), "not our class");
    assert!(condition(&api.get("foreign").await.unwrap()).is_none(), "not our class");

    // Turned into a plain Service, it loses address and condition, and the next in line has it.
    let plain = json!({"spec": {"type": "ClusterIP"}, "metadata": {"annotations": null}});
    api.patch("wish", &PatchParams::default(), &Patch::Merge(&plain)).await.unwrap();
    eventually(api.clone(), "wish", "no trace", |s| address(s).is_none() && condition(s).is_none()).await;
    eventually(api.clone(), "late", "the freed address", has("192.0.2.1")).await;

    switched_off_by_metallb(&client, &api).await;
    drop(tasks);
}

/// With MetalLB's kind installed nobody gets an address; without it the waiting Service does.
async fn switched_off_by_metallb(client: &Client, api: &Api<Service>) {
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let metallb = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "ipaddresspools.metallb.io"},
        "spec": {
            "group": "metallb.io", "scope": "Namespaced",
            "names": {"kind": "IPAddressPool", "plural": "ipaddresspools"},
            "versions": [{
                "name": "v1beta1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    }))
    .unwrap();
    definitions.create(&PostParams::default(), &metallb).await.unwrap();
    api.delete("late", &DeleteParams::default()).await.unwrap();
    eventually_gone(api.clone(), "late").await;
    // A fresh controller knows of the definition before it looks at the first Service.
    let tasks = start(client.clone(), "192.0.2.1-192.0.2.3").await;
    api.create(&PostParams::default(), &service("under-metallb", json!({}))).await.unwrap();
    // The order of watch events between kinds is free: an address now would be one too many later, too.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let under = api.get("under-metallb").await.unwrap();
    assert_eq!((address(&under), under.name_any().as_str()), (None, "under-metallb"));
    definitions.delete("ipaddresspools.metallb.io", &DeleteParams::default()).await.unwrap();
    eventually(api.clone(), "under-metallb", "an address after MetalLB went", |s| address(s).is_some()).await;
    drop(tasks);
}
