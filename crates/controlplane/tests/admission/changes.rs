//! What becomes of an object that is written again, and what may not become of it.

use kube::api::{Patch, PatchParams, PostParams};
use scute_api::kamaji::TenantControlPlane;
use serde_json::json;

use crate::support::tenant;
use crate::world;

#[tokio::test]
async fn a_replaced_manifest_keeps_what_was_decided() {
    let (world, _tasks, _dir) = world("replace").await;
    let manifest = tenant(&world.namespace, "again", json!({}));
    let api = world.api::<TenantControlPlane>();
    api.create(&PostParams::default(), &manifest).await.expect("created");
    let filled = |tcp: &TenantControlPlane| tcp.spec.data_store_username.is_some();
    let before = scute_testkit::eventually(api.clone(), "again", "given its defaults", filled).await;
    let mut again = manifest.clone();
    again.metadata.resource_version = before.metadata.resource_version.clone();
    let after = api.replace("again", &PostParams::default(), &again).await.expect("replaced");
    assert_eq!(after.spec, before.spec);
    let unset = json!({ "spec": { "dataStore": null, "dataStoreSchema": null, "dataStoreUsername": null } });
    let after = api.patch("again", &PatchParams::default(), &Patch::Merge(&unset)).await.expect("patched");
    assert_eq!(after.spec, before.spec);
}

/// What is rendered for a container is spelled as the API server stores it; otherwise it would never count as applied.

#[tokio::test]
async fn defaults_are_filled_in_and_what_is_anothers_is_refused() {
    let (world, _tasks, _dir) = world("taken").await;
    let minimal = json!({
        "apiVersion": "kamaji.clastix.io/v1alpha1",
        "kind": "TenantControlPlane",
        "metadata": { "name": "minimal" },
        "spec": {
            "controlPlane": { "service": { "serviceType": "ClusterIP" }, "deployment": null },
            "kubernetes": { "version": "v1.35.4", "kubelet": {} },
        },
    });
    let uri = format!("/apis/kamaji.clastix.io/v1alpha1/namespaces/{}/tenantcontrolplanes", world.namespace);
    let request = http::Request::post(uri).header("content-type", "application/json");
    let request = request.body(minimal.to_string().into_bytes()).expect("a request");
    let tcp: TenantControlPlane = world.client.request(request).await.expect("created");
    let uid = tcp.metadata.uid.clone().expect("a UID");
    assert_eq!(tcp.spec.control_plane.deployment.replicas, 2);
    assert_eq!(tcp.spec.data_store.as_deref(), Some(world.datastore.as_str()));
    let network = &tcp.spec.network_profile;
    assert_eq!(
        (network.service_cidrs.clone(), network.pod_cidrs.clone()),
        (vec!["10.96.0.0/16".to_owned()], vec!["10.244.0.0/16".to_owned()])
    );
    assert_eq!(network.dns_service_ips, ["10.96.0.10"]);
    let filled = |tcp: &TenantControlPlane| tcp.spec.data_store_schema.as_ref() == Some(&uid);
    let tcp = scute_testkit::eventually(world.api(), "minimal", "given its UID", filled).await;
    assert_eq!(tcp.spec.data_store_username.as_ref(), Some(&uid));

    let first = json!({
        "dataStoreSchema": "shared", "dataStoreUsername": "user",
        "networkProfile": { "address": "10.0.0.77" },
    });
    world.tenant("first", first).await;
    for (spec, field) in [
        (json!({ "dataStoreSchema": "shared" }), "spec.dataStoreSchema"),
        (json!({ "dataStoreUsername": "user" }), "spec.dataStoreUsername"),
        (json!({ "dataStoreSchema": uid }), "spec.dataStoreSchema"),
        (json!({ "networkProfile": { "address": "10.0.0.77" } }), "spec.networkProfile.address"),
    ] {
        let said = scute_testkit::until("the first tenant is known", || async {
            let params = PostParams { dry_run: true, ..PostParams::default() };
            let second = tenant(&world.namespace, "second", spec.clone());
            world.api::<TenantControlPlane>().create(&params, &second).await.err()
        })
        .await
        .to_string();
        assert!(
            said.contains(field)
                && said.contains("is taken: choose another")
                && !said.contains("TenantControlPlane"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn changes_that_cannot_be_made_are_refused() {
    let (world, _tasks, _dir) = world("changes").await;
    let spec = json!({
        "kubernetes": { "version": "v1.34.2" },
        "controlPlane": { "service": { "serviceType": "LoadBalancer" } },
        "networkProfile": { "loadBalancerClass": "a" },
    });
    world.tenant("t", spec).await;
    let api = world.api::<TenantControlPlane>();
    let made = |tcp: &TenantControlPlane| tcp.status.as_ref().is_some_and(|status| status.storage.is_some());
    scute_testkit::eventually(api.clone(), "t", "in its DataStore", made).await;
    let params = PatchParams { dry_run: true, ..PatchParams::default() };
    for (change, fragment) in [
        (json!({ "kubernetes": { "version": "v1.33.9" } }), "unable to downgrade a TenantControlPlane"),
        (json!({ "kubernetes": { "version": "v1.36.0" } }), "unable to upgrade to a version greater"),
        (json!({ "dataStore": "other" }), "changing the dataStore needs a migration"),
        (json!({ "dataStoreSchema": "x" }), "changing the dataStoreSchema is not supported"),
        (json!({ "dataStoreUsername": "x" }), "changing the dataStoreUsername is not supported"),
        (
            json!({ "networkProfile": { "clusterDomain": "a.b" } }),
            "changing the cluster domain is not supported",
        ),
        (json!({ "networkProfile": { "loadBalancerClass": "b" } }), "LoadBalancerClass is immutable"),
        (json!({ "networkProfile": { "loadBalancerClass": null } }), "LoadBalancerClass is immutable"),
        (
            json!({ "networkProfile": { "dnsServiceIPs": ["10.0.0.1"] } }),
            "is not contained in any configured",
        ),
    ] {
        let patch = Patch::Merge(json!({ "spec": change }));
        let said = api.patch("t", &params, &patch).await.expect_err(fragment).to_string();
        assert!(said.contains(fragment), "{change}: {said}");
    }
    let fine = Patch::Merge(json!({ "spec": { "kubernetes": { "version": "v1.35.4" } } }));
    api.patch("t", &params, &fine).await.expect("the next minor version");
    world.tenant("old", json!({ "kubernetes": { "version": "v1.33.1" } })).await;
    let said = api.patch("old", &params, &fine).await.expect_err("two minor versions").to_string();
    assert!(said.contains("unable to upgrade to a minor version in a non-sequential mode"), "{said}");
}
