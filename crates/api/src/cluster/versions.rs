//! How v1beta1 of the Cluster API kinds differs from v1beta2.

use crate::conversion::Rule::{
    ContractReference, Default, Emptied, Fixed, Listed, Moved, NewOnly, OldOnly, Reference, Seconds,
    TemplateReference, Within,
};
use crate::conversion::{Column, Conversion, Rule};

/// What all kinds of all groups have in their status.
pub(crate) const STATUS: &[Rule] = &[
    Emptied("deprecated"),
    Emptied("deprecated.v1beta1"),
    // The old conditions make room for the new ones.
    Moved("conditions", "deprecated.v1beta1.conditions"),
    Moved("v1beta2.conditions", "conditions"),
    Moved("failureReason", "deprecated.v1beta1.failureReason"),
    Moved("failureMessage", "deprecated.v1beta1.failureMessage"),
    Emptied("v1beta2"),
];

const CLUSTER: &[Rule] = &[
    ContractReference("spec.controlPlaneRef"),
    ContractReference("spec.infrastructureRef"),
    Emptied("spec.clusterNetwork.pods"),
    Emptied("spec.clusterNetwork.services"),
    Emptied("spec.clusterNetwork"),
    Within("spec.topology", TOPOLOGY),
    Emptied("status.initialization"),
    Moved("status.infrastructureReady", "status.initialization.infrastructureProvisioned"),
    Moved("status.controlPlaneReady", "status.initialization.controlPlaneInitialized"),
    Moved("status.v1beta2.controlPlane", "status.controlPlane"),
    Moved("status.v1beta2.workers", "status.workers"),
    Listed { path: "status.failureDomains", key: "name", value: None },
    Within("status", STATUS),
];

/// The spec of a Machine, also inside of a template.
pub(crate) const MACHINE_SPEC: &[Rule] =
    &[ContractReference("infrastructureRef"), ContractReference("bootstrap.configRef"), Within("", DELETION)];

/// Time limits of a deletion.
const DELETION: &[Rule] = &[
    Emptied("deletion"),
    Seconds("nodeDrainTimeout", "deletion.nodeDrainTimeoutSeconds"),
    Seconds("nodeVolumeDetachTimeout", "deletion.nodeVolumeDetachTimeoutSeconds"),
    Seconds("nodeDeletionTimeout", "deletion.nodeDeletionTimeoutSeconds"),
];

const CONDITION: &[Rule] = &[Seconds("timeout", "timeoutSeconds")];

/// A health check inside of a class or topology.
const HEALTH: &[Rule] = &[
    Emptied("healthCheck"),
    Emptied("healthCheck.checks"),
    Emptied("healthCheck.remediation"),
    Emptied("healthCheck.remediation.triggerIf"),
    Moved("machineHealthCheck.enable", "healthCheck.enabled"),
    Within("machineHealthCheck.unhealthyConditions[]", CONDITION),
    Moved("machineHealthCheck.unhealthyConditions", "healthCheck.checks.unhealthyNodeConditions"),
    Within("machineHealthCheck.unhealthyMachineConditions[]", CONDITION),
    Moved("machineHealthCheck.unhealthyMachineConditions", "healthCheck.checks.unhealthyMachineConditions"),
    Seconds("machineHealthCheck.nodeStartupTimeout", "healthCheck.checks.nodeStartupTimeoutSeconds"),
    Moved("machineHealthCheck.maxUnhealthy", "healthCheck.remediation.triggerIf.unhealthyLessThanOrEqualTo"),
    Moved("machineHealthCheck.unhealthyRange", "healthCheck.remediation.triggerIf.unhealthyInRange"),
    TemplateReference("machineHealthCheck.remediationTemplate"),
    Moved("machineHealthCheck.remediationTemplate", "healthCheck.remediation.templateRef"),
    Emptied("machineHealthCheck"),
];

/// How the Machines of a MachineDeployment inside of a class or topology are replaced.
const STRATEGY: &[Rule] = &[
    Emptied("rollout"),
    Moved("strategy.rollingUpdate.deletePolicy", "deletion.order"),
    Moved("strategy.remediation.maxInFlight", "healthCheck.remediation.maxInFlight"),
    Emptied("strategy.remediation"),
    Default("strategy.type", "RollingUpdate"),
    Moved("strategy", "rollout.strategy"),
    Emptied("rollout.strategy.rollingUpdate"),
];

const VARIABLE: &[Rule] = &[OldOnly("definitionFrom", "string")];

