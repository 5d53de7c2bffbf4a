//! What is filled in where the user says nothing. Pure. The admission handlers write it into new objects;
//! the controllers apply it to what they read, so that nothing depends on the webhook having been there.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{
    AUTOSCALER_MAX_SIZE_ANNOTATION, AUTOSCALER_MIN_SIZE_ANNOTATION, Machine, MachineDeployment,
    MachineHealthCheck, MachineSet, MachineTemplateSpec, NODE_STARTUP_TIMEOUT_SECONDS, RolloutStrategyType,
};
use crate::meta::{CLUSTER_NAME_LABEL, DEPLOYMENT_NAME_LABEL, SET_NAME_LABEL};
use crate::naming::label_value;

/// A MachineDeployment with its defaults; `old` is the one that an update replaces.
#[must_use]
pub fn machine_deployment(given: &MachineDeployment, old: Option<&MachineDeployment>) -> MachineDeployment {
    let mut deployment = given.clone();
    let own = [
        (CLUSTER_NAME_LABEL.to_owned(), given.spec.cluster_name.clone()),
        (DEPLOYMENT_NAME_LABEL.to_owned(), label_value(&given.name_any())),
    ];
    deployment.labels_mut().insert(CLUSTER_NAME_LABEL.to_owned(), given.spec.cluster_name.clone());
    let spec = &mut deployment.spec;
    spec.replicas.get_or_insert_with(|| replicas(given.annotations(), old.map(|old| old.spec.replicas)));
    select(&mut spec.selector, &own);
    template(&mut spec.template, &own);
    let strategy = spec.rollout.get_or_insert_default().strategy.get_or_insert_default();
    if strategy.type_ == RolloutStrategyType::RollingUpdate {
        let limits = strategy.rolling_update.get_or_insert_default();
        limits.max_surge.get_or_insert(IntOrString::Int(1));
        limits.max_unavailable.get_or_insert(IntOrString::Int(0));
    }
    deployment
}

/// A MachineSet with its defaults; `old` is the one that an update replaces.
#[must_use]
pub fn machine_set(given: &MachineSet, old: Option<&MachineSet>) -> MachineSet {
    let mut set = given.clone();
    let own = [
        (CLUSTER_NAME_LABEL.to_owned(), given.spec.cluster_name.clone()),
        (SET_NAME_LABEL.to_owned(), label_value(&given.name_any())),
    ];
    set.labels_mut().insert(CLUSTER_NAME_LABEL.to_owned(), given.spec.cluster_name.clone());
    set.spec.replicas.get_or_insert_with(|| replicas(given.annotations(), old.map(|old| old.spec.replicas)));
    select(&mut set.spec.selector, &own);
    template(&mut set.spec.template, &own);
    set
}

/// A MachineHealthCheck with its defaults.
#[must_use]
pub fn machine_health_check(given: &MachineHealthCheck) -> MachineHealthCheck {
    let mut check = given.clone();
    check.labels_mut().insert(CLUSTER_NAME_LABEL.to_owned(), given.spec.cluster_name.clone());
    let checks = check.spec.checks.get_or_insert_default();
    checks.node_startup_timeout_seconds.get_or_insert(NODE_STARTUP_TIMEOUT_SECONDS);
    check
}

/// A Machine with its defaults.
#[must_use]
pub fn machine(given: &Machine) -> Machine {
    let mut machine = given.clone();
    machine.labels_mut().insert(CLUSTER_NAME_LABEL.to_owned(), given.spec.cluster_name.clone());
    prefix(&mut machine.spec.version);
    machine
}

/// Replicas of an object that leaves them out, as upstream has it: with a cluster autoscaler at work the number belongs
/// to it, so an update keeps the old one within the autoscaler's limits; a new object begins at the lower one.
/// Without an autoscaler it is 1.
fn replicas(annotations: &BTreeMap<String, String>, old: Option<Option<i32>>) -> i32 {
    let size = |key: &str| annotations.get(key).and_then(|size| size.parse::<i32>().ok());
    match (size(AUTOSCALER_MIN_SIZE_ANNOTATION), size(AUTOSCALER_MAX_SIZE_ANNOTATION)) {
        (Some(min), Some(max)) if (0..=max).contains(&min) => old.flatten().unwrap_or(min).clamp(min, max),
        _ => 1,
    }
}

