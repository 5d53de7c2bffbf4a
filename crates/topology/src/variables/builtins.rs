//! What templates and patches see: the Cluster's values, a part's own instead, and `builtin`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use scute_api::cluster::Cluster;
use scute_api::cluster::topology::{
    ClusterVariable, ControlPlaneTopology, MachineDeploymentTopology, Topology,
};
use serde_json::{Map, Value, json};

/// The part of a Cluster that a template is for.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// Its infrastructure.
    Cluster,
    /// Its control plane.
    ControlPlane {
        /// What the topology says of it.
        topology: Option<&'a ControlPlaneTopology>,
        /// Its name, labels and annotations.
        metadata: &'a ObjectMeta,
        /// Its version.
        version: &'a str,
        /// Name of the template of its Machines.
        machines: Option<&'a str>,
    },
    /// A MachineDeployment.
    Workers {
        /// What the topology says of it.
        topology: &'a MachineDeploymentTopology,
        /// Its name, labels and annotations.
        metadata: &'a ObjectMeta,
        /// Its version.
        version: &'a str,
        /// Name of the bootstrap template.
        bootstrap: &'a str,
        /// Name of the infrastructure template.
        infrastructure: &'a str,
    },
}

/// The values that a part of a Cluster sees.
#[must_use]
pub fn values(
    cluster: &Cluster,
    topology: &Topology,
    class_namespace: &str,
    part: Part<'_>,
) -> Map<String, Value> {
    let own: &[ClusterVariable] = match part {
        Part::Cluster => &[],
        Part::ControlPlane { topology, .. } => {
            topology.and_then(|part| part.variables.as_ref()).map_or(&[], |own| &own.overrides)
        }
        Part::Workers { topology, .. } => topology.variables.as_ref().map_or(&[], |own| &own.overrides),
    };
    let all = topology.variables.iter().chain(own).map(|given| (given.name.clone(), given.value.clone()));
    let mut values: Map<_, _> = all.collect();
    let mut builtin = json!({ "cluster": of_cluster(cluster, topology, class_namespace) });
    match part {
        Part::Cluster => {}
        Part::ControlPlane { topology, metadata, version, machines } => {
            builtin["controlPlane"] = compact(json!({
                "name": metadata.name, "version": version, "metadata": of_metadata(metadata),
                "replicas": topology.and_then(|part| part.replicas),
                "machineTemplate": machines.map(|name| json!({"infrastructureRef": {"name": name}})),
            }));
        }
        Part::Workers { topology, metadata, version, bootstrap, infrastructure } => {
            builtin["machineDeployment"] = compact(json!({
                "name": metadata.name, "version": version, "metadata": of_metadata(metadata),
                "class": topology.class, "topologyName": topology.name, "replicas": topology.replicas,
                "bootstrap": {"configRef": {"name": bootstrap}}, "infrastructureRef": {"name": infrastructure},
            }));
        }
    }
    values.insert("builtin".to_owned(), builtin);
    values
}

fn of_cluster(cluster: &Cluster, topology: &Topology, class_namespace: &str) -> Value {
    let class = &topology.class_ref.name;
    let network = cluster.spec.cluster_network.clone().unwrap_or_default();
    let network = compact(json!({
        "serviceDomain": network.service_domain,
        "services": network.services.map(|ranges| ranges.cidr_blocks),
        "pods": network.pods.map(|ranges| ranges.cidr_blocks),
    }));
    compact(json!({
        "name": cluster.name_any(), "namespace": cluster.namespace(), "uid": cluster.uid(),
        "metadata": of_metadata(&cluster.metadata),
        "topology": {
            "version": topology.version, "class": class, "classNamespace": class_namespace,
            "classRef": {"name": class, "namespace": class_namespace},
        },
        "network": network.as_object().is_some_and(|network| !network.is_empty()).then_some(network),
    }))
}

/// Labels, and annotations but for those that tools keep copies of objects in.
fn of_metadata(metadata: &ObjectMeta) -> Value {
    const COPIES: [&str; 3] = [
        "kubectl.kubernetes.io/last-applied-configuration",
        "cluster.x-k8s.io/conversion-data",
        "scute.dev/conversion-data",
    ];
    let mut annotations = metadata.annotations.clone();
    if let Some(annotations) = &mut annotations {
        annotations.retain(|key, _| !COPIES.contains(&key.as_str()));
    }
    compact(json!({ "labels": metadata.labels, "annotations": annotations }))
}

/// Without what is not known: a template asks with `if`.
fn compact(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}
