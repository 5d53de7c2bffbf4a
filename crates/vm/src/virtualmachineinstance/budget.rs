//! The PodDisruptionBudget that keeps voluntary evictions away when the admission webhook is down.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use scute_api::kubevirt::{CREATED_BY_LABEL, VirtualMachineInstance};

use super::names::pod_name;
use super::pod::owner;

/// The budget of one VMI: its Pod stays. It goes with the VMI, whose child it is.
#[must_use]
pub fn budget(vmi: &VirtualMachineInstance) -> PodDisruptionBudget {
    let mut budget = PodDisruptionBudget::default();
    budget.metadata.name = Some(pod_name(vmi));
    budget.metadata.namespace = vmi.namespace();
    budget.metadata.owner_references = Some(owner(vmi).into_iter().collect());
    budget.spec = Some(PodDisruptionBudgetSpec {
        min_available: Some(IntOrString::Int(1)),
        selector: Some(LabelSelector {
            match_labels: Some(BTreeMap::from([(
                CREATED_BY_LABEL.to_owned(),
                vmi.uid().unwrap_or_default(),
            )])),
            ..LabelSelector::default()
        }),
        ..PodDisruptionBudgetSpec::default()
    });
    budget
}
