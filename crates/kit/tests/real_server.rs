//! The kit against a real API server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams};
use scute_kit::tenants::{TenantError, TenantKey, Tenants};
use scute_kit::{Controller, Hub, Key, Next, Watch, Why, finalizer};
use scute_testkit::{PATIENCE, eventually, server, until};
use serde_json::json;

fn config_map(namespace: &str, name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name, "labels": {"of": "test"}},
        "data": {"key": value},
    }))
    .unwrap()
}

async fn hub(prefix: &str) -> (Arc<Hub>, String) {
    let server = server().await;
    (Hub::new(server.client().await), server.namespace(prefix).await)
}

/// The object of a key once the watch has what `is` wants.
async fn seen<K: scute_kit::Kind>(watch: &Watch<K>, key: &Key, is: impl Fn(&K) -> bool) -> Arc<K> {
    let mut changes = watch.changes();
    let found = async {
        loop {
            if let Some(object) = watch.get(key).filter(|object| is(object)) {
                return object;
            }
            changes.recv().await.expect("the watch lives");
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("never seen")
}

#[tokio::test]
async fn the_second_apply_of_the_same_is_no_request() {
    let (hub, namespace) = hub("apply").await;
    let watch = hub.watch::<ConfigMap>();
    watch.ready().await;
    let want = config_map(&namespace, "a", "1");
    let first = hub.apply("test", &want).await.unwrap();
    let again = hub.apply("test", &want).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the known object, not an answer of the server");
}

#[tokio::test]
async fn what_somebody_else_changed_is_applied_again() {
    let (hub, namespace) = hub("drift").await;
    let watch = hub.watch::<ConfigMap>();
    watch.ready().await;
    let (want, key) = (config_map(&namespace, "a", "1"), Key::new(namespace.clone(), "a"));
    hub.apply("test", &want).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(hub.client(), &namespace);
    let foreign = Patch::Merge(json!({"data": {"key": "2", "other": "kept"}}));
    api.patch("a", &PatchParams::default(), &foreign).await.unwrap();
    seen(&watch, &key, |map| map.data.as_ref().is_some_and(|data| data["key"] == "2")).await;
    hub.apply("test", &want).await.unwrap();
    let data = api.get("a").await.unwrap().data.unwrap();
    assert_eq!((data["key"].as_str(), data["other"].as_str()), ("1", "kept"));
}

#[tokio::test]
async fn what_is_no_longer_wanted_is_pruned() {
    let (hub, namespace) = hub("prune").await;
    hub.watch::<ConfigMap>().ready().await;
    let mut want = config_map(&namespace, "a", "1");
    want.data.get_or_insert_default().insert("extra".into(), "x".into());
    hub.apply("test", &want).await.unwrap();
    let less = config_map(&namespace, "a", "1");
    let after = hub.apply("test", &less).await.unwrap();
    assert!(!after.data.as_ref().unwrap().contains_key("extra"));
}

#[tokio::test]
async fn own_writes_are_seen_at_once_and_deletions_stay() {
    let (hub, namespace) = hub("learn").await;
    let watch = hub.watch::<ConfigMap>();
    watch.ready().await;
    let key = Key::new(namespace.clone(), "a");
    let created = hub.create(&config_map(&namespace, "a", "1")).await.unwrap();
    assert!(watch.get(&key).is_some(), "before any event had to come");
    hub.delete::<ConfigMap>(&key).await.unwrap();
    until("deleted", || async { watch.get(&key).is_none().then_some(()) }).await;
    watch.learn(created.as_ref().clone());
    assert!(watch.get(&key).is_none(), "a late answer does not revive it");
    hub.delete::<ConfigMap>(&key).await.expect("gone already is no error");
}

#[tokio::test]
async fn a_failure_is_retried_until_it_succeeds_and_a_restart_changes_nothing() {
    let (hub, namespace) = hub("retry").await;
    let runs = Arc::new(AtomicU32::new(0));
    let reconcile = {
        let (hub, runs, own) = (hub.clone(), runs.clone(), namespace.clone());
        move |map: Arc<ConfigMap>, (): _| {
            let (hub, runs, own) = (hub.clone(), runs.clone(), own.clone());
            async move {
                if Key::of(map.as_ref()).namespace != own {
                    return Next::Settled;
                }
                if runs.fetch_add(1, Ordering::SeqCst) < 2 {
                    return Next::Failed(Why::new("NotYet", "the third time it works"));
                }
                match finalizer::ensure(&hub, &map, "scute.dev/test").await {
                    Ok(_) => Next::Settled,
                    Err(error) => Next::Failed(Why::new("Write", error.to_string())),
                }
            }
        }
    };
    let start = || {
        let (controller, reconcile) = (Controller::<ConfigMap>::new("test", &hub), reconcile.clone());
        tokio::spawn(controller.run(Arc::new(()), move |map, _| reconcile(map, ())))
    };
    let running = start();
    hub.create(&config_map(&namespace, "a", "1")).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(hub.client(), &namespace);
    let done =
        eventually(api.clone(), "a", "finalized", |map: &ConfigMap| finalizer::has(map, "scute.dev/test"))
            .await;
    running.abort();
    let again = start();
    let before = runs.load(Ordering::SeqCst);
    until("reconciled after the restart", || async { (runs.load(Ordering::SeqCst) > before).then_some(()) })
        .await;
    assert_eq!(api.get("a").await.unwrap().metadata.resource_version, done.metadata.resource_version);
    let map = Arc::new(api.get("a").await.unwrap());
    finalizer::remove(&hub, &map, "scute.dev/test").await.unwrap();
    again.abort();
}

#[tokio::test]
async fn a_tenant_is_reached_by_its_secret_and_followed_when_that_changes() {
    let (hub, namespace) = hub("remote").await;
    let (tenants, key) = (Tenants::new(&hub), TenantKey::capi(&namespace, "c"));
    assert!(matches!(tenants.client(&key).await, Err(TenantError::NoSecret(_))));
    let nodes = tenants.nodes(&key);
    let secrets: Api<Secret> = Api::namespaced(hub.client(), &namespace);
    let secret = |value: String| -> Secret {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "c-kubeconfig"}, "stringData": {"value": value}}))
            .unwrap()
    };
    secrets.create(&Default::default(), &secret(server().await.kubeconfig())).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), nodes.ready()).await.expect("the Nodes are listed");
    let client = tenants.client(&key).await.unwrap();
    assert!(client.apiserver_version().await.is_ok());

    let garbage = Patch::Merge(json!({"data": null, "stringData": {"value": "password: hunter2"}}));
    secrets.patch("c-kubeconfig", &PatchParams::default(), &garbage).await.unwrap();
    let error = until("refused", || async { tenants.client(&key).await.err() }).await;
    assert!(!error.to_string().contains("hunter2"), "{error}");
    tenants.forget(&key);
}
