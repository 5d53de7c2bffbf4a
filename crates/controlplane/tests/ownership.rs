//! A tenant that ends takes nothing with it that is another's, whatever its objects say: real API server, real etcd.

mod support;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use scute_api::kamaji::{DataStore, TenantControlPlane};
use scute_etcd::{Access, Claim, Connect, Etcd as RealEtcd, Store, Tenant, Traces};
use scute_testkit::{Etcd, eventually, eventually_gone, until};
use serde_json::{Value, json};
use support::World;

const THERE: Traces = Traces { keys: 1, user: true, role: true };

fn names(name: &str) -> Tenant {
    Tenant { user: format!("{name}-user"), schema: name.to_owned() }
}

fn spec(name: &str) -> Value {
    json!({ "dataStoreSchema": name, "dataStoreUsername": format!("{name}-user") })
}

struct Story {
    world: World,
    etcd: Etcd,
    store: Arc<dyn Store>,
}

impl Story {
    async fn start(name: &str) -> Self {
        let etcd = Etcd::start().expect("etcd");
        let world = World::start(name, Arc::new(RealEtcd)).await;
        world.datastore(&etcd).await;
        world.datastore_ready().await;
        let (certificate_pem, key_pem) = etcd.client_certificate("root").expect("issued");
        let access = Access {
            endpoints: vec![etcd.endpoint.trim_start_matches("https://").to_owned()],
            ca_pem: etcd.ca_certificate.clone(),
            certificate_pem,
            key_pem,
        };
        let store = RealEtcd.open(&access).await.expect("usable certificates");
        Self { world, etcd, store }
    }

    /// A tenant of this name that runs, with a key.
    async fn tenant(&self, name: &str) -> TenantControlPlane {
        let tcp = self.world.tenant(name, spec(name)).await;
        self.world.condition(name, "DeploymentAvailable", "RollingOut").await;
        self.write(name).await;
        assert_eq!(self.traces(name).await, THERE);
        tcp
    }

    async fn write(&self, name: &str) {
        let (certificate, key) = self.etcd.client_certificate(&format!("{name}-user")).expect("issued");
        let tls = etcd_client::TlsOptions::new()
            .ca_certificate(etcd_client::Certificate::from_pem(&self.etcd.ca_certificate))
            .identity(etcd_client::Identity::from_pem(certificate, key));
        let options = etcd_client::ConnectOptions::new().with_tls(tls);
        let client = etcd_client::Client::connect([self.etcd.endpoint.as_str()], Some(options)).await;
        client.expect("a client").put(format!("/{name}/x"), "1", None).await.expect("its own prefix");
    }

    async fn traces(&self, name: &str) -> Traces {
        self.store.traces(&names(name)).await.expect("counted")
    }

    async fn delete(&self, name: &str) {
        let api = self.world.api::<TenantControlPlane>();
        api.delete(name, &DeleteParams::default()).await.expect("deleted");
        eventually_gone(api, name).await;
    }

    /// Removes the object as force does: its finalizer never ran.
    async fn delete_by_force(&self, name: &str) {
        let api = self.world.api::<TenantControlPlane>();
        api.delete(name, &DeleteParams::default()).await.expect("deleted");
        let bare = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
        // It may be gone already.
        let _ = api.patch(name, &PatchParams::default(), &bare).await;
        eventually_gone(api, name).await;
    }

    async fn told(&self, reason: &str, part: &str) {
        until(reason, || async {
            let events = self.world.api::<Event>().list(&ListParams::default()).await.expect("listed");
            events.into_iter().find(|event| {
                event.reason.as_deref() == Some(reason)
                    && event.message.as_deref().is_some_and(|message| message.contains(part))
            })
        })
        .await;
    }

    async fn annotate(&self, name: &str, annotations: Value) {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        let api = self.world.api::<TenantControlPlane>();
        api.patch(name, &PatchParams::default(), &patch).await.expect("annotated");
    }
}

