//! The installed etcd: its members as real processes, its certificates and its DataStore on a real API server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use scute_api::kamaji::DataStore;
use scute_etcd::joining::{Seat, Start};
use scute_etcd::{Access, Connect, Etcd, Store};
use scute_install::etcd::{EtcdConfig, EtcdKeeper, Place, begin};
use scute_pki::{CA_VALIDITY, Ca, Certificate, KeyAlgorithm, KeyPairPem, LeafRequest, Sans, issue};
use scute_testkit::{Process, free_port, kube_binary};
use serde_json::json;

/// Three members on loopback.
struct World {
    folder: tempfile::TempDir,
    seats: Vec<Seat>,
    access: Access,
    metrics: Vec<u16>,
    running: Vec<Option<Process>>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let ca = Ca::generate("etcd-tenants-ca", CA_VALIDITY, KeyAlgorithm::EcdsaP256, now).unwrap();
        let names = Sans::from_iter(["127.0.0.1".to_owned()]);
        let server = issue(&LeafRequest::peer("etcd-tenants", names), &ca, now).unwrap();
        let root = issue(&LeafRequest::client("root", None), &ca, now).unwrap();
        write(&folder.path().join("certificates"), &server, ca.certificate_pem());
        write(&folder.path().join("root"), &root, ca.certificate_pem());
        let seat = |index: usize| Seat {
            name: format!("m{index}"),
            peer_url: format!("https://127.0.0.1:{}", free_port().unwrap()),
            client: format!("127.0.0.1:{}", free_port().unwrap()),
        };
        let seats: Vec<_> = (0..3).map(seat).collect();
        let access = Access {
            endpoints: seats.iter().map(|seat| seat.client.clone()).collect(),
            ca_pem: ca.certificate_pem().to_owned(),
            certificate_pem: root.certificate_pem,
            key_pem: root.key_pem,
        };
        let metrics = (0..3).map(|_| free_port().unwrap()).collect();
        Self { folder, seats, access, metrics, running: vec![None, None, None] }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the Pod of a member does: the init container, then etcd.
    async fn run(&mut self, index: usize) -> Start {
        let volume = self.path(&format!("volume-{index}"));
        std::fs::create_dir_all(&volume).unwrap();
        let place = Place {
            certificates: self.path("certificates"),
            volume,
            listen: [127, 0, 0, 1].into(),
            metrics: self.metrics[index],
        };
        let configuration = self.path(&format!("etcd-{index}.yaml"));
        let started =
            begin(&self.seats[index], &self.seats, &place, &self.path("root"), &configuration).await.unwrap();
        let arguments = ["etcd".to_owned(), format!("--config-file={}", configuration.display())];
        let log = self.path(&format!("etcd-{index}.log"));
        self.running[index] = Some(Process::start(&kube_binary().unwrap(), &arguments, &log).unwrap());
        started
    }

    async fn store(&self) -> Arc<dyn Store> {
        Etcd.open(&self.access).await.unwrap()
    }

    /// Waits until every member answers and one leads.
    async fn all_answer(&self) {
        let store = self.store().await;
        scute_testkit::until("three members", || async {
            let members = store.members().await.ok()?;
            members.iter().any(|member| member.leads).then_some(())
        })
        .await;
    }

    fn lose(&mut self, index: usize) {
        self.running[index] = None;
        std::fs::remove_dir_all(self.path(&format!("volume-{index}"))).unwrap();
    }
}

