//! What goes wrong around a tenant, and that it converges afterwards with nothing made twice and nothing left.

mod support;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod, Secret, Service};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_etcd::fake::{Fake, Fault, Operation};
use scute_testkit::{eventually, eventually_gone, until};
use serde_json::json;
use support::{World, said};

/// Name and version of every object that belongs to the tenant.
async fn versions(world: &World) -> Vec<(String, String)> {
    let ours = ListParams::default().labels("kamaji.clastix.io/name=t");
    let of = |object: &dyn Fn() -> (String, Option<String>)| {
        let (name, version) = object();
        (name, version.unwrap_or_default())
    };
    let mut all = Vec::new();
    for secret in world.api::<Secret>().list(&ours).await.expect("listed") {
        all.push(of(&|| (format!("secret {}", secret.name_any()), secret.resource_version())));
    }
    for service in world.api::<Service>().list(&ours).await.expect("listed") {
        all.push(of(&|| (format!("service {}", service.name_any()), service.resource_version())));
    }
    for deployment in world.api::<Deployment>().list(&ours).await.expect("listed") {
        all.push(of(&|| (format!("deployment {}", deployment.name_any()), deployment.resource_version())));
    }
    let tcp = world.api::<TenantControlPlane>().get("t").await.expect("the TenantControlPlane");
    all.push(("tenant".to_owned(), tcp.resource_version().unwrap_or_default()));
    all
}

async fn tenant_with_pods(world: &World) {
    world.fake_datastore().await;
    world.tenant("t", json!({})).await;
    world.condition("t", "DeploymentAvailable", "RollingOut").await;
}

#[tokio::test]
async fn a_manager_that_is_killed_again_and_again_makes_nothing_twice() {
    let fake = Fake::new();
    let mut world = World::start("killed", Arc::new(fake.clone())).await;
    world.fake_datastore().await;
    world.tenant("t", json!({})).await;
    // Each life ends at another moment of the creation.
    for life in 0..12 {
        tokio::time::sleep(std::time::Duration::from_millis(15 * life)).await;
        world.kill();
        world.run(Arc::new(fake.clone())).await;
    }
    world.condition("t", "DeploymentAvailable", "RollingOut").await;
    let before = versions(&world).await;
    assert_eq!(before.len(), 11 + 1 + 1 + 1, "{before:?}");
    let uid = world.api::<TenantControlPlane>().get("t").await.expect("there").uid().expect("a UID");
    let mut wanted = vec!["root".to_owned(), uid];
    wanted.sort();
    assert_eq!((fake.users(), fake.roles()), (wanted.clone(), wanted));

    // One more life finds everything as it is and writes nothing.
    let writes = fake.counts().writes;
    world.run(Arc::new(fake.clone())).await;
    world.datastore_ready().await;
    let marker = json!({ "metadata": { "annotations": { "seen": "" } } });
    let api = world.api::<TenantControlPlane>();
    api.patch("t", &PatchParams::default(), &Patch::Merge(&marker)).await.expect("patched");
    let fresh = json!({ "spec": { "networkProfile": { "certSANs": ["late.example"] } } });
    let sum = label(&world, "api-server-certificate").await;
    let ca = label(&world, "ca").await;
    api.patch("t", &PatchParams::default(), &Patch::Merge(&fresh)).await.expect("patched");
    rolled(&world, "api-server-certificate", &sum).await;
    assert_eq!(label(&world, "ca").await, ca, "the authority outlives every manager");
    let changed: Vec<_> = versions(&world).await.into_iter().filter(|now| !before.contains(now)).collect();
    let names: Vec<_> = changed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["secret t-api-server-certificate", "deployment t", "tenant"]);
    assert_eq!(fake.counts().writes, writes);

    // And its deletion is interrupted just as well.
    fake.fail(Operation::Remove, [Fault::LostAfter(1), Fault::LostAfter(2)]);
    api.delete("t", &DeleteParams::default()).await.expect("deleted");
    for life in 0..6 {
        tokio::time::sleep(std::time::Duration::from_millis(20 * life)).await;
        world.kill();
        world.run(Arc::new(fake.clone())).await;
    }
    eventually_gone(api, "t").await;
    assert_eq!((fake.users(), fake.roles()), (vec!["root".to_owned()], vec!["root".to_owned()]));
}