#[tokio::test]
async fn a_doctored_status_removes_nothing_of_anybody() {
    let story = Story::start("doctored").await;
    story.tenant("victim").await;
    story.tenant("evil").await;
    story.annotate("evil", json!({ "kamaji.clastix.io/paused": "" })).await;
    story.world.condition("evil", "Paused", "Paused").await;
    let status = json!({ "status": { "storage": {
        "setup": { "schema": "victim", "user": "victim-user" },
    } } });
    let api = story.world.api::<TenantControlPlane>();
    api.patch_status("evil", &PatchParams::default(), &Patch::Merge(&status)).await.expect("patched");
    story.delete("evil").await;
    assert_eq!(story.traces("victim").await, THERE);
    assert!(story.traces("evil").await.is_none(), "its own is gone");
    story.delete("victim").await;
    assert!(story.traces("victim").await.is_none());
}

#[tokio::test]
async fn a_finalizer_that_was_there_from_the_start_removes_nothing_of_anybody() {
    let story = Story::start("preset").await;
    story.tenant("victim").await;
    let mut evil = support::tenant(&story.world.namespace, "evil", spec("victim"));
    evil.metadata.finalizers = Some(vec!["finalizer.kamaji.clastix.io".to_owned()]);
    story.world.api().create(&PostParams::default(), &evil).await.expect("created");
    // By the object if it is the younger one, which two of one second may not be; by etcd's record in any case.
    let tcp = story.world.condition("evil", "Ready", "DataStoreConflict").await;
    let (_, _, message) = support::said(&tcp, "Ready").expect("said");
    assert!(message.contains("is taken") && !message.contains("TenantControlPlane"), "{message}");
    story.delete("evil").await;
    story.told("DataStoreLeft", "user \"victim-user\" is taken, prefix \"victim\" is taken").await;
    assert_eq!(story.traces("victim").await, THERE);
}

#[tokio::test]
async fn what_another_management_cluster_has_is_neither_used_nor_removed() {
    let story = Story::start("elsewhere").await;
    let theirs = Claim { uid: "uid-there".into(), name: "there/t".into(), certified: false };
    story.store.ensure(&names("t"), &theirs).await.expect("made");
    story.write("t").await;
    // The exported object, applied here.
    story.world.tenant("t", spec("t")).await;
    let tcp = story.world.condition("t", "DataStoreReady", "DataStoreConflict").await;
    let (_, _, message) = support::said(&tcp, "DataStoreReady").expect("said");
    assert!(message.contains("is taken") && !message.contains("there"), "{message}");
    story.delete("t").await;
    assert_eq!(story.traces("t").await, THERE);
}

#[tokio::test]
async fn leftovers_are_not_given_to_whoever_knows_their_name() {
    let mut story = Story::start("leftovers").await;
    story.tenant("t").await;
    story.world.kill();
    story.delete_by_force("t").await;
    story.world.run(Arc::new(RealEtcd)).await;
    story.world.tenant("guess", spec("t")).await;
    story.world.condition("guess", "DataStoreReady", "DataStoreConflict").await;
    story.delete("guess").await;
    assert_eq!(story.traces("t").await, THERE);
}

