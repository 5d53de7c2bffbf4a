//! Defaults written into new objects, and what the schema cannot check.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use scute_api::cluster::{
    AUTOSCALER_MAX_SIZE_ANNOTATION, AUTOSCALER_MIN_SIZE_ANNOTATION, Cluster, MAX_MACHINES, Machine,
    MachineDeployment, MachineDrainRule, MachineHealthCheck, MachineNames, MachineNamingSpec, MachineSet,
    MachineTaint, RolloutStrategyType, SKIP_PREFLIGHT_CHECKS_ANNOTATION, defaults,
};
use scute_api::meta::{CLUSTER_NAME_LABEL, CONTROL_PLANE_LABEL};
use scute_contract::selector;
use scute_kit::{Admission, AdmissionRequest, FieldError, Hub, Operation, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machineset::preflight::{CHECKS, skipped};

/// Adds the decoders of this room's kinds, and the handlers of MachineDeployment, MachineSet, Machine and
/// MachineHealthCheck.
#[must_use]
pub fn admission(_hub: &Arc<Hub>, admission: Admission) -> Admission {
    const GROUP: &str = "cluster.x-k8s.io";
    admission
        .decodes::<Cluster>()
        .decodes::<MachineDeployment>()
        .decodes::<MachineSet>()
        .decodes::<Machine>()
        .decodes::<MachineHealthCheck>()
        .decodes::<MachineDrainRule>()
        .on(GROUP, "MachineDeployment", |request| {
            let verdict = judge(&request, defaults::machine_deployment, check_deployment);
            futures::future::ready(verdict).boxed()
        })
        .on(GROUP, "MachineSet", |request| {
            futures::future::ready(judge(&request, defaults::machine_set, check_set)).boxed()
        })
        .on(GROUP, "MachineHealthCheck", |request| {
            let verdict = judge(&request, |new, _| defaults::machine_health_check(new), check_health_check);
            futures::future::ready(verdict).boxed()
        })
        .on(GROUP, "MachineDrainRule", |request| {
            let verdict = judge::<MachineDrainRule>(&request, |new, _| new.clone(), check_drain_rule);
            futures::future::ready(verdict).boxed()
        })
        .on(GROUP, "Machine", |request| {
            let verdict = judge::<Machine>(&request, |new, _| defaults::machine(new), check_machine);
            futures::future::ready(verdict).boxed()
        })
}

/// Fills in defaults, which may depend on the object as it was, and checks what comes out.
fn judge<K: DeserializeOwned + Serialize + PartialEq>(
    request: &AdmissionRequest,
    fill: impl Fn(&K, Option<&K>) -> K,
    check: impl Fn(&K) -> Vec<FieldError>,
) -> Verdict {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !writes || !request.subresource.is_empty() {
        return Verdict::Allow;
    }
    // What cannot be decoded was denied before.
    let Ok(new) = serde_json::from_value::<K>(request.object.clone()) else { return Verdict::Allow };
    let old = request.old.as_ref().and_then(|old| serde_json::from_value::<K>(old.clone()).ok());
    let filled = fill(&new, old.as_ref());
    let mut errors = check(&filled);
    // What was stored before a rule came can be changed elsewhere: a fault is held against the write that brings it.
    let known = old.map(|old| check(&fill(&old, None))).unwrap_or_default();
    errors.retain(|error| !known.contains(error));
    if !errors.is_empty() {
        return Verdict::Deny(errors);
    }
    Verdict::filled(request, &new, &filled)
}

fn check_deployment(deployment: &MachineDeployment) -> Vec<FieldError> {
    let spec = &deployment.spec;
    let labels = spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    let mut errors = Vec::new();
    if !selector::matches(&spec.selector, &labels) {
        errors.push(unmatched(&selector::text(&spec.selector)));
    }
    let strategy = spec.rollout.as_ref().and_then(|rollout| rollout.strategy.clone()).unwrap_or_default();
    let limits = strategy.rolling_update.unwrap_or_default();
    let none = |limit: &Option<IntOrString>| match limit {
        Some(IntOrString::Int(number)) => *number == 0,
        Some(IntOrString::String(text)) => text.trim_start_matches('0') == "%",
        None => false,
    };
    if strategy.type_ == RolloutStrategyType::RollingUpdate
        && none(&limits.max_surge)
        && none(&limits.max_unavailable)
    {
        errors.push(FieldError::new(
            "spec.rollout.strategy.rollingUpdate.maxUnavailable",
            "0",
            "must not be 0 when maxSurge is 0: no Machine could ever be replaced",
        ));
    }
    errors.extend(check_annotations(deployment.annotations()));
    errors.extend(check_naming(spec.machine_naming.as_ref()));
    errors.extend(check_taints(&spec.template.spec.taints, true, "spec.template.spec.taints"));
    errors
}

fn check_set(set: &MachineSet) -> Vec<FieldError> {
    let labels = set.spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    let mut errors = Vec::new();
    if !selector::matches(&set.spec.selector, &labels) {
        errors.push(unmatched(&selector::text(&set.spec.selector)));
    }
    errors.extend(check_annotations(set.annotations()));
    errors.extend(check_naming(set.spec.machine_naming.as_ref()));
    errors.extend(check_taints(&set.spec.template.spec.taints, true, "spec.template.spec.taints"));
    errors
}

fn check_machine(machine: &Machine) -> Vec<FieldError> {
    let is_worker = !machine.labels().contains_key(CONTROL_PLANE_LABEL);
    check_taints(&machine.spec.taints, is_worker, "spec.taints")
}

fn check_naming(naming: Option<&MachineNamingSpec>) -> Option<FieldError> {
    let template = naming?.template.as_deref()?;
    let error = MachineNames::parse(template).err()?;
    Some(FieldError::new("spec.machineNaming.template", template, error.to_string()))
}

fn check_taints(taints: &[MachineTaint], of_worker: bool, path: &str) -> Vec<FieldError> {
    let faults = taints.iter().enumerate().filter_map(|(index, taint)| {
        Some(FieldError::new(format!("{path}[{index}].key"), &taint.key, taint.fault(of_worker)?))
    });
    faults.collect()
}

fn check_health_check(check: &MachineHealthCheck) -> Vec<FieldError> {
    let spec = &check.spec;
    let mut errors = selector::faults(&spec.selector, "spec.selector");
    let named = spec.selector.match_labels.as_ref().and_then(|labels| labels.get(CLUSTER_NAME_LABEL));
    if let Some(other) = named.filter(|name| **name != spec.cluster_name) {
        errors.push(FieldError::new(
            format!("spec.selector.matchLabels[{CLUSTER_NAME_LABEL}]"),
            other,
            format!("must be {}, as spec.clusterName says, or left out", spec.cluster_name),
        ));
    }
    errors
}

fn check_drain_rule(rule: &MachineDrainRule) -> Vec<FieldError> {
    let faults = |selector: &Option<LabelSelector>, path: String| {
        selector.as_ref().map(|selector| selector::faults(selector, &path)).unwrap_or_default()
    };
    let machines = rule.spec.machines.iter().enumerate().flat_map(|(index, one)| {
        let path = |field: &str| format!("spec.machines[{index}].{field}");
        [faults(&one.selector, path("selector")), faults(&one.cluster_selector, path("clusterSelector"))]
    });
    let pods = rule.spec.pods.iter().enumerate().flat_map(|(index, one)| {
        let path = |field: &str| format!("spec.pods[{index}].{field}");
        [faults(&one.selector, path("selector")), faults(&one.namespace_selector, path("namespaceSelector"))]
    });
    machines.chain(pods).flatten().collect()
}

fn unmatched(selector: &str) -> FieldError {
    FieldError::new(
        "spec.template.metadata.labels",
        selector,
        "spec.selector must match the labels of the template",
    )
}

fn check_annotations(annotations: &BTreeMap<String, String>) -> Vec<FieldError> {
    let skips = skipped(annotations.get(SKIP_PREFLIGHT_CHECKS_ANNOTATION));
    let unknown = skips.into_iter().find(|name| !CHECKS.contains(&name.as_str()));
    let bad_skip = unknown.map(|name| {
        annotation(SKIP_PREFLIGHT_CHECKS_ANNOTATION, name, format!("must be one of {}", CHECKS.join(", ")))
    });
    let sizes = [AUTOSCALER_MIN_SIZE_ANNOTATION, AUTOSCALER_MAX_SIZE_ANNOTATION];
    let bad_sizes = sizes.iter().filter_map(|key| {
        let size = annotations.get(*key)?;
        let fits = size.parse().is_ok_and(|size: i32| (0..=MAX_MACHINES).contains(&size));
        (!fits).then(|| annotation(key, size, format!("must be a number from 0 to {MAX_MACHINES}")))
    });
    bad_skip.into_iter().chain(bad_sizes).collect()
}

fn annotation(key: &str, value: impl Into<String>, detail: impl Into<String>) -> FieldError {
    FieldError::new(format!("metadata.annotations[{key}]"), value, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request(object: Value) -> AdmissionRequest {
        AdmissionRequest {
            operation: Operation::Create,
            namespace: "ns".into(),
            name: "md".into(),
            subresource: String::new(),
            object,
            old: None,
            dry_run: false,
            user: "someone".into(),
        }
    }

    fn judged(spec: Value) -> Verdict {
        let mut object = json!({
            "apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "metadata": {"name": "md"},
            "spec": {"clusterName": "c", "selector": {}, "unknown": 1, "template": {"spec": {"clusterName": "c",
                "bootstrap": {}, "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}}}}
        });
        for (key, value) in spec.as_object().into_iter().flatten() {
            object["spec"][key] = value.clone();
        }
        judge(&request(object), defaults::machine_deployment, check_deployment)
    }

    fn changed(old: Value, new: Value) -> Verdict {
        let spec = |spec: Value| {
            let mut all = json!({"clusterName": "c", "template": {"spec": {"clusterName": "c", "bootstrap": {},
                "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"}}}, "selector": {}});
            for (key, value) in spec["spec"].as_object().into_iter().flatten() {
                all[key] = value.clone();
            }
            json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "MachineDeployment", "spec": all,
                "metadata": {"name": "md", "annotations": spec["annotations"]}})
        };
        let request =
            AdmissionRequest { operation: Operation::Update, old: Some(spec(old)), ..request(spec(new)) };
        judge(&request, defaults::machine_deployment, check_deployment)
    }

    #[test]
    fn a_fault_from_before_the_rule_holds_no_other_change_up() {
        let never = json!({"strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}});
        let verdict =
            changed(json!({"spec": {"rollout": never}}), json!({"spec": {"rollout": never, "replicas": 2}}));
        assert!(matches!(verdict, Verdict::Replace(_)), "{verdict:?}");
        let verdict = changed(json!({"spec": {}}), json!({"spec": {"rollout": never}}));
        assert!(matches!(verdict, Verdict::Deny(_)), "{verdict:?}");
    }

    #[test]
    fn sizes_for_the_autoscaler_are_numbers() {
        let wrong = json!({AUTOSCALER_MAX_SIZE_ANNOTATION: "ten"});
        let Verdict::Deny(errors) = changed(json!({}), json!({"annotations": wrong})) else {
            panic!("accepted")
        };
        assert_eq!(errors[0].path, format!("metadata.annotations[{AUTOSCALER_MAX_SIZE_ANNOTATION}]"));
        assert_eq!(errors[0].detail, "must be a number from 0 to 10000");
    }

    #[test]
    fn defaults_are_added_and_unknown_fields_are_left_to_the_schema() {
        let Verdict::Replace(object) = judged(json!({})) else { panic!("defaults are missing") };
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(object["spec"]["unknown"], 1, "or the API server could not refuse it");
        assert_eq!(object["spec"]["selector"]["matchLabels"]["cluster.x-k8s.io/deployment-name"], "md");
    }

    #[test]
    fn a_rollout_that_could_never_move_is_refused() {
        let nothing = json!({"rollout": {"strategy": {"type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": "0%", "maxUnavailable": 0}}}});
        let Verdict::Deny(errors) = judged(nothing) else { panic!("accepted") };
        assert_eq!(errors[0].path, "spec.rollout.strategy.rollingUpdate.maxUnavailable");
    }

    #[test]
    fn taints_of_others_and_names_that_meet_are_refused() {
        let taint = |key: &str| json!({"key": key, "effect": "NoSchedule", "propagation": "Always"});
        let spec = json!({"machineNaming": {"template": "worker"}, "template": {"spec": {"clusterName": "c", "bootstrap": {},
            "infrastructureRef": {"apiGroup": "g", "kind": "k", "name": "n"},
            "taints": [taint("mine"), taint("node.kubernetes.io/not-ready"), taint("node.kubernetes.io/out-of-service"),
                taint("node-role.kubernetes.io/control-plane")]}}});
        let Verdict::Deny(errors) = judged(spec) else { panic!("accepted") };
        let paths: Vec<_> = errors.iter().map(|error| error.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "spec.machineNaming.template",
                "spec.template.spec.taints[1].key",
                "spec.template.spec.taints[3].key"
            ]
        );
    }

    #[test]
    fn a_selector_that_misses_its_template_is_refused() {
        let Verdict::Deny(errors) = judged(json!({"selector": {"matchLabels": {"a": "b"}}})) else {
            panic!("accepted")
        };
        assert_eq!(errors[0].path, "spec.template.metadata.labels");
    }
}
