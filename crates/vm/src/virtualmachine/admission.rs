//! Admission of VirtualMachines.

use scute_api::kubevirt::VirtualMachine;
use scute_kit::{AdmissionRequest, FieldError, Operation, Verdict};

use crate::virtualmachineinstance::{validate::validate, verdict};

/// Judges a VirtualMachine: the VMI that it would start must be sound.
#[must_use]
pub fn judge(request: &AdmissionRequest) -> Verdict {
    if !matches!(request.operation, Operation::Create | Operation::Update) || !request.subresource.is_empty() {
        return Verdict::Allow;
    }
    // What was accepted once is not judged again, lest an object on its way out could not lose its finalizer.
    if request.old.as_ref().is_some_and(|old| old.get("spec") == request.object.get("spec")) {
        return Verdict::Allow;
    }
    match serde_json::from_value::<VirtualMachine>(request.object.clone()) {
        Ok(vm) => verdict(validate(&vm.spec.template.spec, "spec.template.spec")),
        Err(error) => Verdict::Deny(vec![FieldError::new("", "", error.to_string())]),
    }
}
