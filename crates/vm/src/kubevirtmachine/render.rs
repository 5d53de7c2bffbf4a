//! The VirtualMachine and the user-data Secret of a KubevirtMachine. Pure.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::infrastructure::{
    CAPK_MACHINE_NAME_LABEL, CAPK_MACHINE_NAMESPACE_LABEL, CLUSTER_ROLE_LABEL, KubevirtMachine,
};
use scute_api::kamaji::DEFAULT_POD_CIDR;
use scute_api::kubevirt::{
    CloudInit, Disk, DiskBus, DiskTarget, SOURCE_RANGES_ANNOTATION, SecretRef, VirtualMachine, Volume,
};
use scute_api::meta::{CLUSTER_NAME_LABEL, CLUSTER_SECRET_TYPE};

/// Name of the volume that carries the bootstrap data.
pub const SEED_VOLUME: &str = "cloudinitvolume";
/// Seconds that the guest of a Machine has to shut down when its template does not say. Its disks go
/// with it and its Node was drained: there is nothing to wait longer for.
const GRACE_SECONDS: i64 = 10;

/// Labels of everything that belongs to a KubevirtMachine.
#[must_use]
pub fn labels(machine: &KubevirtMachine, cluster: &str, control_plane: bool) -> BTreeMap<String, String> {
    let role = if control_plane { "control-plane" } else { "worker" };
    let name = machine.name_any();
    BTreeMap::from([
        ("kubevirt.io/vm".to_owned(), name.clone()),
        ("name".to_owned(), name.clone()),
        (CLUSTER_ROLE_LABEL.to_owned(), role.to_owned()),
        (CLUSTER_NAME_LABEL.to_owned(), cluster.to_owned()),
        (CAPK_MACHINE_NAME_LABEL.to_owned(), name),
        (CAPK_MACHINE_NAMESPACE_LABEL.to_owned(), machine.namespace().unwrap_or_default()),
    ])
}

/// Whether an object carries the labels of this KubevirtMachine.
#[must_use]
pub fn belongs_to(machine: &KubevirtMachine, labels: &BTreeMap<String, String>) -> bool {
    labels.get(CAPK_MACHINE_NAME_LABEL) == Some(&machine.name_any())
        && labels.get(CAPK_MACHINE_NAMESPACE_LABEL) == machine.namespace().as_ref()
}

/// Name of the Secret with the guest's user data.
#[must_use]
pub fn user_data_name(bootstrap_secret: &str) -> String {
    format!("{bootstrap_secret}-userdata")
}

/// The Secret with the guest's user data.
#[must_use]
pub fn user_data_secret(
    machine: &KubevirtMachine,
    bootstrap_secret: &str,
    labels: BTreeMap<String, String>,
    bytes: Vec<u8>,
) -> Secret {
    let mut secret = Secret {
        data: Some(BTreeMap::from([("userdata".to_owned(), ByteString(bytes))])),
        type_: Some(CLUSTER_SECRET_TYPE.to_owned()),
        ..Secret::default()
    };
    secret.metadata.name = Some(user_data_name(bootstrap_secret));
    secret.metadata.namespace = machine.namespace();
    secret.metadata.labels = Some(labels);
    secret
}

/// The VirtualMachine of a KubevirtMachine: its template, the labels, and a config drive with the user data.
#[must_use]
pub fn virtual_machine(
    machine: &KubevirtMachine,
    bootstrap_secret: &str,
    labels: &BTreeMap<String, String>,
    cluster: Option<&Cluster>,
) -> VirtualMachine {
    let template = &machine.spec.virtual_machine_template;
    let meta = template.metadata.clone().unwrap_or_default();
    let mut vm = VirtualMachine::new(&machine.name_any(), template.spec.clone());
    vm.metadata.namespace = machine.namespace();
    vm.metadata.labels = Some(merged(meta.labels, labels));
    vm.metadata.annotations = meta.annotations;

    let instance = vm.spec.template.metadata.get_or_insert_default();
    instance.labels = Some(merged(instance.labels.take(), labels));
    let ranges = BTreeMap::from([(SOURCE_RANGES_ANNOTATION.to_owned(), pod_ranges(cluster))]);
    instance.annotations = Some(merged(instance.annotations.take(), &ranges));
    let spec = &mut vm.spec.template.spec;
    spec.termination_grace_period_seconds.get_or_insert(GRACE_SECONDS);
    let target = DiskTarget { bus: Some(DiskBus::Virtio), readonly: None };
    spec.domain.devices.disks.push(Disk {
        name: SEED_VOLUME.to_owned(),
        disk: Some(target),
        ..Disk::default()
    });
    spec.volumes.push(Volume {
        name: SEED_VOLUME.to_owned(),
        cloud_init_config_drive: Some(CloudInit {
            secret_ref: Some(SecretRef { name: user_data_name(bootstrap_secret) }),
            ..CloudInit::default()
        }),
        ..Volume::default()
    });
    vm
}

/// The Pods of a Node send from addresses of the Cluster's Pod ranges. Over a network of IPv4 only those of IPv4 count.
fn pod_ranges(cluster: Option<&Cluster>) -> String {
    let network = cluster.and_then(|cluster| cluster.spec.cluster_network.as_ref());
    let ranges = network.and_then(|network| network.pods.as_ref()).map(|pods| pods.cidr_blocks.clone());
    let ranges = ranges.unwrap_or_else(|| vec![DEFAULT_POD_CIDR.to_owned()]);
    let v4: Vec<_> = ranges.into_iter().filter(|range| range.parse::<Ipv4Net>().is_ok()).collect();
    v4.join(",")
}

fn merged(
    given: Option<BTreeMap<String, String>>,
    ours: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut labels = given.unwrap_or_default();
    labels.extend(ours.clone());
    labels
}

/// The id that Machine and Node share.
#[must_use]
pub fn provider_id(machine: &KubevirtMachine) -> String {
    format!("kubevirt://{}", machine.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ranges(network: serde_json::Value) -> String {
        let cluster = json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
            "metadata": {"name": "c"}, "spec": {"clusterNetwork": network}});
        pod_ranges(Some(&serde_json::from_value(cluster).unwrap()))
    }

    /// Without them the Pods of two Nodes could not talk: the Node's guest would speak in another name.
    #[test]
    fn a_node_may_send_for_the_pods_of_its_cluster() {
        let pods = json!({"pods": {"cidrBlocks": ["10.1.0.0/16", "fd00::/48", "10.2.0.0/16"]}});
        assert_eq!(ranges(pods), "10.1.0.0/16,10.2.0.0/16");
        assert_eq!(ranges(json!({})), DEFAULT_POD_CIDR);
    }
}
