//! Objects that were stored in an older version.

use etcd_client::{Certificate, Client as Etcd, ConnectOptions, Identity, TlsOptions};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use scute_install::StorageVersions;
use scute_testkit::ApiServer;
use serde_json::json;

const NAME: &str = "things.storage.example";

fn definition(stored: &str) -> CustomResourceDefinition {
    let versions = ["v1", "v2"].map(|version| {
        json!({"name": version, "served": true, "storage": version == stored,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    });
    serde_json::from_value(
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {"group": "storage.example", "scope": "Namespaced", "versions": versions,
            "names": {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"}}}),
    )
    .unwrap()
}

/// The version in which etcd has an object.
async fn kept(server: &ApiServer, namespace: &str, name: &str) -> String {
    let etcd = server.etcd();
    let (certificate, key) = etcd.client_certificate("root").unwrap();
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(&etcd.ca_certificate))
        .identity(Identity::from_pem(certificate, key));
    let mut client =
        Etcd::connect([&etcd.endpoint], Some(ConnectOptions::new().with_tls(tls))).await.unwrap();
    let answer =
        client.get(format!("/registry/storage.example/things/{namespace}/{name}"), None).await.unwrap();
    let object: serde_json::Value = serde_json::from_slice(answer.kvs()[0].value()).unwrap();
    object["apiVersion"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_written_anew_and_the_old_version_is_forgotten() {
    let server = scute_testkit::server().await;
    let client = server.client().await;
    server.install_crds(vec![definition("v1")]).await;
    let namespace = server.namespace("stored").await;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("storage.example", "v1", "Thing"));
    let things: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    for name in ["a", "b"] {
        things.create(&PostParams::default(), &DynamicObject::new(name, &resource)).await.unwrap();
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let newer = PatchParams::apply("test").force();
    definitions.patch(NAME, &newer, &Patch::Apply(definition("v2"))).await.unwrap();
    let stored = async || definitions.get(NAME).await.unwrap().status.unwrap().stored_versions.unwrap();
    assert_eq!(stored().await, ["v1", "v2"]);
    assert_eq!(kept(server, &namespace, "a").await, "storage.example/v1");

    let keeper = StorageVersions::of(client, vec![NAME.to_owned(), "others.storage.example".to_owned()]);
    keeper.look_after().await.unwrap();
    assert_eq!(stored().await, ["v2"]);
    for name in ["a", "b"] {
        assert_eq!(kept(server, &namespace, name).await, "storage.example/v2", "{name}");
    }
    let at_rest = definitions.get(NAME).await.unwrap().resource_version();
    keeper.look_after().await.unwrap();
    assert_eq!(definitions.get(NAME).await.unwrap().resource_version(), at_rest);
}