#[tokio::test]
async fn retained_data_is_its_certificate_holders() {
    let story = Story::start("retain").await;
    story.tenant("t").await;
    let ca = story.world.data("t-ca").await["ca.crt"].clone();
    story.annotate("t", json!({ "scute.dev/deletion-policy": "Retain" })).await;
    story.delete("t").await;
    story.told("DataStoreRetained", "/t/").await;
    assert_eq!(story.traces("t").await, THERE);
    // Nobody has it now, but without the certificate it is not to be had.
    story.world.tenant("guess", spec("t")).await;
    let tcp = story.world.condition("guess", "DataStoreReady", "DataStoreConflict").await;
    let (_, _, message) = support::said(&tcp, "DataStoreReady").expect("said");
    assert!(message.contains("nothing proves whose it is"), "{message}");
    story.delete("guess").await;
    assert_eq!(story.traces("t").await, THERE);

    // The Secrets came along, as a backup brings them: without owners.
    let bare = Patch::Merge(json!({ "metadata": { "ownerReferences": null } }));
    let ours = ListParams::default().labels("kamaji.clastix.io/name=t");
    for secret in story.world.api::<Secret>().list(&ours).await.expect("listed") {
        let api = story.world.api::<Secret>();
        api.patch(&secret.name_any(), &PatchParams::default(), &bare).await.expect("patched");
    }
    for name in ["services", "deployments"] {
        let params = DeleteParams::default();
        match name {
            "services" => {
                let api = story.world.api::<k8s_openapi::api::core::v1::Service>();
                api.delete("t", &params).await.expect("deleted");
            }
            _ => _ = story.world.api::<Deployment>().delete("t", &params).await.expect("deleted"),
        }
    }
    let map = story.world.api::<k8s_openapi::api::core::v1::ConfigMap>();
    map.delete("t-kubeadmconfig", &DeleteParams::default()).await.expect("deleted");
    story.world.tenant("t", spec("t")).await;
    story.world.condition("t", "DeploymentAvailable", "RollingOut").await;
    assert_eq!(story.traces("t").await, THERE);
    assert_eq!(story.world.data("t-ca").await["ca.crt"], ca);
    story.delete("t").await;
    assert!(story.traces("t").await.is_none());
}

#[tokio::test]
async fn what_an_earlier_scute_made_without_a_record_stays_its_owners() {
    let mut story = Story::start("earlier").await;
    let tcp = story.tenant("t").await;
    story.world.kill();
    let claim = Claim { uid: tcp.uid().expect("a UID"), name: String::new(), certified: false };
    story.store.release(&names("t"), &claim).await.expect("released");
    story.world.run(Arc::new(RealEtcd)).await;
    // Recorded again as soon as it is looked at: then its UID alone is enough.
    until("the record", || async { story.store.ensure(&names("t"), &claim).await.ok() }).await;
    story.delete("t").await;
    assert!(story.traces("t").await.is_none());
}

#[tokio::test]
async fn roots_name_is_refused_and_an_object_that_has_it_can_be_deleted() {
    let story = Story::start("root").await;
    let api = story.world.api::<TenantControlPlane>();
    for field in ["dataStoreSchema", "dataStoreUsername"] {
        let bad = support::tenant(&story.world.namespace, "t", json!({ field: "root" }));
        let error = api.create(&PostParams::default(), &bad).await.expect_err("refused").to_string();
        assert!(error.contains(field) && error.contains("etcd's own"), "{error}");
    }
    let root = Tenant { user: "root".into(), schema: "root".into() };
    let claim = Claim { uid: "1".into(), name: String::new(), certified: true };
    assert_eq!(story.store.remove(&root, &claim).await.expect("ends").len(), 2);
}

/// An etcd that lost everything, or was put back to an earlier day, gets its tenants' users again without a restart.
#[tokio::test]
async fn users_come_back_into_an_etcd_that_lost_them() {
    let mut story = Story::start("lost").await;
    story.tenant("t").await;
    story.etcd.kill();
    std::fs::remove_dir_all(story.etcd.dir().join("data")).expect("removed");
    story.etcd.restart().expect("starts again");
    // A look is due within a minute: this one is asked for.
    let patch = Patch::Merge(json!({ "metadata": { "annotations": { "look": "now" } } }));
    let stores = Api::<DataStore>::all(story.world.client.clone());
    stores.patch(&story.world.datastore, &PatchParams::default(), &patch).await.expect("patched");
    until("the user is back", || async {
        story.store.traces(&names("t")).await.ok().filter(|traces| traces.user && traces.role)
    })
    .await;
    let ready = |datastore: &DataStore| datastore.status.as_ref().is_some_and(|status| status.ready);
    eventually(stores, &story.world.datastore, "ready", ready).await;
}