/// Checksum label of the Pod template.
async fn label(world: &World, component: &str) -> String {
    let deployment = world.api::<Deployment>().get("t").await.expect("the Deployment");
    template_label(&deployment, component)
}

fn template_label(deployment: &Deployment, component: &str) -> String {
    let template = deployment.spec.as_ref().map(|spec| spec.template.clone());
    let labels = template.and_then(|template| template.metadata?.labels).unwrap_or_default();
    labels[&format!("component.kamaji.clastix.io/{component}")].clone()
}

async fn rolled(world: &World, component: &str, before: &str) {
    let is = |deployment: &Deployment| template_label(deployment, component) != before;
    eventually(world.api::<Deployment>(), "t", "rolled", is).await;
}

#[tokio::test]
async fn rotation_on_request_replaces_the_pods_and_answers_with_the_time() {
    let world = World::start("rotate", Arc::new(Fake::new())).await;
    tenant_with_pods(&world).await;
    let (leaf, ca) = (label(&world, "api-server-certificate").await, label(&world, "ca").await);
    let ask = json!({ "metadata": { "annotations": { "certs.kamaji.clastix.io/rotate": "" } } });
    let (secrets, params) = (world.api::<Secret>(), PatchParams::default());
    secrets.patch("t-api-server-certificate", &params, &Patch::Merge(&ask)).await.expect("asked");
    rolled(&world, "api-server-certificate", &leaf).await;
    let answer = |secret: &Secret| {
        let when = secret.annotations().get("certs.kamaji.clastix.io/rotate").cloned().unwrap_or_default();
        when.parse::<jiff::Timestamp>().is_ok()
    };
    eventually(secrets.clone(), "t-api-server-certificate", "answered", answer).await;
    assert_eq!(label(&world, "ca").await, ca);

    let admin = world.data("t-admin-kubeconfig").await["admin.conf"].clone();
    secrets.patch("t-ca", &params, &Patch::Merge(&ask)).await.expect("asked");
    rolled(&world, "ca", &ca).await;
    eventually(secrets, "t-ca", "answered", answer).await;
    assert_ne!(world.data("t-admin-kubeconfig").await["admin.conf"], admin, "signed by the new authority");
    let told = |event: &Event| event.reason.as_deref() == Some("CertificatesRenewed");
    until("the renewal is told", || async {
        let events = world.api::<Event>().list(&ListParams::default()).await.expect("listed");
        events.into_iter().find(|event| told(event))
    })
    .await;
}

#[tokio::test]
async fn a_store_of_other_namespaces_or_at_its_end_is_refused_and_another_can_be_chosen() {
    let fake = Fake::new();
    let world = World::start("others", Arc::new(fake.clone())).await;
    world.fake_datastore().await;
    let stores = Api::<DataStore>::all(world.client.clone());
    let merge = |value: serde_json::Value| Patch::Merge(value);
    let only = |namespaces: &str| {
        merge(json!({ "metadata": { "annotations": { "scute.dev/allowed-namespaces": namespaces } } }))
    };
    stores.patch(&world.datastore, &PatchParams::default(), &only("a, b")).await.expect("patched");
    world.tenant("t", json!({})).await;
    world.condition("t", "DataStoreReady", "DataStoreNotAllowed").await;
    let mine = format!("a,{}", world.namespace);
    stores.patch(&world.datastore, &PatchParams::default(), &only(&mine)).await.expect("patched");
    world.condition("t", "DeploymentAvailable", "RollingOut").await;

    stores.delete(&world.datastore, &DeleteParams::default()).await.expect("asked");
    let late = json!({ "dataStore": world.datastore });
    world.tenant("late", late).await;
    let tcp = world.condition("late", "DataStoreReady", "DataStoreDeleting").await;
    let (_, _, message) = said(&tcp, "DataStoreReady").expect("said");
    assert!(!message.contains("used by"), "{message}");
    // It holds nothing up, and may go elsewhere: nothing was made.
    let elsewhere = merge(json!({ "spec": { "dataStore": "elsewhere" } }));
    let tenants = world.api::<TenantControlPlane>();
    tenants.patch("late", &PatchParams::default(), &elsewhere).await.expect("a name can be corrected");
    world.condition("late", "DataStoreReady", "DataStoreNotFound").await;
    tenants.patch("t", &PatchParams::default(), &elsewhere).await.expect_err("that would need a migration");
    tenants.delete("t", &DeleteParams::default()).await.expect("deleted");
    eventually_gone(stores, &world.datastore).await;
}

