//! Tenants' Nodes, and which KubevirtMachine hears of which.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_kit::remote::{RemoteKey, Remotes};
use scute_kit::{Hub, Key, Watch};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Tenants' API servers, with KubevirtMachines woken when their Nodes change.
pub struct Tenants {
    remotes: Arc<Remotes>,
    heard: Arc<Mutex<HashSet<RemoteKey>>>,
    wake: UnboundedSender<Key>,
}

impl Tenants {
    /// No tenant is listened to yet. The receiver gets the keys of KubevirtMachines whose Nodes changed.
    #[must_use]
    pub fn new(hub: &Arc<Hub>, remotes: &Arc<Remotes>) -> (Self, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        let heard = Arc::new(Mutex::new(HashSet::new()));
        let (forget, closed) = (Arc::clone(&heard), wake.clone());
        // The watch on a tenant's Nodes ends with its Cluster; a new Cluster of that name has another.
        hub.watch::<Cluster>().listen(move |cluster: &Arc<Cluster>| {
            if cluster.metadata.deletion_timestamp.is_some() {
                let key = RemoteKey::capi(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
                forget.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            }
            !closed.is_closed()
        });
        (Self { remotes: Arc::clone(remotes), heard, wake }, woken)
    }

    /// All tenants' API servers.
    #[must_use]
    pub fn remotes(&self) -> &Arc<Remotes> {
        &self.remotes
    }

    /// The Nodes of a tenant; from now on the KubevirtMachines of their names are woken when they change.
    pub fn nodes(&self, key: &RemoteKey) -> Watch<Node> {
        let nodes = self.remotes.nodes(key);
        if self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            let (wake, namespace) = (self.wake.clone(), key.namespace.clone());
            nodes.listen(move |node: &Arc<Node>| {
                wake.send(Key::new(namespace.clone(), node.name_any())).is_ok()
            });
        }
        nodes
    }
}
