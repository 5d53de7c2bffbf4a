//! A world of Clusters with topologies: the real API server with our definitions and those of a made-up provider, the
//! controllers of topologies and of Clusters, and the door. What a provider would say, the test says.

#![allow(dead_code)] // each test binary has its own need

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use scute_kit::tenants::Tenants;
use scute_kit::{Admission, Hub};
use scute_testkit::{ApiServer, once, runtime};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const INFRASTRUCTURE: &str = "infrastructure.cluster.x-k8s.io";
const BOOTSTRAP: &str = "bootstrap.cluster.x-k8s.io";
const CONTROL_PLANE: &str = "controlplane.cluster.x-k8s.io";
const CORE: &str = "cluster.x-k8s.io";

/// Runs a test on the runtime of the world.
pub fn run(test: impl Future<Output = ()>) {
    runtime().block_on(test);
}

fn crds() -> Vec<CustomResourceDefinition> {
    let kinds = [
        (INFRASTRUCTURE, "TestCluster"),
        (INFRASTRUCTURE, "TestMachine"),
        (BOOTSTRAP, "TestConfig"),
        (CONTROL_PLANE, "TestControlPlane"),
    ];
    kinds
        .into_iter()
        .flat_map(|(group, kind)| [crd(group, kind), crd(group, &format!("{kind}Template"))])
        .collect()
}

/// A kind of the provider. Of Machines' templates the API server fills in a disk, and their spec cannot be changed.
fn crd(group: &str, kind: &str) -> CustomResourceDefinition {
    let lower = kind.to_lowercase();
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut spec = open.clone();
    if kind == "TestMachineTemplate" {
        let mut inner = open.clone();
        inner["properties"] = json!({"disk": {"type": "string", "default": "10Gi"}});
        spec = json!({"type": "object", "properties": {"template": {"type": "object",
            "x-kubernetes-preserve-unknown-fields": true, "properties": {"spec": inner}}},
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "a template cannot be changed"}]});
    }
    serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{lower}s.{group}"), "labels": {"cluster.x-k8s.io/v1beta2": "v1"}},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": format!("{lower}s"), "singular": lower, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": open}}}}]}
    }))
    .expect("a CustomResourceDefinition")
}

async fn server() -> &'static ApiServer {
    let server = scute_testkit::server().await;
    once(async {
        let server = scute_testkit::server().await;
        let crds = scute_api::crds().into_iter().map(|mut crd| {
            // One version is enough here, and no conversion is asked for.
            crd.spec.versions.retain(|version| version.storage);
            crd.spec.conversion = None;
            crd
        });
        server.install_crds(crds.chain(crds_of_tests()).collect()).await;
        let hub = Hub::new(server.client().await);
        let tenants = Tenants::new(&hub);
        let mut tasks = JoinSet::new();
        scute_cluster::spawn(&hub, &tenants, Default::default(), &mut tasks);
        scute_topology::spawn(&hub, &mut tasks);
        // They run as long as the binary.
        std::mem::forget(tasks);
    })
    .await;
    server
}

fn crds_of_tests() -> Vec<CustomResourceDefinition> {
    crds()
}

/// A namespace of one test, behind the door.
pub struct Case {
    /// Its name.
    pub namespace: String,
    /// A client with every permission.
    pub client: Client,
}