#[tokio::test]
async fn a_store_that_is_down_is_named_and_waited_for() {
    let fake = Fake::new();
    let world = World::start("down", Arc::new(fake.clone())).await;
    fake.fail(Operation::Health, [Fault::Unavailable, Fault::Denied]);
    fake.fail(Operation::Ensure, [Fault::Unavailable, Fault::LostAfter(1)]);
    world.fake_datastore().await;
    world.tenant("t", json!({})).await;
    let named = |tcp: &TenantControlPlane| {
        said(tcp, "DataStoreReady").is_some_and(|(_, reason, message)| {
            reason == "DataStoreSetupFailed" && message.contains("no member answers")
        })
    };
    eventually(world.api(), "t", "told why", named).await;
    world.condition("t", "DeploymentAvailable", "RollingOut").await;
    let datastore = Api::<DataStore>::all(world.client.clone()).get(&world.datastore).await.expect("there");
    assert!(datastore.status.is_some_and(|status| status.ready));
    assert_eq!(fake.users().len(), 2);
}

/// A look is four questions, one of them a failed login: what a tenant says of itself is no reason for one.
#[tokio::test]
async fn a_store_is_not_asked_because_its_tenants_write_their_status() {
    let fake = Fake::new();
    let world = World::start("asked", Arc::new(fake.clone())).await;
    tenant_with_pods(&world).await;
    let stores = Api::<DataStore>::all(world.client.clone());
    let used =
        |datastore: &DataStore| datastore.status.as_ref().is_some_and(|status| !status.used_by.is_empty());
    eventually(stores.clone(), &world.datastore, "known to be used", used).await;
    let before = fake.counts().looks;
    for ready in (0..20).map(|number| number % 2) {
        world.pods_ready("t", ready).await;
        let told = |tcp: &TenantControlPlane| {
            let ready = format!("{ready} of 1 Pods ready");
            said(tcp, "DeploymentAvailable").is_some_and(|(_, _, message)| message.contains(&ready))
        };
        eventually(world.api(), "t", "told", told).await;
    }
    let asked = json!({ "metadata": { "annotations": { "look": "now" } } });
    stores.patch(&world.datastore, &PatchParams::default(), &Patch::Merge(&asked)).await.expect("patched");
    until("the one that was asked for", || async { (fake.counts().looks > before).then_some(()) }).await;
    // One for the annotation, and one for the status that the first look may have been about to write.
    assert!(fake.counts().looks - before <= 2, "{} looks", fake.counts().looks - before);
}

#[tokio::test]
async fn a_store_in_use_stays_and_a_lost_one_is_named() {
    let fake = Fake::new();
    let world = World::start("inuse", Arc::new(fake.clone())).await;
    tenant_with_pods(&world).await;
    let stores = Api::<DataStore>::all(world.client.clone());
    stores.delete(&world.datastore, &DeleteParams::default()).await.expect("asked");
    let user = format!("{}/t", world.namespace);
    let used = |datastore: &DataStore| {
        let status = datastore.status.clone().unwrap_or_default();
        status.used_by == [user.clone()]
            && status.conditions.iter().any(|condition| condition.reason == "DataStoreStillUsed")
    };
    eventually(stores.clone(), &world.datastore, "kept", used).await;
    // Who else uses it, and its Secrets, are for who may read the DataStore.
    let tcp = world.condition("t", "DataStoreReady", "WaitingForDataStore").await;
    let (_, _, message) = said(&tcp, "DataStoreReady").expect("said");
    assert!(message.contains("DataStoreStillUsed") && !message.contains(&user), "{message}");

    // Somebody takes it away by force.
    let bare = json!({ "metadata": { "finalizers": null } });
    stores.patch(&world.datastore, &PatchParams::default(), &Patch::Merge(&bare)).await.expect("patched");
    eventually_gone(stores, &world.datastore).await;
    let api = world.api::<TenantControlPlane>();
    api.delete("t", &DeleteParams::default()).await.expect("asked");
    let named = |tcp: &TenantControlPlane| {
        said(tcp, "Ready").is_some_and(|(_, reason, message)| {
            reason == "Deleting"
                && message.contains("DataStore does not exist")
                && message.contains("scute.dev/deletion-policy to Retain")
        })
    };
    eventually(api.clone(), "t", "told why", named).await;
    assert_eq!(fake.users().len(), 2, "nothing was forgotten");
    // It comes back, and so the end.
    world.datastore_at("fake:2379").await;
    eventually_gone(api, "t").await;
    assert_eq!(fake.users(), ["root"]);
}

