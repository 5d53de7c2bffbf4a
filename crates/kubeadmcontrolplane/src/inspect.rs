//! What a tenant says of its control plane: the Pods on its Nodes, and its etcd through them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use scute_contract::certificates::Purpose;
use scute_etcd::View;
use scute_kit::said;
use scute_kit::tenants::TenantKey;

use crate::context::Context;
use crate::machines::node;
use crate::observe::{Observed, is_stacked};

/// Namespace of what kubeadm makes.
pub const KUBE_SYSTEM: &str = "kube-system";
/// Label of the Nodes of a control plane, as kubeadm sets it.
pub const CONTROL_PLANE_NODE: &str = "node-role.kubernetes.io/control-plane";

/// What is known of the tenant.
#[derive(Clone, Debug, PartialEq)]
pub enum Tenant {
    /// There is nothing to ask yet, and why.
    NotAsked(String),
    /// It does not answer, and what was said.
    Down(String),
    /// It answered.
    Seen(Box<Inside>),
}

/// What a tenant said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inside {
    /// Whether kubeadm has begun the cluster: its record of it is there.
    pub begun: bool,
    /// Nodes of the control plane, by name.
    pub nodes: BTreeMap<String, SeenNode>,
    /// Static Pods of the control plane, by name.
    pub pods: BTreeMap<String, Pod>,
    /// What each etcd member said, or why it did not, by Node; empty where etcd is somebody else's.
    pub etcd: BTreeMap<String, Result<View, String>>,
}

/// A Node of the control plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenNode {
    /// When it joined.
    pub made: Timestamp,
    /// Whether its kubelet is heard.
    pub heard: bool,
}

impl Tenant {
    /// What it said, if it did.
    #[must_use]
    pub fn inside(&self) -> Option<&Inside> {
        match self {
            Self::Seen(inside) => Some(inside),
            Self::NotAsked(_) | Self::Down(_) => None,
        }
    }
}

/// Asks the tenant. Nobody is there to be asked before there are a kubeconfig and a Machine.
pub async fn inspect(seen: &Observed, context: &Context) -> Tenant {
    let key = TenantKey::capi(&seen.key().namespace, &seen.cluster_name());
    if seen.kubeconfig.is_none() || seen.machines.is_empty() {
        return Tenant::NotAsked("there is no control plane Machine yet".to_owned());
    }
    let client = match context.tenants.client(&key).await {
        Ok(client) => client,
        Err(error) => return Tenant::Down(error.to_string()),
    };
    match ask(seen, &client, context).await {
        Ok(inside) => Tenant::Seen(Box::new(inside)),
        Err(error) => Tenant::Down(said(&error)),
    }
}

async fn ask(seen: &Observed, client: &Client, context: &Context) -> Result<Inside, kube::Error> {
    let mut inside = Inside { begun: seen.was_initialized(), ..Inside::default() };
    if !inside.begun {
        let records = Api::<ConfigMap>::namespaced(client.clone(), KUBE_SYSTEM);
        inside.begun = records.get_metadata_opt("kubeadm-config").await?.is_some();
    }
    let ours = ListParams::default().labels(CONTROL_PLANE_NODE);
    for node in Api::<Node>::all(client.clone()).list(&ours).await? {
        let made = node.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |made| made.0);
        inside.nodes.insert(node.name_any(), SeenNode { made, heard: is_heard(&node) });
    }
    let tier = ListParams::default().labels("tier=control-plane");
    for pod in Api::<Pod>::namespaced(client.clone(), KUBE_SYSTEM).list(&tier).await? {
        inside.pods.insert(pod.name_any(), pod);
    }
    if is_stacked(&seen.kcp) && inside.begun {
        inside.etcd = etcd(seen, client, context).await;
    }
    Ok(inside)
}

fn is_heard(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status != "Unknown")
}

/// Every member is asked through its own Pod: who is dead is not known to the others for sure.
async fn etcd(seen: &Observed, client: &Client, context: &Context) -> BTreeMap<String, Result<View, String>> {
    let authority = seen.certificates.pairs.get(&Purpose::EtcdCa);
    let authority = authority.ok_or_else(|| "there is no authority of etcd".to_owned());
    let certificate = authority.and_then(|authority| context.etcd_client(&seen.key(), authority));
    let nodes = seen.machines.iter().filter_map(|machine| node(machine).map(str::to_owned));
    let looks = nodes.map(|node| {
        let (certificate, reach) = (certificate.clone(), Arc::clone(&context.etcd));
        let client = client.clone();
        async move {
            let look = async {
                let member = reach.member(client, &node, certificate?).await;
                let member = member.map_err(|error| error.to_string())?;
                member.look().await.map_err(|error| error.to_string())
            };
            let view = look.await;
            (node, view)
        }
    });
    join_all(looks).await.into_iter().collect()
}
