//! A namespace of one test, and what a test does in it.

use std::fmt::Debug;
use std::sync::OnceLock;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;

use crate::ApiServer;

/// A kind of objects that a test makes in its namespace.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + 'static
{
}

/// A namespace of one test.
pub struct Case {
    /// A client of the API server.
    pub client: Client,
    /// The namespace's name.
    pub namespace: String,
}

/// What works for all tests of a binary lives on a runtime of its own: that of a test ends with it.
///
/// # Panics
/// When there is no runtime to be had.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"))
}

/// Starts what works for all tests of a binary: by the first that asks, and once.
///
/// # Panics
/// When `start` does.
pub async fn once(start: impl Future<Output = ()> + Send + 'static) {
    static STARTED: OnceCell<()> = OnceCell::const_new();
    STARTED.get_or_init(|| async { runtime().spawn(start).await.expect("started") }).await;
}

impl Case {
    /// A new namespace.
    pub async fn on(server: &ApiServer, prefix: &str) -> Self {
        Self { client: server.client().await, namespace: server.namespace(prefix).await }
    }

    /// Objects of the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object from its JSON.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create<K: Kind>(&self, object: Value) -> K {
        let object: K = serde_json::from_value(object).expect("an object of the kind");
        self.api::<K>().create(&PostParams::default(), &object).await.expect("created")
    }

    /// A merge patch of an object.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn patch<K: Kind>(&self, name: &str, patch: Value) -> K {
        self.api::<K>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("patched")
    }

    /// A merge patch of an object's status.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn patch_status<K: Kind>(&self, name: &str, status: Value) -> K {
        let patch = json!({ "status": status });
        let params = PatchParams::default();
        self.api::<K>().patch_status(name, &params, &Patch::Merge(&patch)).await.expect("patched")
    }

    /// Asks for the deletion of an object.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn delete<K: Kind>(&self, name: &str) {
        self.api::<K>().delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    /// Waits until an object is as it should be.
    pub async fn eventually<K: Kind>(&self, name: &str, what: &str, is: impl Fn(&K) -> bool) -> K {
        crate::eventually(self.api::<K>(), name, what, is).await
    }

    /// Waits until an object is gone.
    pub async fn gone<K: Kind>(&self, name: &str) {
        crate::eventually_gone(self.api::<K>(), name).await;
    }
}
