//! From a seed to a management cluster, between two real API servers. What controllers, kubelets and servers would say is said
//! by the test.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use scute_api::cluster::Cluster;
use scute_api::metal3::BareMetalHost;
use scute_install::Options;
use scute_pivot::{Manifests, Pivot, PivotError, RECORD_TYPE, configuration, record_name};
use scute_testkit::{ApiServer, eventually, until};
use serde_json::{Value, json};

const HOSTS: &str = "
apiVersion: v1
kind: Secret
metadata: {name: s-1-bmc}
stringData: {username: admin, password: hunter2}
---
apiVersion: metal3.io/v1alpha1
kind: BareMetalHost
metadata: {name: s-1}
spec: {bmc: {address: 'redfish+https://192.0.2.1/redfish/v1/Systems/1', credentialsName: s-1-bmc}, online: true}
";
const CLUSTER: &str = "
apiVersion: cluster.x-k8s.io/v1beta2
kind: Cluster
metadata: {name: foundry}
spec:
  clusterNetwork: {pods: {cidrBlocks: [10.200.0.0/16]}}
  controlPlaneEndpoint: {host: 192.0.2.9, port: 6443}
  infrastructureRef: {apiGroup: infrastructure.cluster.x-k8s.io, kind: Metal3Cluster, name: foundry}
";

const LACKS: &str = "Cluster foundry: InfrastructureReady: no host";

struct World {
    seed: Client,
    namespace: String,
    target: Client,
    target_kubeconfig: String,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let (seed, target) = (scute_testkit::server().await, scute_testkit::second_server().await);
        seed.install_crds(scute_api::crds()).await;
        Self {
            seed: seed.client().await,
            namespace: seed.namespace("pivot").await,
            target: target.client().await,
            target_kubeconfig: ApiServer::kubeconfig(target),
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("foundry.kubeconfig")
    }

    fn pivot(&self, hosts: &str) -> Pivot {
        let files = [("hosts.yaml", hosts), ("cluster.yaml", CLUSTER)];
        let manifests = Manifests::read(&files, &self.namespace).expect("read");
        Pivot::new(self.seed.clone(), manifests, self.file(), scute_testkit::PATIENCE)
    }

    fn here<K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.seed.clone(), &self.namespace)
    }

    fn there<K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>>(&self) -> Api<K> {
        Api::namespaced(self.target.clone(), &self.namespace)
    }

    /// What controllers of the seed say: the Cluster lacks something, and when that was heard it comes to be.
    async fn seed_works(&self, said: &Mutex<Vec<String>>) {
        let clusters: Api<Cluster> = self.here();
        eventually(clusters.clone(), "foundry", "applied", |_| true).await;
        status(
            &clusters,
            "foundry",
            json!({"conditions": [condition("InfrastructureReady", "False", "no host")]}),
        )
        .await;
        let host = json!({"provisioning": {"state": "available", "ID": ""}, "poweredOn": true, "errorCount": 0,
            "errorMessage": "", "operationalStatus": "OK"});
        status(&self.here::<BareMetalHost>(), "s-1", host).await;
        let is_lacking = |line: &String| line == LACKS;
        let heard = || said.lock().expect("no panic").iter().any(is_lacking);
        until("somebody hears what is lacking", async || heard().then_some(())).await;
        let kubeconfig = json!({"apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
            "metadata": {"name": "foundry-kubeconfig", "labels": {"cluster.x-k8s.io/cluster-name": "foundry"}},
            "stringData": {"value": self.target_kubeconfig}});
        let secret: Secret = serde_json::from_value(kubeconfig).expect("a Secret");
        self.here().create(&PostParams::default(), &secret).await.expect("made");
        let ready = json!({"conditions": [condition("Available", "True", "")],
            "initialization": {"infrastructureProvisioned": true, "controlPlaneInitialized": true}});
        status(&clusters, "foundry", ready).await;
    }

    /// What the new cluster says: managers come up, of which none can be called here; then the Cluster is looked at.
    async fn target_works(&self) {
        let api: Api<Deployment> = Api::namespaced(self.target.clone(), "scute-system");
        let made = eventually(api.clone(), "scute-manager", "a Deployment", |_| true).await;
        let said = json!({"observedGeneration": made.metadata.generation, "replicas": 2, "updatedReplicas": 2,
            "readyReplicas": 2, "availableReplicas": 2});
        status(&api, "scute-manager", said).await;
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.target.clone());
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.target.clone());
        let generation = until("a moved Cluster", async || {
            // An interrupted run installs again.
            _ = validating.delete("scute", &DeleteParams::default()).await;
            _ = mutating.delete("scute", &DeleteParams::default()).await;
            let moved = self.there::<Cluster>().get_opt("foundry").await.ok()??;
            (moved.spec.paused != Some(true)).then_some(moved.metadata.generation)
        })
        .await;
        let mut awake = condition("Paused", "False", "");
        awake["observedGeneration"] = json!(generation);
        let said = json!({"observedGeneration": generation, "conditions": [awake]});
        status(&self.there::<Cluster>(), "foundry", said).await;
    }
}

