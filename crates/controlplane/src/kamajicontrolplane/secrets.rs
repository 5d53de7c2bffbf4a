//! The Secrets that Cluster API reads of a control plane: `<cluster>-kubeconfig` and `<cluster>-ca`.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};
use scute_api::cluster::Cluster;
use scute_api::controlplane::KamajiControlPlane;
use scute_api::kamaji::{
    CHECKSUM_ANNOTATION, COMPONENT_LABEL, KUBECONFIG_KEY_ANNOTATION, SecretStatus, TenantControlPlane,
};
use scute_api::meta::{CLUSTER_NAME_LABEL, CLUSTER_SECRET_TYPE};
use scute_kit::{Key, Occupied, Why, occupied};

use super::MANAGER;
use super::report::{Stage, Stop};
use super::steps::failed;
use crate::context::Context;
use crate::inside::ADMIN;
use crate::tenant::write_exactly;

/// Copies what Cluster API needs out of the TenantControlPlane's Secrets, when it changed.
///
/// # Errors
/// What stopped it.
pub async fn keep(
    kcp: &KamajiControlPlane,
    cluster: &Cluster,
    tcp: &TenantControlPlane,
    context: &Context,
) -> Result<(), Stop> {
    let status = tcp.status.clone().unwrap_or_default();
    let key = kcp.annotations().get(KUBECONFIG_KEY_ANNOTATION).map_or(ADMIN, String::as_str);
    let kubeconfig = Copy {
        name: format!("{}-kubeconfig", cluster.name_any()),
        keys: &[(key, "value")],
        source: status.kubeconfig.and_then(|made| made.admin),
    };
    copy(kubeconfig, kcp, cluster, context).await?;
    let ca = status.certificates.and_then(|made| made.ca);
    let name = format!("{}-ca", cluster.name_any());
    // A control plane with the name of its Cluster: the Secret is there already, with the keys that are read.
    if ca.as_ref().is_some_and(|ca| ca.secret_name == name) {
        return Ok(());
    }
    let keys = &[("tls.crt", "tls.crt"), ("tls.key", "tls.key")];
    copy(Copy { name, keys, source: ca }, kcp, cluster, context).await
}

/// Name of the TenantControlPlane that a copy is of.
const TENANT_LABEL: &str = "kamaji.clastix.io/tcp";

struct Copy<'a> {
    name: String,
    keys: &'a [(&'a str, &'a str)],
    source: Option<SecretStatus>,
}

async fn copy(
    Copy { name, keys, source }: Copy<'_>,
    kcp: &KamajiControlPlane,
    cluster: &Cluster,
    context: &Context,
) -> Result<(), Stop> {
    let stage = Stage::Secrets;
    let namespace = kcp.namespace().unwrap_or_default();
    let Some(SecretStatus { secret_name, checksum: Some(checksum), .. }) = source else {
        let message = format!("the TenantControlPlane names no Secret to copy to {name}");
        return Err(Stop::wait(stage, Why::new("WaitingForSecret", message)));
    };
    // Which key is copied matters as much as what it holds.
    let digest = format!("{checksum}-{}", keys.iter().map(|(from, _)| *from).collect::<Vec<_>>().join("-"));
    let key = Key::new(namespace.clone(), name.clone());
    let seen = context.hub.watch_meta::<Secret>().get(&key);
    if !occupied_by(kcp, seen.as_deref().map(Resource::meta)).is_writable() {
        let message =
            format!("Secret {name} exists and is not this KamajiControlPlane's: rename or delete it");
        return Err(Stop::failed(stage, Why::new("NameTaken", message)));
    }
    // Its annotations can be edited as its content can: what counts is the version that was last found right.
    let version = seen.as_ref().and_then(|seen| seen.resource_version());
    let right = version.map(|version| (name.clone(), version, digest.clone()));
    if right
        .is_some_and(|right| context.copies.get(&Key::of(kcp)).is_some_and(|copies| copies.contains(&right)))
    {
        return Ok(());
    }
    let before = match seen {
        Some(_) => context.hub.get::<Secret>(&key).await.map_err(failed(stage))?,
        None => None,
    };
    let from = Key::new(namespace.clone(), secret_name);
    let made = context.hub.get::<Secret>(&from).await.map_err(failed(stage))?;
    let mut held = made.and_then(|secret| secret.data).unwrap_or_default();
    let mut data = BTreeMap::new();
    for (key, to) in keys {
        let Some(ByteString(bytes)) = held.remove(*key) else {
            let message = format!("Secret {from} has no key {key:?}");
            return Err(Stop::failed(stage, Why::new("WaitingForSecret", message)));
        };
        data.insert((*to).to_owned(), ByteString(bytes));
    }
    let want = Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(namespace),
            labels: Some(labels(kcp, cluster)),
            annotations: Some(BTreeMap::from([(CHECKSUM_ANNOTATION.to_owned(), digest.clone())])),
            owner_references: kcp.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        type_: Some(CLUSTER_SECRET_TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    };
    let version =
        write_exactly(&context.hub, MANAGER, before.as_ref(), &want).await.map_err(failed(stage))?;
    let mut copies = context.copies.get(&Key::of(kcp)).map(|copies| copies.to_vec()).unwrap_or_default();
    copies.retain(|(copy, ..)| *copy != key.name);
    copies.push((key.name, version, digest));
    context.copies.put(&Key::of(kcp), copies);
    Ok(())
}

/// Who has the name; Kamaji's own copies carry its label.
fn occupied_by(kcp: &KamajiControlPlane, found: Option<&ObjectMeta>) -> Occupied {
    let (uid, name) = (kcp.uid().unwrap_or_default(), kcp.name_any());
    occupied(found, &uid, Some((TENANT_LABEL, &name)))
}

fn labels(kcp: &KamajiControlPlane, cluster: &Cluster) -> BTreeMap<String, String> {
    BTreeMap::from([
        (CLUSTER_NAME_LABEL.to_owned(), cluster.name_any()),
        (COMPONENT_LABEL.to_owned(), "capi".to_owned()),
        ("kamaji.clastix.io/cluster".to_owned(), cluster.name_any()),
        (TENANT_LABEL.to_owned(), kcp.name_any()),
    ])
}