fn write(folder: &Path, pair: &KeyPairPem, ca: &str) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, text) in [("tls.crt", &*pair.certificate_pem), ("tls.key", &*pair.key_pem), ("ca.crt", ca)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_begin_together_and_one_that_lost_its_disk_comes_back() {
    let mut world = World::new();
    for index in 0..3 {
        assert_eq!(world.run(index).await, Start::First);
    }
    world.all_answer().await;
    let store = world.store().await;
    store.secure().await.unwrap();
    let before = store.health().await.unwrap();
    assert!(before.auth);
    std::fs::write(world.path("certificates/formed"), "yes").unwrap();

    // A start with its data.
    world.running[1] = None;
    assert_eq!(world.run(1).await, Start::WithData);
    world.all_answer().await;

    // The first of the seats, without its disk.
    world.lose(0);
    let started = world.run(0).await;
    assert!(matches!(&started, Start::Joining(members) if members.len() == 3), "{started:?}");
    world.all_answer().await;
    let after = world.store().await.health().await.unwrap();
    assert!(after.auth && after.revision >= before.revision, "{after:?}");
    assert_eq!(world.store().await.members().await.unwrap().len(), 3);

    // A second one right after that: the first has what it needs to be one of the majority.
    world.lose(2);
    world.run(2).await;
    world.all_answer().await;
    assert!(world.store().await.health().await.unwrap().auth);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_data_waits_for_the_others_where_there_were_some() {
    let mut world = World::new();
    std::fs::write(world.path("certificates/formed"), "yes").unwrap();
    let patience = std::time::Duration::from_secs(3);
    assert!(tokio::time::timeout(patience, world.run(0)).await.is_err(), "it began another etcd");
    // Whoever knows that there is nothing to wait for takes the mark away.
    std::fs::remove_file(world.path("certificates/formed")).unwrap();
    assert_eq!(world.run(0).await, Start::First);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_keeps_its_certificates_and_its_datastore() {
    let server = scute_testkit::server().await;
    let datastores = scute_api::crds().into_iter().filter(|crd| crd.spec.names.kind == "DataStore");
    server.install_crds(datastores.collect()).await;
    let client = server.client().await;
    let namespace = server.namespace("etcd").await;
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let stores: Api<DataStore> = Api::all(client.clone());
    let keeper = EtcdKeeper::new(client, &namespace, EtcdConfig::default());
    let all = async || {
        let mut all = secrets.list(&ListParams::default()).await.unwrap().items;
        all.sort_by_key(ResourceExt::name_any);
        all
    };

    let now = Timestamp::now();
    keeper.look_after(now).await.unwrap();
    let made = all().await;
    let names: Vec<_> = made.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["etcd-tenants-ca", "etcd-tenants-root-client", "etcd-tenants-server"]);
    assert!(!made[2].data.as_ref().unwrap().contains_key("ca.key"), "members do not get the authority's key");
    let certificate = String::from_utf8(made[2].data.as_ref().unwrap()["tls.crt"].0.clone()).unwrap();
    let names = Certificate::parse(&certificate).unwrap().sans().dns.clone();
    assert!(names.contains(&format!("etcd-tenants-2.etcd-tenants.{namespace}.svc")), "{names:?}");
    let store = stores.get("default").await.unwrap();
    assert_eq!(store.spec.endpoints.len(), 3);
    keeper.look_after(now).await.unwrap();
    assert_eq!(all().await, made, "at rest nothing is written");
    assert_eq!(
        stores.get("default").await.unwrap().metadata.resource_version,
        store.metadata.resource_version
    );

    // As soon as it has been there, its members know.
    let ready = json!({"status": {"ready": true}});
    stores.patch_status("default", &PatchParams::default(), &Patch::Merge(&ready)).await.unwrap();
    keeper.look_after(now).await.unwrap();
    assert_eq!(all().await[2].data.as_ref().unwrap()["formed"].0, b"yes");

    // In the second half of their lives certificates are renewed, and what else is in the Secret stays.
    let later = now + jiff::SignedDuration::from_hours(24 * 200);
    keeper.look_after(later).await.unwrap();
    let renewed = all().await;
    assert_eq!(renewed[0], made[0]);
    for (index, secret) in made.iter().enumerate().skip(1) {
        let crt = |secret: &Secret| secret.data.as_ref().unwrap()["tls.crt"].clone();
        assert_ne!(crt(&renewed[index]), crt(secret), "{}", secret.name_any());
    }
    assert!(renewed[2].data.as_ref().unwrap().contains_key("formed"));

    // More members: names and endpoints follow.
    let client = server.client().await;
    let five = EtcdKeeper::new(client, &namespace, EtcdConfig::of(5));
    five.look_after(later).await.unwrap();
    assert_eq!(stores.get("default").await.unwrap().spec.endpoints.len(), 5);

    // An authority that is gone is not made again: what it signed is in use.
    secrets.delete("etcd-tenants-ca", &DeleteParams::default()).await.unwrap();
    let error = five.look_after(later).await.unwrap_err().to_string();
    assert!(error.contains("etcd-tenants-ca") && error.contains("backup"), "{error}");
    assert_eq!(all().await.len(), 2);
    let authority = Secret { data: made[0].data.clone(), ..Secret::default() };
    let authority = Secret {
        metadata: ObjectMeta { name: Some("etcd-tenants-ca".into()), ..ObjectMeta::default() },
        ..authority
    };
    secrets.create(&PostParams::default(), &authority).await.unwrap();
    five.look_after(later).await.unwrap();

    // A user's DataStore is left as it is.
    let users = json!({"metadata": {"labels": null}, "spec": {"endpoints": ["a.example:2379"]}});
    stores.patch("default", &PatchParams::default(), &Patch::Merge(&users)).await.unwrap();
    five.look_after(later).await.unwrap();
    assert_eq!(stores.get("default").await.unwrap().spec.endpoints, ["a.example:2379"]);
}
