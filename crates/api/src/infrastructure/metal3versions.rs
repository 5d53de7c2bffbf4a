//! How v1beta1 of Metal3's provider differs from v1beta2.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::{
    Metal3Cluster, Metal3ClusterTemplate, Metal3Data, Metal3DataClaim, Metal3DataTemplate, Metal3Machine,
    Metal3MachineTemplate, Metal3Remediation, Metal3RemediationTemplate,
};
use crate::conversion::Rule::{Emptied, Listed, Moved, NewOnly, OldOnly, Opposite, Reference, Seconds};
use crate::conversion::{Column, Conversion, Rule, with_old};

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
    OldOnly("status.phase"),
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
    &[Reference("spec.claim"), Reference("spec.template"), OldOnly("spec.templateReference")];

const DATA_CLAIM: &[Rule] = &[Reference("spec.template"), Reference("status.renderedData")];

const DATA_TEMPLATE: &[Rule] = &[
    OldOnly("spec.templateReference"),
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

/// The conversions of this module's kinds.
pub(crate) fn conversions() -> Vec<Conversion> {
    let rules: [(&'static str, &'static [Rule]); 9] = [
        ("Metal3Cluster", CLUSTER),
        ("Metal3ClusterTemplate", CLUSTER_TEMPLATE),
        ("Metal3Machine", MACHINE),
        ("Metal3MachineTemplate", MACHINE_TEMPLATE),
        ("Metal3Data", DATA),
        ("Metal3DataClaim", DATA_CLAIM),
        ("Metal3DataTemplate", DATA_TEMPLATE),
        ("Metal3Remediation", REMEDIATION),
        ("Metal3RemediationTemplate", REMEDIATION_TEMPLATE),
    ];
    let conversion = |(kind, rules)| Conversion {
        group: "infrastructure.cluster.x-k8s.io",
        kind,
        old: "v1beta1",
        new: "v1beta2",
        rules,
    };
    rules.into_iter().map(conversion).collect()
}

/// The definitions of this module's kinds, with both versions.
pub(crate) fn crds() -> Vec<CustomResourceDefinition> {
    let error = ("Error", "string", ".status.failureReason");
    let endpoint = ("Endpoint", "string", ".spec.controlPlaneEndpoint.host");
    let provider_id = ("ProviderID", "string", ".spec.providerID");
    let phase = ("Phase", "string", ".status.phase");
    let remediation: [Column; 5] = [
        ("Retry limit", "string", ".spec.strategy.retryLimit"),
        ("Retry count", "string", ".status.retryCount"),
        ("Last Remediated", "string", ".status.lastRemediated"),
        ("Strategy", "string", ".spec.strategy.type"),
        phase,
    ];
    let kinds: [(CustomResourceDefinition, Vec<Column>); 9] = [
        (Metal3Cluster::crd(), vec![AGE, READY, error, OF_CLUSTER, endpoint]),
        (Metal3ClusterTemplate::crd(), vec![]),
        (Metal3Machine::crd(), vec![AGE, provider_id, READY, OF_CLUSTER, phase]),
        (Metal3MachineTemplate::crd(), vec![AGE]),
        (Metal3Data::crd(), vec![AGE]),
        (Metal3DataClaim::crd(), vec![AGE]),
        (Metal3DataTemplate::crd(), vec![OF_CLUSTER, AGE]),
        (Metal3Remediation::crd(), remediation.to_vec()),
        (Metal3RemediationTemplate::crd(), vec![]),
    ];
    let conversions = conversions();
    kinds.into_iter().zip(&conversions).map(|((crd, columns), both)| with_old(crd, both, &columns)).collect()
}
