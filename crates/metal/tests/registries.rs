//! Images in a registry, from a host's spec to its disk.

mod support;

#[allow(dead_code, reason = "the agent's tests use the rest")]
#[path = "../../agent/tests/room/registry.rs"]
mod registry;

use k8s_openapi::api::core::v1::Secret;
use registry::Registry;
use scute_api::metal3::{BareMetalHost, ErrorType, ProvisioningState as State};
use serde_json::json;
use support::{Bench, Rig, content, error};

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_a_registry_is_written_and_its_secret_waited_for() {
    let (bench, rig, registry) = (Bench::new("registry").await, Rig::new(71), Registry::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = registry.router();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let image = content(3 << 20);
    let id = registry.push("v1", &[("application/octet-stream", &image)], true);
    bench.available(&rig, "a").await;
    let spec = |url: String, secret: Option<&str>| {
        let image = json!({"url": url, "ociAuthSecretName": secret});
        json!({"spec": {"image": image, "rootDeviceHints": {"serialNumber": "disk-1"}}})
    };
    bench.patch("a", spec(format!("oci+http://{address}/disks/node:v1@{id}"), None)).await;
    let host = bench.until_state("a", State::Provisioned).await;
    assert_eq!((error(&host), host.status.unwrap().provisioning_fail_count), (None, 0));
    assert!(rig.machine.disk()[512..image.len()] == image[512..]);

    bench.patch("a", json!({"spec": {"image": null}})).await;
    bench.until_state("a", State::Available).await;
    bench.patch("a", spec(format!("oci://{address}/disks/node:v1"), Some("pull"))).await;
    let says = |words: &'static str| {
        move |host: &BareMetalHost| {
            error(host).is_some_and(|(kind, why)| kind == ErrorType::Provisioning && why.contains(words))
        }
    };
    bench.until("a", "told", says("of spec.image.ociAuthSecretName is missing")).await;
    let other = json!({"auths": {"other.example": {"username": "u", "password": "hunter2"}}});
    let secret = json!({"metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": other.to_string()}});
    bench.create::<Secret>(secret).await;
    let host = bench.until("a", "told of the registry", says("says nothing of the registry 127.0.0.1")).await;
    assert!(!serde_json::to_string(&host).unwrap().contains("hunter2"));
    registry.asked();
    let ours = json!({"auths": {address.to_string(): {"username": "u", "password": "hunter2"}}});
    let data = json!({"stringData": {".dockerconfigjson": ours.to_string()}});
    (*bench).patch::<Secret>("pull", data).await;
    // The registry of this test has no certificate.
    bench.until("a", "told by the agent", says("no TLS with 127.0.0.1")).await;
    assert!(registry.asked().is_empty(), "nothing is said without TLS");
}
