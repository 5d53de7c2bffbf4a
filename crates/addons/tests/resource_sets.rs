//! ClusterResourceSets on a real API server, which plays the tenant's too: what goes in, what is said, what is retried.

use std::ops::Deref;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use scute_api::addons::{ClusterResourceSet, ClusterResourceSetBinding, ResourceBinding};
use scute_api::cluster::Cluster;
use scute_kit::Hub;
use scute_kit::conditions::find;
use scute_kit::tenants::Tenants;
use scute_testkit::{Case, server};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A namespace with the controllers of this room at work.
struct Bench(Case);

impl Deref for Bench {
    type Target = Case;

    fn deref(&self) -> &Case {
        &self.0
    }
}

impl Bench {
    async fn new(prefix: &str) -> Self {
        let server = server().await;
        scute_testkit::once(async {
            server.install_crds(scute_api::crds()).await;
            let hub = Hub::new(server.client().await);
            let tenants = Tenants::new(&hub);
            let mut tasks = JoinSet::new();
            scute_addons::spawn(&hub, &tenants, &mut tasks);
            tokio::spawn(async move { while tasks.join_next().await.is_some() {} });
        })
        .await;
        Self(Case::on(server, prefix).await)
    }

    /// A Cluster that wants the CNI; its control plane may be there already.
    async fn cluster(&self, name: &str, initialized: bool) {
        self.create::<Cluster>(json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": name, "labels": {"cni": "calico"}},
            "spec": {"infrastructureRef": {"apiGroup": "g", "kind": "K", "name": name}},
        }))
        .await;
        if initialized {
            self.initialize(name).await;
        }
    }

    async fn initialize(&self, name: &str) {
        self.create::<Secret>(json!({"metadata": {"name": format!("{name}-kubeconfig")},
            "stringData": {"value": server().await.kubeconfig()}}))
            .await;
        let condition = json!({"type": "ControlPlaneInitialized", "status": "True", "reason": "Initialized",
            "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        self.patch_status::<Cluster>(name, json!({"conditions": [condition]})).await;
    }

    async fn set(&self, name: &str, strategy: &str, resources: Value) -> ClusterResourceSet {
        self.create(json!({
            "apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSet", "metadata": {"name": name},
            "spec": {"clusterSelector": {"matchLabels": {"cni": "calico"}}, "strategy": strategy, "resources": resources},
        }))
        .await
    }

    async fn config_map(&self, name: &str, data: Value) {
        self.create::<ConfigMap>(json!({"metadata": {"name": name}, "data": data})).await;
    }

    /// A manifest of a ConfigMap in the tenant, in the namespace of the test.
    fn marker(&self, name: &str, value: &str) -> String {
        let metadata = json!({"name": name, "namespace": self.namespace});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}})
            .to_string()
    }

    async fn told(&self, set: &str, reason: &str, words: &str) -> ClusterResourceSet {
        let says = |set: &ClusterResourceSet| {
            let conditions =
                set.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
            find(conditions, "ResourcesApplied")
                .is_some_and(|is| is.reason == reason && is.message.contains(words))
        };
        self.eventually(set, &format!("told {reason} {words}"), says).await
    }

    async fn bound(
        &self,
        cluster: &str,
        what: &str,
        is: impl Fn(&[ResourceBinding]) -> bool,
    ) -> ClusterResourceSetBinding {
        let fits = |binding: &ClusterResourceSetBinding| {
            binding.spec.bindings.first().is_some_and(|binding| is(&binding.resources))
        };
        self.eventually(cluster, what, fits).await
    }
}

fn config_map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "name": name})
}

fn has(value: &str) -> impl Fn(&ConfigMap) -> bool {
    move |map| map.data.as_ref().and_then(|data| data.get("value")).is_some_and(|has| has == value)
}

fn all_applied(resources: &[ResourceBinding]) -> bool {
    !resources.is_empty() && resources.iter().all(|resource| resource.applied)
}

