//! Clusters and machines of both providers: VMs (Kubevirt…) and servers (Metal3…).

pub mod hostselector;
pub mod kubevirtcluster;
pub mod kubevirtmachine;
pub mod metal3;
pub mod metal3cluster;
pub mod metal3data;
pub mod metal3datatemplate;
pub mod metal3machine;
pub mod metal3remediation;
mod metal3validate;
mod metal3versions;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use hostselector::*;
pub use kubevirtcluster::*;
pub use kubevirtmachine::*;
pub use metal3::*;
pub use metal3cluster::*;
pub use metal3data::*;
pub use metal3datatemplate::*;
pub use metal3machine::*;
pub use metal3remediation::*;
pub use metal3validate::*;
pub(crate) use metal3versions::conversions;

/// Keeps a KubevirtCluster until its Service is gone.
pub const KUBEVIRT_CLUSTER_FINALIZER: &str = "kubevirtcluster.infrastructure.cluster.x-k8s.io";
/// Keeps a KubevirtMachine until its VirtualMachine, Pod and Secret are gone.
pub const KUBEVIRT_MACHINE_FINALIZER: &str = "kubevirtmachine.infrastructure.cluster.x-k8s.io";
/// Label of VirtualMachine, VMI and Pod: name of the KubevirtMachine.
pub const CAPK_MACHINE_NAME_LABEL: &str = "capk.cluster.x-k8s.io/kubevirt-machine-name";
/// Label of VirtualMachine, VMI and Pod: namespace of the KubevirtMachine.
pub const CAPK_MACHINE_NAMESPACE_LABEL: &str = "capk.cluster.x-k8s.io/kubevirt-machine-namespace";
/// Label that somebody puts on a VirtualMachine or VMI that is beyond repair; the value says why.
pub const CAPK_TERMINAL_LABEL: &str = "capk.cluster.x-k8s.io/vm-is-terminal";
/// Label of VirtualMachine, VMI and Pod: `control-plane` or `worker`.
pub const CLUSTER_ROLE_LABEL: &str = "cluster.x-k8s.io/role";

/// Whether the infrastructure is there, in the words of contract v1beta2.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Initialization {
    /// The infrastructure is there; never goes back to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<bool>,
}

/// The CustomResourceDefinitions of this module.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        KubevirtCluster::crd(),
        KubevirtClusterTemplate::crd(),
        KubevirtMachine::crd(),
        KubevirtMachineTemplate::crd(),
        Metal3Cluster::crd(),
        Metal3ClusterTemplate::crd(),
        Metal3Machine::crd(),
        Metal3MachineTemplate::crd(),
        Metal3Data::crd(),
        Metal3DataClaim::crd(),
        Metal3DataTemplate::crd(),
        Metal3Remediation::crd(),
        Metal3RemediationTemplate::crd(),
    ]
}