fn condition(kind: &str, status: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Tested", "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

async fn status<K>(api: &Api<K>, name: &str, status: Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let patch = Patch::Merge(json!({"status": status}));
    api.patch_status(name, &PatchParams::default(), &patch).await.expect("a status");
}

fn options(cluster: &Cluster) -> Options {
    Options { replicas: 2, ..Options::site(configuration(cluster)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_cluster_ends_as_its_own_however_often_the_command_is_interrupted() {
    let world = World::new().await;
    let pivot = world.pivot(HOSTS);
    let said = Mutex::new(Vec::new());
    let runs = async {
        // Each run ends one line later than the one before it.
        let mut lines = 0;
        loop {
            lines += 1;
            let heard = AtomicUsize::new(0);
            let say = |line: &str| {
                said.lock().expect("no panic").push(line.to_owned());
                heard.fetch_add(1, Ordering::Relaxed) + 1 < lines
            };
            match pivot.run(&options, &say).await {
                Err(PivotError::Unheard) => {}
                done => break done,
            }
        }
    };
    let (done, (), ()) = tokio::join!(runs, world.seed_works(&said), world.target_works());
    done.expect("done");
    let said = said.into_inner().expect("no panic");
    for line in ["applied: 3 objects", LACKS, "Scute is installed", "Cluster foundry manages itself"] {
        assert!(said.iter().any(|said| said == line), "{line:?} in {said:#?}");
    }
    assert!(!said.iter().any(|line| line.contains("hunter2")), "{said:#?}");

    let here = world.here::<Cluster>().get_opt("foundry").await.expect("an answer");
    assert!(here.is_none(), "the seed has it no more");
    let cluster = world.there::<Cluster>().get("foundry").await.expect("moved");
    world.there::<BareMetalHost>().get("s-1").await.expect("moved, though nobody consumes it");
    let mode = std::fs::metadata(world.file()).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let record = world.here::<Secret>().get(&record_name("foundry")).await.expect("there");
    assert_eq!(record.type_.as_deref(), Some(RECORD_TYPE));

    // Done is done: the servers must not be given to the seed once more.
    pivot.run(&options, &|_| true).await.expect("nothing to do");
    assert!(world.here::<Cluster>().get_opt("foundry").await.expect("an answer").is_none());
    let again = world.there::<Cluster>().get("foundry").await.expect("there");
    assert_eq!(again.metadata.resource_version, cluster.metadata.resource_version);

    // And a new seed does not know of it, but whoever has the kubeconfig does.
    world.here::<Secret>().delete(&record_name("foundry"), &DeleteParams::default()).await.expect("deleted");
    let refused = pivot.run(&options, &|_| true).await;
    assert!(matches!(refused, Err(PivotError::AlreadyThere { .. })), "{refused:?}");
    let url = scute_testkit::second_server().await.url().to_owned();
    let silent = format!("https://127.0.0.1:{}", scute_testkit::free_port().expect("a port"));
    std::fs::write(world.file(), world.target_kubeconfig.replace(&url, &silent)).expect("written");
    let refused = pivot.run(&options, &|_| true).await;
    assert!(matches!(refused, Err(PivotError::MayBeThere { .. })), "{refused:?}");
    assert!(world.here::<Cluster>().get_opt("foundry").await.expect("an answer").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_seed_would_not_take_is_said_before_anything_is_made() {
    let world = World::new().await;
    let none = |hosts: String| {
        let pivot = world.pivot(&hosts);
        async move { pivot.run(&options, &|_| true).await }
    };
    let wrong = HOSTS.replace("online: true", "online: perhaps");
    let Err(PivotError::Request { what, .. }) = none(wrong).await else { panic!("taken") };
    assert_eq!(what, "applying BareMetalHost s-1");
    let role = "---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: r}\n";
    let refused = none(format!("{HOSTS}{role}")).await;
    assert!(
        matches!(refused, Err(PivotError::NoNamespace(ref object)) if object == "ClusterRole r"),
        "{refused:?}"
    );
    let refused = none(format!("{HOSTS}---\napiVersion: a.b/v1\nkind: Thing\nmetadata: {{name: t}}\n")).await;
    assert!(matches!(refused, Err(PivotError::NoKind(ref object)) if object == "Thing t"), "{refused:?}");
    assert!(world.here::<Secret>().get_opt("s-1-bmc").await.expect("an answer").is_none());
}