#[tokio::test]
async fn what_is_reconciled_is_applied_again_when_it_changes() {
    let bench = Bench::new("reconcile").await;
    bench.cluster("c", true).await;
    bench.config_map("cni", json!({"cni.json": bench.marker("marker", "1")})).await;
    bench.set("cni", "Reconcile", json!([config_map("cni")])).await;
    bench.eventually::<ConfigMap>("marker", "there", has("1")).await;
    let binding = bench.bound("c", "applied", all_applied).await;
    let set = bench.told("cni", "Applied", "").await;
    assert_eq!(binding.spec.cluster_name, "c");
    assert_eq!(binding.owner_references()[0].uid, set.uid().unwrap());
    assert_eq!(set.finalizers(), ["addons.cluster.x-k8s.io"]);
    let resource = &binding.spec.bindings[0].resources[0];
    assert!(resource.hash.as_deref().is_some_and(|hash| hash.starts_with("sha256:") && hash.len() == 71));
    let source: ConfigMap =
        bench.eventually("cni", "owned", |map: &ConfigMap| !map.owner_references().is_empty()).await;
    assert_eq!(
        (source.owner_references()[0].kind.as_str(), source.owner_references()[0].controller),
        ("ClusterResourceSet", None)
    );

    // Somebody else's part of the object stays.
    bench.patch::<ConfigMap>("marker", json!({"data": {"theirs": "x"}})).await;
    bench.patch::<ConfigMap>("cni", json!({"data": {"cni.json": bench.marker("marker", "2")}})).await;
    let again = bench.eventually::<ConfigMap>("marker", "applied again", has("2")).await;
    assert_eq!(again.data.unwrap()["theirs"], "x");

    // Owner references that are taken away come back.
    bench.patch::<ConfigMap>("cni", json!({"metadata": {"ownerReferences": null}})).await;
    bench.eventually("cni", "owned again", |map: &ConfigMap| !map.owner_references().is_empty()).await;
    bench.patch::<ClusterResourceSetBinding>("c", json!({"metadata": {"ownerReferences": null}})).await;
    bench
        .eventually("c", "owned again", |binding: &ClusterResourceSetBinding| {
            !binding.owner_references().is_empty()
        })
        .await;
    bench.patch::<ClusterResourceSet>("cni", json!({"metadata": {"finalizers": null}})).await;
    bench
        .eventually("cni", "with its finalizer", |set: &ClusterResourceSet| !set.finalizers().is_empty())
        .await;
}

#[tokio::test]
async fn what_is_applied_once_is_left_to_others_afterwards() {
    let bench = Bench::new("once").await;
    bench.cluster("c", true).await;
    bench.config_map("theirs", json!({"value": "kept"})).await;
    let documents = [bench.marker("theirs", "lost"), bench.marker("ours", "1")].join("\n---\n");
    bench.config_map("cni", json!({"cni.yaml": documents})).await;
    bench.set("cni", "ApplyOnce", json!([config_map("cni")])).await;
    bench.eventually::<ConfigMap>("ours", "there", has("1")).await;
    bench.bound("c", "applied", all_applied).await;
    let theirs = bench.api::<ConfigMap>().get("theirs").await.unwrap();
    assert!(has("kept")(&theirs), "what was there is left as it is");
    bench.patch::<ConfigMap>("cni", json!({"data": {"cni.yaml": bench.marker("ours", "2")}})).await;
    // A Cluster that comes now gets what is there now, and by then the first one would have got it too.
    bench.cluster("d", true).await;
    bench.bound("d", "applied", all_applied).await;
    let ours = bench.api::<ConfigMap>().get("ours").await.unwrap();
    assert!(has("1")(&ours));
}

#[tokio::test]
async fn one_that_fails_stops_no_other_and_events_end_the_waiting() {
    let bench = Bench::new("failing").await;
    bench.cluster("c", false).await;
    bench.config_map("a-bad", json!({"x.yaml": "a: [b"})).await;
    bench.config_map("b-good", json!({"x.json": bench.marker("good", "1")})).await;
    let resources = json!([config_map("a-bad"), config_map("b-good"), config_map("c-late")]);
    bench.set("cni", "ApplyOnce", resources).await;
    bench.told("cni", "NotApplied", "Cluster c: its control plane is not initialized yet").await;
    bench.told("cni", "NotApplied", "ConfigMap c-late does not exist").await;
    bench.initialize("c").await;
    bench.eventually::<ConfigMap>("good", "there", has("1")).await;
    bench.told("cni", "NotApplied", "Cluster c: ConfigMap a-bad: x.yaml is neither YAML nor JSON").await;
    let applied = |resources: &[ResourceBinding]| -> Vec<bool> {
        resources.iter().map(|resource| resource.applied).collect()
    };
    bench.bound("c", "in part applied", |resources| applied(resources) == [false, true]).await;
    bench.config_map("c-late", json!({"x.json": bench.marker("late", "1")})).await;
    bench.eventually::<ConfigMap>("late", "there", has("1")).await;
    bench.patch::<ConfigMap>("a-bad", json!({"data": {"x.yaml": bench.marker("mended", "1")}})).await;
    bench.eventually::<ConfigMap>("mended", "there", has("1")).await;
    bench.told("cni", "Applied", "").await;
}

