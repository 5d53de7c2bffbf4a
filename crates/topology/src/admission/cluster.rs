//! What is wrong with the topology of a Cluster, and what the class fills in.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use kube::ResourceExt;
use scute_api::cluster::clusterclass::ClusterClass;
use scute_api::cluster::topology::{
    ClusterVariable, TOPOLOGY_DEPLOYMENT_LABEL, TOPOLOGY_OWNED_LABEL, Topology, UNSAFE_CLASS_NAME_ANNOTATION,
    UNSAFE_VERSION_ANNOTATION, UPGRADE_CONCURRENCY_ANNOTATION,
};
use scute_api::cluster::{
    AUTOSCALER_MAX_SIZE_ANNOTATION, AUTOSCALER_MIN_SIZE_ANNOTATION, Cluster, Machine, MachineDeployment,
};
use scute_api::meta::TemplateMeta;
use scute_contract::{crd_name, fields, served};
use scute_kit::{FieldError, Hub, Key, Verdict};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{PATIENCE, compatible, get_class};
use crate::context::class_key;
use crate::template::Version;
use crate::variables;

const VERSION: &str = "spec.topology.version";

/// The Cluster with a `v` before its version, and the defaults of its class's variables.
#[must_use]
pub fn filled(cluster: &Cluster, class: Option<&ClusterClass>) -> Cluster {
    let mut cluster = cluster.clone();
    if let Some(topology) = &mut cluster.spec.topology {
        if !topology.version.starts_with('v') {
            topology.version.insert(0, 'v');
        }
        if let Some(class) = class {
            *topology = variables::with_defaults(topology, &class.spec.variables);
        }
    }
    cluster
}

/// Puts what was filled in into the topology as it was sent.
pub fn put_filled(sent: &mut Value, filled: &Topology) {
    sent["version"] = json!(filled.version);
    if !filled.variables.is_empty() {
        sent["variables"] = json!(filled.variables);
    }
    let put = |place: &mut Value, own: Option<&Vec<ClusterVariable>>| {
        if let Some(own) = own {
            place["variables"]["overrides"] = json!(own);
        }
    };
    let own = filled.control_plane.as_ref().and_then(|part| part.variables.as_ref());
    if own.is_some() {
        put(&mut sent["controlPlane"], own.map(|own| &own.overrides));
    }
    for (at, part) in filled.machine_deployments().iter().enumerate() {
        if let Some(own) = &part.variables {
            put(&mut sent["workers"]["machineDeployments"][at], Some(&own.overrides));
        }
    }
}

/// What is wrong with a topology, by itself and for its class.
#[must_use]
pub fn check(cluster: &Cluster, class: Option<&ClusterClass>) -> Vec<FieldError> {
    let Some(topology) = &cluster.spec.topology else { return Vec::new() };
    let mut errors = Vec::new();
    if let Err(why) = Version::parse_whole(&topology.version) {
        errors.push(FieldError::new(VERSION, &topology.version, why));
    }
    if let Some(number) = cluster.annotations().get(UPGRADE_CONCURRENCY_ANNOTATION)
        && !number.parse::<u32>().is_ok_and(|number| number >= 1)
    {
        let path = format!("metadata.annotations[{UPGRADE_CONCURRENCY_ANNOTATION}]");
        errors.push(FieldError::new(path, number, "must be a number of at least 1"));
    }
    let mut names = BTreeSet::new();
    for (at, part) in topology.machine_deployments().iter().enumerate() {
        let path = format!("spec.topology.workers.machineDeployments[{at}]");
        if !names.insert(&part.name) {
            errors.push(FieldError::new(format!("{path}.name"), &part.name, "there is another of this name"));
        }
        let of_class = class.and_then(|class| {
            class.spec.machine_deployments().iter().find(|known| known.class == part.class)
        });
        if let (Some(class), None) = (class, of_class) {
            let known: Vec<_> =
                class.spec.machine_deployments().iter().map(|known| known.class.as_str()).collect();
            let detail = format!("the ClusterClass has no such class; it has {}", known.join(", "));
            errors.push(FieldError::new(format!("{path}.class"), &part.class, detail));
        }
        let scaled = |metadata: Option<&TemplateMeta>| {
            let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
            annotations.is_some_and(|all| {
                all.contains_key(AUTOSCALER_MIN_SIZE_ANNOTATION)
                    || all.contains_key(AUTOSCALER_MAX_SIZE_ANNOTATION)
            })
        };
        let by_autoscaler =
            scaled(part.metadata.as_ref()) || scaled(of_class.and_then(|class| class.metadata.as_ref()));
        if let (Some(replicas), true) = (part.replicas, by_autoscaler) {
            let detail = "cannot be beside the autoscaler's annotations: it would take the number back";
            errors.push(FieldError::new(format!("{path}.replicas"), replicas.to_string(), detail));
        }
        let own = part.health_check.as_ref();
        let own_says = own.is_some_and(|check| check.checks.is_some() || check.remediation.is_some());
        let class_says = of_class.is_some_and(|class| class.health_check.is_some());
        if own.is_some_and(|check| check.enabled == Some(true)) && class.is_some() && !own_says && !class_says
        {
            let detail = "neither the Cluster nor its class says what is unhealthy";
            errors.push(FieldError::new(format!("{path}.healthCheck.enabled"), "true", detail));
        }
    }
    let Some(class) = class else { return errors };
    check_control_plane(topology, class, &mut errors);
    let versions = &class.spec.kubernetes_versions;
    if !versions.is_empty() && !versions.contains(&topology.version) {
        let detail = format!("the ClusterClass has {}", versions.join(", "));
        errors.push(FieldError::new(VERSION, &topology.version, detail));
    }
    errors.extend(variables::check_values(topology, &class.spec.variables));
    errors
}

