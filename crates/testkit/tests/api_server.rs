//! The API server of the testkit is a real one.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

#[tokio::test]
async fn it_keeps_what_it_is_given() {
    let server = scute_testkit::server().await;
    let namespace = server.namespace("testkit").await;
    let api: Api<ConfigMap> = Api::namespaced(server.client().await, &namespace);
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
    api.create(&Default::default(), &map).await.unwrap();
    let seen = scute_testkit::eventually(api.clone(), "a", "there", |map| map.data.is_some()).await;
    assert_eq!(seen.data.unwrap()["k"], "v");
    api.delete("a", &Default::default()).await.unwrap();
    scute_testkit::eventually_gone(api, "a").await;
}

#[tokio::test]
async fn two_tests_share_it_and_never_a_namespace() {
    let server = scute_testkit::server().await;
    assert_ne!(server.namespace("same").await, server.namespace("same").await);
}