#[tokio::test]
async fn a_secret_has_to_be_meant_for_it_and_nothing_of_it_is_told() {
    let bench = Bench::new("secrets").await;
    bench.cluster("c", true).await;
    bench
        .create::<Secret>(json!({"metadata": {"name": "plain"}, "stringData": {"x": bench.marker("m", "1")}}))
        .await;
    bench.set("wrong", "ApplyOnce", json!([{"kind": "Secret", "name": "plain"}])).await;
    bench
        .told("wrong", "WrongSecretType", "Secret plain must be of type addons.cluster.x-k8s.io/resource-set")
        .await;
    let invalid = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Swordfish!", "namespace": bench.namespace}});
    bench
        .create::<Secret>(
            json!({"metadata": {"name": "meant"}, "type": "addons.cluster.x-k8s.io/resource-set",
            "stringData": {"a": bench.marker("m", "1"), "b": invalid.to_string()}}),
        )
        .await;
    bench.set("right", "ApplyOnce", json!([{"kind": "Secret", "name": "meant"}])).await;
    bench.eventually::<ConfigMap>("m", "there", has("1")).await;
    let told = bench
        .told("right", "NotApplied", "Secret meant: b, document 1: the tenant refuses (422 Invalid)")
        .await;
    assert!(!serde_json::to_string(&told.status).unwrap().contains("Swordfish"));
}

#[tokio::test]
async fn sets_share_a_binding_and_leave_it_one_by_one() {
    let bench = Bench::new("shared").await;
    bench.cluster("c", true).await;
    for name in ["one", "two"] {
        bench.config_map(name, json!({"x": bench.marker(&format!("from-{name}"), "1")})).await;
        bench.set(name, "Reconcile", json!([config_map(name)])).await;
    }
    let names = |binding: &ClusterResourceSetBinding| {
        let mut names: Vec<_> =
            binding.spec.bindings.iter().map(|binding| binding.cluster_resource_set_name.clone()).collect();
        names.sort();
        names
    };
    let done = |binding: &ClusterResourceSetBinding| {
        names(binding) == ["one", "two"]
            && binding.spec.bindings.iter().all(|set| all_applied(&set.resources))
    };
    let both = bench.eventually("c", "of both", done).await;
    assert_eq!(both.owner_references().len(), 2);
    bench.delete::<ClusterResourceSet>("one").await;
    bench.gone::<ClusterResourceSet>("one").await;
    let left = bench.api::<ClusterResourceSetBinding>().get("c").await.unwrap();
    assert_eq!((names(&left), left.owner_references().len()), (vec!["two".to_owned()], 1));
    assert!(bench.api::<ConfigMap>().get("from-one").await.is_ok(), "what went in stays in");
    bench.delete::<Cluster>("c").await;
    bench.gone::<ClusterResourceSetBinding>("c").await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let bench = Bench::new("refused").await;
    let set = |spec: Value| {
        let mut set = json!({"apiVersion": "addons.cluster.x-k8s.io/v1beta2", "kind": "ClusterResourceSet",
            "metadata": {"name": "r"}, "spec": {"clusterSelector": {"matchLabels": {"x": "y"}}, "resources": [config_map("a")]}});
        for (key, value) in spec.as_object().into_iter().flatten() {
            set["spec"][key] = value.clone();
        }
        serde_json::from_value::<ClusterResourceSet>(set).unwrap()
    };
    let api = bench.api::<ClusterResourceSet>();
    for (spec, want) in [
        (json!({"clusterSelector": {}}), "clusterSelector must not be empty"),
        (json!({"resources": []}), "spec.resources"),
    ] {
        let refused = api.create(&PostParams::default(), &set(spec)).await.expect_err("refused").to_string();
        assert!(refused.contains(want), "{refused}");
    }
    api.create(&PostParams::default(), &set(json!({"strategy": "ApplyOnce"}))).await.unwrap();
    for (patch, want) in [
        (json!({"strategy": "Reconcile"}), "strategy cannot be changed"),
        (json!({"clusterSelector": {"matchLabels": {"x": "z"}}}), "clusterSelector cannot be changed"),
    ] {
        let patch = kube::api::Patch::Merge(json!({ "spec": patch }));
        let refused = api.patch("r", &Default::default(), &patch).await.expect_err("refused").to_string();
        assert!(refused.contains(want), "{refused}");
    }
}

/// The acceptance file, as it is but for its namespaces.
#[tokio::test]
async fn the_acceptance_file_puts_its_marker_into_the_cluster() {
    let bench = Bench::new("acceptance").await;
    bench.cluster("c", true).await;
    let text = include_str!("30-cni-clusterresourceset.yaml")
        .replace("namespace: default", &format!("namespace: {}", bench.namespace));
    for document in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
        match document["kind"].as_str() {
            Some("ClusterResourceSet") => drop(bench.create::<ClusterResourceSet>(document).await),
            Some("ConfigMap") => drop(bench.create::<ConfigMap>(document).await),
            other => panic!("{other:?}"),
        }
    }
    let namespaces = Api::<Namespace>::all(bench.client.clone());
    assert!(
        namespaces
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .iter()
            .any(|ns| ns.name_any() == "kube-system")
    );
    let tenant = Api::<ConfigMap>::namespaced(bench.client.clone(), "kube-system");
    let marker = scute_testkit::eventually(tenant, "cni-marker", "there", |_| true).await;
    assert_eq!(marker.data.unwrap()["cni"], "calico");
    bench.told("cni", "Applied", "").await;
}
