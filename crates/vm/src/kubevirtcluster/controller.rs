//! The loop of KubevirtClusters: Service, SSH keys, endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, Service};
use kube::{Resource, ResourceExt};
use scute_api::cluster::Cluster;
use scute_api::infrastructure::{KUBEVIRT_CLUSTER_FINALIZER, KubevirtCluster};
use scute_api::meta::{CLUSTER_NAME_LABEL, CLUSTER_SECRET_TYPE};
use scute_contract::infracluster::{cluster_of, is_managed_by_others, next, own_changes};
use scute_contract::paused::{pause, paused};
use scute_kit::{Controller, Error, Hub, Key, Next, Why, finalizer};
use serde_json::{Map, json};

use super::plan::{endpoint, needs_service, service, ssh_keys_name, status};
use super::ssh_keys::SshKeyPair;

const MANAGER: &str = "scute-kubevirtcluster";

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Write(#[from] Error),
    #[error("no SSH key pair could be made")]
    Keys,
}

/// Runs the controller.
pub async fn run(hub: Arc<Hub>) {
    let infras = hub.watch::<KubevirtCluster>();
    let controller = Controller::<KubevirtCluster>::new("kubevirtcluster", &hub)
        .owns::<Service>()
        .owns_meta::<Secret>()
        .watches::<Cluster>(move |cluster| {
            let namespace = cluster.namespace().unwrap_or_default();
            infras.list_in(&namespace).iter().map(|infra| Key::of(infra.as_ref())).collect()
        });
    hub.watch::<Cluster>().ready().await;
    hub.watch::<Service>().ready().await;
    hub.watch_meta::<Secret>().ready().await;
    controller.run(hub, reconcile).await;
}

async fn reconcile(infra: Arc<KubevirtCluster>, hub: Arc<Hub>) -> Next {
    let leaves = infra.metadata.deletion_timestamp.is_some();
    if is_managed_by_others(infra.as_ref()) {
        // From before it was handed over, it may have a finalizer that nobody else takes away.
        return if leaves { delete(&hub, &infra).await } else { Next::Settled };
    }
    let clusters = hub.watch::<Cluster>().list_in(&infra.namespace().unwrap_or_default());
    let cluster = cluster_of(infra.as_ref(), &clusters);
    if let Some(why) = paused(cluster, infra.as_ref()) {
        return pause(&hub, infra.as_ref(), why).await;
    }
    let outcome = match (leaves, cluster) {
        (true, _) => return delete(&hub, &infra).await,
        (false, None) => Ok(Some(Why::new("WaitingForCluster", "no Cluster owns or names this object"))),
        (false, Some(cluster)) => provide(&hub, &infra, cluster).await,
    };
    let waiting = match outcome {
        Ok(waiting) => waiting,
        Err(error) => Some(Why::new("LoadBalancerProvisioningFailed", error.to_string())),
    };
    let failed = waiting.clone().filter(|why| why.reason == "LoadBalancerProvisioningFailed");
    let status = status(&infra, waiting.as_ref(), hub.now());
    hub.report(infra.as_ref(), json!(status), next(failed, waiting)).await
}

/// Makes what the guests need; gives what is still missing.
async fn provide(
    hub: &Arc<Hub>,
    infra: &Arc<KubevirtCluster>,
    cluster: &Cluster,
) -> Result<Option<Why>, ApplyError> {
    let name = cluster.name_any();
    let service = match needs_service(cluster) {
        true => Some(hub.apply(MANAGER, &service(infra, &name)).await?),
        false => None,
    };
    ssh_keys(hub, infra, &name).await?;
    let decided = endpoint(infra, cluster, service.as_deref());
    let mut spec = Map::new();
    if infra.spec.ssh_keys.as_ref().and_then(|keys| keys.data_secret_name.as_ref()).is_none() {
        spec.insert("sshKeys".to_owned(), json!({ "dataSecretName": ssh_keys_name(infra) }));
    }
    let changes = own_changes(infra.as_ref(), cluster, KUBEVIRT_CLUSTER_FINALIZER, &decided, spec);
    if let Some(patch) = changes {
        hub.patch::<KubevirtCluster>(&Key::of(infra.as_ref()), &patch).await?;
    }
    Ok(decided.missing())
}

/// Made once: a Secret that is there is never replaced.
async fn ssh_keys(hub: &Arc<Hub>, infra: &KubevirtCluster, cluster: &str) -> Result<(), ApplyError> {
    let key = Key::new(infra.namespace().unwrap_or_default(), ssh_keys_name(infra));
    if hub.watch_meta::<Secret>().get(&key).is_some() {
        return Ok(());
    }
    let pair = SshKeyPair::generate().map_err(|_| ApplyError::Keys)?;
    let mut secret = Secret {
        type_: Some(CLUSTER_SECRET_TYPE.to_owned()),
        data: Some(BTreeMap::from([
            ("pub".to_owned(), ByteString(pair.public.into_bytes())),
            ("key".to_owned(), ByteString(pair.private.into_bytes())),
        ])),
        ..Secret::default()
    };
    secret.metadata.name = Some(key.name);
    secret.metadata.namespace = Some(key.namespace);
    secret.metadata.labels = Some(BTreeMap::from([(CLUSTER_NAME_LABEL.to_owned(), cluster.to_owned())]));
    secret.metadata.owner_references = Some(infra.controller_owner_ref(&()).into_iter().collect());
    match hub.create(&secret).await {
        Err(error) if error.is_conflict() => Ok(()),
        made => made.map(|_| ()).map_err(ApplyError::from),
    }
}

/// Service and Secret go, then the object.
async fn delete(hub: &Arc<Hub>, infra: &Arc<KubevirtCluster>) -> Next {
    let namespace = infra.namespace().unwrap_or_default();
    let mut gone = Vec::new();
    for service in
        hub.watch::<Service>().list_in(&namespace).iter().filter(|service| is_child(infra, service.as_ref()))
    {
        gone.push(hub.delete(service.as_ref()).await);
    }
    let secret = hub.watch_meta::<Secret>().get(&Key::new(namespace, ssh_keys_name(infra)));
    if let Some(secret) = secret.filter(|secret| is_child(infra, secret.as_ref())) {
        gone.push(hub.delete(secret.as_ref()).await);
    }
    gone.push(finalizer::remove(hub, infra, KUBEVIRT_CLUSTER_FINALIZER).await);
    match gone.into_iter().find_map(Result::err) {
        Some(error) => Next::Failed(Why::of("Deleting", &error)),
        None => Next::Settled,
    }
}

fn is_child<K: Resource>(infra: &KubevirtCluster, child: &K) -> bool {
    child.owner_references().iter().any(|owner| Some(&owner.uid) == infra.uid().as_ref())
}