const TOPOLOGY: &[Rule] = &[
    Moved("class", "classRef.name"),
    Moved("classNamespace", "classRef.namespace"),
    OldOnly("rolloutAfter", "string"),
    Within("variables[]", VARIABLE),
    Within("controlPlane", CONTROL_PLANE_TOPOLOGY),
    Emptied("controlPlane"),
    Within("workers.machineDeployments[]", DEPLOYMENT_TOPOLOGY),
    Emptied("workers"),
];
const CONTROL_PLANE_TOPOLOGY: &[Rule] =
    &[Within("variables.overrides[]", VARIABLE), Within("", DELETION), Within("", HEALTH)];
const DEPLOYMENT_TOPOLOGY: &[Rule] = &[
    Within("variables.overrides[]", VARIABLE),
    Within("", STRATEGY),
    Within("", DELETION),
    Within("", HEALTH),
];

const CLUSTER_CLASS: &[Rule] = &[
    TemplateReference("spec.infrastructure.ref"),
    Moved("spec.infrastructure.ref", "spec.infrastructure.templateRef"),
    Moved("spec.infrastructureNamingStrategy", "spec.infrastructure.naming"),
    Within("spec.controlPlane", CONTROL_PLANE_CLASS),
    Within("spec.workers.machineDeployments[]", DEPLOYMENT_CLASS),
    Within("spec.workers.machinePools[]", POOL_CLASS),
    Emptied("spec.workers"),
    Within("spec.variables[]", METADATA),
    Within("status.variables[].definitions[]", METADATA),
    Within("status", STATUS),
];
const METADATA: &[Rule] = &[Moved("metadata", "deprecatedV1Beta1Metadata")];
const CONTROL_PLANE_CLASS: &[Rule] = &[
    TemplateReference("ref"),
    Moved("ref", "templateRef"),
    TemplateReference("machineInfrastructure.ref"),
    Moved("machineInfrastructure.ref", "machineInfrastructure.templateRef"),
    Moved("namingStrategy", "naming"),
    Within("", DELETION),
    Within("", HEALTH),
];
const POOL_CLASS: &[Rule] = &[
    Moved("template.metadata", "metadata"),
    TemplateReference("template.bootstrap.ref"),
    Moved("template.bootstrap.ref", "bootstrap.templateRef"),
    TemplateReference("template.infrastructure.ref"),
    Moved("template.infrastructure.ref", "infrastructure.templateRef"),
    Emptied("template.bootstrap"),
    Emptied("template.infrastructure"),
    Emptied("template"),
    Moved("namingStrategy", "naming"),
    Within("", DELETION),
];
const DEPLOYMENT_CLASS: &[Rule] = &[Within("", STRATEGY), Within("", POOL_CLASS), Within("", HEALTH)];

const MACHINE: &[Rule] = &[
    Within("spec", MACHINE_SPEC),
    NewOnly("spec.minReadySeconds"),
    Reference("status.nodeRef"),
    Fixed("status.nodeRef.apiVersion", "v1"),
    Fixed("status.nodeRef.kind", "Node"),
    NewOnly("status.failureDomain"),
    Emptied("status.initialization"),
    Moved("status.infrastructureReady", "status.initialization.infrastructureProvisioned"),
    Moved("status.bootstrapReady", "status.initialization.bootstrapDataSecretCreated"),
    Within("status", STATUS),
];

const MACHINE_SET: &[Rule] = &[
    Emptied("spec.deletion"),
    Within("spec.template.spec", MACHINE_SPEC),
    Moved("spec.minReadySeconds", "spec.template.spec.minReadySeconds"),
    Moved("spec.deletePolicy", "spec.deletion.order"),
    Moved("spec.machineNamingStrategy", "spec.machineNaming"),
    Within("status", STATUS),
];

const MACHINE_DEPLOYMENT: &[Rule] = &[
    Emptied("spec.deletion"),
    Emptied("spec.rollout"),
    Within("spec.template.spec", MACHINE_SPEC),
    OldOnly("spec.revisionHistoryLimit", "integer"),
    OldOnly("spec.progressDeadlineSeconds", "integer"),
    Moved("spec.minReadySeconds", "spec.template.spec.minReadySeconds"),
    Moved("spec.machineNamingStrategy", "spec.machineNaming"),
    Moved("spec.rolloutAfter", "spec.rollout.after"),
    Moved("spec.strategy.rollingUpdate.deletePolicy", "spec.deletion.order"),
    Moved("spec.strategy.remediation", "spec.remediation"),
    Default("spec.strategy.type", "RollingUpdate"),
    Moved("spec.strategy", "spec.rollout.strategy"),
    Emptied("spec.rollout.strategy.rollingUpdate"),
    Moved("status.updatedReplicas", "status.upToDateReplicas"),
    Within("status", STATUS),
];

