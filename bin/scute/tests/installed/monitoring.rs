//! What Prometheus and Grafana are told is about figures that the manager serves, and the kinds are the Prometheus operator's.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use scute_testkit::{ApiServer, until};
use serde_json::{Value, json};

use crate::{Manager, NAMESPACE, install, text};

/// Every `expr` at any depth.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.get("expr").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|value| expressions(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// Names of ours in an expression: what is counted and the queues.
fn figures(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("scute_") || word.starts_with("workqueue_"))
}

fn printed() -> Vec<Value> {
    let printed = install(
        Path::new("/nonexistent"),
        &["-o", "yaml", "--monitoring", "--without=kubeadm,kamaji,kubevirt,metal3"],
    );
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let text = text(&printed.stdout);
    let documents = text.split("---\n").filter(|document| !document.is_empty());
    documents.map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_and_the_board_name_only_what_the_manager_serves() {
    let mut asked = Vec::new();
    for object in printed() {
        expressions(&object, &mut asked);
        if let Some(board) = object["data"]["scute.json"].as_str() {
            expressions(&serde_json::from_str(board).unwrap(), &mut asked);
        }
    }
    let named: BTreeSet<&str> = asked.iter().flat_map(|expression| figures(expression)).collect();
    assert!(asked.len() >= 15 && named.len() >= 10, "{asked:?}");
    assert!(asked.iter().all(|expression| figures(expression).next().is_some()), "{asked:?}");

    let server = ApiServer::start().await.unwrap();
    let client = server.client().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    scute_install::definitions(&client, server.authority().0, &[]).await.unwrap();
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    // Something to reconcile, of a kind that is converted by nobody.
    let store: scute_api::kamaji::DataStore = serde_json::from_value(json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1", "kind": "DataStore", "metadata": {"name": "default"},
        "spec": {"driver": "etcd", "endpoints": ["127.0.0.1:1"], "tlsConfig": {
            "certificateAuthority": {"certificate": {"content": "YQ=="}, "privateKey": {"content": "YQ=="}},
            "clientCertificate": {"certificate": {"content": "YQ=="}, "privateKey": {"content": "YQ=="}}}},
    }))
    .unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &store).await.unwrap();
    let manager = Manager::start(folder.path(), &kubeconfig, "manager");
    // A figure is there when it was counted once.
    until("every figure that is asked for", async || {
        let served = manager.says("/metrics").await.ok()?;
        let names: BTreeSet<&str> = served.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
        named.is_subset(&names).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_api_server_knows_of_is_taken_by_it() {
    let server = scute_testkit::server().await;
    let client = server.client().await;
    let namespace = server.namespace("monitoring").await;
    let mut taken = 0;
    for mut object in printed() {
        let (api_version, kind) = (object["apiVersion"].clone(), object["kind"].clone());
        if object["metadata"]["labels"]["app"] != "scute-manager" || api_version != "v1" {
            continue;
        }
        object["metadata"]["namespace"] = namespace.clone().into();
        let plural = format!("{}s", kind.as_str().unwrap().to_lowercase());
        let path = format!("/api/v1/namespaces/{namespace}/{plural}?fieldValidation=Strict");
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(object.to_string().into_bytes()).unwrap();
        client.request::<Value>(request).await.unwrap();
        taken += 1;
    }
    assert_eq!(taken, 2, "the Service and the board");
}