/// Whoever retains may have lost the etcd for good: its objects and their namespace must be able to go.
#[tokio::test]
async fn a_tenant_that_retains_its_data_waits_for_no_store() {
    let fake = Fake::new();
    let world = World::start("gone", Arc::new(fake.clone())).await;
    tenant_with_pods(&world).await;
    let api = world.api::<TenantControlPlane>();
    fake.fail(Operation::Release, [Fault::Unavailable]);
    let retain = json!({ "metadata": { "annotations": { "scute.dev/deletion-policy": "Retain" } } });
    api.patch("t", &PatchParams::default(), &Patch::Merge(&retain)).await.expect("patched");
    api.delete("t", &DeleteParams::default()).await.expect("asked");
    eventually_gone(api, "t").await;
    assert_eq!(fake.users().len(), 2, "its user stays");
    let told = |event: &Event| {
        event.reason.as_deref() == Some("DataStoreRetained")
            && event.message.as_deref().is_some_and(|message| message.contains("so does the record"))
    };
    until("what stays is told", || async {
        let events = world.api::<Event>().list(&ListParams::default()).await.expect("listed");
        events.into_iter().find(|event| told(event))
    })
    .await;
}

#[tokio::test]
async fn an_unknown_store_is_named_and_such_a_tenant_can_be_deleted() {
    let world = World::start("unknown", Arc::new(Fake::new())).await;
    world.tenant("t", json!({ "dataStore": "nowhere" })).await;
    let tcp = world.condition("t", "DataStoreReady", "DataStoreNotFound").await;
    assert_eq!(said(&tcp, "Ready").map(|(status, ..)| status).as_deref(), Some("False"));
    let api = world.api::<TenantControlPlane>();
    api.delete("t", &DeleteParams::default()).await.expect("asked");
    eventually_gone(api, "t").await;
}

#[tokio::test]
async fn without_a_webhook_the_second_tenant_of_a_prefix_is_stopped_too() {
    let fake = Fake::new();
    let world = World::start("shared", Arc::new(fake.clone())).await;
    tenant_with_pods(&world).await;
    let schema = world.api::<TenantControlPlane>().get("t").await.expect("there").uid().expect("a UID");
    world.tenant("second", json!({ "dataStoreSchema": schema })).await;
    let tcp = world.condition("second", "SpecValid", "DataStoreConflict").await;
    let message = said(&tcp, "SpecValid").map(|(_, _, message)| message).unwrap_or_default();
    assert!(
        message.contains("is taken") && !message.contains(&format!("{}/t", world.namespace)),
        "{message}"
    );
    assert_eq!(fake.users().len(), 2, "it got no user");
}

#[tokio::test]
async fn a_paused_tenant_is_left_alone() {
    let world = World::start("paused", Arc::new(Fake::new())).await;
    tenant_with_pods(&world).await;
    let (api, params) = (world.api::<TenantControlPlane>(), PatchParams::default());
    let pause = json!({ "metadata": { "annotations": { "kamaji.clastix.io/paused": "" } } });
    api.patch("t", &params, &Patch::Merge(&pause)).await.expect("patched");
    world.condition("t", "Paused", "Paused").await;
    let generation = world.api::<Deployment>().get("t").await.expect("there").metadata.generation;
    let scale = json!({ "spec": { "controlPlane": { "deployment": { "replicas": 5 } } } });
    api.patch("t", &params, &Patch::Merge(&scale)).await.expect("patched");
    let noticed = |tcp: &TenantControlPlane| {
        let conditions = tcp.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|condition| condition.observed_generation == tcp.metadata.generation)
    };
    eventually(api.clone(), "t", "noticed", noticed).await;
    assert_eq!(world.api::<Deployment>().get("t").await.expect("there").metadata.generation, generation);
    let resume = json!({ "metadata": { "annotations": { "kamaji.clastix.io/paused": null } } });
    api.patch("t", &params, &Patch::Merge(&resume)).await.expect("patched");
    let five = |deployment: &Deployment| deployment.spec.as_ref().and_then(|spec| spec.replicas) == Some(5);
    eventually(world.api::<Deployment>(), "t", "scaled", five).await;
}

