//! Admission of VirtualMachines.

use scute_api::kubevirt::{VM_FINALIZER, VirtualMachine};
use scute_kit::{AdmissionRequest, Operation, Verdict};

use crate::virtualmachineinstance::{decode, validate::validate, verdict_with};

/// Judges a VirtualMachine: the VMI that it would start must be sound.
#[must_use]
pub fn judge(request: &AdmissionRequest) -> Verdict {
    if !matches!(request.operation, Operation::Create | Operation::Update) || !request.subresource.is_empty()
    {
        return Verdict::Allow;
    }
    // What was accepted once is not judged again, lest an object on its way out could not lose its finalizer.
    if request.old.as_ref().is_some_and(|old| old.get("spec") == request.object.get("spec")) {
        return Verdict::Allow;
    }
    match decode::<VirtualMachine>(&request.object) {
        Ok(vm) => {
            let errors = validate(&vm.spec.template.spec, "spec.template.spec");
            verdict_with(request, VM_FINALIZER, errors)
        }
        Err(error) => Verdict::Deny(vec![error]),
    }
}
