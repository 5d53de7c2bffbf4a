//! MachineDeployments and their templates.

use std::collections::BTreeMap;

use kube::ResourceExt;
use scute_api::cluster::clusterclass::MachineDeploymentClass;
use scute_api::cluster::topology::{
    DEFER_UPGRADE_ANNOTATION, HOLD_UPGRADE_SEQUENCE_ANNOTATION, MachineDeploymentTopology,
    TOPOLOGY_DEPLOYMENT_LABEL, TOPOLOGY_OWNED_LABEL,
};
use scute_api::cluster::{Cluster, MachineDeployment};
use scute_api::meta::{CLUSTER_NAME_LABEL, ContractRef};
use scute_contract::owners::owner;
use serde_json::{Value, json};

use super::Question;
use super::object::{self, Made};
use crate::blueprint::Source;
use crate::names;
use crate::patch::{Unpatched, Use, patched};
use crate::variables::{self, Part};

/// A MachineDeployment and its templates.
#[derive(Clone, Debug)]
pub struct DesiredWorkers {
    /// Its name in the topology.
    pub topology: String,
    /// The object. It names the templates by the names that they have here.
    pub object: MachineDeployment,
    /// Of bootstrap configurations.
    pub bootstrap: Made,
    /// Of infrastructure Machines.
    pub infrastructure: Made,
}

impl DesiredWorkers {
    /// Names the templates as they are named now.
    pub fn refer_to_templates(&mut self) {
        let spec = &mut self.object.spec.template.spec;
        spec.bootstrap.config_ref = Some(self.bootstrap.reference());
        spec.infrastructure_ref = self.infrastructure.reference();
    }

    /// What its templates' names begin with.
    #[must_use]
    pub fn prefix(&self, cluster: &Cluster) -> String {
        prefix(cluster, &self.topology)
    }
}

fn prefix(cluster: &Cluster, topology: &str) -> String {
    format!("{}-{topology}", cluster.name_any())
}

/// One MachineDeployment of a topology, of a version.
pub fn workers(
    question: Question<'_>,
    topology: &MachineDeploymentTopology,
    version: String,
) -> Result<DesiredWorkers, String> {
    let Question { cluster, blueprint, current, .. } = question;
    let class = blueprint.worker_class(&topology.class);
    let (Some(class), Some(sources)) = (class, blueprint.workers.get(&topology.class)) else {
        return Err(format!(
            "the ClusterClass {} has no class {}",
            blueprint.class.name_any(),
            topology.class
        ));
    };
    let now = current.workers.get(&topology.name).map(|now| now.object.as_ref());
    let name = match now {
        Some(now) => now.name_any(),
        None => {
            let what = format!("workers/{}", topology.name);
            names::by_template(cluster, class.naming.as_ref(), &what, Some(&topology.name))?
        }
    };
    let spec = now.map(|now| &now.spec.template.spec);
    let bootstrap_name = template_name(
        cluster,
        &topology.name,
        "bootstrap",
        &sources.bootstrap,
        spec.and_then(|spec| spec.bootstrap.config_ref.as_ref()),
    );
    let infrastructure_name = template_name(
        cluster,
        &topology.name,
        "infrastructure",
        &sources.infrastructure,
        spec.map(|spec| &spec.infrastructure_ref),
    );
    let mut made = deployment(cluster, topology, class, &name, &version)?;
    let part = Part::Workers {
        topology,
        metadata: &made.metadata,
        version: &version,
        bootstrap: &bootstrap_name,
        infrastructure: &infrastructure_name,
    };
    let values = variables::values(cluster, question.topology, &blueprint.namespace(), part);
    let template = |source: &Source, name: &str| -> Result<Made, String> {
        let object = object::json(&source.object);
        let unpatched = Unpatched {
            api_version: &source.reference.api_version,
            kind: &source.reference.kind,
            for_use: Use::Workers(&topology.class),
            object: &object,
        };
        let patched = patched(unpatched, &blueprint.class.spec.patches, &values)?;
        Ok(object::from_template_as_template(cluster, source, &patched, name, Some(&topology.name)))
    };
    made.metadata.owner_references = Some(vec![owner(cluster, false)]);
    let mut workers = DesiredWorkers {
        topology: topology.name.clone(),
        bootstrap: template(&sources.bootstrap, &bootstrap_name)?,
        infrastructure: template(&sources.infrastructure, &infrastructure_name)?,
        object: made,
    };
    workers.refer_to_templates();
    Ok(workers)
}