#[tokio::test]
async fn control_planes_start_in_turn_and_none_holds_the_others_up() {
    let world = World::start("turn", Arc::new(Fake::new())).await;
    world.fake_datastore().await;
    world.node("management", 2).await;
    let starts = |name: &'static str| world.condition(name, "DeploymentAvailable", "RollingOut");
    let waits = |name: &'static str| world.condition(name, "DeploymentAvailable", "WaitingForTurn");
    for name in ["a", "b"] {
        world.tenant(name, json!({})).await;
        starts(name).await;
    }
    world.tenant("c", json!({})).await;
    let told = waits("c").await;
    assert!(said(&told, "Ready").is_some_and(|(_, _, message)| message.contains("2 control planes")));
    assert!(world.api::<Deployment>().get("c").await.is_err(), "c has no Pods yet");
    world.pods_ready("a", 1).await;
    starts("c").await;

    // A change that replaces Pods waits as well, and takes nothing away meanwhile.
    let before = world.api::<Deployment>().get("a").await.expect("there").metadata.generation;
    let louder =
        json!({ "spec": { "controlPlane": { "deployment": { "extraArgs": { "scheduler": ["--v=4"] } } } } });
    let tenants = world.api::<TenantControlPlane>();
    tenants.patch("a", &PatchParams::default(), &Patch::Merge(&louder)).await.expect("patched");
    waits("a").await;
    let deployment = world.api::<Deployment>().get("a").await.expect("there");
    assert_eq!(deployment.metadata.generation, before, "not changed yet");
    // One that starts may be deleted instead.
    tenants.delete("b", &DeleteParams::default()).await.expect("deleted");
    eventually_gone(tenants.clone(), "b").await;
    eventually(world.api::<Deployment>(), "a", "changed", |deployment: &Deployment| {
        deployment.metadata.generation > before
    })
    .await;
    // Neither c nor a ever gets ready: whoever comes next waits, but not for ever.
    world.tenant("d", json!({})).await;
    waits("d").await;
    starts("d").await;
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_named_with_the_kubelets_error() {
    let world = World::start("image", Arc::new(Fake::new())).await;
    tenant_with_pods(&world).await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "name": "t-new", "labels": { "kamaji.clastix.io/name": "t" } },
        "spec": { "containers": [{ "name": "kube-apiserver", "image": "registry.example/kube-apiserver:v9" }] },
    }))
    .expect("a Pod");
    world.api::<Pod>().create(&PostParams::default(), &pod).await.expect("created");
    let says = |reason: &str, message: &str| {
        let waiting = json!({ "reason": reason, "message": message });
        Patch::Merge(json!({ "status": { "containerStatuses": [{
            "name": "kube-apiserver", "image": "registry.example/kube-apiserver:v9", "imageID": "",
            "ready": false, "restartCount": 0, "state": { "waiting": waiting },
        }] } }))
    };
    let params = PatchParams::default();
    let pods = world.api::<Pod>();
    pods.patch_status("t-new", &params, &says("ErrImagePull", "v9: not found")).await.expect("patched");
    let tcp = world.condition("t", "DeploymentAvailable", "ImagePullBackOff").await;
    let (_, _, message) = said(&tcp, "DeploymentAvailable").expect("a condition");
    assert!(
        message.contains("registry.example/kube-apiserver:v9 cannot be pulled: v9: not found"),
        "{message}"
    );
    let (_, reason, _) = said(&tcp, "Ready").expect("a condition");
    assert_eq!(reason, "ImagePullBackOff", "the sum names it as well");
}
