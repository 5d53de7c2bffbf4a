//! Clients of tenants' API servers, and watches on their Nodes, shared by all controllers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Secret};
use kube::api::{Api, PartialObjectMeta};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config, ResourceExt};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::hub::Hub;
use crate::watch::{Key, Watch};

/// Which kubeconfig opens a tenant's API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteKey {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Key in the Secret's data.
    pub key: String,
}

impl RemoteKey {
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
pub enum RemoteError {
    /// The Secret is not there yet.
    #[error("Secret {0} does not exist")]
    NoSecret(Key),
    /// The Secret has no such key.
    #[error("Secret {0} has no key {1:?}")]
    NoKey(Key, String),
    /// The Secret could not be read.
    #[error(transparent)]
    Read(#[from] crate::write::Error),
    /// What the Secret holds is no kubeconfig. The content is never repeated.
    #[error("the kubeconfig in Secret {0} cannot be used")]
    Kubeconfig(Key),
    /// No client could be made of the kubeconfig.
    #[error("making a client for Secret {0}")]
    Client(Key, #[source] Box<kube::Error>),
}

struct Nodes {
    watch: Watch<Node>,
    task: AbortHandle,
}

/// All tenants' API servers.
pub struct Remotes {
    hub: Arc<Hub>,
    clients: Mutex<HashMap<RemoteKey, (String, Client)>>,
    nodes: Mutex<HashMap<RemoteKey, Nodes>>,
}

/// How long a request to a tenant may take: a dead tenant must not hold a controller.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests to one tenant that wait for an answer: its objects are some dozens.
const AT_ONCE: usize = 2;

impl Remotes {
    /// No tenants yet; clients are made on first use.
    #[must_use]
    pub fn new(hub: &Arc<Hub>) -> Arc<Self> {
        Arc::new(Self { hub: Arc::clone(hub), clients: Mutex::default(), nodes: Mutex::default() })
    }

    /// A client of the tenant, cached until the Secret changes.
    ///
    /// # Errors
    /// When the Secret is missing or holds no usable kubeconfig. Says nothing of whether the API
    /// server answers.
    pub async fn client(&self, key: &RemoteKey) -> Result<Client, RemoteError> {
        let secrets = self.hub.watch_meta::<Secret>();
        secrets.ready().await;
        let secret_key = Key::new(key.namespace.clone(), key.secret.clone());
        let Some(meta) = secrets.get(&secret_key) else {
            self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
            return Err(RemoteError::NoSecret(secret_key));
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
            self.hub.get(&secret_key).await?.ok_or_else(|| RemoteError::NoSecret(secret_key.clone()))?;
        let version = secret.resource_version().unwrap_or_default();
        let data = secret.data.unwrap_or_default();
        let text =
            data.get(&key.key).ok_or_else(|| RemoteError::NoKey(secret_key.clone(), key.key.clone()))?;
        let client = client_of(&text.0, &secret_key).await?;
        self.clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), (version, client.clone()));
        Ok(client)
    }

    /// The Nodes of the tenant, without the lists of images. The watch starts on first use, waits for
    /// the Secret, follows its changes, and ends with [`Remotes::forget`].
    pub fn nodes(self: &Arc<Self>, key: &RemoteKey) -> Watch<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nodes) = nodes.get(key) {
            return nodes.watch.clone();
        }
        let watch = Watch::empty();
        let task = tokio::spawn(follow_nodes(
            Arc::downgrade(self),
            self.hub.watch_meta(),
            key.clone(),
            watch.clone(),
        ))
        .abort_handle();
        nodes.insert(key.clone(), Nodes { watch: watch.clone(), task });
        watch
    }

    /// Drops everything that is kept of a tenant.
    pub fn forget(&self, key: &RemoteKey) {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(nodes) = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).remove(key) {
            nodes.task.abort();
        }
    }
}

impl Drop for Remotes {
    fn drop(&mut self) {
        for nodes in self.nodes.lock().unwrap_or_else(PoisonError::into_inner).values() {
            nodes.task.abort();
        }
    }
}

/// A client from the text of a kubeconfig.
async fn client_of(text: &[u8], secret: &Key) -> Result<Client, RemoteError> {
    let unusable = || RemoteError::Kubeconfig(secret.clone());
    let text = std::str::from_utf8(text).map_err(|_| unusable())?;
    let kubeconfig = Kubeconfig::from_yaml(text).map_err(|_| unusable())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(|_| unusable())?;
    config.connect_timeout = Some(REQUEST_TIMEOUT);
    crate::client(config, AT_ONCE).map_err(|source| RemoteError::Client(secret.clone(), Box::new(source)))
}

/// Holds the tenants weakly: a watch on one must not keep them all alive.
async fn follow_nodes(
    remotes: Weak<Remotes>,
    secrets: Watch<PartialObjectMeta<Secret>>,
    key: RemoteKey,
    watch: Watch<Node>,
) {
    let changed = Arc::new(Notify::new());
    let (notify, secret) = (Arc::downgrade(&changed), Key::new(key.namespace.clone(), key.secret.clone()));
    secrets.listen(move |meta| match notify.upgrade() {
        Some(changed) => {
            if Key::of(meta.as_ref()) == secret {
                changed.notify_one();
            }
            true
        }
        None => false,
    });
    loop {
        let Some(alive) = remotes.upgrade() else { return };
        let client = alive.client(&key).await;
        drop(alive);
        match client {
            Ok(client) => {
                let nodes = watcher(Api::<Node>::all(client), watcher::Config::default())
                    .default_backoff()
                    .map(|event| event.map(|event| event.modify(trim)));
                tokio::select! {
                    () = watch.clone().follow("tenant Node".to_owned(), nodes) => {}
                    () = changed.notified() => {}
                }
            }
            Err(error) => {
                tracing::debug!(secret = %key.secret, namespace = %key.namespace, %error, "no tenant client yet");
                changed.notified().await;
            }
        }
    }
}

/// Lists of images are most of a Node, and nobody here reads them.
fn trim(node: &mut Node) {
    if let Some(status) = node.status.as_mut() {
        status.images = None;
    }
}
