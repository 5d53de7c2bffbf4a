//! How v1beta1 of the kubeadm control plane kinds differs from v1beta2.

use crate::bootstrap::versions::KUBEADM_CONFIG_SPEC;
use crate::cluster::versions::STATUS;
use crate::conversion::Rule::{ContractReference, Default, Emptied, Moved, Positive, Seconds, Within};
use crate::conversion::{Column, Conversion, Rule};

/// What a control plane and its template have in common.
const SPEC: &[Rule] = &[
    Within("kubeadmConfigSpec", KUBEADM_CONFIG_SPEC),
    Within("machineTemplate", MACHINE_TEMPLATE),
    Emptied("rollout"),
    Emptied("rolloutBefore"),
    Moved("rolloutBefore", "rollout.before"),
    Moved("rolloutAfter", "rollout.after"),
    Default("rolloutStrategy.type", "RollingUpdate"),
    Moved("rolloutStrategy", "rollout.strategy"),
    Emptied("rollout.strategy.rollingUpdate"),
    Emptied("remediation"),
    Moved("remediationStrategy.maxRetry", "remediation.maxRetry"),
    Seconds("remediationStrategy.retryPeriod", "remediation.retryPeriodSeconds"),
    Seconds("remediationStrategy.minHealthyPeriod", "remediation.minHealthyPeriodSeconds"),
    Emptied("remediationStrategy"),
    Moved("machineNamingStrategy", "machineNaming"),
];

const MACHINE_TEMPLATE: &[Rule] = &[
    Emptied("spec"),
    Emptied("spec.deletion"),
    ContractReference("infrastructureRef"),
    Moved("infrastructureRef", "spec.infrastructureRef"),
    Moved("readinessGates", "spec.readinessGates"),
    Moved("taints", "spec.taints"),
    Seconds("nodeDrainTimeout", "spec.deletion.nodeDrainTimeoutSeconds"),
    Seconds("nodeVolumeDetachTimeout", "spec.deletion.nodeVolumeDetachTimeoutSeconds"),
    Seconds("nodeDeletionTimeout", "spec.deletion.nodeDeletionTimeoutSeconds"),
];

const CONTROL_PLANE: &[Rule] = &[
    Within("spec", SPEC),
    Emptied("status.initialization"),
    Moved("status.initialized", "status.initialization.controlPlaneInitialized"),
    Positive("status.ready", "status.readyReplicas"),
    Moved("status.updatedReplicas", "status.upToDateReplicas"),
    Moved("status.lastRemediation.timestamp", "status.lastRemediation.time"),
    Within("status", STATUS),
];

const TEMPLATE: &[Rule] = &[Within("spec.template.spec", SPEC)];

const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");
const COLUMNS: &[Column] = &[
    ("Cluster", "string", r".metadata.labels['cluster\.x-k8s\.io/cluster-name']"),
    ("Initialized", "boolean", ".status.initialized"),
    ("API Server Available", "boolean", ".status.ready"),
    ("Desired", "integer", ".spec.replicas"),
    ("Replicas", "integer", ".status.replicas"),
    ("Ready", "integer", ".status.readyReplicas"),
    ("Updated", "integer", ".status.updatedReplicas"),
    AGE,
    ("Version", "string", ".spec.version"),
];

/// The conversions of this module's kinds.
pub(crate) fn conversions() -> Vec<Conversion> {
    let conversion = |kind, rules, columns| Conversion {
        group: "controlplane.cluster.x-k8s.io",
        kind,
        old: "v1beta1",
        new: "v1beta2",
        rules,
        columns,
    };
    vec![
        conversion("KubeadmControlPlane", CONTROL_PLANE, COLUMNS),
        conversion("KubeadmControlPlaneTemplate", TEMPLATE, &[AGE]),
    ]
}
