//! Admission of KubevirtMachines and their templates.

use scute_api::infrastructure::{
    KUBEVIRT_MACHINE_FINALIZER, KubevirtMachine, KubevirtMachineSpec, KubevirtMachineTemplate,
};
use scute_api::kubevirt::{CloudInit, SecretRef, VirtualMachineInstanceSpec, Volume};
use scute_contract::dry_run::of_topology;
use scute_kit::{AdmissionRequest, FieldError, Operation, Verdict};

use super::render::{SEED_VOLUME, provider_id};
use crate::virtualmachineinstance::{decode, validate::validate, verdict, verdict_with};

/// The longest name: it becomes a label value and the guest's host name.
const LONGEST_NAME: usize = 63;

/// Judges a KubevirtMachine.
#[must_use]
pub fn judge(request: &AdmissionRequest) -> Verdict {
    if !is_write(request) || unchanged(request) {
        return Verdict::Allow;
    }
    let machine: KubevirtMachine = match decode(&request.object) {
        Ok(machine) => machine,
        Err(error) => return Verdict::Deny(vec![error]),
    };
    let mut errors = Vec::new();
    if request.name.len() > LONGEST_NAME || request.name.contains('.') {
        errors.push(FieldError::new(
            "metadata.name",
            &request.name,
            format!("is the guest's host name too: at most {LONGEST_NAME} characters and no dots"),
        ));
    }
    errors.extend(problems(&machine.spec, &request.namespace, "spec"));
    match verdict_with(request, KUBEVIRT_MACHINE_FINALIZER, errors) {
        // The id follows from the name, if there is one yet.
        Verdict::Replace(mut object) if machine.spec.provider_id.is_none() && !request.name.is_empty() => {
            object["spec"]["providerID"] = provider_id(&machine).into();
            Verdict::Replace(object)
        }
        verdict => verdict,
    }
}

/// Judges a KubevirtMachineTemplate: its spec must be sound, and does not change but in a dry run.
#[must_use]
pub fn judge_template(request: &AdmissionRequest) -> Verdict {
    if !is_write(request) || unchanged(request) {
        return Verdict::Allow;
    }
    if request.old.is_some() && !of_topology(request) {
        return Verdict::Deny(vec![FieldError::new(
            "spec",
            "",
            "a KubevirtMachineTemplate does not change; make another and name it in the MachineDeployment",
        )]);
    }
    match decode::<KubevirtMachineTemplate>(&request.object) {
        Ok(template) => {
            verdict(problems(&template.spec.template.spec, &request.namespace, "spec.template.spec"))
        }
        Err(error) => Verdict::Deny(vec![error]),
    }
}

fn is_write(request: &AdmissionRequest) -> bool {
    matches!(request.operation, Operation::Create | Operation::Update) && request.subresource.is_empty()
}

fn unchanged(request: &AdmissionRequest) -> bool {
    request.old.as_ref().is_some_and(|old| old.get("spec") == request.object.get("spec"))
}

/// Everything wrong with the VM of a Machine in this namespace.
fn problems(spec: &KubevirtMachineSpec, namespace: &str, path: &str) -> Vec<FieldError> {
    let template = &spec.virtual_machine_template;
    let instance = &template.spec.template.spec;
    let path = format!("{path}.virtualMachineTemplate");
    let below = format!("{path}.spec.template.spec");
    let mut errors = validate(&with_seed(instance), &below);
    let elsewhere = template.metadata.as_ref().and_then(|meta| meta.namespace.as_deref());
    if let Some(other) = elsewhere.filter(|other| !other.is_empty() && *other != namespace) {
        errors.push(FieldError::new(
            format!("{path}.metadata.namespace"),
            other,
            format!("a Machine's VM runs in the Machine's own namespace, which is {namespace}"),
        ));
    }
    if let Some(hostname) = &instance.hostname {
        errors.push(FieldError::new(
            format!("{below}.hostname"),
            hostname,
            "the host name of a Machine's guest is the name of its KubevirtMachine: leave it out",
        ));
    }
    if let Some(index) = instance.volumes.iter().position(|volume| volume.name == SEED_VOLUME) {
        errors.push(FieldError::new(
            format!("{below}.volumes[{index}].name"),
            SEED_VOLUME,
            "is the name of the volume with the bootstrap data",
        ));
    }
    errors
}

/// The spec with the volume of the bootstrap data, which takes room in the machine too.
fn with_seed(instance: &VirtualMachineInstanceSpec) -> VirtualMachineInstanceSpec {
    let mut whole = instance.clone();
    if whole.volumes.iter().all(|volume| volume.name != SEED_VOLUME) {
        let data = CloudInit {
            secret_ref: Some(SecretRef { name: SEED_VOLUME.to_owned() }),
            ..CloudInit::default()
        };
        whole.volumes.push(Volume {
            name: SEED_VOLUME.to_owned(),
            cloud_init_config_drive: Some(data),
            ..Volume::default()
        });
    }
    whole
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bootstrap_data_takes_the_room_of_a_disk() {
        let errors = |disks: usize| {
            let volumes: Vec<_> = (0..disks)
                .map(|index| json!({"name": format!("d{index}"), "emptyDisk": {"capacity": "1Mi"}}))
                .collect();
            let spec = json!({"domain": {"memory": {"guest": "1Gi"}}, "volumes": volumes});
            let template = json!({"spec": {"runStrategy": "Always", "template": {"spec": spec}}});
            problems(
                &serde_json::from_value(json!({"virtualMachineTemplate": template})).unwrap(),
                "a",
                "spec",
            )
        };
        assert_eq!(errors(223), []);
        let told = errors(224)[0].to_string();
        assert!(told.starts_with("spec.virtualMachineTemplate.spec.template.spec.domain.devices"), "{told}");
        assert!(told.contains("225 virtio disks do not fit, 224 do"), "{told}");
    }
}