impl Case {
    /// A new namespace.
    pub async fn new(prefix: &str) -> Self {
        let server = server().await;
        let case = Self { namespace: server.namespace(prefix).await, client: server.client().await };
        let (certificate, key, ca) = server.serving_certificate();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("tls.crt"), certificate).expect("written");
        std::fs::write(folder.path().join("tls.key"), key).expect("written");
        let address =
            std::net::SocketAddr::from(([127, 0, 0, 1], scute_testkit::free_port().expect("a port")));
        let hub = Hub::new(case.client.clone());
        let admission = scute_topology::admission(&hub, scute_cluster::admission(&hub, Admission::new()));
        tokio::spawn(async move {
            let _kept = &folder;
            admission.serve(address, folder.path()).await
        });
        server.install_webhooks(&case.namespace, &[CORE], address, &ca, &case.namespace).await;
        case
    }

    /// Templates and a class that has all that a small Cluster needs.
    pub async fn class(&self, name: &str) {
        for template in templates(name) {
            self.create(template).await;
        }
        self.create(class(name)).await;
        self.condition("ClusterClass", name, "VariablesReady", "True").await;
    }

    /// Access to a kind.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource(kind))
    }

    /// Creates an object; panics when it is refused.
    pub async fn create(&self, object: Value) -> Value {
        self.try_create(object.clone()).await.unwrap_or_else(|error| panic!("{object}: {error}"))
    }

    /// Creates an object.
    pub async fn try_create(&self, object: Value) -> Result<Value, String> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let made = self.api(&kind).create(&PostParams::default(), &object).await;
        made.map(|made| serde_json::to_value(made).expect("JSON")).map_err(|error| error.to_string())
    }

    /// A merge patch of an object.
    pub async fn try_patch(&self, kind: &str, name: &str, patch: Value) -> Result<Value, String> {
        let done = self.api(kind).patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        done.map(|made| serde_json::to_value(made).expect("JSON")).map_err(|error| error.to_string())
    }

    /// A merge patch of an object; panics when it is refused.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Value {
        self.try_patch(kind, name, patch).await.unwrap_or_else(|error| panic!("{kind} {name}: {error}"))
    }

    /// A merge patch of an object's status.
    pub async fn status(&self, kind: &str, name: &str, status: Value) {
        let patch = json!({ "status": status });
        let done = self.api(kind).patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        done.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    /// Asks for a deletion.
    pub async fn delete(&self, kind: &str, name: &str) -> Result<(), String> {
        self.api(kind)
            .delete(name, &DeleteParams::default())
            .await
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    /// Every object of a kind that the topology made, by name.
    pub async fn owned(&self, kind: &str) -> Vec<Value> {
        let params = ListParams::default().labels("topology.cluster.x-k8s.io/owned");
        let mut all = self.api(kind).list(&params).await.expect("a list").items;
        all.sort_by_key(|object| object.metadata.name.clone());
        all.into_iter().map(|object| serde_json::to_value(object).expect("JSON")).collect()
    }

    /// Waits until the objects of a kind that the topology made are as they should be.
    pub async fn until(&self, kind: &str, what: &str, is: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        scute_testkit::until(&format!("{kind}s: {what}"), || async {
            let all = self.owned(kind).await;
            is(&all).then_some(all)
        })
        .await
    }

    /// Waits until an object is as it should be.
    pub async fn when(&self, kind: &str, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let of = |object: &DynamicObject| is(&serde_json::to_value(object).expect("JSON"));
        let found = scute_testkit::eventually(self.api(kind), name, what, of).await;
        serde_json::to_value(found).expect("JSON")
    }

    /// Waits until a condition has a status, of the object as it is now.
    pub async fn condition(&self, kind: &str, name: &str, type_: &str, status: &str) -> Value {
        let is = |object: &Value| {
            let condition = condition(object, type_);
            condition["status"] == status
                && condition["observedGeneration"] == object["metadata"]["generation"]
        };
        let object = self.when(kind, name, &format!("{type_}={status}"), is).await;
        condition(&object, type_).clone()
    }

    /// Waits until the topology of a Cluster is as it should be.
    pub async fn reconciled(&self, name: &str) -> Value {
        self.condition("Cluster", name, "TopologyReconciled", "True").await;
        self.when("Cluster", name, "there", |_| true).await
    }

    /// What a control plane's provider says of one that runs a version.
    pub async fn control_plane_has(&self, cluster: &str, version: &str) {
        let cluster = self
            .when("Cluster", cluster, "named", |cluster| cluster["spec"]["controlPlaneRef"].is_object())
            .await;
        let name = cluster["spec"]["controlPlaneRef"]["name"].as_str().expect("a name").to_owned();
        self.when("TestControlPlane", &name, "made", |_| true).await;
        let status = json!({"initialization": {"controlPlaneInitialized": true}, "version": version, "replicas": 1,
            "readyReplicas": 1, "availableReplicas": 1, "upToDateReplicas": 1, "externalManagedControlPlane": true});
        self.status("TestControlPlane", &name, status).await;
    }
}

/// A condition of an object; null when it has none of this type.
pub fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|condition| condition["type"] == type_)).unwrap_or(&NONE)
}

fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "TestConfig" | "TestConfigTemplate" => (BOOTSTRAP, "v1"),
        "TestControlPlane" | "TestControlPlaneTemplate" => (CONTROL_PLANE, "v1"),
        kind if kind.starts_with("Test") => (INFRASTRUCTURE, "v1"),
        "ClusterClass" => {
            let mut resource = ApiResource::from_gvk(&GroupVersionKind::gvk(CORE, "v1beta2", kind));
            resource.plural = "clusterclasses".to_owned();
            return resource;
        }
        _ => (CORE, "v1beta2"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// The four templates of a class.
pub fn templates(name: &str) -> Vec<Value> {
    let template = |group: &str, kind: &str, spec: Value| {
        json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name},
            "spec": {"template": {"spec": spec}}})
    };
    vec![
        template(INFRASTRUCTURE, "TestClusterTemplate", json!({"zone": "a"})),
        template(INFRASTRUCTURE, "TestMachineTemplate", json!({"cores": 2})),
        template(BOOTSTRAP, "TestConfigTemplate", json!({"args": []})),
        template(CONTROL_PLANE, "TestControlPlaneTemplate", json!({"store": "default"})),
    ]
}

fn reference(group: &str, kind: &str, name: &str) -> Value {
    json!({"templateRef": {"apiVersion": format!("{group}/v1"), "kind": kind, "name": name}})
}

/// A class of these templates, with a variable.
pub fn class(name: &str) -> Value {
    json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "ClusterClass", "metadata": {"name": name}, "spec": {
        "infrastructure": reference(INFRASTRUCTURE, "TestClusterTemplate", name),
        "controlPlane": reference(CONTROL_PLANE, "TestControlPlaneTemplate", name),
        "workers": {"machineDeployments": [{"class": "worker",
            "bootstrap": reference(BOOTSTRAP, "TestConfigTemplate", name),
            "infrastructure": reference(INFRASTRUCTURE, "TestMachineTemplate", name),
            "rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}}]},
        "variables": [{"name": "cores", "required": true,
            "schema": {"openAPIV3Schema": {"type": "integer", "minimum": 1, "default": 2}}}],
        "patches": [{"name": "cores", "definitions": [{
            "selector": {"apiVersion": format!("{INFRASTRUCTURE}/v1"), "kind": "TestMachineTemplate",
                "matchResources": {"machineDeploymentClass": {"names": ["worker"]}}},
            "jsonPatches": [{"op": "add", "path": "/spec/template/spec/cores", "valueFrom": {"variable": "cores"}}]}]}]}})
}

/// A Cluster of a class, with MachineDeployments of these names.
pub fn cluster(name: &str, class: &str, version: &str, workers: &[&str]) -> Value {
    let workers: Vec<_> =
        workers.iter().map(|name| json!({"class": "worker", "name": name, "replicas": 1})).collect();
    json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {"name": name}, "spec": {
        "topology": {"classRef": {"name": class}, "version": version, "controlPlane": {"replicas": 1},
            "workers": {"machineDeployments": workers}}}})
}