const MACHINE_HEALTH_CHECK: &[Rule] = &[
    Emptied("spec.checks"),
    Emptied("spec.remediation"),
    Emptied("spec.remediation.triggerIf"),
    Within("spec.unhealthyConditions[]", CONDITION),
    Moved("spec.unhealthyConditions", "spec.checks.unhealthyNodeConditions"),
    Within("spec.unhealthyMachineConditions[]", CONDITION),
    Moved("spec.unhealthyMachineConditions", "spec.checks.unhealthyMachineConditions"),
    Seconds("spec.nodeStartupTimeout", "spec.checks.nodeStartupTimeoutSeconds"),
    Moved("spec.maxUnhealthy", "spec.remediation.triggerIf.unhealthyLessThanOrEqualTo"),
    Moved("spec.unhealthyRange", "spec.remediation.triggerIf.unhealthyInRange"),
    TemplateReference("spec.remediationTemplate"),
    Moved("spec.remediationTemplate", "spec.remediation.templateRef"),
    Within("status", STATUS),
];

const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");
const OF_CLUSTER: Column = ("Cluster", "string", ".spec.clusterName");
const PHASE: Column = ("Phase", "string", ".status.phase");
const DESIRED: Column = ("Desired", "integer", ".spec.replicas");
const REPLICAS: Column = ("Replicas", "integer", ".status.replicas");
const READY: Column = ("Ready", "integer", ".status.readyReplicas");
const TEMPLATE_VERSION: Column = ("Version", "string", ".spec.template.spec.version");

const CLUSTER_COLUMNS: &[Column] = &[
    ("ClusterClass", "string", ".spec.topology.class"),
    PHASE,
    AGE,
    ("Version", "string", ".spec.topology.version"),
];
const MACHINE_COLUMNS: &[Column] = &[
    OF_CLUSTER,
    ("NodeName", "string", ".status.nodeRef.name"),
    ("ProviderID", "string", ".spec.providerID"),
    PHASE,
    AGE,
    ("Version", "string", ".spec.version"),
];
const MACHINE_SET_COLUMNS: &[Column] = &[
    OF_CLUSTER,
    DESIRED,
    REPLICAS,
    READY,
    ("Available", "integer", ".status.availableReplicas"),
    AGE,
    TEMPLATE_VERSION,
];
const MACHINE_DEPLOYMENT_COLUMNS: &[Column] = &[
    OF_CLUSTER,
    DESIRED,
    REPLICAS,
    READY,
    ("Updated", "integer", ".status.updatedReplicas"),
    PHASE,
    AGE,
    TEMPLATE_VERSION,
];

const MACHINE_HEALTH_CHECK_COLUMNS: &[Column] = &[
    OF_CLUSTER,
    ("ExpectedMachines", "integer", ".status.expectedMachines"),
    ("MaxUnhealthy", "string", ".spec.maxUnhealthy"),
    ("CurrentHealthy", "integer", ".status.currentHealthy"),
    AGE,
];
const MACHINE_DRAIN_RULE_COLUMNS: &[Column] =
    &[("Behavior", "string", ".spec.drain.behavior"), ("Order", "string", ".spec.drain.order"), AGE];

/// The conversions of this module's kinds.
pub(crate) fn conversions() -> Vec<Conversion> {
    let kinds: [(&'static str, &'static [Rule], &'static [Column]); 8] = [
        ("Cluster", CLUSTER, CLUSTER_COLUMNS),
        ("MachineDeployment", MACHINE_DEPLOYMENT, MACHINE_DEPLOYMENT_COLUMNS),
        ("MachineSet", MACHINE_SET, MACHINE_SET_COLUMNS),
        ("Machine", MACHINE, MACHINE_COLUMNS),
        ("MachineHealthCheck", MACHINE_HEALTH_CHECK, MACHINE_HEALTH_CHECK_COLUMNS),
        ("MachineDrainRule", &[], MACHINE_DRAIN_RULE_COLUMNS),
        ("MachinePool", &[], &[]),
        ("ClusterClass", CLUSTER_CLASS, &[AGE]),
    ];
    let conversion = |(kind, rules, columns)| Conversion {
        group: "cluster.x-k8s.io",
        kind,
        old: "v1beta1",
        new: "v1beta2",
        rules,
        columns,
    };
    kinds.into_iter().map(conversion).collect()
}