fn check_control_plane(topology: &Topology, class: &ClusterClass, errors: &mut Vec<FieldError>) {
    let Some(own) = topology.control_plane.as_ref().and_then(|part| part.health_check.as_ref()) else {
        return;
    };
    let path = "spec.topology.controlPlane.healthCheck";
    let own_says = own.checks.is_some() || own.remediation.is_some();
    if class.spec.control_plane.machine_infrastructure.is_none() && (own_says || own.enabled == Some(true)) {
        errors.push(FieldError::new(path, "", "the control plane of this class has no Machines"));
    } else if own.enabled == Some(true) && !own_says && class.spec.control_plane.health_check.is_none() {
        let detail = "neither the Cluster nor its class says what is unhealthy";
        errors.push(FieldError::new(format!("{path}.enabled"), "true", detail));
    }
}

/// What is wrong with a change of a Cluster.
pub async fn check_change(
    old: &Cluster,
    new: &Cluster,
    class: Option<&ClusterClass>,
    hub: &Hub,
) -> Result<Vec<FieldError>, Verdict> {
    let mut errors = Vec::new();
    let Some(topology) = &new.spec.topology else { return Ok(errors) };
    let Some(before) = &old.spec.topology else {
        if !new.annotations().contains_key(UNSAFE_CLASS_NAME_ANNOTATION) {
            let detail = "cannot be given to a Cluster that is there: its objects were made without it";
            errors.push(FieldError::new("spec.topology", &topology.class_ref.name, detail));
        }
        return Ok(errors);
    };
    let (was, is) = (class_key(old), class_key(new));
    if was != is && !new.annotations().contains_key(UNSAFE_CLASS_NAME_ANNOTATION) {
        let path = "spec.topology.classRef";
        let old_class = match &was {
            Some(key) => get_class(key, hub).await?,
            None => None,
        };
        match (old_class, class) {
            (Some(old), Some(new)) => {
                let faults = compatible::classes(&old.spec, &new.spec);
                errors.extend(faults.into_iter().map(|fault| {
                    let detail = format!("the classes do not fit: {}: {}", fault.path, fault.detail);
                    FieldError::new(path, &topology.class_ref.name, detail)
                }));
            }
            (None, _) => errors.push(FieldError::new(
                path,
                &topology.class_ref.name,
                "the class that the Cluster has is gone: whether another fits cannot be told",
            )),
            (_, None) => {
                errors.push(FieldError::new(path, &topology.class_ref.name, "there is no such ClusterClass"))
            }
        }
    }
    if before.version != topology.version && !new.annotations().contains_key(UNSAFE_VERSION_ANNOTATION) {
        let chained = class.is_some_and(|class| !class.spec.kubernetes_versions.is_empty());
        if let Some(why) = version_fault(&before.version, &topology.version, chained) {
            errors.push(FieldError::new(VERSION, &topology.version, why));
        } else if let Some(why) = still_upgrading(old, before, hub).await? {
            errors.push(FieldError::new(VERSION, &topology.version, why));
        }
    }
    Ok(errors)
}

/// Why a version cannot follow another.
fn version_fault(old: &str, new: &str, chained: bool) -> Option<String> {
    let (Ok(old), Ok(new)) = (Version::parse(old), Version::parse(new)) else { return None };
    if new.order(&old) == Ordering::Less {
        return Some(format!("cannot be older than {old}"));
    }
    let far = new.major != old.major || new.minor > old.minor + 1;
    (far && !chained).then(|| {
        format!("{old} can be followed by one minor at a time; for more, list kubernetesVersions in the ClusterClass")
    })
}

