//! Tenants' API servers, shared by all controllers: clients, copies of their Nodes, and who is woken by which.

mod connect;
mod heard;
mod kept;
mod nodes;
mod pages;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Api, Patch};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::hub::Hub;
use crate::key::Key;
pub use heard::GRACE;
use heard::Heard;
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

/// What is kept of a tenant's API server.
#[derive(Clone)]
struct Opened {
    /// The client, with the version of the Secret that it is made of. Held while one is made: who asks at the same time
    /// gets the same, and not another with connections of its own.
    client: Arc<tokio::sync::Mutex<Option<(String, Client)>>>,
    /// When it last said something of its Nodes.
    heard: Heard,
}

/// All tenants' API servers.
pub struct Tenants {
    hub: Arc<Hub>,
    opened: Mutex<HashMap<TenantKey, Opened>>,
    nodes: Mutex<HashMap<TenantKey, Followed>>,
    wakers: Arc<Wakers>,
}

impl Tenants {
    /// No tenants yet; clients are made on first use.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Arc<Self> {
        Arc::new(Self {
            hub: Arc::clone(hub),
            opened: Mutex::default(),
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
        if secrets.get(&secret_key).is_none() {
            self.close(key).await;
            return Err(TenantError::NoSecret(secret_key));
        }
        let Opened { client, heard } = self.opened(key);
        let mut kept = client.lock().await;
        let version = secrets.get(&secret_key).and_then(|meta| meta.resource_version());
        if let Some((_, client)) = kept.as_ref().filter(|(of, _)| Some(of) == version.as_ref()) {
            return Ok(client.clone());
        }
        let secret: Secret =
            self.hub.get(&secret_key).await?.ok_or_else(|| TenantError::NoSecret(secret_key.clone()))?;
        let version = secret.resource_version().unwrap_or_default();
        let data = secret.data.unwrap_or_default();
        let text =
            data.get(&key.key).ok_or_else(|| TenantError::NoKey(secret_key.clone(), key.key.clone()))?;
        let client = connect::client(&text.0, &secret_key, heard)?;
        *kept = Some((version, client.clone()));
        Ok(client)
    }

    /// Forgets the client, but not what was heard of Nodes that are still followed.
    async fn close(&self, key: &TenantKey) {
        let followed = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key);
        let opened = match followed {
            true => self.lock_opened().get(key).cloned(),
            false => self.lock_opened().remove(key),
        };
        if let Some(Opened { client, .. }) = opened {
            *client.lock().await = None;
        }
    }

    fn opened(&self, key: &TenantKey) -> Opened {
        let new = || Opened { client: Arc::default(), heard: Heard::new(Instant::now()) };
        self.lock_opened().entry(key.clone()).or_insert_with(new).clone()
    }

    fn lock_opened(&self) -> MutexGuard<'_, HashMap<TenantKey, Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long ago the tenant said something of its Nodes, where they are followed.
    pub fn heard(&self, key: &TenantKey) -> Option<Duration> {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.get(key)?.nodes.heard()
    }

    /// What is known of the Nodes of the tenant. They are followed from the first use on, wait for the Secret, follow its
    /// changes, and end with [`Tenants::forget`].
    pub fn nodes(self: &Arc<Self>, key: &TenantKey) -> TenantNodes {
        let mut all = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(followed) = all.get(key) {
            return followed.nodes.clone();
        }
        let heard = self.opened(key).heard;
        // The asking begins now.
        heard.note();
        let nodes = TenantNodes::new(key, heard, &self.wakers);
        let task = nodes::follow(Arc::downgrade(self), self.hub.watch_meta(), nodes.clone());
        let task = tokio::spawn(task).abort_handle();
        all.insert(key.clone(), Followed { nodes: nodes.clone(), task });
        nodes
    }

    /// Drops everything that is kept of a tenant.
    pub fn forget(&self, key: &TenantKey) {
        self.lock_opened().remove(key);
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
