//! How v1beta1 of Metal3's provider differs from v1beta2.

use crate::conversion::Rule::{Emptied, Listed, Moved, NewOnly, OldOnly, Opposite, Reference, Seconds};
use crate::conversion::{Column, Conversion, Rule};

const CLUSTER: &[Rule] = &[
    Emptied("status.deprecated"),
    Emptied("status.deprecated.v1beta1"),
    Emptied("status.initialization"),
    Opposite { old: "spec.noCloudProvider", both: "spec.cloudProviderEnabled" },
    Listed { path: "spec.failureDomains", key: "name", value: None },
    Listed { path: "status.failureDomains", key: "name", value: None },
    // The old conditions make room for the new ones.
    Moved("status.conditions", "status.deprecated.v1beta1.conditions"),
    Moved("status.v1beta2.conditions", "status.conditions"),
    Moved("status.failureReason", "status.deprecated.v1beta1.failureReason"),
    Moved("status.failureMessage", "status.deprecated.v1beta1.failureMessage"),
    Moved("status.ready", "status.initialization.provisioned"),
    Emptied("status.v1beta2"),
];

const CLUSTER_TEMPLATE: &[Rule] = &[
    NewOnly("spec.template.metadata"),
    Opposite { old: "spec.template.spec.noCloudProvider", both: "spec.template.spec.cloudProviderEnabled" },
    Listed { path: "spec.template.spec.failureDomains", key: "name", value: None },
];

const MACHINE: &[Rule] = &[
    Emptied("status.deprecated"),
    Emptied("status.deprecated.v1beta1"),
    Emptied("status.initialization"),
    Moved("spec.image.format", "spec.image.diskFormat"),
    Reference("spec.dataTemplate"),
    Reference("status.renderedData"),
    OldOnly("status.phase", "string"),
    Moved("status.conditions", "status.deprecated.v1beta1.conditions"),
    Moved("status.v1beta2.conditions", "status.conditions"),
    Moved("status.failureReason", "status.deprecated.v1beta1.failureReason"),
    Moved("status.failureMessage", "status.deprecated.v1beta1.failureMessage"),
    Moved("status.ready", "status.initialization.provisioned"),
    Emptied("status.v1beta2"),
];

const MACHINE_TEMPLATE: &[Rule] = &[
    NewOnly("spec.template.metadata"),
    Moved("spec.template.spec.image.format", "spec.template.spec.image.diskFormat"),
    Reference("spec.template.spec.dataTemplate"),
];

const DATA: &[Rule] =
    &[Reference("spec.claim"), Reference("spec.template"), OldOnly("spec.templateReference", "string")];

const DATA_CLAIM: &[Rule] = &[Reference("spec.template"), Reference("status.renderedData")];

const DATA_TEMPLATE: &[Rule] = &[
    OldOnly("spec.templateReference", "string"),
    Moved("spec.metaData.ipAddressesFromIPPool", "spec.metaData.ipAddressesFromPool"),
    Moved("spec.metaData.prefixesFromIPPool", "spec.metaData.prefixesFromPool"),
    Moved("spec.metaData.gatewaysFromIPPool", "spec.metaData.gatewaysFromPool"),
    Moved("spec.metaData.dnsServersFromIPPool", "spec.metaData.dnsServersFromPool"),
    Listed { path: "spec.networkData.links.bonds[].parameters", key: "name", value: Some("value") },
    Listed { path: "status.indexes", key: "name", value: Some("index") },
];

const REMEDIATION: &[Rule] = &[Seconds("spec.strategy.timeout", "spec.strategy.timeoutSeconds")];

const REMEDIATION_TEMPLATE: &[Rule] =
    &[Seconds("spec.template.spec.strategy.timeout", "spec.template.spec.strategy.timeoutSeconds")];

const AGE: Column = ("Age", "date", ".metadata.creationTimestamp");
const READY: Column = ("Ready", "string", ".status.ready");
const OF_CLUSTER: Column = ("Cluster", "string", r".metadata.labels.cluster\.x-k8s\.io/cluster-name");

const PHASE: Column = ("Phase", "string", ".status.phase");

const CLUSTER_COLUMNS: &[Column] = &[
    AGE,
    READY,
    ("Error", "string", ".status.failureReason"),
    OF_CLUSTER,
    ("Endpoint", "string", ".spec.controlPlaneEndpoint.host"),
];
const MACHINE_COLUMNS: &[Column] =
    &[AGE, ("ProviderID", "string", ".spec.providerID"), READY, OF_CLUSTER, PHASE];
const REMEDIATION_COLUMNS: &[Column] = &[
    ("Retry limit", "string", ".spec.strategy.retryLimit"),
    ("Retry count", "string", ".status.retryCount"),
    ("Last Remediated", "string", ".status.lastRemediated"),
    ("Strategy", "string", ".spec.strategy.type"),
    PHASE,
];

/// The conversions of this module's kinds.
pub(crate) fn conversions() -> Vec<Conversion> {
    let kinds: [(&'static str, &'static [Rule], &'static [Column]); 9] = [
        ("Metal3Cluster", CLUSTER, CLUSTER_COLUMNS),
        ("Metal3ClusterTemplate", CLUSTER_TEMPLATE, &[]),
        ("Metal3Machine", MACHINE, MACHINE_COLUMNS),
        ("Metal3MachineTemplate", MACHINE_TEMPLATE, &[AGE]),
        ("Metal3Data", DATA, &[AGE]),
        ("Metal3DataClaim", DATA_CLAIM, &[AGE]),
        ("Metal3DataTemplate", DATA_TEMPLATE, &[OF_CLUSTER, AGE]),
        ("Metal3Remediation", REMEDIATION, REMEDIATION_COLUMNS),
        ("Metal3RemediationTemplate", REMEDIATION_TEMPLATE, &[]),
    ];
    let conversion = |(kind, rules, columns)| Conversion {
        group: "infrastructure.cluster.x-k8s.io",
        kind,
        old: "v1beta1",
        new: "v1beta2",
        rules,
        columns,
    };
    kinds.into_iter().map(conversion).collect()
}
