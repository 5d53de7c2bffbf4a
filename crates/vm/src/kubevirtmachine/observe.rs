//! What a KubevirtMachine depends on, read from the watches.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::ResourceExt;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use scute_api::cluster::{Cluster, Machine};
use scute_api::infrastructure::{KubevirtCluster, KubevirtMachine};
use scute_api::kubevirt::{VirtualMachine, VirtualMachineInstance};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_contract::infracluster::{infra_of, is_managed_by_others};
use scute_kit::tenants::{TenantKey, Tenants};
use scute_kit::{Error, Hub, Key, Watch};

use super::plan::{Observed, SshKeys};
use super::render::{SEED_VOLUME, belongs_to};
use crate::Config;
use crate::kubevirtcluster::plan::ssh_keys_name;

/// Annotation of a user-data Secret that has the SSH user in it.
pub const SSH_USER_ANNOTATION: &str = "scute.dev/ssh-user";

/// The only reader.
pub async fn observe(
    hub: &Arc<Hub>,
    tenants: &Arc<Tenants>,
    config: &Config,
    object: &KubevirtMachine,
) -> Result<Observed, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let key = Key::of(object);
    let machine = object
        .owner_references()
        .iter()
        .find(|owner| owner.kind == "Machine" && owner.api_version.starts_with("cluster.x-k8s.io/"))
        .and_then(|owner| hub.watch::<Machine>().get(&Key::new(namespace.clone(), owner.name.clone())));
    let cluster_name = machine
        .as_ref()
        .map(|machine| machine.spec.cluster_name.clone())
        .or_else(|| object.labels().get(CLUSTER_NAME_LABEL).cloned());
    let cluster =
        cluster_name.and_then(|name| hub.watch::<Cluster>().get(&Key::new(namespace.clone(), name)));
    let mut vm = hub.watch::<VirtualMachine>().get(&key);
    if vm.is_none() && object.metadata.deletion_timestamp.is_some() {
        // A watch may lag; nothing may be left behind on its word.
        vm = hub.get::<VirtualMachine>(&key).await?.map(Arc::new);
    }
    let node = cluster.as_ref().filter(|cluster| cluster.metadata.deletion_timestamp.is_none()).and_then(
        |cluster| {
            let remote = TenantKey::capi(&namespace, &cluster.name_any());
            tenants.nodes(&remote).get(&object.name_any())
        },
    );
    Ok(Observed {
        ssh_keys: ssh_keys(hub, &namespace, cluster.as_deref()),
        vmi: hub.watch::<VirtualMachineInstance>().get(&key),
        has_ssh_user: vm.as_deref().is_some_and(|vm| has_ssh_user(hub, vm)),
        pod_ranges: pod_ranges(hub, config),
        service_ranges: service_ranges(hub, config),
        machine,
        cluster,
        vm,
        node,
    })
}

fn ssh_keys(hub: &Arc<Hub>, namespace: &str, cluster: Option<&Cluster>) -> SshKeys {
    let infras = hub.watch::<KubevirtCluster>().list_in(namespace);
    let ours = cluster
        .and_then(|cluster| infra_of(&infras, cluster))
        .filter(|infra| !is_managed_by_others(infra.as_ref()) && infra.metadata.deletion_timestamp.is_none());
    let Some(infra) = ours else { return SshKeys::None };
    let name = ssh_keys_name(&infra);
    let there = hub.watch_meta::<Secret>().get(&Key::new(namespace, name.clone())).is_some();
    if there { SshKeys::There(name) } else { SshKeys::Pending(name) }
}

/// The Secrets of a KubevirtMachine, by their labels.
#[must_use]
pub fn secrets_of(hub: &Arc<Hub>, object: &KubevirtMachine) -> Vec<Arc<PartialObjectMeta<Secret>>> {
    let mut secrets = hub.watch_meta::<Secret>().list_in(&object.namespace().unwrap_or_default());
    secrets.retain(|secret| belongs_to(object, secret.labels()));
    secrets
}

fn has_ssh_user(hub: &Arc<Hub>, vm: &VirtualMachine) -> bool {
    let volumes = &vm.spec.template.spec.volumes;
    let seed = volumes.iter().find(|volume| volume.name == SEED_VOLUME);
    let secret = seed.and_then(|seed| seed.cloud_init_config_drive.as_ref()?.secret_ref.clone());
    let key = secret.map(|secret| Key::new(vm.namespace().unwrap_or_default(), secret.name));
    let secrets = hub.watch_meta::<Secret>();
    key.and_then(|key| secrets.get(&key))
        .is_some_and(|secret| secret.annotations().contains_key(SSH_USER_ANNOTATION))
}

fn pod_ranges(hub: &Arc<Hub>, config: &Config) -> Vec<ipnet::IpNet> {
    let nodes = hub.watch::<Node>().list();
    let of_nodes =
        nodes.iter().filter_map(|node| node.spec.as_ref()).flat_map(|spec| spec.pod_cidrs.iter().flatten());
    let parsed = of_nodes.filter_map(|range| range.parse().ok());
    config.pod_ranges.iter().copied().chain(parsed).collect()
}

/// A management cluster before 1.33 has no ServiceCIDRs; what it uses has to be in the configuration.
fn service_ranges(hub: &Arc<Hub>, config: &Config) -> Vec<ipnet::IpNet> {
    let objects = service_cidrs(hub).list();
    let listed = objects.iter().filter_map(|object| object.data.pointer("/spec/cidrs")?.as_array());
    let parsed = listed.flatten().filter_map(|range| range.as_str()?.parse().ok());
    config.service_ranges.iter().copied().chain(parsed).collect()
}

/// The watch on the Service ranges of the management cluster, for which nobody waits.
pub fn service_cidrs(hub: &Hub) -> Watch<DynamicObject> {
    hub.watch_dynamic(&ApiResource::erase::<ServiceCIDR>(&()))
}
