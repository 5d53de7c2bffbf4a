//! Infrastructure and bootstrap providers that do their duty at once, in every namespace that is not manual.

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::{MANUAL, build, resource};

/// Runs both; never returns.
pub async fn run(client: Client) {
    tokio::join!(configs(client.clone()), machines(client.clone()), owners(client));
}

/// Every version of every object of a kind that a provider has to look after.
fn each(client: &Client, kind: &str) -> BoxStream<'static, DynamicObject> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind));
    watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects()
        .filter_map(|object| std::future::ready(object.ok()))
        .filter(|object| {
            let manual = object.namespace().is_some_and(|namespace| namespace.starts_with(MANUAL));
            std::future::ready(!manual && object.metadata.deletion_timestamp.is_none())
        })
        .boxed()
}

fn owned_by_machine(object: &DynamicObject) -> bool {
    object.owner_references().iter().any(|owner| owner.kind == "Machine")
}

async fn configs(client: Client) {
    let mut configs = each(&client, "TestConfig");
    while let Some(config) = configs.next().await {
        if owned_by_machine(&config) && config.data["status"]["dataSecretName"].is_null() {
            let status =
                json!({"dataSecretName": config.name_any(), "initialization": {"dataSecretCreated": true}});
            patch(&client, "TestConfig", &config, Some("status"), json!({ "status": status })).await;
        }
    }
}

async fn machines(client: Client) {
    let mut machines = each(&client, "TestMachine");
    while let Some(machine) = machines.next().await {
        if owned_by_machine(&machine) {
            provision(&client, &machine).await;
        }
    }
}

/// Machines whose bootstrap data has just come.
async fn owners(client: Client) {
    let mut owners = each(&client, "Machine");
    while let Some(owner) = owners.next().await {
        let namespace = owner.namespace().unwrap_or_default();
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource("TestMachine"));
        let name = owner.data["spec"]["infrastructureRef"]["name"].as_str().unwrap_or_default();
        if let Ok(Some(machine)) = api.get_opt(name).await
            && owned_by_machine(&machine)
            && machine.metadata.deletion_timestamp.is_none()
        {
            provision(&client, &machine).await;
        }
    }
}

async fn provision(client: &Client, machine: &DynamicObject) {
    if machine.data["status"]["initialization"]["provisioned"] == true {
        return;
    }
    let (namespace, name) = (machine.namespace().unwrap_or_default(), machine.name_any());
    let owners = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource("Machine"));
    let Ok(Some(owner)) = owners.get_opt(&name).await else { return };
    if owner.data["spec"]["bootstrap"]["dataSecretName"].is_null() {
        return;
    }
    let id = format!("test://{namespace}/{name}");
    let node: DynamicObject =
        serde_json::from_value(build::node(&node_name(&namespace, &name), &id)).expect("a Node");
    let nodes = Api::<DynamicObject>::all_with(client.clone(), &resource("Node"));
    let _ = nodes.create(&PostParams::default(), &node).await;
    let ready = json!({ "status": build::node_status("True") });
    let _ = nodes.patch_status(&node.name_any(), &PatchParams::default(), &Patch::Merge(&ready)).await;
    patch(client, "TestMachine", machine, None, json!({"spec": {"providerID": id}})).await;
    let status = json!({"initialization": {"provisioned": true}, "addresses": [{"type": "InternalIP", "address": "10.1.0.1"}]});
    patch(client, "TestMachine", machine, Some("status"), json!({ "status": status })).await;
}

/// Nodes have no namespace.
pub fn node_name(namespace: &str, machine: &str) -> String {
    format!("{namespace}.{machine}")
}

async fn patch(client: &Client, kind: &str, object: &DynamicObject, subresource: Option<&str>, patch: Value) {
    let resource: ApiResource = resource(kind);
    let api = Api::<DynamicObject>::namespaced_with(
        client.clone(),
        &object.namespace().unwrap_or_default(),
        &resource,
    );
    let (params, patch) = (PatchParams::default(), Patch::Merge(&patch));
    // An object that goes away in between is nobody's loss.
    let _ = match subresource {
        Some(_) => api.patch_status(&object.name_any(), &params, &patch).await,
        None => api.patch(&object.name_any(), &params, &patch).await,
    };
}
