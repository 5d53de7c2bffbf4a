//! What a user and the providers make: Clusters with one MachineDeployment each, and the same by a plain client.

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};

use crate::build;

/// Name of every object of a Cluster: each has a namespace of its own.
const NAME: &str = "c";

/// How to address a kind.
pub fn resource(kind: &str) -> ApiResource {
    let (group, version) = match kind {
        "Secret" | "Namespace" => ("", "v1"),
        "Cluster" | "MachineDeployment" | "MachineSet" | "Machine" => ("cluster.x-k8s.io", "v1beta2"),
        "TestConfig" | "TestConfigTemplate" => ("bootstrap.cluster.x-k8s.io", "v1"),
        "TestControlPlane" => ("controlplane.cluster.x-k8s.io", "v1"),
        _ => ("infrastructure.cluster.x-k8s.io", "v1"),
    };
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Who writes, and how many requests are on their way at a time.
pub struct Writer {
    client: Client,
    at_once: usize,
}

impl Writer {
    pub fn new(client: &Client, at_once: usize) -> Self {
        Self { client: client.clone(), at_once }
    }

    /// Clusters of `machines` Machines each. `kubeconfig` opens the tenant of a namespace.
    pub async fn clusters(
        &self,
        namespaces: &[String],
        machines: i32,
        kubeconfig: impl Fn(&str) -> String,
    ) -> Result<()> {
        self.each(namespaces, |namespace| self.cluster(namespace, machines, kubeconfig(namespace))).await
    }

    async fn cluster(&self, namespace: &str, machines: i32, kubeconfig: String) -> Result<()> {
        self.create("", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
            .await?;
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{NAME}-kubeconfig")},
            "type": "cluster.x-k8s.io/secret", "stringData": {"value": kubeconfig}});
        self.create(namespace, secret).await?;
        let mut infra = build::infra_cluster(NAME);
        infra["spec"] = json!({"controlPlaneEndpoint": {"host": "10.0.0.1", "port": 6443}});
        self.create(namespace, infra).await?;
        self.status(namespace, "TestCluster", NAME, json!({"initialization": {"provisioned": true}})).await?;
        self.create(namespace, build::control_plane(NAME)).await?;
        self.status(namespace, "TestControlPlane", NAME, control_plane_status()).await?;
        self.create(namespace, build::infra_template(NAME)).await?;
        self.create(namespace, build::config_template(NAME)).await?;
        self.create(namespace, build::cluster(NAME)).await?;
        self.create(namespace, build::deployment(NAME, NAME, NAME, machines)).await
    }

    /// What the controllers and providers make of [`Writer::clusters`]: every object once, and one status each.
    pub async fn machines(&self, namespaces: &[String], machines: i32) -> Result<()> {
        self.each(namespaces, |namespace| async move {
            self.create(namespace, build::set(NAME, NAME, NAME, machines)).await?;
            for kind in ["Cluster", "MachineDeployment", "MachineSet"] {
                self.status(namespace, kind, NAME, json!({"observedGeneration": 1})).await?;
            }
            Ok(())
        })
        .await?;
        self.each(names(namespaces, machines), |(namespace, name)| async move {
            self.create(namespace, build::config(&name)).await?;
            self.create(namespace, build::infra_machine(&name)).await?;
            self.create(namespace, build::machine(&name, NAME)).await?;
            self.status(namespace, "TestConfig", &name, json!({"dataSecretName": name})).await?;
            let provisioned = json!({"initialization": {"provisioned": true}});
            self.status(namespace, "TestMachine", &name, provisioned).await?;
            self.status(namespace, "Machine", &name, json!({"phase": "Running"})).await
        })
        .await
    }

    /// Deletes what [`Writer::machines`] made, but for what there is once a namespace.
    pub async fn delete_machines(&self, namespaces: &[String], machines: i32) -> Result<()> {
        self.each(names(namespaces, machines), |(namespace, name)| async move {
            for kind in ["Machine", "TestMachine", "TestConfig"] {
                self.api(namespace, kind).delete(&name, &DeleteParams::default()).await?;
            }
            Ok(())
        })
        .await
    }

    /// Another template, and every MachineDeployment on it.
    pub async fn roll_out(&self, namespaces: &[String]) -> Result<()> {
        self.each(namespaces, |namespace| async move {
            let mut template = build::infra_template("next");
            template["spec"]["template"]["spec"]["cores"] = json!(4);
            self.create(namespace, template).await?;
            let patch = json!({"spec": {"template": {"spec": {"infrastructureRef": {"name": "next"}}}}});
            let api = self.api(namespace, "MachineDeployment");
            api.patch(NAME, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            Ok(())
        })
        .await
    }

    /// Asks for the deletion of the Clusters.
    pub async fn delete(&self, namespaces: &[String]) -> Result<()> {
        self.each(namespaces, |namespace| async move {
            self.api(namespace, "Cluster").delete(NAME, &DeleteParams::default()).await?;
            Ok(())
        })
        .await
    }

    async fn each<T, F>(&self, all: impl IntoIterator<Item = T>, work: impl Fn(T) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        futures::stream::iter(all).map(work).buffer_unordered(self.at_once).try_collect().await
    }

    fn api(&self, namespace: &str, kind: &str) -> Api<DynamicObject> {
        match namespace {
            "" => Api::all_with(self.client.clone(), &resource(kind)),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource(kind)),
        }
    }

    async fn create(&self, namespace: &str, object: Value) -> Result<()> {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let object: DynamicObject = serde_json::from_value(object)?;
        let made = self.api(namespace, &kind).create(&PostParams::default(), &object).await;
        made.map(|_| ()).with_context(|| format!("create {kind} in {namespace}"))
    }

    async fn status(&self, namespace: &str, kind: &str, name: &str, status: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "status": status }));
        let done = self.api(namespace, kind).patch_status(name, &PatchParams::default(), &patch).await;
        done.map(|_| ()).with_context(|| format!("status of {kind} {name} in {namespace}"))
    }
}

/// Namespace and name of every Machine that a plain client makes.
fn names(namespaces: &[String], machines: i32) -> impl Iterator<Item = (&str, String)> {
    let of = move |machine| format!("{NAME}-{machine}");
    namespaces
        .iter()
        .flat_map(move |namespace| (0..machines).map(move |machine| (namespace.as_str(), of(machine))))
}

fn control_plane_status() -> Value {
    json!({"initialization": {"controlPlaneInitialized": true}, "externalManagedControlPlane": true,
        "version": "v1.35.4", "replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "upToDateReplicas": 1,
        "conditions": [{"type": "Available", "status": "True", "reason": "Available", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
}