/// The name of the template that is used, or of the first one.
fn template_name(
    cluster: &Cluster,
    topology: &str,
    what: &str,
    source: &Source,
    reference: Option<&ContractRef>,
) -> String {
    let first = || {
        let what = format!("workers/{topology}/{what}");
        object::first_name(cluster, &prefix(cluster, topology), &what)
    };
    super::known(reference, &source.resource).unwrap_or_else(first)
}

fn deployment(
    cluster: &Cluster,
    topology: &MachineDeploymentTopology,
    class: &MachineDeploymentClass,
    name: &str,
    version: &str,
) -> Result<MachineDeployment, String> {
    let mut extra = object::merged(topology.metadata.as_ref(), class.metadata.as_ref());
    for key in [HOLD_UPGRADE_SEQUENCE_ANNOTATION, DEFER_UPGRADE_ANNOTATION] {
        extra.annotations.remove(key);
    }
    let own: BTreeMap<String, String> = [
        (CLUSTER_NAME_LABEL, cluster.name_any()),
        (TOPOLOGY_OWNED_LABEL, String::new()),
        (TOPOLOGY_DEPLOYMENT_LABEL, topology.name.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    extra.labels.extend(own.clone());
    let limits = (topology.deletion.clone().unwrap_or_default(), class.deletion.clone().unwrap_or_default());
    let deletion = without_nothing(json!({
        "nodeDrainTimeoutSeconds": limits.0.node_drain_timeout_seconds.or(limits.1.node_drain_timeout_seconds),
        "nodeVolumeDetachTimeoutSeconds":
            limits.0.node_volume_detach_timeout_seconds.or(limits.1.node_volume_detach_timeout_seconds),
        "nodeDeletionTimeoutSeconds": limits.0.node_deletion_timeout_seconds.or(limits.1.node_deletion_timeout_seconds),
    }));
    let rollout = match (&topology.rollout, &class.rollout) {
        (Some(own), _) => json!(own),
        (None, class) => json!(class),
    };
    let gates =
        if topology.readiness_gates.is_empty() { &class.readiness_gates } else { &topology.readiness_gates };
    let taints = if topology.taints.is_empty() { &class.taints } else { &topology.taints };
    let in_flight = |check: Option<Value>| check.map(|check| check["remediation"]["maxInFlight"].clone());
    let in_flight = in_flight(topology.health_check.as_ref().map(|check| json!(check)))
        .filter(|number| !number.is_null())
        .or_else(|| in_flight(class.health_check.as_ref().map(|check| json!(check))));
    let metadata = json!({"labels": extra.labels, "annotations": extra.annotations});
    let object = without_nothing(json!({
        "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
        "metadata": {"name": name, "namespace": cluster.namespace(), "labels": extra.labels,
            "annotations": extra.annotations},
        "spec": {
            "clusterName": cluster.name_any(), "replicas": topology.replicas, "rollout": rollout,
            "selector": {"matchLabels": own},
            "deletion": {"order": limits.0.order.or(limits.1.order)},
            "remediation": {"maxInFlight": in_flight},
            "template": {"metadata": metadata, "spec": {
                "clusterName": cluster.name_any(), "version": version,
                "failureDomain": topology.failure_domain.as_ref().or(class.failure_domain.as_ref()),
                "minReadySeconds": topology.min_ready_seconds.or(class.min_ready_seconds),
                "readinessGates": gates, "taints": taints, "deletion": deletion,
            }},
        },
    }));
    let mut object = object;
    // They follow when the templates have their names.
    object["spec"]["template"]["spec"]["bootstrap"] = json!({});
    object["spec"]["template"]["spec"]["infrastructureRef"] = json!({"apiGroup": "", "kind": "", "name": ""});
    serde_json::from_value(object).map_err(|error| error.to_string())
}

/// Without what is null or empty: an empty list or map is not applied.
fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(key, value)| (key, without_nothing(value)))
            .filter(|(_, value)| {
                !value.is_null()
                    && value.as_object().is_none_or(|fields| !fields.is_empty())
                    && value.as_array().is_none_or(|items| !items.is_empty())
            })
            .collect(),
        other => other,
    }
}
