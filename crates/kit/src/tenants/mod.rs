//! Tenants' API servers, shared by all controllers: clients, copies of their Nodes, and who is woken by which.

mod connect;
mod heard;
mod kept;
mod nodes;
mod pages;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Api, Patch};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::AbortHandle;

use crate::hub::Hub;
use crate::key::Key;
pub use heard::GRACE;
pub use nodes::{Standing, TenantNodes};
use nodes::{Waker, Wakers};
pub use pages::each_page;

/// Which kubeconfig opens a tenant's API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantKey {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Key in the Secret's data.
    pub key: String,
}

impl TenantKey {
    /// The kubeconfig of a Cluster: Secret `<cluster>-kubeconfig`, key `value` (Cluster API contract).
    #[must_use]
    pub fn capi(namespace: &str, cluster: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            secret: format!("{cluster}-kubeconfig"),
            key: "value".to_owned(),
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// The Secret is not there yet.
    #[error("Secret {0} does not exist")]
    NoSecret(Key),
    /// The Secret has no such key.
    #[error("Secret {0} has no key {1:?}")]
    NoKey(Key, String),
    /// The Secret could not be read.
    #[error(transparent)]
    Read(#[from] crate::write::Error),
    /// What the Secret holds is no kubeconfig that is followed. The content is never repeated.
    #[error("the kubeconfig in Secret {0} cannot be used: {1}")]
    Kubeconfig(Key, #[source] scute_pki::Error),
    /// No client could be made of the certificates and keys in the kubeconfig.
    #[error("the certificates and keys of the kubeconfig in Secret {0} cannot be used")]
    Client(Key, #[source] Box<kube::Error>),
}

impl TenantError {
    /// Whether nothing but another content of the Secret can help.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::NoSecret(_) | Self::NoKey(..) | Self::Kubeconfig(..) | Self::Client(..) => true,
            Self::Read(_) => false,
        }
    }
}

/// Why a Node has not been given its providerID.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The tenant cannot be reached.
    #[error(transparent)]
    Tenant(#[from] TenantError),
    /// It did not take the write.
    #[error("writing providerID of Node {node}: {}", crate::said(source))]
    Write {
        /// Name of the Node.
        node: String,
        /// The cause.
        #[source]
        source: Box<kube::Error>,
    },
}

struct Followed {
    nodes: TenantNodes,
    task: AbortHandle,
}

/// All tenants' API servers.
pub struct Tenants {
    hub: Arc<Hub>,
    clients: Mutex<HashMap<TenantKey, (String, Client)>>,
    nodes: Mutex<HashMap<TenantKey, Followed>>,
    wakers: Arc<Wakers>,
}

impl Tenants {
    /// No tenants yet; clients are made on first use.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Arc<Self> {
        Arc::new(Self {
            hub: Arc::clone(hub),
            clients: Mutex::default(),
            nodes: Mutex::default(),
            wakers: Arc::default(),
        })
    }

    /// The keys that `wakes` names for the Nodes of all tenants, now and whenever one changes; without a Node when a
    /// tenant has been listed, falls silent, or is heard again.
    pub fn woken(
        &self,
        wakes: impl Fn(&TenantKey, Option<&Node>) -> Vec<Key> + Send + Sync + 'static,
    ) -> UnboundedReceiver<Key> {
        let (send, receive) = unbounded_channel();
        let waker: Waker = Arc::new(move |tenant, node| {
            wakes(tenant, node).into_iter().all(|key| send.send(key).is_ok()) && !send.is_closed()
        });
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        self.wakers.add(Arc::clone(&waker));
        for (tenant, followed) in nodes.iter() {
            for node in followed.nodes.list() {
                waker(tenant, Some(&node));
            }
        }
        receive
    }

    /// Gives a Node of the tenant its providerID.
    ///
    /// # Errors
    /// When the tenant cannot be reached, or refuses.
    pub async fn set_provider_id(&self, tenant: &TenantKey, node: &str, id: &str) -> Result<(), NodeError> {
        let nodes = Api::<Node>::all(self.client(tenant).await?);
        let patch = json!({ "spec": { "providerID": id } });
        let written = nodes.patch(node, &crate::write::patch_params(), &Patch::Merge(&patch)).await;
        let failed = |source| NodeError::Write { node: node.to_owned(), source: Box::new(source) };
        written.map(drop).map_err(failed)
    }

    /// A client of the tenant, cached until the Secret changes.
    ///
    /// # Errors
    /// When the Secret is missing or holds no usable kubeconfig. Says nothing of whether the API
    /// server answers.
    pub async fn client(&self, key: &TenantKey) -> Result<Client, TenantError> {
        let secrets = self.hub.watch_meta::<Secret>();
        secrets.ready().await;
        let secret_key = Key::new(key.namespace.clone(), key.secret.clone());
        let Some(meta) = secrets.get(&secret_key) else {
            self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Err(TenantError::NoSecret(secret_key));
        };
        let version = meta.resource_version().unwrap_or_default();
        if let Some((_, client)) = self
            .clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .filter(|(cached, _)| *cached == version)
        {
            return Ok(client.clone());
        }
        let secret: Secret =
            self.hub.get(&secret_key).await?.ok_or_else(|| TenantError::NoSecret(secret_key.clone()))?;
        let version = secret.resource_version().unwrap_or_default();
        let data = secret.data.unwrap_or_default();
        let text =
            data.get(&key.key).ok_or_else(|| TenantError::NoKey(secret_key.clone(), key.key.clone()))?;
        let client = connect::client(&text.0, &secret_key)?;
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), (version, client.clone()));
        Ok(client)
    }

    /// What is known of the Nodes of the tenant. They are followed from the first use on, wait for the Secret, follow its
    /// changes, and end with [`Tenants::forget`].
    pub fn nodes(self: &Arc<Self>, key: &TenantKey) -> TenantNodes {
        let mut all = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(followed) = all.get(key) {
            return followed.nodes.clone();
        }
        let nodes = TenantNodes::new(key, &self.wakers);
        let task = nodes::follow(Arc::downgrade(self), self.hub.watch_meta(), nodes.clone());
        let task = tokio::spawn(task).abort_handle();
        all.insert(key.clone(), Followed { nodes: nodes.clone(), task });
        nodes
    }

    /// Drops everything that is kept of a tenant.
    pub fn forget(&self, key: &TenantKey) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(nodes) = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            nodes.task.abort();
        }
    }
}

impl Drop for Tenants {
    fn drop(&mut self) {
        for nodes in self.nodes.lock().unwrap_or_else(PoisonError::into_inner).values() {
            nodes.task.abort();
        }
    }
}