/// Why a Cluster cannot take another version yet.
async fn still_upgrading(
    cluster: &Cluster,
    topology: &Topology,
    hub: &Hub,
) -> Result<Option<String>, Verdict> {
    let late = || {
        Verdict::Refuse(500, "whether an upgrade is on its way cannot be told in time: try again".to_owned())
    };
    let Some(reference) = &cluster.spec.control_plane_ref else { return Ok(None) };
    let crds = hub.watch_meta::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>();
    timeout(PATIENCE, crds.ready()).await.map_err(|_| late())?;
    let crd = crds.get(&Key::new("", crd_name(&reference.api_group, &reference.kind)));
    let kind = served(&reference.api_group, &reference.kind, crd.as_ref().map(|crd| crd.labels()));
    let Ok(kind) = kind else {
        return Ok(Some(format!("the kind {} of its control plane is not installed", reference.kind)));
    };
    let key = Key::new(cluster.namespace().unwrap_or_default(), reference.name.clone());
    let found = timeout(PATIENCE, hub.get_dynamic(&kind.resource, &key)).await.map_err(|_| late())?;
    let found = found.map_err(|error| Verdict::Refuse(500, error.to_string()))?;
    let Some(object) = found else { return Ok(Some("its control plane is not there yet".to_owned())) };
    let named = format!("{} {}", reference.kind, reference.name);
    let wanted = fields::wanted_version(&object).unwrap_or_default();
    if wanted != topology.version {
        return Ok(Some(format!("{named} is still on its way to {}: it has {wanted}", topology.version)));
    }
    let has = fields::versions(&object);
    if has.is_empty() {
        return Ok(Some(format!("{named} has no version yet: it is being made")));
    }
    if let Some(old) = has.iter().find(|has| has.version != wanted) {
        return Ok(Some(format!("{named} is still being upgraded from {} to {wanted}", old.version)));
    }
    let deployments = hub.watch::<MachineDeployment>();
    let machines = hub.watch::<Machine>();
    timeout(PATIENCE, deployments.ready()).await.map_err(|_| late())?;
    timeout(PATIENCE, machines.ready()).await.map_err(|_| late())?;
    let (name, namespace) = (cluster.name_any(), key.namespace.clone());
    let behind = deployments.list_in(&namespace).into_iter().find(|workers| {
        workers.spec.cluster_name == name
            && workers.labels().contains_key(TOPOLOGY_OWNED_LABEL)
            && workers.spec.template.spec.version.as_ref() != Some(&topology.version)
    });
    if let Some(behind) = behind {
        return Ok(Some(format!(
            "MachineDeployment {} does not have {} yet",
            behind.name_any(),
            topology.version
        )));
    }
    let behind = machines.list_in(&namespace).into_iter().find(|machine| {
        machine.spec.cluster_name == name
            && machine.labels().contains_key(TOPOLOGY_DEPLOYMENT_LABEL)
            && machine.spec.version.as_ref() != Some(&topology.version)
    });
    Ok(behind.map(|behind| format!("Machine {} does not have {} yet", behind.name_any(), topology.version)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_follows_another_minor_by_minor() {
        assert_eq!(version_fault("v1.34.0", "v1.35.4", false), None);
        assert_eq!(version_fault("v1.34.0+a", "v1.34.0+b", false), None);
        assert!(version_fault("v1.34.0", "v1.33.9", true).is_some());
        assert!(version_fault("v1.33.0", "v1.35.0", false).is_some());
        assert_eq!(version_fault("v1.33.0", "v1.35.0", true), None);
    }

    #[test]
    fn a_topology_is_checked_without_its_class_too() {
        let cluster = |topology: Value, annotations: Value| -> Cluster {
            serde_json::from_value(json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster",
                "metadata": {"name": "c", "annotations": annotations}, "spec": {"topology": topology}}))
            .expect("a Cluster")
        };
        let topology = |more: Value| {
            let mut topology = json!({"classRef": {"name": "x"}, "version": "v1.35.4"});
            topology.as_object_mut().expect("fields").extend(more.as_object().expect("fields").clone());
            topology
        };
        let scaled = json!({"workers": {"machineDeployments": [{"class": "w", "name": "a", "replicas": 2,
            "metadata": {"annotations": {AUTOSCALER_MAX_SIZE_ANNOTATION: "5"}}}]}});
        let cases = [
            (cluster(topology(json!({"version": "1.35"})), json!({})), VERSION),
            (
                cluster(topology(json!({})), json!({UPGRADE_CONCURRENCY_ANNOTATION: "0"})),
                "must be a number of at least 1",
            ),
            (cluster(topology(scaled), json!({})), "cannot be beside the autoscaler's annotations"),
        ];
        for (cluster, want) in cases {
            let faults: Vec<_> =
                check(&filled(&cluster, None), None).iter().map(ToString::to_string).collect();
            assert!(faults.iter().any(|fault| fault.contains(want)), "{want:?} is missing in {faults:?}");
        }
        let good = filled(&cluster(topology(json!({"version": "1.35.4"})), json!({})), None);
        assert!(check(&good, None).is_empty());
        assert_eq!(good.spec.topology.expect("a topology").version, "v1.35.4");
    }
}
