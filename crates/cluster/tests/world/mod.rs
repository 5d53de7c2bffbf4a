//! A real API server with the controllers of this crate, and providers whose objects the tests write.
//!
//! The same API server plays the tenant: every Cluster's kubeconfig leads back to it.

#![allow(dead_code)] // each test binary uses its part

pub mod build;
mod kinds;
mod provider;

use std::future::Future;
use std::sync::LazyLock;

use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
    PostParams,
};
use scute_kit::Hub;
use scute_kit::tenants::Tenants;
use scute_testkit::ApiServer;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// One runtime for the binary: controllers must outlive the test that starts them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().expect("a runtime")
});

/// Runs a test in the runtime of the binary.
pub fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

/// The API server, with CustomResourceDefinitions and without controllers.
pub async fn bare() -> &'static ApiServer {
    static READY: tokio::sync::OnceCell<&'static ApiServer> = tokio::sync::OnceCell::const_new();
    READY
        .get_or_init(|| async {
            let server = scute_testkit::server().await;
            server.install_crds([scute_api::crds(), kinds::crds()].concat()).await;
            server
        })
        .await
}

/// The API server with controllers and providers, started once.
pub async fn server() -> &'static ApiServer {
    static STARTED: tokio::sync::OnceCell<()> = tokio::sync::OnceCell::const_new();
    let server = bare().await;
    STARTED
        .get_or_init(|| async {
            let mut tasks = controllers(server.client().await);
            tasks.spawn(provider::run(server.client().await));
            // They run as long as the binary.
            std::mem::forget(tasks);
        })
        .await;
    server
}

/// Starts a manager: controllers that end when the set is dropped.
pub fn controllers(client: Client) -> JoinSet<()> {
    let hub = Hub::new(client);
    let tenants = Tenants::new(&hub);
    let mut tasks = JoinSet::new();
    scute_cluster::spawn(&hub, &tenants, Default::default(), &mut tasks);
    tasks
}

/// Starts the providers alone.
pub fn providers(client: Client) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(provider::run(client));
    tasks
}

/// One test's namespace.
pub struct Case {
    /// Its name.
    pub namespace: String,
    /// A client with every permission.
    pub client: Client,
    kubeconfig: String,
}

/// Namespaces with this prefix are left alone by the providers: the test writes every status.
pub const MANUAL: &str = "manual";

impl Case {
    /// A new namespace, with controllers running.
    pub async fn new(prefix: &str) -> Self {
        Self::on(server().await, prefix).await
    }

    /// A new namespace on a server.
    pub async fn on(server: &ApiServer, prefix: &str) -> Self {
        Self {
            namespace: server.namespace(prefix).await,
            client: server.client().await,
            kubeconfig: server.kubeconfig(),
        }
    }

