//! MachinePool: the kind is there because `clusterctl describe cluster` lists it; no object of it is accepted.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Nothing: there are no MachinePools here.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "cluster.x-k8s.io",
    version = "v1beta2",
    kind = "MachinePool",
    plural = "machinepools",
    shortname = "mp",
    category = "cluster-api",
    namespaced,
    derive = "PartialEq",
    derive = "Default",
    doc = "MachinePool is listed by clients and always empty: MachineDeployments take its place.",
    label("cluster.x-k8s.io/v1beta1", "v1beta1"),
    label("cluster.x-k8s.io/v1beta2", "v1beta2"),
    label("clusterctl.cluster.x-k8s.io", "")
)]
#[x_kube(
    validation = Rule::new("false").message("MachinePools are not served: use a MachineDeployment")
)]
pub struct MachinePoolSpec {}
