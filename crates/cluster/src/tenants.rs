//! Tenants' Nodes, and which Machine hears of which.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use scute_api::cluster::{Machine, NODE_CLUSTER_NAMESPACE_ANNOTATION, NODE_MACHINE_ANNOTATION};
use scute_kit::remote::{RemoteKey, Remotes};
use scute_kit::{Hub, Key, Watch};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Tenants' API servers, with Machines woken when their Nodes change.
pub struct Tenants {
    remotes: Arc<Remotes>,
    machines: Watch<Machine>,
    heard: Mutex<HashSet<RemoteKey>>,
    wake: UnboundedSender<Key>,
}

impl Tenants {
    /// No tenant is listened to yet. The receiver gets the keys of Machines whose Nodes changed.
    #[must_use]
    pub fn new(hub: &Arc<Hub>, remotes: &Arc<Remotes>) -> (Arc<Self>, UnboundedReceiver<Key>) {
        let (wake, woken) = unbounded_channel();
        let this =
            Self { remotes: Arc::clone(remotes), machines: hub.watch(), heard: Mutex::default(), wake };
        (Arc::new(this), woken)
    }

    /// All tenants' API servers.
    #[must_use]
    pub fn remotes(&self) -> &Arc<Remotes> {
        &self.remotes
    }

    /// Key of a Cluster's API server.
    #[must_use]
    pub fn key(namespace: &str, cluster: &str) -> RemoteKey {
        RemoteKey::capi(namespace, cluster)
    }

    /// The Nodes of a tenant; from now on their Machines are woken when they change.
    pub fn nodes(&self, key: &RemoteKey) -> Watch<Node> {
        let nodes = self.remotes.nodes(key);
        if self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone()) {
            let (machines, wake, namespace) =
                (self.machines.clone(), self.wake.clone(), key.namespace.clone());
            nodes.listen(move |node| {
                machine_of(&machines, &namespace, node).is_none_or(|key| wake.send(key).is_ok())
                    && !wake.is_closed()
            });
        }
        nodes
    }

    /// Drops everything that is kept of a tenant.
    pub fn forget(&self, key: &RemoteKey) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.remotes.forget(key);
    }
}

/// The Machine of a Node: the one that it names, or the one with its providerID.
fn machine_of(machines: &Watch<Machine>, namespace: &str, node: &Node) -> Option<Key> {
    let annotations = node.annotations();
    if let (Some(name), Some(named_in)) =
        (annotations.get(NODE_MACHINE_ANNOTATION), annotations.get(NODE_CLUSTER_NAMESPACE_ANNOTATION))
        && named_in == namespace
    {
        return Some(Key::new(namespace, name.clone()));
    }
    let provider_id = node.spec.as_ref()?.provider_id.as_ref()?;
    machines
        .list_in(namespace)
        .iter()
        .find(|machine| machine.spec.provider_id.as_ref() == Some(provider_id))
        .map(|machine| Key::of(machine.as_ref()))
}