fn select(selector: &mut LabelSelector, own: &[(String, String)]) {
    let expressions = selector.match_expressions.as_ref().is_some_and(|list| !list.is_empty());
    let labels = selector.match_labels.get_or_insert_default();
    if labels.is_empty() && !expressions {
        labels.extend(own.iter().cloned());
    }
    labels.entry(own[0].0.clone()).or_insert_with(|| own[0].1.clone());
}

fn template(template: &mut MachineTemplateSpec, own: &[(String, String)]) {
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.extend(own.iter().cloned());
    prefix(&mut template.spec.version);
}

fn prefix(version: &mut Option<String>) {
    if let Some(version) = version.as_mut().filter(|version| !version.starts_with('v')) {
        version.insert(0, 'v');
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(spec: serde_json::Value, annotations: serde_json::Value) -> MachineDeployment {
        let mut object = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment",
            "metadata": {"name": "md", "annotations": annotations},
            "spec": {"clusterName": "c", "selector": {"matchLabels": null}, "template": {"spec": {
                "clusterName": "c", "version": "1.35.4", "bootstrap": {},
                "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}}}}
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        serde_json::from_value(object).expect("a MachineDeployment")
    }

    #[test]
    fn a_null_selector_selects_the_deployments_own_machines() {
        let filled = machine_deployment(&deployment(json!({}), json!({})), None);
        let labels = filled.spec.selector.match_labels.clone().unwrap_or_default();
        assert_eq!(labels[CLUSTER_NAME_LABEL], "c");
        assert_eq!(labels[DEPLOYMENT_NAME_LABEL], "md");
        assert_eq!(filled.spec.template.metadata.and_then(|meta| meta.labels), Some(labels));
        assert_eq!(
            (filled.spec.replicas, filled.spec.template.spec.version.as_deref()),
            (Some(1), Some("v1.35.4"))
        );
    }

    #[test]
    fn filling_in_twice_changes_nothing() {
        let once = machine_deployment(&deployment(json!({}), json!({})), None);
        assert_eq!(machine_deployment(&once, None), once);
    }

    #[test]
    fn what_is_given_stays() {
        let given = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "rollout": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0}}}});
        let filled = machine_deployment(&deployment(given, json!({})), None).spec;
        assert_eq!(filled.replicas, Some(0));
        assert!(!filled.selector.match_labels.unwrap_or_default().contains_key(DEPLOYMENT_NAME_LABEL));
        let limits = filled.rollout.and_then(|rollout| rollout.strategy?.rolling_update).unwrap_or_default();
        assert_eq!(
            (limits.max_surge, limits.max_unavailable),
            (Some(IntOrString::Int(0)), Some(IntOrString::Int(0)))
        );
    }

    #[test]
    fn an_autoscaler_keeps_its_number_within_its_limits() {
        let sizes = |min: &str, max: &str| json!({AUTOSCALER_MIN_SIZE_ANNOTATION: min, AUTOSCALER_MAX_SIZE_ANNOTATION: max});
        let old = |replicas: i32| deployment(json!({"replicas": replicas}), json!({}));
        let filled = |sizes: serde_json::Value, old: Option<MachineDeployment>| {
            machine_deployment(&deployment(json!({}), sizes), old.as_ref()).spec.replicas
        };
        assert_eq!(filled(sizes("3", "9"), None), Some(3), "a new one begins at the lower limit");
        assert_eq!(filled(sizes("3", "9"), Some(old(7))), Some(7));
        assert_eq!(filled(sizes("3", "9"), Some(old(2))), Some(3));
        assert_eq!(filled(sizes("3", "9"), Some(old(10))), Some(9));
        assert_eq!(filled(sizes("3", "9"), Some(deployment(json!({}), json!({})))), Some(3));
        assert_eq!(filled(sizes("3", "x"), Some(old(7))), Some(1), "no autoscaler that could be understood");
        assert_eq!(filled(json!({}), Some(old(7))), Some(1), "as upstream");
        let given = deployment(json!({"replicas": 0}), sizes("3", "9"));
        assert_eq!(machine_deployment(&given, Some(&old(7))).spec.replicas, Some(0), "what is given stays");
    }
}
