//! Defaults written into new objects, and what the schema cannot check.

use std::sync::Arc;

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use scute_api::cluster::{
    Machine, MachineDeployment, MachineSet, RolloutStrategyType, SKIP_PREFLIGHT_CHECKS_ANNOTATION, defaults,
};
use scute_kit::{Admission, AdmissionRequest, FieldError, Hub, Operation, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machineset::preflight::{CHECKS, skipped};
use crate::selector;

/// Adds the handlers of MachineDeployment, MachineSet and Machine.
#[must_use]
pub fn admission(_hub: &Arc<Hub>, admission: Admission) -> Admission {
    const GROUP: &str = "cluster.x-k8s.io";
    admission
        .on(GROUP, "MachineDeployment", |request| {
            let verdict = judge::<MachineDeployment>(&request, defaults::machine_deployment, |_, new| {
                check_deployment(new)
            });
            futures::future::ready(verdict).boxed()
        })
        .on(GROUP, "MachineSet", |request| {
            let verdict = judge::<MachineSet>(&request, defaults::machine_set, |_, new| check_set(new));
            futures::future::ready(verdict).boxed()
        })
        .on(GROUP, "Machine", |request| {
            let verdict = judge::<Machine>(&request, defaults::machine, |_, _| Vec::new());
            futures::future::ready(verdict).boxed()
        })
}

fn judge<K: DeserializeOwned + Serialize + PartialEq>(
    request: &AdmissionRequest,
    fill: impl Fn(&K) -> K,
    check: impl Fn(Option<&K>, &K) -> Vec<FieldError>,
) -> Verdict {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    if !writes || !request.subresource.is_empty() {
        return Verdict::Allow;
    }
    // What does not parse is told to the user by the schema, with the path.
    let Ok(new) = serde_json::from_value::<K>(request.object.clone()) else { return Verdict::Allow };
    let old = request.old.as_ref().and_then(|old| serde_json::from_value::<K>(old.clone()).ok());
    let filled = fill(&new);
    let errors = check(old.as_ref(), &filled);
    if !errors.is_empty() {
        return Verdict::Deny(errors);
    }
    if filled == new {
        return Verdict::Allow;
    }
    match serde_json::to_value(&filled) {
        Ok(wanted) => Verdict::Replace(overlay(request.object.clone(), wanted)),
        Err(_) => Verdict::Allow,
    }
}

/// The object as it was sent, with what was filled in: fields that our types do not know stay for the
/// schema to judge.
fn overlay(sent: serde_json::Value, filled: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match (sent, filled) {
        (Value::Object(mut sent), Value::Object(filled)) => {
            for (key, value) in filled {
                let before = sent.remove(&key).unwrap_or(Value::Null);
                sent.insert(key, overlay(before, value));
            }
            Value::Object(sent)
        }
        (_, filled) => filled,
    }
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
    errors.extend(check_skips(deployment.annotations().get(SKIP_PREFLIGHT_CHECKS_ANNOTATION)));
    errors
}

fn check_set(set: &MachineSet) -> Vec<FieldError> {
    let labels = set.spec.template.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    let mut errors = Vec::new();
    if !selector::matches(&set.spec.selector, &labels) {
        errors.push(unmatched(&selector::text(&set.spec.selector)));
    }
    errors.extend(check_skips(set.annotations().get(SKIP_PREFLIGHT_CHECKS_ANNOTATION)));
    errors
}

fn unmatched(selector: &str) -> FieldError {
    FieldError::new(
        "spec.template.metadata.labels",
        selector,
        "spec.selector must match the labels of the template",
    )
}

fn check_skips(annotation: Option<&String>) -> Option<FieldError> {
    let unknown = skipped(annotation).into_iter().find(|name| !CHECKS.contains(&name.as_str()))?;
    let path = format!("metadata.annotations[{SKIP_PREFLIGHT_CHECKS_ANNOTATION}]");
    Some(FieldError::new(path, unknown, format!("must be one of {}", CHECKS.join(", "))))
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
        judge::<MachineDeployment>(&request(object), defaults::machine_deployment, |_, new| {
            check_deployment(new)
        })
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
    fn a_selector_that_misses_its_template_is_refused() {
        let Verdict::Deny(errors) = judged(json!({"selector": {"matchLabels": {"a": "b"}}})) else {
            panic!("accepted")
        };
        assert_eq!(errors[0].path, "spec.template.metadata.labels");
    }
}
