//! Admission of VMIs, and of evictions of their Pods.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use scute_api::kubevirt::{
    APP_LABEL, EvictionStrategy, LAUNCHER, SOURCE_RANGES_ANNOTATION, VMI_FINALIZER, VirtualMachineInstance,
    VmiPhase,
};
use scute_api::meta::CLUSTER_NAME_LABEL;
use scute_kit::{AdmissionRequest, FieldError, Hub, Key, Operation, Verdict};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::guest::source_ranges;
use super::validate::validate;

/// Judges a VMI: its spec must be sound, and does not change.
#[must_use]
pub fn judge(request: &AdmissionRequest) -> Verdict {
    if !matches!(request.operation, Operation::Create | Operation::Update) || !request.subresource.is_empty()
    {
        return Verdict::Allow;
    }
    if let Some(old) = &request.old {
        let same = old.get("spec") == request.object.get("spec");
        return if same {
            Verdict::Allow
        } else {
            Verdict::Deny(vec![FieldError::new(
                "spec",
                "",
                "a VirtualMachineInstance does not change; change the template of its VirtualMachine and restart it",
            )])
        };
    }
    match decode::<VirtualMachineInstance>(&request.object) {
        Ok(vmi) => {
            let mut errors = validate(&vmi.spec, "spec");
            let path = format!("metadata.annotations[{SOURCE_RANGES_ANNOTATION}]");
            let (_, wrong) = source_ranges(&vmi);
            errors.extend(wrong.into_iter().map(|entry| {
                FieldError::new(
                    path.clone(),
                    entry,
                    "must be a range of IPv4 addresses, such as 10.244.0.0/16",
                )
            }));
            verdict_with(request, VMI_FINALIZER, errors)
        }
        Err(error) => Verdict::Deny(vec![error]),
    }
}

/// Reads an object, or names the field that it cannot be read for. The schema refuses such an object too, but
/// defaulting webhooks are asked before it; and what slipped through both would stop every watch on its kind.
pub fn decode<K: DeserializeOwned>(object: &Value) -> Result<K, FieldError> {
    serde_path_to_error::deserialize(object)
        .map_err(|error| FieldError::new(error.path().to_string(), "", error.inner().to_string()))
}

/// Nothing wrong is an admission.
#[must_use]
pub fn verdict(errors: Vec<FieldError>) -> Verdict {
    if errors.is_empty() { Verdict::Allow } else { Verdict::Deny(errors) }
}

/// As [`verdict`]; what is created gets its finalizer on the way in, which saves the controller a write.
#[must_use]
pub fn verdict_with(request: &AdmissionRequest, finalizer: &str, errors: Vec<FieldError>) -> Verdict {
    if !errors.is_empty() || request.operation != Operation::Create {
        return verdict(errors);
    }
    let mut object = request.object.clone();
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array).cloned().unwrap_or_default();
    if list.iter().any(|known| known == finalizer) {
        return Verdict::Allow;
    }
    object["metadata"]["finalizers"] = [list, vec![json!(finalizer)]].concat().into();
    Verdict::Replace(object)
}

/// Judges an eviction: that of a launcher Pod is refused where its VMI asks for it, and with the strategy
/// External the VMI is marked, so that somebody moves the work away.
pub async fn evict(hub: &Arc<Hub>, request: &AdmissionRequest) -> Verdict {
    let Some((vmi, node)) = guest_of(hub, request) else { return Verdict::Allow };
    let status = vmi.status.clone().unwrap_or_default();
    if vmi.metadata.deletion_timestamp.is_some() || status.phase.is_some_and(VmiPhase::is_final) {
        return Verdict::Allow;
    }
    let name = Key::of(vmi.as_ref());
    match vmi.spec.eviction() {
        EvictionStrategy::None | EvictionStrategy::LiveMigrateIfPossible => Verdict::Allow,
        EvictionStrategy::LiveMigrate => {
            Verdict::Refuse(429, format!("VMI {name} has eviction strategy LiveMigrate and cannot migrate"))
        }
        EvictionStrategy::External if status.evacuation_node_name.is_some() => {
            Verdict::Refuse(429, format!("Evacuation in progress: VMI {name}; {}", who_acts(&vmi)))
        }
        EvictionStrategy::External if is_dry_run(request) => Verdict::Refuse(
            429,
            format!(
                "Eviction would trigger evacuation of VMI {name}, this dry run does not; {}",
                who_acts(&vmi)
            ),
        ),
        EvictionStrategy::External => {
            let mut marked = status;
            marked.evacuation_node_name = Some(node);
            if let Err(error) = hub.patch_status(vmi.as_ref(), json!(marked)).await {
                return Verdict::Refuse(429, format!("marking VMI {name} for evacuation failed: {error}"));
            }
            Verdict::Refuse(429, format!("Eviction triggered evacuation of VMI {name}; {}", who_acts(&vmi)))
        }
    }
}

/// An eviction is asked to change nothing either by its request or by the options in its body, which is what
/// `kubectl drain --dry-run=server` sends.
fn is_dry_run(request: &AdmissionRequest) -> bool {
    let listed = request.object.pointer("/deleteOptions/dryRun").and_then(Value::as_array);
    request.dry_run || listed.is_some_and(|list| !list.is_empty())
}

/// Who moves the work away, for the person whose drain waits.
fn who_acts(vmi: &VirtualMachineInstance) -> &'static str {
    if vmi.labels().contains_key(CLUSTER_NAME_LABEL) {
        "its KubevirtMachine replaces the Machine, and the Pod goes when the tenant's Node is drained"
    } else {
        "evictionStrategy External leaves it to the VM's owner to stop the guest or to start it elsewhere"
    }
}

/// The VMI of the Pod that is to be evicted, and the Node it is on.
fn guest_of(hub: &Arc<Hub>, request: &AdmissionRequest) -> Option<(Arc<VirtualMachineInstance>, String)> {
    let pod = hub.watch::<Pod>().get(&Key::new(request.namespace.clone(), request.name.clone()))?;
    if pod.labels().get(APP_LABEL).map(String::as_str) != Some(LAUNCHER) {
        return None;
    }
    let owner = pod.owner_references().iter().find(|owner| owner.kind == "VirtualMachineInstance")?;
    let vmi = hub
        .watch::<VirtualMachineInstance>()
        .get(&Key::new(request.namespace.clone(), owner.name.clone()))?;
    let node = pod.spec.as_ref()?.node_name.clone()?;
    (vmi.uid().as_ref() == Some(&owner.uid)).then_some((vmi, node))
}