    /// Access to a kind, `Kind` or `group/Kind`.
    pub fn api(&self, kind: &str) -> Api<DynamicObject> {
        let resource = resource(kind);
        match kind {
            "Node" | "CustomResourceDefinition" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), &self.namespace, &resource),
        }
    }

    /// Creates an object; panics when it is refused.
    pub async fn create(&self, object: Value) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.try_create(object).await.unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Creates an object, as `kubectl` does: unknown fields are refused.
    pub async fn try_create(&self, object: Value) -> Result<Value, kube::Error> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let object: DynamicObject = serde_json::from_value(object).expect("an object");
        let params = PostParams { field_manager: Some("test".into()), ..Default::default() };
        let api = self.api(&kind);
        let made = api.create(&params, &object).await?;
        Ok(serde_json::to_value(made).expect("JSON"))
    }

    /// Creates with strict field validation.
    pub async fn strict(&self, object: Value) -> Result<(), String> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let resource = resource(&kind);
        let path = <DynamicObject as kube::Resource>::url_path(&resource, Some(&self.namespace));
        let request = http::Request::post(format!("{path}?fieldValidation=Strict"))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .expect("a request");
        self.client.request::<Value>(request).await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Merge patch of an object.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Value {
        let api = self.api(kind);
        let done = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        serde_json::to_value(done.unwrap_or_else(|error| panic!("{kind} {name}: {error}"))).expect("JSON")
    }

    /// Merge patch of an object's status.
    pub async fn status(&self, kind: &str, name: &str, status: Value) {
        let patch = json!({ "status": status });
        let api = self.api(kind);
        let done = api.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
        done.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    /// Asks for a deletion.
    pub async fn delete(&self, kind: &str, name: &str) {
        let done = self.api(kind).delete(name, &DeleteParams::default()).await;
        done.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    }

    /// The object as it is, if it is.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let found =
            self.api(kind).get_opt(name).await.unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
        found.map(|object| serde_json::to_value(object).expect("JSON"))
    }

    /// Every object of a kind, by name.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let listed = self.api(kind).list(&ListParams::default()).await;
        let mut listed = listed.unwrap_or_else(|error| panic!("{kind}: {error}")).items;
        listed.sort_by_key(|object| object.metadata.name.clone());
        listed.into_iter().map(|object| serde_json::to_value(object).expect("JSON")).collect()
    }

    /// Waits until an object is as it should be.
    pub async fn when(&self, kind: &str, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let of = |object: &DynamicObject| is(&serde_json::to_value(object).expect("JSON"));
        let found = scute_testkit::eventually(self.api(kind), name, what, of).await;
        serde_json::to_value(found).expect("JSON")
    }

    /// Waits until a condition has a status and, unless empty, a reason.
    pub async fn condition(&self, kind: &str, name: &str, type_: &str, status: &str, reason: &str) -> Value {
        let what = format!("{type_}={status} {reason}");
        let is = |object: &Value| {
            let condition = condition(object, type_);
            condition["status"] == status && (reason.is_empty() || condition["reason"] == reason)
        };
        let object = self.when(kind, name, &what, is).await;
        condition(&object, type_).clone()
    }

    /// Waits until the objects of a kind are as they should be.
    pub async fn until(&self, kind: &str, what: &str, is: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        scute_testkit::until(&format!("{kind}s: {what}"), || async {
            let all = self.list(kind).await;
            is(&all).then_some(all)
        })
        .await
    }

    /// Waits until an object is gone.
    pub async fn gone(&self, kind: &str, name: &str) {
        scute_testkit::eventually_gone(self.api(kind), name).await;
    }

    /// A Cluster whose control plane answers: TestCluster, TestControlPlane, kubeconfig and Cluster, all
    /// named alike.
    pub async fn ready_cluster(&self, name: &str) {
        self.create(build::infra_cluster(name)).await;
        self.create(build::control_plane(name)).await;
        self.create(build::cluster(name)).await;
        self.kubeconfig(name).await;
        self.provision_cluster(name).await;
        self.initialize_control_plane(name).await;
        self.when("Cluster", name, "initialized", |cluster| {
            cluster["status"]["initialization"]["controlPlaneInitialized"] == true
        })
        .await;
    }

    /// The Secret that leads to the tenant.
    pub async fn kubeconfig(&self, cluster: &str) {
        self.secret(cluster, &self.kubeconfig).await;
    }

    /// As [`Case::kubeconfig`], to another server.
    pub async fn kubeconfig_to(&self, cluster: &str, server: &str) {
        let old = bare().await.url();
        assert!(self.kubeconfig.contains(old), "{old}");
        self.secret(cluster, &self.kubeconfig.replace(old, server)).await;
    }

    async fn secret(&self, cluster: &str, kubeconfig: &str) {
        self.create(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{cluster}-kubeconfig")},
            "type": "cluster.x-k8s.io/secret", "stringData": {"value": kubeconfig}
        }))
        .await;
    }

    /// What an infrastructure provider would do.
    pub async fn provision_cluster(&self, name: &str) {
        let endpoint = json!({"spec": {"controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}}});
        self.patch("TestCluster", name, endpoint).await;
        self.status("TestCluster", name, json!({"initialization": {"provisioned": true}})).await;
    }

    /// What a control plane provider would do.
    pub async fn initialize_control_plane(&self, name: &str) {
        self.status(
            "TestControlPlane",
            name,
            json!({"initialization": {"controlPlaneInitialized": true}, "externalManagedControlPlane": true,
                "version": "v1.35.4", "replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "upToDateReplicas": 1,
                "conditions": [{"type": "Available", "status": "True", "reason": "Available", "message": "",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}]}),
        )
        .await;
    }
}

fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "Secret" | "Node" | "Pod" | "Namespace" => ("", "v1"),
        "PodDisruptionBudget" => ("policy", "v1"),
        "CustomResourceDefinition" => ("apiextensions.k8s.io", "v1"),
        "Event" => ("events.k8s.io", "v1"),
        "Cluster" | "MachineDeployment" | "MachineSet" | "MachinePool" | "Machine" | "MachineHealthCheck"
        | "MachineDrainRule" => ("cluster.x-k8s.io", "v1beta2"),
        "TestConfig" | "TestConfigTemplate" | "OldConfig" | "OldConfigTemplate" => {
            ("bootstrap.cluster.x-k8s.io", "v1")
        }
        "TestControlPlane" | "HiddenControlPlane" | "OldControlPlane" => {
            ("controlplane.cluster.x-k8s.io", "v1")
        }
        _ => ("infrastructure.cluster.x-k8s.io", "v1"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// A condition of an object; null when it has none of this type.
pub fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|condition| condition["type"] == type_)).unwrap_or(&NONE)
}

/// Name of an object.
pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// Names of objects.
pub fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(name).collect()
}

/// The `name` field of a value, for lists of references.
pub fn name_of(value: &Value) -> String {
    value["name"].as_str().unwrap_or_default().to_owned()
}
